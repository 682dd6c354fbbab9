/* backfill.c - see backfill.h. Waiting tasks stand in one line per type, so a round looks at types, not at tasks. */
#include "plan/backfill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/holes.h"
#include "plan/pack/private.h"

#define PATIENT_QUEUE 64u                /* so many must wait for a share to be choosy: else nobody may come who fits better */
#define NEW_TASKS 64u                    /* so many more than an eighth of those before make prices anew */
#define SPOIL_FREE 0.02                  /* of a GPU: what may be spoilt at once */

struct waiter { uint64_t id, number; double since; };
struct line { FG_VEC(struct waiter) items; size_t first; bool big; };
struct hold { uint32_t node, type; };

struct fg_backfill {
    struct fg_pack *pack;
    struct fg_backfill_options options;
    FG_VEC(struct line) lines;           /* by type */
    FG_VEC(struct hold) holds;
    struct fg_backfill_counts counts;
    uint64_t number;                     /* of arrivals */
    struct fg_holes holes_worth;
    uint64_t priced_at;                  /* tasks expected when it was made */
    FG_VEC(uint32_t) open;               /* nodes that may have a hole worth something */
    FG_VEC(bool) is_open;                /* by node */
};

struct fg_backfill *fg_backfill_create(struct fg_pack *pack, const struct fg_backfill_options *options)
{
    struct fg_backfill *b = fg_alloc(sizeof *b);
    b->pack = pack;
    b->options = *options;
    return b;
}

void fg_backfill_destroy(struct fg_backfill *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->lines.count; i++)
        fg_vec_fini(&b->lines.items[i].items);
    fg_vec_fini(&b->lines);
    fg_vec_fini(&b->holds);
    fg_vec_fini(&b->open);
    fg_vec_fini(&b->is_open);
    free(b);
}

struct fg_backfill_counts fg_backfill_counts(const struct fg_backfill *b) { return b->counts; }

/* --- lines --- */

static const struct waiter *head_of(const struct line *l) { return l->first < l->items.count ? &l->items.items[l->first] : NULL; }

static void push(struct fg_backfill *b, uint32_t type, uint64_t id, double now)
{
    while (b->lines.count <= type)
        fg_vec_add(&b->lines);
    struct line *l = &b->lines.items[type];
    l->big = b->options.big_gpus > 0 && fg_pack_type_at(b->pack, type)->gpus >= b->options.big_gpus;
    fg_vec_push(&l->items, ((struct waiter){id, b->number++, now}));
    b->counts.waiting++;
}

static void pop(struct fg_backfill *b, uint32_t type)
{
    struct line *l = &b->lines.items[type];
    l->first++;
    b->counts.waiting--;
    if (l->first * 2 < l->items.count)
        return;
    l->items.count -= l->first;          /* at most as many are moved as have left since */
    memmove(l->items.items, l->items.items + l->first, l->items.count * sizeof *l->items.items);
    l->first = 0;
}

static void start(struct fg_backfill *b, uint64_t id, uint32_t type, const struct fg_pack_choice *at)
{
    uint32_t task = fg_pack_place(b->pack, type, at);
    b->counts.starts++;
    b->options.started(b->options.arg, id, task, at);
}

static void start_head(struct fg_backfill *b, uint32_t type, const struct fg_pack_choice *at)
{
    uint64_t id = head_of(&b->lines.items[type])->id;
    pop(b, type);
    start(b, id, type, at);
}

/* --- holds --- */

static struct hold *hold_on(struct fg_backfill *b, uint32_t node)
{
    for (size_t i = 0; i < b->holds.count; i++)
        if (b->holds.items[i].node == node)
            return &b->holds.items[i];
    return NULL;
}

static size_t holds_for(const struct fg_backfill *b, uint32_t type)
{
    size_t n = 0;
    for (size_t i = 0; i < b->holds.count; i++)
        n += b->holds.items[i].type == type;
    return n;
}

static void release(struct fg_backfill *b, struct hold *h)
{
    fg_pack_close_node(b->pack, h->node, false);
    *h = b->holds.items[--b->holds.count];
}

#define HARD_TO_MOVE 100u                /* tasks: a big one in the way ends before it finds another node */

