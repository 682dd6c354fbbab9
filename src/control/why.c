/* why.c - what a task would be given, and why it is not given it now. Reads only. */
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "control/core_private.h"

enum fg_class core_classify(const struct fg_core *core, const struct fg_spec *spec, enum fg_class_rule *ret_rule)
{
    struct fg_estimate estimate;
    const struct device *d = core_largest(core, spec->need.device_kind);
    fg_estimate(core->history, spec, d ? d->d.kind : spec->need.device_kind,
                spec->need.share_permille ? spec->need.share_permille : 1000, &estimate);
    return fg_classify(spec, estimate.samples ? estimate.p50_ns : 0, core_largest_memory(core, ""), ret_rule);
}

/* The planner's scratch and the cached need are no part of the state that a reader could see change. */
static struct fg_core *scratch(const struct fg_core *core) { return (struct fg_core *)core; }

static struct fg_snapshot snapshot(const struct fg_core *core, const struct fg_plan_task *task, bool empty)
{
    core_plan_devices(scratch(core), empty);
    return (struct fg_snapshot){.tasks = task, .task_count = 1, .devices = core->plan_devices.items,
                                .device_count = core->plan_devices.count, .history = core->history};
}

size_t fg_core_why(const struct fg_core *core, fg_id task, int64_t now_ns, struct fg_block *blocks, size_t max)
{
    struct entry *e = table_find(core, task);
    size_t n = 0;
    if (!e || e->t.state != FG_STATE_QUEUED || max == 0)
        return 0;
    if (e->t.held) {
        blocks[n] = (struct fg_block){.task = task, .reason = FG_REASON_HELD};
        snprintf(blocks[n++].text, sizeof blocks->text, "its owner holds it");
    }
    size_t devices = 0, told = n;
    n += core_tell_devices(scratch(core), e, now_ns, blocks + n, max - n);
    for (size_t i = 0; i < core->devices.count; i++)
        devices += core->devices.items[i].d.id != 0;
    if (e->line && !line_ready(e->line) && n < max) {
        blocks[n] = (struct fg_block){.task = task, .reason = FG_REASON_WAITING_DEPENDENCY};
        snprintf(blocks[n++].text, sizeof blocks->text, "%zu of the %u of its gang wait here; they start together or not at all",
                 line_size(e->line), e->t.spec.array_size);
    }
    size_t place = queue_place(core, e, now_ns);
    if (n - told < devices && place > 1 && n < max) {
        blocks[n] = (struct fg_block){.task = task, .reason = FG_REASON_WAITING_PRIORITY};
        snprintf(blocks[n++].text, sizeof blocks->text, "%zu tasks before it in the queue are served first", place - 1);
    }
    return n;
}

static int never_fits(const struct fg_core *core, const struct fg_need *need, struct fg_error *err)
{
    char asked[32], there[32];
    const struct device *d = core_largest(core, need->device_kind);
    if (!d) {
        fg_fail(err, FG_E_INVALID, "there is no device of kind '%s'", need->device_kind);
        fg_fail_at(err, "/resources/device_kind");
        return fg_fail_hint(err, "fgpu devices lists the kinds there are.");
    }
    uint64_t memory = core_memory_for_tasks(core, d);
    fg_fail(err, FG_E_INVALID, "it needs %s of memory; the largest device%s%s has %s",
            fg_format_bytes(asked, sizeof asked, need->memory_bytes), need->device_kind[0] ? " of kind " : "",
            need->device_kind, fg_format_bytes(there, sizeof there, memory));
    fg_fail_at(err, "/resources/memory");
    return fg_fail_hint(err, "Ask for at most %llu bytes.", (unsigned long long)memory);
}

static bool could_fit(const struct fg_core *core, const struct fg_need *need)
{
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        if (d->d.id && core_memory_for_tasks(core, d) >= need->memory_bytes &&
            (!need->device_kind[0] || strcmp(need->device_kind, d->d.kind) == 0))
            return true;
    }
    return false;
}

