/* place_private.h - a planning round: what place.c, choose.c and improve.c share. */
#pragma once
#include "plan/place.h"
#include "plan/rooms_private.h"

struct group {                           /* tasks that ask the same */
    const struct fg_plan_task *task;     /* the first of it */
    uint32_t hash;
    bool blocked, priced, judged;
    enum fg_reason reason;               /* of its tasks that are not placed */
    size_t offers;                       /* where its offers begin, one per model, once priced */
    size_t order, order_count;           /* where the models that could hold it are listed, by cost and then time */
    int64_t least_cost;                  /* over all devices that could ever hold it */
};
struct offer { int64_t cost, weighed, time_ns, p95_ns; };  /* cost -1: no device of the model can hold it; weighed: what it is compared by */
struct done {
    size_t task, device;                 /* indices */
    uint32_t group;
    bool pinned;                         /* its place depends on more than cost */
    bool on_spare, beside_spare;         /* taken of what a head of the line leaves of the device, and of its machine's processor */
    struct fg_ask ask;
};
struct taken { uint32_t model, share_permille; uint64_t memory_bytes; };

struct round {
    const struct fg_snapshot *snap;
    struct fg_rooms *rooms;              /* what is left, by device index; of the snapshot, or made for the round */
    FG_VEC(size_t) held;                 /* devices that are reserved: lifted out of the order of rooms */
    FG_VEC(struct taken) taken;          /* what was free where something was placed, but for what another entry has more of */
    FG_VEC(struct group) groups;
    FG_VEC(struct offer) offers;
    FG_VEC(uint32_t) orders;
    FG_VEC(struct done) done;            /* of each placement */
    uint32_t *slots;                     /* group index + 1, 0 empty; a power of two, more than twice the tasks */
    size_t slot_count;
    struct { uint32_t room, list; } ranked[16];  /* by the packer, for the task that is looked at: of a list the first is best */
    uint32_t ranked_count, ranked_lists;
    enum side { SIDE_ANY, SIDE_BESIDE, SIDE_ON } side;    /* of processors that are asked for: a gang that does not fit on both is tried on one */
    struct fg_plan plan;
};

static inline struct room *room_at(const struct round *r, size_t device) { return &r->rooms->rooms.items[device]; }

static inline const struct offer *offer_of(const struct round *r, const struct group *g, size_t device)
{
    return &r->offers.items[g->offers + room_at(r, device)->model];
}
struct choice { size_t best, second, third; enum fg_rule rule; };  /* device indices; SIZE_MAX: none */

/* choose.c */
struct choice round_choose(struct round *r, const struct group *g, const struct fg_plan_task *t);
fg_id round_group_of(const struct fg_plan_task *t);                 /* in whose name a reservation for it is */
bool round_has_room(const struct round *r, size_t device, const struct fg_need *need);
bool round_any_room(const struct round *r, const struct fg_need *need);      /* on one that is held too */

/* hold.c: what is held for heads of the line is lifted out of the order, and looked at one by one */
void round_hold(struct round *r);
void round_let_go(struct round *r);
int round_held_rank(const struct round *r, size_t device, const struct fg_need *need);  /* of whom it is held for; INT_MIN: nobody */
bool round_may_use(const struct round *r, size_t device, const struct fg_plan_task *t, const struct offer *offer);
void round_take_spare(struct round *r, const struct fg_plan_task *t, const struct offer *offer, struct done *done);
void round_give_spare(struct round *r, const struct done *done);

/* Whether a device may be used by a task that asks for a part of a processor: a processor itself, or those beside it. */
static inline bool round_on_side(const struct round *r, bool is_host, const struct fg_need *need)
{
    return r->side == SIDE_ANY || !fg_asks_host(need) || is_host == (r->side == SIDE_ON);
}

/* improve.c: the same tasks, cheaper. Leaves the plan alone where nothing is to be gained; then plan.bound is the better
 * one of both that are known. True: rooms have changed, and what found none may fit now. */
bool round_improve(struct round *r);
