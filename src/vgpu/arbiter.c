/* arbiter.c - weighted virtual time over measured device time, one window at a time (decision 0010).
 *
 *     turn:  1 account   what each vGPU used since the last turn moves its virtual time and its bucket
 *            2 compete   who wants or uses the device; the weighted mean of their virtual times becomes 0
 *            3 the owner keeps its window, loses it (used up, too long, idle), or drains
 *            4 choose    the next owner: latency class, who just came, earliest deadline among those not ahead, anyone
 *            5 grant     allow_ns of the owner; 0 for all others
 *
 * Virtual times are kept relative to the mean, so 0 means "has exactly its share" and numbers stay small. */
#include <string.h>

#include "vgpu/arbiter_private.h"

#define OUTSIDE_NS  100000          /* overlap with a vGPU that does not run here */
#define BACKLOG_NS  100000000       /* what a waiting capped vGPU may be owed: its share of this */
#define SANE_VTIME  ((int64_t)1 << 52)

void fg_arbiter_init(struct fg_arbiter *a, const struct fg_arbiter_params *params, int64_t now_ns)
{
    memset(a, 0, sizeof *a);
    if (params)
        a->params = *params;
    a->params.window_ns = a->params.window_ns ? a->params.window_ns : 8000000;
    a->params.linger_ns = a->params.linger_ns ? a->params.linger_ns : 400000;
    a->params.overlap_ns = a->params.overlap_ns ? a->params.overlap_ns : a->params.window_ns / 16;
    a->params.lend_ns = a->params.lend_ns ? a->params.lend_ns : 250000000;
    a->owner = a->draining = -1;
    a->turned_ns = now_ns;
}

void fg_arbiter_set(struct fg_arbiter *a, int place, uint32_t share_permille, enum fg_share_mode mode, int latency)
{
    struct fg_arbiter_vgpu *v = &a->vgpus[place];
    v->vtime = v->vtime * (int64_t)v->share_permille / (int64_t)share_permille; /* ahead or behind by the same device time */
    v->share_permille = share_permille;
    if (v->mode != mode)
        v->credit_ns = part(v, (int64_t)a->params.window_ns);
    v->mode = mode;
    v->latency = latency;
    uint64_t bound = v->charged_ns + (uint64_t)most(v->credit_ns, 1);
    if (mode == FG_SHARE_CAPPED && v->grant.allow_ns > bound)
        v->grant.allow_ns = bound;       /* what was lent while it was not capped ends now */
}

int fg_arbiter_add(struct fg_arbiter *a, uint64_t id, uint32_t share_permille, enum fg_share_mode mode, int latency,
                   uint64_t charged_ns)
{
    unsigned place = 0;
    while (place < a->count && a->vgpus[place].id)
        place++;
    if (place == FG_ARBITER_MAX)
        return -1;
    if (place == a->count)
        a->count++;
    a->vgpus[place] = (struct fg_arbiter_vgpu){.id = id, .share_permille = share_permille, .mode = mode, .latency = latency,
                                               .charged_ns = charged_ns};
    a->vgpus[place].credit_ns = part(&a->vgpus[place], (int64_t)a->params.window_ns);
    return (int)place;
}

void fg_arbiter_remove(struct fg_arbiter *a, int place)
{
    a->vgpus[place] = (struct fg_arbiter_vgpu){0};
    if (a->owner == place)
        a->owner = -1;
    if (a->draining == place)
        a->draining = -1;
    while (a->count && !a->vgpus[a->count - 1].id)
        a->count--;
}

int fg_arbiter_exclusive(const struct fg_arbiter *a)
{
    for (unsigned i = 0; i < a->count; i++)
        if (a->vgpus[i].id && a->vgpus[i].mode == FG_SHARE_EXCLUSIVE)
            return (int)i;
    return -1;
}

/* The bucket of a capped vGPU fills with its share of the time: up to one window's share, since nothing is saved up, but
 * while it waits for more up to BACKLOG_NS's, so that a late arbiter or a crowd does not cost it anything. */
static void fill(const struct fg_arbiter *a, struct fg_arbiter_vgpu *v, int waiting, int64_t used, int64_t dt)
{
    int64_t brim = part(v, waiting ? most(BACKLOG_NS, (int64_t)a->params.window_ns) : (int64_t)a->params.window_ns);
    v->credit_ns = within(v->credit_ns - used, SANE_NS);
    if (v->credit_ns < brim)
        v->credit_ns = least(brim, v->credit_ns + part(v, dt));
}

/* Who was away for less than a window keeps his place; later he starts level (idle time is lent, not saved), and has the
 * next window: what was lent is taken back at once. */
