/* array.c - arrays and mipmapped arrays. What one needs of the device, as cuArrayGetMemoryRequirements says it too:
 *
 *     rows of whole 64 bytes, in tiles of 8 rows if there is more than one, times depth, layers and planes,
 *     the levels of a mipmap added up, all in whole 64 KiB
 *
 * Sparse arrays and those of deferred mapping need nothing by themselves: memory is mapped into them. */
#include "driver.h"

#define TILE (64u << 10)

struct CUarray_st {
    uint32_t magic;
    CUDA_ARRAY3D_DESCRIPTOR desc;
    CUcontext ctx;
    CUmipmappedArray parent;
    unsigned level;
    struct fk_alloc *alloc;
    uint64_t need, offset;
    struct fk_list link;
};
struct CUmipmappedArray_st {
    uint32_t magic;
    CUDA_ARRAY3D_DESCRIPTOR desc;
    unsigned levels;
    CUarray whole; /* owns the memory */
    CUarray level[16];
};

static unsigned element_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
    switch ((int)desc->Format) {
    case CU_AD_FORMAT_UNSIGNED_INT8: case CU_AD_FORMAT_SIGNED_INT8: return desc->NumChannels;
    case CU_AD_FORMAT_UNSIGNED_INT16: case CU_AD_FORMAT_SIGNED_INT16: case CU_AD_FORMAT_HALF: return 2 * desc->NumChannels;
    case CU_AD_FORMAT_UNSIGNED_INT32: case CU_AD_FORMAT_SIGNED_INT32: case CU_AD_FORMAT_FLOAT: return 4 * desc->NumChannels;
    case CU_AD_FORMAT_UNORM_INT_101010_2: return 4;
    case CU_AD_FORMAT_NV12: return 1;
    default: break;
    }
    unsigned format = (unsigned)desc->Format;
    if (format >= CU_AD_FORMAT_UNORM_INT8X1 && format <= CU_AD_FORMAT_SNORM_INT16X4) { /* 8x1 8x2 8x4 16x1 16x2 16x4, U then S */
        unsigned at = (format - CU_AD_FORMAT_UNORM_INT8X1) % 6;
        return (1u << at % 3) * (at >= 3 ? 2 : 1);
    }
    if (format >= CU_AD_FORMAT_BC1_UNORM && format <= CU_AD_FORMAT_BC7_UNORM_SRGB) /* of a 4x4 block: BC1 and BC4 8 bytes, others 16 */
        return format <= 0x92 || format == 0x97 || format == 0x98 ? 8 : 16;
    return 0;
}

static uint64_t level_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned level)
{
    uint64_t w = desc->Width >> level, h = desc->Height >> level, d = desc->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP) ? desc->Depth : desc->Depth >> level;
    w = w ? w : 1;
    h = h ? h : 1;
    d = d ? d : 1;
    if (desc->Format >= CU_AD_FORMAT_BC1_UNORM && desc->Format <= CU_AD_FORMAT_BC7_UNORM_SRGB) {
        w = (w + 3) / 4;
        h = (h + 3) / 4;
    }
    uint64_t bytes = fk_round(w * element_bytes(desc), 64) * (h > 1 ? fk_round(h, 8) : 1) * d;
    return desc->Format == CU_AD_FORMAT_NV12 ? bytes + bytes / 2 : bytes;
}

static uint64_t need_of(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    uint64_t sum = 0;
    for (unsigned level = 0; level < levels; level++)
        sum += level_bytes(desc, level);
    return fk_round(sum, TILE);
}

static bool unbacked(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
    return desc->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING);
}

static CUresult check(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
    bool channels = desc->NumChannels == 1 || desc->NumChannels == 2 || desc->NumChannels == 4 || desc->NumChannels == 3;
    return desc->Width && desc->Width <= 131072 && desc->Height <= 131072 && desc->Depth <= 16384 && channels && element_bytes(desc) ? CUDA_SUCCESS
                                                                                                                                       : CUDA_ERROR_INVALID_VALUE;
}

