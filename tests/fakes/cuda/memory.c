/* memory.c - linear, pitched, managed and pinned memory, and what can be asked of an address.
 *
 * True sizes: cuMemAlloc and managed memory in granules of 512 bytes, pitches in 512, a page for pinned memory. The real
 * driver takes blocks of 2 MiB from the device and cuts them; what it reports for one small allocation is an accident of the
 * others, so the stand-in counts what each takes by itself (granule=2M makes it coarse). */
#include <sys/mman.h>

#include "driver.h"

#define PAGE 4096u
static struct fk_list hosts = {&hosts, &hosts}; /* pinned and registered memory */

struct fk_alloc *fk_alloc_new(CUcontext ctx, unsigned device, enum fk_kind kind, uint64_t bytes, uint64_t charged)
{
    struct fk_alloc *alloc = calloc(1, sizeof *alloc);
    if (!alloc)
        return NULL;
    *alloc = (struct fk_alloc){.kind = kind, .device = device, .ctx = ctx, .charged = charged};
    if (charged && !fk_take(device, kind, charged)) {
        free(alloc);
        return NULL;
    }
    if (!fk_va_take(alloc, bytes, 512)) {
        if (charged)
            fk_give(device, kind, charged);
        free(alloc);
        return NULL;
    }
    if (ctx)
        fk_list_add(&ctx->allocs, &alloc->link);
    return alloc;
}

void fk_alloc_end(struct fk_alloc *alloc)
{
    fk_list_remove(&alloc->link);
    if (alloc->pool)
        fk_pool_alloc_gone(alloc);
    if (alloc->graph)
        fk_graph_alloc_gone(alloc);
    if (alloc->charged)
        fk_give(alloc->device, alloc->kind, alloc->charged);
    if (alloc->kind == FK_HOST) {
        if (!alloc->registered)
            munmap((void *)(uintptr_t)alloc->base, fk_round(alloc->bytes, PAGE));
    } else {
        fk_va_give(alloc);
    }
    free(alloc);
}

