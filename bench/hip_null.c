/* hip_null.c - a HIP library that does nothing, as fast as can be: what is measured with it is the front end alone. By its events
 * each launch or copy took 5 us. */
#include "shim/cuda/cuda_abi.h"
#include "shim/hip/hip_abi.h"

#define API(name, ...) __attribute__((visibility("default"))) CUresult name(__VA_ARGS__); \
    __attribute__((visibility("default"))) CUresult name(__VA_ARGS__)

static unsigned long jobs;
static CUdeviceptr next_pointer = 0x700000000000;

API(hipGetDevice, int *device)
{
    *device = 0;
    return CUDA_SUCCESS;
}
API(hipSetDevice, int device) { return CUDA_SUCCESS; }
API(hipPeekAtLastError, void) { return CUDA_SUCCESS; }
API(hipMalloc, CUdeviceptr *pointer, size_t bytes)
{
    *pointer = next_pointer += 512;
    return CUDA_SUCCESS;
}
API(hipFree, CUdeviceptr pointer)
{
    if (pointer == next_pointer) /* addresses are used again, as drivers do */
        next_pointer -= 512;
    return CUDA_SUCCESS;
}
API(hipLaunchKernel, const void *function, dim3 blocks, dim3 threads, void **params, size_t shared_bytes, hipStream_t stream)
{
    jobs++;
    return CUDA_SUCCESS;
}
API(hipMemcpyAsync, void *to, const void *from, size_t bytes, int kind, hipStream_t stream)
{
    jobs++;
    return CUDA_SUCCESS;
}
API(hipEventCreateWithFlags, CUevent *event, unsigned int flags)
{
    static unsigned long places[65536];
    static unsigned used;
    *event = (CUevent)(void *)&places[used++ % 65536];
    return CUDA_SUCCESS;
}
API(hipEventRecord, CUevent event, CUstream stream)
{
    *(unsigned long *)(void *)event = jobs;
    return CUDA_SUCCESS;
}
API(hipEventQuery, CUevent event) { return CUDA_SUCCESS; }
API(hipEventElapsedTime, float *ms, CUevent from, CUevent to)
{
    *ms = (float)(*(unsigned long *)(void *)to - *(unsigned long *)(void *)from) * 0.005f;
    return CUDA_SUCCESS;
}
API(hipStreamSynchronize, CUstream stream) { return CUDA_SUCCESS; }
