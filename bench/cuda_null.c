/* cuda_null.c - a CUDA driver that does nothing, as fast as can be: what is measured with it is the shim alone. By its events each
 * launch or copy took 5 us. */
#include "shim/cuda/cuda_abi.h"

#define API(name, ...) __attribute__((visibility("default"))) CUresult name(__VA_ARGS__); \
    __attribute__((visibility("default"))) CUresult name(__VA_ARGS__)

static int context_place;
static unsigned long jobs;
static CUdeviceptr next_pointer = 0x700000000000;

API(cuInit, unsigned int flags) { return CUDA_SUCCESS; }
API(cuDevicePrimaryCtxRetain, CUcontext *context, CUdevice device)
{
    *context = (CUcontext)(void *)&context_place;
    return CUDA_SUCCESS;
}
API(cuDevicePrimaryCtxGetState, CUdevice device, unsigned int *flags, int *active)
{
    *active = 1;
    return CUDA_SUCCESS;
}
API(cuCtxGetCurrent, CUcontext *context)
{
    *context = (CUcontext)(void *)&context_place;
    return CUDA_SUCCESS;
}
API(cuCtxPushCurrent_v2, CUcontext context) { return CUDA_SUCCESS; }
API(cuCtxPopCurrent_v2, CUcontext *context) { return CUDA_SUCCESS; }
API(cuMemAlloc_v2, CUdeviceptr *pointer, size_t bytes)
{
    *pointer = next_pointer += 512;
    return CUDA_SUCCESS;
}
API(cuMemFree_v2, CUdeviceptr pointer)
{
    if (pointer == next_pointer) /* addresses are used again, as drivers do */
        next_pointer -= 512;
    return CUDA_SUCCESS;
}
API(cuLaunchKernel, CUfunction f, unsigned int x, unsigned int y, unsigned int z, unsigned int bx, unsigned int by, unsigned int bz,
    unsigned int shared, CUstream stream, void **params, void **extra)
{
    jobs++;
    return CUDA_SUCCESS;
}
API(cuMemcpyHtoDAsync_v2, CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    jobs++;
    return CUDA_SUCCESS;
}
API(cuEventCreate, CUevent *event, unsigned int flags)
{
    static unsigned long places[65536];
    static unsigned used;
    *event = (CUevent)(void *)&places[used++ % 65536];
    return CUDA_SUCCESS;
}
API(cuEventRecord, CUevent event, CUstream stream)
{
    *(unsigned long *)(void *)event = jobs;
    return CUDA_SUCCESS;
}
API(cuEventQuery, CUevent event) { return CUDA_SUCCESS; }
API(cuEventElapsedTime, float *ms, CUevent from, CUevent to)
{
    *ms = (float)(*(unsigned long *)(void *)to - *(unsigned long *)(void *)from) * 0.005f;
    return CUDA_SUCCESS;
}
API(cuStreamSynchronize, CUstream stream) { return CUDA_SUCCESS; }
