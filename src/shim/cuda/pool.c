/* pool.c - stream-ordered memory and graphs' memory. The driver keeps it in pools that grow in large steps and shrink when the
 * program synchronises, so what a single allocation takes cannot be said. A pool's own count of reserved bytes can: the
 * ledger holds one record per pool, corrected to that count after whatever may have changed it. */
#include "shim/cuda/map.h"
#include "shim/cuda/shim.h"

#define STEP_MOST (UINT64_C(32) << 20) /* pools grow in multiples of this at most */

static struct fgcu_map pools;    /* pool -> a: 0 not charged, 1 charged, 2 destroyed; b: 1; c: live allocations */
static struct { uint32_t lock, dirty, destroyed; uint64_t step; CUdevice graphs[64]; uint32_t graphs_count; } books = {.step = 2 << 20};

void fgcu_pools_dirty(void) { fg_put(&books.dirty, 1); }

static uint64_t attribute(CUmemoryPool pool, CUmemPool_attribute name)
{
    uint64_t value = 0;
    return fgcu_call(cuMemPoolGetAttribute)(pool, name, &value) == CUDA_SUCCESS ? value : 0;
}

/* Make the record say `bytes`; `reserved` of them are charged already beside what it says now. */
static CUresult correct(enum fgcu_kind kind, uint64_t value, uint64_t reserved, uint64_t bytes)
{
    struct fg_record record = {0};
    if (fg_ledger_take(&fgcu.ledger, fgcu_record_key(kind, value), &record) != FG_LEDGER_OK)
        record.bytes = 0;
    CUresult result = fgcu_made(kind, value, record.bytes + reserved, bytes, NULL);
    if (__builtin_expect(record.lent & FGCU_LENT, 0))
        fgcu_lend(kind, value);
    return result;
}

/* One look at a pool at a time, so that a later look is never overwritten by an earlier one. */
static CUresult look(CUmemoryPool pool, uint64_t reserved)
{
    fg_lock(&books.lock);
    CUresult result = correct(FGCU_POOL, (uintptr_t)pool, reserved, attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT));
    fg_unlock(&books.lock);
    return result;
}

static uint64_t graph_attribute(CUdevice device, CUgraphMem_attribute name)
{
    uint64_t value = 0;
    return fgcu_call(cuDeviceGetGraphMemAttribute)(device, name, &value) == CUDA_SUCCESS ? value : 0;
}

uint64_t fgcu_graphs_growth(uint64_t which, uint64_t need)
{
    CUdevice device = (CUdevice)which;
    uint64_t reserved = graph_attribute(device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT);
    uint64_t used = graph_attribute(device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT);
    uint64_t unused = reserved > used ? reserved - used : 0;
    return need > unused ? need - unused : 0;
}

CUresult fgcu_graphs_settle(CUdevice device, uint64_t reserved)
{
    fg_lock(&books.lock);
    uint32_t i = 0;
    while (i < books.graphs_count && books.graphs[i] != device)
        i++;
    if (i == books.graphs_count && i < 64)
        books.graphs[books.graphs_count++] = device;
    CUresult result = correct(FGCU_GRAPHS, (uint64_t)device + 1, reserved,
                              graph_attribute(device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT));
    fg_unlock(&books.lock);
    return result;
}

void fgcu_pools_refresh(void)
{
    struct fgcu_entry entry;
    fg_put(&books.dirty, 0);
    for (uint32_t i = 0; fgcu_map_at(&pools, i, &entry); i++)
        if (entry.a == 1)
            look((CUmemoryPool)(uintptr_t)entry.key, 0);
    for (uint32_t i = 0; i < books.graphs_count; i++)
        fgcu_graphs_settle(books.graphs[i], 0);
}

void fgcu_pools_trim(void)
{
    struct fgcu_entry entry;
    if (fg_get(&fgcu.captures))
        return;
    for (uint32_t i = 0; fgcu_map_at(&pools, i, &entry); i++)
        if (entry.a == 1)
            FGCU_NEXT(cuMemPoolTrimTo, cuMemPoolTrimTo)((CUmemoryPool)(uintptr_t)entry.key, 0);
    for (uint32_t i = 0; i < books.graphs_count; i++)
        FGCU_NEXT(cuDeviceGraphMemTrim, cuDeviceGraphMemTrim)(books.graphs[i]);
    fgcu_pools_refresh();
}

void fgcu_pools_settle(void)
{
    if (fg_get(&books.dirty))
        fgcu_pools_refresh();
}

/* ---- allocation ---- */

/* What the pool will have to grow by: what it has unused goes first. */
static uint64_t growth(uint64_t which, uint64_t bytes)
{
    CUmemoryPool pool = (CUmemoryPool)(uintptr_t)which;
    uint64_t used = attribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), reserved = attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    if (bytes > FG_MEMORY_MAX) /* sums of it would wrap */
        return FG_MEMORY_MAX + 1;
    uint64_t step = fg_get(&books.step), after = used + ((bytes + 511) & ~UINT64_C(511));
    return after > reserved ? (after - reserved + step - 1) / step * step : 0;
}