static CUresult make(CUarray *ret, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    FK_CTX(ctx);
    FK_UNSAFE();
    if (!ret || check(desc))
        return CUDA_ERROR_INVALID_VALUE;
    CUarray array = calloc(1, sizeof *array);
    if (!array)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *array = (struct CUarray_st){.magic = FK_IS_ARRAY, .desc = *desc, .ctx = ctx, .need = need_of(desc, levels)};
    pthread_mutex_lock(&fk_big);
    array->alloc = fk_alloc_new(ctx, ctx->device, FK_ARRAY, array->need, unbacked(desc) ? 0 : array->need);
    if (array->alloc) {
        fk_list_add(&ctx->arrays, &array->link);
        fk_list_remove(&array->alloc->link); /* the array ends it */
    }
    pthread_mutex_unlock(&fk_big);
    if (!array->alloc) {
        free(array);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *ret = array;
    return CUDA_SUCCESS;
}

static void end(CUarray array) /* under fk_big */
{
    fk_list_remove(&array->link);
    if (!array->parent && array->alloc)
        fk_alloc_end(array->alloc);
    array->magic = 0;
    free(array);
}

void fk_arrays_end(CUcontext ctx)
{
    while (ctx->arrays.next != &ctx->arrays)
        end(FK_OF(ctx->arrays.next, struct CUarray_st, link));
}

FK_API(cuArrayCreate_v2, (CUarray *ret, const CUDA_ARRAY_DESCRIPTOR *desc))
{
    FK_ENTER(cuArrayCreate_v2);
    if (!desc)
        return CUDA_ERROR_INVALID_VALUE;
    return make(ret, &(CUDA_ARRAY3D_DESCRIPTOR){desc->Width, desc->Height, 0, desc->Format, desc->NumChannels, 0}, 1);
}

FK_API(cuArray3DCreate_v2, (CUarray *ret, const CUDA_ARRAY3D_DESCRIPTOR *desc))
{
    FK_ENTER(cuArray3DCreate_v2);
    return desc ? make(ret, desc, 1) : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuArrayDestroy, (CUarray array))
{
    FK_ENTER(cuArrayDestroy);
    if (!FK_IS(array, FK_IS_ARRAY) || array->parent)
        return CUDA_ERROR_INVALID_HANDLE;
    fk_sync_device(array->ctx->device);
    pthread_mutex_lock(&fk_big);
    end(array);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuArrayGetDescriptor_v2, (CUDA_ARRAY_DESCRIPTOR *ret, CUarray array))
{
    FK_ENTER(cuArrayGetDescriptor_v2);
    if (!FK_IS(array, FK_IS_ARRAY))
        return CUDA_ERROR_INVALID_HANDLE;
    *ret = (CUDA_ARRAY_DESCRIPTOR){array->desc.Width, array->desc.Height, array->desc.Format, array->desc.NumChannels};
    return CUDA_SUCCESS;
}

FK_API(cuArray3DGetDescriptor_v2, (CUDA_ARRAY3D_DESCRIPTOR *ret, CUarray array))
{
    FK_ENTER(cuArray3DGetDescriptor_v2);
    if (!FK_IS(array, FK_IS_ARRAY))
        return CUDA_ERROR_INVALID_HANDLE;
    *ret = array->desc;
    return CUDA_SUCCESS;
}

FK_API(cuArrayGetMemoryRequirements, (CUDA_ARRAY_MEMORY_REQUIREMENTS *ret, CUarray array, CUdevice dev))
{
    FK_ENTER(cuArrayGetMemoryRequirements);
    if (!FK_IS(array, FK_IS_ARRAY))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!ret || !(array->desc.Flags & CUDA_ARRAY3D_DEFERRED_MAPPING)) /* as documented: of deferred mapping only */
        return CUDA_ERROR_INVALID_VALUE;
    *ret = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = array->need, .alignment = TILE};
    return CUDA_SUCCESS;
}

static CUresult sparse(CUDA_ARRAY_SPARSE_PROPERTIES *ret, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    if (!ret || !(desc->Flags & CUDA_ARRAY3D_SPARSE))
        return CUDA_ERROR_INVALID_VALUE;
    *ret = (CUDA_ARRAY_SPARSE_PROPERTIES){.tileExtent = {256 / element_bytes(desc) + 1, 256, 1}, .miptailFirstLevel = levels > 6 ? levels - 6 : 0, .miptailSize = TILE};
    return CUDA_SUCCESS;
}