static void join(const struct fg_arbiter *a, struct fg_arbiter_vgpu *v)
{
    int64_t window = (int64_t)a->params.window_ns;
    int away = a->turned_ns - v->left_ns >= window;
    v->vtime = most(v->vtime, away ? 0 : -weighted(v, window));
    v->fresh = away && v->vtime <= 0;
    v->active = 1;
    if (away)
        v->pace_ns = 0;
}

static void account(struct fg_arbiter *a, const struct fg_arbiter_input *in, int64_t now)
{
    int64_t dt = most(0, now - a->turned_ns);
    int busy = 0;
    for (unsigned i = 0; i < a->count; i++) {
        struct fg_arbiter_vgpu *v = &a->vgpus[i];
        if (!v->id)
            continue;
        int64_t used = (int64_t)(in[i].charged_ns - v->charged_ns); /* below 0: a prediction was too high */
        used = within(used, SANE_NS);
        v->charged_ns = in[i].charged_ns;
        if (v->lane)
            a->beside_ns += least(most(0, used), dt); /* it says so: never more than the time that passed */
        if (used > 0 && !v->active) /* it came back without a bell, on what it was lent */
            join(a, v);
        v->vtime = within(v->vtime + weighted(v, used), SANE_VTIME);
        int64_t inflight = least((int64_t)(in[i].inflight_ns >> 1), SANE_NS / 2) * 2;
        fg_lane_look(a, (int)i, &in[i], used + v->inflight_ns - inflight, dt);
        v->inflight_ns = inflight;
        if (v->mode == FG_SHARE_CAPPED)
            fill(a, v, in[i].waiting != 0, used, dt);
        if (in[i].waiting || in[i].inflight)
            v->idle_since_ns = -1;
        else if (v->idle_since_ns < 0 || used)
            v->idle_since_ns = now;
        busy += v->idle_since_ns < 0;
    }
    a->crowded = busy > 1;
    a->turned_ns = now;
}

/* What its bucket must hold before it gets a window: one window's share, or half a window when others want the device too
 * (each change of owner costs a little). */
static int64_t enough(const struct fg_arbiter *a, const struct fg_arbiter_vgpu *v)
{
    int64_t window = (int64_t)a->params.window_ns;
    return a->crowded ? least(most(window / 2, part(v, window)), part(v, BACKLOG_NS)) : part(v, window);
}

int fg_arbiter_blocked(const struct fg_arbiter *a, int i)
{
    const struct fg_arbiter_vgpu *v = &a->vgpus[i];
    if (v->ahead && i != a->owner)
        return 1;
    if (v->mode != FG_SHARE_CAPPED)
        return 0;
    return i == a->owner || v->lane ? v->credit_ns <= 0 : v->credit_ns < enough(a, v);
}

/* Make the weighted mean of the virtual times of those who compete 0. */
static void center(struct fg_arbiter *a)
{
    int64_t sum = 0, weights = 0;
    for (unsigned i = 0; i < a->count; i++)
        if (a->vgpus[i].active) {
            sum += a->vgpus[i].vtime / 1000 * a->vgpus[i].share_permille;
            weights += a->vgpus[i].share_permille;
        }
    int64_t mean = weights ? sum / weights * 1000 : 0;
    for (unsigned i = 0; i < a->count; i++)
        a->vgpus[i].vtime = within(a->vgpus[i].vtime - mean, SANE_VTIME);
}

/* Mark who competes. What was used since the last turn was used among those who competed then, so the mean moves before
 * anybody joins. */
static void compete(struct fg_arbiter *a, const struct fg_arbiter_input *in)
{
    center(a);
    for (unsigned i = 0; i < a->count; i++) {
        struct fg_arbiter_vgpu *v = &a->vgpus[i];
        int busy = v->id && (in[i].waiting || in[i].inflight || a->turned_ns - v->idle_since_ns < (int64_t)a->params.linger_ns);
        int active = busy && (v->ahead || !fg_arbiter_blocked(a, (int)i));
        if (active && !v->active)
            join(a, v);
        if (!active && v->active)
            v->left_ns = a->turned_ns;
        v->active = active;
    }
    center(a);
}

/* Does a come before b? */
static int before(const struct fg_arbiter *a, const struct fg_arbiter_vgpu *x, const struct fg_arbiter_vgpu *y)
{
    int64_t window = (int64_t)a->params.window_ns;
    int jump_x = x->latency && x->vtime <= 0, jump_y = y->latency && y->vtime <= 0;
    if (jump_x != jump_y)
        return jump_x;
    if (x->fresh != y->fresh)
        return x->fresh;
    int ahead_x = x->vtime > 0, ahead_y = y->vtime > 0;
    if (ahead_x != ahead_y)
        return ahead_y;
    return x->vtime + weighted(x, window) < y->vtime + weighted(y, window);
}

