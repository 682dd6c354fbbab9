/* queue.c - the order in which waiting tasks are served, walked and counted.
 *
 *   high    tenant that used least: its lines by their first tasks, merged      then the next tenant, ...
 *   normal  ...
 *   low     ...
 *
 * A walk charges a tenant for what is likely to start, so that tenants take turns within one round as they would over
 * many. Heads of the line, for whom something is held, come first in their priority: a promise is kept although what
 * tenants have used changes meanwhile. */
#include "control/core_private.h"

void queue_add(struct fg_core *core, struct entry *e)
{
    struct line *l = line_of(core, e);
    line_add(core, l, e);
    if (l->blocked_at != core->room_version)     /* what blocks its line blocks it: nothing to plan */
        core->plan_due = true;
}

void queue_remove(struct fg_core *core, struct entry *e)
{
    const struct fg_reservation *held = reserve_find(core, e);
    size_t lines = core->line_count;
    line_remove(core, e->line, e);
    if (held)
        reserve_drop(core, (size_t)(held - core->reservations));
    if (core->line_count < lines && core->line_count >= core->config.window)    /* lets another line into the window */
        core->plan_due = true;
}

size_t queue_size(const struct fg_core *core) { return core->waiting; }

uint64_t queue_charge(struct fg_core *core, struct line *l)
{
    struct fg_need need;
    core_line_need(core, l, &need);
    return fg_usage_of(FG_MAX(need.share_permille, 1u), core_line_estimate(core, l)->mean_ns);
}

/* Before it of its own tenant: exact. */
size_t queue_before_own(const struct account *a, int priority, const struct fg_order *key)
{
    size_t n = 0;
    for (const struct line *l = account_line_after(a, priority, NULL); l && fg_order_cmp(&l->head, key) < 0;
         l = account_line_after(a, priority, &l->head))
        n += line_before(l, key);
    return n;
}

/* What one task of a tenant is expected to use: of its first lines, by how many wait in them. */
static uint64_t charge_each(struct fg_core *core, const struct account *a, int priority)
{
    unsigned __int128 sum = 0;
    size_t tasks = 0, lines = 0;
    for (struct line *l = account_line_after(a, priority, NULL); l && lines < 64; l = account_line_after(a, priority, &l->head), lines++) {
        sum += (unsigned __int128)queue_charge(core, l) * line_size(l);
        tasks += line_size(l);
    }
    return tasks ? (uint64_t)(sum / tasks) : 0;
}

size_t queue_place(const struct fg_core *core, const struct entry *e, int64_t now_ns)
{
    if (!e->line)
        return 0;
    struct fg_core *caches = (struct fg_core *)core;     /* of needs and estimates; no part of the state */
    struct fg_order key = entry_order(e);
    int priority = (int)e->t.spec.priority;
    size_t before = queue_before_own(e->line->account, priority, &key);
    struct fg_fair mine = account_fair(core, e->line->account, now_ns);
    if (core->accounts.count > 1)
        mine.used_us = fg_usage_add(mine.used_us, charge_each(caches, e->line->account, priority) * before);
    for (size_t i = 0; i < core->accounts.count; i++) {
        struct account *a = core->accounts.items[i];
        for (int p = priority + 1; p < FG_PRIORITY_COUNT; p++)
            before += a->waiting[p];
        if (a == e->line->account || !a->waiting[priority])
            continue;
        struct fg_fair other = account_fair(core, a, now_ns);
        before += fg_fair_ahead(&mine, &other, a->waiting[priority], charge_each(caches, a, priority));
    }
    return before + 1;
}

/* --- walking --- */

struct ahead { struct line *line; struct entry *entry; };
struct turn {                            /* a tenant in a walk */
    struct account *account;
    struct line *fresh;                  /* the next line it has not come to */
    FG_VEC(struct ahead) open;           /* lines it came to and has more of, by their next task: a heap */
};

