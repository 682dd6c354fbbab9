/* foresee_play.c - one run: what ends, who takes its place, for whom room is held. */
#include <stdlib.h>

#include "plan/foresee_private.h"

/* --- what runs --- */

static bool sooner(const struct play *p, uint32_t a, uint32_t b) { return p->runs[a].end != p->runs[b].end ? p->runs[a].end < p->runs[b].end : a < b; }

static void heap_push(struct play *p, uint32_t run)
{
    uint32_t i = p->heap_count++;
    for (; i > 0 && sooner(p, run, p->heap[(i - 1) / 2]); i = (i - 1) / 2)
        p->heap[i] = p->heap[(i - 1) / 2];
    p->heap[i] = run;
}

static uint32_t heap_pop(struct play *p)
{
    uint32_t first = p->heap[0], last = p->heap[--p->heap_count], i = 0;
    for (uint32_t child; (child = 2 * i + 1) < p->heap_count; i = child) {
        if (child + 1 < p->heap_count && sooner(p, p->heap[child + 1], p->heap[child]))
            child++;
        if (!sooner(p, p->heap[child], last))
            break;
        p->heap[i] = p->heap[child];
    }
    p->heap[i] = last;
    return first;
}

static void add_run(struct play *p, uint32_t device, struct size size, double end, double expected)
{
    if (p->run_count == p->run_cap) {
        p->run_cap = 2 * p->run_cap + 64;
        p->runs = fg_realloc(p->runs, p->run_cap, sizeof *p->runs);
        p->heap = fg_realloc(p->heap, p->run_cap, sizeof *p->heap);
    }
    p->runs[p->run_count] = (struct run){end, expected, size, device, p->first_run[device]};
    p->first_run[device] = p->run_count;
    heap_push(p, p->run_count++);
}

/* Drawn from what is left of the distribution beyond the age. */
static void add_lease(struct play *p, const struct fg_foresee_lease *l)
{
    double sigma = l->p95_ns > l->p50_ns && l->p50_ns > 0 ? log((double)l->p95_ns / (double)l->p50_ns) / Z95 : 0;
    double age = (double)l->age_ns, end = (double)l->p50_ns - age;
    if (sigma > 0) {
        double z = age > 0 ? (log(age) - log((double)l->p50_ns)) / sigma : -8, left = 0.5 * erfc(z / sqrt(2));
        double q = left * ((double)(rnd(p) >> 11) + 0.5) / 9007199254740992.0;
        end = q > 1e-280 ? (double)l->p50_ns * exp(sigma * foresee_beyond(q)) - age : age / 8;
    }
    double expected = (double)l->p95_ns - age;
    add_run(p, l->device, size_of(p, l->memory_bytes, l->share_permille), FG_MAX(end, age / 64 + 1), expected > 0 ? expected : FOREVER);
}

static void drop_run(struct play *p, uint32_t run)
{
    const struct run *r = &p->runs[run];
    uint32_t *at = &p->first_run[r->device];
    while (*at != run)
        at = &p->runs[*at].next;
    *at = r->next;
    p->room[r->device] = plus(p->room[r->device], r->size);
}

/* --- heads --- */

static bool could_hold(const struct play *p, uint32_t d, const struct class *c)
{
    return (!c->kind || c->kind == p->kind[d]) && fits(c->need, p->whole[d]);
}

static uint32_t how_many(struct size need, struct size room, uint32_t most)
{
    int n = (int)most;
    if (need.memory > 0)
        n = FG_MIN(n, room.memory / need.memory);
    if (need.share > 0)
        n = FG_MIN(n, room.share / need.share);
    return (uint32_t)FG_MAX(n, 0);
}

/* One that ran longer is believed to go on. */
static double expected_end(const struct play *p, const struct run *r) { return r->expected >= p->now ? r->expected : FOREVER; }

/* What is free on the device at the time, as it is expected. */
static struct size room_at(const struct play *p, uint32_t d, double when)
{
    struct size room = p->room[d];
    for (uint32_t r = p->first_run[d]; r != NONE; r = p->runs[r].next)
        if (expected_end(p, &p->runs[r]) <= when)
            room = plus(room, p->runs[r].size);
    return room;
}

