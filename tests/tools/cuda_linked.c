/* cuda_linked.c - as cuda_escape's plain way, by a program that is linked: with the driver, or (RUNTIME) with a static runtime library. */
#include <stdio.h>
#include <unistd.h>

#ifdef RUNTIME
#include "cudart_mini.h"
static int take(void)
{
    void *p;
    return cudaMalloc(&p, (size_t)64 << 20) == 0;
}
#else
#include "shim/cuda/cuda_abi.h"
CUresult cuInit(unsigned int flags);
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);
static int take(void)
{
    static CUcontext context;
    CUdeviceptr p;
    if (!context && (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context)))
        return 0;
    return cuMemAlloc_v2(&p, (size_t)64 << 20) == CUDA_SUCCESS;
}
#endif

int main(void)
{
    int got = 0;
    char byte;
    while (got < 24 && take())
        got++;
    printf("granted %d\n", got);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}
