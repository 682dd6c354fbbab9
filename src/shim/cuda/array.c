/* array.c - arrays and mipmapped arrays. The driver says what an array takes only of one whose memory is mapped into it later
 * (cuArrayGetMemoryRequirements): such a twin is made, asked, and destroyed; it costs no memory. Drivers before 11.6 have no
 * such arrays: then it is rows of 64 bytes in tiles of 8 rows, in whole 64 KiB. Sparse and deferred ones have no memory of their own. */
#include "shim/cuda/shim.h"

#define ROW   64u
#define ROWS  8u
#define WHOLE (64u << 10)

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

static uint64_t up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* Of one level; 0 in height or depth means that there is no such dimension. */
static uint64_t level_bytes(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned level)
{
    unsigned block;
    uint64_t bytes = texel(d->Format, d->NumChannels, &block);
    int layers = (d->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
    uint64_t width = d->Width >> level, height = d->Height >> level, depth = layers ? d->Depth : d->Depth >> level;
    width = ((width ? width : 1) + block - 1) / block;
    height = ((height ? height : 1) + block - 1) / block;
    return product(product(up(product(width, bytes), ROW), height > 1 ? up(height, ROWS) : 1), depth ? depth : 1);
}

static uint64_t estimate(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < levels && i < 32; i++) {
        uint64_t bytes = level_bytes(d, i);
        sum = bytes > FG_MEMORY_MAX || sum > FG_MEMORY_MAX ? FG_MEMORY_MAX + 1 : sum + bytes;
    }
    return sum > FG_MEMORY_MAX ? sum : up(sum, WHOLE);
}

/* levels 0: not a mipmapped array. 0: the driver makes no such array, or has no such question. */
static uint64_t ask_twin(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels)
{
    CUDA_ARRAY3D_DESCRIPTOR twin = *d;
    CUDA_ARRAY_MEMORY_REQUIREMENTS needs = {0};
    CUdevice device = 0;
    CUarray array;
    CUmipmappedArray mipmap;
    twin.Flags |= CUDA_ARRAY3D_DEFERRED_MAPPING;
    if (!fgcu_has(FGCU_cuArrayGetMemoryRequirements) || fgcu_call(cuCtxGetDevice)(&device) != CUDA_SUCCESS)
        return 0;
    if (levels && FGCU_NEXT(cuMipmappedArrayCreate, cuMipmappedArrayCreate)(&mipmap, &twin, levels) == CUDA_SUCCESS) {
        fgcu_call(cuMipmappedArrayGetMemoryRequirements)(&needs, mipmap, device);
        FGCU_NEXT(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy)(mipmap);
    } else if (!levels && FGCU_NEXT(cuArray3DCreate_v2, cuArray3DCreate)(&array, &twin) == CUDA_SUCCESS) {
        fgcu_call(cuArrayGetMemoryRequirements)(&needs, array, device);
        FGCU_NEXT(cuArrayDestroy, cuArrayDestroy)(array);
    }
    return needs.size;
}

static CUresult reserve(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels, uint64_t *ret)
{
    *ret = 0;
    if (!(d->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING)) && !(*ret = ask_twin(d, levels)))
        *ret = estimate(d, levels ? levels : 1);
    return fgcu_reserve(*ret);
}

static CUresult made(enum fgcu_kind kind, CUresult result, uint64_t bytes, const void *array)
{
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, bytes);
    else
        fgcu_made(kind, (uintptr_t)array, bytes, bytes, fgcu_context());
    return result;
}

CUresult fgcu_do_cuArrayCreate(unsigned which, CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArrayCreate)(array, d);
    CUDA_ARRAY3D_DESCRIPTOR full = {d->Width, d->Height, 0, d->Format, d->NumChannels, 0};
    if (reserve(&full, 0, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuArrayCreate)(array, d);
    return made(FGCU_ARRAY, result, bytes, *array);
}

CUresult fgcu_do_cuArrayCreate_v1(unsigned which, CUarray *array, const CUDA_ARRAY_DESCRIPTOR_v1 *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArrayCreate_v1)(array, d);
    CUDA_ARRAY3D_DESCRIPTOR full = {d->Width, d->Height, 0, d->Format, d->NumChannels, 0};
    if (reserve(&full, 0, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuArrayCreate_v1)(array, d);
    return made(FGCU_ARRAY, result, bytes, *array);
}

CUresult fgcu_do_cuArray3DCreate(unsigned which, CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArray3DCreate)(array, d);
    if (reserve(d, 0, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuArray3DCreate)(array, d);
    return made(FGCU_ARRAY, result, bytes, *array);
}

CUresult fgcu_do_cuArray3DCreate_v1(unsigned which, CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *d)
{
    uint64_t bytes;
    if (!fgcu_attached() || !array || !d)
        return FGCU_WHICH(cuArray3DCreate_v1)(array, d);
    CUDA_ARRAY3D_DESCRIPTOR full = {d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags};
    if (reserve(&full, 0, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuArray3DCreate_v1)(array, d);
    return made(FGCU_ARRAY, result, bytes, *array);
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
    if (!fgcu_attached() || !array || !d || !levels)
        return FGCU_WHICH(cuMipmappedArrayCreate)(array, d, levels);
    if (reserve(d, levels, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuMipmappedArrayCreate)(array, d, levels);
    return made(FGCU_MIPMAP, result, bytes, *array);
}

CUresult fgcu_do_cuMipmappedArrayDestroy(unsigned which, CUmipmappedArray array)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_MIPMAP, (uintptr_t)array, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuMipmappedArrayDestroy)(array));
}
