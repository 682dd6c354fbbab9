/* ways.h - one row per way to get device memory: how, how back, and in which steps the stand-in grants it. */
#pragma once
#include "in_slice.h"

struct thing { CUdeviceptr pointer; void *handle; };
typedef CUresult make_fn(uint64_t bytes, struct thing *ret);
typedef CUresult end_fn(struct thing *thing);

static CUresult alloc_linear(uint64_t bytes, struct thing *ret) { return CU(cuMemAlloc_v2, cuMemAlloc)(&ret->pointer, bytes); }
static CUresult free_linear(struct thing *thing) { return CU(cuMemFree_v2, cuMemFree)(thing->pointer); }
static CUresult alloc_pitched(uint64_t bytes, struct thing *ret)
{
    size_t pitch; /* 100 bytes of each row are asked for, 512 are taken */
    return CU(cuMemAllocPitch_v2, cuMemAllocPitch)(&ret->pointer, &pitch, 100, bytes / 512, 4);
}
static CUresult alloc_managed(uint64_t bytes, struct thing *ret)
{
    return CU(cuMemAllocManaged, cuMemAllocManaged)(&ret->pointer, bytes, CU_MEM_ATTACH_GLOBAL);
}

static CUresult sync_context(void) { return CU(cuCtxSynchronize, cuCtxSynchronize)(); }

static CUresult alloc_async(uint64_t bytes, struct thing *ret) { return CU(cuMemAllocAsync, cuMemAllocAsync)(&ret->pointer, bytes, NULL); }
static CUresult free_async(struct thing *thing)
{
    CUresult result = CU(cuMemFreeAsync, cuMemFreeAsync)(thing->pointer, NULL);
    return result ? result : sync_context();
}
static CUresult alloc_async_own(uint64_t bytes, struct thing *ret)
{
    return CU(cuMemAllocAsync_ptsz, cuMemAllocAsync)(&ret->pointer, bytes, NULL);
}
static CUresult free_async_own(struct thing *thing)
{
    CUresult result = CU(cuMemFreeAsync_ptsz, cuMemFreeAsync)(thing->pointer, NULL);
    return result ? result : sync_context();
}

static CUmemoryPool pool;
static CUresult make_pool(void)
{
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    return pool ? CUDA_SUCCESS : CU(cuMemPoolCreate, cuMemPoolCreate)(&pool, &props);
}
static CUresult alloc_from_pool(uint64_t bytes, struct thing *ret)
{
    CUresult result = make_pool();
    return result ? result : CU(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync)(&ret->pointer, bytes, pool, NULL);
}
static CUresult alloc_from_pool_own(uint64_t bytes, struct thing *ret)
{
    CUresult result = make_pool();
    return result ? result : CU(cuMemAllocFromPoolAsync_ptsz, cuMemAllocFromPoolAsync)(&ret->pointer, bytes, pool, NULL);
}

static const CUmemAllocationProp physical = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                             .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR};
static CUresult create_physical(uint64_t bytes, struct thing *ret)
{
    CUmemGenericAllocationHandle handle = 0;
    CUresult result = CU(cuMemCreate, cuMemCreate)(&handle, bytes, &physical, 0);
    ret->pointer = handle;
    return result;
}
static CUresult release_physical(struct thing *thing) { return CU(cuMemRelease, cuMemRelease)(thing->pointer); }

static CUresult create_array(uint64_t bytes, struct thing *ret)
{
    CUDA_ARRAY_DESCRIPTOR d = {.Width = 1024, .Height = bytes / 4096, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1};
    return CU(cuArrayCreate_v2, cuArrayCreate)((CUarray *)&ret->handle, &d);
}
static CUresult create_array_3d(uint64_t bytes, struct thing *ret)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {.Width = 256, .Height = 64, .Depth = bytes / 65536, .Format = CU_AD_FORMAT_HALF, .NumChannels = 2};
    return CU(cuArray3DCreate_v2, cuArray3DCreate)((CUarray *)&ret->handle, &d);
}
static CUresult destroy_array(struct thing *thing) { return CU(cuArrayDestroy, cuArrayDestroy)(thing->handle); }
static CUresult create_mipmap(uint64_t bytes, struct thing *ret)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {.Width = 256, .Height = 64, .Depth = bytes / 65536, .Format = CU_AD_FORMAT_HALF, .NumChannels = 2};
    return CU(cuMipmappedArrayCreate, cuMipmappedArrayCreate)((CUmipmappedArray *)&ret->handle, &d, 1);
}
static CUresult destroy_mipmap(struct thing *thing) { return CU(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy)(thing->handle); }

static const struct way { const char *name; make_fn *make; end_fn *end; uint64_t step; } ways[] = {
    {"cuMemAlloc_v2", alloc_linear, free_linear, 512},
    {"cuMemAllocPitch_v2", alloc_pitched, free_linear, 512},
    {"cuMemAllocManaged", alloc_managed, free_linear, 512},
    {"cuMemAllocAsync", alloc_async, free_async, 32 * MIB},
    {"cuMemAllocAsync_ptsz", alloc_async_own, free_async_own, 32 * MIB},
    {"cuMemAllocFromPoolAsync", alloc_from_pool, free_async, 32 * MIB},
    {"cuMemAllocFromPoolAsync_ptsz", alloc_from_pool_own, free_async_own, 32 * MIB},
    {"cuMemCreate", create_physical, release_physical, 2 * MIB},
    {"cuArrayCreate_v2", create_array, destroy_array, 64 * 1024},
    {"cuArray3DCreate_v2", create_array_3d, destroy_array, 64 * 1024},
    {"cuMipmappedArrayCreate", create_mipmap, destroy_mipmap, 64 * 1024},
    {"cuMemAllocAsync, freed by cuMemFree", alloc_async, free_linear, 32 * MIB},
};