/* Tasks that stand in the way of the type on the node: fewer are better. UINT32_MAX: it can never run there. */
static uint32_t in_the_way(const struct fg_backfill *b, uint32_t node, const struct fg_pack_type *t)
{
    const struct pk_node *n = &b->pack->nodes.items[node];
    uint32_t used = 0, need = t->gpus, tasks = 0, per_gpu[FG_PACK_GPUS_MAX] = {0};
    if (n->closed || !pk_fits_whole(&n->whole, t))
        return UINT32_MAX;
    for (uint32_t k = n->first_task; k != FG_PACK_NONE; k = b->pack->tasks.items[k].next) {
        const struct pk_task *task = &b->pack->tasks.items[k];
        used += task->gpus == 0 && n->room.cpu < t->cpu_milli;
        uint32_t gpus = b->pack->types.items[task->type].need.gpus, weight = gpus >= b->options.big_gpus ? HARD_TO_MOVE : gpus;
        for (uint32_t g = 0; g < n->whole.gpus; g++)
            per_gpu[g] += task->gpus >> g & 1 ? weight : 0;
    }
    for (; need > 0; need--) {           /* the GPUs with the fewest tasks */
        uint32_t best = 0;
        for (uint32_t g = 1; g < n->whole.gpus; g++)
            best = per_gpu[g] < per_gpu[best] ? g : best;
        tasks += per_gpu[best];
        per_gpu[best] = UINT32_MAX;
    }
    return tasks + used;
}

static void hold_for(struct fg_backfill *b, uint32_t type)
{
    const struct fg_pack_type *t = fg_pack_type_at(b->pack, type);
    uint32_t best = FG_PACK_NONE, least = UINT32_MAX;
    for (uint32_t n = 0; n < fg_pack_node_count(b->pack); n++) {
        uint32_t tasks = in_the_way(b, n, t);
        if (tasks < least) {
            least = tasks;
            best = n;
        }
    }
    if (best == FG_PACK_NONE)
        return;
    fg_pack_close_node(b->pack, best, true);
    fg_vec_push(&b->holds, ((struct hold){best, type}));
    b->counts.holds++;
}

/* Every big type whose next unheld task has waited long enough gets a node, while there may be more holds. */
static void new_holds(struct fg_backfill *b, double now)
{
    for (uint32_t t = 0; t < b->lines.count && b->holds.count < b->options.holds_most; t++) {
        const struct line *l = &b->lines.items[t];
        size_t held = l->big ? holds_for(b, t) : 0;
        if (l->big && l->first + held < l->items.count && now - l->items.items[l->first + held].since >= b->options.hold_after)
            hold_for(b, t);
    }
}

static bool may_move(const struct fg_backfill *b) { return b->counts.moves * 1000 < b->counts.starts * b->options.moves_permille; }

/* Move something from a held node into the room on this one. */
static bool draw_from_holds(struct fg_backfill *b, uint32_t node)
{
    for (size_t i = 0; i < b->holds.count && may_move(b); i++) {
        uint32_t from = b->holds.items[i].node;
        for (uint32_t k = b->pack->nodes.items[from].first_task; k != FG_PACK_NONE; k = b->pack->tasks.items[k].next) {
            struct fg_pack_choice to;
            const struct pk_task *task = &b->pack->tasks.items[k];
            if (task->pinned || !fg_pack_best_on(b->pack, task->type, node, &to))
                continue;
            to.rule = FG_PACK_GIVEN;
            pk_relocate(b->pack, k, &to);
            b->pack->generation++;
            b->counts.moves++;
            b->options.moved(b->options.arg, k, &to);
            return true;
        }
    }
    return false;
}

/* The held node may have room for its task now: start it and let others in again. */
static bool settle(struct fg_backfill *b, struct hold *h)
{
    struct fg_pack_choice at;
    struct hold was = *h;
    bool wanted = head_of(&b->lines.items[was.type]) != NULL;
    fg_pack_close_node(b->pack, was.node, false);
    bool fits = wanted && fg_pack_best_on(b->pack, was.type, was.node, &at);
    if (wanted && !fits) {
        fg_pack_close_node(b->pack, was.node, true);
        return false;
    }
    release(b, h);
    if (fits)
        start_head(b, was.type, &at);
    return true;
}

/* --- holes: free parts of GPUs that are in use --- */

static bool is_share(const struct fg_pack_type *t) { return t->gpus == 1 && t->gpu_milli < FG_PACK_DEVICE; }

static bool is_patient(const struct fg_backfill *b) { return b->options.patience > 0 && b->counts.waiting >= PATIENT_QUEUE; }

