/* launches.c - what calls cost: many empty kernels, allocations with others live, small copies. ns per call, the best of several rounds.
 * usage: launches [--count N] [--driver PATH] [--device N] */
#define CU_TABLE
#include "common.h"
#include "kernels.h"

static void row(const char *what, double ns)
{
    printf("%-32s %10.1f ns\n", what, ns);
}

static double pairs(unsigned n)
{
    CUdeviceptr p;
    double best = 1e18;
    for (unsigned round = 0; round < 10; round++) {
        uint64_t start = now_ns();
        for (unsigned i = 0; i < n / 10; i++) {
            DO(cu.cuMemAlloc_v2(&p, 4096));
            DO(cu.cuMemFree_v2(p));
        }
        double ns = (double)(now_ns() - start) / (n / 10);
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    unsigned long count = strtoul(option(argc, argv, "--count", "2000000"), NULL, 10);
    begin(argc, argv);
    struct spin spin = {.grid = 1};
    DO(spin_load(&spin));
    double best = 1e18;
    for (int round = 0; round < 5; round++) {
        uint64_t start = now_ns();
        for (unsigned long i = 0; i < count / 5; i++)
            DO(cu.cuLaunchKernel(spin.nop, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL));
        DO(cu.cuCtxSynchronize());
        double ns = (double)(now_ns() - start) / (double)(count / 5);
        best = ns < best ? ns : best;
    }
    row("cuLaunchKernel", best);
    row("cuMemAlloc + cuMemFree, 0 live", pairs(2000));
    enum { LIVE = 10000 };
    static CUdeviceptr live[LIVE];
    for (unsigned i = 0; i < LIVE; i++)
        DO(cu.cuMemAlloc_v2(&live[i], 512));
    row("cuMemAlloc + cuMemFree, 10000 live", pairs(2000));
    char buf[64] = {0};
    uint64_t start = now_ns();
    for (unsigned i = 0; i < 20000; i++)
        DO(cu.cuMemcpyHtoDAsync_v2(live[0], buf, sizeof buf, NULL));
    DO(cu.cuCtxSynchronize());
    row("cuMemcpyHtoDAsync, 64 bytes", (double)(now_ns() - start) / 20000);
    size_t free_bytes, total;
    start = now_ns();
    for (unsigned i = 0; i < 1000; i++)
        DO(cu.cuMemGetInfo_v2(&free_bytes, &total));
    row("cuMemGetInfo", (double)(now_ns() - start) / 1000);
    return 0;
}
