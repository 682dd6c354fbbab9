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

static bool could_fit(const struct fg_core *core, const struct fg_need *need)
{
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        if (d->d.id && core_could_hold(core, d, need))
            return true;
    }
    return false;
}

/* A device would do, but no machine with one has so much beside it. */
static int no_machine(const struct fg_core *core, const struct fg_need *alone, struct fg_error *err)
{
    char memory[32];
    const struct device *most = NULL;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i], *host = d->d.id ? core_host_of(core, d) : NULL;
        if (host && core_could_hold(core, d, alone) && (!most || host->d.units > most->d.units))
            most = host;
    }
    if (most)
        fg_fail(err, FG_E_INVALID, "no machine has such a device and, beside it, the cores and memory of the host that are asked for; the largest "
                "has %u cores and %s", most->d.units, fg_format_bytes(memory, sizeof memory, core_memory_for_tasks(core, most)));
    else
        fg_fail(err, FG_E_INVALID, "cores or memory are asked for beside the device, and no machine with such a device has its processor as a device");
    fg_fail_at(err, "/resources/cpus");
    return fg_fail_hint(err, "Ask for less in resources.cpus and resources.host_memory.");
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
    struct fg_need alone = *need;
    alone.cpus_milli = 0;
    alone.host_bytes = 0;
    if (fg_asks_host(need) && could_fit(core, &alone))
        return no_machine(core, &alone, err);
    uint64_t memory = core_memory_for_tasks(core, d);
    fg_fail(err, FG_E_INVALID, "it needs %s of memory; the largest device%s%s has %s",
            fg_format_bytes(asked, sizeof asked, need->memory_bytes), need->device_kind[0] ? " of kind " : "",
            need->device_kind, fg_format_bytes(there, sizeof there, memory));
    fg_fail_at(err, "/resources/memory");
    return fg_fail_hint(err, "Ask for at most %llu bytes.", (unsigned long long)memory);
}

static size_t places_on(const struct fg_core *core, const struct device *d, const struct fg_need *need, size_t enough)
{
    struct fg_plan_device like = {.is_host = core_host_of(core, d) == d, .cores = d->d.units};
    struct fg_ask ask = fg_ask_of(&like, need);
    if (!core_could_hold(core, d, need))
        return 0;
    uint64_t by_memory = ask.memory_bytes ? core_memory_for_tasks(core, d) / ask.memory_bytes : enough;
    return (size_t)FG_MIN(by_memory, ask.share_permille ? 1000 / ask.share_permille : enough);
}

/* Of a machine: on its devices as far as its processor goes. */
static size_t places_beside(const struct fg_core *core, const struct node *n, const struct fg_need *need, size_t enough)
{
    const struct device *host = core_device(core, n->host);
    size_t devices = 0;
    for (const struct device *d = NULL; (d = core_next_device(core, n, d));)
        devices += d != host ? places_on(core, d, need, enough) : 0;
    if (!host)
        return 0;
    uint64_t beside = need->cpus_milli ? (uint64_t)host->d.units * 1000 / need->cpus_milli : enough;
    beside = need->host_bytes ? FG_MIN(beside, core_memory_for_tasks(core, host) / need->host_bytes) : beside;
    return (size_t)FG_MIN(beside, (uint64_t)devices);
}

/* How many such tasks could run at once if all devices were empty, at most enough; of those who ask for a part of processors all
 * beside them, or all on them. */
static size_t places_for(const struct fg_core *core, const struct fg_need *need, size_t enough)
{
    size_t n = 0;
    for (size_t i = 0; i < core->devices.count && n < enough; i++) {
        const struct device *d = &core->devices.items[i];
        if (d->d.id && !(fg_asks_host(need) && core_host_of(core, d)))
            n += places_on(core, d, need, enough);
    }
    size_t on = 0;
    for (size_t i = 0; i < core->nodes.count && fg_asks_host(need); i++) {
        const struct device *host = core_device(core, core->nodes.items[i]->host);
        n += places_beside(core, core->nodes.items[i], need, enough);
        on += host ? places_on(core, host, need, enough) : 0;
    }
    return FG_MIN(FG_MAX(n, on), enough);
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
    q.class = core_classify(core, spec, &q.class_rule);
    core_complete(scratch(core), spec, q.class, &q.need);
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