static CUresult take(CUdeviceptr *ret, uint64_t bytes, enum fk_kind kind, uint64_t align)
{
    FK_CTX(ctx);
    FK_UNSAFE();
    if (!ret || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_alloc_new(ctx, ctx->device, kind, bytes, fk_round(bytes, align));
    if (alloc)
        *ret = alloc->base;
    pthread_mutex_unlock(&fk_big);
    return alloc ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

FK_API(cuMemAlloc_v2, (CUdeviceptr *ret, size_t bytes))
{
    FK_ENTER(cuMemAlloc_v2);
    return take(ret, bytes, FK_LINEAR, fk_world->granule);
}

FK_API(cuMemAllocPitch_v2, (CUdeviceptr *ret, size_t *pitch, size_t width, size_t height, unsigned element))
{
    FK_ENTER(cuMemAllocPitch_v2);
    if (!pitch || !width || !height || (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t row = fk_round(width, fk_world->pitch_align);
    CUresult r = take(ret, row * height, FK_LINEAR, fk_world->granule);
    if (!r)
        *pitch = row;
    return r;
}

FK_API(cuMemAllocManaged, (CUdeviceptr *ret, size_t bytes, unsigned flags))
{
    FK_ENTER(cuMemAllocManaged);
    if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)
        return CUDA_ERROR_INVALID_VALUE;
    return take(ret, bytes, FK_MANAGED, fk_world->granule);
}

FK_API(cuMemFree_v2, (CUdeviceptr pointer))
{
    FK_ENTER(cuMemFree_v2);
    FK_CTX(ctx);
    FK_UNSAFE();
    if (!pointer)
        return CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->base == pointer && !alloc->reservation && !alloc->registered && !(alloc->kind == FK_BORROWED && alloc->flags == FK_IPC) && (!alloc->graph || alloc->live);
    unsigned device = ok ? alloc->device : 0;
    bool pooled = ok && (alloc->pool || alloc->graph);
    pthread_mutex_unlock(&fk_big);
    if (!ok)
        return CUDA_ERROR_INVALID_VALUE;
    fk_sync_device(device); /* cuMemFree waits for the device */
    pthread_mutex_lock(&fk_big);
    alloc = fk_va_find(pointer);
    if (!alloc || alloc->base != pointer) { /* another thread freed it meanwhile */
        pthread_mutex_unlock(&fk_big);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (alloc->graph)
        fk_graph_alloc_gone(alloc); /* the address stays the node's */
    else
        fk_alloc_end(alloc);
    if (pooled)
        fk_pools_synced(device);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuMemGetInfo_v2, (size_t *free_bytes, size_t *total))
{
    FK_ENTER(cuMemGetInfo_v2);
    FK_CTX(ctx);
    fk_lock();
    fk_reap();
    uint64_t used = fk_device_used(ctx->device), all = fk_world->device[ctx->device].total_bytes;
    fk_unlock();
    if (free_bytes)
        *free_bytes = used < all ? all - used : 0;
    if (total)
        *total = all;
    return CUDA_SUCCESS;
}

FK_API(cuMemGetAddressRange_v2, (CUdeviceptr *base, size_t *bytes, CUdeviceptr pointer))
{
    FK_ENTER(cuMemGetAddressRange_v2);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    if (alloc && base)
        *base = alloc->base;
    if (alloc && bytes)
        *bytes = alloc->bytes;
    pthread_mutex_unlock(&fk_big);
    return alloc ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* --- pinned memory: the host's --- */

struct fk_alloc *fk_host_find(const void *address)
{
    uint64_t at = (uintptr_t)address;
    for (struct fk_list *i = hosts.next; i != &hosts; i = i->next) {
        struct fk_alloc *alloc = FK_OF(i, struct fk_alloc, link);
        if (at >= alloc->base && at < alloc->base + alloc->bytes)
            return alloc;
    }
    return NULL;
}

static CUresult pin(void *address, size_t bytes, unsigned flags, bool registered)
{
    FK_CTX(ctx);
    struct fk_alloc *alloc = calloc(1, sizeof *alloc);
    if (!alloc)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *alloc = (struct fk_alloc){.base = (uintptr_t)address, .bytes = bytes, .charged = fk_round(bytes, PAGE), .kind = FK_HOST,
                               .device = ctx->device, .flags = flags, .registered = registered};
    fk_take(ctx->device, FK_HOST, alloc->charged);
    pthread_mutex_lock(&fk_big);
    fk_list_add(&hosts, &alloc->link);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

static CUresult host_alloc(void **ret, size_t bytes, unsigned flags)
{
    FK_CTX(ctx);
    if (!ret || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    void *at = mmap(NULL, fk_round(bytes, PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult r = pin(at, bytes, flags, false);
    if (r)
        munmap(at, fk_round(bytes, PAGE));
    else
        *ret = at;
    return r;
}

FK_API(cuMemAllocHost_v2, (void **ret, size_t bytes)) { FK_ENTER(cuMemAllocHost_v2); return host_alloc(ret, bytes, 0); }
FK_API(cuMemHostAlloc, (void **ret, size_t bytes, unsigned flags)) { FK_ENTER(cuMemHostAlloc); return host_alloc(ret, bytes, flags); }

FK_API(cuMemHostRegister_v2, (void *address, size_t bytes, unsigned flags))
{
    FK_ENTER(cuMemHostRegister_v2);
    if (!address || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    bool known = fk_host_find(address) != NULL;
    pthread_mutex_unlock(&fk_big);
    return known ? (CUresult)CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : pin(address, bytes, flags, true);
}

static CUresult unpin(void *address, bool registered, CUresult unknown)
{
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_host_find(address);
    bool ok = alloc && alloc->base == (uintptr_t)address && alloc->registered == registered;
    if (ok)
        fk_alloc_end(alloc);
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : unknown;
}

FK_API(cuMemFreeHost, (void *address)) { FK_ENTER(cuMemFreeHost); return unpin(address, false, CUDA_ERROR_INVALID_VALUE); }
FK_API(cuMemHostUnregister, (void *address))
{
    FK_ENTER(cuMemHostUnregister);
    return unpin(address, true, (CUresult)CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

FK_API(cuMemHostGetDevicePointer_v2, (CUdeviceptr *ret, void *address, unsigned flags))
{
    FK_ENTER(cuMemHostGetDevicePointer_v2);
    pthread_mutex_lock(&fk_big);
    bool known = fk_host_find(address) != NULL;
    pthread_mutex_unlock(&fk_big);
    if (!ret || !known)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = (uintptr_t)address; /* unified addressing */
    return CUDA_SUCCESS;
}

FK_API(cuMemHostGetFlags, (unsigned *ret, void *address))
{
    FK_ENTER(cuMemHostGetFlags);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_host_find(address);
    if (alloc)
        *ret = alloc->flags;
    pthread_mutex_unlock(&fk_big);
    return alloc ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
