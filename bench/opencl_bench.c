/* opencl_bench.c - shares, settling and costs of the OpenCL front end, with real kernels on a real driver.
 * usage: opencl_bench CLIENT LAYER [SCALE] PART...     parts: share tenants settle overhead enqueue
 * Prints a row a figure: row|what|value|unit|<= or >= or -|bar|note. What others do on this machine is watched: a second in which
 * they used more than a fifth of it is taken again, as often as BINS_EXTRA allows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl_parts.h"

#define OTHERS_MAX 0.2

double scale = 1;
static uint64_t loops_per_ms;

void row(const char *what, double value, const char *unit, const char *sense, double bar, const char *note)
{
    printf("row|%s|%g|%s|%s|%g|%s\n", what, value, unit, sense, bar, note);
    fflush(stdout);
}

void spawn_stream(struct tenant *tenant, unsigned share, enum fg_share_mode mode, double kernel_us, unsigned on_ms, unsigned off_ms)
{
    char loops[32], depth[16], on[16], off[16];
    double queued = 4000 / kernel_us; /* enough for 4 ms */
    snprintf(loops, sizeof loops, "%.0f", kernel_us / 1000 * (double)loops_per_ms);
    snprintf(depth, sizeof depth, "%.0f", queued < 2 ? 2 : queued);
    snprintf(on, sizeof on, "%u", on_ms);
    snprintf(off, sizeof off, "%u", off_ms);
    tenant_spawn(tenant, share, mode, (const char *const[]){"stream", loops, depth, on, off, NULL});
}

static void calibrate(void)
{
    struct tenant tenant;
    tenant_spawn(&tenant, 0, 0, (const char *const[]){"calibrate", NULL});
    tenant_stop(&tenant);
    loops_per_ms = tenant.log->loops_per_ms;
    tenant_free(&tenant);
    must(loops_per_ms > 0, "calibrating");
}

unsigned take_bins(struct tenant *tenants, unsigned count, unsigned bins, double (*parts)[TENANTS])
{
    struct load load;
    unsigned disturbed = 0, extra = bins;
    others_load(&load, tenants, count);
    for (unsigned bin = 0; bin < bins;) {
        uint64_t from = now_ns(CLOCK_MONOTONIC);
        sleep_ms(1000);
        uint64_t to = now_ns(CLOCK_MONOTONIC);
        int bad = others_load(&load, tenants, count) > OTHERS_MAX;
        if (bad && extra) {
            extra--;
            continue;
        }
        disturbed += bad;
        sleep_ms(120); /* kernels are noted when they have ended */
        for (unsigned i = 0; i < count; i++)
            parts[bin][i] = busy_ns(tenants[i].log, from, to) / (double)(to - from) * 100;
        bin++;
        others_load(&load, tenants, count);
    }
    return disturbed;
}

/* ---- one tenant, capped ---- */

struct got { double mean, error; unsigned disturbed; };

/* Device time from the begin of the first kernel in a time to the begin of the last one, in % of that: no kernel counts in
 * part. 0 when there are none (kernels of 50 ms on a machine that others fill). */
static double whole_periods(const struct log *log, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t from = from_ns + (uint64_t)log->offset_ns, to = to_ns + (uint64_t)log->offset_ns, first = 0, last = 0;
    uint64_t count = __atomic_load_n(&log->count, __ATOMIC_ACQUIRE);
    for (uint64_t i = 0; i < count && i < LOG_SPANS; i++) {
        uint64_t start = log->spans[i].start_ns;
        if (start >= from && start <= to)
            last = start, first = first ? first : start;
    }
    if (last <= first)
        return 0;
    uint64_t offset = (uint64_t)log->offset_ns;
    return busy_ns(log, first - offset, last - offset) / (double)(last - first) * 100;
}