static bool goes_before(const struct ahead *a, const struct ahead *b)
{
    struct fg_order x = entry_order(a->entry), y = entry_order(b->entry);
    return fg_order_cmp(&x, &y) < 0;
}

static void open_push(struct turn *t, struct ahead item)
{
    fg_vec_push(&t->open, item);
    size_t i = t->open.count - 1;
    for (; i > 0 && goes_before(&item, &t->open.items[(i - 1) / 2]); i = (i - 1) / 2)
        t->open.items[i] = t->open.items[(i - 1) / 2];
    t->open.items[i] = item;
}

static struct ahead open_pop(struct turn *t)
{
    struct ahead first = t->open.items[0], last = t->open.items[--t->open.count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->open.count; i = child) {
        if (child + 1 < t->open.count && goes_before(&t->open.items[child + 1], &t->open.items[child]))
            child++;
        if (!goes_before(&t->open.items[child], &last))
            break;
        t->open.items[i] = t->open.items[child];
    }
    t->open.items[i] = last;
    return first;
}

/* The next task of a tenant, from the lines it has come to or the next one. */
static struct ahead turn_next(struct turn *t, int priority)
{
    struct ahead fresh = {t->fresh, t->fresh ? line_first(t->fresh) : NULL};
    if (t->open.count && (!fresh.entry || goes_before(&t->open.items[0], &fresh)))
        return open_pop(t);
    if (t->fresh)
        t->fresh = account_line_after(t->account, priority, &t->fresh->head);
    return fresh;
}

static void turns_end(struct walk *w)
{
    for (size_t i = 0; i < w->turns.count; i++) {
        fg_vec_fini(&w->turns.items[i]->open);
        free(w->turns.items[i]);
    }
    w->turns.count = w->tenants.heap.count = 0;
    w->turn = NULL;
}

static void turns_begin(struct walk *w)
{
    for (size_t i = 0; i < w->core->accounts.count; i++) {
        struct account *a = w->core->accounts.items[i];
        if (!a->waiting[w->priority])
            continue;
        struct turn *t = fg_alloc(sizeof *t);
        t->account = a;
        t->fresh = account_line_after(a, w->priority, NULL);
        fg_vec_push(&w->turns, t);
        struct fg_fair fair = account_fair(w->core, a, w->now_ns);
        fair.of = t;
        fg_fair_push(&w->tenants, &fair);
    }
}

void walk_begin(struct walk *w, struct fg_core *core, int64_t now_ns)
{
    *w = (struct walk){.core = core, .now_ns = now_ns, .priority = FG_PRIORITY_COUNT};
}

void walk_end(struct walk *w)
{
    turns_end(w);
    fg_vec_fini(&w->turns);
    fg_vec_fini(&w->tenants.heap);
}

/* What the caller said of the last one takes effect. */
static void settle_last(struct walk *w)
{
    if (!w->turn)
        return;
    struct fg_order key = entry_order(w->entry);
    struct entry *next = w->drop ? NULL : line_after(w->line, &key);
    if (next)
        open_push(w->turn, (struct ahead){w->line, next});
    if (w->takes && w->tenants.heap.count > 1)
        fg_fair_charge(&w->tenants, queue_charge(w->core, w->line));
    w->turn = NULL;
}

struct entry *walk_next(struct walk *w)
{
    settle_last(w);
    for (;;) {
        struct fg_fair *first = fg_fair_first(&w->tenants);
        if (!first) {
            turns_end(w);
            if (--w->priority < 0)
                return NULL;
            turns_begin(w);
            continue;
        }
        struct turn *t = first->of;
        struct ahead next = turn_next(t, w->priority);
        if (!next.entry) {
            fg_fair_pop(&w->tenants);
            continue;
        }
        w->turn = t;
        w->line = next.line;
        w->entry = next.entry;
        w->drop = w->takes = false;
        return w->entry;
    }
}
