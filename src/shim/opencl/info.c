/* info.c - the device as its vGPU: its memory is the quota. */
#include <string.h>

#include "layer.h"

#define DEVICE_GLOBAL_FREE_MEMORY_AMD 0x4039 /* KiB: all, largest block */

/* Answer with a value of our own, by the rules of every query. */
static cl_int give(const void *from, size_t length, size_t size, void *value, size_t *size_ret)
{
    if (value && size < length)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, length);
    if (size_ret)
        *size_ret = length;
    return CL_SUCCESS;
}

static cl_int at_most(cl_device_id device, cl_device_info name, uint64_t bound, size_t size, void *value, size_t *size_ret)
{
    cl_ulong real = 0;
    cl_int status = fgcl.next.clGetDeviceInfo(device, name, sizeof real, &real, NULL);
    if (status != CL_SUCCESS)
        return status;
    cl_ulong shown = real < bound ? real : bound;
    return give(&shown, sizeof shown, size, value, size_ret);
}

static cl_int free_memory(cl_device_id device, const struct fg_memory_view *view, size_t size, void *value, size_t *size_ret)
{
    size_t kib[2] = {0}, length = 0;
    cl_int status = fgcl.next.clGetDeviceInfo(device, DEVICE_GLOBAL_FREE_MEMORY_AMD, sizeof kib, kib, &length);
    if (status != CL_SUCCESS || length > sizeof kib)
        return status;
    for (size_t i = 0; i < length / sizeof *kib; i++)
        kib[i] = view->free_bytes / 1024 < kib[i] ? view->free_bytes / 1024 : kib[i];
    return give(kib, length, size, value, size_ret);
}

cl_int CL_API_CALL fgcl_clGetDeviceInfo(cl_device_id device, cl_device_info name, size_t size, void *value, size_t *size_ret)
{
    static const cl_ulong none[2] = {0};
    static const cl_device_type gpu = CL_DEVICE_TYPE_GPU;
    struct fg_memory_view view = {0}; /* refused: a device without memory */
    if (fgcl.lease.limits)
        fg_ledger_view(&fgcl.lease, &view);
    switch (name) {
    case CL_DEVICE_GLOBAL_MEM_SIZE: case CL_DEVICE_MAX_MEM_ALLOC_SIZE: case CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE:
        return at_most(device, name, view.quota_bytes, size, value, size_ret);
    case DEVICE_GLOBAL_FREE_MEMORY_AMD:
        return free_memory(device, &view, size, value, size_ret);
    case CL_DEVICE_QUEUE_ON_DEVICE_PROPERTIES: case CL_DEVICE_DEVICE_ENQUEUE_CAPABILITIES:
        return give(none, sizeof *none, size, value, size_ret);
    case CL_DEVICE_MAX_ON_DEVICE_QUEUES: case CL_DEVICE_MAX_ON_DEVICE_EVENTS:
    case CL_DEVICE_QUEUE_ON_DEVICE_MAX_SIZE: case CL_DEVICE_QUEUE_ON_DEVICE_PREFERRED_SIZE:
        return give(none, sizeof(cl_uint), size, value, size_ret);
    case CL_DEVICE_TYPE:
        if (fgcl.as_gpu)
            return give(&gpu, sizeof gpu, size, value, size_ret); /* GPU alone: some compare with == */
        break;
    }
    return fgcl.next.clGetDeviceInfo(device, name, size, value, size_ret);
}

cl_int CL_API_CALL fgcl_clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint entries, cl_device_id *devices,
                                       cl_uint *count_ret)
{
    if (fgcl.as_gpu && type & CL_DEVICE_TYPE_GPU)
        type = CL_DEVICE_TYPE_ALL;
    return fgcl.next.clGetDeviceIDs(platform, type, entries, devices, count_ret);
}
