/* queue_fix.h - tasks by share and run limit, for the tests of the queue. */
#pragma once
#include "core_fix.h"

static const fg_id other_tenant = {7, 8};

static inline fg_id submit_of(struct fix *f, fg_id of, struct fg_spec spec)
{
    fg_id id = {1000, ++f->ids};
    assert_ok(fix_in(f, (struct fg_input){.kind = FG_IN_SUBMIT, .task = id, .submit = {of, &spec, NULL}}), f->err);
    return id;
}

static inline struct fg_spec slice(uint32_t permille, int64_t run_s)
{
    struct fg_spec spec = fix_spec();
    spec.need.share_permille = permille;
    spec.limits.run_ns = run_s * S;
    return spec;
}

static inline enum fg_state state_of(const struct fix *f, fg_id id) { return fix_task(f, id)->state; }

/* It reached its run limit: that teaches the estimates nothing, so the prior stays what it was. */
static inline void end_task(struct fix *f, fg_id id) { fix_finished(f, id, FG_STATE_FAILED, FG_REASON_TIME_LIMIT, 0); }
