/* ledger.c - one word counts a vGPU's memory for all its processes, and survives the death of any of them at any instruction.
 *
 *   total         bytes:42 slot:8 seq:14     the sum, and which operation of which slot changed it last
 *   slot.used     bytes:42 seq:22            the slot's part of the sum, and its last operation counted in
 *   slot.intent   delta:42 seq:22            the operation the slot is about to do
 *
 * An operation of slot s, one at a time per slot:
 *   1. intent = {delta, used.seq + 1}
 *   2. total: {b, ...} -> {b + delta, s, seq}  by compare-and-swap, the only place where the quota is checked
 *   3. used: {b', seq - 1} -> {b' + delta, seq}
 * Before anybody replaces total in step 2 he does step 3 for the slot that total names (help), so at most one operation
 * is ever between 2 and 3, and total itself names it. Hence for a process killed anywhere: after one help, `used` is
 * exactly what it is charged in total, and the reaper takes it off with an operation of the dead slot itself, which a
 * second reaper can finish. Decision 0011. */
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "vgpu/ledger.h"

#define SEQ_MASK   ((UINT64_C(1) << 22) - 1)
#define SHORT_MASK ((UINT64_C(1) << 14) - 1)
#define BYTES_MASK ((UINT64_C(1) << 42) - 1)
#define MARK_MASK  ((UINT64_C(1) << 22) - 1) /* of a total: slot and sequence */

static inline uint64_t pack_slot(uint64_t bytes, uint64_t seq) { return bytes << 22 | (seq & SEQ_MASK); }
static inline uint64_t pack_total(uint64_t bytes, unsigned slot, uint64_t seq)
{
    return bytes << 22 | (uint64_t)slot << 14 | (seq & SHORT_MASK);
}
static inline int64_t delta_of(uint64_t intent) { return (int64_t)intent >> 22; }
static inline uint64_t seq_of(uint64_t word) { return word & SEQ_MASK; }
static inline uint64_t next_seq(uint64_t used) { return (used + 1) & SEQ_MASK; }

/* Do step 3 for the operation that total names, if its process has not done it. */
static void help(struct fg_counters *counters, uint64_t total)
{
    struct fg_slot *slot = &counters->slots[total >> 14 & 0xff];
    uint64_t used = fg_get(&slot->used), seq = next_seq(used);
    if ((seq & SHORT_MASK) != (total & SHORT_MASK))
        return;
    uint64_t intent = fg_get(&slot->intent);
    /* total unchanged since: used and intent are those of this operation, not of one many wraps later */
    if (seq_of(intent) == seq && fg_get(&counters->total) == total)
        fg_cas(&slot->used, &used, pack_slot(fg_total_bytes(used) + (uint64_t)delta_of(intent), seq));
}

static void raise(uint64_t *peak, uint64_t value)
{
    uint64_t seen = __atomic_load_n(peak, __ATOMIC_RELAXED);
    while (seen < value && !fg_cas(peak, &seen, value))
        ;
}

enum outcome { DONE, REFUSED, OVERTAKEN };

/* Step 2; the intent is written. used: what slot->used was when the intent was made. Step 3 is the caller's. */
static inline __attribute__((always_inline)) enum outcome carry_out(struct fg_counters *counters, unsigned index, uint64_t used, int64_t delta, uint64_t quota)
{
    struct fg_slot *slot = &counters->slots[index];
    uint64_t seq = next_seq(used), total = fg_get(&counters->total), sum;
    do {
        if (__builtin_expect((total & MARK_MASK) != (pack_total(0, index, used) & MARK_MASK), 0)) { /* the last was not ours, done */
            help(counters, total);
            if (fg_get(&slot->used) != used)
                return OVERTAKEN; /* only a reaper sees this: another did it */
        }
        sum = fg_total_bytes(total) + (uint64_t)delta;
        if (delta > 0 && sum > quota)
            return REFUSED;
        if (delta < 0 && fg_total_bytes(total) < (uint64_t)-delta)
            sum = 0; /* the task spoiled its page; stay in range */
    } while (!fg_cas(&counters->total, &total, pack_total(sum, index, seq)));
    if (delta > 0) {
        raise(&counters->peak_bytes, sum);
        raise(&slot->peak, fg_total_bytes(used) + (uint64_t)delta);
    }
    return DONE;
}

static inline uint64_t after(uint64_t used, int64_t delta)
{
    return pack_slot(fg_total_bytes(used) + (uint64_t)delta, next_seq(used));
}

