/* deadline.c - a deadline that cannot be met is refused when it is asked for, with the reckoning in words.
 *
 *   1 alone    on every kind of device that could hold it, 95 of 100 of its runs take longer than it has
 *   2 together the tasks of its tenant and class that wait with deadlines no later than its own need, at least, more
 *              device time than all devices have until then: not all can be met, and the last to come is refused
 *
 * Both take the least that is believable, the 5th percentile, of work that was seen FEW times or more; what was never
 * seen proves nothing and is let in. */
#include <stdio.h>

#include "base/units.h"
#include "control/core_private.h"

#define FEW 5u

/* 5 of 100 runs are shorter: the 95th mirrored at the median of a log-normal. 0: too little is known, or the run limit
 * cut the estimate. */
static int64_t least_time(const struct fg_estimate *e, int64_t run_limit_ns)
{
    if (e->samples < FEW || e->p95_ns <= 0 || (run_limit_ns > 0 && e->p95_ns >= run_limit_ns))
        return 0;
    return (int64_t)((__int128)e->p50_ns * e->p50_ns / e->p95_ns);
}

struct fastest { int64_t time_ns; const char *kind; uint32_t samples; bool known; };

/* The shortest believable time over the devices that could hold it; known: there is one for each. */
static struct fastest fastest_of(const struct fg_core *core, const struct fg_spec *spec, const struct fg_need *need)
{
    struct fastest f = {.time_ns = INT64_MAX, .known = true};
    bool any = false;
    for (size_t i = 0; i < core->devices.count; i++) {
        const struct device *d = &core->devices.items[i];
        struct fg_estimate e;
        if (!d->d.id || core_memory_for_tasks(core, d) < need->memory_bytes || (need->device_kind[0] && !fg_streq(need->device_kind, d->d.kind)))
            continue;
        if ((any && fg_streq(f.kind, d->d.kind)) || (fg_asks_host(need) && !core_could_hold(core, d, need)))
            continue;
        fg_estimate(core->history, spec, d->d.kind, need->share_permille, &e);
        int64_t least = least_time(&e, spec->limits.run_ns);
        f.known = f.known && least > 0;
        if (!any || least < f.time_ns)
            f = (struct fastest){least, d->d.kind, e.samples, f.known};
        any = true;
    }
    f.known = f.known && any;
    return f;
}

static int refuse(struct fg_error *err, int64_t enough_ns)
{
    char text[32];
    fg_fail_at(err, "/limits/deadline");
    return fg_fail_hint(err, "Give it at least %s, a larger share, or no deadline.", fg_format_duration(text, sizeof text, enough_ns));
}

static int check_alone(const struct fg_spec *spec, const struct fastest *f, struct fg_error *err)
{
    char least[32], asked[32];
    if (!f->known || f->time_ns <= spec->limits.deadline_ns)
        return 0;
    fg_fail(err, FG_E_INVALID, "it cannot end within %s: on '%s', the fastest kind that can hold it, 95 of 100 runs take longer than %s (%u seen)",
            fg_format_duration(asked, sizeof asked, spec->limits.deadline_ns), f->kind,
            fg_format_duration(least, sizeof least, f->time_ns), f->samples);
    return refuse(err, f->time_ns);
}

/* Of a device, at least: where the share is a guess, cores that are asked for go before it on a processor, and say nothing of others. */
static uint32_t least_share(const struct fg_need *need) { return need->share_guessed && need->cpus_milli ? 1 : need->share_permille; }

/* Device time that must be given, at least, to those before key: of lines whose work is known. */
static uint64_t demand_before(struct fg_core *core, const struct account *a, int priority, const struct fg_order *key, size_t *ret_tasks)
{
    uint64_t sum = 0;
    size_t lines = 0;
    for (struct line *l = account_line_after(a, priority, NULL); l && lines < core->config.window && fg_order_cmp(&l->head, key) < 0;
         l = account_line_after(a, priority, &l->head), lines++) {
        size_t n = line_before(l, key);
        int64_t least = least_time(core_line_estimate(core, l), l->run_ns);
        *ret_tasks += least > 0 ? n : 0;
        unsigned __int128 work = (unsigned __int128)fg_usage_of(least_share(&l->need), least) * n;
        sum = fg_usage_add(sum, work > UINT64_MAX ? UINT64_MAX : (uint64_t)work);
    }
    return sum;
}

static int check_together(struct fg_core *core, const struct account *a, const struct fg_spec *spec, const struct fg_need *need,
                          const struct fastest *f, uint32_t count, int64_t now_ns, struct fg_error *err)
{
    struct fg_order key = {0, {UINT64_MAX, UINT64_MAX}};
    size_t tasks = 0, devices = 0;
    if (!f->known || __builtin_add_overflow(now_ns, spec->limits.deadline_ns, &key.deadline_ns))
        return 0;
    for (size_t i = 0; i < core->devices.count; i++)
        devices += core->devices.items[i].d.id && core->devices.items[i].d.healthy;
    uint64_t ahead = a ? demand_before(core, a, (int)spec->priority, &key, &tasks) : 0;
    uint64_t own = fg_usage_of(least_share(need), f->time_ns) * count;
    uint64_t there = fg_usage_of(1000, spec->limits.deadline_ns) * FG_MAX(devices, 1u);
    if (fg_usage_add(ahead, own) <= there)
        return 0;
    char asked[32];
    fg_fail(err, FG_E_INVALID, "%zu task(s) with earlier deadlines need at least %.1f device-seconds and this %.1f, but %zu device(s) have only %.1f within %s",
            tasks, (double)ahead / 1e6, (double)own / 1e6, devices, (double)there / 1e6,
            fg_format_duration(asked, sizeof asked, spec->limits.deadline_ns));
    return refuse(err, (int64_t)((double)fg_usage_add(ahead, own) / (double)FG_MAX(devices, 1u) * 1e3) + FG_NS_PER_S);
}

int core_check_deadline(struct fg_core *core, fg_id tenant, const struct fg_spec *spec, const struct fg_need *need, uint32_t count,
                        int64_t now_ns, struct fg_error *err)
{
    if (spec->limits.deadline_ns <= 0)
        return 0;
    struct fastest f = fastest_of(core, spec, need);
    if (check_alone(spec, &f, err) < 0)
        return -1;
    return check_together(core, account_find(core, tenant), spec, need, &f, FG_MAX(count, 1u), now_ns, err);
}