static int heavier(const void *pa, const void *pb)
{
    const struct pk_size *a = pa, *b = pb;
    uint64_t x = (uint64_t)a->count * a->milli, y = (uint64_t)b->count * b->milli;
    return x != y ? (x < y) - (x > y) : (a->milli < b->milli) - (a->milli > b->milli);
}

/* Prices of the shares expected, those that bring most work first; anew when there are an eighth more. */
static void price_holes(struct fg_backfill *b)
{
    struct pk_size sizes[FG_HOLES_DEVICE + 1] = {0};
    uint32_t size[FG_HOLES_SIZES_MOST], n = 0;
    double weight[FG_HOLES_SIZES_MOST];
    if (b->priced_at > 0 && b->pack->expected < b->priced_at + b->priced_at / 8 + NEW_TASKS)
        return;
    b->priced_at = b->pack->expected;
    for (size_t i = 0; i < b->pack->types.count; i++) {
        const struct pk_type *t = &b->pack->types.items[i];
        struct pk_size *s = &sizes[t->need.gpus > 0 ? t->need.gpu_milli : 0];
        s->milli = t->need.gpus > 0 ? t->need.gpu_milli : 0;
        s->count += (uint32_t)FG_MIN(t->count * FG_MAX(t->need.gpus, 1u), (uint64_t)(1u << 30));
    }
    qsort(sizes, FG_COUNT(sizes), sizeof *sizes, heavier);
    for (; n < FG_HOLES_SIZES_MOST && sizes[n].count > 0 && sizes[n].milli > 0; n++)
        size[n] = sizes[n].milli, weight[n] = sizes[n].count;
    fg_holes_price(size, weight, n, &b->holes_worth);
}

/* The GPU of the node on which the share spoils least, of equal ones the fullest; INFINITY: it fits none. */
static double best_hole(const struct fg_backfill *b, const struct fg_pack_type *t, uint32_t node, uint32_t *ret_gpus)
{
    const struct pk_node *n = &b->pack->nodes.items[node];
    double least = INFINITY;
    uint32_t at = 0;
    if (n->closed || n->room.cpu < t->cpu_milli || n->room.memory < (int64_t)t->memory_bytes ||
        (t->kinds && !(t->kinds >> n->room.kind & 1)))
        return INFINITY;
    for (uint32_t g = 0; g < n->room.gpus; g++) {
        uint32_t free = n->room.milli[g];
        if (free < t->gpu_milli || (n->whole.gpu_memory_bytes && n->gpu_memory[g] < t->gpu_memory_bytes))
            continue;
        double loss = fg_holes_loss(&b->holes_worth, free, t->gpu_milli);
        if (loss < least - 1e-9 || (loss < least + 1e-9 && free < n->room.milli[at]))
            least = loss, at = g;
    }
    *ret_gpus = 1u << at;
    return least;
}

static void open_node(struct fg_backfill *b, uint32_t node)
{
    while (b->is_open.count <= node)
        fg_vec_push(&b->is_open, false);
    if (b->is_open.items[node])
        return;
    b->is_open.items[node] = true;
    fg_vec_push(&b->open, node);
}

static bool has_free_gpu(const struct fg_backfill *b, uint32_t node)
{
    const struct pk_node *n = &b->pack->nodes.items[node];
    for (uint32_t g = 0; g < n->room.gpus; g++)
        if (n->room.milli[g] == FG_PACK_DEVICE)
            return true;
    return false;
}

static bool has_hole(const struct fg_backfill *b, uint32_t node)
{
    const struct pk_node *n = &b->pack->nodes.items[node];
    for (uint32_t g = 0; g < n->room.gpus; g++)
        if (b->holes_worth.worth[n->room.milli[g]] > 0)
            return true;
    return false;
}

/* Where a share that has just come fills a hole well. */
static bool find_hole(struct fg_backfill *b, uint32_t type, struct fg_pack_choice *ret)
{
    const struct fg_pack_type *t = fg_pack_type_at(b->pack, type);
    double least = INFINITY;
    for (size_t i = 0; i < b->open.count;) {
        uint32_t node = b->open.items[i], gpus;
        if (!has_hole(b, node)) {
            b->is_open.items[node] = false;
            b->open.items[i] = b->open.items[--b->open.count];
            continue;
        }
        double loss = best_hole(b, t, node, &gpus);
        if (loss < least) {
            least = loss;
            *ret = (struct fg_pack_choice){.node = node, .gpus = gpus, .rule = FG_PACK_GIVEN};
        }
        i++;
    }
    return least <= SPOIL_FREE;
}

