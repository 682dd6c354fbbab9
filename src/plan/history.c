/* history.c - the cells: a list in order of creation, a hash over it, and which of them changed since last asked. */
#include "plan/history.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/vec.h"

/* Programs' names are the tenants' to choose, so cells are bounded: beyond this only known keys go on learning, and
 * the type's cells, which are few, serve the rest. About 5 MB when full. */
#define CELLS_MAX 20000

struct entry {
    char *key;
    uint32_t hash;
    bool changed;
    struct fg_cell cell;
};
#define LISTS 1024u
struct point { struct fg_point at; uint32_t entry, before; };  /* before: index + 1 of the one before it in its list */
struct fg_history {
    FG_VEC(struct entry) entries;
    FG_VEC(uint32_t) changed;            /* indices into entries */
    FG_VEC(struct point) points;         /* of the cells of name and kind, by family and newest last */
    uint32_t *last_of;                   /* [LISTS] index + 1 of the newest point of the families that hash there */
    uint32_t *slots;                     /* index + 1, 0 empty; a power of two of them, at most half used */
    size_t slot_count;
};

struct fg_history *fg_history_create(void)
{
    struct fg_history *h = fg_alloc(sizeof *h);
    h->last_of = fg_alloc(LISTS * sizeof *h->last_of);
    return h;
}

void fg_history_destroy(struct fg_history *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->entries.count; i++)
        free(h->entries.items[i].key);
    fg_vec_fini(&h->entries);
    fg_vec_fini(&h->changed);
    fg_vec_fini(&h->points);
    free(h->slots);
    free(h->last_of);
    free(h);
}

