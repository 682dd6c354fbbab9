/* timer.c - a binary heap of deadlines, one per task and node that has any; the first is read in O(1), a move is
 * O(log n). Which deadline a task has follows from its state:
 *
 *   queued    queued + limits.queue, held or not    starting  placed + limits.startup
 *   running   the earlier of started + limits.run + KILL_GRACE (its supervisor stops it on time; this is for the case
 *             that it does not) and the moment its cost reaches max_cost
 *   a kill was sent: it is sent again every KILL_GRACE until the agent says the attempt is over */
#include "base/units.h"
#include "control/core_private.h"
#include "model/price.h"

#define KILL_GRACE_NS (30 * FG_NS_PER_S)

static bool before(const struct timer *a, const struct timer *b)
{
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns;
    if (a->kind != b->kind)
        return a->kind < b->kind;
    return fg_id_cmp(a->id, b->id) < 0;
}

static void place_at(struct fg_core *core, struct timer *timer, size_t i)
{
    core->timers.items[i] = timer;
    timer->place = (uint32_t)i + 1;
}

static void rise(struct fg_core *core, struct timer *timer, size_t i)
{
    while (i > 0 && before(timer, core->timers.items[(i - 1) / 2])) {
        place_at(core, core->timers.items[(i - 1) / 2], i);
        i = (i - 1) / 2;
    }
    place_at(core, timer, i);
}

static void sink(struct fg_core *core, struct timer *timer, size_t i)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < core->timers.count && before(core->timers.items[child + 1], core->timers.items[child]))
            child++;
        if (child >= core->timers.count || !before(core->timers.items[child], timer))
            break;
        place_at(core, core->timers.items[child], i);
        i = child;
    }
    place_at(core, timer, i);
}

static void settle_in(struct fg_core *core, struct timer *timer, size_t i)
{
    if (i > 0 && before(timer, core->timers.items[(i - 1) / 2]))
        rise(core, timer, i);
    else
        sink(core, timer, i);
}

void timer_set(struct fg_core *core, struct timer *timer, int64_t due_ns)
{
    if (timer->place && timer->due_ns == due_ns)
        return;
    timer->due_ns = due_ns;
    if (due_ns == INT64_MAX) {
        if (!timer->place)
            return;
        size_t hole = timer->place - 1;
        struct timer *last = core->timers.items[--core->timers.count];
        timer->place = 0;
        if (last != timer)
            settle_in(core, last, hole);
    } else if (timer->place) {
        settle_in(core, timer, timer->place - 1);
    } else {
        fg_vec_push(&core->timers, timer);
        rise(core, timer, core->timers.count - 1);
    }
}

struct timer *timer_first(const struct fg_core *core) { return core->timers.count ? core->timers.items[0] : NULL; }

int64_t fg_core_next_deadline(const struct fg_core *core)
{
    return core->timers.count ? core->timers.items[0]->due_ns : INT64_MAX;
}

static int64_t after(int64_t start_ns, int64_t span_ns)
{
    int64_t sum;
    return __builtin_add_overflow(start_ns, span_ns, &sum) ? INT64_MAX : sum;
}

/* The first ns at which running time costs what is left of max_cost: the inverse of the price formula, rounded up. */
int64_t core_cost_limit_at(const struct fg_core *core, const struct entry *e)
{
    const struct fg_lease *lease = &e->t.lease;
    int64_t left = e->t.spec.limits.max_cost_nanousd - e->t.cost_nanousd;
    const struct device *d = core_device(core, lease->device);
    uint32_t permille = fg_price_permille(lease->memory_bytes, d ? d->d.memory_bytes : 0, lease->share_permille);
    __int128 rate = (__int128)lease->price_nanousd_per_s * permille + (__int128)lease->host_price_nanousd_per_s * lease->host_permille;
    if (e->t.spec.limits.max_cost_nanousd <= 0 || rate <= 0)     /* nanousd per 1000 s */
        return INT64_MAX;
    if (left <= 0)
        return e->t.started_ns;
    __int128 ns = ((__int128)left * 1000 * FG_NS_PER_S + rate - 1) / rate;
    return ns > INT64_MAX ? INT64_MAX : after(e->t.started_ns, (int64_t)ns);
}

int64_t timer_task_due(const struct fg_core *core, const struct entry *e)
{
    const struct fg_limits *limits = &e->t.spec.limits;
    int64_t due = INT64_MAX;
    if (e->killing)
        return e->kill_again_ns;
    if (e->t.state == FG_STATE_QUEUED && limits->queue_ns > 0)
        due = after(e->t.queued_ns, limits->queue_ns);
    else if (e->t.state == FG_STATE_STARTING && limits->startup_ns > 0)
        due = after(e->t.placed_ns, limits->startup_ns);
    else if (e->t.state == FG_STATE_RUNNING) {
        if (limits->run_ns > 0)
            due = after(after(e->t.started_ns, limits->run_ns), KILL_GRACE_NS);
        due = FG_MIN(due, core_cost_limit_at(core, e));
    }
    return due;
}

void timer_of_task(struct fg_core *core, struct entry *e)
{
    timer_set(core, &e->timer, fg_state_is_terminal(e->t.state) ? INT64_MAX : timer_task_due(core, e));
}

/* A connected node has none: its silence is for the shell to notice. One not heard of since the restart is due at
 * once: the first tick starts its time. */
void timer_of_node(struct fg_core *core, struct node *n)
{
    if (n->n.connected || n->n.lost)
        timer_set(core, &n->timer, INT64_MAX);
    else
        timer_set(core, &n->timer, n->deadline_ns ? after(n->deadline_ns, core->config.lease_margin_ns) : 0);
}

void core_kill(struct fg_core *core, struct entry *e, enum fg_reason reason, int64_t now_ns, struct fg_effects *fx)
{
    if (!e->killing)
        e->kill_reason = reason;
    e->killing = true;
    e->kill_again_ns = after(now_ns, KILL_GRACE_NS);
    core_act(fx, FG_ACT_KILL, e, e->kill_reason);
    timer_of_task(core, e);
}
