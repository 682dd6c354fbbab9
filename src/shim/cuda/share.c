/* share.c - memory that belongs to more than this process, or to no place: the lease is told, before the driver does it, so that
 * nobody tries to put the process aside (decision 0026). What it takes is charged elsewhere. */
#include "shim/cuda/shim.h"

CUresult fgcu_do_cuIpcOpenMemHandle(unsigned which, CUdeviceptr *pointer, struct fgcu_ipc handle, unsigned int flags)
{
    fgcu_mark(FG_HELD_SHARED);
    return FGCU_WHICH(cuIpcOpenMemHandle)(pointer, handle, flags);
}

CUresult fgcu_do_cuMemPoolImportFromShareableHandle(unsigned which, CUmemoryPool *ret, void *handle, int type, unsigned long long flags)
{
    fgcu_mark(FG_HELD_SHARED);
    return FGCU_WHICH(cuMemPoolImportFromShareableHandle)(ret, handle, type, flags);
}

CUresult fgcu_do_cuMulticastCreate(unsigned which, CUmemGenericAllocationHandle *handle, const struct fgcu_multicast *prop)
{
    fgcu_mark(FG_HELD_SHARED);
    return FGCU_WHICH(cuMulticastCreate)(handle, prop);
}
