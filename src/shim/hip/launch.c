/* launch.c - launches whose stream is told elsewhere, or which have several. */
#include "shim/hip/shim.h"

#define PARTS 16

static __thread struct { hipStream_t stream; uint64_t blocks; } configured; /* compilers before ROCm 3 nest no calls */

CUresult fgcu_do_hipConfigureCall(unsigned which, dim3 blocks, dim3 threads, size_t shared_bytes, hipStream_t stream)
{
    CUresult result = FGCU_WHICH(hipConfigureCall)(blocks, threads, shared_bytes, stream);
    if (result == CUDA_SUCCESS) {
        configured.stream = stream;
        configured.blocks = fghip_blocks(blocks);
    }
    return result;
}

CUresult fgcu_do_hipLaunchByPtr(unsigned which, const void *function)
{
    struct fgcu_submit submit;
    uint64_t key = fgcu_key(which, (uintptr_t)function, configured.blocks);
    CUresult refused = fgcu_begin(&submit, fgcu_stream(configured.stream, 0), key, 0);
    return refused ? refused : fgcu_end(&submit, FGCU_WHICH(hipLaunchByPtr)(function));
}

CUresult fgcu_do_hipLaunchMultiDevice(unsigned which, hipLaunchParams *list, int count, unsigned int flags)
{
    struct fgcu_submit parts[PARTS];
    if (!list || count < 0 || count > PARTS)
        return FGCU_WHICH(hipLaunchMultiDevice)(list, count, flags);
    CUresult refused = CUDA_SUCCESS;
    int begun = 0;
    for (; begun < count && !refused; begun += !refused) {
        const hipLaunchParams *p = &list[begun];
        uint64_t key = fgcu_key(which, (uintptr_t)p->func, fghip_blocks(p->gridDim));
        refused = fgcu_begin(&parts[begun], fgcu_stream(p->stream, 0), key, FGCU_ALONE);
    }
    CUresult result = refused ? refused : FGCU_WHICH(hipLaunchMultiDevice)(list, count, flags);
    for (int i = 0; i < begun; i++)
        fgcu_end(&parts[i], result);
    return result;
}
