/* The gate, alone on a page the test writes: windows, bounds, prediction, waiting, a vanished arbiter, batches. */
#include "vgpu_unit.h"
#include <pthread.h>

static struct fg_limits *limits;
static struct fg_counters *counters;
static struct fg_lease lease;
static struct fg_gate gate;
static int fds[2];
static char where[128];

/* The arbiter's side, by hand. */
static int setup(void **state)
{
    fds[0] = memfd_create("limits", MFD_CLOEXEC);
    fds[1] = memfd_create("counters", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fds[0], 4096) | ftruncate(fds[1], sizeof *counters), 0);
    limits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
    *limits = (struct fg_limits){.magic = FG_LIMITS_MAGIC, .version = FG_LEASE_VERSION, .size = sizeof *limits,
                                 .memory_bytes = 1000, .share_permille = 100, .window_ns = 8 * MS, .vanish_ns = 100 * MS,
                                 .allow_ns = UINT64_MAX, .inflight_ns = 8 * MS, .heartbeat_ns = 1};
    fg_counters_format(counters);
    snprintf(where, sizeof where, "/proc/self/fd/%d:/proc/self/fd/%d", fds[0], fds[1]);
    memset(&lease, 0, sizeof lease);
    assert_int_equal(fg_lease_attach(&lease, where), FG_LEASE_OK);
    fg_gate_init(&gate, &lease);
    return 0;
}

static int teardown(void **state)
{
    fg_lease_detach(&lease);
    close(fds[0]);
    close(fds[1]);
    munmap(limits, 4096);
    munmap(counters, sizeof *counters);
    return 0;
}

static struct fg_ticket enter(uint64_t key)
{
    struct fg_ticket t = {0};
    assert_int_equal(fg_gate_enter(&gate, key, FG_GATE_NOWAIT, &t), FG_GATE_PASS);
    return t;
}

static void teach(uint64_t key, uint64_t ns)
{
    static uint64_t at = 1000 * MS;
    for (int i = 0; i < 30; i++) {
        struct fg_ticket t = enter(key);
        fg_gate_settle(&gate, &t, at, at + ns);
        at += 2 * ns;
    }
}

static void charges_the_prediction_then_the_measured_time(void **state)
{
    struct fg_ticket t = enter(7);
    assert_int_equal(t.predicted_ns, 8 * MS); /* never measured: the whole bound */
    assert_int_equal(counters->charged_ns, 8 * MS);
    fg_gate_settle(&gate, &t, 5 * MS, 6 * MS);
    assert_int_equal(counters->charged_ns, 1 * MS);
    assert_int_equal(lease.slot->device_ns, 1 * MS);
    assert_int_equal(fg_gate_predict(&gate, 7), 1 * MS);
    t = enter(7);
    assert_int_equal(t.predicted_ns, 1 * MS);
    fg_gate_cancel(&gate, &t); /* the driver refused */
    assert_int_equal(counters->charged_ns, 1 * MS);
    assert_int_equal(lease.slot->inflight, 0);
    t = enter(7);
    fg_gate_settle(&gate, &t, 0, 0); /* not measured: the prediction stands */
    assert_int_equal(counters->charged_ns, 2 * MS);
    assert_int_equal(lease.slot->settled, 2);
}

static void prediction_follows_the_kernel(void **state)
{
    teach(1, 100000);
    teach(2, 3 * MS);
    assert_int_equal(fg_gate_predict(&gate, 1), 100000);
    assert_in_range(fg_gate_predict(&gate, 2), 3 * MS - 10, 3 * MS);
    teach(1, 200000);
    assert_in_range(fg_gate_predict(&gate, 1), 199000, 200000);
}

static void without_a_window_nothing_passes(void **state)
{
    struct fg_ticket t;
    limits->allow_ns = 0;
    uint32_t bell = counters->bell;
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY);
    assert_true(counters->bell != bell);
    assert_int_equal(counters->charged_ns, 0);
    limits->allow_ns = 1;
    enter(1);
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY); /* used up */
}

static void work_in_flight_is_bounded_but_one_job_always_fits(void **state)
{
    struct fg_ticket t;
    teach(1, 3 * MS);
    teach(2, 50 * MS);
    t = enter(1);
    enter(1);
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY); /* 9 of 8 ms */
    fg_gate_settle(&gate, &t, 0, 0);
    fg_gate_settle(&gate, &t, 0, 0);
    lease.slot->inflight = 0;
    enter(2); /* longer than the bound, and alone */
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY);
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_NOWAIT | FG_GATE_UNBOUND, &t), FG_GATE_PASS);
}

static void overlapping_jobs_are_charged_for_the_union(void **state)
{
    struct fg_ticket a = enter(1), b = {0};
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_UNBOUND, &b), FG_GATE_PASS);
    fg_gate_settle(&gate, &a, 10 * MS, 14 * MS);
    fg_gate_settle(&gate, &b, 11 * MS, 16 * MS);
    assert_int_equal(counters->charged_ns, 6 * MS);
    assert_int_equal(lease.slot->device_ns, 6 * MS);
}

