/* disk.c - what survives: the log, the rows, the aux rows. A batch is on it whole or not at all. */
#include <string.h>

#include "sim/sim_private.h"

static uint32_t *slot_of(const struct disk *disk, fg_id id)
{
    for (size_t i = fg_id_hash(id) & (disk->slot_count - 1);; i = (i + 1) & (disk->slot_count - 1))
        if (!disk->slots[i] || fg_id_eq(disk->rows.items[disk->slots[i] - 1].id, id))
            return &disk->slots[i];
}

static void grow_slots(struct disk *disk)
{
    free(disk->slots);
    disk->slot_count = disk->slot_count ? disk->slot_count * 2 : 64;
    disk->slots = fg_alloc(disk->slot_count * sizeof *disk->slots);
    for (size_t i = 0; i < disk->rows.count; i++)
        *slot_of(disk, disk->rows.items[i].id) = (uint32_t)i + 1;
}

struct row *disk_row(const struct disk *disk, fg_id id)
{
    uint32_t *slot = disk->slot_count ? slot_of(disk, id) : NULL;
    return slot && *slot ? &disk->rows.items[*slot - 1] : NULL;
}

static void put_row(struct disk *disk, struct row *row)
{
    struct row *old = disk_row(disk, row->id);
    if (!old) {
        if ((disk->rows.count + 1) * 2 > disk->slot_count)
            grow_slots(disk);
        fg_vec_push(&disk->rows, *row);
        *slot_of(disk, row->id) = (uint32_t)disk->rows.count;
    } else {
        free(old->doc);
        old->doc = row->doc;
        old->settled = row->settled;
        free(row->spec);                 /* only the first one counts, as in the store */
        free(row->idempotency);
    }
    row->doc = row->spec = row->idempotency = NULL;
}

void disk_put_aux(struct disk *disk, const char *key, const char *doc)
{
    for (size_t i = 0; i < disk->aux.count; i++)
        if (strcmp(disk->aux.items[i].key, key) == 0) {
            free(disk->aux.items[i].doc);
            disk->aux.items[i].doc = fg_strdup(doc);
            if (!doc) {                  /* the row goes away */
                free(disk->aux.items[i].key);
                disk->aux.items[i] = disk->aux.items[--disk->aux.count];
            }
            return;
        }
    if (doc)
        fg_vec_push(&disk->aux, (struct aux){fg_strdup(key), fg_strdup(doc)});
}

static uint64_t fold(uint64_t h, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return h;
}

static void put_event(struct disk *disk, const struct fg_event *ev)
{
    struct fg_str body = {0};
    fg_event_encode(ev, &body);
    disk->hash = fold(fold(fold(disk->hash, &ev->seq, 8), &ev->time_ns, 8), body.data, body.len);
    disk->hash = fold(fold(disk->hash, &ev->task.lo, 8), &ev->attempt, 4);
    fg_vec_push(&disk->log, (struct record){ev->seq, ev->time_ns, ev->kind, ev->task, ev->tenant, ev->attempt, fg_str_take(&body)});
}

void disk_commit(struct disk *disk, struct batch *b)
{
    for (size_t i = 0; i < b->events.count; i++)
        put_event(disk, &b->events.items[i]);
    for (size_t i = 0; i < b->rows.count; i++)
        put_row(disk, &b->rows.items[i]);
    for (size_t i = 0; i < b->aux.count; i++)
        disk_put_aux(disk, b->aux.items[i].key, b->aux.items[i].doc);
}

void batch_destroy(struct batch *b)
{
    for (size_t i = 0; i < b->events.count; i++)
        fg_event_fini(&b->events.items[i]);
    for (size_t i = 0; i < b->rows.count; i++) {
        free(b->rows.items[i].doc);
        free(b->rows.items[i].spec);
        free(b->rows.items[i].idempotency);
    }
    for (size_t i = 0; i < b->aux.count; i++) {
        free(b->aux.items[i].key);
        free(b->aux.items[i].doc);
    }
    fg_vec_fini(&b->events);
    fg_vec_fini(&b->rows);
    fg_vec_fini(&b->aux);
    fg_vec_fini(&b->sends);
    fg_vec_fini(&b->submitted);
    free(b);
}

void disk_fini(struct disk *disk)
{
    for (size_t i = 0; i < disk->log.count; i++)
        free(disk->log.items[i].body);
    for (size_t i = 0; i < disk->rows.count; i++) {
        free(disk->rows.items[i].doc);
        free(disk->rows.items[i].spec);
        free(disk->rows.items[i].idempotency);
    }
    for (size_t i = 0; i < disk->aux.count; i++) {
        free(disk->aux.items[i].key);
        free(disk->aux.items[i].doc);
    }
    fg_vec_fini(&disk->log);
    fg_vec_fini(&disk->rows);
    fg_vec_fini(&disk->aux);
    free(disk->slots);
}
