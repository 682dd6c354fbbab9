/* vmm.c - memory apart from addresses: cuMemCreate, reserved ranges, mappings, multicast objects. Memory is charged to whoever
 * created it until its handle is released, its last mapping undone, and nobody has imported it; imports borrow. */
#include "driver.h"

struct physical {
    uint32_t magic;
    unsigned device, references; /* handles and mappings */
    bool borrowed, multicast, host;
    uint64_t bytes, charged;
    CUmemAllocationProp prop;
    unsigned export;
};
struct mapping { struct mapping *next; uint64_t base, bytes; struct physical *of; };

static struct physical *physical_of(CUmemGenericAllocationHandle handle)
{
    struct physical *p = (struct physical *)(uintptr_t)handle;
    return FK_IS(p, FK_IS_PHYSICAL) ? p : NULL;
}

static void drop(struct physical *p)
{
    if (--p->references)
        return;
    if (p->borrowed)
        fk_export_let_go(p->export);
    if (p->charged && (p->borrowed || !p->export || !fk_export_leave(p->export)))
        fk_give(p->device, p->borrowed ? FK_BORROWED : p->multicast ? FK_MULTICAST : p->host ? FK_HOST : FK_VMM, p->charged);
    p->magic = 0;
    free(p);
}

static CUresult granularity(size_t *ret)
{
    if (!ret)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = fk_world->vmm_granule;
    return CUDA_SUCCESS;
}
FK_API(cuMemGetAllocationGranularity, (size_t *ret, const CUmemAllocationProp *prop, CUmemAllocationGranularity_flags option)) { FK_ENTER(cuMemGetAllocationGranularity); return prop ? granularity(ret) : CUDA_ERROR_INVALID_VALUE; }
FK_API(cuMulticastGetGranularity, (size_t *ret, const CUmulticastObjectProp *prop, CUmulticastGranularity_flags option)) { FK_ENTER(cuMulticastGetGranularity); return prop ? granularity(ret) : CUDA_ERROR_INVALID_VALUE; }

static CUresult create(CUmemGenericAllocationHandle *ret, const struct physical *like, enum fk_kind kind)
{
    if (like->charged && !fk_take(like->device, kind, like->charged))
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct physical *p = malloc(sizeof *p);
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *p = *like;
    p->magic = FK_IS_PHYSICAL;
    p->references = 1;
    *ret = (uintptr_t)p;
    return CUDA_SUCCESS;
}

