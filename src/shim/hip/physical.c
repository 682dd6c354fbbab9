/* physical.c - hipMemCreate's properties, which have been laid out in two ways:
 *
 *     up to ROCm 5.2   compression, location {type, id}, handle type, type, usage
 *     since            type, handle type, location {type, id}, ...                    as CUDA's
 *
 * Which one a program has is not told. What is surely of the host is let through; all else is charged, on properties of ours, and the
 * library gets the program's (vmm.c does the rest). */
#include <string.h>

#include "shim/hip/shim.h"

static __thread const void *asked;
static CUresult (*real_create)(CUmemGenericAllocationHandle *, size_t, const void *, unsigned long long);
static CUresult (*real_granularity)(size_t *, const void *, CUmemAllocationGranularity_flags);

static CUresult create(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop, unsigned long long flags)
{
    return real_create(handle, size, asked ? asked : prop, flags);
}

static CUresult granularity(size_t *granule, const CUmemAllocationProp *prop, CUmemAllocationGranularity_flags option)
{
    return real_granularity(granule, asked ? asked : prop, option);
}

void fghip_make_alike_physical(void)
{
    if (fgcu_has(FGCU_hipMemCreate)) {
        real_create = (__typeof__(real_create))fgcu.next[FGCU_hipMemCreate];
        fgcu.next[FGCU_hipMemCreate] = (void *)create;
    }
    if (fgcu_has(FGCU_hipMemGetAllocationGranularity)) {
        real_granularity = (__typeof__(real_granularity))fgcu.next[FGCU_hipMemGetAllocationGranularity];
        fgcu.next[FGCU_hipMemGetAllocationGranularity] = (void *)granularity;
    }
}

/* In the older layout the word is a device's number, and a vGPU has one device: 0. */
static CUmemLocationType location(const void *prop)
{
    CUmemAllocationProp later;
    memcpy(&later, prop, offsetof(CUmemAllocationProp, win32HandleMetaData));
    return later.location.type >= CU_MEM_LOCATION_TYPE_HOST && later.location.type <= CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT
               ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_DEVICE;
}

CUresult fgcu_do_hipMemCreate(unsigned which, CUmemGenericAllocationHandle *handle, size_t size, const void *prop, unsigned long long flags)
{
    CUmemAllocationProp ours = {.location = {prop ? location(prop) : CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    asked = prop;
    CUresult result = fgcu_do_cuMemCreate(which, handle, size, prop ? &ours : NULL, flags);
    asked = NULL;
    return result;
}
