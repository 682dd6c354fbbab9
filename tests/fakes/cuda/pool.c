/* pool.c - memory pools and stream-ordered allocation.
 *
 *     reserved = whole chunks taken from the device      used = what is allocated in them
 *
 * Reserved grows by chunks (pool_chunk, 32 MiB) when used does not fit. At each synchronisation of the device what is
 * reserved beyond both used and the release threshold goes back. A stream-ordered free counts at once: its memory can be
 * had again by the same stream, which is all that could see the difference. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "driver.h"

static struct fk_list pools = {&pools, &pools};
static CUmemoryPool current[FK_DEVICES], defaults[FK_DEVICES]; /* by the world's device */

static CUmemoryPool pool_new(unsigned device, bool is_default)
{
    CUmemoryPool pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    *pool = (struct CUmemPoolHandle_st){.magic = FK_IS_POOL, .device = device, .is_default = is_default, .reuse = {1, 1, 1}};
    fk_list_add(&pools, &pool->link);
    return pool;
}

static CUmemoryPool pool_default(unsigned device)
{
    if (!defaults[device])
        defaults[device] = pool_new(device, true);
    return defaults[device];
}

static void shrink(CUmemoryPool pool, uint64_t keep)
{
    uint64_t floor = fk_round(pool->used, fk_world->pool_chunk);
    if (keep >= pool->reserved)
        return;
    keep = keep > floor ? fk_round(keep, fk_world->pool_chunk) : floor;
    if (pool->reserved > keep) {
        if (!pool->host)
            fk_give(pool->device, FK_POOL, pool->reserved - keep);
        pool->reserved = keep;
    }
}

void fk_pools_synced(unsigned device)
{
    for (struct fk_list *i = pools.next; i != &pools; i = i->next) {
        CUmemoryPool pool = FK_OF(i, struct CUmemPoolHandle_st, link);
        if (pool->device == device)
            shrink(pool, pool->threshold);
    }
}

void fk_pools_end(unsigned device)
{
    for (struct fk_list *i = pools.next; i != &pools; i = i->next) {
        CUmemoryPool pool = FK_OF(i, struct CUmemPoolHandle_st, link);
        if (pool->device == device)
            shrink(pool, 0);
    }
    current[device] = NULL;
}

static void end(CUmemoryPool pool)
{
    shrink(pool, 0);
    fk_list_remove(&pool->link);
    pool->magic = 0;
    free(pool);
}

static bool grow(CUmemoryPool pool, uint64_t bytes)
{
    if (pool->used + bytes > pool->reserved) {
        uint64_t more = fk_round(pool->used + bytes - pool->reserved, fk_world->pool_chunk);
        if (!pool->host && !fk_take(pool->device, FK_POOL, more))
            return false;
        pool->reserved += more;
        if (pool->reserved > pool->reserved_high)
            pool->reserved_high = pool->reserved;
    }
    pool->used += bytes;
    if (pool->used > pool->used_high)
        pool->used_high = pool->used;
    pool->live++;
    return true;
}

void fk_pool_alloc_gone(struct fk_alloc *alloc)
{
    CUmemoryPool pool = alloc->pool;
    if (pool->imported)
        return;
    pool->used -= fk_round(alloc->bytes, fk_world->granule);
    pool->live--;
    if (pool->destroyed && !pool->live)
        end(pool);
}

