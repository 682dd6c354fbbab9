/* ledger.h - who holds which memory of a vGPU: reserve -> driver call -> settle, and credit on every way to free.
 *
 *     fg_ledger_reserve(bytes) --over--> the driver's own out-of-memory code
 *          | ok
 *     driver call --failed--> fg_ledger_cancel(bytes)
 *          | ok
 *     fg_ledger_settle(record with the true size)           ... later ...
 *     fg_ledger_take(key) -> driver frees --ok--> fg_ledger_credit(bytes)
 *                                 +--refused--> fg_ledger_restore(record)
 *
 * The lease's total is one word in the shared page, exact at every instant over all processes and threads: a reservation
 * is granted if and only if it fits the live quota at its compare-and-swap. Lock-free between processes: a process killed
 * at any instruction leaves an operation done or not done, which the next one or the reaper can tell, and blocks nobody
 * (decision 0011). Within a process a 10 ns lock is taken; none is ever held across a driver call.
 * Records are private to the process, in a sharded hash: O(1), no malloc. Any thread; a forked child starts empty. */
#pragma once
#include "vgpu/page.h"

#define FG_LEDGER_SHARDS 16u

/* One thing that holds device memory. */
struct fg_record {
    uint64_t key;   /* pointer or handle; not 0 */
    uint64_t bytes; /* true size, at most FG_MEMORY_MAX */
    uint64_t owner; /* what it dies with: context, pool, graph; 0: nothing */
    uint32_t kind;  /* the shim's own word: which entry point made it */
    uint32_t lent;  /* the shim's own: others may hold it, too */
};

struct fg_ledger {
    struct fg_lease *lease;
    uint32_t epoch; /* of the lease when the records were made */
    struct fg_shard {
        uint32_t lock;
        uint32_t live, mask;         /* mask + 1 places; 0: no table yet */
        struct fg_record *places;    /* mmap */
    } __attribute__((aligned(64))) shards[FG_LEDGER_SHARDS];
};

enum fg_ledger_status {
    FG_LEDGER_OK = 0,
    FG_LEDGER_OVER,     /* the quota does not allow it: answer the driver's out-of-memory code */
    FG_LEDGER_CLOSED,   /* the lease is over, or this child process got no slot: answer likewise */
    FG_LEDGER_NO_TABLE, /* settle, restore: no host memory for the record; its bytes stay charged until the process ends */
    FG_LEDGER_UNKNOWN,  /* take, find: no such key (not ours, or freed twice): ask the driver, credit nothing */
};

/* lease must be attached and outlive the ledger. */
void fg_ledger_init(struct fg_ledger *ledger, struct fg_lease *lease);
/* Drop the records and their tables; credits nothing. NULL and zeroed are fine. */
void fg_ledger_fini(struct fg_ledger *ledger);

/* Before the driver call. 0 bytes is OK and holds nothing. Over: counted in slot->denied. */
enum fg_ledger_status fg_ledger_reserve(struct fg_ledger *ledger, uint64_t bytes);
/* After a failed driver call: give the same bytes back. */
void fg_ledger_cancel(struct fg_ledger *ledger, uint64_t reserved);
/* After a good driver call: correct reserved to record->bytes and remember the record. A key that is already known is
 * replaced and what it held credited (the driver reused an address it freed behind our back). The true size is always
 * charged; OVER says that it did not fit (then free it and credit, and answer out-of-memory), and it is still recorded. */
enum fg_ledger_status fg_ledger_settle(struct fg_ledger *ledger, uint64_t reserved, const struct fg_record *record);

/* Before the driver frees: remove the record and hand it over; its bytes stay charged. */
enum fg_ledger_status fg_ledger_take(struct fg_ledger *ledger, uint64_t key, struct fg_record *ret);
/* The driver freed it. */
void fg_ledger_credit(struct fg_ledger *ledger, uint64_t bytes);
/* The driver refused to free it: the record comes back, still charged. */
enum fg_ledger_status fg_ledger_restore(struct fg_ledger *ledger, const struct fg_record *record);
enum fg_ledger_status fg_ledger_find(struct fg_ledger *ledger, uint64_t key, struct fg_record *ret);
/* A context, pool or graph is gone: forget and credit all records of this owner (not 0). Returns the bytes. O(live). */
uint64_t fg_ledger_drop_owner(struct fg_ledger *ledger, uint64_t owner);

/* What memory queries answer. One load each: all views agree. */
struct fg_memory_view { uint64_t quota_bytes, used_bytes, free_bytes, peak_bytes; };
void fg_ledger_view(const struct fg_lease *lease, struct fg_memory_view *ret);
uint64_t fg_ledger_live(struct fg_ledger *ledger); /* records of this process */

/* --- for the server and for tests: any process, concurrently with all else --- */
static inline uint64_t fg_total_bytes(uint64_t word) { return word >> 22; } /* bytes:42 sequence:22 */
uint64_t fg_ledger_used(const struct fg_counters *counters);
/* Bytes charged to a slot, an operation in flight completed first. */
uint64_t fg_ledger_slot_used(struct fg_counters *counters, unsigned slot);
/* The process that held the slot as `owner` is dead (the caller is sure): credit all it held, keep its counts in gone_*,
 * free the slot. Any number of reapers at once, themselves killed at any instant: done once. */
void fg_slot_reap(struct fg_counters *counters, unsigned slot, uint64_t owner);
