/* reclaim.c - see reclaim.h. */
#include "device/reclaim.h"

#include "base/mem.h"

#define S              INT64_C(1000000000)
#define RETRY_NS       S
#define ELSEWHERE_NS   (5 * S)           /* without room for so long: another device will do */
#define LOSSES_MAX     3
#define BUSY_HOST      50                /* permille of a processor: too busy to tell a call from its usual stir */
#define URGENT_NS      (S / 2)           /* idle for so long, one in a borrowed place is parked when its owner calls */
#define STIR_NS        INT64_C(2000000)
#define PEEKS_MAX      3u                /* doublings */
#define BUSIES_MAX     6u
#define BYTES_PER_NS   0.25              /* the slowest that checkpoints were seen to be */

static int64_t or_else(int64_t value, int64_t fallback) { return value ? value : fallback; }

const char *fg_reclaim_state_name(enum fg_reclaim_state state)
{
    static const char *const names[] = {"running", "parking", "parked", "restoring", "failed"};
    return (size_t)state < FG_COUNT(names) ? names[state] : "?";
}

void fg_reclaim_adopt(struct fg_reclaim *r)
{
    *r = (struct fg_reclaim){.state = FG_RECLAIM_PARKED, .called = true, .began = true, .why = "an agent before this one parked it"};
}

static void enter(struct fg_reclaim *r, enum fg_reclaim_state state, const struct fg_reclaim_input *in, int64_t now, const char *why)
{
    r->state = state;
    r->since_ns = now;
    r->host_ns = in->host_ns;
    r->why = why;
}

static enum fg_reclaim_action run(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now, const char *why)
{
    enter(r, FG_RECLAIM_RUNNING, in, now, why);
    r->idle_since_ns = now;
    r->work = in->work;
    r->called = r->peeked = r->not_elsewhere = false;
    r->lacking_since_ns = 0;
    r->losses = 0;
    return FG_RECLAIM_OPEN;
}

static enum fg_reclaim_action fail(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now, const char *why)
{
    enter(r, FG_RECLAIM_FAILED, in, now, why);
    r->ended = true;
    return FG_RECLAIM_END;
}

static enum fg_reclaim_action begin(struct fg_reclaim *r, const struct fg_reclaim_params *p, const struct fg_reclaim_input *in, int64_t now,
                                    enum fg_reclaim_state state, enum fg_reclaim_action action, const char *why)
{
    enter(r, state, in, now, why);
    r->deadline_ns = now + or_else(p->step_ns, 60 * S) + (int64_t)((double)in->used_bytes / BYTES_PER_NS);
    return action;
}

/* Aside, or perhaps: it must come back, in a moment. */
static enum fg_reclaim_action back_later(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now, const char *why)
{
    enter(r, FG_RECLAIM_PARKED, in, now, why);
    r->called = true;
    r->not_before_ns = now + RETRY_NS;
    return FG_RECLAIM_NOTHING;
}

static enum fg_reclaim_action lost(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now)
{
    if (++r->losses >= LOSSES_MAX)
        return fail(r, in, now, "the driver does not answer");
    return back_later(r, in, now, "the driver's answer was lost");
}

/* Idle since when? A job between two looks, a change of memory or a busy host begins anew. */
static void watch_idle(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now)
{
    int64_t span = now - r->idle_since_ns;
    int64_t permille = span > 0 ? (in->host_ns - r->host_ns) * 1000 / span : 0;
    bool stirs = span >= 5 * S && permille > BUSY_HOST;
    if (r->began && in->idle && in->processes && in->work == r->work && in->members == r->members && !stirs) {
        r->quiet_permille = permille > 0 ? permille : 0;
        return;
    }
    r->began = true;
    r->idle_since_ns = now;
    r->host_ns = in->host_ns;
    r->work = in->work;
    r->members = in->members;
}

static enum fg_reclaim_action while_running(struct fg_reclaim *r, const struct fg_reclaim_params *p, const struct fg_reclaim_input *in, int64_t now)
{
    watch_idle(r, in, now);
    r->why = !in->movable ? "it held memory that cannot be put aside" : !in->host_room ? "the host has no room for a copy" : "it runs";
    if (in->told && in->movable && in->host_room && in->processes && !(r->refused_members && r->refused_members == in->members)) {
        r->bell = in->bell;
        r->called = true;                /* wherever it gets to: it runs, and wants to go on */
        return begin(r, p, in, now, FG_RECLAIM_PARKING, FG_RECLAIM_PARK, "it is moved");
    }
    int64_t enough = in->urgent ? FG_MIN(p->idle_ns, URGENT_NS) : p->idle_ns;
    if (!p->idle_ns || !in->movable || !in->host_room || !in->used_bytes || now - r->idle_since_ns < enough || now < r->not_before_ns ||
        (r->refused_members && r->refused_members == in->members) || (p->when == FG_RECLAIM_WANTED && !in->wanted && !in->urgent))
        return FG_RECLAIM_NOTHING;
    if ((in->host_ns - r->host_ns) * 1000 > BUSY_HOST * (now - r->idle_since_ns))
        return FG_RECLAIM_NOTHING;
    r->bell = in->bell;
    return begin(r, p, in, now, FG_RECLAIM_PARKING, FG_RECLAIM_PARK, "it was idle");
}

