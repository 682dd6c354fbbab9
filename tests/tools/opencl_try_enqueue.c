/* opencl_try_enqueue.c - each way to submit is counted once and settled; and queues look as the program asked for them. */
#include <string.h>
#include <time.h>

#include "opencl_try.h"

#define BYTES 4096

static const char source[] = "__kernel void k(__global uint *a) { a[get_global_id(0)] += 1; }";
static const size_t zero[3], one[3] = {1, 1, 1}, region[3] = {64, 4, 1}, items = 64, corner[3] = {16, 16, 1};
static cl_kernel kernel;
static cl_mem a, b, picture;
static void *svm;
static char host[2 * BYTES];
static unsigned long long before;

/* One line for each: name, status, jobs counted. */
static void counted(const char *name, cl_int status)
{
    clFinish(w.queue);
    EQUAL(quiet(), 1);
    unsigned long long now = submitted();
    printf("%s %d %llu\n", name, status, now - before);
    before = now;
}
#define TRY(name, ...) counted(#name, name(w.queue, __VA_ARGS__, 0, NULL, NULL))

static void CL_CALLBACK native(void *unused) {}

static void make(void)
{
    cl_int status;
    const char *text = source;
    cl_image_format format = {CL_RGBA, CL_UNSIGNED_INT8};
    cl_image_desc desc = {.image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = 16, .image_height = 16};
    cl_program program = clCreateProgramWithSource(w.context, 1, &text, NULL, &status);
    EQUAL(clBuildProgram(program, 1, &w.device, "", NULL, NULL), CL_SUCCESS);
    kernel = clCreateKernel(program, "k", &status);
    a = clCreateBuffer(w.context, CL_MEM_READ_WRITE, BYTES, NULL, &status);
    b = clCreateBuffer(w.context, CL_MEM_READ_WRITE, BYTES, NULL, &status);
    picture = clCreateImage(w.context, CL_MEM_READ_WRITE, &format, &desc, NULL, &status);
    EQUAL(status, CL_SUCCESS);
    svm = clSVMAlloc(w.context, CL_MEM_READ_WRITE, BYTES, 0);
    EQUAL(clSetKernelArg(kernel, 0, sizeof a, &a), CL_SUCCESS);
}

static void transfers(void)
{
    TRY(clEnqueueWriteBuffer, a, CL_FALSE, 0, BYTES, host);
    TRY(clEnqueueReadBuffer, a, CL_TRUE, 0, BYTES, host);
    TRY(clEnqueueWriteBufferRect, a, CL_FALSE, zero, zero, region, 0, 0, 0, 0, host);
    TRY(clEnqueueReadBufferRect, a, CL_TRUE, zero, zero, region, 0, 0, 0, 0, host);
    TRY(clEnqueueCopyBuffer, a, b, 0, 0, BYTES);
    TRY(clEnqueueCopyBufferRect, a, b, zero, zero, region, 0, 0, 0, 0);
    TRY(clEnqueueFillBuffer, a, host, 4, 0, BYTES);
    TRY(clEnqueueWriteImage, picture, CL_TRUE, zero, corner, 0, 0, host);
    TRY(clEnqueueReadImage, picture, CL_TRUE, zero, corner, 0, 0, host);
    TRY(clEnqueueFillImage, picture, (cl_uint[4]){1, 2, 3, 4}, zero, corner);
    TRY(clEnqueueCopyImage, picture, picture, zero, (size_t[3]){8, 8, 0}, one);
    TRY(clEnqueueCopyImageToBuffer, picture, a, zero, corner, 0);
    TRY(clEnqueueCopyBufferToImage, a, picture, 0, zero, corner);
    TRY(clEnqueueMigrateMemObjects, 1, &a, CL_MIGRATE_MEM_OBJECT_HOST);
}

