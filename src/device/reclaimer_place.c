/* reclaimer_place.c - the places of who is parked: taken back, what of them others have, another device's instead. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "device/reclaimer_private.h"

#define BEGIN_NS    INT64_C(5000000000)  /* told to move, and something is in the way of its being parked: it stays */
#define LACK_NS     INT64_C(100000000)   /* before it is said: a borrower that is idle is being parked by then */

int64_t reclaimer_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct vgpu *reclaimer_vgpu(struct fg_reclaimer *r, const char *name)
{
    for (size_t i = 0; i < r->vgpus.count; i++)
        if (strcmp(r->vgpus.items[i]->name, name) == 0)
            return r->vgpus.items[i];
    return NULL;
}

bool reclaimer_is_drained(const struct fg_reclaimer *r, const char *device)
{
    for (size_t i = 0; i < r->drained.count; i++)
        if (strcmp(r->drained.items[i].text, device) == 0)
            return true;
    return false;
}

static bool wants_back(const struct vgpu *v)
{
    const struct fg_reclaim *m = &v->machine;
    return m->state == FG_RECLAIM_PARKED && !*v->to && (m->called || v->look.bell != m->bell || !v->look.idle);
}

/* What leaves the device already: borrowers that are being parked. */
static uint64_t leaves(const struct fg_reclaimer *r, const struct vgpu *v, uint32_t *ret_permille)
{
    uint64_t sum = 0;
    *ret_permille = 0;
    for (size_t i = 0; i < r->vgpus.count; i++) {
        const struct vgpu *other = r->vgpus.items[i];
        if (other == v || other->machine.state != FG_RECLAIM_PARKING || strcmp(other->look.device, v->look.device) != 0)
            continue;
        sum += other->look.memory_bytes;
        *ret_permille += 1000;           /* its share goes with its memory: more is not to be stopped for it */
    }
    return sum;
}

bool reclaimer_has_place(struct fg_reclaimer *r, struct vgpu *v, bool known, uint64_t free_bytes, int64_t now)
{
    uint64_t missing = 0;
    uint32_t permille = 0, leaving = 0;
    if (*v->to)
        return false;                    /* elsewhere or nowhere, until the order is taken back */
    bool held = !v->look.aside || (wants_back(v) && fg_leases_back(r->config.leases, v->name, &missing, &permille, NULL) == 0);
    bool fits = !known || v->adopted || free_bytes >= v->look.used_bytes;
    if (!wants_back(v) || (held && fits)) {
        v->lacks_since_ns = 0;
        v->missing_bytes = 0;
        v->missing_permille = 0;
        return held && fits;
    }
    if (!fits)
        missing = FG_MAX(missing, v->look.used_bytes - free_bytes);
    uint64_t going = leaves(r, v, &leaving);
    v->missing_bytes = missing - FG_MIN(missing, going);
    v->missing_permille = permille - FG_MIN(permille, leaving);
    v->lacks_since_ns = v->lacks_since_ns ? v->lacks_since_ns : now;
    return false;
}

bool reclaimer_is_urgent(const struct fg_reclaimer *r, const struct vgpu *v)
{
    for (size_t i = 0; v->look.borrowed && i < r->vgpus.count; i++) {
        const struct vgpu *owner = r->vgpus.items[i];
        if (owner != v && owner->lacks_since_ns && !owner->look.borrowed && strcmp(owner->look.device, v->look.device) == 0)
            return true;
    }
    return false;
}

bool fg_reclaimer_parking(struct fg_reclaimer *r, const char *name, struct fg_vgpu_parking *ret)
{
    *ret = (struct fg_vgpu_parking){.state = FG_PARKING_NONE};
    pthread_mutex_lock(&r->mutex);
    const struct vgpu *v = reclaimer_vgpu(r, name);
    if (!v) {                            /* it came since the last look */
        reclaimer_look(r);
        v = reclaimer_vgpu(r, name);
    }
    if (v) {
        const struct fg_reclaim *m = &v->machine;
        bool lacks = v->lacks_since_ns && reclaimer_now_ns() - v->lacks_since_ns >= LACK_NS;
        bool called = m->called || *v->to || m->state == FG_RECLAIM_RESTORING;
        if (m->state == FG_RECLAIM_PARKED || m->state == FG_RECLAIM_RESTORING)
            ret->state = lacks ? FG_PARKING_LACKS : called ? FG_PARKING_CALLED : FG_PARKING_PARKED;
        ret->used_bytes = v->look.used_bytes;
        ret->missing_bytes = lacks ? v->missing_bytes : 0;
        ret->missing_permille = lacks ? v->missing_permille : 0;
        ret->moving = (*v->to || *v->park_for) && !v->move_failed;
        ret->move_failed = v->move_failed;
        memcpy(ret->device, v->look.device, sizeof ret->device);
    }
    pthread_mutex_unlock(&r->mutex);
    return v != NULL;
}