static enum fg_reclaim_action while_parking(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now)
{
    r->called |= in->bell != r->bell;
    switch (in->reply) {
    case FG_REPLY_DONE:
        enter(r, FG_RECLAIM_PARKED, in, now, "its memory is with others");
        r->busies = 0;
        r->not_before_ns = now;
        return FG_RECLAIM_NOTHING;
    case FG_REPLY_BUSY:
    case FG_REPLY_NO_ROOM:
        r->busies += r->busies < BUSIES_MAX;
        r->not_before_ns = now + (int64_t)(10 * S << r->busies);
        return run(r, in, now, "its work did not drain");
    case FG_REPLY_REFUSED:
        r->refused_members = in->members;
        return run(r, in, now, "the driver cannot put it aside");
    case FG_REPLY_GONE:
        return run(r, in, now, "a process of it ended");
    case FG_REPLY_BROKEN:
        return fail(r, in, now, "the driver lost the process when it was put aside");
    case FG_REPLY_LOST:
        return lost(r, in, now);
    case FG_REPLY_NONE:
        break;
    }
    if (now < r->deadline_ns)
        return FG_RECLAIM_NOTHING;
    return lost(r, in, now) == FG_RECLAIM_END ? FG_RECLAIM_END : FG_RECLAIM_ABANDON;
}

static bool is_called(struct fg_reclaim *r, const struct fg_reclaim_params *p, const struct fg_reclaim_input *in, int64_t now)
{
    int64_t span = now - r->since_ns, usual = span / 1000 * r->quiet_permille * 2 + STIR_NS;
    if (r->called || in->bell != r->bell || !in->idle || in->host_ns - r->host_ns > usual || !p->idle_ns)
        return true;
    return r->peeked = span >= or_else(p->peek_ns, 600 * S) << r->peeks;
}

static enum fg_reclaim_action while_parked(struct fg_reclaim *r, const struct fg_reclaim_params *p, const struct fg_reclaim_input *in, int64_t now)
{
    if (!in->processes)
        return run(r, in, now, "its processes ended");
    if (in->ordered && !r->not_elsewhere)
        return in->elsewhere && now >= r->not_before_ns
                   ? begin(r, p, in, now, FG_RECLAIM_RESTORING, FG_RECLAIM_RESTORE_ELSEWHERE, "it moves to another device") : FG_RECLAIM_NOTHING;
    if (!is_called(r, p, in, now))
        return FG_RECLAIM_NOTHING;
    r->called = true;
    if (now < r->not_before_ns)
        return FG_RECLAIM_NOTHING;
    if (in->room)
        return begin(r, p, in, now, FG_RECLAIM_RESTORING, FG_RECLAIM_RESTORE, r->peeked ? "to see whether it stirs" : "it called");
    if (!r->lacking_since_ns)
        r->lacking_since_ns = now;
    r->why = "it called, and there is no room";
    int64_t lacking = now - r->lacking_since_ns;
    if (lacking >= ELSEWHERE_NS && in->elsewhere && !r->not_elsewhere)
        return begin(r, p, in, now, FG_RECLAIM_RESTORING, FG_RECLAIM_RESTORE_ELSEWHERE, "it called, and another device has room");
    if (lacking >= or_else(p->patience_ns, 600 * S))
        return fail(r, in, now, "no room came for it to be brought back");
    return FG_RECLAIM_NOTHING;
}

static enum fg_reclaim_action while_restoring(struct fg_reclaim *r, const struct fg_reclaim_input *in, int64_t now)
{
    switch (in->reply) {
    case FG_REPLY_DONE:
        r->peeks = r->peeked ? r->peeks + (r->peeks < PEEKS_MAX) : 0;
        r->not_before_ns = now;
        return run(r, in, now, "it is back");
    case FG_REPLY_NO_ROOM:
        if (!r->lacking_since_ns)
            r->lacking_since_ns = now;
        return back_later(r, in, now, "it called, and there is no room");
    case FG_REPLY_BUSY:
    case FG_REPLY_REFUSED:
        if (r->not_elsewhere)
            return fail(r, in, now, "the driver cannot bring it back");
        r->not_elsewhere = true;
        return back_later(r, in, now, "the driver does not bring it back there");
    case FG_REPLY_GONE:
        return run(r, in, now, "its processes ended");
    case FG_REPLY_BROKEN:
        return fail(r, in, now, "the driver lost the process when it was brought back");
    case FG_REPLY_LOST:
        return lost(r, in, now);
    case FG_REPLY_NONE:
        break;
    }
    if (now < r->deadline_ns)
        return FG_RECLAIM_NOTHING;
    return lost(r, in, now) == FG_RECLAIM_END ? FG_RECLAIM_END : FG_RECLAIM_ABANDON;
}

enum fg_reclaim_action fg_reclaim_step(struct fg_reclaim *r, const struct fg_reclaim_params *p, const struct fg_reclaim_input *in, int64_t now)
{
    switch (r->state) {
    case FG_RECLAIM_RUNNING:
        return while_running(r, p, in, now);
    case FG_RECLAIM_PARKING:
        return while_parking(r, in, now);
    case FG_RECLAIM_PARKED:
        if (!r->since_ns) /* adopted */
            enter(r, FG_RECLAIM_PARKED, in, now, r->why);
        return while_parked(r, p, in, now);
    case FG_RECLAIM_RESTORING:
        return while_restoring(r, in, now);
    case FG_RECLAIM_FAILED:
        break;
    }
    return FG_RECLAIM_NOTHING;
}