static CUresult pool_alloc(CUmemoryPool pool, CUcontext ctx, uint64_t bytes, CUdeviceptr *ret)
{
    if (!grow(pool, fk_round(bytes, fk_world->granule)))
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct fk_alloc *alloc = fk_alloc_new(ctx, pool->device, FK_POOL, bytes, 0);
    if (!alloc) {
        pool->used -= fk_round(bytes, fk_world->granule);
        pool->live--;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    alloc->pool = pool;
    *ret = alloc->base;
    return CUDA_SUCCESS;
}

/* --- stream-ordered allocation --- */

static CUresult alloc_async(CUstream hStream, CUdeviceptr *ret, size_t bytes, CUmemoryPool pool)
{
    if (!hStream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!fk_stream_ok(hStream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!ret || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    CUcontext ctx = hStream->ctx;
    if (hStream->capture) {
        struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC};
        op.memory.bytesize = bytes;
        op.memory.poolProps.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, ctx->ordinal};
        pthread_mutex_lock(&fk_big);
        CUresult r = fk_graph_alloc(ctx, &op.memory);
        pthread_mutex_unlock(&fk_big);
        r = r ? r : fk_capture_op(hStream, &op, NULL);
        if (!r)
            *ret = op.memory.dptr;
        return r;
    }
    CUresult r = hStream->legacy ? fk_legacy_touched(hStream) : CUDA_SUCCESS;
    if (r)
        return r;
    pthread_mutex_lock(&fk_big);
    if (!pool)
        pool = current[ctx->device] ? current[ctx->device] : pool_default(ctx->device);
    r = pool_alloc(pool, ctx, bytes, ret);
    pthread_mutex_unlock(&fk_big);
    return r;
}

static CUresult run_cuMemAllocAsync(CUdeviceptr *ret, size_t bytes, CUstream hStream) { return alloc_async(hStream, ret, bytes, NULL); }
FK_BOTH(cuMemAllocAsync, _ptsz, (CUdeviceptr *ret, size_t bytes, CUstream hStream), (ret, bytes, hStream))

static CUresult run_cuMemAllocFromPoolAsync(CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream hStream)
{
    return FK_IS(pool, FK_IS_POOL) && !pool->imported ? alloc_async(hStream, ret, bytes, pool) : CUDA_ERROR_INVALID_VALUE;
}
FK_BOTH(cuMemAllocFromPoolAsync, _ptsz, (CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream hStream), (ret, bytes, pool, hStream))

static CUresult run_cuMemFreeAsync(CUdeviceptr pointer, CUstream hStream)
{
    if (!hStream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!fk_stream_ok(hStream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!pointer)
        return CUDA_SUCCESS;
    if (hStream->capture) {
        struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .memory = {.dptr = pointer}};
        return fk_capture_op(hStream, &op, NULL);
    }
    CUresult r = hStream->legacy ? fk_legacy_touched(hStream) : CUDA_SUCCESS;
    if (r)
        return r;
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->base == pointer && !alloc->reservation && alloc->kind != FK_MODULE && (!alloc->graph || alloc->live);
    if (ok && alloc->graph)
        fk_graph_alloc_gone(alloc);
    else if (ok)
        fk_alloc_end(alloc);
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_BOTH(cuMemFreeAsync, _ptsz, (CUdeviceptr pointer, CUstream hStream), (pointer, hStream))

/* --- pools --- */

FK_API(cuMemPoolCreate, (CUmemoryPool *ret, const CUmemPoolProps *props))
{
    FK_ENTER(cuMemPoolCreate);
    bool managed = props && props->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED; /* since 13.0 */
    if (!ret || !props || (!managed && props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED))
        return CUDA_ERROR_INVALID_VALUE;
    bool host = !managed && props->location.type != CU_MEM_LOCATION_TYPE_DEVICE;
    if (!host && !fk_device_ok(managed ? 0 : props->location.id))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    CUmemoryPool pool = pool_new((unsigned)fk_visible[host || managed ? 0 : props->location.id], false);
    if (pool) {
        pool->props = *props;
        pool->host = host;
    }
    pthread_mutex_unlock(&fk_big);
    *ret = pool;
    return pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

FK_API(cuMemPoolDestroy, (CUmemoryPool pool))
{
    FK_ENTER(cuMemPoolDestroy);
    if (!FK_IS(pool, FK_IS_POOL) || pool->is_default)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    for (unsigned d = 0; d < FK_DEVICES; d++)
        if (current[d] == pool)
            current[d] = NULL;
    pool->destroyed = true;
    if (!pool->live)
        end(pool);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep))
{
    FK_ENTER(cuMemPoolTrimTo);
    if (!FK_IS(pool, FK_IS_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    shrink(pool, keep);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

/* A mark can only be reset. */
static CUresult reset(uint64_t *mark, uint64_t now, const cuuint64_t *to)
{
    *mark = now;
    return *to ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

FK_API(cuMemPoolSetAttribute, (CUmemoryPool pool, CUmemPool_attribute attribute, void *value))
{
    FK_ENTER(cuMemPoolSetAttribute);
    if (!FK_IS(pool, FK_IS_POOL) || !value)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES: case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: pool->reuse[attribute - 1] = *(int *)value; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: pool->threshold = *(cuuint64_t *)value; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: r = reset(&pool->reserved_high, pool->reserved, value); break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: r = reset(&pool->used_high, pool->used, value); break;
    default: r = CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

FK_API(cuMemPoolGetAttribute, (CUmemoryPool pool, CUmemPool_attribute attribute, void *value))
{
    FK_ENTER(cuMemPoolGetAttribute);
    if (!FK_IS(pool, FK_IS_POOL) || !value)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES: case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: *(int *)value = pool->reuse[attribute - 1]; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *(cuuint64_t *)value = pool->threshold; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *(cuuint64_t *)value = pool->reserved; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: *(cuuint64_t *)value = pool->reserved_high; break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *(cuuint64_t *)value = pool->used; break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *(cuuint64_t *)value = pool->used_high; break;
    default: r = CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

FK_API(cuMemPoolSetAccess, (CUmemoryPool pool, const CUmemAccessDesc *map, size_t count)) { FK_ENTER(cuMemPoolSetAccess); return FK_IS(pool, FK_IS_POOL) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }
FK_API(cuMemPoolGetAccess, (CUmemAccess_flags *flags, CUmemoryPool pool, CUmemLocation *where))
{
    FK_ENTER(cuMemPoolGetAccess);
    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    return FK_IS(pool, FK_IS_POOL) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuDeviceGetDefaultMemPool, (CUmemoryPool *ret, CUdevice dev))
{
    FK_ENTER(cuDeviceGetDefaultMemPool);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&fk_big);
    *ret = pool_default((unsigned)fk_visible[dev]);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuDeviceGetMemPool, (CUmemoryPool *ret, CUdevice dev))
{
    FK_ENTER(cuDeviceGetMemPool);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&fk_big);
    unsigned d = (unsigned)fk_visible[dev];
    *ret = current[d] ? current[d] : pool_default(d);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuDeviceSetMemPool, (CUdevice dev, CUmemoryPool pool))
{
    FK_ENTER(cuDeviceSetMemPool);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!FK_IS(pool, FK_IS_POOL) || pool->device != (unsigned)fk_visible[dev])
        return CUDA_ERROR_INVALID_VALUE;
    current[fk_visible[dev]] = pool;
    return CUDA_SUCCESS;
}

/* --- to and from other processes: a file that holds the name of what is exported --- */

FK_API(cuMemPoolExportToShareableHandle, (void *handle, CUmemoryPool pool, CUmemAllocationHandleType type, unsigned long long flags))
{
    FK_ENTER(cuMemPoolExportToShareableHandle);
    if (!FK_IS(pool, FK_IS_POOL) || !handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || !(pool->props.handleTypes & type))
        return CUDA_ERROR_INVALID_VALUE;
    int fd = fk_export_file(fk_export(pool->device, FK_POOL, 0, 0));
    *(int *)handle = fd;
    return fd < 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

FK_API(cuMemPoolImportFromShareableHandle, (CUmemoryPool *ret, void *handle, CUmemAllocationHandleType type, unsigned long long flags))
{
    FK_ENTER(cuMemPoolImportFromShareableHandle);
    struct fk_export *e = fk_export_of_file((int)(intptr_t)handle);
    if (!ret || !e || e->kind != FK_POOL)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    *ret = pool_new(e->device, false);
    (*ret)->imported = true;
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuMemPoolExportPointer, (CUmemPoolPtrExportData *ret, CUdeviceptr pointer))
{
    FK_ENTER(cuMemPoolExportPointer);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->pool && ret;
    uint64_t id = ok ? fk_export(alloc->device, FK_POOL, alloc->bytes, alloc->base) : 0;
    if (ok)
        memcpy(ret->reserved, &id, sizeof id);
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuMemPoolImportPointer, (CUdeviceptr *ret, CUmemoryPool pool, CUmemPoolPtrExportData *data))
{
    FK_ENTER(cuMemPoolImportPointer);
    FK_CTX(ctx);
    uint64_t id;
    if (!data || !ret || !FK_IS(pool, FK_IS_POOL) || !pool->imported)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&id, data->reserved, sizeof id);
    struct fk_export *e = fk_export_find(id);
    if (!e || !e->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_alloc_new(ctx, e->device, FK_BORROWED, e->bytes, e->bytes);
    if (alloc) {
        alloc->pool = pool;
        *ret = alloc->base;
    }
    pthread_mutex_unlock(&fk_big);
    return alloc ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
