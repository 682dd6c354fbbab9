/* pool_of.c - which pool belongs to a place (CUDA 13; HIP has no such calls). */
#include "shim/cuda/shim.h"

CUresult fgcu_do_cuMemGetDefaultMemPool(unsigned which, CUmemoryPool *pool, CUmemLocation *location, int type)
{
    CUresult result = FGCU_WHICH(cuMemGetDefaultMemPool)(pool, location, type);
    fgcu_pool_seen(result, pool, location, type);
    return result;
}

CUresult fgcu_do_cuMemGetMemPool(unsigned which, CUmemoryPool *pool, CUmemLocation *location, int type)
{
    CUresult result = FGCU_WHICH(cuMemGetMemPool)(pool, location, type);
    fgcu_pool_seen(result, pool, location, type);
    return result;
}
