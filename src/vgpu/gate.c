/* gate.c - may this vGPU submit now? The passing path reads a few words and adds to two; all waiting is out of line. */
#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/gate.h"

#define COST_MIN_NS  1000u                   /* a job counts at least this, so that 20 bits hold the jobs of any bound */
#define COST_MAX_NS  UINT64_C(10000000000)   /* 10 s */
#define NOT_A_BOUND  UINT64_C(1000000000)    /* inflight_ns above this bounds nothing (memory-only leases) */
#define PATIENCE_MIN UINT64_C(1000000)
#define PATIENCE_MAX UINT64_C(500000000)
#define JOB          (UINT64_C(1) << 44)
#define NEVER_FOUND  1u                      /* a heartbeat no living arbiter has */
#define CLOCKS_APART_NS UINT64_C(1000000000) /* clocks of two processes do not differ by so much */

/* A quarter of each new measurement: follows a change of the key's work within a few jobs. */
static inline void learn(struct fg_gate *gate, uint64_t key, uint64_t measured_ns)
{
    struct fg_cost *cost = fg_gate_cost(gate, key);
    uint64_t mean = fg_gate_predict(gate, key);
    mean = mean ? mean - mean / 4 + measured_ns / 4 : measured_ns;
    mean = mean < COST_MIN_NS ? COST_MIN_NS : mean > COST_MAX_NS ? COST_MAX_NS : mean;
    __atomic_store_n(&cost->mean_ns, mean, __ATOMIC_RELAXED); /* torn with another key's: a wrong guess, corrected soon */
    __atomic_store_n(&cost->key, key, __ATOMIC_RELAXED);
}

void fg_gate_init(struct fg_gate *gate, struct fg_lease *lease)
{
    if (gate->lease) /* fresh memory is not touched: that is four page faults */
        memset(gate, 0, sizeof *gate);
    gate->lease = lease;
    gate->epoch = lease->epoch;
}

/* In a forked child: a slot of its own; what it learned of costs still holds. */
static int renew(struct fg_gate *gate)
{
    struct fg_lease *lease = gate->lease;
    if (fg_lease_forked(lease) && fg_lease_reattach(lease) != FG_LEASE_OK)
        return -1;
    fg_lock(&lease->lock);
    if (gate->epoch != lease->epoch) {
        gate->settle_waiters = gate->stalls = 0;
        fg_put(&gate->epoch, lease->epoch);
    }
    fg_unlock(&lease->lock);
    return 0;
}

static inline int has_window(const struct fg_lease *lease)
{
    return fg_get(&lease->counters->charged_ns) < fg_get(&lease->limits->allow_ns);
}

/* One job always fits: it may be longer than any bound. */
static inline int fits(const struct fg_lease *lease, uint64_t predicted_ns, uint64_t bound_ns)
{
    uint64_t inflight = __atomic_load_n(&lease->slot->inflight, __ATOMIC_RELAXED);
    return !inflight || fg_inflight_ns(inflight) + predicted_ns <= bound_ns;
}

static inline uint64_t predict(const struct fg_gate *gate, uint64_t key, uint64_t bound_ns)
{
    uint64_t mean = fg_gate_predict(gate, key);
    if (__builtin_expect(mean != 0, 1))
        return mean;
    return bound_ns < COST_MIN_NS || bound_ns > NOT_A_BOUND ? COST_MIN_NS : bound_ns;
}

static inline void charge(struct fg_gate *gate, uint64_t key, uint64_t predicted_ns, struct fg_ticket *ret)
{
    fg_add(&gate->lease->counters->charged_ns, predicted_ns);
    fg_add(&gate->lease->slot->inflight, JOB + predicted_ns);
    *ret = (struct fg_ticket){.key = key, .predicted_ns = predicted_ns, .jobs = 1, .epoch = gate->epoch};
}

static void futex_wait(const uint32_t *word, uint32_t seen, int op, uint64_t ns)
{
    struct timespec limit = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    syscall(SYS_futex, word, op, seen, &limit, NULL, 0);
}

/* One wait for a window. Returns 1 to look again, 0 to pass without one (arbiter gone). */
struct wait { int64_t began_ns, beat_since_ns; uint64_t beat; };

