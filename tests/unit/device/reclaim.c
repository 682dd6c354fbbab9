/* When an idle vGPU is parked, and every way back: each edge of the state machine and each failure has its outcome. */
#include "unit.h"

#include "base/mem.h"
#include "device/reclaim.h"

#define S INT64_C(1000000000)
#define GIB (UINT64_C(1) << 30)

static const struct fg_reclaim_params params = {.idle_ns = 30 * S, .patience_ns = 100 * S, .peek_ns = 200 * S, .step_ns = 10 * S};
static struct fg_reclaim r;
static struct fg_reclaim_input in;
static struct fg_reclaim_params p;
static int64_t now;

static int setup(void **state)
{
    p = params;
    r = (struct fg_reclaim){0};
    in = (struct fg_reclaim_input){.idle = true, .movable = true, .wanted = true, .host_room = true, .room = true, .processes = 1, .members = 7,
                                   .used_bytes = GIB};
    now = 1000 * S;
    return 0;
}

static enum fg_reclaim_action at(int64_t seconds)
{
    now += seconds * S;
    enum fg_reclaim_action action = fg_reclaim_step(&r, &p, &in, now);
    in.reply = FG_REPLY_NONE;
    assert_non_null(r.why);
    return action;
}

static enum fg_reclaim_action says(enum fg_reclaim_reply reply)
{
    in.reply = reply;
    return at(1);
}

#define is(action, name) assert_int_equal(action, FG_RECLAIM_##name)
#define state_is(name) assert_string_equal(fg_reclaim_state_name(r.state), name)

static void start_parking(void)
{
    is(at(0), NOTHING);
    is(at(29), NOTHING);
    is(at(1), PARK);
    state_is("parking");
}
static void park(void)
{
    start_parking();
    is(says(FG_REPLY_DONE), NOTHING);
    state_is("parked");
}
static void start_restoring(void)
{
    park();
    in.bell++;
    is(at(1), RESTORE);
    state_is("restoring");
}

static void who_is_idle_long_enough_is_parked_and_comes_back_at_its_call(void **state)
{
    start_restoring();
    is(says(FG_REPLY_DONE), OPEN);
    state_is("running");
    is(at(29), NOTHING);                     /* the idle clock began anew */
    is(at(1), PARK);
}

static void nobody_is_parked_while_the_option_is_off(void **state)
{
    p.idle_ns = 0;
    is(at(0), NOTHING);
    is(at(100000), NOTHING);
}

static void nobody_is_parked_while_nobody_lacks_memory_but_where_always_is_asked_for(void **state)
{
    in.wanted = false;
    is(at(0), NOTHING);
    is(at(1000), NOTHING);
    p.when = FG_RECLAIM_ALWAYS;
    is(at(1), PARK);
}

static void a_job_a_change_of_memory_or_a_new_process_begins_the_idle_time_anew(void **state)
{
    is(at(0), NOTHING);
    is(at(29), NOTHING);
    in.work++;
    is(at(1), NOTHING);
    is(at(29), NOTHING);
    in.members++;
    is(at(1), NOTHING);
    is(at(29), NOTHING);
    in.idle = false;
    is(at(1), NOTHING);
    in.idle = true;
    is(at(29), NOTHING);
    is(at(1), PARK);
}

static void managed_or_shared_memory_no_process_and_no_memory_are_never_parked(void **state)
{
    in.movable = false;
    is(at(0), NOTHING);
    is(at(1000), NOTHING);
    assert_has(r.why, "cannot be put aside");
    in.movable = true;
    in.used_bytes = 0;
    is(at(1000), NOTHING);
    in.used_bytes = GIB;
    in.processes = 0;
    is(at(1000), NOTHING);
}

static void without_room_on_the_host_for_the_copy_nobody_is_parked(void **state)
{
    in.host_room = false;
    is(at(0), NOTHING);
    is(at(1000), NOTHING);
    assert_has(r.why, "the host has no room");
    in.host_room = true;
    is(at(1), PARK);
}