FK_API(cuMemCreate, (CUmemGenericAllocationHandle *ret, size_t bytes, const CUmemAllocationProp *prop, unsigned long long flags))
{
    FK_ENTER(cuMemCreate);
    if (!ret || !prop || !bytes || bytes % fk_world->vmm_granule || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    bool host = prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE;
    if (!host && !fk_device_ok(prop->location.id))
        return CUDA_ERROR_INVALID_DEVICE;
    struct physical p = {.device = (unsigned)fk_visible[host ? 0 : prop->location.id], .bytes = bytes, .charged = bytes, .host = host, .prop = *prop};
    return create(ret, &p, host ? FK_HOST : FK_VMM);
}

FK_API(cuMemRelease, (CUmemGenericAllocationHandle handle))
{
    FK_ENTER(cuMemRelease);
    struct physical *p = physical_of(handle);
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    drop(p);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuMemGetAllocationPropertiesFromHandle, (CUmemAllocationProp *ret, CUmemGenericAllocationHandle handle))
{
    FK_ENTER(cuMemGetAllocationPropertiesFromHandle);
    struct physical *p = physical_of(handle);
    if (!p || !ret)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = p->prop;
    return CUDA_SUCCESS;
}

/* --- addresses --- */

FK_API(cuMemAddressReserve, (CUdeviceptr *ret, size_t bytes, size_t align, CUdeviceptr wanted, unsigned long long flags))
{
    FK_ENTER(cuMemAddressReserve);
    if (!ret || !bytes || bytes % fk_world->vmm_granule || (align & (align - 1)))
        return CUDA_ERROR_INVALID_VALUE;
    struct fk_alloc *alloc = calloc(1, sizeof *alloc);
    if (!alloc)
        return CUDA_ERROR_OUT_OF_MEMORY;
    alloc->kind = FK_VMM;
    alloc->reservation = true;
    pthread_mutex_lock(&fk_big);
    bool ok = fk_va_take(alloc, bytes, align > fk_world->vmm_granule ? align : fk_world->vmm_granule);
    pthread_mutex_unlock(&fk_big);
    if (!ok) {
        free(alloc);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *ret = alloc->base;
    return CUDA_SUCCESS;
}

FK_API(cuMemAddressFree, (CUdeviceptr pointer, size_t bytes))
{
    FK_ENTER(cuMemAddressFree);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->reservation && alloc->base == pointer && alloc->bytes == bytes && !alloc->mappings;
    if (ok)
        fk_alloc_end(alloc);
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool fk_mapped(struct fk_alloc *alloc, uint64_t address, uint64_t bytes)
{
    uint64_t end = address + bytes;
    while (address < end) {
        struct mapping *m = alloc->mappings;
        while (m && (address < m->base || address >= m->base + m->bytes))
            m = m->next;
        if (!m)
            return false;
        address = m->base + m->bytes;
    }
    return true;
}

static bool overlaps(const struct fk_alloc *alloc, uint64_t base, uint64_t bytes)
{
    for (const struct mapping *m = alloc->mappings; m; m = m->next)
        if (base < m->base + m->bytes && m->base < base + bytes)
            return true;
    return false;
}

FK_API(cuMemMap, (CUdeviceptr pointer, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags))
{
    FK_ENTER(cuMemMap);
    struct physical *p = physical_of(handle);
    if (!p || !bytes || offset + bytes > p->bytes || pointer % fk_world->vmm_granule || bytes % fk_world->vmm_granule)
        return CUDA_ERROR_INVALID_VALUE;
    struct mapping *m = malloc(sizeof *m);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->reservation && pointer + bytes <= alloc->base + alloc->bytes && !overlaps(alloc, pointer, bytes);
    if (ok) {
        *m = (struct mapping){alloc->mappings, pointer, bytes, p};
        alloc->mappings = m;
        p->references++;
    }
    pthread_mutex_unlock(&fk_big);
    if (!ok)
        free(m);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Whole mappings only, any number of them, that fill the range. */
FK_API(cuMemUnmap, (CUdeviceptr pointer, size_t bytes))
{
    FK_ENTER(cuMemUnmap);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->reservation && bytes && fk_mapped(alloc, pointer, bytes);
    for (struct mapping *m = ok ? alloc->mappings : NULL; m && ok; m = m->next)
        if (m->base < pointer + bytes && pointer < m->base + m->bytes)
            ok = m->base >= pointer && m->base + m->bytes <= pointer + bytes;
    struct mapping **at = ok ? (struct mapping **)&alloc->mappings : NULL;
    while (at && *at) {
        struct mapping *m = *at;
        if (m->base < pointer || m->base >= pointer + bytes) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        drop(m->of);
        free(m);
    }
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *ret, void *address))
{
    FK_ENTER(cuMemRetainAllocationHandle);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find((uintptr_t)address);
    struct mapping *m = alloc && alloc->reservation ? alloc->mappings : NULL;
    while (m && ((uintptr_t)address < m->base || (uintptr_t)address >= m->base + m->bytes))
        m = m->next;
    if (m) {
        m->of->references++;
        *ret = (uintptr_t)m->of;
    }
    pthread_mutex_unlock(&fk_big);
    return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuMemSetAccess, (CUdeviceptr pointer, size_t bytes, const CUmemAccessDesc *desc, size_t count))
{
    FK_ENTER(cuMemSetAccess);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && desc && count && (!alloc->reservation || fk_mapped(alloc, pointer, bytes));
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuMemGetAccess, (unsigned long long *flags, const CUmemLocation *where, CUdeviceptr pointer))
{
    FK_ENTER(cuMemGetAccess);
    if (!flags || !where)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    return CUDA_SUCCESS;
}

/* --- to and from other processes --- */

FK_API(cuMemExportToShareableHandle, (void *ret, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type, unsigned long long flags))
{
    FK_ENTER(cuMemExportToShareableHandle);
    struct physical *p = physical_of(handle);
    if (!p || !ret || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || !(p->prop.requestedHandleTypes & type))
        return CUDA_ERROR_INVALID_VALUE;
    if (!p->export)
        p->export = (unsigned)fk_export(p->device, p->multicast ? FK_MULTICAST : FK_VMM, p->bytes, 0);
    int fd = fk_export_file(p->export);
    *(int *)ret = fd;
    return fd < 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

FK_API(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle *ret, void *handle, CUmemAllocationHandleType type))
{
    FK_ENTER(cuMemImportFromShareableHandle);
    struct fk_export *e = fk_export_of_file((int)(intptr_t)handle);
    if (!ret || !e || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_INVALID_VALUE;
    struct physical p = {.device = e->device, .bytes = e->bytes, .charged = e->bytes, .borrowed = true, .export = (unsigned)e->id,
                         .prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .requestedHandleTypes = type}};
    if (!fk_export_hold(e))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = create(ret, &p, FK_BORROWED);
    if (result != CUDA_SUCCESS)
        fk_export_let_go(e->id);
    return result;
}

/* --- multicast: an object of its own, one granule of bookkeeping on the device per 512 it spans --- */

FK_API(cuMulticastCreate, (CUmemGenericAllocationHandle *ret, const CUmulticastObjectProp *prop))
{
    FK_ENTER(cuMulticastCreate);
    if (!ret || !prop || !prop->numDevices || !prop->size || prop->size % fk_world->vmm_granule)
        return CUDA_ERROR_INVALID_VALUE;
    struct physical p = {.device = (unsigned)fk_visible[0], .bytes = prop->size, .charged = fk_round(prop->size / 512, fk_world->vmm_granule), .multicast = true,
                         .prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .requestedHandleTypes = (CUmemAllocationHandleType)prop->handleTypes}};
    return create(ret, &p, FK_MULTICAST);
}
FK_API(cuMulticastAddDevice, (CUmemGenericAllocationHandle handle, CUdevice dev))
{
    FK_ENTER(cuMulticastAddDevice);
    return !fk_device_ok(dev) ? CUDA_ERROR_INVALID_DEVICE : physical_of(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(cuMulticastBindMem, (CUmemGenericAllocationHandle handle, size_t at, CUmemGenericAllocationHandle memory, size_t offset, size_t bytes, unsigned long long flags))
{
    FK_ENTER(cuMulticastBindMem);
    struct physical *cast = physical_of(handle), *p = physical_of(memory);
    return cast && cast->multicast && p && at + bytes <= cast->bytes && offset + bytes <= p->bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(cuMulticastBindAddr, (CUmemGenericAllocationHandle handle, size_t at, CUdeviceptr memory, size_t bytes, unsigned long long flags))
{
    FK_ENTER(cuMulticastBindAddr);
    struct physical *cast = physical_of(handle);
    return cast && cast->multicast && at + bytes <= cast->bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(cuMulticastUnbind, (CUmemGenericAllocationHandle handle, CUdevice dev, size_t offset, size_t bytes))
{
    FK_ENTER(cuMulticastUnbind);
    struct physical *cast = physical_of(handle);
    return cast && cast->multicast ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Tiles of sparse arrays: the memory is charged already. */
static CUresult run_cuMemMapArrayAsync(CUarrayMapInfo *list, unsigned count, CUstream hStream)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i].memOperationType == CU_MEM_OPERATION_TYPE_MAP && !physical_of(list[i].memHandle.memHandle))
            return CUDA_ERROR_INVALID_VALUE;
    return list && count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_BOTH(cuMemMapArrayAsync, _ptsz, (CUarrayMapInfo *list, unsigned count, CUstream hStream), (list, count, hStream))
