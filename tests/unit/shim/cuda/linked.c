/* A program that was linked with the driver, as the loader finds it: run by load.c in a slice of 128 MiB. */
#include "shim/cuda/cuda_abi.h"

CUresult cuInit(unsigned int flags);
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total);
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);

int main(void)
{
    CUcontext context;
    CUdeviceptr pointer;
    size_t free_bytes, total;
    if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) || cuMemGetInfo_v2(&free_bytes, &total))
        return 1;
    if (total != 128u << 20)
        return 2;
    return cuMemAlloc_v2(&pointer, free_bytes + 1) == CUDA_ERROR_OUT_OF_MEMORY && !cuMemAlloc_v2(&pointer, free_bytes) ? 0 : 3;
}
