/* server_loop.c - the server's two threads: one turns the arbiters when a bell rings or a turn is due, one waits for the
 * death of processes. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

#include "vgpu/server_private.h"

#define WAITERS_MAX 128        /* of futex_waitv */
#define TICK_NS     2000000    /* with more processes' bells than that, or on a kernel without futex_waitv */
#define QUIET_NS    20000000   /* when only bells of leases without processes are not heard */
#define AUDIT_MS    1000
#define ARRIVAL_NS  10000000   /* processes that start together are looked at together, when their own start is over */

void fg_vgpu_wake(struct fg_vgpu_server *server)
{
    fg_add(&server->wake, 1);
    syscall(SYS_futex, &server->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

struct fg_arbiter_input fg_vgpu_input(const struct lease *lease)
{
    const struct fg_counters *counters = lease->counters;
    struct fg_arbiter_input in = {.charged_ns = fg_get(&counters->charged_ns), .settled = fg_get(&counters->gone_settled)};
    unsigned high = fg_get(&counters->slots_high);
    for (unsigned i = 0; i < high && i < FG_SLOTS; i++) {
        const struct fg_slot *slot = &counters->slots[i];
        if (fg_owner_state(fg_get(&slot->owner)) != FG_SLOT_LIVE)
            continue;
        uint64_t inflight = fg_get(&slot->inflight);
        in.processes++;
        in.settled += fg_get(&slot->settled);
        in.waiting += fg_get(&slot->waiting);
        in.inflight += fg_inflight_jobs(inflight);
        in.inflight_ns += fg_inflight_ns(inflight);
    }
    return in;
}

void fg_vgpu_unwatch(struct fg_vgpu_server *server, struct watch *watch)
{
    if (watch->pidfd >= 0)
        close(watch->pidfd); /* leaves the epoll set by itself */
    *watch = (struct watch){.pidfd = -1};
}

/* Hold the process behind slot i, or reap it when it is dead already. */
static void look_at(struct fg_vgpu_server *server, struct lease *lease, unsigned i, uint64_t owner)
{
    struct watch *watch = &lease->watches[i];
    fg_vgpu_unwatch(server, watch);
    if (fg_owner_state(owner) == FG_SLOT_FREE)
        return;
    watch->owner = owner;
    watch->seen_ns = fg_boot_ns();
    if (fg_owner_state(owner) == FG_SLOT_LIVE) {
        enum found found = fg_process_find(&lease->counters->slots[i], owner, server->pid_ns, &watch->pidfd, &watch->pid);
        if (found == FOUND_DEAD) {
            fg_slot_reap(lease->counters, i, owner);
            watch->owner = 0;
        } else if (found == FOUND) {
            struct epoll_event event = {.events = EPOLLIN, .data.u64 = lease->serial << 8 | i};
            epoll_ctl(server->epoll, EPOLL_CTL_ADD, watch->pidfd, &event);
        }
    }
    eventfd_t one = 1;
    if (write(server->nudge, &one, sizeof one) < 0)
        return; /* full: it is awake anyway */
}

static void look_at_new(struct fg_vgpu_server *server, struct lease *lease)
{
    unsigned high = fg_get(&lease->counters->slots_high);
    for (unsigned i = 0; i < high && i < FG_SLOTS; i++) {
        uint64_t owner = fg_get(&lease->counters->slots[i].owner);
        int free_now = fg_owner_state(owner) == FG_SLOT_FREE;
        if (free_now ? lease->watches[i].owner != 0 : lease->watches[i].owner != owner)
            look_at(server, lease, i, owner);
    }
}

/* Look at who came. Returns when to do it, if that is later. */
static int64_t greet(struct fg_vgpu_server *server, struct lease *lease)
{
    int64_t now = fg_boot_ns();
    if (fg_get(&lease->counters->arrivals) && !lease->look_ns)
        lease->look_ns = now + ARRIVAL_NS;
    if (lease->look_ns > now)
        return lease->look_ns;
    if (lease->look_ns)
        __atomic_store_n(&lease->counters->arrivals, 0, __ATOMIC_SEQ_CST); /* before the look: who comes later rings again */
    lease->look_ns = 0;
    look_at_new(server, lease);
    return INT64_MAX;
}

/* Limits of the grant, the allowance last; waiters are woken when it grew. */
static void give(struct lease *lease, const struct fg_arbiter_grant *grant, int waiting)
{
    struct fg_limits *limits = lease->limits;
    uint64_t before = limits->allow_ns;
    if (limits->inflight_ns != grant->inflight_ns)
        fg_put(&limits->inflight_ns, grant->inflight_ns);
    uint32_t beside_us = (uint32_t)(grant->beside_ns / 1000);
    if (limits->beside_us != beside_us)
        fg_put(&limits->beside_us, beside_us);
    if (limits->drain_ns != grant->drain_ns)
        __atomic_store_n(&limits->drain_ns, grant->drain_ns, __ATOMIC_SEQ_CST);
    if (before != grant->allow_ns)
        fg_put(&limits->allow_ns, grant->allow_ns);
    if (grant->allow_ns > before) {
        fg_add(&limits->grant_seq, 1);
        if (waiting)
            syscall(SYS_futex, &limits->grant_seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
}

/* One turn of a device's arbiter. */
static void turn(struct device *device)
{
    struct fg_arbiter_input in[FG_ARBITER_MAX] = {0};
    struct fg_arbiter *arbiter = &device->arbiter;
    for (unsigned i = 0; i < arbiter->count; i++)
        if (arbiter->vgpus[i].id && (int)i != device->guest.place)
            in[i] = fg_vgpu_input(device->by_place[i]);
    int64_t now = fg_boot_ns();
    if (device->guest.place >= 0)
        in[device->guest.place] = fg_guest_input(&device->guest, now);
    device->next_ns = fg_arbiter_turn(arbiter, in, now);
    for (unsigned i = 0; i < arbiter->count; i++) {
        const struct fg_arbiter_grant *grant = &arbiter->vgpus[i].grant;
        if (!arbiter->vgpus[i].id)
            continue;
        if ((int)i == device->guest.place) {
            fg_guest_grant(device, grant, now);
            continue;
        }
        fg_put(&device->by_place[i]->limits->heartbeat_ns, (uint64_t)now);
        give(device->by_place[i], grant, in[i].waiting != 0);
        /* drained between our look and our wish for a bell: nobody will ring */
        if (grant->drain_ns && in[i].inflight_ns >= grant->drain_ns && fg_vgpu_input(device->by_place[i]).inflight_ns < grant->drain_ns)
            device->next_ns = now;
    }
}

/* A lease's bell as it was before its counters are read. Returns 0 when it cannot be heard. */
static int listen_to(struct futex_waitv *bells, unsigned *count, const struct lease *lease)
{
    if (*count == WAITERS_MAX)
        return 0;
    bells[(*count)++] = (struct futex_waitv){.val = fg_get(&lease->counters->bell), .uaddr = (uintptr_t)&lease->counters->bell,
                                             .flags = FUTEX_32};
    return 1;
}

/* Who can be heard: first those whose processes may ring any moment, beginning with another one each time, so that of more
 * than can be heard nobody is always left out; then those without processes. Returns when to look at the others. */
static int64_t listen(struct fg_vgpu_server *server, struct futex_waitv *bells, unsigned *count)
{
    size_t leases = server->leases.count, first = leases > WAITERS_MAX - 1 ? server->first_heard++ % leases : 0;
    int64_t unheard_ns = 0;
    for (int quiet = 0; quiet < 2; quiet++)
        for (size_t i = 0; i < leases; i++) {
            const struct lease *lease = server->leases.items[(first + i) % leases];
            if ((fg_get(&lease->counters->slots_high) == 0) == quiet && !listen_to(bells, count, lease) && !unheard_ns)
                unheard_ns = quiet ? QUIET_NS : TICK_NS;
        }
    return unheard_ns ? fg_boot_ns() + unheard_ns : INT64_MAX;
}

/* Turn what is due. Fills the bells to wait for, read before the counters were; returns how many, and when to look again. */
static unsigned round_of(struct fg_vgpu_server *server, struct futex_waitv *bells, int64_t *ret_next_ns)
{
    unsigned count = 1; /* bells[0] is the server's own */
    int64_t next = listen(server, bells, &count);
    for (size_t i = 0; i < server->leases.count; i++) {
        struct lease *lease = server->leases.items[i];
        int64_t look = greet(server, lease);
        next = look < next ? look : next;
        if (lease->place < 0)
            fg_put(&lease->limits->heartbeat_ns, (uint64_t)fg_boot_ns());
    }
    for (size_t i = 0; i < server->devices.count; i++) {
        struct device *device = server->devices.items[i];
        if (!device->arbiter.count)
            continue;
        turn(device);
        if (device->next_ns < next)
            next = device->next_ns;
    }
    *ret_next_ns = next;
    return count;
}

static void wait_for(struct fg_vgpu_server *server, struct futex_waitv *bells, unsigned count, int64_t next_ns)
{
    struct timespec now, until;
    int64_t span = next_ns == INT64_MAX ? INT64_MAX : next_ns - fg_boot_ns();
    if (span <= 0)
        return;
    if (span > (int64_t)3600 * 1000000000)
        span = (int64_t)3600 * 1000000000;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + span;
    until = (struct timespec){end / 1000000000, end % 1000000000};
    if (syscall(SYS_futex_waitv, bells, count, 0, &until, CLOCK_MONOTONIC) < 0 && (errno == ENOSYS || errno == EINVAL)) {
        until = (struct timespec){0, span < TICK_NS ? span : TICK_NS};
        syscall(SYS_futex, &server->wake, FUTEX_WAIT, (uint32_t)bells[0].val, &until, NULL, 0);
    }
}

void *fg_vgpu_loop(void *arg)
{
    struct fg_vgpu_server *server = arg;
    struct futex_waitv bells[WAITERS_MAX] = {0};
    for (;;) {
        int64_t next;
        bells[0] = (struct futex_waitv){.val = fg_get(&server->wake), .uaddr = (uintptr_t)&server->wake, .flags = FUTEX_32};
        pthread_mutex_lock(&server->mutex);
        int stopping = server->stopping;
        unsigned count = stopping ? 0 : round_of(server, bells, &next);
        pthread_mutex_unlock(&server->mutex);
        if (stopping)
            return NULL;
        wait_for(server, bells, count, next);
    }
}

static void reap_if_held(struct fg_vgpu_server *server, uint64_t serial, unsigned i)
{
    for (size_t k = 0; k < server->leases.count; k++) {
        struct lease *lease = server->leases.items[k];
        struct watch *watch = &lease->watches[i];
        if (lease->serial != serial || watch->pidfd < 0)
            continue;
        /* readable when the whole process is gone; an event of a former watch of this slot is not */
        struct pollfd dead = {.fd = watch->pidfd, .events = POLLIN};
        if (poll(&dead, 1, 0) == 1) {
            fg_slot_reap(lease->counters, i, watch->owner);
            fg_vgpu_unwatch(server, watch);
        }
    }
}

/* What no event tells: programs replaced by exec, slots whose process died while taking them, processes not found at first,
 * spoiled pages. Returns whether there is anything to look at again. */
static int audit(struct fg_vgpu_server *server)
{
    int any = 0;
    int64_t now = fg_boot_ns();
    for (size_t k = 0; k < server->leases.count; k++) {
        struct lease *lease = server->leases.items[k];
        lease->corrupt |= fg_counters_check(lease->counters, sizeof *lease->counters) != FG_LEASE_OK;
        lease->unseen = 0;
        for (unsigned i = 0; i < FG_SLOTS; i++) {
            struct watch *watch = &lease->watches[i];
            if (!watch->owner)
                continue;
            any = 1;
            if (fg_owner_state(watch->owner) == FG_SLOT_LIVE && watch->pidfd < 0)
                look_at(server, lease, i, watch->owner);
            else if (fg_owner_state(watch->owner) != FG_SLOT_LIVE && now - watch->seen_ns > 1000000000)
                fg_slot_reap(lease->counters, i, watch->owner);
            else if (watch->pidfd >= 0 && fg_process_replaced(&lease->counters->slots[i], watch->pid))
                fg_slot_reap(lease->counters, i, watch->owner);
            lease->unseen += watch->owner && fg_owner_state(watch->owner) == FG_SLOT_LIVE && watch->pidfd < 0;
        }
    }
    return any;
}

void *fg_vgpu_reaper(void *arg)
{
    struct fg_vgpu_server *server = arg;
    struct epoll_event events[64];
    int64_t audited = 0;
    for (int any = 0;;) {
        int n = epoll_wait(server->epoll, events, 64, any ? AUDIT_MS : -1);
        pthread_mutex_lock(&server->mutex);
        int stopping = server->stopping;
        for (int i = 0; i < n && !stopping; i++) {
            eventfd_t nudges;
            if (events[i].data.u64)
                reap_if_held(server, events[i].data.u64 >> 8, events[i].data.u64 & 0xff);
            else if (read(server->nudge, &nudges, sizeof nudges) == sizeof nudges)
                any = 1;
        }
        if (!stopping && fg_boot_ns() - audited >= (int64_t)AUDIT_MS * 1000000) {
            any = audit(server);
            fg_vgpu_claims_look(server);
            audited = fg_boot_ns();
            n = 1;
        }
        pthread_mutex_unlock(&server->mutex);
        if (stopping)
            return NULL;
        if (n > 0)
            fg_vgpu_wake(server);
    }
}