/* Two that take turns on the device: the second's job begins, as its stream sees it, while the first's still runs. */
static void processes_of_one_lease_are_charged_for_the_union(void **state)
{
    struct fg_lease second = {0};
    struct fg_gate its_gate;
    assert_int_equal(fg_lease_attach(&second, where), FG_LEASE_OK);
    fg_gate_init(&its_gate, &second);
    for (uint64_t at = 10 * MS; at < 50 * MS; at += 4 * MS) {
        struct fg_ticket a = enter(1), b = {0};
        assert_int_equal(fg_gate_enter(&its_gate, 1, FG_GATE_UNBOUND, &b), FG_GATE_PASS);
        fg_gate_settle(&gate, &a, at, at + 2 * MS);
        fg_gate_settle(&its_gate, &b, at + MS / 10, at + 4 * MS);
        assert_int_equal(counters->charged_ns, at - 6 * MS);
    }
    struct fg_ticket wrong = enter(1);
    fg_gate_settle(&gate, &wrong, 900000 * MS, 900001 * MS); /* a clock that is off takes nothing from the others */
    uint64_t before = counters->charged_ns;
    struct fg_ticket b = {0};
    assert_int_equal(fg_gate_enter(&its_gate, 1, FG_GATE_UNBOUND, &b), FG_GATE_PASS);
    fg_gate_settle(&its_gate, &b, 60 * MS, 61 * MS);
    assert_int_equal(counters->charged_ns - before, 1 * MS);
    fg_lease_detach(&second);
}

static void a_batch_settles_as_one(void **state)
{
    teach(3, 1 * MS);
    uint64_t before = counters->charged_ns;
    struct fg_ticket batch = {0};
    for (int i = 0; i < 4; i++) {
        struct fg_ticket t = enter(3);
        fg_ticket_merge(&batch, &t);
    }
    assert_int_equal(batch.jobs, 4);
    assert_int_equal(fg_inflight_jobs(lease.slot->inflight), 4);
    fg_gate_settle(&gate, &batch, 500000 * MS, 500008 * MS); /* two each */
    assert_int_equal(lease.slot->inflight, 0);
    assert_int_equal(counters->charged_ns - before, 8 * MS);
    assert_int_equal(fg_gate_predict(&gate, 3), 1 * MS + MS / 4);
}

static void *wait_inside(void *arg)
{
    struct fg_ticket t;
    return (void *)(intptr_t)(fg_gate_enter(&gate, 1, 0, &t) + 1);
}

static void grant(uint64_t allow)
{
    fg_put(&limits->allow_ns, allow);
    fg_add(&limits->heartbeat_ns, 1);
    fg_add(&limits->grant_seq, 1);
    syscall(202 /* futex */, &limits->grant_seq, 1 /* wake */, 1000, NULL, NULL, 0);
}

static void a_grant_wakes_who_waits(void **state)
{
    pthread_t thread;
    void *result;
    limits->allow_ns = 0;
    limits->vanish_ns = 60000ull * MS;
    assert_int_equal(pthread_create(&thread, NULL, wait_inside, NULL), 0);
    assert_true(unit_comes(fg_get(&lease.slot->waiting) == 1));
    unit_sleep_ms(20);
    grant(1000);
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, FG_GATE_PASS + 1);
    assert_int_equal(lease.slot->ungated, 0); /* it was the grant, not the 60 s */
    assert_int_equal(lease.slot->waiting, 0);
    assert_true(lease.slot->throttle_ns > 15 * MS);
}

static void a_vanished_arbiter_stops_nobody_unless_told_so(void **state)
{
    struct fg_ticket t;
    limits->allow_ns = 0;
    int64_t start = fg_boot_ns();
    assert_int_equal(fg_gate_enter(&gate, 1, 0, &t), FG_GATE_PASS); /* after 100 ms without a heartbeat */
    assert_true(fg_boot_ns() - start >= 100 * MS);
    start = fg_boot_ns();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(fg_gate_enter(&gate, 1, 0, &t), FG_GATE_PASS); /* and from then on at once */
    assert_true(fg_boot_ns() - start < 50000 * MS); /* not 100 ms each */
    assert_int_equal(lease.slot->ungated, 1001);
    limits->heartbeat_ns++; /* it is back: gated again */
    assert_int_equal(fg_gate_enter(&gate, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY);
    limits->flags = FG_LIMIT_FAIL_CLOSED;
    assert_int_equal(fg_gate_enter(&gate, 1, 0, &t), FG_GATE_CLOSED);
    assert_int_equal(lease.slot->waiting, 0);
}

static void closed_and_ungated_leases(void **state)
{
    struct fg_ticket t;
    limits->allow_ns = 0;
    limits->flags = FG_LIMIT_CLOSED;
    assert_int_equal(fg_gate_enter(&gate, 1, 0, &t), FG_GATE_CLOSED);
    limits->flags = FG_LIMIT_UNGATED;
    for (int i = 0; i < 100000; i++)
        assert_int_equal(fg_gate_enter(&gate, 1, 0, &t), FG_GATE_PASS);
    assert_int_equal(fg_inflight_jobs(lease.slot->inflight), 100000);
}

/* Jobs that wait for an event the program sets only after it submitted more: slow, never stuck. */
static void submits_that_cannot_complete_do_not_deadlock(void **state)
{
    struct fg_ticket t;
    teach(1, 8 * MS);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fg_gate_enter(&gate, 1, 0, &t), FG_GATE_PASS);
    assert_int_equal(lease.slot->ungated, 3);
    fg_gate_settle(&gate, &t, 0, 0);
    assert_int_equal(gate.stalls, 0);
}