static void count_spare(struct play *p, uint32_t d)
{
    for (uint32_t h = 0; h < p->head_count; h++)
        if (p->heads[h].devices >> d & 1)
            p->heads[h].spare[d] = minus(room_at(p, d, p->heads[h].start), p->heads[h].held);
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint64_t held_devices(const struct play *p)
{
    uint64_t held = 0;
    for (uint32_t h = 0; h < p->head_count; h++)
        held |= p->heads[h].devices;
    return held;
}

static void add_head(struct play *p, const struct head *h)
{
    p->heads[p->head_count++] = *h;
    p->classes[h->class].head = true;
    for (uint32_t d = 0; d < p->devices; d++)
        count_spare(p, d);
}

/* When the device has room for it, by the expected ends there; FOREVER where that is not before best. */
static double room_from(const struct play *p, uint32_t d, struct size need, double best)
{
    struct size room = p->room[d];
    double when = p->now;
    while (!fits(need, room) && when < best) {
        double next = FOREVER;                           /* the ends after when, each time the first of them: they are few */
        for (uint32_t r = p->first_run[d]; r != NONE; r = p->runs[r].next) {
            double end = expected_end(p, &p->runs[r]);
            next = end > when && end < next ? end : next;
        }
        if (next >= best)
            return FOREVER;
        when = next;
        room = room_at(p, d, when);
    }
    return when < best ? when : FOREVER;
}

/* The same as reserve_gang for one alone. */
static bool reserve_one(struct play *p, uint32_t at, uint32_t class)
{
    const struct class *c = &p->classes[class];
    uint64_t held = held_devices(p);
    struct head h = {at, class, FOREVER, 0, c->need, {{0}}};
    for (uint32_t d = 0; d < p->devices; d++) {
        double when = could_hold(p, d, c) && !(held >> d & 1) ? room_from(p, d, c->need, h.start) : FOREVER;
        if (when < h.start)
            h.start = when, h.devices = (uint64_t)1 << d;
    }
    for (uint32_t d = 0; !h.devices && d < p->devices; d++)      /* all that run there ran longer than is believed */
        if (could_hold(p, d, c) && !(held >> d & 1))
            h.devices = (uint64_t)1 << d;
    if (h.devices)
        add_head(p, &h);
    return h.devices != 0;
}

/* The earliest time at which the devices that nobody holds have room for all of the class that start together, and the devices. */
static bool reserve_gang(struct play *p, uint32_t at, uint32_t class)
{
    const struct class *c = &p->classes[class];
    double ends[512];
    uint32_t n = 0, lo = 0;
    uint64_t held = held_devices(p), mine = 0;
    ends[n++] = p->now;
    for (uint32_t d = 0; d < p->devices; d++)
        if (could_hold(p, d, c) && !(held >> d & 1)) {
            mine |= (uint64_t)1 << d;
            for (uint32_t r = p->first_run[d]; r != NONE && n < FG_COUNT(ends); r = p->runs[r].next)
                ends[n++] = expected_end(p, &p->runs[r]);
        }
    qsort(ends, n, sizeof *ends, by_double);
    for (uint32_t hi = n; mine && lo < hi;) {            /* the first of them at which it fits */
        uint32_t mid = (lo + hi) / 2, sum = 0;
        for (uint32_t d = 0; d < p->devices; d++)
            sum += mine >> d & 1 ? how_many(c->need, room_at(p, d, ends[mid]), c->together) : 0;
        if (sum >= c->together)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (!mine || lo == n)
        return false;
    struct head h = {at, class, ends[lo], 0, c->need, {{0}}};
    for (uint32_t left = c->together; left > 0;) {       /* most room first */
        uint32_t best = NONE, most = 0;
        for (uint32_t d = 0; d < p->devices; d++) {
            uint32_t k = (mine & ~h.devices) >> d & 1 ? how_many(c->need, room_at(p, d, h.start), left) : 0;
            if (k > most)
                best = d, most = k;
        }
        if (best == NONE)
            return false;
        h.devices |= (uint64_t)1 << best;
        h.held = (struct size){FG_MAX(h.held.memory, (int)most * c->need.memory), FG_MAX(h.held.share, (int)most * c->need.share)};
        left -= most;
    }
    add_head(p, &h);
    return true;
}

static bool reserve(struct play *p, uint32_t at, uint32_t class)
{
    return p->classes[class].together > 1 ? reserve_gang(p, at, class) : reserve_one(p, at, class);
}

static bool may_start(const struct play *p, uint32_t d, uint32_t at, const struct class *c, double p95)
{
    for (uint32_t h = 0; h < p->head_count; h++) {
        const struct head *head = &p->heads[h];
        if (!(head->devices >> d & 1) || head->at == at || p->classes[head->class].rank < c->rank)
            continue;
        if (p->now > head->start)
            return false;
        if (p->now + p95 > head->start && !fits(c->need, head->spare[d]))
            return false;
    }
    return true;
}

/* Whether it waits for a device that is held: then it is no head of its own. */
static bool behind_a_head(const struct play *p, const struct class *c)
{
    for (uint32_t h = 0; h < p->head_count; h++)
        for (uint32_t d = 0; d < p->devices; d++)
            if ((p->heads[h].devices >> d & 1) && could_hold(p, d, c))
                return true;
    return false;
}

/* --- a run --- */

/* The fullest devices that take all of the entry. */
static bool choose(struct play *p, uint32_t at, const struct class *c, double p95, uint32_t only, uint32_t *ret)
{
    struct size room[FG_FORESEE_DEVICES];
    if (c->together > 1)
        memcpy(room, p->room, p->devices * sizeof *room);
    for (uint32_t k = 0; k < c->together; k++) {
        uint32_t best = NONE;
        for (uint32_t d = only == NONE ? 0 : only; d < (only == NONE ? p->devices : only + 1); d++) {
            struct size free = c->together > 1 ? room[d] : p->room[d];
            if (!fits(c->need, free) || (c->kind && c->kind != p->kind[d]) || !may_start(p, d, at, c, p95))
                continue;
            if (best == NONE || free.share < (c->together > 1 ? room[best] : p->room[best]).share)
                best = d;
        }
        if (best == NONE)
            return false;
        ret[k] = best;
        if (c->together > 1)
            room[best] = minus(room[best], c->need);
    }
    return true;
}

/* Of so many tasks one after the other: their sum, as a log-normal of the same mean and spread. */
static double draw_time(struct play *p, uint32_t line, double count)
{
    const struct time *t = &p->times[line];
    double mean = t->mu + p->shift[line] * t->shared, own = t->own;
    if (count > 1) {
        double spread = log1p(expm1(own * own) / count);
        mean += log(count) + (own * own - spread) / 2, own = sqrt(spread);
    } else
        mean += log(FG_MAX(count, 1e-6));
    return exp(mean + own * draw(p));
}

static void start(struct play *p, uint32_t class, const uint32_t *on)
{
    struct class *c = &p->classes[class];
    uint32_t at = c->first, line = p->order[at];
    c->first = p->next[at];
    const struct time *t = &p->times[line];
    for (uint32_t k = 0; k < c->together; k++) {
        p->room[on[k]] = minus(p->room[on[k]], c->need);
        add_run(p, on[k], c->need, p->now + draw_time(p, line, p->count[at]), p->now + t->p95 * FG_MAX(p->count[at], 1.0));
        count_spare(p, on[k]);
    }
    p->used[c->tenant] += p->in->lines[line].work * p->count[at] * p->in->scale / p->in->tenants[c->tenant].weight;
    p->done |= at == p->target;
    for (uint32_t h = 0; h < p->head_count; h++)
        if (p->heads[h].at == at) {
            p->heads[h] = p->heads[--p->head_count];
            c->head = false;
            break;
        }
}

/* A head goes first in its priority. */
static bool served_before(const struct play *p, const struct class *a, const struct class *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->head != b->head)
        return a->head;
    double u = p->used[a->tenant], v = p->used[b->tenant];
    return a->tenant != b->tenant && u != v ? u < v : a->first < b->first;
}

/* Whether the first of the class may start now; on which devices goes to on. */
static bool can_start(struct play *p, const struct class *c, uint32_t only, uint32_t *on)
{
    if (c->first == NONE || c->together > TOGETHER_MOST || (only != NONE && c->together == 1 && !fits(c->need, p->room[only])))
        return false;
    double p95 = p->times[p->order[c->first]].p95 * FG_MAX(p->count[c->first], 1.0);
    return choose(p, c->first, c, p95, c->together > 1 ? NONE : only, on);
}

/* The first in order of those that are open, or of all. */
static uint32_t first_of(const struct play *p, bool open)
{
    uint32_t best = NONE;
    for (uint32_t x = 0, n = open ? p->open_count : p->class_count; x < n; x++) {
        uint32_t class = open ? p->open[x] : x;
        if (p->classes[class].first != NONE && (best == NONE || served_before(p, &p->classes[class], &p->classes[best])))
            best = class;
    }
    return best;
}

/* Every class waits for a device that is held, or is a head of its own. */
static void find_heads(struct play *p)
{
    for (uint32_t x = 0; x < p->class_count && p->head_count < HEADS_MOST; x++)
        if (p->classes[x].first != NONE && !p->classes[x].hopeless && !behind_a_head(p, &p->classes[x]))
            p->classes[x].hopeless = !reserve(p, p->classes[x].first, x);
}

/* Who can start does, in order. only: the device where room has come up; NONE: any. */
static void pass(struct play *p, uint32_t only)
{
    uint32_t on[TOGETHER_MOST], class;
    while (!p->done && !p->head_count && (class = first_of(p, false)) != NONE) {
        if (can_start(p, &p->classes[class], only, on)) {
            start(p, class, on);
            continue;
        }
        reserve(p, p->classes[class].first, class);
        find_heads(p);
        break;
    }
    p->open_count = 0;
    for (uint32_t x = 0; x < p->class_count; x++)
        if (can_start(p, &p->classes[x], only, on))
            p->open[p->open_count++] = x;
    while (!p->done && (class = first_of(p, true)) != NONE) {
        struct class *c = &p->classes[class];
        bool head = c->head;
        if (can_start(p, c, only, on))
            start(p, class, on);
        if (head && !c->head) {                          /* what was held there is not any more */
            pass(p, c->together > 1 ? NONE : on[0]);
            return;
        }
        if (!can_start(p, c, only, on))
            for (uint32_t x = 0; x < p->open_count; x++)
                if (p->open[x] == class)
                    p->open[x--] = p->open[--p->open_count];
    }
}

static void begin_run(struct play *p, uint32_t number)
{
    p->rng = 0x5eed + number;
    p->now = 0;
    p->run_count = p->heap_count = p->head_count = 0;
    p->done = false;
    memcpy(p->room, p->free_now, p->devices * sizeof *p->room);
    for (size_t x = 0; x < p->in->tenant_count; x++)
        p->used[x] = p->in->tenants[x].used / p->in->tenants[x].weight;
    memset(p->first_run, 0xff, p->devices * sizeof *p->first_run);
    for (uint32_t x = 0; x < p->class_count; x++)
        p->classes[x].first = NONE, p->classes[x].head = p->classes[x].hopeless = false;
    for (uint32_t x = p->order_count; x-- > 0;) {
        struct class *c = &p->classes[p->class_of[p->order[x]]];
        p->next[x] = c->first, c->first = x;
    }
    double unseen = draw(p);
    p->off = draw(p);
    for (uint32_t l = 0; l < p->in->line_count; l++)
        p->shift[l] = p->in->lines[l].samples ? p->normal[mix(p->rng + p->in->lines[l].family) % NORMALS] : unseen;
    for (size_t x = 0; x < p->in->lease_count; x++)
        add_lease(p, &p->in->leases[x]);
}

/* Returns when the target starts; -1: never. */
double foresee_play(struct play *p, uint32_t number)
{
    begin_run(p, number);
    pass(p, NONE);
    while (!p->done && p->heap_count) {
        uint32_t run = heap_pop(p), device = p->runs[run].device;
        p->now = FG_MAX(p->now, p->runs[run].end);
        drop_run(p, run);
        count_spare(p, device);
        pass(p, device);
    }
    return p->done ? p->now * exp(OFF_MEAN + p->coarse + (OFF_SPREAD + p->coarse) * p->off) : -1;
}