/* Where nobody is: an idle GPU takes whoever comes. */
static bool find_idle(struct fg_backfill *b, uint32_t type, struct fg_pack_choice *ret)
{
    return fg_pack_best(b->pack, type, ret) &&
           b->pack->nodes.items[ret->node].room.milli[__builtin_ctz(ret->gpus)] == FG_PACK_DEVICE;
}

/* --- filling --- */

static bool start_big(struct fg_backfill *b, uint32_t node)
{
    uint32_t best = FG_PACK_NONE;
    struct fg_pack_choice at, choice;
    for (uint32_t t = 0; t < b->lines.count; t++) {
        const struct line *l = &b->lines.items[t];
        const struct waiter *w = l->big ? head_of(l) : NULL;
        if (w && (best == FG_PACK_NONE || w->number < head_of(&b->lines.items[best])->number) && fg_pack_best_on(b->pack, t, node, &at)) {
            best = t;
            choice = at;
        }
    }
    if (best != FG_PACK_NONE)
        start_head(b, best, &choice);
    return best != FG_PACK_NONE;
}

/* Largest first: what is left for the small ones they can use. The value lost breaks ties only (decision 0024). */
static double preference(const struct fg_backfill *b, const struct fg_pack_type *t, const struct fg_pack_choice *at, double waited)
{
    return (double)t->gpus * t->gpu_milli + b->options.age_weight * waited + (double)at->score / 20;
}

/* any: somebody must use it, however little it fits. */
static bool start_small(struct fg_backfill *b, uint32_t node, double now, bool any)
{
    uint32_t best = FG_PACK_NONE;
    double most = 0;
    struct fg_pack_choice at, choice;
    for (uint32_t t = 0; t < b->lines.count; t++) {
        const struct waiter *w = b->lines.items[t].big ? NULL : head_of(&b->lines.items[t]);
        const struct fg_pack_type *need = fg_pack_type_at(b->pack, t);
        double spoilt = 0;
        if (!w || !fg_pack_best_on(b->pack, t, node, &at))
            continue;
        if (is_patient(b) && is_share(need))
            spoilt = best_hole(b, need, node, &at.gpus);
        if (!any && spoilt > SPOIL_FREE && spoilt * b->options.patience > now - w->since)
            continue;
        double p = preference(b, need, &at, now - w->since) - FG_PACK_DEVICE * spoilt;
        if (best == FG_PACK_NONE || p > most) {
            best = t;
            most = p;
            choice = at;
        }
    }
    if (best != FG_PACK_NONE)
        start_head(b, best, &choice);
    return best != FG_PACK_NONE;
}

static void fill(struct fg_backfill *b, uint32_t node, double now)
{
    struct hold *h = hold_on(b, node);
    if (h && !settle(b, h))
        return;
    if (is_patient(b))
        price_holes(b);
    while (start_big(b, node) || draw_from_holds(b, node) || start_small(b, node, now, false) ||
           (is_patient(b) && has_free_gpu(b, node) && start_small(b, node, now, true)))
        ;
    open_node(b, node);
    for (size_t i = 0; i < b->holds.count; i++) {
        uint32_t held = b->holds.items[i].node;
        if (settle(b, &b->holds.items[i])) {
            fill(b, held, now);          /* what the big task left */
            i = (size_t)-1;              /* holds changed their places */
        }
    }
}

void fg_backfill_submit(struct fg_backfill *b, uint32_t type, uint64_t id, double now)
{
    struct fg_pack_choice at;
    bool choosy = is_patient(b) && is_share(fg_pack_type_at(b->pack, type));
    if (choosy)
        price_holes(b);
    if (choosy ? find_hole(b, type, &at) || find_idle(b, type, &at) : fg_pack_best(b->pack, type, &at))
        start(b, id, type, &at);
    else
        push(b, type, id, now);
}

void fg_backfill_ended(struct fg_backfill *b, uint32_t task, double now)
{
    uint32_t node = fg_pack_task_at(b->pack, task).node;
    fg_pack_unplace(b->pack, task);
    fill(b, node, now);
    new_holds(b, now);
}