/* Who should have the next window, or -1. */
static int choose(const struct fg_arbiter *a, const struct fg_arbiter_input *in)
{
    int alone = fg_arbiter_exclusive(a), best = -1;
    for (int i = 0; i < (int)a->count; i++) {
        const struct fg_arbiter_vgpu *v = &a->vgpus[i];
        if (!v->id || v->lane || (alone >= 0 && i != alone) || (!in[i].waiting && !(i == a->owner && in[i].inflight)))
            continue;
        if (!fg_arbiter_blocked(a, i) && (best < 0 || before(a, v, &a->vgpus[best])))
            best = i;
    }
    return best;
}

/* Who else wants the device and could have it? */
static int wanted_by_other(const struct fg_arbiter *a, const struct fg_arbiter_input *in, int than)
{
    int alone = fg_arbiter_exclusive(a);
    for (int i = 0; i < (int)a->count; i++)
        if (i != than && a->vgpus[i].id && !a->vgpus[i].lane && in[i].waiting && (alone < 0 || alone == i) && !fg_arbiter_blocked(a, i))
            return 1;
    return 0;
}

/* Device time the owner may use before the next look. */
static void open_window(struct fg_arbiter *a, int i, int64_t now, int contended)
{
    struct fg_arbiter_vgpu *v = &a->vgpus[i];
    int64_t span = contended ? (int64_t)a->params.window_ns : (int64_t)a->params.lend_ns;
    if (v->mode == FG_SHARE_CAPPED)
        span = least(span, most(v->credit_ns, 1));
    v->fresh = 0;
    a->owner = i;
    a->draining = -1;
    a->opened_ns = now;
    a->opened_settled_ns = v->charged_ns - (uint64_t)v->inflight_ns;
    a->opened_jobs = v->settled;
    a->beside_ns = 0;
    a->lent = !contended;
    a->windows++;
    v->grant.allow_ns = v->charged_ns + (uint64_t)span;
}

/* While others waited, time in which the owner left the device idle counts as used, beyond an eighth of a window: else one
 * that uses a tenth of its windows would get ten times as many, and nobody the rest. */
static void charge_idle(struct fg_arbiter *a, int64_t now)
{
    struct fg_arbiter_vgpu *v = &a->vgpus[a->owner];
    int64_t window = (int64_t)a->params.window_ns, held = now - a->opened_ns - a->beside_ns;
    int64_t idle = held - within((int64_t)(v->charged_ns - a->opened_settled_ns), SANE_NS) - window / 8; /* in flight counts as run */
    if (held <= 2 * window && idle > 0) /* longer: the others came only now */
        v->vtime += weighted(v, idle);
}

static void close_window(struct fg_arbiter *a, int64_t now)
{
    a->draining = a->owner;
    a->owner = -1;
    a->drain_until_ns = now + least(most((int64_t)a->params.window_ns, 2 * a->vgpus[a->draining].inflight_ns), 1000000000);
}

/* Is the owner's window over? */
static int is_over(const struct fg_arbiter *a, int64_t now, int contended)
{
    const struct fg_arbiter_vgpu *v = &a->vgpus[a->owner];
    int64_t window = (int64_t)a->params.window_ns;
    if (v->charged_ns >= v->grant.allow_ns || (v->mode == FG_SHARE_CAPPED && v->credit_ns <= 0))
        return 1;
    if (!contended)
        return 0;
    return a->lent || now - a->opened_ns - a->beside_ns >= window + window / 8 ||
           (v->idle_since_ns >= 0 && now - v->idle_since_ns >= (int64_t)a->params.linger_ns);
}

/* How much of the last owner's work may still be in flight when the next is let in. */
static int64_t overlap(const struct fg_arbiter *a, const struct fg_arbiter_input *in)
{
    int next = choose(a, in);
    return next >= 0 && a->vgpus[next].outside ? least(OUTSIDE_NS, (int64_t)a->params.overlap_ns) : (int64_t)a->params.overlap_ns;
}

static int drained(const struct fg_arbiter *a, const struct fg_arbiter_input *in, int64_t now)
{
    return a->draining < 0 || !in[a->draining].inflight || a->vgpus[a->draining].inflight_ns <= overlap(a, in) ||
           now >= a->drain_until_ns;
}

