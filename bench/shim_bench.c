/* shim_bench.c - what the OpenCL layer costs over a driver that does nothing: time, and (by callgrind) instructions.
 * usage: shim_bench LAYER                   ns of an enqueue and of a buffer made and released, with the layer
 *        shim_bench LAYER enqueue|buffer|none N   N of them and nothing else
 * Enqueues are waited for 64 at a time, so that settling them counts, too. */
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_layer.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vgpu/page.h"
#include "vgpu/server.h"

#define EVENTS 64

/* --- the driver --- */

struct object { void(CL_CALLBACK *gone)(cl_mem, void *); void *data; };
static cl_ulong clock_ns = 1;
static struct event { cl_ulong start_ns, end_ns; } events[EVENTS];
static unsigned made;
static struct object object;

static cl_int CL_API_CALL enqueue(cl_command_queue q, cl_kernel k, cl_uint d, const size_t *o, const size_t *g, const size_t *l, cl_uint n,
                                  const cl_event *list, cl_event *event)
{
    struct event *e = &events[made++ % EVENTS];
    e->start_ns = clock_ns;
    e->end_ns = clock_ns += 1000;
    if (event)
        *event = (cl_event)e;
    return CL_SUCCESS;
}
static cl_int CL_API_CALL event_ok(cl_event event) { return CL_SUCCESS; }
static cl_int CL_API_CALL queue_ok(cl_command_queue q) { return CL_SUCCESS; }
static cl_int CL_API_CALL on_end(cl_event event, cl_int type, void(CL_CALLBACK *notify)(cl_event, cl_int, void *), void *data)
{
    notify(event, CL_COMPLETE, data);
    return CL_SUCCESS;
}
static cl_int CL_API_CALL event_info(cl_event event, cl_event_info name, size_t size, void *value, size_t *ret)
{
    *(cl_int *)value = CL_COMPLETE;
    return CL_SUCCESS;
}
static cl_int CL_API_CALL profile(cl_event event, cl_profiling_info name, size_t size, void *value, size_t *ret)
{
    const struct event *e = (const struct event *)event;
    *(cl_ulong *)value = name == CL_PROFILING_COMMAND_END ? e->end_ns : e->start_ns;
    return CL_SUCCESS;
}
static cl_mem CL_API_CALL create_buffer(cl_context c, cl_mem_flags f, size_t size, void *h, cl_int *status)
{
    *status = CL_SUCCESS;
    return (cl_mem)&object;
}
static cl_int CL_API_CALL on_gone(cl_mem memory, void(CL_CALLBACK *gone)(cl_mem, void *), void *data)
{
    object = (struct object){gone, data};
    return CL_SUCCESS;
}
static cl_int CL_API_CALL release(cl_mem memory)
{
    if (object.gone)
        object.gone(memory, object.data);
    object.gone = NULL;
    return CL_SUCCESS;
}
static cl_int CL_API_CALL memory_info(cl_mem m, cl_mem_info name, size_t size, void *value, size_t *ret)
{
    *(size_t *)value = 4096;
    return CL_SUCCESS;
}

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "shim_bench: %s failed\n", what);
    exit(1);
}

/* --- the layer over it, in a lease --- */

static const cl_icd_dispatch *start(struct fg_vgpu_server **server, const char *path)
{
    static cl_icd_dispatch target = {.clEnqueueNDRangeKernel = enqueue, .clFinish = queue_ok, .clFlush = queue_ok,
        .clGetEventInfo = event_info, .clGetEventProfilingInfo = profile, .clSetEventCallback = on_end, .clRetainEvent = event_ok,
        .clReleaseEvent = event_ok, .clCreateBuffer = create_buffer, .clReleaseMemObject = release, .clGetMemObjectInfo = memory_info,
        .clSetMemObjectDestructorCallback = on_gone};
    struct fg_lease_spec spec = {.id = "bench", .device = "stand-in", .memory_bytes = 1 << 30, .share_permille = 1000};
    const cl_icd_dispatch *layer = NULL;
    struct fg_error err;
    char where[256];
    cl_uint entries = 0;
    must(fg_vgpu_server_create(server, NULL, &err) == 0 && fg_vgpu_server_device(*server, "stand-in", 1 << 30, &err) == 0 &&
             fg_vgpu_server_open(*server, &spec, NULL, &err) == 0 && fg_vgpu_server_env(*server, "bench", where, sizeof where, &err) == 0,
         "the server");
    setenv(FG_LEASE_ENV, where, 1);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    pfn_clInitLayer init = library ? (pfn_clInitLayer)dlsym(library, "clInitLayer") : NULL;
    must(init && init(sizeof target / sizeof(void *), &target, &entries, &layer) == CL_SUCCESS, "the layer");
    return layer;
}

static void enqueues(const cl_icd_dispatch *layer, int n)
{
    const size_t one = 1;
    for (int i = 1; i <= n; i++) {
        must(layer->clEnqueueNDRangeKernel(NULL, NULL, 1, NULL, &one, &one, 0, NULL, NULL) == CL_SUCCESS, "an enqueue");
        if (i % EVENTS == 0)
            layer->clFinish(NULL);
    }
    layer->clFinish(NULL);
}

static void buffers(const cl_icd_dispatch *layer, int n)
{
    for (int i = 0; i < n; i++) {
        cl_int status;
        cl_mem memory = layer->clCreateBuffer(NULL, 0, 4096, NULL, &status);
        must(memory != NULL, "a buffer");
        layer->clReleaseMemObject(memory);
    }
}

static double best_of(void (*run)(const cl_icd_dispatch *, int), const cl_icd_dispatch *layer)
{
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        int64_t begin = fg_boot_ns();
        run(layer, 64000);
        double ns = (double)(fg_boot_ns() - begin) / 64000;
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    struct fg_vgpu_server *server;
    must(argc >= 2, "usage: see the head of shim_bench.c:");
    int n = argc > 3 ? atoi(argv[3]) : 0;
    const cl_icd_dispatch *layer = start(&server, argv[1]);
    enqueues(layer, 256);
    buffers(layer, 16);
    if (n && !strcmp(argv[2], "enqueue"))
        enqueues(layer, n);
    else if (n && !strcmp(argv[2], "buffer"))
        buffers(layer, n);
    else if (argc == 2)
        printf("enqueue and settle %.1f ns\nbuffer made and released %.1f ns\n", best_of(enqueues, layer), best_of(buffers, layer));
    fg_vgpu_server_destroy(server);
    return 0;
}