static struct got one_tenant(unsigned share, double kernel_us, unsigned bins, double alone)
{
    struct tenant tenant;
    double parts[16][TENANTS], target = share / 10. < alone ? share / 10. : alone;
    spawn_stream(&tenant, share, FG_SHARE_CAPPED, kernel_us, 0, 0);
    tenant_await(&tenant);
    tenant_go(&tenant);
    sleep_ms(400 + (unsigned)(kernel_us / 25)); /* the first of unknown cost are paid back first */
    uint64_t from = now_ns(CLOCK_MONOTONIC);
    struct got got = {.disturbed = take_bins(&tenant, 1, bins, parts)};
    got.mean = whole_periods(tenant.log, from, now_ns(CLOCK_MONOTONIC));
    tenant_stop(&tenant);
    tenant_free(&tenant);
    for (unsigned i = 0; i < bins; i++)
        got.error += fabs(parts[i][0] - target) / bins;
    return got;
}

static void part_share(void)
{
    static const unsigned shares[] = {100, 250, 500, 750, 900};
    static const double kernels_us[] = {50, 1000, 10000, 50000};
    unsigned bins = scale < 0.5 ? 2 : scale > 2 ? 8 : 3;
    for (unsigned k = 0; k < 4; k++) {
        double errors = 0, least = 1000, alone = 100;
        char what[96], note[256];
        unsigned disturbed = 0;
        int n = snprintf(note, sizeof note, "got");
        for (unsigned s = 0; s < 5; s++) {
            if (shares[s] >= 750 && kernels_us[k] <= 1000) /* the driver itself leaves gaps */
                alone = one_tenant(0, kernels_us[k], 1, 100).mean;
            struct got got = one_tenant(shares[s], kernels_us[k], bins, alone);
            double target = shares[s] / 10. < alone ? shares[s] / 10. : alone;
            errors += got.error / 5;
            least = fmin(least, got.mean / target * 100);
            disturbed += got.disturbed;
            n += snprintf(note + n, sizeof note - (size_t)n, " %.1f", got.mean);
        }
        n += snprintf(note + n, sizeof note - (size_t)n, " of 10 25 50 75 90");
        if (alone < 90)
            n += snprintf(note + n, sizeof note - (size_t)n, "; the program alone: %.1f", alone);
        snprintf(note + n, sizeof note - (size_t)n, "%s", disturbed ? "; DISTURBED" : "");
        snprintf(what, sizeof what, "one vGPU, capped 10..90, kernels of %g ms: mean error", kernels_us[k] / 1000);
        row(what, errors, "points", "<=", 2, note);
        snprintf(what, sizeof what, "... least use of the share");
        row(what, least, "%", ">=", 97, "of the share, or of what the program does alone");
    }
}

/* ---- with the layer and without ---- */

#define PAIRS_MAX 200
#define FRESH     5 /* programs started for one figure: where the loader puts a program makes some per cent */

struct pair { double wall_ns, cpu_ns, wall_ratio, cpu_ratio, spread; };
struct pairs { double wall_ns[PAIRS_MAX], cpu_ns[PAIRS_MAX], wall_ratio[PAIRS_MAX], cpu_ratio[PAIRS_MAX]; unsigned count; };

static void note_pair(struct pairs *pairs, struct span without, struct span with, unsigned jobs)
{
    unsigned i = pairs->count++;
    pairs->wall_ns[i] = ((double)with.start_ns - (double)without.start_ns) / jobs;
    pairs->cpu_ns[i] = ((double)with.end_ns - (double)without.end_ns) / jobs;
    pairs->wall_ratio[i] = ((double)with.start_ns / (double)without.start_ns - 1) * 100;
    pairs->cpu_ratio[i] = ((double)with.end_ns / (double)without.end_ns - 1) * 100;
}