static void who_is_busy_on_the_host_is_not_parked_since_its_calls_could_not_be_told(void **state)
{
    is(at(0), NOTHING);
    for (int i = 0; i < 100; i++) {
        in.host_ns += S / 10;                /* a tenth of a processor */
        is(at(1), NOTHING);
    }
    in.host_ns += S / 50;
    is(at(1), NOTHING);
}

static void work_that_does_not_drain_runs_on_and_is_tried_again_later_each_time(void **state)
{
    int64_t wait = 20;
    start_parking();
    for (int i = 0; i < 3; i++, wait *= 2) {
        is(says(FG_REPLY_BUSY), OPEN);
        state_is("running");
        is(at(FG_MAX(wait, 30) - 1), NOTHING);
        is(at(1), PARK);
    }
}

static void what_the_driver_refuses_is_not_tried_again_until_its_processes_change(void **state)
{
    start_parking();
    is(says(FG_REPLY_REFUSED), OPEN);
    is(at(100000), NOTHING);
    in.members++;
    is(at(1), NOTHING);
    is(at(30), PARK);
}

static void a_call_while_it_is_being_parked_brings_it_back_at_once(void **state)
{
    start_parking();
    in.bell++;
    is(at(1), NOTHING);
    is(says(FG_REPLY_DONE), NOTHING);
    is(at(0), RESTORE);
}

static void a_job_in_the_books_brings_it_back(void **state)
{
    park();
    in.idle = false;
    is(at(1), RESTORE);
}

static void processes_that_stir_bring_it_back_since_some_calls_ring_no_bell(void **state)
{
    park();
    in.host_ns += S / 1000;
    is(at(1), NOTHING);
    in.host_ns += S / 500;
    is(at(1), RESTORE);
}

static void what_was_its_usual_stir_does_not(void **state)
{
    is(at(0), NOTHING);
    for (int i = 0; i < 29; i++) {
        in.host_ns += S / 100;               /* a hundredth of a processor, always */
        is(at(1), NOTHING);
    }
    in.host_ns += S / 100;
    is(at(1), PARK);
    is(says(FG_REPLY_DONE), NOTHING);
    for (int i = 0; i < 100; i++) {
        in.host_ns += S / 100;
        is(at(1), NOTHING);
    }
    in.host_ns += 2 * S;
    is(at(1), RESTORE);
}

static void it_comes_back_after_a_while_whoever_called_and_half_as_often_when_nobody_did(void **state)
{
    park();
    is(at(199), NOTHING);
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
    is(at(30), PARK);
    is(says(FG_REPLY_DONE), NOTHING);
    is(at(399), NOTHING);
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
    is(at(30), PARK);
    is(says(FG_REPLY_DONE), NOTHING);
    in.bell++;                               /* a call: the next time is short again */
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
    is(at(30), PARK);
    is(says(FG_REPLY_DONE), NOTHING);
    is(at(200), RESTORE);
}

static void without_room_it_waits_and_comes_back_when_there_is_some(void **state)
{
    park();
    in.bell++;
    in.room = false;
    for (int i = 0; i < 50; i++)
        is(at(1), NOTHING);
    assert_has(r.why, "no room");
    in.room = true;
    is(at(1), RESTORE);
    is(says(FG_REPLY_NO_ROOM), NOTHING);     /* somebody was faster */
    state_is("parked");
    is(at(0), NOTHING);
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
    assert_int_equal(r.lacking_since_ns, 0);
}

static void without_room_it_goes_to_another_device_that_has_some(void **state)
{
    park();
    in.bell++;
    in.room = false;
    in.elsewhere = true;
    is(at(1), NOTHING);
    is(at(4), NOTHING);
    is(at(1), RESTORE_ELSEWHERE);
    is(says(FG_REPLY_DONE), OPEN);
}

static void what_another_device_refuses_waits_for_its_own(void **state)
{
    park();
    in.bell++;
    in.room = false;
    in.elsewhere = true;
    is(at(1), NOTHING);
    is(at(5), RESTORE_ELSEWHERE);
    is(says(FG_REPLY_REFUSED), NOTHING);
    is(at(10), NOTHING);
    in.room = true;
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
}