bool fg_reclaimer_moves(struct fg_reclaimer *r)
{
    pthread_mutex_lock(&r->mutex);
    bool moves = r->moves;
    pthread_mutex_unlock(&r->mutex);
    return moves;
}

/* --- moves --- */

/* One that runs: what is known to be in the way is said before it is stopped for it. */
static int tell(struct fg_reclaimer *r, struct vgpu *v, const char *to, struct fg_error *err)
{
    if (!r->moves)
        return fg_fail(err, FG_E_UNSUPPORTED, "the driver cannot bring device memory back on another device");
    if (!v->look.movable || strncmp(v->look.device, "MIG-", 4) == 0)
        return fg_fail(err, FG_E_UNAVAILABLE, "vGPU '%s' held memory that cannot be put aside", v->name);
    if (!v->look.processes || v->look.unseen)
        return fg_fail(err, FG_E_UNAVAILABLE, "vGPU '%s' has no processes, or some that cannot be seen", v->name);
    if (fg_leases_hold(r->config.leases, v->name, to, err) != 0)
        return -1;
    snprintf(v->park_for, sizeof v->park_for, "%s", to);
    return 0;
}

static void stay(struct fg_reclaimer *r, struct vgpu *v)
{
    struct fg_error err;
    *v->park_for = '\0';
    v->move_failed = true;
    if (fg_leases_hold(r->config.leases, v->name, NULL, &err) != 0)
        fg_log_warn("%s: %s", v->name, err.text);
}

/* The order outlives the agent from the moment that the driver has put it aside, and not before: whoever finds it locked, and no
 * order, knows that it is still where it was. Its own place is not given away meanwhile. */
void reclaimer_follow_move(struct fg_reclaimer *r, struct vgpu *v, enum fg_reclaim_state before, const struct fg_reclaim_input *in, int64_t now)
{
    struct fg_error err;
    enum fg_reclaim_state state = v->machine.state;
    if (state == FG_RECLAIM_PARKED && before == FG_RECLAIM_PARKING && in->reply == FG_REPLY_DONE) {
        if (fg_leases_move_to(r->config.leases, v->name, v->park_for, &err) == 0) {
            memcpy(v->to, v->park_for, sizeof v->to);
            v->ordered_ns = now;
            *v->park_for = '\0';
            return;
        }
        fg_log_warn("%s: %s", v->name, err.text);
        stay(r, v);
    } else if (state != FG_RECLAIM_PARKING && (before == FG_RECLAIM_PARKING || now - v->ordered_ns > BEGIN_NS)) {
        stay(r, v);
    }
}

int fg_reclaimer_move(struct fg_reclaimer *r, const char *name, const char *to, struct fg_error *err)
{
    int rc = 0;
    pthread_mutex_lock(&r->mutex);
    reclaimer_look(r);                   /* it may have come since */
    struct vgpu *v = reclaimer_vgpu(r, name);
    bool parked = v && v->machine.state == FG_RECLAIM_PARKED, going = v && v->machine.state == FG_RECLAIM_RESTORING && v->elsewhere;
    bool runs = v && (v->machine.state == FG_RECLAIM_RUNNING || v->machine.state == FG_RECLAIM_PARKING);
    if (!v || (to && !parked && !runs) || going)
        rc = fg_fail(err, FG_E_CONFLICT, "vGPU '%s' is %s", name, going ? "on its way" : "being brought back");
    else if (to && runs)
        rc = tell(r, v, to, err);
    else if (!to || strcmp(to, v->to) != 0)
        rc = fg_leases_move_to(r->config.leases, name, to, err);
    if (rc == 0) {
        if (!to || parked) {
            snprintf(v->to, sizeof v->to, "%s", to ? to : "");
            *v->park_for = '\0';
        }
        v->ordered_ns = reclaimer_now_ns();
        v->move_failed = false;
    } else if (err && err->code == FG_E_CONFLICT && (parked || runs)) {
        err->code = FG_E_UNAVAILABLE;
    }
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

void fg_reclaimer_drain(struct fg_reclaimer *r, const char *device, bool drained)
{
    struct name one = {.text = ""};
    if (!r)
        return;
    pthread_mutex_lock(&r->mutex);
    bool known = reclaimer_is_drained(r, device);
    snprintf(one.text, sizeof one.text, "%s", device);
    if (drained && !known)
        fg_vec_push(&r->drained, one);
    for (size_t i = 0; !drained && known && i < r->drained.count; i++)
        if (strcmp(r->drained.items[i].text, device) == 0)
            r->drained.items[i] = r->drained.items[--r->drained.count];
    pthread_mutex_unlock(&r->mutex);
}