static void a_settle_rings_when_the_arbiter_waits_for_the_drain(void **state)
{
    teach(1, 1 * MS);
    limits->drain_ns = 2 * MS - 1000;
    struct fg_ticket a = enter(1), b = enter(1), c = enter(1);
    uint32_t bell = counters->bell;
    fg_gate_settle(&gate, &a, 0, 0);
    assert_int_equal(counters->bell, bell);
    fg_gate_settle(&gate, &b, 0, 0); /* 2 -> 1 ms */
    assert_int_equal(counters->bell, bell + 1);
    fg_gate_settle(&gate, &c, 0, 0); /* below already */
    assert_int_equal(counters->bell, bell + 1);
}

/* 1 + 2 ms, the third failed, and the fourth lies half within the second: 1 + 2 + 1. */
static void jobs_settled_together_count_as_one_after_the_other(void **state)
{
    struct fg_ended ended[4] = {{.start_ns = 10 * MS, .end_ns = 11 * MS}, {.start_ns = 11 * MS, .end_ns = 13 * MS}, {.failed = 1},
                                {.start_ns = 12 * MS, .end_ns = 14 * MS}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(fg_gate_enter(&gate, 11 + (uint64_t)i, FG_GATE_NOWAIT | FG_GATE_UNBOUND, &ended[i].ticket), FG_GATE_PASS);
    fg_gate_settle_many(&gate, ended, 4);
    assert_int_equal(counters->charged_ns, 4 * MS);
    assert_int_equal(lease.slot->device_ns, 4 * MS);
    assert_int_equal(lease.slot->settled, 3);
    assert_int_equal(lease.slot->inflight, 0);
    assert_int_equal(fg_gate_predict(&gate, 12), 2 * MS);
    assert_int_equal(fg_gate_predict(&gate, 13), 0);
    fg_gate_settle_many(&gate, ended, 0);
    assert_int_equal(lease.slot->settled, 3);
}

static struct fg_ticket before_fork;
static void child(void *arg)
{
    struct fg_ticket t;
    struct fg_slot *parents = lease.slot;
    fg_gate_settle(&gate, &before_fork, 0, 0); /* a callback of the parent's job: not ours */
    if (parents->settled != 30)
        _exit(1);
    if (fg_gate_enter(&gate, 1, FG_GATE_NOWAIT, &t) != FG_GATE_PASS || lease.slot == parents || t.predicted_ns != 1 * MS)
        _exit(2);
    if (fg_inflight_jobs(parents->inflight) != 1 || fg_inflight_jobs(lease.slot->inflight) != 1)
        _exit(3);
}

static void a_forked_child_counts_for_itself(void **state)
{
    teach(1, 1 * MS);
    before_fork = enter(1);
    assert_int_equal(unit_wait(unit_fork(child, NULL)), 0);
}

/* Known to take 200. Others may have taken 150 of what lies between START and END. */
static void beside_others_a_job_is_charged_what_it_is_known_to_take(void **state)
{
    assert_int_equal(fg_gate_apart(200, 180, 150), 180); /* not more than there was */
    assert_int_equal(fg_gate_apart(200, 200, 150), 200);
    assert_int_equal(fg_gate_apart(200, 350, 150), 200); /* all of the rest may be theirs */
    assert_int_equal(fg_gate_apart(200, 400, 150), 250); /* not all of it */
    assert_int_equal(fg_gate_apart(200, 400, 500), 200);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_others_a_job_is_charged_what_it_is_known_to_take),
        T(charges_the_prediction_then_the_measured_time),
        T(prediction_follows_the_kernel),
        T(without_a_window_nothing_passes),
        T(work_in_flight_is_bounded_but_one_job_always_fits),
        T(overlapping_jobs_are_charged_for_the_union),
        T(processes_of_one_lease_are_charged_for_the_union),
        T(a_batch_settles_as_one),
        T(a_grant_wakes_who_waits),
        T(a_vanished_arbiter_stops_nobody_unless_told_so),
        T(closed_and_ungated_leases),
        T(submits_that_cannot_complete_do_not_deadlock),
        T(a_settle_rings_when_the_arbiter_waits_for_the_drain),
        T(jobs_settled_together_count_as_one_after_the_other),
        T(a_forked_child_counts_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
