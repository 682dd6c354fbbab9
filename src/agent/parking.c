/* parking.c - idle attempts whose device memory lies aside: the server is told, their places are given to those who borrow, and
 * who borrows goes when the owner calls. Decision 0026.
 *
 *     PARKED  said; the server may place a spot or preemptible task there
 *     CALLED  said; it is brought back by its backend as soon as its place is free
 *     LACKS   said; others have its place: it is moved, if the server answers with another device (within MOVE_WAIT), or those that
 *             borrowed are stopped, the youngest first, as many as it takes. That needs no server.
 *     NONE    said when those who had to go have been reported: in the server's books their place is his again
 *
 * A borrower that was parked itself and finds no room is stopped after BORROWER_WAIT. Nothing here is remembered but the order to
 * move (attempt.json, and the backend's own): a new agent sees what is there and says it. */
#include <string.h>

#include "agent/internal.h"
#include "base/log.h"
#include "base/units.h"

#define MOVE_WAIT     (10 * FG_NS_PER_S)
#define BORROWER_WAIT (5 * FG_NS_PER_S)

bool parking_needed(const struct agent *a)
{
    for (size_t i = 0; i < a->device_list.count; i++)
        if (devices_backend(a, a->device_list.items[i].name)->ops->parking)
            return true;
    return false;
}

static void say(struct attempt *t, const struct fg_vgpu_parking *p, bool moved)
{
    struct fg_msg msg = {.kind = FG_MSG_REPORT, .report = {.task = t->task, .attempt = t->number, .epoch = t->epoch, .kind = 3}};
    if (!t->agent->link.welcomed)
        return;
    msg.report.parking = (struct fg_msg_parking){.parking = p->state, .bytes = p->used_bytes, .moved = moved};
    memcpy(msg.report.parking.device, t->device, sizeof t->device);
    link_send(t->agent, &msg);
    t->parking_said = p->state;
    t->parking_sent++;
    if (moved)
        t->moved_said = t->parking_sent;
}

static void record(const struct attempt *t)
{
    struct fg_error err;
    if (attempt_record(t, &err) != 0)
        fg_log_warn("%s: keep where it is: %s", t->name, err.text);
}

/* --- a move --- */

/* Its limits go with it. */
static void moved(struct attempt *t, const struct fg_vgpu_parking *p)
{
    struct fg_error err;
    const struct backend *b = devices_backend(t->agent, p->device);
    fg_log_info("%s is on %s now, it was on %s", t->name, p->device, t->device);
    memcpy(t->device, p->device, sizeof t->device);
    t->moving_to[0] = '\0';
    record(t);
    if (b->ops->resize(b->state, t->device, t->name, &t->limits, &err) != 0)
        fg_log_warn("%s: %s", t->name, err.text);
    say(t, p, true);
}

static void stays(struct attempt *t, const struct backend *b, const struct fg_vgpu_parking *p, const char *why)
{
    struct fg_error err;
    fg_log_warn("%s stays on %s and does not move to %s: %s", t->name, t->device, t->moving_to, why);
    t->moving_to[0] = '\0';
    record(t);                           /* before it may be brought back where it was */
    if (b->ops->move(b->state, t->device, t->name, NULL, &err) != 0)
        fg_log_warn("%s: %s", t->name, err.text);
    say(t, p, true);
}

/* An order that its backend knows nothing of: it was on its way to it when the agent was killed. A server that stands by it gives
 * it again at the hello. */
static void drop_order(struct attempt *t)
{
    struct fg_vgpu_parking p;
    struct fg_error err;
    const struct backend *b = devices_backend(t->agent, t->device);
    if (!t->moving_to[0] || t->phase != PHASE_RUN || !b->ops->parking || !b->ops->parking(b->state, t->device, t->name, &p) || p.moving ||
        p.move_failed || strcmp(p.device, t->device) != 0)
        return;
    t->moving_to[0] = '\0';
    record(t);
    if (b->ops->move(b->state, t->device, t->name, NULL, &err) != 0)
        fg_log_warn("%s: %s", t->name, err.text);
}

void parking_move(struct agent *a, const struct fg_msg_move *msg)
{
    struct fg_error err;
    struct fg_vgpu_parking p;
    struct attempt *t = attempt_find(a, msg->task, msg->attempt);
    const struct backend *b = t ? devices_backend(a, t->device) : NULL;
    if (!t || t->phase != PHASE_RUN || t->moved_said > t->parking_acked)
        return;                          /* it ended, or the order crossed our word that the move did */
    bool known = b->ops->parking && b->ops->parking(b->state, t->device, t->name, &p);
    if (!known)
        p = (struct fg_vgpu_parking){.state = FG_PARKING_NONE};
    if (!known || strcmp(msg->device_name, t->device) == 0)
        say(t, &p, true);
    else if (!t->moving_to[0] || !p.moving) {
        memcpy(t->moving_to, msg->device_name, sizeof t->moving_to);
        record(t);
        if (b->ops->move(b->state, t->device, t->name, t->moving_to, &err) != 0)
            stays(t, b, &p, err.text);
    }
}