static int await_window(struct fg_gate *gate, struct wait *wait)
{
    struct fg_lease *lease = gate->lease;
    const struct fg_limits *limits = lease->limits;
    uint64_t beat = fg_get(&limits->heartbeat_ns), vanish = fg_get(&limits->vanish_ns);
    int64_t now = fg_boot_ns();
    if (beat != wait->beat) {
        wait->beat = beat;
        wait->beat_since_ns = now;
        fg_put(&gate->lost_beat, 0);
    } else if (fg_get(&gate->lost_beat) == (beat ? beat : NEVER_FOUND)) {
        return 0; /* found vanished before, and it has not stirred */
    } else if ((uint64_t)(now - wait->beat_since_ns) > vanish) {
        fg_put(&gate->lost_beat, beat ? beat : NEVER_FOUND);
        return 0;
    }
    uint32_t seq = fg_get(&limits->grant_seq);
    if (has_window(lease))
        return 1;
    fg_lease_ring(lease);
    futex_wait(&limits->grant_seq, seq, FUTEX_WAIT, vanish / 4);
    return 1;
}

/* One wait for work in flight to complete. 0: nothing did in twice its predicted time, so pass; the next one waits twice as
 * long, until something completes: long jobs of unknown cost do not pile up, and a program that must submit more before
 * anything can complete does get on. */
static int await_settle(struct fg_gate *gate, uint64_t predicted_ns, uint64_t bound_ns)
{
    struct fg_lease *lease = gate->lease;
    uint64_t inflight = fg_inflight_ns(fg_get(&lease->slot->inflight));
    uint32_t stalls = fg_get(&gate->stalls);
    uint64_t patience = (2 * inflight > bound_ns ? 2 * inflight : bound_ns) << (stalls < 9 ? stalls : 9);
    patience = patience < PATIENCE_MIN ? PATIENCE_MIN : patience > PATIENCE_MAX ? PATIENCE_MAX : patience;
    fg_add(&gate->settle_waiters, 1);
    uint32_t seen = fg_get(&gate->settles);
    int64_t until = fg_boot_ns() + (int64_t)patience, now;
    int settled = fits(lease, predicted_ns, bound_ns); /* before our count of waiters was seen */
    while (!settled && !(settled = fg_get(&gate->settles) != seen) && (now = fg_boot_ns()) < until)
        futex_wait(&gate->settles, seen, FUTEX_WAIT_PRIVATE, (uint64_t)(until - now));
    fg_add(&gate->settle_waiters, -1u);
    if (!settled)
        fg_add(&gate->stalls, 1);
    return settled;
}

/* The lease as enter_slow sees it in one look. */
struct look { uint32_t flags; uint64_t bound_ns, predicted_ns; int window, fits; };

static struct look look(const struct fg_gate *gate, uint64_t key, uint64_t budget_ns, unsigned how)
{
    const struct fg_lease *lease = gate->lease;
    struct look l = {.flags = fg_get(&lease->limits->flags), .bound_ns = fg_get(&lease->limits->inflight_ns)};
    l.predicted_ns = budget_ns ? budget_ns : predict(gate, key, l.bound_ns);
    l.window = has_window(lease) || l.flags & FG_LIMIT_UNGATED;
    l.fits = l.flags & FG_LIMIT_UNGATED || how & FG_GATE_UNBOUND || fits(lease, l.predicted_ns, l.bound_ns);
    return l;
}

