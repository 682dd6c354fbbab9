/* opencl_client.c - an OpenCL program like any other, for opencl_bench: it knows nothing of vGPUs and times its kernels itself, by
 * the driver's events.
 * usage: opencl_client LOG_FD calibrate
 *        opencl_client LOG_FD stream LOOPS DEPTH ON_MS OFF_MS    kernels one after the other, DEPTH of them queued
 *        opencl_client LOG_FD rounds LOOPS DEPTH COUNT           COUNT kernels a round, in batches of DEPTH that are waited for
 * A kernel is one work item that computes LOOPS times: its time depends on no memory and on no second core. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "opencl_log.h"

#define DEPTH_MAX 1024

static const char source[] = "__kernel void spin(__global float *a, int n)"
                             "{ float x = a[0]; for (int j = 0; j < n; j++) x = x * 0.999f + 0.5f; a[0] = x; }";
static struct log *shared;
static cl_context context;
static cl_command_queue queue;
static cl_kernel kernel;

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "opencl_client: %s failed\n", what);
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void set(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Returns the new value of go; 0 when it is time to stop. */
static uint32_t await_go(uint32_t seen)
{
    uint32_t now;
    while ((now = __atomic_load_n(&shared->go, __ATOMIC_SEQ_CST)) == seen && !__atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &shared->go, FUTEX_WAIT, seen, &(struct timespec){1, 0}, NULL, 0);
    return __atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST) ? 0 : now;
}

static void make(int profile)
{
    cl_int status;
    cl_platform_id platform;
    cl_device_id device;
    const char *text = source;
    must(clGetPlatformIDs(1, &platform, NULL) == CL_SUCCESS, "clGetPlatformIDs");
    must(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL) == CL_SUCCESS, "clGetDeviceIDs");
    context = clCreateContext(NULL, 1, &device, NULL, NULL, &status);
    must(status == CL_SUCCESS, "clCreateContext");
    queue = clCreateCommandQueue(context, device, profile ? CL_QUEUE_PROFILING_ENABLE : 0, &status);
    must(status == CL_SUCCESS, "clCreateCommandQueue");
    cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, &status);
    must(status == CL_SUCCESS && clBuildProgram(program, 1, &device, "", NULL, NULL) == CL_SUCCESS, "clBuildProgram");
    kernel = clCreateKernel(program, "spin", &status);
    must(status == CL_SUCCESS, "clCreateKernel");
    cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, &status);
    must(status == CL_SUCCESS && clSetKernelArg(kernel, 0, sizeof memory, &memory) == CL_SUCCESS, "clCreateBuffer");
}

static void set_loops(cl_int loops) { must(clSetKernelArg(kernel, 1, sizeof loops, &loops) == CL_SUCCESS, "clSetKernelArg"); }

static void submit(cl_event *event)
{
    static const size_t one = 1;
    must(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &one, &one, 0, NULL, event) == CL_SUCCESS, "clEnqueueNDRangeKernel");
}

/* Waits for it. */
static struct span times_of(cl_event event)
{
    cl_ulong start = 0, end = 0;
    must(clWaitForEvents(1, &event) == CL_SUCCESS, "clWaitForEvents");
    must(clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) == CL_SUCCESS &&
             clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) == CL_SUCCESS,
         "clGetEventProfilingInfo");
    clReleaseEvent(event);
    return (struct span){start, end};
}

static struct span one_kernel(void)
{
    cl_event event;
    submit(&event);
    clFlush(queue);
    return times_of(event);
}

static int by_length(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    uint64_t p = x->end_ns - x->start_ns, q = y->end_ns - y->start_ns;
    return (p > q) - (p < q);
}

static void calibrate(void)
{
    struct span spans[31];
    set_loops(1000000);
    for (int i = 0; i < 31; i++)
        spans[i] = one_kernel();
    qsort(spans, 31, sizeof *spans, by_length);
    shared->loops_per_ms = (uint64_t)(1e12 / (double)(spans[15].end_ns - spans[15].start_ns));
}

static void note(cl_event event)
{
    struct span span = times_of(event);
    if (shared->count < LOG_SPANS)
        shared->spans[shared->count] = span;
    __atomic_store_n(&shared->count, shared->count + 1, __ATOMIC_RELEASE);
}

static int stopping(void) { return (int)__atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST); }

/* Kernels until end_ns (0: for ever) or stop. */
static void stream_until(unsigned depth, uint64_t end_ns)
{
    cl_event events[DEPTH_MAX];
    uint64_t head = 0, tail = 0;
    while (!stopping() && (!end_ns || now_ns(CLOCK_MONOTONIC) < end_ns)) {
        if (head - tail == depth)
            note(events[tail++ % depth]);
        submit(&events[head++ % depth]);
        clFlush(queue);
    }
    while (tail < head)
        note(events[tail++ % depth]);
}

static void stream(unsigned depth, uint64_t on_ms, uint64_t off_ms)
{
    while (!stopping()) {
        stream_until(depth, off_ms ? now_ns(CLOCK_MONOTONIC) + on_ms * 1000000 : 0);
        if (off_ms)
            nanosleep(&(struct timespec){(time_t)(off_ms / 1000), (long)(off_ms % 1000 * 1000000)}, NULL);
    }
}

static void round_of(unsigned depth, unsigned count)
{
    uint64_t wall = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 1; i <= count; i++) {
        submit(NULL);
        if (i % depth == 0 || i == count)
            clFinish(queue);
    }
    shared->spans[shared->count++ % LOG_SPANS] = (struct span){now_ns(CLOCK_MONOTONIC) - wall, now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu};
}

static void warm(int profile)
{
    for (int i = 0; i < 20; i++) {
        submit(NULL);
        clFinish(queue);
    }
    if (!profile)
        return;
    uint64_t before = now_ns(CLOCK_MONOTONIC);
    struct span span = one_kernel();
    shared->offset_ns = (int64_t)(span.end_ns - (before + now_ns(CLOCK_MONOTONIC)) / 2);
}

int main(int argc, char **argv)
{
    must(argc >= 3, "usage: see the head of opencl_client.c:");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
    must(shared != MAP_FAILED, "mmap");
    int rounds = !strcmp(argv[2], "rounds");
    unsigned depth = argc > 4 ? (unsigned)atoi(argv[4]) : 1;
    must(depth >= 1 && depth <= DEPTH_MAX, "a depth of 1 to 1024:");
    make(!rounds);
    if (!strcmp(argv[2], "calibrate")) {
        calibrate();
        return 0;
    }
    must(argc >= (rounds ? 6 : 7), "usage: see the head of opencl_client.c:");
    set_loops(1000);
    warm(!rounds);
    set_loops(atoi(argv[3]));
    set(&shared->ready, 1);
    for (uint32_t go = 0; (go = await_go(go));) {
        if (rounds)
            round_of(depth, (unsigned)atoi(argv[5]));
        else
            stream(depth, (uint64_t)atoll(argv[5]), (uint64_t)atoll(argv[6]));
        set(&shared->done, go);
    }
    return 0;
}
