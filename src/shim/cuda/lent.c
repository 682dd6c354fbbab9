/* lent.c - memory that was handed to other processes: exported handles, IPC handles, exported pools. It is charged here, to who made
 * it, and it lives as long as anybody holds it: letting go of it here may free nothing. Nothing tells who holds what (a file
 * descriptor that was passed on has no name that two processes share), so the device is asked: what it has in use beyond the
 * vGPU's books, before and after. What has not come back stays charged, and is looked for again before a request is refused and
 * when the program asks what is free.
 *
 * What this cannot see: memory that others took or gave on the device in the same moment counts as this; and a maker that ends
 * is credited all it was charged, while an importer may hold on. That is for the audit (decision 0048). */
#include "shim/cuda/map.h"
#include "shim/cuda/shim.h"

#define UNKNOWN INT64_MIN

static struct fgcu_map left;     /* number -> a: bytes, b: beyond the books while it was alive, c: epoch of the lease */
static struct { uint32_t lent, left, number, lock; } counts;
static __thread int64_t before;  /* beyond the books, when this thread began to let go of something */

/* More than the books say; what came to be charged or credited meanwhile is in both. */
static int64_t beyond(void)
{
    int64_t used = fgcu_device_used();
    return used < 0 ? UNKNOWN : used - (int64_t)fg_ledger_used(fgcu.lease.counters);
}

void fgcu_lend(enum fgcu_kind kind, uint64_t value)
{
    struct fg_record record;
    if (!fgcu_attached() || fg_ledger_take(&fgcu.ledger, fgcu_record_key(kind, value), &record) != FG_LEDGER_OK)
        return;
    record.lent |= FGCU_LENT;
    fg_ledger_restore(&fgcu.ledger, &record);
    fg_put(&counts.lent, 1);
}

void fgcu_parting(void)
{
    if (fg_get(&counts.lent))
        before = beyond();
}

void fgcu_parted(uint64_t bytes)
{
    int64_t now = beyond();
    struct fgcu_entry entry = {.key = fg_add(&counts.number, 1) + 1, .a = bytes, .b = (uint64_t)before, .c = fgcu.lease.epoch};
    if (now == UNKNOWN || before == UNKNOWN || before - now >= (int64_t)(bytes - bytes / 8) || fgcu_map_put(&left, &entry) != 0)
        fg_ledger_credit(&fgcu.ledger, bytes);
    else
        fg_add(&counts.left, 1);
}

/* The largest that the device says has come back. 0: none. */
static int came_back(int64_t now, struct fgcu_entry *ret)
{
    struct fgcu_entry entry;
    ret->a = 0;
    for (uint32_t i = 0; fgcu_map_at(&left, i, &entry); i++)
        if (entry.c != fgcu.lease.epoch || ((int64_t)entry.b - now >= (int64_t)(entry.a - entry.a / 8) && entry.a > ret->a))
            *ret = entry;
    return ret->a != 0;
}

void fgcu_lent_returns(void)
{
    struct fgcu_entry entry;
    if (!fg_get(&counts.left))
        return;
    fg_lock(&counts.lock); /* of two threads that see the same bytes one is to credit them */
    for (int64_t now; (now = beyond()) != UNKNOWN && came_back(now, &entry) && fgcu_map_take(&left, entry.key, &entry);) {
        fg_add(&counts.left, -1u);
        if (entry.c == fgcu.lease.epoch) /* the parent's are not a child's */
            fg_ledger_credit(&fgcu.ledger, entry.a);
    }
    fg_unlock(&counts.lock);
}

/* ---- ways to hand memory on ---- */

CUresult fgcu_do_cuIpcGetMemHandle(unsigned which, struct fgcu_ipc *handle, CUdeviceptr pointer)
{
    fgcu_mark(FG_HELD_SHARED);
    fgcu_lend(FGCU_LINEAR, pointer);
    return FGCU_WHICH(cuIpcGetMemHandle)(handle, pointer);
}

CUresult fgcu_do_cuMemExportToShareableHandle(unsigned which, void *ret, CUmemGenericAllocationHandle handle, int type, unsigned long long flags)
{
    fgcu_mark(FG_HELD_SHARED);
    fgcu_lend(FGCU_PHYSICAL, handle);
    return FGCU_WHICH(cuMemExportToShareableHandle)(ret, handle, type, flags);
}

CUresult fgcu_do_cuMemPoolExportToShareableHandle(unsigned which, void *ret, CUmemoryPool pool, int type, unsigned long long flags)
{
    fgcu_mark(FG_HELD_SHARED);
    fgcu_pool_lend(pool);
    return FGCU_WHICH(cuMemPoolExportToShareableHandle)(ret, pool, type, flags);
}
