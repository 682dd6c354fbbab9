/* place.h - choose a device share for each waiting task, at least total cost.
 * Pure: reads the snapshot, writes the plan. No I/O, no clock, no log. Any thread (one history per call).
 *
 *     minimise sum Cost_i x Time_i      Cost_i = price/s of the device x max(memory share, compute share)
 *                                       Time_i = expected run time on that device kind at that share
 *
 * Of devices that cost it the same it takes the one that others need least, of what has been asked for of late (market.h).
 *
 * The planner goes through the tasks in the order of the snapshot and gives each the cheapest device that has room
 * (rules below). The first that finds none is the head of the line: it is given a reservation (reserve.h), and what comes
 * after it may start only where that does not delay it. When not every task got its cheapest device, the solver
 * (assign.h) then looks for a cheaper way to place the same tasks, and more may fit. */
#pragma once
#include "base/vec.h"
#include "model/device.h"
#include "model/price.h"
#include "plan/estimate.h"

enum fg_rule {
    FG_RULE_ONLY_FIT = 1,                /* 1 the only device with room */
    FG_RULE_LEAST_COST,                  /* 2 least expected cost of those with room */
    FG_RULE_FINISH_FIRST,                /* 3 equal cost: the earlier expected end */
    FG_RULE_PACK,                        /* 4 equal so far: the fullest device that still has room */
    FG_RULE_INDEX,                       /* 5 equal so far: the lowest device id */
    FG_RULE_DEADLINE,                    /* 6 before these: a cheaper device would miss its deadline */
    FG_RULE_WHOLE_PLAN,                  /* 7 after these: the solver, since all tasks of the plan together cost less so */
    FG_RULE_VALUE                        /* 8 after 3: of kinds that cost it the same the one that others need least (market.h) */
};
const char *fg_rule_text(enum fg_rule rule);