/* One operation of this process. In two copies, up and down. */
static inline __attribute__((always_inline)) enum outcome change(struct fg_lease *lease, int64_t delta, uint64_t quota)
{
    struct fg_slot *slot = lease->slot;
    fg_lock(&lease->lock);
    uint64_t used = fg_get(&slot->used);
    if (delta < 0 && fg_total_bytes(used) < (uint64_t)-delta)
        delta = -(int64_t)fg_total_bytes(used); /* a shim credits twice: never a neighbour's bytes */
    fg_put(&slot->intent, (uint64_t)delta << 22 | next_seq(used));
    enum outcome outcome = carry_out(lease->counters, (unsigned)(slot - lease->counters->slots), used, delta, quota);
    if (outcome == DONE)
        fg_put(&slot->used, after(used, delta)); /* or a helper did: the same value */
    fg_unlock(&lease->lock);
    return outcome;
}

uint64_t fg_ledger_used(const struct fg_counters *counters) { return fg_total_bytes(fg_get(&counters->total)); }

uint64_t fg_ledger_slot_used(struct fg_counters *counters, unsigned slot)
{
    help(counters, fg_get(&counters->total));
    return fg_total_bytes(fg_get(&counters->slots[slot].used));
}

static void keep(uint64_t *gone, uint64_t *count)
{
    uint64_t n = __atomic_exchange_n(count, 0, __ATOMIC_SEQ_CST);
    if (n)
        fg_add(gone, n);
}

/* Take what a dead slot holds off the total, by an operation of that slot. */
static void credit_dead(struct fg_counters *counters, unsigned index, uint64_t dead)
{
    struct fg_slot *slot = &counters->slots[index];
    for (;;) {
        uint64_t before = fg_get(&slot->intent);
        help(counters, fg_get(&counters->total));
        uint64_t used = fg_get(&slot->used);
        if (fg_get(&slot->owner) != dead || !fg_total_bytes(used))
            return;
        /* exchanged, not stored: a reaper that slept must not write into the intent of the slot's next owner */
        uint64_t intent = -fg_total_bytes(used) << 22 | next_seq(used);
        if (before != intent && !fg_cas(&slot->intent, &before, intent))
            continue;
        if (carry_out(counters, index, used, -(int64_t)fg_total_bytes(used), 0) == DONE) {
            uint64_t seen = used;
            fg_cas(&slot->used, &seen, after(used, -(int64_t)fg_total_bytes(used)));
        }
    }
}

void fg_slot_reap(struct fg_counters *counters, unsigned index, uint64_t owner)
{
    struct fg_slot *slot = &counters->slots[index];
    uint64_t dead = fg_owner_make(FG_SLOT_DEAD, fg_owner_generation(owner), fg_owner_pid(owner));
    uint64_t seen = owner;
    if (!fg_cas(&slot->owner, &seen, dead) && seen != dead)
        return;
    credit_dead(counters, index, dead);
    if (fg_get(&slot->owner) != dead)
        return;
    keep(&counters->gone_device_ns, &slot->device_ns);
    keep(&counters->gone_throttle_ns, &slot->throttle_ns);
    keep(&counters->gone_settled, &slot->settled);
    keep(&counters->gone_denied, &slot->denied);
    keep(&counters->gone_ungated, &slot->ungated);
    fg_cas(&slot->owner, &dead, fg_owner_make(FG_SLOT_FREE, fg_owner_generation(owner), 0));
}

/* ---- records ---- */

static inline uint64_t hash(uint64_t key) { return key * 0x9e3779b97f4a7c15u; }
static inline struct fg_shard *shard_of(struct fg_ledger *ledger, uint64_t key) { return &ledger->shards[hash(key) >> 60]; }
static inline uint32_t home(const struct fg_shard *shard, uint64_t key) { return (uint32_t)(hash(key) >> 28) & shard->mask; }

static size_t table_bytes(const struct fg_shard *shard) { return ((size_t)shard->mask + 1) * sizeof *shard->places; }

static void shard_drop(struct fg_shard *shard)
{
    if (shard->places)
        munmap(shard->places, table_bytes(shard));
    *shard = (struct fg_shard){0};
}

/* There is a table. The key's record, or the empty place where it would be. */
static inline struct fg_record *seek(struct fg_shard *shard, uint64_t key)
{
    uint32_t i = home(shard, key);
    while (shard->places[i].key && shard->places[i].key != key)
        i = (i + 1) & shard->mask;
    return &shard->places[i];
}