static __attribute__((noinline)) enum fg_gate_status enter_slow(struct fg_gate *gate, uint64_t key, uint64_t budget_ns, unsigned how,
                                                                struct fg_ticket *ret)
{
    struct fg_slot *slot = gate->lease->slot;
    struct wait wait = {.began_ns = fg_boot_ns(), .beat = fg_get(&gate->lease->limits->heartbeat_ns)};
    wait.beat_since_ns = wait.began_ns;
    enum fg_gate_status status = FG_GATE_PASS;
    struct look now;
    int counted = 0;
    for (;;) {
        now = look(gate, key, budget_ns, how);
        if (now.flags & FG_LIMIT_CLOSED)
            status = FG_GATE_CLOSED;
        if (status || (now.window && now.fits))
            break;
        if (how & FG_GATE_NOWAIT) {
            status = FG_GATE_BUSY;
            if (!now.window)
                fg_lease_ring(gate->lease);
            break;
        }
        if (!now.window && !counted)
            fg_add(&slot->waiting, counted = 1);
        if (now.window ? await_settle(gate, now.predicted_ns, now.bound_ns) : await_window(gate, &wait))
            continue;
        if (!now.window && now.flags & FG_LIMIT_FAIL_CLOSED)
            status = FG_GATE_CLOSED;
        now.predicted_ns = COST_MIN_NS;
        fg_add(&slot->ungated, 1);
        break;
    }
    if (counted)
        fg_add(&slot->waiting, -1u);
    if (status == FG_GATE_BUSY)
        return status;
    fg_add(&slot->throttle_ns, (uint64_t)(fg_boot_ns() - wait.began_ns));
    if (status == FG_GATE_PASS)
        charge(gate, key, now.flags & FG_LIMIT_UNGATED ? COST_MIN_NS : now.predicted_ns, ret);
    return status;
}

/* budget_ns 0: the key's prediction. */
static inline enum fg_gate_status enter(struct fg_gate *gate, uint64_t key, uint64_t budget_ns, unsigned how, struct fg_ticket *ret)
{
    struct fg_lease *lease = gate->lease;
    if (__builtin_expect(fg_lease_forked(lease) || fg_get(&gate->epoch) != lease->epoch, 0)) {
        int saved = errno, lost = renew(gate) != 0;
        errno = saved;
        if (lost)
            return FG_GATE_CLOSED;
    }
    uint64_t bound = fg_get(&lease->limits->inflight_ns), predicted = budget_ns ? budget_ns : predict(gate, key, bound);
    if (__builtin_expect(has_window(lease) && fits(lease, predicted, bound), 1)) {
        charge(gate, key, predicted, ret);
        return FG_GATE_PASS;
    }
    int saved = errno;
    enum fg_gate_status status = enter_slow(gate, key, budget_ns, how, ret);
    errno = saved;
    return status;
}

enum fg_gate_status fg_gate_enter(struct fg_gate *gate, uint64_t key, unsigned how, struct fg_ticket *ret)
{
    return enter(gate, key, 0, how, ret);
}

enum fg_gate_status fg_gate_prepay(struct fg_gate *gate, uint64_t budget_ns, unsigned how, struct fg_ticket *ret)
{
    budget_ns = budget_ns < COST_MIN_NS ? COST_MIN_NS : budget_ns > COST_MAX_NS ? COST_MAX_NS : budget_ns;
    return enter(gate, 0, budget_ns, how, ret);
}