struct fg_plan_device {
    fg_device_id id;
    const char *kind;                    /* borrowed */
    uint64_t memory_bytes, memory_free_bytes;
    uint32_t share_free_permille;
    int64_t price_nanousd_per_s;
    int64_t spot_nanousd_per_s;          /* for spot tasks; 0: as price */
    bool usable;                         /* healthy and its node connected */
    /* The processor of its machine, of which tasks may hold a part beside the device; for devices that stand alone all 0. */
    uint32_t machine;                    /* the same number for all devices of a machine, from 1 */
    fg_device_id host;                   /* that processor; 0: none is known */
    bool is_host;                        /* it is that itself */
    uint32_t cores;                      /* 0: no processor of the machine is known */
    const char *host_kind;               /* borrowed; NULL: none */
    uint64_t host_memory_bytes, host_free_bytes;
    uint32_t host_free_milli;            /* thousandths of a core; of a processor exactly what share_free_permille rounds down */
    int64_t host_price_nanousd_per_s, host_spot_nanousd_per_s;
};
/* What a need comes to on one device. */
struct fg_ask { uint64_t memory_bytes, host_bytes; uint32_t share_permille, host_milli; };
struct fg_plan_task {
    fg_id id;
    const struct fg_spec *spec;          /* borrowed */
    struct fg_need need;                 /* complete: proposals filled in */
    int64_t deadline_ns;                 /* absolute; 0: none */
    fg_id group;                         /* what a reservation is in the name of: its gang, or NONE for the task itself */
    uint32_t together;                   /* it and those after it, so many in all, are placed together or not at all; 0 is 1 */
    int rank;                            /* who may use what is held for whom: a higher one always; spot 0, low 1, ... */
    bool blocked;                        /* it is known that nothing is free for it */
    bool no_reserve;                     /* it was tried: nothing that is known would make room for it */
};
/* What is held for the head of the line on one device, and what others may hold there beyond its start. */
struct fg_reserved {
    fg_device_id device;
    uint32_t tasks;                      /* of its gang */
    uint64_t spare_memory_bytes;
    uint32_t spare_share_permille;
    bool beside;                         /* the processor of their machine, on which a part beside their devices is held */
};
#define FG_RESERVATIONS_MAX 8u
struct fg_reservation {
    fg_id group;                         /* the task or gang */
    int rank;                            /* of the task */
    int64_t start_ns;                    /* when it should start; another task may be there until then */
    int64_t latest_ns;                   /* when it starts at the latest, by the run limits of what is there */
    struct fg_reserved *parts;           /* owned by who owns the reservation */
    size_t count;
};
struct fg_rooms;
struct fg_demand;
struct fg_snapshot {
    const struct fg_plan_task *tasks;    /* in the order they should be served */
    size_t task_count;
    const struct fg_plan_device *devices;
    size_t device_count;
    struct fg_rooms *rooms;              /* optional, rooms.h: the same devices, kept from round to round; the plan is as without */
    const struct fg_history *history;
    const struct fg_demand *demand;      /* optional, market.h: what tasks ask for; without it all kinds are worth the same */
    int64_t now_ns;
    const struct fg_reservation *reservations;
    size_t reservation_count;
    bool reserve;                        /* stop at a head of the line that has no reservation: plan.head */
    uint64_t seed;
    uint64_t improve_iterations;         /* moves the solver may try; 0: greedy alone */
};
struct fg_placement {
    fg_id task;
    fg_device_id device;
    uint32_t share_permille;             /* of the device's compute, 1..1000 */
    uint64_t memory_bytes;
    uint32_t cpus_milli;                 /* beside the device, on the processor of its machine */
    uint64_t host_bytes;
    struct fg_placed placed;             /* rule, expected time and cost */
};
/* Why one task did not get one device. */
struct fg_block {
    fg_id task;
    fg_device_id device;                 /* 0: concerns no device (there is none at all) */
    enum fg_reason reason;               /* waiting_capacity, waiting_priority, invalid */
    uint64_t memory_missing_bytes;
    uint32_t share_missing_permille;
    uint64_t host_missing_bytes;         /* beside it */
    uint32_t cpus_missing_milli;
    int64_t free_ns;                     /* when it is expected to be gone; 0: not known */
    char text[200];
};
struct fg_plan {
    FG_VEC(struct fg_placement) placements;
    FG_VEC(struct fg_id_reason { fg_id task; enum fg_reason reason; }) waiting; /* every task not placed, in order */
    size_t head;                         /* index of the task that should get a reservation before the rest; SIZE_MAX: none */
    int64_t cost_nanousd;                /* expected, of the placements */
    int64_t bound_nanousd;               /* no plan for the placed tasks costs less */
    uint64_t iterations;                 /* of the solver; 0: it was not asked */
};
/* Fill *ret_plan for the tasks in snap, best first. Unplaceable tasks are listed with
 * their reasons: that is not an error. Those after plan.head are in neither list. ret_plan is the caller's; free with fg_plan_fini().
 * With snap->rooms no device is looked at that has nothing to do with the plan, and what the placements hold is taken from them:
 * who does not carry them out sets those devices anew.
 * Returns 0, or -1 with *err set; then *ret_plan is untouched. */
int fg_place(const struct fg_snapshot *snap, struct fg_plan *ret_plan, struct fg_error *err);
void fg_plan_fini(struct fg_plan *plan);
/* Explain one task against every device of snap as it stands: one block per device that cannot take it now (invalid
 * where it never can: wrong kind, or more than the whole device). Returns how many were written, at most max. */
size_t fg_explain(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_block *blocks, size_t max);
/* Cost of a slice over time, spot or not: the one formula, for plan and quote. */
int64_t fg_expected_cost_of(const struct fg_plan_device *device, const struct fg_plan_task *task, int64_t time_ns);
/* Of a device that is its machine's processor a task holds the larger of its share, if it asked for one, and of its cores, and both memories. */
struct fg_ask fg_ask_of(const struct fg_plan_device *device, const struct fg_need *need);
static inline bool fg_asks_host(const struct fg_need *need) { return need->cpus_milli || need->host_bytes; }
/* Whether the ask fits in what is free. */
bool fg_has_room(const struct fg_plan_device *device, const struct fg_ask *ask);
/* Whether the device, empty and usable, could hold it. */
bool fg_could_hold(const struct fg_plan_device *device, const struct fg_need *need);