/* Twice the places, or the first 128. */
static int grow(struct fg_shard *shard)
{
    struct fg_shard bigger = {.mask = shard->places ? shard->mask * 2 + 1 : 127, .live = shard->live};
    bigger.places = mmap(NULL, table_bytes(&bigger), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bigger.places == MAP_FAILED)
        return -1;
    for (uint32_t i = 0; shard->places && i <= shard->mask; i++)
        if (shard->places[i].key)
            *seek(&bigger, shard->places[i].key) = shard->places[i];
    if (shard->places)
        munmap(shard->places, table_bytes(shard));
    shard->places = bigger.places;
    shard->mask = bigger.mask;
    return 0;
}

/* Room for one more: a last empty place ends every search. */
static inline int has_room(struct fg_shard *shard)
{
    if (__builtin_expect(shard->places && shard->live < shard->mask / 2, 1))
        return 1;
    return grow(shard) == 0 || (shard->places && shard->live < shard->mask - 1);
}

/* Linear probing without tombstones: what follows moves up, if that does not put it before its home. */
static void erase(struct fg_shard *shard, struct fg_record *at)
{
    uint32_t hole = (uint32_t)(at - shard->places);
    for (uint32_t i = (hole + 1) & shard->mask; shard->places[i].key; i = (i + 1) & shard->mask) {
        uint32_t from_home = (i - home(shard, shard->places[i].key)) & shard->mask;
        if (from_home >= ((i - hole) & shard->mask)) {
            shard->places[hole] = shard->places[i];
            hole = i;
        }
    }
    shard->places[hole].key = 0;
    shard->live--;
}

/* In a forked child: a slot of its own and no records, since the driver's memory is the parent's. 0: usable. */
static int renew(struct fg_ledger *ledger)
{
    struct fg_lease *lease = ledger->lease;
    if (fg_lease_forked(lease) && fg_lease_reattach(lease) != FG_LEASE_OK)
        return -1;
    fg_lock(&lease->lock);
    if (ledger->epoch != lease->epoch) {
        for (unsigned i = 0; i < FG_LEDGER_SHARDS; i++)
            shard_drop(&ledger->shards[i]); /* its lock too: a thread of the parent may have held it */
        fg_put(&ledger->epoch, lease->epoch);
    }
    fg_unlock(&lease->lock);
    return 0;
}

static inline int ready(struct fg_ledger *ledger)
{
    if (__builtin_expect(!fg_lease_forked(ledger->lease) && fg_get(&ledger->epoch) == ledger->lease->epoch, 1))
        return 1;
    int saved = errno, ok = renew(ledger) == 0;
    errno = saved;
    return ok;
}

void fg_ledger_init(struct fg_ledger *ledger, struct fg_lease *lease)
{
    *ledger = (struct fg_ledger){.lease = lease, .epoch = lease->epoch};
}

void fg_ledger_fini(struct fg_ledger *ledger)
{
    for (unsigned i = 0; ledger && i < FG_LEDGER_SHARDS; i++)
        shard_drop(&ledger->shards[i]);
}

enum fg_ledger_status fg_ledger_reserve(struct fg_ledger *ledger, uint64_t bytes)
{
    struct fg_lease *lease = ledger->lease;
    uint32_t flags;
    if (!ready(ledger))
        return FG_LEDGER_CLOSED;
    if (__builtin_expect((flags = fg_get(&lease->limits->flags)) & (FG_LIMIT_CLOSED | FG_LIMIT_PARKED), 0)) {
        if (flags & FG_LIMIT_CLOSED)
            return FG_LEDGER_CLOSED;
        fg_lease_ring(lease); /* the driver's call will wait until the memory is back */
    }
    if (!bytes)
        return FG_LEDGER_OK;
    if (bytes <= FG_MEMORY_MAX && change(lease, (int64_t)bytes, fg_get(&lease->limits->memory_bytes)) == DONE)
        return FG_LEDGER_OK;
    fg_add(&lease->slot->denied, 1);
    return FG_LEDGER_OVER;
}

void fg_ledger_cancel(struct fg_ledger *ledger, uint64_t reserved) { fg_ledger_credit(ledger, reserved); }

void fg_ledger_credit(struct fg_ledger *ledger, uint64_t bytes)
{
    /* an untouched child has nothing to give back, and must not give its parent's */
    if (bytes && bytes <= FG_MEMORY_MAX && ready(ledger))
        change(ledger->lease, -(int64_t)bytes, 0);
}