/* How many such tasks could run at once if all devices were empty, at most enough. */
static size_t places_for(const struct fg_core *core, const struct fg_need *need, size_t enough)
{
    size_t n = 0;
    for (size_t i = 0; i < core->devices.count && n < enough; i++) {
        const struct device *d = &core->devices.items[i];
        if (!d->d.id || (need->device_kind[0] && strcmp(need->device_kind, d->d.kind) != 0))
            continue;
        uint64_t by_memory = need->memory_bytes ? core_memory_for_tasks(core, d) / need->memory_bytes : enough;
        n += (size_t)FG_MIN(by_memory, need->share_permille ? 1000 / need->share_permille : enough);
    }
    return FG_MIN(n, enough);
}

/* A gang starts whole, so one that is larger than all devices together would wait for ever. */
static int check_gang(const struct fg_core *core, const struct fg_spec *spec, const struct fg_need *need, struct fg_error *err)
{
    char memory[32];
    size_t fit = spec->gang ? places_for(core, need, spec->array_size) : spec->array_size;
    if (fit >= spec->array_size)
        return 0;
    fg_fail(err, FG_E_INVALID, "the gang's %u tasks start together or not at all, but only %zu of them with %s and %g %% of a device fit on all devices "
            "at once", spec->array_size, fit, fg_format_bytes(memory, sizeof memory, need->memory_bytes), need->share_permille / 10.0);
    fg_fail_at(err, "/gang");
    return fg_fail_hint(err, "Ask for less share or memory for each, for fewer tasks, or submit them as an array without gang.");
}

/* Where it would go: as things are now, or, when nothing is free, on empty devices. */
static fg_device_id best_device(const struct fg_core *core, const struct fg_plan_task *task, struct fg_error *err)
{
    fg_device_id best = 0;
    for (int empty = 0; empty <= 1 && !best; empty++) {
        struct fg_snapshot snap = snapshot(core, task, empty);
        struct fg_plan plan = {0};
        if (fg_place(&snap, &plan, err) < 0)
            return 0;
        if (plan.placements.count)
            best = plan.placements.items[0].device;
        fg_plan_fini(&plan);
    }
    return best;
}

int fg_core_quote(const struct fg_core *core, const struct fg_spec *spec, struct fg_quote *ret, struct fg_error *err)
{
    struct fg_quote q = {0};
    uint64_t largest = core_largest_memory(core, spec->need.device_kind);
    q.class = core_classify(core, spec, &q.class_rule);
    fg_propose_need(core->history, spec, q.class, &q.need);
    if (!spec->need.memory_bytes && largest)
        q.need.memory_bytes = FG_MIN(q.need.memory_bytes, largest);
    if (core_check_deadline(scratch(core), FG_ID_NONE, spec, &q.need, spec->array_size, 0, err) < 0)
        return -1;
    bool any = core->devices.count > 0;
    if (any && !could_fit(core, &q.need))
        return never_fits(core, &q.need, err);
    if (any && check_gang(core, spec, &q.need, err) != 0)
        return -1;
    struct fg_plan_task task = {.id = {0, 1}, .spec = spec, .need = q.need};
    if (any && !(q.device = best_device(core, &task, err)))
        return fg_fail(err, FG_E_INTERNAL, "no plan for a task that fits");
    const struct device *d = core_device(core, q.device);
    fg_estimate(core->history, spec, d ? d->d.kind : spec->need.device_kind, q.need.share_permille, &q.estimate);
    for (size_t i = 0; d && i < core->plan_devices.count; i++)
        if (core->plan_devices.items[i].id == q.device) {
            q.cost_p50_nanousd = fg_expected_cost_of(&core->plan_devices.items[i], &task, q.estimate.p50_ns);
            q.cost_p95_nanousd = fg_expected_cost_of(&core->plan_devices.items[i], &task, q.estimate.p95_ns);
        }
    *ret = q;
    return 0;
}
