/* opencl_tenants.c - several vGPUs on one device: what each gets, and how soon after a change. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl_parts.h"

static void start_all(struct tenant *tenants, const unsigned *shares, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        spawn_stream(&tenants[i], shares[i], FG_SHARE_WEIGHTED, 1000, 0, 0);
    for (unsigned i = 0; i < count; i++)
        tenant_await(&tenants[i]);
    for (unsigned i = 0; i < count; i++)
        tenant_go(&tenants[i]);
}

static void stop_all(struct tenant *tenants, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        tenant_stop(&tenants[i]);
}

static void free_all(struct tenant *tenants, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        tenant_free(&tenants[i]);
}

/* Each one's part of all device time, over all bins. */
static void side_by_side(const char *name, const unsigned *shares, unsigned count)
{
    struct tenant tenants[TENANTS];
    double bins[16][TENANTS], got[TENANTS] = {0}, all = 0, worst = 0;
    unsigned n = scale < 0.5 ? 2 : scale > 2 ? 10 : 4;
    char what[96], note[160];
    start_all(tenants, shares, count);
    sleep_ms(500);
    unsigned disturbed = take_bins(tenants, count, n, bins);
    stop_all(tenants, count);
    free_all(tenants, count);
    for (unsigned b = 0; b < n; b++)
        for (unsigned i = 0; i < count; i++) {
            got[i] += bins[b][i] / n;
            all += bins[b][i] / n;
        }
    int length = snprintf(note, sizeof note, "got");
    for (unsigned i = 0; i < count; i++) {
        worst = fmax(worst, fabs(got[i] / all * 100 - shares[i] / 10.));
        length += snprintf(note + length, sizeof note - (size_t)length, " %.2f", got[i] / all * 100);
    }
    snprintf(note + length, sizeof note - (size_t)length, "; device used %.1f %%%s", all, disturbed ? "; DISTURBED" : "");
    snprintf(what, sizeof what, "vGPUs side by side, %s: farthest from its share", name);
    row(what, worst, "points", "<=", 1, note);
}

/* Of 50:50, the second is idle half of the time. While both work each has half; while it is idle the first has all. */
static void idle_half(void)
{
    static const unsigned gap_ns = 150000000;
    struct tenant tenants[2];
    double both = 0, second = 0, first = 0, alone = 0, alone_got = 0;
    spawn_stream(&tenants[0], 500, FG_SHARE_WEIGHTED, 1000, 0, 0);
    spawn_stream(&tenants[1], 500, FG_SHARE_WEIGHTED, 1000, 500, 500);
    for (int i = 0; i < 2; i++)
        tenant_await(&tenants[i]);
    tenant_go(&tenants[0]);
    sleep_ms(300);
    uint64_t from = now_ns(CLOCK_MONOTONIC);
    sleep_ms(700);
    uint64_t to = now_ns(CLOCK_MONOTONIC);
    tenant_go(&tenants[1]);
    sleep_ms((unsigned)(5500 * (scale > 0.4 ? scale : 0.4)));
    double before = busy_ns(tenants[0].log, from, to) / (double)(to - from);
    stop_all(tenants, 2);
    const struct log *log = tenants[1].log;
    int64_t offset = log->offset_ns;
    uint64_t began = first_ns(log);
    for (uint64_t i = 1; i < log->count; i++) {
        uint64_t end = log->spans[i - 1].end_ns - (uint64_t)offset, next = log->spans[i].start_ns - (uint64_t)offset;
        if (next - end < gap_ns)
            continue;
        both += (double)(end - began);
        second += busy_ns(log, began, end);
        first += busy_ns(tenants[0].log, began, end);
        alone += (double)(next - end);
        alone_got += busy_ns(tenants[0].log, end, next);
        began = next;
    }
    free_all(tenants, 2);
    must(both > 0 && alone > 0, "a tenant that is idle half of the time");
    char note[160];
    snprintf(note, sizeof note, "got %.2f : %.2f; device used %.1f %%", first / (first + second) * 100,
             second / (first + second) * 100, (first + second) / both * 100);
    row("50:50, one idle half of the time: farthest from its share while both work", fabs(second / (first + second) * 100 - 50), "points",
        "<=", 1, note);
    snprintf(note, sizeof note, "of the %.1f %% that the other uses alone; from the end of a last kernel to the begin of the next", before * 100);
    row("... idle share that is used", alone_got / alone / before * 100, "%", ">=", 97, note);
}

void part_tenants(void)
{
    side_by_side("30:70", (const unsigned[]){300, 700}, 2);
    side_by_side("10:90", (const unsigned[]){100, 900}, 2);
    side_by_side("4 x 25", (const unsigned[]){250, 250, 250, 250}, 4);
    idle_half();
}

/* ---- settling ---- */

#define WINDOW_NS   UINT64_C(200000000) /* 25 windows of the arbiter: one more or less makes 4 points */
#define STEP_NS     10000000
#define TOLERANCE   3.0

