/* place_private.h - a planning round: what place.c and improve.c share. */
#pragma once
#include "plan/place.h"

struct group {                           /* tasks that ask the same */
    const struct fg_plan_task *task;     /* the first of it */
    uint32_t hash;
    bool blocked, priced;
    enum fg_reason reason;               /* of its tasks that are not placed */
    size_t offers;                       /* where its offers begin, one per device, once priced */
    int64_t least_cost;                  /* over all devices that could ever hold it */
};
struct offer { int64_t cost, time_ns, p95_ns; };  /* cost -1: the device can never hold it */
struct room {
    uint64_t memory_bytes;
    uint32_t share_permille, used_permille;
    uint32_t reservation;                /* index + 1 of the reservation that holds it; 0: none */
    uint64_t spare_memory_bytes;         /* what others than the head may take beyond its start */
    uint32_t spare_share_permille;
};
struct times { int64_t mean_ns, p95_ns; };
struct done {
    size_t task, device;                 /* indices */
    uint32_t group;
    bool on_spare, pinned;               /* pinned: its place depends on more than cost */
    struct room before;                  /* of the device */
};

struct round {
    const struct fg_snapshot *snap;
    struct room *rooms;                  /* what is left, by device index */
    size_t *kinds;                       /* the first device of the same kind, by device index */
    struct times *times;                 /* of the group being priced, by first device of a kind; mean 0: not asked yet */
    FG_VEC(struct group) groups;
    FG_VEC(struct offer) offers;
    FG_VEC(struct done) done;            /* of each placement */
    uint32_t *slots;                     /* group index + 1, 0 empty; a power of two, more than twice the tasks */
    size_t slot_count;
    struct fg_plan plan;
};

static inline const struct offer *offer_of(const struct round *r, const struct group *g, size_t device)
{
    return &r->offers.items[g->offers + device];
}
uint32_t round_used_permille(const struct fg_plan_device *d, const struct room *room);

/* improve.c: the same tasks, cheaper. Leaves the plan alone where nothing is to be gained; then plan.bound is the better
 * one of both that are known. True: rooms have changed, and what found none may fit now. */
bool round_improve(struct round *r);
