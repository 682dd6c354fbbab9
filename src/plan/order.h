/* order.h - who is served next. Pure: no I/O, no clock. Any thread.
 *
 *   1 priority class, high to low                       (queue.c keeps one queue for each)
 *   2 the tenant that has used least for its weight     used_us / weight, ties by tenant id
 *   3 of its tasks the earliest deadline                none is later than any
 *   4 age                                               the task's id, which grows with time
 *
 * What a tenant has used is device time: 1,000,000 = one whole device for a second. It halves every half-life, so that
 * nobody pays for ever for a busy day. Within one round what is taken is charged at once, so that two tenants whose
 * tasks come together take turns as their weights say. */
#pragma once
#include "base/id.h"
#include "base/vec.h"

#define FG_NO_DEADLINE INT64_MAX
#define FG_WEIGHT_MAX 1000u

struct fg_order { int64_t deadline_ns; fg_id id; };      /* within a tenant and a priority class */
static inline int fg_order_cmp(const struct fg_order *a, const struct fg_order *b)
{
    return a->deadline_ns != b->deadline_ns ? (a->deadline_ns < b->deadline_ns ? -1 : 1) : fg_id_cmp(a->id, b->id);
}

/* What is left of usage after age_ns. Integers alone, the same on every machine; error below one in 10^4. A half-life of
 * 0 never forgets; an age below 0 changes nothing. */
uint64_t fg_usage_decayed(uint64_t used_us, int64_t age_ns, int64_t half_life_ns);
/* Holding permille of a device for held_ns. Saturates. */
uint64_t fg_usage_of(uint32_t permille, int64_t held_ns);
uint64_t fg_usage_add(uint64_t a, uint64_t b);           /* saturates */

/* Tenants in a round: a heap, the next one to serve first. */
struct fg_fair { fg_id tenant; uint64_t used_us; uint32_t weight; void *of; };
struct fg_fair_heap { FG_VEC(struct fg_fair) heap; };
bool fg_fair_before(const struct fg_fair *a, const struct fg_fair *b);
void fg_fair_push(struct fg_fair_heap *h, const struct fg_fair *item);
struct fg_fair *fg_fair_first(const struct fg_fair_heap *h);     /* NULL: empty */
void fg_fair_charge(struct fg_fair_heap *h, uint64_t used_us);   /* the first one took this much */
void fg_fair_pop(struct fg_fair_heap *h);
/* How many of count tasks of other, each of which charges each_us, are served before a task that waits until mine has
 * been charged up to mine->used_us: the closed form of taking turns. */
uint64_t fg_fair_ahead(const struct fg_fair *mine, const struct fg_fair *other, uint64_t count, uint64_t each_us);
