/* opencl_try_memory.c - each way to get memory, up to the quota and one step over it, and each way to give it back. */
#include <string.h>
#include <unistd.h>

#include "opencl_try.h"

#define QUOTA (UINT64_C(64) << 20) /* what the tests lease */
#define SIDE  2048                 /* of an image of RGBA bytes: 16 MiB, a quarter of the quota */

static const cl_image_format rgba = {CL_RGBA, CL_UNORM_INT8};
static void *host;                 /* 16 MiB for those who bring their own */

/* Each makes a quarter of the quota, or (small) the least it can, and returns it or NULL with *status. */
static void *buffer_of(cl_mem_flags flags, int small, cl_int *status)
{
    return clCreateBuffer(w.context, flags, small ? 1 : QUOTA / 4, flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR) ? host : NULL,
                          status);
}
static void *buffer(int small, cl_int *status) { return buffer_of(CL_MEM_READ_WRITE, small, status); }
static void *buffer_use(int small, cl_int *status) { return buffer_of(CL_MEM_USE_HOST_PTR, small, status); }
static void *buffer_copy(int small, cl_int *status) { return buffer_of(CL_MEM_COPY_HOST_PTR, small, status); }
static void *buffer_host(int small, cl_int *status) { return buffer_of(CL_MEM_ALLOC_HOST_PTR, small, status); }
static void *buffer_properties(int small, cl_int *status)
{
    return clCreateBufferWithProperties(w.context, NULL, CL_MEM_READ_WRITE, small ? 1 : QUOTA / 4, NULL, status);
}

static cl_image_desc square(int small)
{
    size_t side = small ? 1 : SIDE;
    return (cl_image_desc){.image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = side, .image_height = side};
}
static void *image(int small, cl_int *status)
{
    cl_image_desc desc = square(small);
    return clCreateImage(w.context, CL_MEM_READ_WRITE, &rgba, &desc, NULL, status);
}
static void *image_array(int small, cl_int *status)
{
    cl_image_desc desc = square(small);
    desc.image_type = CL_MEM_OBJECT_IMAGE2D_ARRAY;
    desc.image_array_size = small ? 1 : 4;
    desc.image_height = small ? 1 : SIDE / 4;
    return clCreateImage(w.context, CL_MEM_READ_WRITE, &rgba, &desc, NULL, status);
}
static void *image_properties(int small, cl_int *status)
{
    cl_image_desc desc = square(small);
    return clCreateImageWithProperties(w.context, NULL, CL_MEM_READ_WRITE, &rgba, &desc, NULL, status);
}
static void *image_2d(int small, cl_int *status)
{
    size_t side = small ? 1 : SIDE;
    return clCreateImage2D(w.context, CL_MEM_READ_WRITE, &rgba, side, side, 0, NULL, status);
}
static void *image_3d(int small, cl_int *status)
{
    size_t side = small ? 1 : SIDE;
    return clCreateImage3D(w.context, CL_MEM_READ_WRITE, &rgba, side, side / (small ? 1 : 8), small ? 2 : 8, 0, 0, NULL, status);
}
static void *svm(int small, cl_int *status)
{
    void *made = clSVMAlloc(w.context, CL_MEM_READ_WRITE, small ? 1 : QUOTA / 4, 0);
    *status = made ? CL_SUCCESS : CL_MEM_OBJECT_ALLOCATION_FAILURE; /* it has no code of its own */
    return made;
}

static void free_object(void *made) { EQUAL(clReleaseMemObject(made), CL_SUCCESS); }
static void free_svm(void *made) { clSVMFree(w.context, made); }
static void free_svm_later(void *made)
{
    EQUAL(clEnqueueSVMFree(w.queue, 1, &made, NULL, NULL, 0, NULL, NULL), CL_SUCCESS);
    EQUAL(clFinish(w.queue), CL_SUCCESS);
}
static void CL_CALLBACK free_them(cl_command_queue queue, cl_uint count, void *pointers[], void *unused)
{
    for (cl_uint i = 0; i < count; i++)
        clSVMFree(w.context, pointers[i]);
}
static void free_svm_by_function(void *made)
{
    EQUAL(clEnqueueSVMFree(w.queue, 1, &made, free_them, NULL, 0, NULL, NULL), CL_SUCCESS);
    EQUAL(clFinish(w.queue), CL_SUCCESS);
}

static const struct way { const char *name; void *(*make)(int, cl_int *); void (*drop)(void *); } ways[] = {
    {"clCreateBuffer", buffer, free_object},
    {"clCreateBuffer:use", buffer_use, free_object},
    {"clCreateBuffer:copy", buffer_copy, free_object},
    {"clCreateBuffer:host", buffer_host, free_object},
    {"clCreateBufferWithProperties", buffer_properties, free_object},
    {"clCreateImage", image, free_object},
    {"clCreateImage:array", image_array, free_object},
    {"clCreateImageWithProperties", image_properties, free_object},
    {"clCreateImage2D", image_2d, free_object},
    {"clCreateImage3D", image_3d, free_object},
    {"clSVMAlloc", svm, free_svm},
    {"clSVMAlloc:enqueue", svm, free_svm_later},
    {"clSVMAlloc:function", svm, free_svm_by_function},
};