static void maps(void)
{
    cl_int status;
    size_t pitch;
    void *at = clEnqueueMapBuffer(w.queue, a, CL_TRUE, CL_MAP_READ, 0, BYTES, 0, NULL, NULL, &status);
    counted("clEnqueueMapBuffer", status);
    TRY(clEnqueueUnmapMemObject, a, at);
    at = clEnqueueMapImage(w.queue, picture, CL_TRUE, CL_MAP_READ, zero, corner, &pitch, NULL, 0, NULL, NULL, &status);
    counted("clEnqueueMapImage", status);
    TRY(clEnqueueUnmapMemObject, picture, at);
    TRY(clEnqueueSVMMap, CL_TRUE, CL_MAP_WRITE, svm, BYTES);
    TRY(clEnqueueSVMUnmap, svm);
    TRY(clEnqueueSVMMemFill, svm, host, 4, BYTES);
    TRY(clEnqueueSVMMemcpy, CL_TRUE, svm, host, BYTES);
    TRY(clEnqueueSVMMigrateMem, 1, (const void **)&svm, NULL, CL_MIGRATE_MEM_OBJECT_HOST);
    TRY(clEnqueueSVMFree, 1, &svm, NULL, NULL);
}

#define EXTENSION(name) ((name##_fn)clGetExtensionFunctionAddressForPlatform(w.platform, #name))

/* A finished command buffer of this many kernels, or NULL. */
static cl_command_buffer_khr record(unsigned kernels, const size_t *global)
{
    clCreateCommandBufferKHR_fn create = EXTENSION(clCreateCommandBufferKHR);
    clCommandNDRangeKernelKHR_fn command = EXTENSION(clCommandNDRangeKernelKHR);
    clFinalizeCommandBufferKHR_fn finalize = EXTENSION(clFinalizeCommandBufferKHR);
    cl_int status;
    if (!create || !command || !finalize)
        return NULL;
    cl_command_buffer_khr commands = create(1, &w.queue, NULL, &status);
    EQUAL(status, CL_SUCCESS);
    for (unsigned i = 0; i < kernels; i++)
        EQUAL(command(commands, NULL, NULL, kernel, 1, NULL, global, NULL, 0, NULL, NULL, NULL), CL_SUCCESS);
    EQUAL(finalize(commands), CL_SUCCESS);
    return commands;
}

/* Ten kernels recorded, run three times: three jobs, and three times ten additions. */
static void command_buffer(void)
{
    clEnqueueCommandBufferKHR_fn enqueue = EXTENSION(clEnqueueCommandBufferKHR);
    cl_command_buffer_khr commands = enqueue ? record(10, &items) : NULL;
    cl_uint value = 7;
    if (!commands) {
        puts("clEnqueueCommandBufferKHR absent");
        return;
    }
    TRY(clEnqueueFillBuffer, a, &value, 4, 0, BYTES);
    for (int i = 0; i < 3; i++)
        counted("clEnqueueCommandBufferKHR", enqueue(0, NULL, commands, 0, NULL, NULL));
    TRY(clEnqueueReadBuffer, a, CL_TRUE, 0, sizeof value, &value);
    EQUAL(value, 37);
}

static unsigned long long device_ns(void)
{
    unsigned long long sum = 0;
    EQUAL(quiet(), 1);
    for (unsigned i = 0; i < FG_SLOTS; i++)
        sum += fg_get(&w.counters->slots[i].device_ns);
    return sum;
}

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Prints how long a command buffer of ten kernels took, from submit to finish, and what it was charged. */
int try_commands(void)
{
    const size_t many = 1 << 22;
    clEnqueueCommandBufferKHR_fn enqueue = EXTENSION(clEnqueueCommandBufferKHR);
    cl_int status;
    make();
    cl_mem large = clCreateBuffer(w.context, CL_MEM_READ_WRITE, many * 4, NULL, &status);
    EQUAL(clSetKernelArg(kernel, 0, sizeof large, &large), CL_SUCCESS);
    cl_command_buffer_khr commands = enqueue ? record(10, &many) : NULL;
    if (!commands)
        return 77;
    for (int i = 0; i < 2; i++) { /* the first compiles and touches the memory */
        unsigned long long before_ns = device_ns();
        long long began = now_ns();
        EQUAL(enqueue(0, NULL, commands, 0, NULL, NULL), CL_SUCCESS);
        EQUAL(clFinish(w.queue), CL_SUCCESS);
        long long wall = now_ns() - began;
        if (i)
            printf("%lld %llu\n", wall, device_ns() - before_ns);
        device_ns();
    }
    return 0;
}

