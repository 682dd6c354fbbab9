/* opencl_bench.c - shares, settling and costs of the OpenCL front end, with real kernels on a real driver.
 * usage: opencl_bench CLIENT LAYER [SCALE] PART...     parts: share tenants settle overhead enqueue
 * Prints a row a figure: row|what|value|unit|<= or >= or -|bar|note. What others do on this machine is watched: a second in which
 * they used more than a fifth of it is taken again, as often as BINS_EXTRA allows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl_run.h"

#define OTHERS_MAX 0.2
#define TENANTS    4

static double scale = 1;
static uint64_t loops_per_ms;

static void row(const char *what, double value, const char *unit, const char *sense, double bar, const char *note)
{
    printf("row|%s|%g|%s|%s|%g|%s\n", what, value, unit, sense, bar, note);
    fflush(stdout);
}

static void spawn_stream(struct tenant *tenant, unsigned share, enum fg_share_mode mode, double kernel_us, unsigned on_ms, unsigned off_ms)
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

/* Bins of a second of several running tenants: parts[bin][tenant] of wall time. Those others disturbed are taken again while
 * there is patience. Returns how many were disturbed for good. */
static unsigned take_bins(struct tenant *tenants, unsigned count, unsigned bins, double (*parts)[TENANTS])
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

static struct got one_tenant(unsigned share, double kernel_us, unsigned bins, double alone)
{
    struct tenant tenant;
    double parts[16][TENANTS], target = share / 10. < alone ? share / 10. : alone;
    spawn_stream(&tenant, share, FG_SHARE_CAPPED, kernel_us, 0, 0);
    tenant_await(&tenant);
    tenant_go(&tenant);
    sleep_ms(400 + (unsigned)(kernel_us / 25)); /* the first of unknown cost are paid back first */
    struct got got = {.disturbed = take_bins(&tenant, 1, bins, parts)};
    tenant_stop(&tenant);
    tenant_free(&tenant);
    for (unsigned i = 0; i < bins; i++) {
        got.mean += parts[i][0] / bins;
        got.error += fabs(parts[i][0] - target) / bins;
    }
    return got;
}

static void part_share(void)
{
    static const unsigned shares[] = {100, 250, 500, 750, 900};
    static const double kernels_us[] = {50, 1000, 10000, 50000};
    unsigned bins = scale < 0.5 ? 2 : scale > 2 ? 8 : 3;
    for (unsigned k = 0; k < 4; k++) {
        double errors = 0, least = 1000, alone = one_tenant(0, kernels_us[k], 2, 100).mean;
        char what[96], note[256];
        unsigned disturbed = 0;
        int n = snprintf(note, sizeof note, "got");
        for (unsigned s = 0; s < 5; s++) {
            struct got got = one_tenant(shares[s], kernels_us[k], bins, alone);
            double target = shares[s] / 10. < alone ? shares[s] / 10. : alone;
            errors += got.error / 5;
            least = fmin(least, got.mean / target * 100);
            disturbed += got.disturbed;
            n += snprintf(note + n, sizeof note - (size_t)n, " %.1f", got.mean);
        }
        snprintf(note + n, sizeof note - (size_t)n, " of 10 25 50 75 90; alone %.1f%s", alone, disturbed ? "; DISTURBED" : "");
        snprintf(what, sizeof what, "one vGPU, capped 10..90, kernels of %g ms: mean error", kernels_us[k] / 1000);
        row(what, errors, "points", "<=", 2, note);
        snprintf(what, sizeof what, "... least use of the share");
        row(what, least, "%", ">=", 97, "of the share, or of what the program does alone");
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } parts[] = {{"share", part_share}};
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
