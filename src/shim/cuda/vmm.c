/* vmm.c - physical memory with handles: charged to who created it, and free when the last handle and the last mapping are gone.
 * Imported handles and multicast objects hold memory that its creator is charged for, so they have no entry here. */
#include "shim/cuda/map.h"
#include "shim/cuda/shim.h"

static struct fgcu_map physical;  /* handle -> a: bytes, b: handles, c: mappings */
static struct fgcu_map mapped;    /* address or tile -> a: handle, b: 1, c: bytes */

static void let_go(CUmemGenericAllocationHandle handle, int64_t handles, int64_t mappings)
{
    struct fgcu_entry now;
    if (fgcu_map_add(&physical, handle, handles, mappings, &now) && !now.b && !now.c)
        fgcu_undone(FGCU_PHYSICAL, handle);
}

static int on_device(const CUmemAllocationProp *prop) { return prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE; }

CUresult fgcu_do_cuMemCreate(unsigned which, CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop,
                             unsigned long long flags)
{
    if (!fgcu_attached() || !handle || !prop || !on_device(prop))
        return FGCU_WHICH(cuMemCreate)(handle, size, prop, flags);
    size_t granule = 0;
    uint64_t bytes = size > FG_MEMORY_MAX ? FG_MEMORY_MAX + 1 : size;
    if (fgcu_call(cuMemGetAllocationGranularity)(&granule, prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) == CUDA_SUCCESS && granule)
        bytes = (bytes + granule - 1) / granule * granule; /* drivers refuse anything else; if one does not, this is what it takes */
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuMemCreate)(handle, size, prop, flags);
    if (result != CUDA_SUCCESS) {
        fg_ledger_cancel(&fgcu.ledger, bytes);
        return result;
    }
    fgcu_made(FGCU_PHYSICAL, *handle, bytes, bytes, NULL);
    fgcu_map_put(&physical, &(struct fgcu_entry){.key = *handle, .a = bytes, .b = 1});
    return CUDA_SUCCESS;
}

CUresult fgcu_do_cuMemRelease(unsigned which, CUmemGenericAllocationHandle handle)
{
    if (fgcu_attached())
        fgcu_parting();
    CUresult result = FGCU_WHICH(cuMemRelease)(handle);
    if (result == CUDA_SUCCESS && fgcu_attached())
        let_go(handle, -1, 0);
    return result;
}

CUresult fgcu_do_cuMemRetainAllocationHandle(unsigned which, CUmemGenericAllocationHandle *handle, void *address)
{
    struct fgcu_entry now;
    CUresult result = FGCU_WHICH(cuMemRetainAllocationHandle)(handle, address);
    if (result == CUDA_SUCCESS && fgcu_attached())
        fgcu_map_add(&physical, *handle, 1, 0, &now);
    return result;
}

CUresult fgcu_do_cuMemImportFromShareableHandle(unsigned which, CUmemGenericAllocationHandle *handle, void *from, int type)
{
    struct fgcu_entry now;
    fgcu_mark(FG_HELD_SHARED);
    CUresult result = FGCU_WHICH(cuMemImportFromShareableHandle)(handle, from, type);
    if (result == CUDA_SUCCESS && fgcu_attached())
        fgcu_map_add(&physical, *handle, 1, 0, &now); /* our own, come back under the same handle */
    return result;
}

CUresult fgcu_do_cuMemMap(unsigned which, CUdeviceptr pointer, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                          unsigned long long flags)
{
    struct fgcu_entry now;
    CUresult result = FGCU_WHICH(cuMemMap)(pointer, size, offset, handle, flags);
    if (result == CUDA_SUCCESS && fgcu_attached()) {
        fgcu_map_add(&physical, handle, 0, 1, &now);
        fgcu_map_put(&mapped, &(struct fgcu_entry){.key = pointer, .a = handle, .b = 1, .c = size});
    }
    return result;
}

/* A range may hold several mappings, each as a whole. */
CUresult fgcu_do_cuMemUnmap(unsigned which, CUdeviceptr pointer, size_t size)
{
    if (fgcu_attached())
        fgcu_parting();
    CUresult result = FGCU_WHICH(cuMemUnmap)(pointer, size);
    struct fgcu_entry entry;
    for (CUdeviceptr at = pointer; result == CUDA_SUCCESS && fgcu_attached() && at < pointer + size;) {
        if (!fgcu_map_take(&mapped, at, &entry))
            break;
        let_go(entry.a, 0, -1);
        at += entry.c ? entry.c : size;
    }
    return result;
}

/* ---- tiles of sparse arrays ---- */

static uint64_t mix(uint64_t h, uint64_t value) { return (h ^ value) * 0x9e3779b97f4a7c15u; }

static uint64_t tile(const CUarrayMapInfo *info)
{
    uint64_t h = mix((uintptr_t)info->resource.array, (uint64_t)info->subresourceType + 1);
    if (info->subresourceType == CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL)
        return mix(mix(h, info->subresource.miptail.layer), info->subresource.miptail.offset) | UINT64_C(1) << 63;
    h = mix(mix(h, info->subresource.sparseLevel.level), info->subresource.sparseLevel.layer);
    h = mix(mix(h, info->subresource.sparseLevel.offsetX), info->subresource.sparseLevel.offsetY);
    return mix(h, info->subresource.sparseLevel.offsetZ) | UINT64_C(1) << 63; /* no device address has that bit */
}

CUresult fgcu_do_cuMemMapArrayAsync(unsigned which, CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
    if (fgcu_attached())
        fgcu_parting();
    CUresult result = FGCU_WHICH(cuMemMapArrayAsync)(list, count, stream);
    struct fgcu_entry entry;
    for (unsigned i = 0; result == CUDA_SUCCESS && fgcu_attached() && i < count; i++) {
        uint64_t key = tile(&list[i]);
        if (fgcu_map_take(&mapped, key, &entry))
            let_go(entry.a, 0, -1); /* unmapped, or mapped anew */
        if (list[i].memOperationType != CU_MEM_OPERATION_TYPE_MAP)
            continue;
        if (fgcu_map_add(&physical, list[i].memHandle.memHandle, 0, 1, &entry))
            fgcu_map_put(&mapped, &(struct fgcu_entry){.key = key, .a = list[i].memHandle.memHandle, .b = 1});
    }
    return result;
}
