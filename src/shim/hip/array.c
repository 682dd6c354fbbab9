/* array.c - arrays and mipmapped arrays. HIP tells nowhere what one takes, so it is an estimate: rows of whole 256 bytes, each
 * level in whole pages, as linear images are laid out; tiled ones may take more. */
#include "shim/hip/shim.h"

#define ROW 256u

static uint64_t product(uint64_t a, uint64_t b) { return __builtin_mul_overflow(a, b, &a) ? FG_MEMORY_MAX + 1 : a; }

/* Of one texel; elements: the sizes of HIP_AD_FORMAT. */
static uint64_t texel(CUarray_format format, unsigned channels)
{
    switch ((int)format) {
    case CU_AD_FORMAT_UNSIGNED_INT8: case CU_AD_FORMAT_SIGNED_INT8: return channels;
    case CU_AD_FORMAT_UNSIGNED_INT16: case CU_AD_FORMAT_SIGNED_INT16: case CU_AD_FORMAT_HALF: return 2ull * channels;
    default: return 4ull * channels;
    }
}

static uint64_t estimate(hipExtent extent, uint64_t texel_bytes, int layers, unsigned levels)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < levels && i < 32 && sum <= FG_MEMORY_MAX; i++) {
        uint64_t width = extent.width >> i, height = extent.height >> i, depth = layers ? extent.depth : extent.depth >> i;
        uint64_t row = (product(width ? width : 1, texel_bytes) + ROW - 1) / ROW * ROW;
        sum += fgcu_linear_bytes(product(product(row, height ? height : 1), depth ? depth : 1));
    }
    return sum;
}

static uint64_t of_runtime(const hipChannelFormatDesc *f, hipExtent extent, unsigned flags, unsigned levels)
{
    uint64_t bits = (uint64_t)f->x + (uint64_t)f->y + (uint64_t)f->z + (uint64_t)f->w;
    return estimate(extent, (bits + 7) / 8, flags & (HIP_ARRAY_LAYERED | HIP_ARRAY_CUBEMAP), levels);
}

static uint64_t of_3d(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    return estimate((hipExtent){d->Width, d->Height, d->Depth}, texel(d->Format, d->NumChannels),
                    d->Flags & (HIP_ARRAY_LAYERED | HIP_ARRAY_CUBEMAP), levels);
}

static CUresult made(enum fgcu_kind kind, CUresult result, uint64_t bytes, void *const *array)
{
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, bytes);
    else
        fgcu_made(kind, (uintptr_t)*array, bytes, bytes, fgcu_context());
    return result;
}

CUresult fgcu_do_hipMallocArray(unsigned which, void **array, const hipChannelFormatDesc *format, size_t width, size_t height,
                                unsigned int flags)
{
    if (!fgcu_attached() || !array || !format)
        return FGCU_WHICH(hipMallocArray)(array, format, width, height, flags);
    uint64_t bytes = of_runtime(format, (hipExtent){width, height, 0}, flags, 1);
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMallocArray)(array, format, width, height, flags);
    return made(FGCU_ARRAY, result, bytes, array);
}

CUresult fgcu_do_hipMalloc3DArray(unsigned which, void **array, const hipChannelFormatDesc *format, hipExtent extent, unsigned int flags)
{
    if (!fgcu_attached() || !array || !format)
        return FGCU_WHICH(hipMalloc3DArray)(array, format, extent, flags);
    uint64_t bytes = of_runtime(format, extent, flags, 1);
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMalloc3DArray)(array, format, extent, flags);
    return made(FGCU_ARRAY, result, bytes, array);
}

CUresult fgcu_do_hipArrayCreate(unsigned which, void **array, const CUDA_ARRAY_DESCRIPTOR *d)
{
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(hipArrayCreate)(array, d);
    uint64_t bytes = estimate((hipExtent){d->Width, d->Height, 0}, texel(d->Format, d->NumChannels), 0, 1);
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipArrayCreate)(array, d);
    return made(FGCU_ARRAY, result, bytes, array);
}

CUresult fgcu_do_hipArray3DCreate(unsigned which, void **array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(hipArray3DCreate)(array, d);
    uint64_t bytes = of_3d(d, 1);
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipArray3DCreate)(array, d);
    return made(FGCU_ARRAY, result, bytes, array);
}

CUresult fgcu_do_hipMallocMipmappedArray(unsigned which, void **array, const hipChannelFormatDesc *format, hipExtent extent,
                                         unsigned int levels, unsigned int flags)
{
    if (!fgcu_attached() || !array || !format)
        return FGCU_WHICH(hipMallocMipmappedArray)(array, format, extent, levels, flags);
    uint64_t bytes = of_runtime(format, extent, flags, levels);
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMallocMipmappedArray)(array, format, extent, levels, flags);
    return made(FGCU_MIPMAP, result, bytes, array);
}

CUresult fgcu_do_hipMipmappedArrayCreate(unsigned which, void **array, CUDA_ARRAY3D_DESCRIPTOR *d, unsigned int levels)
{
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(hipMipmappedArrayCreate)(array, d, levels);
    uint64_t bytes = of_3d(d, levels);
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMipmappedArrayCreate)(array, d, levels);
    return made(FGCU_MIPMAP, result, bytes, array);
}

CUresult fgcu_do_hipArrayFree(unsigned which, void *array)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_ARRAY, (uintptr_t)array, &record);
    return fgcu_free_end(&record, FGCU_WHICH(hipArrayFree)(array));
}

CUresult fgcu_do_hipMipmapFree(unsigned which, void *array)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_MIPMAP, (uintptr_t)array, &record);
    return fgcu_free_end(&record, FGCU_WHICH(hipMipmapFree)(array));
}
