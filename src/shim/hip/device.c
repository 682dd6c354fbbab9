/* device.c - what a program sees of its device, and what it takes to start over. */
#include <string.h>

#include "shim/hip/shim.h"

/* The real library is asked first: without a device, or with bad arguments, its answer stands. */
CUresult fgcu_do_hipMemGetInfo(unsigned which, size_t *free_bytes, size_t *total)
{
    struct fg_memory_view view;
    CUresult result = FGCU_WHICH(hipMemGetInfo)(free_bytes, total);
    if (result != CUDA_SUCCESS || !fgcu_attached())
        return result;
    fgcu_pools_settle();
    fgcu_lent_returns();
    fg_ledger_view(&fgcu.lease, &view);
    if (free_bytes)
        *free_bytes = view.free_bytes;
    if (total)
        *total = view.quota_bytes;
    return result;
}

int64_t fgcu_device_used(void)
{
    size_t free_bytes = 0, total = 0;
    return FGCU_NEXT(hipMemGetInfo, hipMemGetInfo)(&free_bytes, &total) == CUDA_SUCCESS ? (int64_t)(total - free_bytes) : -1;
}

CUresult fgcu_do_hipProperties(unsigned which, void *properties, int device)
{
    CUresult result = FGCU_WHICH(hipProperties)(properties, device);
    if (result != CUDA_SUCCESS || !fgcu_attached() || !properties)
        return result;
    uint64_t quota = fg_get(&fgcu.lease.limits->memory_bytes);
    size_t at = which == FGCU_hipGetDevicePropertiesR0600 ? HIP_PROPERTIES_TOTAL_R0600 : HIP_PROPERTIES_TOTAL_R0000;
    memcpy((char *)properties + at, &quota, sizeof quota);
    return result;
}

/* ---- everything on a device is gone ---- */

void fgcu_context_gone(CUcontext context)
{
    fg_ledger_drop_owner(&fgcu.ledger, (uintptr_t)context);
    fgcu_pools_refresh();
}

CUresult fgcu_do_hipDeviceReset(unsigned which)
{
    CUcontext context = fgcu_attached() ? fgcu_context() : NULL;
    if (context)
        fgcu_clock_gone(context, 0);
    CUresult result = FGCU_WHICH(hipDeviceReset)();
    if (context && result == CUDA_SUCCESS)
        fgcu_context_gone(context);
    return result;
}

CUresult fgcu_do_hipDevicePrimaryCtxReset(unsigned which, int device)
{
    CUcontext context = fgcu_attached() ? (CUcontext)(uintptr_t)(device + 1) : NULL;
    CUresult result = FGCU_WHICH(hipDevicePrimaryCtxReset)(device);
    if (context && result == CUDA_SUCCESS)
        fgcu_pools_refresh(); /* HIP keeps what is allocated, whatever the documents say */
    return result;
}