/* The largest step that all growth seen is a multiple of. */
static void learn_step(uint64_t grown)
{
    static uint32_t seen;
    uint64_t step = grown & -grown, known = fg_get(&books.step);
    step = step > STEP_MOST ? STEP_MOST : step;
    if (grown && (!fg_get(&seen) || step < known)) {
        fg_put(&books.step, step);
        fg_put(&seen, 1);
    }
}

static int watched(CUmemoryPool pool)
{
    struct fgcu_entry entry;
    if (fgcu_map_get(&pools, (uintptr_t)pool, &entry))
        return entry.a == 1;
    fgcu_map_put(&pools, &(struct fgcu_entry){.key = (uintptr_t)pool, .a = 1, .b = 1}); /* the device's own */
    look(pool, 0);
    return 1;
}

typedef CUresult alloc_fn(unsigned which, CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream);

static CUresult from_device(unsigned which, CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    return FGCU_WHICH(cuMemAllocAsync)(pointer, bytes, stream);
}

static CUresult from_pool(unsigned which, CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    return FGCU_WHICH(cuMemAllocFromPoolAsync)(pointer, bytes, pool, stream);
}

static CUresult allocate(unsigned which, alloc_fn *call, CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream,
                         CUstream named)
{
    uint64_t grows;
    if (fgcu_reserve_for(growth, (uintptr_t)pool, bytes, &grows) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t before = attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    CUresult result = call(which, pointer, bytes, pool, stream);
    if (result != CUDA_SUCCESS) {
        look(pool, grows);
        return result;
    }
    uint64_t after = attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    learn_step(after > before ? after - before : 0);
    if (look(pool, grows) != CUDA_SUCCESS) {
        FGCU_NEXT(cuMemFreeAsync, cuMemFreeAsync)(*pointer, named);
        fgcu_pools_dirty();
        fgcu_pools_trim();
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct fg_record record = {.key = *pointer, .owner = (uintptr_t)pool, .kind = FGCU_POOLED};
    struct fgcu_entry entry;
    fg_ledger_settle(&fgcu.ledger, 0, &record);
    fgcu_map_add(&pools, (uintptr_t)pool, 0, 1, &entry);
    return CUDA_SUCCESS;
}

/* The pool that cuMemAllocAsync takes from: the current one of the stream's device. */
static CUmemoryPool pool_of(CUstream stream)
{
    CUdevice device = 0;
    CUmemoryPool pool = NULL;
    CUcontext context = NULL, popped;
    int pushed = stream > CU_STREAM_PER_THREAD && fgcu_call(cuStreamGetCtx)(stream, &context) == CUDA_SUCCESS &&
                 context != fgcu_context() && fgcu_call(cuCtxPushCurrent_v2)(context) == CUDA_SUCCESS;
    CUresult result = fgcu_call(cuCtxGetDevice)(&device);
    if (pushed)
        fgcu_call(cuCtxPopCurrent_v2)(&popped);
    return result == CUDA_SUCCESS && fgcu_call(cuDeviceGetMemPool)(&pool, device) == CUDA_SUCCESS ? pool : NULL;
}

static int ours(CUdeviceptr *pointer, size_t bytes, CUstream stream)
{
    return fgcu_attached() && pointer && bytes && !(fg_get(&fgcu.captures) && fgcu_capturing(stream));
}

CUresult fgcu_do_cuMemAllocAsync(unsigned which, CUdeviceptr *pointer, size_t bytes, CUstream stream)
{
    CUstream named = fgcu_stream(stream, which == FGCU_cuMemAllocAsync_ptsz);
    CUmemoryPool pool = ours(pointer, bytes, named) ? pool_of(named) : NULL;
    if (!pool || !watched(pool))
        return FGCU_WHICH(cuMemAllocAsync)(pointer, bytes, stream);
    return allocate(which, from_device, pointer, bytes, pool, stream, named);
}

CUresult fgcu_do_cuMemAllocFromPoolAsync(unsigned which, CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    CUstream named = fgcu_stream(stream, which == FGCU_cuMemAllocFromPoolAsync_ptsz);
    if (!pool || !ours(pointer, bytes, named) || !watched(pool))
        return FGCU_WHICH(cuMemAllocFromPoolAsync)(pointer, bytes, pool, stream);
    return allocate(which, from_pool, pointer, bytes, pool, stream, named);
}

/* ---- freeing ---- */

int fgcu_pool_destroyed(uint64_t pool)
{
    struct fgcu_entry entry;
    return fg_get(&books.destroyed) && fgcu_map_get(&pools, pool, &entry) && entry.a == 2;
}

void fgcu_pool_lend(CUmemoryPool pool)
{
    fg_lock(&books.lock); /* nobody takes the record out to correct it meanwhile */
    fgcu_lend(FGCU_POOL, (uintptr_t)pool);
    fg_unlock(&books.lock);
}

/* One allocation of the pool less. Of a destroyed pool the last one gives all back. */
void fgcu_pool_freed(uint64_t pool)
{
    struct fgcu_entry entry;
    if (fgcu_map_add(&pools, pool, 0, -1, &entry) && !entry.c && entry.a == 2) {
        fgcu_undone(FGCU_POOL, pool);
        fgcu_map_take(&pools, pool, &entry);
    }
    fgcu_pools_dirty();
}

CUresult fgcu_do_cuMemFreeAsync(unsigned which, CUdeviceptr pointer, CUstream stream)
{
    CUstream named = fgcu_stream(stream, which == FGCU_cuMemFreeAsync_ptsz);
    struct fg_record record;
    int known = ours(&pointer, 1, named) && fgcu_free_begin(FGCU_LINEAR, pointer, &record);
    if (!known || record.kind == FGCU_POOLED) {
        CUresult result = FGCU_WHICH(cuMemFreeAsync)(pointer, stream);
        if (known && result != CUDA_SUCCESS)
            fg_ledger_restore(&fgcu.ledger, &record);
        else if (known)
            fgcu_pool_freed(record.owner);
        return result;
    }
    if (record.lent & FGCU_LENT) /* free when the stream has got there, and nobody else holds it */
        return fgcu_free_end(&record, FGCU_WHICH(cuMemFreeAsync)(pointer, stream));
    struct fgcu_submit submit; /* memory of cuMemAlloc: free when the stream has got there */
    CUresult refused = fgcu_begin(&submit, named, fgcu_key(FGCU_cuMemFreeAsync, 0, 1), FGCU_ALONE);
    submit.credit_bytes = record.bytes;
    CUresult result = refused ? refused : fgcu_end(&submit, FGCU_WHICH(cuMemFreeAsync)(pointer, stream));
    if (result != CUDA_SUCCESS)
        fg_ledger_restore(&fgcu.ledger, &record);
    return result;
}

/* ---- pools ---- */

/* Managed memory may be on the device at any time, wherever it would rather be. */
static int charged(const CUmemLocation *location, int type)
{
    return location->type == CU_MEM_LOCATION_TYPE_DEVICE || type == CU_MEM_ALLOCATION_TYPE_MANAGED;
}

CUresult fgcu_do_cuMemPoolCreate(unsigned which, CUmemoryPool *pool, const CUmemPoolProps *props)
{
    CUresult result = FGCU_WHICH(cuMemPoolCreate)(pool, props);
    if (result == CUDA_SUCCESS && fgcu_attached() && pool && props) {
        uint64_t ours = charged(&props->location, props->allocType);
        fgcu_map_put(&pools, &(struct fgcu_entry){.key = (uintptr_t)*pool, .a = ours, .b = 1});
        if (ours)
            look(*pool, 0);
    }
    return result;
}

void fgcu_pool_seen(CUresult result, const CUmemoryPool *pool, const CUmemLocation *location, int type)
{
    struct fgcu_entry entry;
    if (result == CUDA_SUCCESS && fgcu_attached() && pool && location && !charged(location, type) &&
        !fgcu_map_get(&pools, (uintptr_t)*pool, &entry))
        fgcu_map_put(&pools, &(struct fgcu_entry){.key = (uintptr_t)*pool, .b = 1});
}

/* What is allocated still keeps a destroyed pool's memory; its counts cannot be read any more. */
CUresult fgcu_do_cuMemPoolDestroy(unsigned which, CUmemoryPool pool)
{
    struct fgcu_entry entry;
    int known = fgcu_attached() && fgcu_map_take(&pools, (uintptr_t)pool, &entry);
    if (known && entry.a == 1)
        look(pool, 0);
    if (known)
        fgcu_parting();
    CUresult result = FGCU_WHICH(cuMemPoolDestroy)(pool);
    if (known && result == CUDA_SUCCESS && !entry.c)
        fgcu_undone(FGCU_POOL, (uintptr_t)pool);
    else if (known) {
        entry.a = result == CUDA_SUCCESS && entry.a ? 2 : entry.a;
        fg_put(&books.destroyed, 1);
        fgcu_map_put(&pools, &entry);
    }
    return result;
}

CUresult fgcu_do_cuMemPoolTrimTo(unsigned which, CUmemoryPool pool, size_t keep)
{
    CUresult result = FGCU_WHICH(cuMemPoolTrimTo)(pool, keep);
    struct fgcu_entry entry;
    if (result == CUDA_SUCCESS && fgcu_attached() && fgcu_map_get(&pools, (uintptr_t)pool, &entry) && entry.a == 1)
        look(pool, 0);
    return result;
}

CUresult fgcu_do_cuDeviceGraphMemTrim(unsigned which, CUdevice device)
{
    CUresult result = FGCU_WHICH(cuDeviceGraphMemTrim)(device);
    if (result == CUDA_SUCCESS && fgcu_attached())
        fgcu_graphs_settle(device, 0);
    return result;
}
