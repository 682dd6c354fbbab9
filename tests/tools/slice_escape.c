/* slice_escape.c - ways in which a program may get past the layer that keeps its slice's limits, by intent or not. Each asks
 * for buffers of 1 MiB until it is refused or has 16 and says "granted N"; what has more than the quota then waits to be
 * stopped. usage: slice_escape WAY [ARGUMENT] */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_icd.h>

enum { MOST = 16 };
static const size_t MIB = 1 << 20;

/* --- a driver or a loader, however it was found --- */

struct opencl {
    cl_api_clGetDeviceIDs devices;
    cl_api_clCreateContext context;
    cl_api_clCreateBuffer buffer;
    cl_platform_id platform;
};

static void die(const char *what)
{
    printf("%s\n", what);
    fflush(stdout);
    _exit(3);
}

static struct opencl from_loader(void *library)
{
    struct opencl cl;
    cl_int (*platforms)(cl_uint, cl_platform_id *, cl_uint *) = library ? dlsym(library, "clGetPlatformIDs") : NULL;
    if (!platforms)
        die("no loader");
    cl.devices = dlsym(library, "clGetDeviceIDs");
    cl.context = dlsym(library, "clCreateContext");
    cl.buffer = dlsym(library, "clCreateBuffer");
    if (platforms(1, &cl.platform, NULL) != CL_SUCCESS)
        die("no platform");
    return cl;
}

/* Past the loader: the driver's own entry, and the table that its platform carries. */
static struct opencl from_driver(const char *path)
{
    struct opencl cl;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *(*entry)(const char *) = library ? dlsym(library, "clGetExtensionFunctionAddress") : NULL;
    cl_int (*platforms)(cl_uint, cl_platform_id *, cl_uint *) = entry ? entry("clIcdGetPlatformIDsKHR") : NULL;
    if (!platforms || platforms(1, &cl.platform, NULL) != CL_SUCCESS)
        die("no driver");
    const cl_icd_dispatch *table = *(const cl_icd_dispatch *const *)cl.platform;
    cl.devices = table->clGetDeviceIDs;
    cl.context = table->clCreateContext;
    cl.buffer = table->clCreateBuffer;
    return cl;
}

static cl_context context_of(const struct opencl *cl)
{
    cl_device_id device;
    cl_int error;
    if (cl->devices(cl->platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL) != CL_SUCCESS)
        die("no device");
    cl_context context = cl->context(NULL, 1, &device, NULL, NULL, &error);
    if (!context)
        die("no context");
    return context;
}

static int fill(const struct opencl *cl, cl_context context, int most)
{
    int got = 0;
    cl_int error;
    while (got < most && cl->buffer(context, CL_MEM_READ_WRITE, MIB, NULL, &error))
        got++;
    return got;
}

/* Until it is stopped: the processor time of who is not in the books counts. */
static void work(void)
{
    for (time_t end = time(NULL) + 100; time(NULL) < end;)
        ;
}

static void try(struct opencl cl, int wait)
{
    int got = fill(&cl, context_of(&cl), MOST);
    printf("granted %d\n", got);
    fflush(stdout);
    if (got == MOST)
        work();
    else if (wait)
        sleep(60);
}

/* --- the ways --- */

static void *loader(int flags) { return dlopen("libOpenCL.so.1", flags); }

/* The child has the parent's context, and no memory of its own. */
static int by_fork(void)
{
    struct opencl cl = from_loader(loader(RTLD_NOW));
    cl_context context = context_of(&cl);
    int before = fill(&cl, context, 6);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int got = fill(&cl, context, MOST);
        printf("before %d granted %d\n", before, got);
        fflush(stdout);
        if (got == MOST)
            work();
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return 0;
}

/* A child with another image, beside a parent who holds six. */
static int by_exec(const char *self)
{
    struct opencl cl = from_loader(loader(RTLD_NOW));
    fill(&cl, context_of(&cl), 6);
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, "plain", (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return 0;
}

static struct { struct opencl cl; cl_context context; int got; } shared;

static void *one_thread(void *unused)
{
    __atomic_fetch_add(&shared.got, fill(&shared.cl, shared.context, 4), __ATOMIC_SEQ_CST);
    return NULL;
}

static int by_threads(void)
{
    pthread_t threads[32];
    shared.cl = from_loader(loader(RTLD_NOW));
    shared.context = context_of(&shared.cl);
    for (size_t i = 0; i < 32; i++)
        if (pthread_create(&threads[i], NULL, one_thread, NULL) != 0)
            die("no thread");
    for (size_t i = 0; i < 32; i++)
        pthread_join(threads[i], NULL);
    printf("granted %d\n", shared.got);
    return 0;
}

/* Two copies of loader, layer and driver in one process. */
static int by_namespaces(void)
{
    struct opencl first = from_loader(dlmopen(LM_ID_NEWLM, "libOpenCL.so.1", RTLD_NOW));
    fill(&first, context_of(&first), 6);
    try(from_loader(dlmopen(LM_ID_NEWLM, "libOpenCL.so.1", RTLD_NOW)), 0);
    return 0;
}

static int by_hiding(const char *driver)
{
    prctl(PR_SET_DUMPABLE, 0); /* nobody of this user can look at us from now on */
    try(from_driver(driver), 0);
    return 0;
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "";
    if (!strcmp(way, "plain"))
        try(from_loader(loader(RTLD_NOW)), 0);
    else if (!strcmp(way, "wait")) /* holds what it got */
        try(from_loader(loader(RTLD_NOW)), 1);
    else if (!strcmp(way, "local"))
        try(from_loader(loader(RTLD_NOW | RTLD_LOCAL)), 0);
    else if (!strcmp(way, "deepbind"))
        try(from_loader(loader(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)), 0);
    else if (!strcmp(way, "dlmopen"))
        try(from_loader(dlmopen(LM_ID_NEWLM, "libOpenCL.so.1", RTLD_NOW)), 0);
    else if (!strcmp(way, "namespaces"))
        return by_namespaces();
    else if (!strcmp(way, "fork"))
        return by_fork();
    else if (!strcmp(way, "exec"))
        return by_exec(argv[0]);
    else if (!strcmp(way, "threads"))
        return by_threads();
    else if (!strcmp(way, "clearenv")) {
        clearenv();
        try(from_loader(loader(RTLD_NOW)), 0);
    } else if (!strcmp(way, "own-lease")) {
        setenv("FGPU_LEASE", argument, 1);
        try(from_loader(loader(RTLD_NOW)), 0);
    } else if (!strcmp(way, "driver"))
        try(from_driver(argument), 0);
    else if (!strcmp(way, "hidden"))
        return by_hiding(argument);
    else
        die("usage: slice_escape WAY [ARGUMENT]");
    return 0;
}
