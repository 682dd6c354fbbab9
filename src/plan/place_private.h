/* place_private.h - a planning round: what place.c, choose.c and improve.c share. */
#pragma once
#include "plan/place.h"

struct fit { uint32_t device, used_permille; };  /* how full it was when it was listed */

struct group {                           /* tasks that ask the same */
    const struct fg_plan_task *task;     /* the first of it */
    uint32_t hash;
    bool blocked, priced, judged;
    enum fg_reason reason;               /* of its tasks that are not placed */
    size_t offers;                       /* where its offers begin, one per model, once priced */
    int64_t least_cost;                  /* over all devices that could ever hold it */
    FG_VEC(struct fit) fits;             /* devices that had room when last asked: room shrinks, so no others have */
    uint32_t fits_version;
    bool heaped;                         /* fits is a heap by the rules, the best first */
    size_t seen;                         /* of round.done: the devices of those after it have changed since */
};
struct offer { int64_t cost, time_ns, p95_ns; };  /* cost -1: no device of the model can hold it */
struct room {
    uint64_t memory_bytes;
    uint32_t share_permille, used_permille;
    uint32_t reservation;                /* index + 1 of the reservation that holds it; 0: none */
    uint64_t spare_memory_bytes;         /* what others than the head may take beyond its start */
    uint32_t spare_share_permille;
};
struct model { size_t first; bool usable; };     /* a device of it; whether any is usable */
struct done {
    size_t task, device;                 /* indices */
    uint32_t group;
    bool on_spare, pinned;               /* pinned: its place depends on more than cost */
    struct room before;                  /* of the device */
};

struct round {
    const struct fg_snapshot *snap;
    struct room *rooms;                  /* what is left, by device index */
    uint32_t *models;                    /* by device index: devices of one kind, size and price cost the same */
    FG_VEC(struct model) all_models;
    FG_VEC(size_t) held;                 /* devices that are reserved */
    uint32_t rooms_version;              /* grows when a room did not only shrink */
    FG_VEC(struct group) groups;
    FG_VEC(struct offer) offers;
    FG_VEC(struct done) done;            /* of each placement */
    uint32_t *slots;                     /* group index + 1, 0 empty; a power of two, more than twice the tasks */
    size_t slot_count;
    struct fg_plan plan;
};

static inline const struct offer *offer_of(const struct round *r, const struct group *g, size_t device)
{
    return &r->offers.items[g->offers + r->models[device]];
}
struct choice { size_t best, second, third; enum fg_rule rule; };  /* device indices; SIZE_MAX: none */

/* choose.c */
struct choice round_choose(struct round *r, struct group *g, const struct fg_plan_task *t);
fg_id round_group_of(const struct fg_plan_task *t);                 /* in whose name a reservation for it is */
/* place.c: list the devices with room for the group anew */
void round_judge(struct round *r, struct group *g);
uint32_t round_used_permille(const struct fg_plan_device *d, const struct room *room);

/* improve.c: the same tasks, cheaper. Leaves the plan alone where nothing is to be gained; then plan.bound is the better
 * one of both that are known. True: rooms have changed, and what found none may fit now. */
bool round_improve(struct round *r);
