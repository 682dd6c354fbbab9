/* tenant.c - a program that keeps the device busy in one shape, and says in bins how much it got done.
 *
 *   grid    200 us, 8 blocks a processor          block   one block, 1 ms            long   5 ms, 8,192 blocks
 *   graph   a graph of 20 kernels of 50 us        coop    cooperative, 200 us        sync   200 us and a wait after each
 *   tiny    20 us                                 mixed   100, 200 and 300 us        bursty 25 of 200 us, a wait, and 5 ms of rest
 *   copy    1 MiB to the device, worth nothing
 *
 * usage: tenant --shape S [--seconds N] [--bin_ms N] [--driver PATH] [--device N] [--inflight N] [--pause_us N: after each job of shape sync]
 *               [--warm_ms N: busy before anything is measured, for a device that has to reach its clock]
 * A line for each bin: milliseconds since start, launches done, device milliseconds they are worth alone. */
#include <unistd.h>

#define CU_TABLE
#include "common.h"
#include "kernels.h"

enum { MOST = 256 };
static const struct shape { const char *name; unsigned us, blocks_per_sm, blocks, launches; int cooperative, graph, sync, mixed, burst, copy; } shapes[] = {
    {"grid", 200, 8, 0, 1, 0, 0, 0}, {"block", 1000, 0, 1, 1, 0, 0, 0}, {"long", 5000, 0, 8192, 1, 0, 0, 0},
    {"graph", 50, 8, 0, 20, 0, 1, 0}, {"coop", 200, 1, 0, 1, 1, 0, 0}, {"sync", 200, 8, 0, 1, 0, 0, 1},
    {"tiny", 20, 8, 0, 1}, {"mixed", 200, 8, 0, 1, .mixed = 1}, {"bursty", 200, 8, 0, 1, .burst = 25}, {"copy", 0, 8, 0, 1, .copy = 1},
};

/* Times of single jobs in shape sync, in us. */
static uint32_t waits[1 << 20];
static unsigned wait_count;

static int order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void say_waits(void)
{
    qsort(waits, wait_count, sizeof *waits, order);
    if (wait_count)
        printf("wait_us p50 %u p99 %u max %u\n", waits[wait_count / 2], waits[wait_count * 99ull / 100], waits[wait_count - 1]);
}

static CUgraphExec make_graph(const struct spin *spin, const struct shape *shape, CUstream stream)
{
    CUgraph graph;
    CUgraphExec exec;
    DO(cu.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    for (unsigned i = 0; i < shape->launches; i++)
        DO(spin_launch(spin, stream, shape->us));
    DO(cu.cuStreamEndCapture(stream, &graph));
    DO(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    return exec;
}

static void submit(const struct shape *shape, const struct spin *spin, CUgraphExec exec, CUstream stream, uint64_t number)
{
    static CUdeviceptr there;
    static char here[1 << 20];
    if (shape->copy && !there)
        DO(cu.cuMemAlloc_v2(&there, sizeof here));
    if (shape->copy)
        DO(cu.cuMemcpyHtoDAsync_v2(there, here, sizeof here, stream));
    else if (exec)
        DO(cu.cuGraphLaunch(exec, stream));
    else
        DO(spin_launch(spin, stream, shape->mixed ? shape->us / 2 * (1 + (unsigned)(number % 3)) : shape->us));
}

int main(int argc, char **argv)
{
    const char *name = option(argc, argv, "--shape", "grid");
    const struct shape *shape = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, name))
            shape = &shapes[i];
    if (!shape) {
        fprintf(stderr, "tenant: no shape '%s'\n", name);
        return 2;
    }
    double seconds = atof(option(argc, argv, "--seconds", "5"));
    uint64_t bin_ns = strtoull(option(argc, argv, "--bin_ms", "1000"), NULL, 10) * 1000000u;
    unsigned inflight = (unsigned)atoi(option(argc, argv, "--inflight", "32"));
    unsigned pause_us = (unsigned)atoi(option(argc, argv, "--pause_us", "0"));
    uint64_t warm_ns = strtoull(option(argc, argv, "--warm_ms", "0"), NULL, 10) * 1000000u;
    unsigned sms = (unsigned)begin(argc, argv);
    struct spin spin = {.grid = shape->blocks ? shape->blocks : shape->blocks_per_sm * sms, .cooperative = shape->cooperative};
    CUstream stream;
    CUevent done[MOST];
    DO(spin_load(&spin));
    for (uint64_t until = now_ns() + warm_ns; now_ns() < until;) {
        DO(spin_calibrate(&spin, 1000)); /* a guess is good enough to be busy */
    }
    DO(spin_calibrate(&spin, shape->us ? shape->us : 20));
    DO(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    if (!inflight || inflight > MOST)
        inflight = MOST;
    for (unsigned i = 0; i < inflight; i++)
        DO(cu.cuEventCreate(&done[i], CU_EVENT_DISABLE_TIMING));
    CUgraphExec exec = shape->graph ? make_graph(&spin, shape, stream) : NULL;
    uint64_t start = now_ns(), bin_end = start + bin_ns, end = start + (uint64_t)(seconds * 1e9), sent = 0, got = 0, before = 0;
    printf("shape %s us %u per_us %u grid %u\n", shape->name, shape->us, spin.per_us, spin.grid);
    fflush(stdout);
    for (uint64_t now = start; now < end;) {
        if (sent - got == inflight) {
            DO(cu.cuEventSynchronize(done[got % inflight]));
            got++;
        }
        uint64_t before_launch = shape->sync ? now_ns() : 0;
        submit(shape, &spin, exec, stream, sent);
        DO(cu.cuEventRecord(done[sent % inflight], stream));
        sent++;
        if (shape->sync) {
            DO(cu.cuStreamSynchronize(stream));
            got = sent;
            if (wait_count < sizeof waits / sizeof *waits)
                waits[wait_count++] = (uint32_t)((now_ns() - before_launch) / 1000);
            if (pause_us)
                usleep(pause_us);
        }
        if (shape->burst && sent % (unsigned)shape->burst == 0) {
            DO(cu.cuStreamSynchronize(stream));
            usleep(5000);
        }
        while (got < sent && cu.cuEventQuery(done[got % inflight]) == CUDA_SUCCESS)
            got++;
        now = now_ns();
        if (now >= bin_end) {
            uint64_t n = got - before;
            printf("bin %.0f launches %llu worth_ms %.3f\n", (double)(now - start) / 1e6, (unsigned long long)n,
                   (double)(n * shape->launches) * shape->us / 1000.0);
            fflush(stdout);
            before = got;
            bin_end = now + bin_ns;
        }
    }
    DO(cu.cuStreamSynchronize(stream));
    printf("total_ms %.3f launches %llu worth_ms %.3f\n", (double)(now_ns() - start) / 1e6, (unsigned long long)sent,
           (double)(sent * shape->launches) * shape->us / 1000.0);
    say_waits();
    return 0;
}
