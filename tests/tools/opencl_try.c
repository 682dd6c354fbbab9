/* opencl_try.c - drives every entry point of OpenCL inside a vGPU and compares the lease's counters with what it knows it did.
 * usage: opencl_try alloc|hold|leave ENTRY | shared | enqueue | queue | commands.
 * Exits 0 when all claims hold, 77 when the driver lacks it. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "opencl_try.h"

struct world w;

static void *map(const char *path, size_t size)
{
    int fd = open(path, O_RDONLY);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(fd);
    return at;
}

static void open_counters(void)
{
    char limits[512];
    const char *lease = getenv(FG_LEASE_ENV), *colon = lease ? strchr(lease, ':') : NULL;
    if (!colon || colon - lease >= (long)sizeof limits) {
        fputs("opencl_try: run me in a lease\n", stderr);
        exit(2);
    }
    memcpy(limits, lease, (size_t)(colon - lease));
    limits[colon - lease] = 0;
    w.limits = map(limits, 4096);
    w.counters = map(colon + 1, sizeof *w.counters);
}

unsigned long long submitted(void)
{
    unsigned long long sum = fg_get(&w.counters->gone_settled);
    for (unsigned i = 0; i < FG_SLOTS; i++)
        sum += fg_get(&w.counters->slots[i].settled) + fg_inflight_jobs(fg_get(&w.counters->slots[i].inflight));
    return sum;
}

int quiet(void)
{
    for (int tries = 0; tries < 5000; tries++) {
        unsigned jobs = 0;
        for (unsigned i = 0; i < FG_SLOTS; i++)
            jobs += fg_inflight_jobs(fg_get(&w.counters->slots[i].inflight));
        if (!jobs)
            return 1;
        usleep(1000);
    }
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_counters();
    cl_int status = clGetPlatformIDs(1, &w.platform, NULL);
    if (status != CL_SUCCESS || clGetDeviceIDs(w.platform, CL_DEVICE_TYPE_ALL, 1, &w.device, NULL) != CL_SUCCESS) {
        puts("no OpenCL device");
        return 77;
    }
    w.context = clCreateContext(NULL, 1, &w.device, NULL, NULL, &status);
    EQUAL(status, CL_SUCCESS);
    w.queue = clCreateCommandQueue(w.context, w.device, 0, &status);
    EQUAL(status, CL_SUCCESS);
    const char *verb = argc > 1 ? argv[1] : "", *entry = argc > 2 ? argv[2] : "";
    int answer = !strcmp(verb, "alloc") ? try_alloc(entry) : !strcmp(verb, "hold") ? try_hold(entry, 1) :
                 !strcmp(verb, "leave") ? try_hold(entry, 0) : !strcmp(verb, "shared") ? try_shared() :
                 !strcmp(verb, "enqueue") ? try_enqueue() : !strcmp(verb, "queue") ? try_queue() :
                 !strcmp(verb, "commands") ? try_commands() : 2;
    return answer;
}