static void without_room_for_long_the_task_ends(void **state)
{
    park();
    in.bell++;
    in.room = false;
    is(at(1), NOTHING);
    is(at(99), NOTHING);
    is(at(1), END);
    assert_has(r.why, "no room");
    state_is("failed");
    is(at(1000), NOTHING);                   /* said once */
}

static void a_process_that_the_driver_lost_ends_the_task(void **state)
{
    start_parking();
    is(says(FG_REPLY_BROKEN), END);
    setup(NULL);
    start_restoring();
    is(says(FG_REPLY_BROKEN), END);
    assert_has(r.why, "lost the process");
}

static void a_driver_that_hangs_is_left_and_the_processes_are_brought_back(void **state)
{
    start_parking();
    is(at(9), NOTHING);
    is(at(5 + 4), ABANDON);                  /* 10 s and a GiB's time, 4.3 s */
    state_is("parked");
    is(at(0), NOTHING);
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
    assert_int_equal(r.losses, 0);
}

static void a_driver_that_does_not_answer_three_times_ends_the_task(void **state)
{
    start_parking();
    is(says(FG_REPLY_LOST), NOTHING);
    is(at(1), RESTORE);
    is(says(FG_REPLY_LOST), NOTHING);
    is(at(1), RESTORE);
    is(at(15), END);
    assert_has(r.why, "does not answer");
}

static void what_the_driver_cannot_bring_back_at_all_ends_the_task(void **state)
{
    start_restoring();
    is(says(FG_REPLY_REFUSED), NOTHING);
    is(at(1), RESTORE);
    is(says(FG_REPLY_REFUSED), END);
}

static void processes_that_end_meanwhile_leave_nothing_behind(void **state)
{
    start_parking();
    is(says(FG_REPLY_GONE), OPEN);
    setup(NULL);
    park();
    in.processes = 0;
    is(at(1), OPEN);
    state_is("running");
    setup(NULL);
    start_restoring();
    is(says(FG_REPLY_GONE), OPEN);
}