FK_API(cuArrayGetSparseProperties, (CUDA_ARRAY_SPARSE_PROPERTIES *ret, CUarray array))
{
    FK_ENTER(cuArrayGetSparseProperties);
    return FK_IS(array, FK_IS_ARRAY) ? sparse(ret, &array->desc, 1) : CUDA_ERROR_INVALID_HANDLE;
}

/* --- mipmapped arrays --- */

FK_API(cuMipmappedArrayCreate, (CUmipmappedArray *ret, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels))
{
    FK_ENTER(cuMipmappedArrayCreate);
    if (!ret || !desc || !levels || levels > 16)
        return CUDA_ERROR_INVALID_VALUE;
    CUmipmappedArray mipmap = calloc(1, sizeof *mipmap);
    if (!mipmap)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *mipmap = (struct CUmipmappedArray_st){.magic = FK_IS_MIPMAP, .desc = *desc, .levels = levels};
    CUresult r = make(&mipmap->whole, desc, levels);
    if (r)
        free(mipmap);
    else
        *ret = mipmap;
    return r;
}

FK_API(cuMipmappedArrayGetLevel, (CUarray *ret, CUmipmappedArray mipmap, unsigned level))
{
    FK_ENTER(cuMipmappedArrayGetLevel);
    if (!FK_IS(mipmap, FK_IS_MIPMAP))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!ret || level >= mipmap->levels)
        return CUDA_ERROR_INVALID_VALUE;
    if (!mipmap->level[level]) {
        CUarray array = calloc(1, sizeof *array);
        if (!array)
            return CUDA_ERROR_OUT_OF_MEMORY;
        *array = (struct CUarray_st){.magic = FK_IS_ARRAY, .desc = mipmap->desc, .ctx = mipmap->whole->ctx, .parent = mipmap, .level = level, .alloc = mipmap->whole->alloc};
        for (unsigned i = 0; i < level; i++)
            array->offset += level_bytes(&mipmap->desc, i);
        array->desc.Width = array->desc.Width >> level ? array->desc.Width >> level : 1;
        array->desc.Height = array->desc.Height >> level ? array->desc.Height >> level : array->desc.Height != 0;
        mipmap->level[level] = array;
    }
    *ret = mipmap->level[level];
    return CUDA_SUCCESS;
}

FK_API(cuMipmappedArrayDestroy, (CUmipmappedArray mipmap))
{
    FK_ENTER(cuMipmappedArrayDestroy);
    if (!FK_IS(mipmap, FK_IS_MIPMAP))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&fk_big);
    for (unsigned i = 0; i < mipmap->levels; i++)
        if (mipmap->level[i])
            end(mipmap->level[i]);
    if (FK_IS(mipmap->whole, FK_IS_ARRAY))
        end(mipmap->whole);
    mipmap->magic = 0;
    free(mipmap);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuMipmappedArrayGetMemoryRequirements, (CUDA_ARRAY_MEMORY_REQUIREMENTS *ret, CUmipmappedArray mipmap, CUdevice dev))
{
    FK_ENTER(cuMipmappedArrayGetMemoryRequirements);
    if (!FK_IS(mipmap, FK_IS_MIPMAP))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!ret || !(mipmap->desc.Flags & CUDA_ARRAY3D_DEFERRED_MAPPING))
        return CUDA_ERROR_INVALID_VALUE;
    *ret = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = mipmap->whole->need, .alignment = TILE};
    return CUDA_SUCCESS;
}

FK_API(cuMipmappedArrayGetSparseProperties, (CUDA_ARRAY_SPARSE_PROPERTIES *ret, CUmipmappedArray mipmap))
{
    FK_ENTER(cuMipmappedArrayGetSparseProperties);
    return FK_IS(mipmap, FK_IS_MIPMAP) ? sparse(ret, &mipmap->desc, mipmap->levels) : CUDA_ERROR_INVALID_HANDLE;
}

bool fk_array_view(CUarray array, struct fk_array_view *ret)
{
    if (!FK_IS(array, FK_IS_ARRAY))
        return false;
    size_t pitch = fk_round(array->desc.Width * element_bytes(&array->desc), 64);
    *ret = (struct fk_array_view){(char *)(uintptr_t)array->alloc->base + array->offset, pitch,
                                  pitch * (array->desc.Height > 1 ? fk_round(array->desc.Height, 8) : 1), element_bytes(&array->desc)};
    return true;
}
