/* memory.c - linear memory: reserve, ask the driver, settle to what it took. The other files of memory build on the first half. */
#include "shim/cuda/shim.h"

void fgcu_mark(uint32_t held)
{
    if (fgcu_attached())
        fg_lease_mark(&fgcu.lease, held);
}

CUcontext fgcu_context(void)
{
    CUcontext context = NULL;
    return fgcu_call(cuCtxGetCurrent)(&context) == CUDA_SUCCESS ? context : NULL;
}

static CUresult attempt(fgcu_growth *growth, uint64_t what, uint64_t bytes, uint64_t *ret)
{
    *ret = growth ? growth(what, bytes) : bytes;
    enum fg_ledger_status status = fg_ledger_reserve(&fgcu.ledger, *ret);
    if (__builtin_expect(status == FG_LEDGER_OK, 1))
        return CUDA_SUCCESS;
    return status == FG_LEDGER_OVER ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_DEVICE_UNAVAILABLE;
}

/* It did not fit: what was freed in the order of a stream may have come back by now, then what pools keep. */
static FGCU_SLOW CUresult again(CUresult result, fgcu_growth *growth, uint64_t what, uint64_t bytes, uint64_t *ret)
{
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        fgcu_settle_all();
        fgcu_pools_refresh();
        fgcu_lent_returns();
        result = attempt(growth, what, bytes, ret);
    }
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        fgcu_pools_trim();
        result = attempt(growth, what, bytes, ret);
    }
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fgcu_reserve_for(fgcu_growth *growth, uint64_t what, uint64_t bytes, uint64_t *ret)
{
    CUresult result = attempt(growth, what, bytes, ret);
    return __builtin_expect(result == CUDA_SUCCESS, 1) ? CUDA_SUCCESS : again(result, growth, what, bytes, ret);
}

CUresult fgcu_reserve(uint64_t bytes)
{
    uint64_t reserved;
    return fgcu_reserve_for(NULL, 0, bytes, &reserved);
}

