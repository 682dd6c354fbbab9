/* arbiter_lane.c - sparse vGPUs submit beside the owner's window (decision 0049). */
#include "vgpu/arbiter_private.h"

#define LOOKS      64           /* turns after which a lane is judged */
#define KEEPS_NS   2000000000   /* who is sparse is measured anew after that */
#define IDLE_PART  40           /* of the device's time may be lost for one who is behind in its lane */
#define BARRED_NS  8000000000   /* whom a lane served badly gets windows for so long */
#define FEW        2            /* who has more in flight does not wait for each job, whatever its window looked like */
#define LEFTS      2            /* windows lost in a gap, one after the other, show gaps; one may be an accident of a busy host */
#define QUEUE_NS   100000       /* the owner may always keep so much in flight */

static void forget(struct fg_arbiter_vgpu *v)
{
    v->lane_ns = 0;
    v->lane_jobs = 0;
    v->looks = v->busy = 0;
}

static int64_t rivals(const struct fg_arbiter *a, const struct fg_arbiter_vgpu *v)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < a->count; i++)
        sum += a->vgpus[i].active && &a->vgpus[i] != v ? a->vgpus[i].share_permille : 0;
    return sum;
}

/* Did the lane serve it? It should not get less than if the device were its own for its share of the time: a fifth less, or 2
 * points of the device. One who loses its windows in its gaps would get still less from them. */
static void judge(struct fg_arbiter *a, struct fg_arbiter_vgpu *v)
{
    int64_t jobs = most(v->lane_jobs, 1), share = v->share_permille, cycle = most(v->lane_ns / jobs, 1);
    int64_t idle = v->looks - v->busy, seen = v->job_ns + cycle * idle / v->looks; /* its gaps as they are now; a few looks say it roughly */
    v->pace_ns = v->known_ns = most(v->window_pace_ns, v->pace_ns - v->pace_ns / 4 + seen / 4);
    int64_t part = 1000 * share / (share + rivals(a, v)), alone = v->job_ns * 1000 / v->pace_ns, got = v->job_ns * 1000 / cycle;
    v->falls_short = got < least(part, alone) - 15;
    if (v->lane_jobs && v->again_ns < NEVER && got < alone * part / 1000 * 4 / 5 - 20) {
        v->pace_ns = 0;
        v->judged_ns = a->turned_ns + BARRED_NS;
    } else if (v->busy == v->looks) {
        v->judged_ns = a->turned_ns; /* is it sparse still? */
    }
    forget(v);
}

void fg_lane_look(struct fg_arbiter *a, int place, const struct fg_arbiter_input *in, int64_t ran, int64_t dt)
{
    struct fg_arbiter_vgpu *v = &a->vgpus[place];
    int64_t jobs = within((int64_t)(in->settled - v->settled), 1 << 20);
    v->settled = in->settled;
    if (jobs > 0 && ran > 0)
        v->mean_ns = v->mean_ns ? v->mean_ns - v->mean_ns / 4 + ran / jobs / 4 : ran / jobs;
    if (!v->lane || place == a->owner)
        return;
    v->lane_ns += least(dt, (int64_t)1 << 30);
    v->lane_jobs += most(jobs, 0);
    if (a->turned_ns + dt < a->look_ns) /* a turn that comes with somebody's doings says little */
        return;
    v->looks++;
    v->busy += in->inflight || in->waiting;
    if (v->looks == LOOKS)
        judge(a, v);
}

void fg_lane_measure(struct fg_arbiter *a, const struct fg_arbiter_input *in, int64_t now)
{
    struct fg_arbiter_vgpu *v = &a->vgpus[a->owner];
    int64_t window = (int64_t)a->params.window_ns, held = now - a->opened_ns - a->beside_ns;
    /* what is in flight has run by half */
    int64_t used = within((int64_t)(v->charged_ns - a->opened_settled_ns), SANE_NS) - v->inflight_ns / 2;
    int64_t jobs = within((int64_t)(v->settled - a->opened_jobs), 1 << 20);
    int left = v->idle_since_ns >= 0 && now - v->idle_since_ns >= (int64_t)a->params.linger_ns; /* lost its window in a gap, whose end was not seen */
    if (a->lent || v->outside || now < v->judged_ns)
        return;
    v->lefts = left ? v->lefts + 1 : 0;
    v->pace_ns = 0;
    if (left && v->lefts < LEFTS)
        return;
    v->judged_ns = now + KEEPS_NS;
    int gaps = left || (in->inflight <= FEW && used < held - held / 16);
    if (jobs > 0 && used > 0 && gaps) { /* no job: they are long */
        v->job_ns = used / jobs;
        v->window_pace_ns = most(held, used) / jobs;
        v->pace_ns = v->known_ns = most(v->window_pace_ns, left ? v->known_ns : 0);
        v->again_ns = left ? NEVER : now + most(IDLE_PART * (held - used), IDLE_PART * window / 4);
    }
}