int try_enqueue(void)
{
    typedef cl_int (*ndrange)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,
                              const cl_event *, cl_event *);
    make();
    TRY(clEnqueueNDRangeKernel, kernel, 1, NULL, &items, NULL);
    TRY(clEnqueueTask, kernel);
    TRY(clEnqueueNativeKernel, native, NULL, 0, 0, NULL, NULL);
    transfers();
    maps();
    command_buffer();
    ndrange by_name = (ndrange)clGetExtensionFunctionAddressForPlatform(w.platform, "clEnqueueNDRangeKernel");
    if (by_name)
        counted("by_name", by_name(w.queue, kernel, 1, NULL, &items, NULL, 0, NULL, NULL));
    counted("bad", clEnqueueNDRangeKernel(w.queue, kernel, 99, NULL, &items, NULL, 0, NULL, NULL));
    printf("refused %d\n", clGetExtensionFunctionAddressForPlatform(w.platform, "clImportMemoryARM") == NULL);
    return 0;
}

/* Profiling is on beneath, and not to be seen unless asked for. */
static void looks_as_asked(cl_command_queue queue, cl_command_queue_properties asked, cl_uint array_words)
{
    cl_command_queue_properties shown = 99;
    cl_queue_properties array[8];
    size_t length = 99;
    cl_event event;
    cl_ulong start;
    EQUAL(clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof shown, &shown, NULL), CL_SUCCESS);
    EQUAL(shown, asked);
    EQUAL(clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES_ARRAY, sizeof array, array, &length), CL_SUCCESS);
    EQUAL(length, array_words * sizeof *array);
    if (array_words)
        EQUAL(array[1], asked);
    EQUAL(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, NULL, 0, NULL, &event), CL_SUCCESS);
    EQUAL(clWaitForEvents(1, &event), CL_SUCCESS);
    EQUAL(clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL),
          asked & CL_QUEUE_PROFILING_ENABLE ? CL_SUCCESS : CL_PROFILING_INFO_NOT_AVAILABLE);
    clReleaseEvent(event);
    EQUAL(clReleaseCommandQueue(queue), CL_SUCCESS);
}

int try_queue(void)
{
    cl_int status;
    const cl_command_queue_properties order = CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, profile = CL_QUEUE_PROFILING_ENABLE;
    make();
    looks_as_asked(clCreateCommandQueue(w.context, w.device, order, &status), order, 0);
    looks_as_asked(clCreateCommandQueue(w.context, w.device, profile, &status), profile, 0);
    looks_as_asked(clCreateCommandQueueWithProperties(w.context, w.device, NULL, &status), 0, 0);
    cl_queue_properties array[] = {CL_QUEUE_PROPERTIES, order, 0};
    looks_as_asked(clCreateCommandQueueWithProperties(w.context, w.device, array, &status), order, 3);
    array[1] = order | CL_QUEUE_ON_DEVICE;
    EQUAL(clCreateCommandQueueWithProperties(w.context, w.device, array, &status) == NULL, 1);
    EQUAL(status, CL_INVALID_QUEUE_PROPERTIES);
    /* jobs that wait for an act of this very thread: the gate lets them in, however many */
    cl_event gate = clCreateUserEvent(w.context, &status);
    for (int i = 0; i < 200; i++)
        EQUAL(clEnqueueNDRangeKernel(w.queue, kernel, 1, NULL, &items, NULL, 1, &gate, NULL), CL_SUCCESS);
    EQUAL(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    EQUAL(clFinish(w.queue), CL_SUCCESS);
    clReleaseEvent(gate);
    EQUAL(quiet(), 1);
    return 0;
}
