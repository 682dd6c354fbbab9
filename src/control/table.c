/* table.c - tasks by id, and by their tenant's idempotency key. Open addressing, linear probing, removal by shifting
 * back, so that lookups never pass graves. Nothing walks a table in slot order but to sort: order must not depend on it. */
#include <string.h>

#include "control/core_private.h"

typedef uint64_t slot_hash_fn(const struct entry *e);

static uint64_t key_hash(fg_id tenant, const char *key, size_t n)
{
    uint64_t h = fg_id_hash(tenant) ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)key[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}
static size_t key_len(const char *idempotency) { return strcspn(idempotency, "\n"); }
static uint64_t hash_by_id(const struct entry *e) { return fg_id_hash(e->t.id); }
static uint64_t hash_by_key(const struct entry *e)
{
    return key_hash(e->t.tenant, e->t.idempotency, key_len(e->t.idempotency));
}

static void slot_put(struct table *t, struct entry *e, slot_hash_fn *hash)
{
    size_t i = hash(e) & t->mask;
    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = e;
}

static void put(struct table *t, struct entry *e, slot_hash_fn *hash)
{
    if (!t->slots || (t->count + 1) * 4 > (t->mask + 1) * 3) {
        struct table old = *t;
        size_t size = t->slots ? (t->mask + 1) * 2 : 64;
        t->slots = fg_alloc(size * sizeof(struct entry *));
        t->mask = size - 1;
        for (size_t i = 0; old.slots && i <= old.mask; i++)
            if (old.slots[i])
                slot_put(t, old.slots[i], hash);
        free(old.slots);
    }
    slot_put(t, e, hash);
    t->count++;
}

static void take(struct table *t, struct entry *e, slot_hash_fn *hash)
{
    size_t hole = hash(e) & t->mask;
    while (t->slots[hole] != e) {
        core_assert(t->slots[hole]);
        hole = (hole + 1) & t->mask;
    }
    for (size_t i = (hole + 1) & t->mask; t->slots[i]; i = (i + 1) & t->mask) {
        size_t home = hash(t->slots[i]) & t->mask;
        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole] = NULL;
    t->count--;
}

struct entry *table_find(const struct fg_core *core, fg_id task)
{
    const struct table *t = &core->tasks;
    if (!t->slots)
        return NULL;
    for (size_t i = fg_id_hash(task) & t->mask; t->slots[i]; i = (i + 1) & t->mask)
        if (fg_id_eq(t->slots[i]->t.id, task))
            return t->slots[i];
    return NULL;
}

struct entry *table_find_key(const struct fg_core *core, fg_id tenant, const char *key, size_t n)
{
    const struct table *t = &core->idempotent;
    if (!t->slots)
        return NULL;
    for (size_t i = key_hash(tenant, key, n) & t->mask; t->slots[i]; i = (i + 1) & t->mask) {
        const struct fg_task *task = &t->slots[i]->t;
        if (fg_id_eq(task->tenant, tenant) && key_len(task->idempotency) == n && memcmp(task->idempotency, key, n) == 0)
            return t->slots[i];
    }
    return NULL;
}

void table_add(struct fg_core *core, struct entry *e)
{
    put(&core->tasks, e, hash_by_id);
    if (e->t.idempotency)
        put(&core->idempotent, e, hash_by_key);
}

void table_remove(struct fg_core *core, struct entry *e)
{
    take(&core->tasks, e, hash_by_id);
    if (e->t.idempotency)
        take(&core->idempotent, e, hash_by_key);
}

static int by_id(const void *a, const void *b)
{
    return fg_id_cmp((*(struct entry *const *)a)->t.id, (*(struct entry *const *)b)->t.id);
}

struct entry **table_sorted(const struct fg_core *core, size_t *ret_count)
{
    const struct table *t = &core->tasks;
    struct entry **all = fg_alloc((t->count + 1) * sizeof *all);
    size_t n = 0;
    for (size_t i = 0; t->slots && i <= t->mask; i++)
        if (t->slots[i])
            all[n++] = t->slots[i];
    qsort(all, n, sizeof *all, by_id);
    *ret_count = n;
    return all;
}

void table_fini(struct fg_core *core)
{
    for (size_t i = 0; core->tasks.slots && i <= core->tasks.mask; i++)
        if (core->tasks.slots[i])
            core_entry_destroy(core->tasks.slots[i]);
    free(core->tasks.slots);
    free(core->idempotent.slots);
}