/* Below what in flight it should ring: who drains, when the next may be let in; the owner, when it is idle. Beside a lane so little is
 * in flight that each job would ring; there the next look is soon. */
static uint64_t bell(const struct fg_arbiter *a, const struct fg_arbiter_input *in, int i, int contended)
{
    if (i == a->draining)
        return (uint64_t)overlap(a, in);
    if (a->vgpus[i].lane || (i == a->owner && a->queue_ns < (int64_t)a->params.window_ns))
        return FG_DRAIN_SILENT;
    return i == a->owner && contended && a->vgpus[i].idle_since_ns < 0;
}

/* Bounds and bells of everybody; when the next turn is due. */
static int64_t finish(struct fg_arbiter *a, const struct fg_arbiter_input *in, int64_t now, int contended)
{
    int64_t next = NEVER, window = (int64_t)a->params.window_ns;
    for (int i = 0; i < (int)a->count; i++) {
        struct fg_arbiter_vgpu *v = &a->vgpus[i];
        if (!v->id)
            continue;
        v->grant.inflight_ns = (uint64_t)a->queue_ns / (in[i].processes > 1 ? in[i].processes : 1);
        v->grant.drain_ns = bell(a, in, i, contended);
        v->grant.beside_ns = (uint64_t)fg_lane_beside(a, i);
        if (i != a->owner)
            v->grant.allow_ns = v->lane ? v->charged_ns + (uint64_t)fg_lane_span(a, v) : 0;
        if (v->active && v->idle_since_ns >= 0 && i != a->owner && !v->lane) /* stops competing then */
            next = least(next, v->idle_since_ns + (int64_t)a->params.linger_ns);
        if (in[i].waiting && i != a->owner && v->mode == FG_SHARE_CAPPED && !v->ahead && fg_arbiter_blocked(a, i)) {
            int64_t missing = enough(a, v) - v->credit_ns;
            next = least(next, now + missing * 1000 / v->share_permille + 1);
        }
    }
    if (a->draining >= 0)
        next = least(next, a->drain_until_ns);
    if (now < a->beside_until_ns && a->queue_ns == window)
        next = least(next, a->beside_until_ns);
    if (a->owner >= 0) {
        const struct fg_arbiter_vgpu *v = &a->vgpus[a->owner];
        if (contended)
            next = least(next, v->idle_since_ns >= 0 ? v->idle_since_ns + (int64_t)a->params.linger_ns : a->opened_ns + a->beside_ns + window + window / 8);
        else if (v->idle_since_ns < 0)
            next = least(next, now + (int64_t)a->params.lend_ns / 2);
    }
    return most(next, now + 1);
}

int64_t fg_arbiter_turn(struct fg_arbiter *a, const struct fg_arbiter_input *in, int64_t now)
{
    account(a, in, now);
    compete(a, in);
    fg_lane_open(a);
    int waits = wanted_by_other(a, in, a->owner);
    int contended = waits || a->lanes || (a->owner >= 0 && !a->lent && fg_lane_unknown(a, a->owner));
    if (a->owner >= 0 && is_over(a, now, contended)) {
        if (contended) {
            fg_lane_measure(a, &in[a->owner], now);
            if (waits)
                charge_idle(a, now);
        }
        if (contended && a->vgpus[a->owner].pace_ns) { /* sparse: it goes on in its lane */
            a->owner = -1;
            fg_lane_open(a);
        } else if (choose(a, in) == a->owner)
            open_window(a, a->owner, now, contended);
        else
            close_window(a, now);
    }
    if (a->owner >= 0 && a->vgpus[a->owner].idle_since_ns < 0) {
        const struct fg_arbiter_vgpu *v = &a->vgpus[a->owner];
        if (!contended)
            open_window(a, a->owner, now, 0); /* lend ahead */
        else if (!waits && now < v->judged_ns && v->grant.allow_ns - v->charged_ns < a->params.window_ns / 2)
            open_window(a, a->owner, now, 1); /* only lanes are beside it */
    }
    if (a->owner < 0 && drained(a, in, now)) {
        /* the device is the next one's when this is done: until then it leaves nothing idle */
        int64_t tail = a->draining >= 0 && in[a->draining].inflight ? a->vgpus[a->draining].inflight_ns : 0;
        a->draining = -1;
        int next = choose(a, in);
        if (next >= 0)
            open_window(a, next, now + least(tail, (int64_t)a->params.overlap_ns), contended = wanted_by_other(a, in, next) || a->lanes || fg_lane_unknown(a, next));
    }
    int64_t lanes_ns = fg_lane_open(a);
    return least(finish(a, in, now, contended), lanes_ns);
}