/* Is it known to be sparse, and is there anybody beside whom it could run? */
static int may_have(struct fg_arbiter *a, int place, int64_t all)
{
    struct fg_arbiter_vgpu *v = &a->vgpus[place];
    int64_t now = a->turned_ns, window = (int64_t)a->params.window_ns;
    if (v->lane && v->falls_short && now >= v->again_ns && v->vtime <= -weighted(v, window))
        v->judged_ns = least(v->judged_ns, now);
    if (now >= v->judged_ns)
        v->pace_ns = 0;
    if (!v->pace_ns)
        v->ahead = 0;
    return v->pace_ns && all > (v->active ? v->share_permille : 0) && (place != a->owner || a->lent) &&
           (v->active || now - v->left_ns < window) && (v->ahead || !fg_arbiter_blocked(a, place));
}

/* Open, or closed until it is level. */
static void steer(struct fg_arbiter *a, struct fg_arbiter_vgpu *v)
{
    int64_t window = (int64_t)a->params.window_ns, lead = part(v, v->vtime);
    v->ahead = v->ahead ? lead > 0 : lead > window / 4;
    v->lane = !v->ahead;
    if (v->lane) /* what it does not use is lent, not saved */
        v->vtime = most(v->vtime, -weighted(v, window));
}

/* The owner's window is one of others, or shows whether it is sparse: nobody runs beside it. */
static int by_itself(const struct fg_arbiter *a)
{
    const struct fg_arbiter_vgpu *owner = a->owner >= 0 ? &a->vgpus[a->owner] : NULL;
    if (a->draining >= 0 && a->vgpus[a->draining].inflight_ns > (int64_t)a->params.overlap_ns)
        return 1;
    return fg_arbiter_exclusive(a) >= 0 || (owner && (owner->outside || a->turned_ns >= owner->judged_ns));
}

/* The next look: in a quarter of a window or less, never in step with anybody's jobs. */
static int64_t look_at(struct fg_arbiter *a)
{
    int64_t quarter = (int64_t)a->params.window_ns / 4;
    if (a->turned_ns >= a->look_ns) {
        a->dither = a->dither * 1103515245u + 12345u;
        a->look_ns = a->turned_ns + quarter - (quarter * (int64_t)(a->dither >> 16) >> 17);
    }
    return a->look_ns;
}

int fg_lane_unknown(const struct fg_arbiter *a, int place)
{
    const struct fg_arbiter_vgpu *v = &a->vgpus[place];
    return a->turned_ns >= v->judged_ns && rivals(a, v) > 0;
}

/* What the owner may have in flight beside one with such gaps: half a gap, or two jobs (one runs, the next is there) where they fit into it. */
static int64_t beside(const struct fg_arbiter *a, int64_t gap)
{
    int64_t two = a->owner >= 0 ? 2 * a->vgpus[a->owner].mean_ns : 0;
    return two <= gap + gap / 8 ? most(gap / 2, two + two / 16) : gap / 2;
}

int64_t fg_lane_open(struct fg_arbiter *a)
{
    int64_t next = NEVER, window = (int64_t)a->params.window_ns, all = rivals(a, NULL);
    int64_t sum = 0;
    int closed = by_itself(a);
    a->queue_ns = window;
    a->lanes = 0;
    for (int i = 0; i < (int)a->count; i++) {
        struct fg_arbiter_vgpu *v = &a->vgpus[i];
        int64_t queue = (int64_t)a->params.overlap_ns;
        int may = v->id && may_have(a, i, all), had = v->lane;
        if (had)
            a->beside_until_ns = a->turned_ns + window / 8;
        v->lane &= may;
        v->ahead &= may;
        if (!may)
            continue;
        a->lanes++;
        if (closed) {
            v->lane = 0;
            continue;
        }
        steer(a, v);
        next = least(next, v->lane ? look_at(a) : a->turned_ns + most(part(v, v->vtime) * all / v->share_permille, window / 16));
        if (v->lane) {
            sum += v->job_ns;
            queue = most(QUEUE_NS, least(beside(a, v->pace_ns - v->job_ns), queue));
        }
        a->queue_ns = least(a->queue_ns, queue);
    }
    if (sum) {
        a->beside_job_ns = sum;
        a->beside_until_ns = a->turned_ns + window / 4 + window / 8; /* past the next look */
    }
    if (a->owner >= 0 && (a->vgpus[a->owner].lane || a->vgpus[a->owner].ahead))
        a->owner = -1;
    return next;
}

int64_t fg_lane_span(const struct fg_arbiter *a, const struct fg_arbiter_vgpu *v)
{
    int64_t span = most((int64_t)a->params.window_ns / 2 - part(v, v->vtime), 1);
    return v->mode == FG_SHARE_CAPPED ? least(span, most(v->credit_ns, 1)) : span;
}

int64_t fg_lane_beside(const struct fg_arbiter *a, int place)
{
    const struct fg_arbiter_vgpu *owner = a->owner >= 0 ? &a->vgpus[a->owner] : NULL, *v = &a->vgpus[place];
    if (a->turned_ns >= a->beside_until_ns)
        return 0;
    int64_t sum = a->beside_job_ns - (v->lane ? v->job_ns : 0);
    if (owner && owner != v)
        sum += most(owner->mean_ns, (int64_t)a->params.overlap_ns);
    return within(sum, SANE_NS);
}
