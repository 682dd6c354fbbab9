/* order.c - integers alone: the order of a queue must be the same after a restart and on another machine. */
#include "plan/order.h"

#include "base/units.h"

/* 2^-(i/32) in units of 2^-32, i = 0..32. */
static const uint64_t half_powers[33] = {
    4294967296, 4202935003, 4112874773, 4024744348, 3938502376, 3854108391, 3771522796, 3690706840, 3611622603,
    3534232978, 3458501653, 3384393094, 3311872529, 3240905930, 3171459999, 3103502151, 3037000500, 2971923842,
    2908241642, 2845924021, 2784941738, 2725266179, 2666869345, 2609723834, 2553802834, 2499080105, 2445529972,
    2393127307, 2341847524, 2291666561, 2242560872, 2194507417, 2147483648,
};

uint64_t fg_usage_decayed(uint64_t used_us, int64_t age_ns, int64_t half_life_ns)
{
    if (age_ns <= 0 || half_life_ns <= 0)
        return used_us;
    uint64_t halvings = (uint64_t)(age_ns / half_life_ns);
    if (halvings >= 64)
        return 0;
    /* the rest in units of 2^-20 half-lives: five bits choose the table's step, fifteen lie between two steps */
    uint64_t rest = (uint64_t)((unsigned __int128)(age_ns % half_life_ns) * (1u << 20) / (uint64_t)half_life_ns);
    uint64_t i = rest >> 15, between = rest & 0x7fff;
    uint64_t power = half_powers[i] - ((half_powers[i] - half_powers[i + 1]) * between >> 15);
    return (uint64_t)((unsigned __int128)(used_us >> halvings) * power >> 32);
}

uint64_t fg_usage_of(uint32_t permille, int64_t held_ns)
{
    if (held_ns <= 0)
        return 0;
    unsigned __int128 us = (unsigned __int128)permille * (uint64_t)held_ns / 1000000;
    return us > UINT64_MAX ? UINT64_MAX : (uint64_t)us;
}

uint64_t fg_usage_add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

bool fg_fair_before(const struct fg_fair *a, const struct fg_fair *b)
{
    unsigned __int128 x = (unsigned __int128)a->used_us * FG_MAX(b->weight, 1u), y = (unsigned __int128)b->used_us * FG_MAX(a->weight, 1u);
    return x != y ? x < y : fg_id_cmp(a->tenant, b->tenant) < 0;
}

static void sink(struct fg_fair_heap *h, size_t i)
{
    struct fg_fair item = h->heap.items[i];
    for (size_t child; (child = 2 * i + 1) < h->heap.count; i = child) {
        if (child + 1 < h->heap.count && fg_fair_before(&h->heap.items[child + 1], &h->heap.items[child]))
            child++;
        if (!fg_fair_before(&h->heap.items[child], &item))
            break;
        h->heap.items[i] = h->heap.items[child];
    }
    h->heap.items[i] = item;
}

void fg_fair_push(struct fg_fair_heap *h, const struct fg_fair *item)
{
    fg_vec_push(&h->heap, *item);
    size_t i = h->heap.count - 1;
    for (; i > 0 && fg_fair_before(item, &h->heap.items[(i - 1) / 2]); i = (i - 1) / 2)
        h->heap.items[i] = h->heap.items[(i - 1) / 2];
    h->heap.items[i] = *item;
}

struct fg_fair *fg_fair_first(const struct fg_fair_heap *h) { return h->heap.count ? h->heap.items : NULL; }

void fg_fair_charge(struct fg_fair_heap *h, uint64_t used_us)
{
    h->heap.items[0].used_us = fg_usage_add(h->heap.items[0].used_us, used_us);
    sink(h, 0);
}

void fg_fair_pop(struct fg_fair_heap *h)
{
    h->heap.items[0] = h->heap.items[--h->heap.count];
    if (h->heap.count)
        sink(h, 0);
}

/* The k-th of other's tasks (from 0) goes when it has used used + k x each; it is before mine while that is less for its
 * weight, or the same and its tenant comes first. */
uint64_t fg_fair_ahead(const struct fg_fair *mine, const struct fg_fair *other, uint64_t count, uint64_t each_us)
{
    if (!fg_fair_before(other, mine))
        return 0;
    if (each_us == 0)
        return count;
    unsigned __int128 level = (unsigned __int128)mine->used_us * FG_MAX(other->weight, 1u) / FG_MAX(mine->weight, 1u);
    if (level < other->used_us)
        return 1;
    unsigned __int128 ahead = (level - other->used_us) / each_us + 1;
    return ahead > count ? count : (uint64_t)ahead;
}