static uint32_t hash_text(const char *s)
{
    uint32_t hash = 2166136261u;
    for (; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 16777619u;
    return hash;
}

/* The slot of key, or the empty one where it belongs. */
static uint32_t *find_slot(const struct fg_history *h, const char *key, uint32_t hash)
{
    for (size_t at = hash & (h->slot_count - 1);; at = (at + 1) & (h->slot_count - 1)) {
        uint32_t *slot = &h->slots[at];
        if (*slot == 0)
            return slot;
        const struct entry *e = &h->entries.items[*slot - 1];
        if (e->hash == hash && strcmp(e->key, key) == 0)
            return slot;
    }
}

static void grow_slots(struct fg_history *h)
{
    h->slot_count = FG_MAX(h->slot_count * 2, (size_t)64);
    free(h->slots);
    h->slots = fg_alloc(h->slot_count * sizeof *h->slots);
    for (size_t i = 0; i < h->entries.count; i++)
        *find_slot(h, h->entries.items[i].key, h->entries.items[i].hash) = (uint32_t)i + 1;
}

static struct entry *find_entry(const struct fg_history *h, const char *key)
{
    if (h->slot_count == 0)
        return NULL;
    uint32_t index = *find_slot(h, key, hash_text(key));
    return index ? &h->entries.items[index - 1] : NULL;
}

/* "k|type|name|kind": the kind is what follows the last bar, the rest the name, so that types do not mix. */
static void add_point(struct fg_history *h, const char *key, uint32_t entry)
{
    const char *bar = strrchr(key, '|');
    struct point p = {.entry = entry, .at = fg_point_of(key, (size_t)(bar - key), bar + 1)};
    uint32_t *last = &h->last_of[p.at.family % LISTS];
    p.before = *last;
    fg_vec_push(&h->points, p);
    *last = (uint32_t)h->points.count;
}

struct fg_point fg_history_point(const struct fg_spec *spec, const char *device_kind)
{
    char key[FG_CELL_KEY];
    fg_cell_key(key, FG_CELL_KIND, spec, device_kind, 0);
    const char *bar = strrchr(key, '|');
    return fg_point_of(key, (size_t)(bar - key), bar + 1);
}

size_t fg_history_points(const struct fg_history *h, const struct fg_spec *spec, struct fg_point *out, size_t most, size_t *ret_own)
{
    struct fg_point own = fg_history_point(spec, "");
    size_t n = 0;
    *ret_own = 0;
    for (uint32_t at = h ? h->last_of[own.family % LISTS] : 0; at; at = h->points.items[at - 1].before) {
        const struct point *p = &h->points.items[at - 1];
        const struct fg_cell *c = &h->entries.items[p->entry].cell;
        bool mine = p->at.name == own.name;
        if (p->at.family != own.family || c->n == 0 || (n == most && (!mine || *ret_own == most)))
            continue;
        struct fg_point *to = &out[n < most ? n++ : most - 1 - *ret_own];
        *to = p->at;
        to->value = c->mu, to->noise = (c->m2 / c->n + 0.01) / c->n;
        *ret_own += mine;
    }
    return n;
}

static struct entry *add_entry(struct fg_history *h, const char *key)
{
    if (h->entries.count * 2 >= h->slot_count)
        grow_slots(h);
    struct entry *e = fg_vec_add(&h->entries);
    e->key = fg_strdup(key);
    e->hash = hash_text(key);
    *find_slot(h, key, e->hash) = (uint32_t)h->entries.count;
    if (key[0] == 'k' && strrchr(key, '|') > key + 1)
        add_point(h, key, (uint32_t)h->entries.count - 1);
    return e;
}

const struct fg_cell *fg_history_find(const struct fg_history *h, const char *key)
{
    const struct entry *e = h ? find_entry(h, key) : NULL;
    return e ? &e->cell : NULL;
}

/* The cell to learn into, marked as changed; NULL when it is new and there is no room for it. */
static struct fg_cell *learn(struct fg_history *h, const char *key)
{
    struct entry *e = find_entry(h, key);
    if (!e && h->entries.count >= CELLS_MAX && key[0] != 't')
        return NULL;
    if (!e)
        e = add_entry(h, key);
    if (!e->changed) {
        e->changed = true;
        fg_vec_push(&h->changed, (uint32_t)(e - h->entries.items));
    }
    return &e->cell;
}

/* A part of a key: '|' and control bytes would make two keys one, or one unreadable. */
static size_t add_part(char *buf, size_t n, const char *part)
{
    for (const char *c = part; *c && n < FG_CELL_KEY - 24; c++) {
        if (*c == '|' || *c == '%' || (unsigned char)*c < 0x20 || *c == 0x7f)
            n += (size_t)snprintf(buf + n, FG_CELL_KEY - n, "%%%02x", (unsigned char)*c);
        else
            buf[n++] = *c;
    }
    buf[n] = 0;
    return n;
}

/* Shares are joined by halvings, to the nearest on a scale of logarithms: 1000, 500, 250, 125, 62, 31. */
static uint32_t share_bucket(uint32_t permille)
{
    uint32_t bucket = 1000;
    while (bucket > 31 && (uint64_t)permille * permille * 2 < (uint64_t)bucket * bucket)
        bucket /= 2;
    return bucket;
}

char *fg_cell_key(char *buf, enum fg_cell_level level, const struct fg_spec *spec, const char *device_kind, uint32_t share_permille)
{
    const char *name = spec->model ? spec->model : spec->program ? spec->program : "";
    size_t n = (size_t)snprintf(buf, FG_CELL_KEY, "%c|%s|", "sktm"[level], fg_task_type_name(spec->type));
    if (level != FG_CELL_TYPE)
        n = add_part(buf, n, name);
    if (level == FG_CELL_SHARE || level == FG_CELL_KIND)
        buf[n++] = '|';
    if (level != FG_CELL_MEMORY)
        n = add_part(buf, n, device_kind);
    if (level == FG_CELL_SHARE)
        snprintf(buf + n, FG_CELL_KEY - n, "|%u", share_bucket(share_permille));
    return buf;
}

/* Welford's running mean and spread. */
static void learn_time(struct fg_cell *cell, double log_work)
{
    cell->n++;
    double delta = log_work - cell->mu;
    cell->mu += delta / cell->n;
    cell->m2 += delta * (log_work - cell->mu);
}

/* "sh -c" and its kin join programs that have nothing in common: a small one must not size a large one. */
static bool teaches_memory(const struct fg_spec *spec)
{
    size_t n = spec->model || !spec->program ? 0 : strlen(spec->program);
    return n < 3 || strcmp(spec->program + n - 3, " -c") != 0;
}

static bool ran_to_its_end(const struct fg_outcome *o)
{
    return o->state == FG_STATE_SUCCEEDED || (o->state == FG_STATE_FAILED && o->reason == FG_REASON_USER_ERROR);
}

static bool was_too_small(const struct fg_outcome *o)
{
    return o->state == FG_STATE_FAILED && (o->reason == FG_REASON_OOM_HOST || o->reason == FG_REASON_OOM_VRAM);
}

void fg_history_observe(struct fg_history *h, const struct fg_spec *spec, const char *device_kind, uint32_t share_permille,
                        const struct fg_outcome *outcome)
{
    char key[FG_CELL_KEY];
    bool ended = ran_to_its_end(outcome), small = was_too_small(outcome);
    uint64_t peak = outcome->usage.memory_peak_bytes;
    double share = FG_MAX(FG_MIN(share_permille, 1000u), 1u) / 1000.0;
    double log_work = log((double)FG_MAX(outcome->run_ns, INT64_C(1000)) * share);
    if (!ended && !small)
        return;
    for (int level = FG_CELL_SHARE; ended && level <= FG_CELL_TYPE; level++) {
        struct fg_cell *cell = learn(h, fg_cell_key(key, (enum fg_cell_level)level, spec, device_kind, share_permille));
        if (!cell)
            continue;
        learn_time(cell, log_work);
        cell->peak_bytes = FG_MAX(cell->peak_bytes, peak);
    }
    /* What failed may have done so before it needed much: a picture that cannot be read does not say what a good one takes. */
    if (peak == 0 || !teaches_memory(spec) || !(small || outcome->state == FG_STATE_SUCCEEDED))
        return;
    struct fg_cell *memory = learn(h, fg_cell_key(key, FG_CELL_MEMORY, spec, device_kind, share_permille));
    if (!memory)
        return;
    memory->n++;
    uint64_t *largest = ended ? &memory->peak_bytes : &memory->oom_bytes;
    *largest = FG_MAX(*largest, peak);
}

void fg_history_changes(struct fg_history *h, void (*fn)(void *arg, const char *key, const char *doc), void *arg)
{
    char doc[200];
    for (size_t i = 0; i < h->changed.count; i++) {
        struct entry *e = &h->entries.items[h->changed.items[i]];
        const struct fg_cell *c = &e->cell;
        snprintf(doc, sizeof doc, "{\"n\":%u,\"mu\":%.17g,\"m2\":%.17g,\"peak\":%" PRIu64 ",\"oom\":%" PRIu64 "}", c->n, c->mu,
                 c->m2, FG_MIN(c->peak_bytes, (uint64_t)INT64_MAX), FG_MIN(c->oom_bytes, (uint64_t)INT64_MAX));
        e->changed = false;
        fn(arg, e->key, doc);
    }
    h->changed.count = 0;
}

int fg_history_load(struct fg_history *h, const char *key, const char *doc, struct fg_error *err)
{
    FG_AUTO_JSON json_t *j = fg_json_parse(doc, strlen(doc), err);
    if (!j)
        return fg_fail_prefix(err, "stored history '%s'", key);
    int64_t n = fg_json_int(j, "n", -1), peak = fg_json_int(j, "peak", -1), oom = fg_json_int(j, "oom", -1);
    const json_t *mu = json_object_get(j, "mu"), *m2 = json_object_get(j, "m2");
    if (n < 0 || n > UINT32_MAX || peak < 0 || oom < 0 || !json_is_number(mu) || !json_is_number(m2))
        return fg_fail(err, FG_E_INTERNAL, "stored history '%s' has no n, mu, m2, peak and oom", key);
    struct entry *e = find_entry(h, key);
    if (!e)
        e = add_entry(h, key);
    e->cell = (struct fg_cell){(uint32_t)n, json_number_value(mu), json_number_value(m2), (uint64_t)peak, (uint64_t)oom};
    return 0;
}