/* Two programs, one of them in a vGPU of the whole device, do the same work in turns. */
static void take_pairs(struct pairs *pairs, const char *const *args, unsigned jobs, unsigned count)
{
    struct tenant with, without;
    tenant_spawn(&without, 0, 0, args);
    tenant_spawn(&with, 1000, FG_SHARE_WEIGHTED, args);
    tenant_await(&without);
    tenant_await(&with);
    for (unsigned i = 0; i < count && pairs->count < PAIRS_MAX; i++) {
        struct span first = tenant_round(i % 2 ? &with : &without), second = tenant_round(i % 2 ? &without : &with);
        note_pair(pairs, i % 2 ? second : first, i % 2 ? first : second, jobs);
    }
    tenant_stop(&with);
    tenant_stop(&without);
    tenant_free(&with);
    tenant_free(&without);
}

/* What else the machine does hits both of a pair. Medians over the pairs; spread: half the distance of the quartiles of the
 * wall ratio. */
static struct pair in_pairs(double kernel_us, unsigned depth, unsigned jobs, unsigned count)
{
    static struct pairs pairs;
    char loops[32], depth_text[16], jobs_text[16];
    snprintf(loops, sizeof loops, "%.0f", kernel_us / 1000 * (double)loops_per_ms);
    snprintf(depth_text, sizeof depth_text, "%u", depth);
    snprintf(jobs_text, sizeof jobs_text, "%u", jobs);
    pairs.count = 0;
    for (unsigned i = 0; i < FRESH; i++)
        take_pairs(&pairs, (const char *const[]){"rounds", loops, depth_text, jobs_text, NULL}, jobs, count / FRESH < 2 ? 2 : count / FRESH);
    unsigned n = pairs.count;
    struct pair pair = {.wall_ns = median(pairs.wall_ns, n), .cpu_ns = median(pairs.cpu_ns, n), .wall_ratio = median(pairs.wall_ratio, n),
                        .cpu_ratio = median(pairs.cpu_ratio, n)};
    pair.spread = (pairs.wall_ratio[n * 3 / 4] - pairs.wall_ratio[n / 4]) / 2;
    return pair;
}

static void part_overhead(void)
{
    static const struct { double kernel_us; unsigned depth, count; const char *what; } programs[] = {
        {50, 64, 1000, "0.05 ms kernels, 64 at a time"}, {200, 1, 250, "0.2 ms kernels, each waited for"},
        {1000, 8, 48, "1 ms kernels, 8 at a time"}, {10000, 1, 5, "10 ms kernels, each waited for"}};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        struct pair pair = in_pairs(programs[i].kernel_us, programs[i].depth, programs[i].count, (unsigned)(40 * scale));
        char what[128], note[128];
        snprintf(what, sizeof what, "whole program at share 100: %s", programs[i].what);
        snprintf(note, sizeof note, "time added, median of pairs; half quartile distance %.2f; processor time %+.2f %%", pair.spread, pair.cpu_ratio);
        row(what, pair.wall_ratio, "%", "<=", 1, note);
    }
}

static void part_enqueue(void)
{
    static const unsigned depths[] = {1, 16, 256};
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair = in_pairs(0, depths[i], 4096, (unsigned)(30 * scale));
        char what[128], note[128];
        snprintf(what, sizeof what, "added per enqueue of an empty kernel, %u at a time", depths[i]);
        snprintf(note, sizeof note, "its event, profiling and settlement included; processor time %+.2f us", pair.cpu_ns / 1000);
        row(what, pair.wall_ns / 1000, "us", "<=", 1, note);
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } parts[] = {
        {"share", part_share}, {"tenants", part_tenants}, {"settle", part_settle}, {"overhead", part_overhead}, {"enqueue", part_enqueue}};
    must(argc >= 4, "usage: see the head of opencl_bench.c:");
    scale = atof(argv[3]) > 0 ? atof(argv[3]) : 1;
    bench_begin(argv[1], argv[2]);
    calibrate();
    for (int i = 3; i < argc; i++)
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            if (!strcmp(argv[i], parts[p].name))
                parts[p].run();
    bench_end();
    return 0;
}
