/* linear.c - linear memory in HIP's own ways; those that CUDA has, too, are in src/shim/cuda/memory.c. */
#include "shim/hip/shim.h"

#define PAGE  4096u
#define PITCH 256u /* rows of pitched memory begin at multiples of it */

/* Pages are the least that the kernel's driver gives. */
uint64_t fgcu_linear_bytes(uint64_t bytes) { return bytes > FG_MEMORY_MAX ? FG_MEMORY_MAX + 1 : (bytes + PAGE - 1) / PAGE * PAGE; }

CUresult fgcu_do_hipExtMallocWithFlags(unsigned which, void **pointer, size_t bytes, unsigned int flags)
{
    if (!fgcu_attached() || !pointer || !bytes)
        return FGCU_WHICH(hipExtMallocWithFlags)(pointer, bytes, flags);
    uint64_t takes = fgcu_linear_bytes(bytes);
    if (fgcu_reserve(takes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipExtMallocWithFlags)(pointer, bytes, flags);
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, takes);
    else
        fgcu_made(FGCU_LINEAR, (uintptr_t)*pointer, takes, takes, fgcu_context());
    return result;
}

/* ---- rows: the pitch is known afterwards; where it is more than expected and does not fit, the memory is given back ---- */

/* 0, or CUDA_ERROR_OUT_OF_MEMORY. */
static CUresult reserve_rows(size_t width, uint64_t rows, uint64_t *ret)
{
    uint64_t row = ((uint64_t)width + PITCH - 1) / PITCH * PITCH;
    if (row < width || __builtin_mul_overflow(row, rows, ret))
        *ret = FG_MEMORY_MAX + 1;
    *ret = fgcu_linear_bytes(*ret);
    return fgcu_reserve(*ret);
}

static CUresult rows_made(CUresult result, uint64_t reserved, void **pointer, uint64_t pitch, uint64_t rows)
{
    if (result != CUDA_SUCCESS) {
        fg_ledger_cancel(&fgcu.ledger, reserved);
        return result;
    }
    uintptr_t made = (uintptr_t)*pointer;
    if (fgcu_made(FGCU_PITCHED, made, reserved, fgcu_linear_bytes(pitch * rows), fgcu_context()) == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    FGCU_NEXT(hipFree, cuMemFree)(made);
    fgcu_undone(FGCU_PITCHED, made);
    *pointer = NULL;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fgcu_do_hipMallocPitch(unsigned which, void **pointer, size_t *pitch, size_t width, size_t height)
{
    uint64_t reserved;
    if (!fgcu_attached() || !pointer || !pitch || !width || !height)
        return FGCU_WHICH(hipMallocPitch)(pointer, pitch, width, height);
    if (reserve_rows(width, height, &reserved) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMallocPitch)(pointer, pitch, width, height);
    return rows_made(result, reserved, pointer, *pitch, height);
}

CUresult fgcu_do_hipMemAllocPitch(unsigned which, void **pointer, size_t *pitch, size_t width, size_t height, unsigned int element)
{
    uint64_t reserved;
    if (!fgcu_attached() || !pointer || !pitch || !width || !height)
        return FGCU_WHICH(hipMemAllocPitch)(pointer, pitch, width, height, element);
    if (reserve_rows(width, height, &reserved) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMemAllocPitch)(pointer, pitch, width, height, element);
    return rows_made(result, reserved, pointer, *pitch, height);
}

CUresult fgcu_do_hipMalloc3D(unsigned which, hipPitchedPtr *pointer, hipExtent extent)
{
    uint64_t reserved, rows;
    if (!fgcu_attached() || !pointer || !extent.width || !extent.height || !extent.depth)
        return FGCU_WHICH(hipMalloc3D)(pointer, extent);
    if (__builtin_mul_overflow((uint64_t)extent.height, (uint64_t)extent.depth, &rows) ||
        reserve_rows(extent.width, rows, &reserved) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(hipMalloc3D)(pointer, extent);
    return rows_made(result, reserved, &pointer->ptr, pointer->pitch, rows);
}