/* The jobs are no longer in flight: wake who waits for that, in this process or in the arbiter. */
static void leave(struct fg_gate *gate, const struct fg_ticket *ticket)
{
    struct fg_lease *lease = gate->lease;
    uint64_t gone = JOB * ticket->jobs + ticket->predicted_ns;
    uint64_t before = fg_add(&lease->slot->inflight, -gone), left = fg_inflight_ns(before - gone);
    uint64_t drain = fg_get(&lease->limits->drain_ns);
    if (__atomic_load_n(&gate->stalls, __ATOMIC_RELAXED))
        fg_put(&gate->stalls, 0);
    int saved = errno;
    if (fg_get(&gate->settle_waiters)) {
        fg_add(&gate->settles, 1);
        syscall(SYS_futex, &gate->settles, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
    if (drain && left < drain && fg_inflight_ns(before) >= drain)
        fg_lease_ring(lease);
    errno = saved;
}

static inline int stale(const struct fg_gate *gate, const struct fg_ticket *ticket)
{
    return fg_lease_forked(gate->lease) || ticket->epoch != gate->lease->epoch || !ticket->jobs;
}

void fg_gate_count(struct fg_gate *gate, struct fg_ticket *batch, uint32_t more_jobs)
{
    if (stale(gate, batch))
        return;
    fg_add(&gate->lease->slot->inflight, JOB * more_jobs);
    batch->jobs += more_jobs;
}

void fg_gate_cancel(struct fg_gate *gate, const struct fg_ticket *ticket)
{
    if (stale(gate, ticket))
        return;
    fg_add(&gate->lease->counters->charged_ns, -ticket->predicted_ns);
    leave(gate, ticket);
}

/* What of start..end no earlier settled job covered: *until is the end of the last. One that ended long after this is a clock's fault. */
static uint64_t uncovered(uint64_t *until, uint64_t start_ns, uint64_t end_ns)
{
    uint64_t busy = fg_get(until);
    do {
        if (end_ns <= busy && busy - end_ns < CLOCKS_APART_NS)
            return 0;
    } while (!fg_cas(until, &busy, end_ns));
    return end_ns - (start_ns > busy || busy >= end_ns ? start_ns : busy);
}

/* Others' jobs may lie between START and END of one that runs beside them. What a job is known to take is charged when that explains it, and
 * only what is less is learned: costs are measured anew where it runs by itself. */
static __attribute__((noinline)) uint64_t apart(struct fg_gate *gate, const struct fg_ticket *ticket, uint64_t spent)
{
    uint64_t beside_ns = fg_get(&gate->lease->limits->beside_us) * UINT64_C(1000);
    uint64_t mean = fg_gate_predict(gate, ticket->key) * ticket->jobs, charge = fg_gate_apart(mean ? mean : spent, spent, beside_ns);
    if (!mean || charge < mean)
        learn(gate, ticket->key, charge / ticket->jobs);
    return charge;
}

/* Device time of a job that ended, learned from. Between START and END jobs of other processes of the lease may lie, which are charged, too: of
 * all of them together the time that passed is charged, as it is for threads. Their clocks differ by as much as an idle stream takes to record an
 * event; what one is charged too little at a change from the other, that one is charged too much at the next. */
static uint64_t spent_by(struct fg_gate *gate, const struct fg_ticket *ticket, uint64_t start_ns, uint64_t end_ns)
{
    if (end_ns <= start_ns)
        return ticket->predicted_ns;
    struct fg_counters *counters = gate->lease->counters;
    uint64_t spent = uncovered(&gate->lease->slot->busy_until_ns, start_ns, end_ns), charge = spent;
    if (ticket->key && __builtin_expect(__atomic_load_n(&gate->lease->limits->beside_us, __ATOMIC_RELAXED), 0))
        charge = apart(gate, ticket, spent);
    else if (ticket->key)
        learn(gate, ticket->key, spent / ticket->jobs);
    if (__builtin_expect(__atomic_load_n(&counters->slots_high, __ATOMIC_RELAXED) > 1, 0)) {
        uint64_t fresh = uncovered(&counters->busy_until_ns, start_ns, end_ns);
        return charge < fresh ? charge : fresh;
    }
    return charge;
}

void fg_gate_settle(struct fg_gate *gate, const struct fg_ticket *ticket, uint64_t start_ns, uint64_t end_ns)
{
    struct fg_ended ended = {.ticket = *ticket, .start_ns = start_ns, .end_ns = end_ns};
    fg_gate_settle_many(gate, &ended, 1);
}

void fg_gate_settle_many(struct fg_gate *gate, const struct fg_ended *ended, unsigned count)
{
    struct fg_slot *slot = gate->lease->slot;
    struct fg_ticket all = {0};
    uint64_t spent = 0, settled = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct fg_ticket *ticket = &ended[i].ticket;
        if (stale(gate, ticket))
            continue;
        fg_ticket_merge(&all, ticket);
        if (ended[i].failed)
            continue;
        spent += spent_by(gate, ticket, ended[i].start_ns, ended[i].end_ns);
        settled += ticket->jobs;
    }
    if (!all.jobs)
        return;
    if (spent != all.predicted_ns)
        fg_add(&gate->lease->counters->charged_ns, spent - all.predicted_ns);
    if (settled) {
        fg_add(&slot->device_ns, spent);
        fg_add(&slot->settled, settled);
    }
    leave(gate, &all);
}

void fg_ticket_merge(struct fg_ticket *batch, const struct fg_ticket *more)
{
    batch->key = !batch->jobs || batch->key == more->key ? more->key : 0;
    batch->predicted_ns += more->predicted_ns;
    batch->jobs += more->jobs;
    batch->epoch = more->epoch;
}