static void who_was_parked_by_an_earlier_agent_comes_back_also_when_the_option_is_off(void **state)
{
    p.idle_ns = 0;
    fg_reclaim_adopt(&r);
    is(at(0), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
    is(at(1000), NOTHING);
}

static void turning_the_option_off_brings_everybody_back(void **state)
{
    park();
    p.idle_ns = 0;
    is(at(1), RESTORE);
}

static void in_a_place_that_is_wanted_back_half_a_second_of_idleness_is_enough(void **state)
{
    in.urgent = true;
    in.wanted = false;
    is(at(0), NOTHING);
    is(at(1), PARK);
    setup(NULL);
    in.urgent = true;
    in.idle = false;
    is(at(0), NOTHING);
    is(at(100), NOTHING);                    /* who works is asked to go by others */
}

static void who_is_told_to_move_comes_back_there_and_nowhere_else(void **state)
{
    park();
    in.ordered = true;
    is(at(1), NOTHING);                      /* no room there yet, and it has not called */
    in.bell++;
    is(at(1), NOTHING);                      /* it has, and its own place has room: but it is not known where it will be */
    in.elsewhere = true;
    is(at(1), RESTORE_ELSEWHERE);
    is(says(FG_REPLY_DONE), OPEN);
    state_is("running");
}

static void a_move_that_the_driver_refuses_waits_for_the_order_to_be_taken_back(void **state)
{
    park();
    in.ordered = in.elsewhere = true;
    is(at(1), RESTORE_ELSEWHERE);
    in.room = false;
    is(says(FG_REPLY_REFUSED), NOTHING);
    assert_true(r.not_elsewhere);
    is(at(1), NOTHING);                      /* has_place gives no room while it is ordered */
    in.ordered = in.elsewhere = false;
    in.room = true;
    is(at(1), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
}

/* As the agent has it: told while it runs, ordered from the moment that it is parked. */
static void one_that_is_told_to_move_is_parked_as_it_runs_and_is_brought_back_elsewhere(void **state)
{
    p.idle_ns = 0;
    in.idle = false;
    in.told = true;
    is(at(0), PARK);
    in.bell++;
    in.reply = FG_REPLY_DONE;
    is(at(0), NOTHING);
    state_is("parked");
    in.told = false;
    in.ordered = true;
    in.room = false;
    is(at(0), NOTHING);
    in.elsewhere = true;
    is(at(0), RESTORE_ELSEWHERE);
    is(says(FG_REPLY_DONE), OPEN);
    state_is("running");
}

/* It did not ring and is idle since it is held: it comes back all the same. */
static void one_that_was_parked_to_move_comes_back_where_it_was_when_that_is_taken_back(void **state)
{
    in.told = true;
    is(at(0), PARK);
    is(says(FG_REPLY_DONE), NOTHING);
    in.told = false;
    in.ordered = true;
    is(at(1), NOTHING);
    in.ordered = false;
    is(at(0), RESTORE);
    is(says(FG_REPLY_DONE), OPEN);
}

static void one_that_cannot_be_parked_is_not_stopped_for_a_move(void **state)
{
    in.told = true;
    in.idle = in.movable = false;
    is(at(0), NOTHING);
    in.movable = true;
    in.host_room = false;
    is(at(0), NOTHING);
    in.host_room = true;
    in.processes = 0;
    is(at(0), NOTHING);
    in.processes = 1;
    is(at(0), PARK);
    is(says(FG_REPLY_REFUSED), OPEN);
    is(at(100), NOTHING);
    state_is("running");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        T(one_that_is_told_to_move_is_parked_as_it_runs_and_is_brought_back_elsewhere),
        T(one_that_was_parked_to_move_comes_back_where_it_was_when_that_is_taken_back),
        T(one_that_cannot_be_parked_is_not_stopped_for_a_move),
        T(who_is_idle_long_enough_is_parked_and_comes_back_at_its_call),
        T(nobody_is_parked_while_the_option_is_off),
        T(nobody_is_parked_while_nobody_lacks_memory_but_where_always_is_asked_for),
        T(a_job_a_change_of_memory_or_a_new_process_begins_the_idle_time_anew),
        T(managed_or_shared_memory_no_process_and_no_memory_are_never_parked),
        T(without_room_on_the_host_for_the_copy_nobody_is_parked),
        T(who_is_busy_on_the_host_is_not_parked_since_its_calls_could_not_be_told),
        T(work_that_does_not_drain_runs_on_and_is_tried_again_later_each_time),
        T(what_the_driver_refuses_is_not_tried_again_until_its_processes_change),
        T(a_call_while_it_is_being_parked_brings_it_back_at_once),
        T(a_job_in_the_books_brings_it_back),
        T(processes_that_stir_bring_it_back_since_some_calls_ring_no_bell),
        T(what_was_its_usual_stir_does_not),
        T(it_comes_back_after_a_while_whoever_called_and_half_as_often_when_nobody_did),
        T(without_room_it_waits_and_comes_back_when_there_is_some),
        T(without_room_it_goes_to_another_device_that_has_some),
        T(what_another_device_refuses_waits_for_its_own),
        T(without_room_for_long_the_task_ends),
        T(a_process_that_the_driver_lost_ends_the_task),
        T(a_driver_that_hangs_is_left_and_the_processes_are_brought_back),
        T(a_driver_that_does_not_answer_three_times_ends_the_task),
        T(what_the_driver_cannot_bring_back_at_all_ends_the_task),
        T(processes_that_end_meanwhile_leave_nothing_behind),
        T(who_was_parked_by_an_earlier_agent_comes_back_also_when_the_option_is_off),
        T(turning_the_option_off_brings_everybody_back),
        T(in_a_place_that_is_wanted_back_half_a_second_of_idleness_is_enough),
        T(who_is_told_to_move_comes_back_there_and_nowhere_else),
        T(a_move_that_the_driver_refuses_waits_for_the_order_to_be_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