/* Part of the first in all that both got between two times, in %; without a second, in the time. */
static double part_of(const struct tenant *tenants, unsigned count, uint64_t from, uint64_t to)
{
    double first = busy_ns(tenants[0].log, from, to), all = count == 2 ? first + busy_ns(tenants[1].log, from, to) : (double)(to - from);
    return all > 0 ? first / all * 100 : 0;
}

struct settled { double ms; unsigned good, all; };

/* When the first WINDOW_NS begins that shows the new share; and how many of all later ones show it, STEP_NS apart. */
static struct settled settled_after(const struct tenant *tenants, unsigned count, double share, uint64_t changed_ns, uint64_t end_ns)
{
    struct settled settled = {.ms = (double)(end_ns - changed_ns) / 1e6};
    for (uint64_t at = changed_ns; at + WINDOW_NS <= end_ns; at += STEP_NS) {
        int good = fabs(part_of(tenants, count, at, at + WINDOW_NS) - share) <= TOLERANCE;
        if (good && !settled.all)
            settled.ms = (double)(at - changed_ns) / 1e6;
        settled.all += good || settled.all;
        settled.good += (unsigned)good;
    }
    return settled;
}

static void show_settling(const char *what, const struct settled *each, unsigned count)
{
    char note[160];
    double ms[16];
    unsigned good = 0, all = 0;
    for (unsigned i = 0; i < count; i++) {
        ms[i] = each[i].ms;
        good += each[i].good;
        all += each[i].all;
    }
    double middle = median(ms, count);
    snprintf(note, sizeof note, "median of %u, longest %.0f; to the first 200 ms within 3 points of the share, as %.0f %% of all later ones are", count,
             ms[count - 1], all ? 100. * good / all : 0);
    row(what, middle, "ms", "<=", 300, note);
}

static void set_share(const struct tenant *tenant, unsigned share, enum fg_share_mode mode)
{
    struct fg_lease_stats now;
    struct fg_error err;
    must(fg_vgpu_server_stats(bench_server, tenant->id, &now, &err) == 0, "looking at a lease");
    now.spec.share_permille = share;
    now.spec.mode = mode;
    must(fg_vgpu_server_set(bench_server, &now.spec, &err) == 0, "changing a share");
}

/* Shares change while programs run: of one that is capped, or of two. */
static void after_a_change(const char *what, unsigned count, enum fg_share_mode mode)
{
    enum { CHANGES = 6 };
    static const unsigned shares[2] = {300, 700};
    struct tenant tenants[2];
    uint64_t at[CHANGES + 1];
    struct settled settled[CHANGES];
    for (unsigned i = 0; i < count; i++)
        spawn_stream(&tenants[i], shares[i], mode, 1000, 0, 0);
    for (unsigned i = 0; i < count; i++)
        tenant_await(&tenants[i]);
    for (unsigned i = 0; i < count; i++)
        tenant_go(&tenants[i]);
    sleep_ms(700);
    for (unsigned c = 0; c < CHANGES; c++) {
        unsigned fewer = c % 2 == 0 && count == 2; /* at no time more than all */
        at[c] = now_ns(CLOCK_MONOTONIC);
        if (count == 2)
            set_share(&tenants[fewer ? 1 : 0], 300, mode);
        set_share(&tenants[fewer || count == 1 ? 0 : 1], count == 1 ? shares[(c + 1) % 2] : 700, mode);
        sleep_ms(1000);
    }
    at[CHANGES] = now_ns(CLOCK_MONOTONIC);
    stop_all(tenants, count);
    for (unsigned c = 0; c < CHANGES; c++)
        settled[c] = settled_after(tenants, count, shares[(c + 1) % 2] / 10., at[c], at[c + 1]);
    free_all(tenants, count);
    show_settling(what, settled, CHANGES);
}

/* A program starts beside one that had the device to itself. */
static void after_a_new_neighbour(void)
{
    enum { TIMES = 4 };
    struct settled settled[TIMES];
    for (unsigned i = 0; i < TIMES; i++) {
        struct tenant tenants[2];
        spawn_stream(&tenants[0], 300, FG_SHARE_WEIGHTED, 1000, 0, 0);
        spawn_stream(&tenants[1], 700, FG_SHARE_WEIGHTED, 1000, 0, 0);
        tenant_await(&tenants[0]);
        tenant_await(&tenants[1]);
        tenant_go(&tenants[0]);
        sleep_ms(300);
        uint64_t at = now_ns(CLOCK_MONOTONIC);
        tenant_go(&tenants[1]);
        sleep_ms(1000);
        uint64_t end = now_ns(CLOCK_MONOTONIC);
        stop_all(tenants, 2);
        settled[i] = settled_after(tenants, 2, 30, at, end);
        free_all(tenants, 2);
    }
    show_settling("settling beside a new neighbour, 30:70", settled, TIMES);
}

void part_settle(void)
{
    after_a_change("settling after a change of share, 30:70 to 70:30", 2, FG_SHARE_WEIGHTED);
    after_a_change("settling after a change of share, capped, 30 to 70", 1, FG_SHARE_CAPPED);
    after_a_new_neighbour();
}