/* Remember the record. The ledger is ready. */
static inline enum fg_ledger_status remember(struct fg_ledger *ledger, const struct fg_record *record)
{
    struct fg_shard *shard = shard_of(ledger, record->key);
    uint64_t stale = 0;
    fg_lock(&shard->lock);
    int kept = has_room(shard);
    if (__builtin_expect(kept || shard->places != NULL, 1)) {
        struct fg_record *at = seek(shard, record->key);
        int known = at->key != 0;
        if (known)
            stale = at->bytes;
        if (known || kept)
            *at = *record;
        shard->live += kept && !known;
        kept |= known;
    }
    fg_unlock(&shard->lock);
    if (__builtin_expect(stale != 0, 0))
        fg_ledger_credit(ledger, stale);
    return kept ? FG_LEDGER_OK : FG_LEDGER_NO_TABLE;
}

enum fg_ledger_status fg_ledger_restore(struct fg_ledger *ledger, const struct fg_record *record)
{
    return ready(ledger) ? remember(ledger, record) : FG_LEDGER_CLOSED;
}

/* The driver took more or less than was reserved. Returns whether that is over the quota. */
static int adjust(struct fg_ledger *ledger, uint64_t reserved, uint64_t bytes)
{
    struct fg_lease *lease = ledger->lease;
    int64_t more = (int64_t)(bytes - reserved);
    if (more < 0) {
        fg_ledger_credit(ledger, (uint64_t)-more);
        return 0;
    }
    int over = change(lease, more, fg_get(&lease->limits->memory_bytes)) != DONE;
    if (over) /* it exists: charge it whatever the quota, and say so */
        change(lease, more, BYTES_MASK);
    return over;
}

enum fg_ledger_status fg_ledger_settle(struct fg_ledger *ledger, uint64_t reserved, const struct fg_record *record)
{
    if (!ready(ledger))
        return FG_LEDGER_CLOSED;
    if (record->bytes > FG_MEMORY_MAX) { /* no device has that: the shim's arithmetic is wrong */
        fg_ledger_credit(ledger, reserved);
        return FG_LEDGER_OVER;
    }
    int over = record->bytes != reserved && adjust(ledger, reserved, record->bytes);
    enum fg_ledger_status kept = remember(ledger, record);
    return kept == FG_LEDGER_OK && over ? FG_LEDGER_OVER : kept;
}

static inline enum fg_ledger_status look(struct fg_ledger *ledger, uint64_t key, struct fg_record *ret, int remove)
{
    if (!ready(ledger) || !key)
        return FG_LEDGER_UNKNOWN;
    struct fg_shard *shard = shard_of(ledger, key);
    fg_lock(&shard->lock);
    struct fg_record *at = shard->places ? seek(shard, key) : NULL;
    int found = at && at->key;
    if (found) {
        *ret = *at;
        if (remove)
            erase(shard, at);
    }
    fg_unlock(&shard->lock);
    return found ? FG_LEDGER_OK : FG_LEDGER_UNKNOWN;
}

enum fg_ledger_status fg_ledger_take(struct fg_ledger *ledger, uint64_t key, struct fg_record *ret)
{
    return look(ledger, key, ret, 1);
}

enum fg_ledger_status fg_ledger_find(struct fg_ledger *ledger, uint64_t key, struct fg_record *ret)
{
    return look(ledger, key, ret, 0);
}

uint64_t fg_ledger_drop_owner(struct fg_ledger *ledger, uint64_t owner)
{
    uint64_t bytes = 0;
    if (!owner || !ready(ledger))
        return 0;
    for (unsigned s = 0; s < FG_LEDGER_SHARDS; s++) {
        struct fg_shard *shard = &ledger->shards[s];
        fg_lock(&shard->lock);
        for (uint32_t i = 0; shard->live && i <= shard->mask;) {
            struct fg_record *at = &shard->places[i];
            if (!at->key || at->owner != owner) {
                i++;
                continue;
            }
            bytes += at->bytes;
            erase(shard, at); /* may move another record here: look again */
        }
        fg_unlock(&shard->lock);
    }
    fg_ledger_credit(ledger, bytes);
    return bytes;
}

void fg_ledger_view(const struct fg_lease *lease, struct fg_memory_view *ret)
{
    uint64_t quota = fg_get(&lease->limits->memory_bytes), used = fg_ledger_used(lease->counters);
    *ret = (struct fg_memory_view){.quota_bytes = quota, .used_bytes = used, .free_bytes = used < quota ? quota - used : 0,
                                   .peak_bytes = fg_get(&lease->counters->peak_bytes)};
}

uint64_t fg_ledger_live(struct fg_ledger *ledger)
{
    uint64_t live = 0;
    for (unsigned s = 0; ready(ledger) && s < FG_LEDGER_SHARDS; s++)
        live += __atomic_load_n(&ledger->shards[s].live, __ATOMIC_RELAXED);
    return live;
}
