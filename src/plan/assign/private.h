/* private.h - what the files of the assignment solver share.
 *
 * "Nobody" is one more agent of one more kind, with need 0, endless room and the price nobody_cost: then an
 * unassigned task is an assigned one, and no code below has a special case for it. It has the last index of both. */
#pragma once
#include "base/mem.h"
#include "plan/assign.h"

#define RMAX FG_ASSIGN_RESOURCES_MAX

/* One way to place a task of some class: a kind, what it costs and needs there. */
struct option {
    int64_t cost;
    int64_t need[RMAX];
    uint32_t kind;
    float reduced;                  /* cost + price x need, less the least of the class: what this choice costs above the bound */
};

struct work {
    const struct fg_assign_problem *p;
    const struct fg_assign_options *o;
    uint32_t agents, kinds;         /* nobody included */
    uint32_t tasks, classes, resources;
    uint32_t *kind_of, *class_of;   /* by agent, by task */
    uint32_t *kind_first, *kind_agents; /* the agents of kind k are kind_agents[kind_first[k] .. kind_first[k + 1]] */
    uint32_t *class_count;
    int64_t *capacity;              /* [agents][resources] */
    int64_t *kind_capacity;         /* [kinds][resources], sum */
    int64_t *kind_largest;          /* [kinds][resources], of one agent */
    int64_t *nobody;                /* [classes] */
    int64_t cost_most, cost_span;   /* largest |cost| of the table; largest less least */
    struct dual *dual;              /* between fg_assign_prices and fg_assign_bound */
    double *price;                  /* [kinds][resources], the best found; >= 0 */
    int64_t bound;                  /* certified */
    int64_t good_enough;            /* a cost to stop at */
    struct option *options;         /* of class c: options[option_first[c] .. option_first[c + 1]], cheapest reduced first */
    uint32_t *option_first;
    double unit;                    /* what not having one's first choice costs on average: the scale of temperatures */
    int64_t deadline_ns;            /* INT64_MAX: none */
    uint64_t random[2];

    uint32_t *best;                 /* agent by task */
    int64_t best_cost;
    bool have_best;
    uint64_t iterations;
    bool wide;                      /* prices, bound and options came from fg_assign_wide */
    int64_t began_ns, bound_ns, start_ns;
};

static inline int64_t cell_cost(const struct work *w, uint32_t class, uint32_t kind)
{
    return kind + 1 == w->kinds ? w->nobody[class] : w->p->cost[(size_t)class * (w->kinds - 1) + kind];
}
static inline int64_t cell_need(const struct work *w, uint32_t class, uint32_t kind, uint32_t r)
{
    return kind + 1 == w->kinds ? 0 : w->p->need[((size_t)class * (w->kinds - 1) + kind) * w->resources + r];
}
/* Whether some agent of the kind, empty, could hold a task of the class. */
static inline bool cell_open(const struct work *w, uint32_t class, uint32_t kind)
{
    if (cell_cost(w, class, kind) == FG_ASSIGN_NEVER || w->kind_first[kind + 1] == w->kind_first[kind])
        return false;
    for (uint32_t r = 0; r < w->resources; r++)
        if (cell_need(w, class, kind, r) > w->kind_largest[kind * w->resources + r])
            return false;
    return true;
}

/* xoroshiro128+ (Blackman, Vigna): fast, and the same on every machine. */
static inline uint64_t random_next(uint64_t s[2])
{
    uint64_t a = s[0], b = s[1], sum = a + b;
    b ^= a;
    s[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    s[1] = b << 37 | b >> 27;
    return sum;
}
/* A loop that is compiled for AVX2, too, and chosen when the program is loaded. Not a figure changes: no FMA, no sums in another order. */
#if defined(__x86_64__)
#define WORK_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define WORK_CLONES
#endif

/* 0..n-1 of 32 random bits */
static inline uint32_t random_scale(uint32_t bits, uint32_t n) { return (uint32_t)((uint64_t)bits * n >> 32); }

/* e^-x for x >= 0 to about 1e-3: weights, which only steer. No floorf, which is a call where the processor is not named. */
static inline float exp_minus(float x)
{
    union { float f; int32_t i; } v;
    float y = x * -1.442695f;
    y = y < -120 ? -120 : y;
    int32_t whole = (int32_t)y - 1;
    float f = y - (float)whole;
    v.i = (whole + 127) << 23;
    return v.f * (1 + f * (0.6951786f + f * (0.2276112f + f * 0.0772102f)));
}

/* What the table's costs are, least and largest (INT64_MAX and INT64_MIN where none is allowed): nobody's price by default. */
void work_costs(struct work *w, int64_t low, int64_t high);
int64_t work_now(const struct work *w);
/* Time is up, interrupted, iterations spent, or the gap asked for is reached. */
bool work_done(const struct work *w);
/* Keep agent[] as the best if it is cheaper. The caller vouches that it is valid. */
void work_offer(struct work *w, const uint32_t *agent, int64_t cost);

void fg_assign_prices(struct work *w);                    /* sets price, roughly, for a first assignment */
void fg_assign_bound(struct work *w);                     /* sets price and bound; after fg_assign_prices */
void fg_assign_options_of_lists(struct work *w);          /* after fg_assign_prices, before fg_assign_bound */
void fg_assign_options_make(struct work *w, uint32_t most); /* sets options from price */
void fg_assign_search(struct work *w);
void fg_assign_groups(struct work *w);                    /* makes best keep the groups */
void fg_assign_exact(struct work *w);                     /* if small: searches all; at the end bound = best_cost */
/* All but the tables of costs and needs: fg_assign_check is this and those. */
int fg_assign_check_head(const struct fg_assign_problem *p, struct fg_error *err);
/* One resource and more than `most` cells (0: millions). */
bool fg_assign_is_wide(const struct fg_assign_problem *p, uint64_t most);
/* For such a table: check it, find prices, options, a first assignment and the bound. False: a cell is not plain, nothing was done. */
bool fg_assign_wide(struct work *w);
