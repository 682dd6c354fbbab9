/* pointer.c - what can be asked of an address, and advice about it, which changes nothing here. */
#include "driver.h"

static CUresult attribute(void *ret, int which, CUdeviceptr pointer)
{
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    if (!alloc)
        alloc = fk_host_find((const void *)(uintptr_t)pointer);
    if (alloc && alloc->reservation && !fk_mapped(alloc, pointer, 1))
        alloc = NULL;
    CUresult r = alloc ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    int ordinal = 0;
    while (alloc && ordinal < fk_visible_count - 1 && fk_visible[ordinal] != (int)alloc->device)
        ordinal++;
    if (alloc)
        switch (which) {
        case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)ret = alloc->ctx; break;
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)ret = alloc->kind == FK_HOST ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE; break;
        case 3: *(CUdeviceptr *)ret = pointer; break;                 /* device pointer */
        case 4: *(void **)ret = (void *)(uintptr_t)pointer;            /* host pointer */
            r = alloc->kind == FK_HOST || alloc->kind == FK_MANAGED ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
            break;
        case 7: *(unsigned long long *)ret = alloc->id; break;         /* buffer id */
        case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned *)ret = alloc->kind == FK_MANAGED; break;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)ret = ordinal; break;
        case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)ret = alloc->base; break;
        case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)ret = alloc->bytes; break;
        case 13: *(unsigned *)ret = 1; break;                          /* mapped */
        case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: *(CUmemoryPool *)ret = alloc->pool; break;
        default: r = CUDA_ERROR_INVALID_VALUE;
        }
    pthread_mutex_unlock(&fk_big);
    return r;
}

FK_API(cuPointerGetAttribute, (void *ret, CUpointer_attribute which, CUdeviceptr pointer))
{
    FK_ENTER(cuPointerGetAttribute);
    return ret ? attribute(ret, which, pointer) : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuPointerGetAttributes, (unsigned n, CUpointer_attribute *which, void **ret, CUdeviceptr pointer))
{
    FK_ENTER(cuPointerGetAttributes);
    if (!which || !ret)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) /* of an unknown address: success, and zeros */
        if (attribute(ret[i], which[i], pointer) && which[i] == CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
            *(unsigned *)ret[i] = 0;
    return CUDA_SUCCESS;
}

FK_API(cuPointerSetAttribute, (const void *value, CUpointer_attribute which, CUdeviceptr pointer)) { FK_ENTER(cuPointerSetAttribute); return value ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }

static CUresult managed(CUdeviceptr pointer, size_t bytes)
{
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->kind == FK_MANAGED && pointer + bytes <= alloc->base + alloc->bytes;
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(cuMemAdvise, (CUdeviceptr pointer, size_t bytes, int advice, CUdevice dev)) { FK_ENTER(cuMemAdvise); return managed(pointer, bytes); }
FK_API(cuMemAdvise_v2, (CUdeviceptr pointer, size_t bytes, int advice, CUmemLocation where)) { FK_ENTER(cuMemAdvise_v2); return managed(pointer, bytes); }

static CUresult prefetch(CUstream hStream, CUdeviceptr pointer, size_t bytes)
{
    CUresult r = managed(pointer, bytes);
    struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_EMPTY, .unit = FK_COPY_IN, .ns = bytes * 1000 / fk_world->copy_bytes_per_us};
    return r ? r : fk_run(hStream, &op);
}
static CUresult run_cuMemPrefetchAsync(CUdeviceptr pointer, size_t bytes, CUdevice dev, CUstream hStream) { return prefetch(hStream, pointer, bytes); }
FK_BOTH(cuMemPrefetchAsync, _ptsz, (CUdeviceptr pointer, size_t bytes, CUdevice dev, CUstream hStream), (pointer, bytes, dev, hStream))
static CUresult run_cuMemPrefetchAsync_v2(CUdeviceptr pointer, size_t bytes, CUmemLocation where, unsigned flags, CUstream hStream) { return prefetch(hStream, pointer, bytes); }
FK_BOTH(cuMemPrefetchAsync_v2, _ptsz, (CUdeviceptr pointer, size_t bytes, CUmemLocation where, unsigned flags, CUstream hStream), (pointer, bytes, where, flags, hStream))

/* Pools by location, 13.0. */
static CUresult device_of(const CUmemLocation *where, CUmemAllocationType type, CUdevice *ret)
{
    if (!where || where->type != CU_MEM_LOCATION_TYPE_DEVICE || type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_NOT_SUPPORTED;
    *ret = where->id;
    return CUDA_SUCCESS;
}
FK_API(cuMemGetDefaultMemPool, (CUmemoryPool *ret, CUmemLocation *where, CUmemAllocationType type))
{
    FK_ENTER(cuMemGetDefaultMemPool);
    CUdevice dev;
    CUresult r = device_of(where, type, &dev);
    return r ? r : cuDeviceGetDefaultMemPool(ret, dev);
}
FK_API(cuMemGetMemPool, (CUmemoryPool *ret, CUmemLocation *where, CUmemAllocationType type))
{
    FK_ENTER(cuMemGetMemPool);
    CUdevice dev;
    CUresult r = device_of(where, type, &dev);
    return r ? r : cuDeviceGetMemPool(ret, dev);
}
FK_API(cuMemSetMemPool, (CUmemLocation *where, CUmemAllocationType type, CUmemoryPool pool))
{
    FK_ENTER(cuMemSetMemPool);
    CUdevice dev;
    CUresult r = device_of(where, type, &dev);
    return r ? r : cuDeviceSetMemPool(dev, pool);
}