static const struct way *find(const char *name)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(ways[i].name, name))
            return &ways[i];
    fprintf(stderr, "opencl_try: unknown entry point %s\n", name);
    exit(2);
}

/* A command that frees is done before its callback credits, by a moment. */
static void used_becomes(unsigned long long bytes)
{
    for (int tries = 0; tries < 5000 && used() != bytes; tries++)
        usleep(1000);
    EQUAL(used(), bytes);
}

static void fill(const struct way *way, void *made[4])
{
    for (unsigned i = 0; i < 4; i++) {
        cl_int status = 1;
        made[i] = way->make(0, &status);
        EQUAL(status, CL_SUCCESS);
        EQUAL(used(), (i + 1) * QUOTA / 4);
    }
}

static void refused(const struct way *way)
{
    cl_int status = CL_SUCCESS;
    EQUAL(way->make(1, &status) == NULL, 1);
    EQUAL(status, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    EQUAL(used(), QUOTA);
}

int try_alloc(const char *name)
{
    static const unsigned odd[4] = {2, 0, 3, 1};
    const struct way *way = find(name), *byte = find("clCreateBuffer");
    void *made[4];
    cl_int status;
    if (!(host = calloc(1, QUOTA / 4)))
        return 2;
    for (int round = 0; round < 2; round++) {
        fill(way, made);
        refused(way);
        refused(byte); /* one byte more, whoever asks */
        for (unsigned i = 0; i < 4; i++) {
            way->drop(made[odd[i]]);
            used_becomes(QUOTA - (i + 1) * QUOTA / 4);
        }
    }
    fill(way, made);
    if (way->make != svm) { /* objects outlive the program's reference to their context */
        EQUAL(clReleaseCommandQueue(w.queue), CL_SUCCESS);
        EQUAL(clReleaseContext(w.context), CL_SUCCESS);
        for (unsigned i = 0; i < 4; i++)
            way->drop(made[i]);
        used_becomes(0);
        w.context = clCreateContext(NULL, 1, &w.device, NULL, NULL, &status);
        w.queue = clCreateCommandQueue(w.context, w.device, 0, &status);
        fill(way, made);
    }
    return 0; /* and the rest by exit */
}

int try_hold(const char *name, int wait)
{
    void *made[4];
    host = calloc(1, QUOTA / 4);
    fill(find(name), made);
    refused(find(name));
    puts("holding");
    fflush(stdout);
    if (wait)
        pause();
    return 0;
}

/* What has no storage of its own is not charged, and keeps what it lies in charged. */
int try_shared(void)
{
    cl_int status;
    cl_mem parent = buffer(0, &status);
    EQUAL(used(), QUOTA / 4);
    cl_buffer_region region = {0, 4096};
    cl_mem part = clCreateSubBuffer(parent, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &status);
    EQUAL(status, CL_SUCCESS);
    cl_image_desc desc = {.image_type = CL_MEM_OBJECT_IMAGE1D_BUFFER, .image_width = 1024, .mem_object = parent};
    cl_mem view = clCreateImage(w.context, CL_MEM_READ_WRITE, &rgba, &desc, NULL, &status);
    EQUAL(used(), QUOTA / 4);
    EQUAL(clReleaseMemObject(parent), CL_SUCCESS);
    EQUAL(used(), QUOTA / 4);
    EQUAL(clReleaseMemObject(part), CL_SUCCESS);
    if (view)
        EQUAL(clReleaseMemObject(view), CL_SUCCESS);
    EQUAL(used(), 0);
    void *pointer = svm(0, &status);
    cl_mem over = clCreateBuffer(w.context, CL_MEM_USE_HOST_PTR, QUOTA / 4, pointer, &status);
    EQUAL(status, CL_SUCCESS);
    EQUAL(used(), QUOTA / 4);
    EQUAL(clReleaseMemObject(over), CL_SUCCESS);
    clSVMFree(w.context, pointer);
    EQUAL(used(), 0);
    EQUAL(clCreatePipe(w.context, 0, 1 << 20, 65, NULL, &status) == NULL, 1);
    EQUAL(status, CL_MEM_OBJECT_ALLOCATION_FAILURE); /* 65 MiB */
    cl_mem pipe = clCreatePipe(w.context, 0, 16, 16, NULL, &status);
    EQUAL(used() == 0, pipe == NULL);
    if (pipe)
        clReleaseMemObject(pipe);
    EQUAL(used(), 0);
    return 0;
}