CUresult fgcu_made(enum fgcu_kind kind, uint64_t value, uint64_t reserved, uint64_t bytes, CUcontext owner)
{
    struct fg_record record = {.key = fgcu_record_key(kind, value), .bytes = bytes, .owner = (uintptr_t)owner, .kind = kind};
    enum fg_ledger_status status = fg_ledger_settle(&fgcu.ledger, reserved, &record);
    return status == FG_LEDGER_OVER || status == FG_LEDGER_CLOSED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static void credit(const struct fg_record *record)
{
    if (__builtin_expect(record->lent & FGCU_LENT, 0))
        fgcu_parted(record->bytes);
    else
        fg_ledger_credit(&fgcu.ledger, record->bytes);
}

void fgcu_undone(enum fgcu_kind kind, uint64_t value)
{
    struct fg_record record;
    if (fg_ledger_take(&fgcu.ledger, fgcu_record_key(kind, value), &record) == FG_LEDGER_OK)
        credit(&record);
}

int fgcu_free_begin(enum fgcu_kind kind, uint64_t value, struct fg_record *ret)
{
    *ret = (struct fg_record){0};
    if (!fgcu_attached() || !value || fg_ledger_take(&fgcu.ledger, fgcu_record_key(kind, value), ret) != FG_LEDGER_OK)
        return 0;
    if (__builtin_expect(ret->lent & FGCU_LENT || (ret->kind == FGCU_POOLED && fgcu_pool_destroyed(ret->owner)), 0))
        fgcu_parting();
    return 1;
}

CUresult fgcu_free_end(const struct fg_record *record, CUresult result)
{
    if (!record->key)
        return result;
    if (result == CUDA_SUCCESS)
        credit(record);
    else
        fg_ledger_restore(&fgcu.ledger, record);
    return result;
}

/* ---- linear memory ---- */

CUresult fgcu_do_cuMemAlloc(unsigned which, CUdeviceptr *pointer, size_t bytes)
{
    if (!fgcu_attached() || !pointer || !bytes)
        return FGCU_WHICH(cuMemAlloc)(pointer, bytes);
    uint64_t takes = fgcu_linear_bytes(bytes);
    if (fgcu_reserve(takes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUdeviceptr made;
    CUresult result = FGCU_WHICH(cuMemAlloc)(&made, bytes);
    if (result != CUDA_SUCCESS) {
        fg_ledger_cancel(&fgcu.ledger, takes);
        return result;
    }
    fgcu_made(FGCU_LINEAR, made, takes, takes, fgcu_context());
    *pointer = made;
    return CUDA_SUCCESS;
}

CUresult fgcu_do_cuMemAlloc_v1(unsigned which, CUdeviceptr_v1 *pointer, unsigned int bytes)
{
    if (!fgcu_attached() || !pointer || !bytes)
        return FGCU_WHICH(cuMemAlloc_v1)(pointer, bytes);
    uint64_t takes = fgcu_linear_bytes(bytes);
    if (fgcu_reserve(takes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuMemAlloc_v1)(pointer, bytes);
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, takes);
    else
        fgcu_made(FGCU_LINEAR, *pointer, takes, takes, fgcu_context());
    return result;
}

/* The pitch is known afterwards: multiples of 512 bytes are reserved, which is what devices use; where one uses more and
 * that does not fit, the memory is given back. */
CUresult fgcu_do_cuMemAllocPitch(unsigned which, CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height, unsigned int element)
{
    uint64_t row = (width + 511) & ~UINT64_C(511), all = 0;
    if (!fgcu_attached() || !pointer || !pitch || !width || !height)
        return FGCU_WHICH(cuMemAllocPitch)(pointer, pitch, width, height, element);
    if (row < width || __builtin_mul_overflow(row, height, &all) || fgcu_reserve(all = fgcu_linear_bytes(all)) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUdeviceptr made;
    CUresult result = FGCU_WHICH(cuMemAllocPitch)(&made, pitch, width, height, element);
    if (result != CUDA_SUCCESS) {
        fg_ledger_cancel(&fgcu.ledger, all);
        return result;
    }
    if (fgcu_made(FGCU_PITCHED, made, all, fgcu_linear_bytes(*pitch * height), fgcu_context()) != CUDA_SUCCESS) {
        FGCU_NEXT(cuMemFree_v2, cuMemFree)(made);
        fgcu_undone(FGCU_PITCHED, made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *pointer = made;
    return CUDA_SUCCESS;
}

CUresult fgcu_do_cuMemAllocPitch_v1(unsigned which, CUdeviceptr_v1 *pointer, unsigned int *pitch, unsigned int width,
                                    unsigned int height, unsigned int element)
{
    uint64_t all = fgcu_linear_bytes((((uint64_t)width + 511) & ~UINT64_C(511)) * height);
    if (!fgcu_attached() || !pointer || !pitch || !all)
        return FGCU_WHICH(cuMemAllocPitch_v1)(pointer, pitch, width, height, element);
    if (fgcu_reserve(all) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = FGCU_WHICH(cuMemAllocPitch_v1)(pointer, pitch, width, height, element);
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, all);
    else
        fgcu_made(FGCU_PITCHED, *pointer, all, fgcu_linear_bytes((uint64_t)*pitch * height), fgcu_context());
    return result;
}

CUresult fgcu_do_cuMemAllocManaged(unsigned which, CUdeviceptr *pointer, size_t bytes, unsigned int flags)
{
    if (!fgcu_attached() || !pointer || !bytes)
        return FGCU_WHICH(cuMemAllocManaged)(pointer, bytes, flags);
    uint64_t takes = fgcu_linear_bytes(bytes);
    if (fgcu_reserve(takes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    fgcu_mark(FG_HELD_MANAGED);
    CUresult result = FGCU_WHICH(cuMemAllocManaged)(pointer, bytes, flags);
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, takes);
    else
        fgcu_made(FGCU_MANAGED, *pointer, takes, takes, fgcu_context());
    return result;
}

/* Of threads that free one pointer at once, one has its record and another may be whom the driver obeys. What was freed without a record is
 * noted for who has it and is refused; a record that was put back by then is looked for again. */
#define STRAYS 16u
static struct { uint32_t lock, count; uint64_t keys[STRAYS]; } strays;

static void freed_without_record(uint64_t key)
{
    struct fg_record record;
    fg_lock(&strays.lock);
    int found = fg_ledger_take(&fgcu.ledger, key, &record) == FG_LEDGER_OK, back = found && record.lent & FGCU_PUT_BACK;
    if (found && !back) /* of an allocation since, at the same address */
        fg_ledger_restore(&fgcu.ledger, &record);
    else if (!found)
        strays.keys[strays.count++ % STRAYS] = key;
    fg_unlock(&strays.lock);
    if (back)
        credit(&record);
}

static void refused(struct fg_record *record, uint32_t seen)
{
    int found = 0;
    fg_lock(&strays.lock);
    for (uint32_t n = strays.count; !found && n != seen && strays.count - n < STRAYS; n--)
        found = strays.keys[(n - 1) % STRAYS] == record->key;
    record->lent |= FGCU_PUT_BACK;
    if (!found)
        fg_ledger_restore(&fgcu.ledger, record);
    fg_unlock(&strays.lock);
    if (found)
        credit(record);
}

/* Any pointer that the driver takes: linear, or a pool's, of which we have no record. */
CUresult fgcu_do_cuMemFree(unsigned which, CUdeviceptr pointer)
{
    struct fg_record record;
    uint32_t seen = fg_get(&strays.count);
    int ours = fgcu_free_begin(FGCU_LINEAR, pointer, &record);
    if (fgcu_attached())
        fgcu_before_wait(); /* the driver waits for the device here */
    CUresult result = FGCU_WHICH(cuMemFree)(pointer);
    if (ours && result == CUDA_SUCCESS)
        credit(&record);
    else if (ours)
        refused(&record, seen);
    else if (pointer && fgcu_attached() && result == CUDA_SUCCESS)
        freed_without_record(fgcu_record_key(FGCU_LINEAR, pointer));
    if (ours && result == CUDA_SUCCESS && record.kind == FGCU_POOLED)
        fgcu_pool_freed(record.owner);
    if (fgcu_attached())
        fgcu_after_wait();
    if (!ours && pointer && fgcu_attached() && result == CUDA_SUCCESS)
        fgcu_pools_refresh(); /* a graph's, perhaps */
    return result;
}

CUresult fgcu_do_cuMemFree_v1(unsigned which, CUdeviceptr_v1 pointer)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_LINEAR, pointer, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuMemFree_v1)(pointer));
}

/* ---- memory that another interface made ---- */

CUresult fgcu_do_cuImportExternalMemory(unsigned which, CUexternalMemory *memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *description)
{
    if (!fgcu_attached() || !memory || !description)
        return FGCU_WHICH(cuImportExternalMemory)(memory, description);
    uint64_t bytes = description->size;
    if (fgcu_reserve(bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    fgcu_mark(FG_HELD_SHARED);
    CUresult result = FGCU_WHICH(cuImportExternalMemory)(memory, description);
    if (result != CUDA_SUCCESS)
        fg_ledger_cancel(&fgcu.ledger, bytes);
    else
        fgcu_made(FGCU_EXTERNAL, (uintptr_t)*memory, bytes, bytes, fgcu_context());
    return result;
}

CUresult fgcu_do_cuDestroyExternalMemory(unsigned which, CUexternalMemory memory)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_EXTERNAL, (uintptr_t)memory, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuDestroyExternalMemory)(memory));
}

/* ---- what memory queries answer ---- */

CUresult fgcu_do_cuMemGetInfo(unsigned which, size_t *free_ret, size_t *total_ret)
{
    struct fg_memory_view view;
    if (!fgcu_attached())
        return FGCU_WHICH(cuMemGetInfo)(free_ret, total_ret);
    if (!fgcu_context())
        return CUDA_ERROR_INVALID_CONTEXT;
    fgcu_pools_settle();
    fgcu_lent_returns();
    fg_ledger_view(&fgcu.lease, &view);
    if (free_ret)
        *free_ret = view.free_bytes;
    if (total_ret)
        *total_ret = view.quota_bytes;
    return CUDA_SUCCESS;
}

static unsigned int in_32_bits(uint64_t bytes) { return bytes > UINT32_MAX ? UINT32_MAX : (unsigned int)bytes; }

CUresult fgcu_do_cuMemGetInfo_v1(unsigned which, unsigned int *free_ret, unsigned int *total_ret)
{
    size_t free_bytes = 0, total = 0;
    if (!fgcu_attached())
        return FGCU_WHICH(cuMemGetInfo_v1)(free_ret, total_ret);
    CUresult result = fgcu_do_cuMemGetInfo(FGCU_cuMemGetInfo_v2, &free_bytes, &total);
    if (result == CUDA_SUCCESS && free_ret)
        *free_ret = in_32_bits(free_bytes);
    if (result == CUDA_SUCCESS && total_ret)
        *total_ret = in_32_bits(total);
    return result;
}

CUresult fgcu_do_cuDeviceTotalMem(unsigned which, size_t *bytes, CUdevice device)
{
    CUresult result = FGCU_WHICH(cuDeviceTotalMem)(bytes, device);
    if (result == CUDA_SUCCESS && bytes && fgcu_attached())
        *bytes = fg_get(&fgcu.lease.limits->memory_bytes);
    return result;
}

CUresult fgcu_do_cuDeviceTotalMem_v1(unsigned which, unsigned int *bytes, CUdevice device)
{
    CUresult result = FGCU_WHICH(cuDeviceTotalMem_v1)(bytes, device);
    if (result == CUDA_SUCCESS && bytes && fgcu_attached())
        *bytes = in_32_bits(fg_get(&fgcu.lease.limits->memory_bytes));
    return result;
}