/* --- room for who called --- */

static bool is_leaving(const struct attempt *t, const char *device)
{
    return t->evicted && strcmp(t->device, device) == 0 && (t->phase < PHASE_DONE || !t->finished_said);
}

static struct attempt *youngest_borrower(const struct agent *a, const struct attempt *owner)
{
    struct attempt *best = NULL;
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        if (t != owner && t->limits.borrowed && t->phase == PHASE_RUN && !t->evicted && strcmp(t->device, owner->device) == 0 &&
            (!best || t->epoch > best->epoch))
            best = t;
    }
    return best;
}

static void evict(struct attempt *t, const char *why)
{
    fg_log_info("%s is stopped: %s", t->name, why);
    t->evicted = true;
    launch_stop(t, fg_reason_name(FG_REASON_PREEMPTED), why);
}

static void make_room(struct attempt *owner, const struct fg_vgpu_parking *p)
{
    struct agent *a = owner->agent;
    uint64_t memory = 0;
    uint32_t share = 0;
    for (size_t i = 0; i < a->attempts.count; i++) {
        const struct attempt *t = a->attempts.items[i];
        if (t->phase == PHASE_RUN && is_leaving(t, owner->device)) {
            memory += t->limits.memory_bytes;
            share += t->limits.share_permille;
        }
    }
    while (memory < p->missing_bytes || share < p->missing_permille) {
        struct attempt *t = youngest_borrower(a, owner);
        if (!t)
            return;                      /* others than borrowers have it: they may go by themselves, as reclaim.h waits */
        memory += t->limits.memory_bytes;
        share += t->limits.share_permille;
        evict(t, "its place was borrowed, and its owner is back");
    }
}

/* Since when it lacks room decides what is done for it. */
static void lacks(struct attempt *t, const struct fg_vgpu_parking *p)
{
    struct agent *a = t->agent;
    int64_t now = agent_now(a);
    if (!t->lacks_since_ns)
        t->lacks_since_ns = now;
    bool may_move = a->set.reclaim_move && a->link.welcomed && t->parking_acked != t->parking_sent && now - t->lacks_since_ns < MOVE_WAIT;
    if (t->limits.borrowed) {
        if (!t->evicted && now - t->lacks_since_ns >= BORROWER_WAIT)
            evict(t, "its place was borrowed and is others' now");
    } else if (!may_move && !t->moving_to[0]) {
        make_room(t, p);
    }
}

/* --- each look --- */

static bool anyone_leaves(const struct agent *a, const char *device)
{
    for (size_t i = 0; i < a->attempts.count; i++)
        if (is_leaving(a->attempts.items[i], device))
            return true;
    return false;
}

static void look_at(struct attempt *t)
{
    struct fg_vgpu_parking p;
    const struct backend *b = devices_backend(t->agent, t->device);
    if (t->phase != PHASE_RUN || !b->ops->parking || !b->ops->parking(b->state, t->device, t->name, &p))
        return;
    if (p.state != FG_PARKING_LACKS)
        t->lacks_since_ns = 0;
    if (strcmp(p.device, t->device) != 0 && p.state == FG_PARKING_NONE) {
        moved(t, &p);
        return;
    }
    if (!t->agent->link.welcomed)
        drop_order(t);
    if (t->moving_to[0] && !p.moving && strcmp(p.device, t->device) == 0) {
        stays(t, b, &p, p.move_failed ? "it could not be put aside, or not be brought back there" : "it had not been told to");
        return;
    }
    bool lacking = p.state == FG_PARKING_LACKS;
    if (lacking && !t->agent->set.reclaim_move)
        p.state = FG_PARKING_CALLED;     /* the server could do nothing */
    bool settled = p.state != FG_PARKING_NONE || !anyone_leaves(t->agent, t->device);
    if (!settled && t->parking_said == FG_PARKING_COUNT && !t->limits.borrowed)
        p.state = FG_PARKING_CALLED;     /* or the end of who leaves would be taken for room to lend */
    if (p.state != t->parking_said && (settled || p.state == FG_PARKING_CALLED))
        say(t, &p, false);
    if (lacking)
        lacks(t, &p);
}

void parking_tick(struct agent *a)
{
    for (size_t i = 0; i < a->attempts.count; i++)
        look_at(a->attempts.items[i]);
}

/* Of those who are not parked, too: it may have missed their return. Before anything else is said. */
void parking_welcome(struct agent *a)
{
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        t->parking_said = FG_PARKING_COUNT;
        t->parking_sent = t->parking_acked = t->moved_said = 0;
        drop_order(t);
    }
    parking_tick(a);
}
