/* place.h - choose a device share for each waiting task, at least total cost.
 * Pure: reads the snapshot, writes the plan. No I/O, no clock, no log. Any thread (one history per call).
 *
 *     minimise sum Cost_i x Time_i      Cost_i = price/s of the device x max(memory share, compute share)
 *                                       Time_i = expected run time on that device kind at that share
 *
 * This first planner goes through the tasks in the order of the snapshot and gives each the cheapest device that
 * has room (rules below). The seam is what stays: snapshot in; placements, reasons, cost and bound out. */
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
    FG_RULE_INDEX                        /* 5 equal so far: the lowest device id */
};
const char *fg_rule_text(enum fg_rule rule);

struct fg_plan_device {
    fg_device_id id;
    const char *kind;                    /* borrowed */
    uint64_t memory_bytes, memory_free_bytes;
    uint32_t share_free_permille;
    int64_t price_nanousd_per_s;
    bool usable;                         /* healthy and its node connected */
};
struct fg_plan_task {
    fg_id id;
    const struct fg_spec *spec;          /* borrowed */
    struct fg_need need;                 /* complete: proposals filled in */
};
struct fg_snapshot {
    const struct fg_plan_task *tasks;    /* in the order they should be served */
    size_t task_count;
    const struct fg_plan_device *devices;
    size_t device_count;
    const struct fg_history *history;
    uint64_t seed;
};
struct fg_placement {
    fg_id task;
    fg_device_id device;
    uint32_t share_permille;             /* of the device's compute, 1..1000 */
    uint64_t memory_bytes;
    struct fg_placed placed;             /* rule, expected time and cost */
};
/* Why one task did not get one device. */
struct fg_block {
    fg_id task;
    fg_device_id device;                 /* 0: concerns no device (there is none at all) */
    enum fg_reason reason;               /* waiting_capacity, waiting_priority, invalid */
    uint64_t memory_missing_bytes;
    uint32_t share_missing_permille;
    char text[160];
};
struct fg_plan {
    FG_VEC(struct fg_placement) placements;
    FG_VEC(struct fg_id_reason { fg_id task; enum fg_reason reason; }) waiting; /* every task not placed, in order */
    int64_t cost_nanousd;                /* expected, of the placements */
    int64_t bound_nanousd;               /* no plan for the placed tasks costs less */
};
/* Fill *ret_plan for the tasks in snap, best first. Unplaceable tasks are listed with
 * their reasons: that is not an error. ret_plan is the caller's; free with fg_plan_fini().
 * Returns 0, or -1 with *err set; then *ret_plan is untouched. */
int fg_place(const struct fg_snapshot *snap, struct fg_plan *ret_plan, struct fg_error *err);
void fg_plan_fini(struct fg_plan *plan);
/* Explain one task against every device of snap as it stands: one block per device that cannot take it now (invalid
 * where it never can: wrong kind, or more than the whole device). Returns how many were written, at most max. */
size_t fg_explain(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_block *blocks, size_t max);
/* Cost of a slice over time: the one formula, for plan and quote. */
int64_t fg_expected_cost(const struct fg_plan_device *device, const struct fg_need *need, int64_t time_ns);
