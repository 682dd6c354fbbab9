/* array.c - arrays and mipmapped arrays. The driver says what they take where it can (cuArrayGetMemoryRequirements); older ones
 * cannot, then it is texels in whole blocks. Sparse and deferred ones have no memory of their own: it is mapped into them. */
#include "shim/cuda/shim.h"

/* Bytes of one texel, all channels; of one 4x4 block for compressed formats, which *block says. */
static uint64_t texel(CUarray_format format, unsigned channels, unsigned *block)
{
    *block = 1;
    if (format >= CU_AD_FORMAT_BC1_UNORM && format <= CU_AD_FORMAT_BC7_UNORM_SRGB) {
        *block = 4;
        int small = format <= 0x92 || format == 0x97 || format == 0x98; /* BC1 and BC4 */
        return small ? 8 : 16;
    }
    if (format >= CU_AD_FORMAT_UNORM_INT8X1 && format <= CU_AD_FORMAT_SNORM_INT16X4) {
        static const unsigned char bytes[] = {1, 2, 4, 2, 4, 8, 1, 2, 4, 2, 4, 8};
        return bytes[format - CU_AD_FORMAT_UNORM_INT8X1];
    }
    switch ((int)format) {
    case CU_AD_FORMAT_UNSIGNED_INT8: case CU_AD_FORMAT_SIGNED_INT8: return channels;
    case CU_AD_FORMAT_UNSIGNED_INT16: case CU_AD_FORMAT_SIGNED_INT16: case CU_AD_FORMAT_HALF: return 2ull * channels;
    case CU_AD_FORMAT_UNSIGNED_INT32: case CU_AD_FORMAT_SIGNED_INT32: case CU_AD_FORMAT_FLOAT: return 4ull * channels;
    case CU_AD_FORMAT_UNORM_INT_101010_2: return 4;
    case CU_AD_FORMAT_NV12: return 2; /* one and a half */
    default: return 8; /* other video formats: at most that */
    }
}

static uint64_t product(uint64_t a, uint64_t b) { return __builtin_mul_overflow(a, b, &a) ? FG_MEMORY_MAX + 1 : a; }

/* Of one level; 0 in height or depth means that there is no such dimension. */
static uint64_t level_bytes(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned level)
{
    unsigned block;
    uint64_t bytes = texel(d->Format, d->NumChannels, &block);
    uint64_t width = d->Width >> level, height = d->Height >> level, depth = d->Flags & CUDA_ARRAY3D_LAYERED ? d->Depth : d->Depth >> level;
    width = ((width ? width : 1) + block - 1) / block;
    height = ((height ? height : 1) + block - 1) / block;
    return product(product(product(width, height), depth ? depth : 1), bytes);
}

static uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    uint64_t sum = 0;
    if (d->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING))
        return 0;
    for (unsigned i = 0; i < levels && i < 32; i++) {
        uint64_t bytes = level_bytes(d, i);
        sum = bytes > FG_MEMORY_MAX || sum > FG_MEMORY_MAX ? FG_MEMORY_MAX + 1 : sum + bytes;
    }
    return sum;
}

static CUdevice current_device(void)
{
    CUdevice device = 0;
    return fgcu_call(cuCtxGetDevice)(&device) == CUDA_SUCCESS ? device : 0;
}

static uint64_t true_bytes(uint64_t guess, CUresult asked, const CUDA_ARRAY_MEMORY_REQUIREMENTS *answer)
{
    return guess && asked == CUDA_SUCCESS && answer->size ? answer->size : guess;
}

static CUresult array_made(CUarray *array, uint64_t reserved, CUresult result)
{
    CUDA_ARRAY_MEMORY_REQUIREMENTS needs = {0};
    if (result != CUDA_SUCCESS) {
        fg_ledger_cancel(&fgcu.ledger, reserved);
        return result;
    }
    CUresult asked = fgcu_call(cuArrayGetMemoryRequirements)(&needs, *array, current_device());
    if (fgcu_made(FGCU_ARRAY, (uintptr_t)*array, reserved, true_bytes(reserved, asked, &needs), fgcu_context()) == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    FGCU_NEXT(cuArrayDestroy, cuArrayDestroy)(*array);
    fgcu_undone(FGCU_ARRAY, (uintptr_t)*array);
    *array = NULL;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult reserve(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels, uint64_t *ret)
{
    *ret = array_bytes(d, levels);
    return fgcu_reserve(*ret);
}

CUresult fgcu_do_cuArrayCreate(unsigned which, CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArrayCreate)(array, d);
    CUDA_ARRAY3D_DESCRIPTOR full = {d->Width, d->Height, 0, d->Format, d->NumChannels, 0};
    if (reserve(&full, 1, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return array_made(array, bytes, FGCU_WHICH(cuArrayCreate)(array, d));
}

CUresult fgcu_do_cuArrayCreate_v1(unsigned which, CUarray *array, const CUDA_ARRAY_DESCRIPTOR_v1 *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArrayCreate_v1)(array, d);
    CUDA_ARRAY3D_DESCRIPTOR full = {d->Width, d->Height, 0, d->Format, d->NumChannels, 0};
    if (reserve(&full, 1, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return array_made(array, bytes, FGCU_WHICH(cuArrayCreate_v1)(array, d));
}

CUresult fgcu_do_cuArray3DCreate(unsigned which, CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArray3DCreate)(array, d);
    if (reserve(d, 1, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return array_made(array, bytes, FGCU_WHICH(cuArray3DCreate)(array, d));
}

CUresult fgcu_do_cuArray3DCreate_v1(unsigned which, CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArray3DCreate_v1)(array, d);
    CUDA_ARRAY3D_DESCRIPTOR full = {d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags};
    if (reserve(&full, 1, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return array_made(array, bytes, FGCU_WHICH(cuArray3DCreate_v1)(array, d));
}

CUresult fgcu_do_cuArrayDestroy(unsigned which, CUarray array)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_ARRAY, (uintptr_t)array, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuArrayDestroy)(array));
}

CUresult fgcu_do_cuMipmappedArrayCreate(unsigned which, CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned int levels)
{
    uint64_t bytes;
    CUDA_ARRAY_MEMORY_REQUIREMENTS needs = {0};
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuMipmappedArrayCreate)(array, d, levels);
    if (reserve(d, levels, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuMipmappedArrayCreate)(array, d, levels);
    if (result != CUDA_SUCCESS) {
        fg_ledger_cancel(&fgcu.ledger, bytes);
        return result;
    }
    CUresult asked = fgcu_call(cuMipmappedArrayGetMemoryRequirements)(&needs, *array, current_device());
    if (fgcu_made(FGCU_MIPMAP, (uintptr_t)*array, bytes, true_bytes(bytes, asked, &needs), fgcu_context()) == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    FGCU_NEXT(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy)(*array);
    fgcu_undone(FGCU_MIPMAP, (uintptr_t)*array);
    *array = NULL;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fgcu_do_cuMipmappedArrayDestroy(unsigned which, CUmipmappedArray array)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_MIPMAP, (uintptr_t)array, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuMipmappedArrayDestroy)(array));
}
