/* core_fix.h - a core with one or two machines around it, its effects gathered, and short ways to feed it.
 * Times: lease 100 s, margin 10 s. Price: 1,000,000 nanousd per second of any whole device. */
#pragma once
#include "base/units.h"
#include "control/core.h"
#include "unit.h"

#define S FG_NS_PER_S
#define GB (UINT64_C(1) << 30)
#define LEASE (100 * S)
#define MARGIN (10 * S)

struct fix {
    struct fg_core *core;
    struct fg_effects fx;
    int64_t now;
    uint64_t ids;
    struct fg_error err;
    struct fg_device devices[4];
    size_t device_count;
};
static const fg_id tenant = {7, 7}, node_a = {1, 1}, node_b = {1, 2};

static inline struct fg_core *fix_core(size_t window)
{
    static const struct fg_price price = {"", 1000000};
    return fg_core_create(&(struct fg_core_config){.lease_ns = LEASE, .lease_margin_ns = MARGIN, .window = window,
                                                   .prices = &price, .price_count = 1,
                                                   .half_life_ns = 86400 * S, .improve_iterations = 20000});
}

static inline struct fg_device fix_device(const char *name, const char *kind, uint64_t memory)
{
    struct fg_device d = {.memory_bytes = memory, .units = 4, .healthy = true, .memory_level = FG_LEVEL_KERNEL};
    snprintf(d.name, sizeof d.name, "%s", name);
    snprintf(d.kind, sizeof d.kind, "%s", kind);
    snprintf(d.backend, sizeof d.backend, "cpu");
    return d;
}

/* No machine yet; fix_hello brings one with one device of 16 GB. */
static inline struct fix fix_new(void)
{
    struct fix f = {.core = fix_core(1000), .now = 1000 * S, .device_count = 1};
    f.devices[0] = fix_device("dev0", "cpu", 16 * GB);
    return f;
}
static inline void fix_end(struct fix *f)
{
    fg_core_verify(f->core);
    fg_effects_fini(&f->fx);
    fg_core_destroy(f->core);
}
static inline void fix_clear(struct fix *f) { fg_effects_clear(&f->fx); }

static inline int fix_in(struct fix *f, struct fg_input in)
{
    int rc = fg_core_handle(f->core, &in, f->now, &f->fx, &f->err);
    fg_core_verify(f->core);
    return rc;
}
static inline void fix_dispatch(struct fix *f)
{
    assert_ok(fg_core_dispatch(f->core, f->now, &f->fx, &f->err), f->err);
    fg_core_verify(f->core);
}
static inline void fix_hello_with(struct fix *f, fg_id id, const char *boot, const struct fg_attempt_at_node *has, size_t n)
{
    struct fg_node node = {.id = id};
    snprintf(node.name, sizeof node.name, "machine-%d", (int)id.lo);
    snprintf(node.boot_id, sizeof node.boot_id, "%s", boot);
    assert_ok(fix_in(f, (struct fg_input){.kind = FG_IN_NODE_HELLO, .hello = {.node = &node, .devices = f->devices,
              .device_count = f->device_count, .attempts = has, .attempt_count = n}}), f->err);
}
static inline void fix_hello(struct fix *f) { fix_hello_with(f, node_a, "boot", NULL, 0); }
static inline void fix_gone(struct fix *f) { fix_in(f, (struct fg_input){.kind = FG_IN_NODE_GONE, .node = {node_a}}); }
static inline void fix_alive(struct fix *f) { fix_in(f, (struct fg_input){.kind = FG_IN_NODE_ALIVE, .node = {node_a}}); }
static inline void fix_tick(struct fix *f) { assert_ok(fix_in(f, (struct fg_input){.kind = FG_IN_TICK}), f->err); }

/* 1 GB, half the device, no retries, unless changed. */
static inline struct fg_spec fix_spec(void)
{
    struct fg_spec spec;
    fg_spec_defaults(&spec);
    spec.need.memory_bytes = GB;
    spec.need.share_permille = 500;
    spec.json = (char *)"{\"command\":[\"true\"],\"task_type\":\"command\"}";
    spec.program = (char *)"true";
    return spec;
}
static inline int fix_submit_key(struct fix *f, struct fg_spec spec, const char *key, fg_id *ret)
{
    *ret = (fg_id){1000, ++f->ids};
    return fix_in(f, (struct fg_input){.kind = FG_IN_SUBMIT, .task = *ret, .submit = {tenant, &spec, key}});
}
static inline fg_id fix_submit(struct fix *f, struct fg_spec spec)
{
    fg_id id;
    assert_ok(fix_submit_key(f, spec, NULL, &id), f->err);
    return id;
}
static inline int fix_ask(struct fix *f, enum fg_input_kind kind, fg_id task)
{
    return fix_in(f, (struct fg_input){.kind = kind, .task = task});
}

static inline const struct fg_task *fix_task(const struct fix *f, fg_id id)
{
    const struct fg_task *t = fg_core_task(f->core, id);
    assert_non_null(t);
    return t;
}

/* The report of the attempt that the task has now. */
static inline struct fg_input fix_report_of(const struct fix *f, fg_id id, enum fg_report_kind kind)
{
    const struct fg_task *t = fix_task(f, id);
    return (struct fg_input){.kind = FG_IN_REPORT, .task = id, .report = {.node = t->lease.node, .attempt = t->attempt,
                             .epoch = t->lease.epoch, .kind = kind}};
}
static inline void fix_started(struct fix *f, fg_id id) { assert_ok(fix_in(f, fix_report_of(f, id, FG_REPORT_STARTED)), f->err); }
static inline void fix_used(struct fix *f, fg_id id, uint32_t seq, int64_t wall_ns)
{
    struct fg_input in = fix_report_of(f, id, FG_REPORT_USAGE);
    in.report.usage = (struct fg_usage){.seq = seq, .wall_ns = wall_ns};
    assert_ok(fix_in(f, in), f->err);
}
static inline void fix_finished(struct fix *f, fg_id id, enum fg_state state, enum fg_reason reason, int64_t run_ns)
{
    struct fg_outcome o = {.state = state, .reason = reason, .run_ns = run_ns};
    struct fg_input in = fix_report_of(f, id, FG_REPORT_FINISHED);
    in.report.outcome = &o;
    assert_ok(fix_in(f, in), f->err);
}
/* Submitted, placed and running on a machine that is there. */
static inline fg_id fix_running(struct fix *f, struct fg_spec spec)
{
    fg_id id = fix_submit(f, spec);
    fix_dispatch(f);
    assert_int_equal(fix_task(f, id)->state, FG_STATE_STARTING);
    fix_started(f, id);
    fix_clear(f);
    return id;
}

static inline size_t fix_events(const struct fix *f, enum fg_event_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < f->fx.events.count; i++)
        n += f->fx.events.items[i].kind == kind;
    return n;
}
static inline size_t fix_actions(const struct fix *f, enum fg_action_kind kind, fg_id task)
{
    size_t n = 0;
    for (size_t i = 0; i < f->fx.actions.count; i++)
        n += f->fx.actions.items[i].kind == kind && fg_id_eq(f->fx.actions.items[i].task, task);
    return n;
}
/* The kinds of all events so far, in order: "task.submitted task.queued ". */
static inline const char *fix_story(const struct fix *f)
{
    static char text[2000];
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; i < f->fx.events.count && n < sizeof text - 40; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "", fg_event_name(f->fx.events.items[i].kind));
    return text;
}
