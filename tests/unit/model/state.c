/* The tables of states, events and reasons say which moves are legal, and every name finds its way back. */
#include "model/state.h"
#include "unit.h"

static void every_name_finds_its_own_number(void **state)
{
    for (int i = 0; i < FG_STATE_COUNT; i++)
        assert_int_equal(fg_state_by_name(fg_state_name((enum fg_state)i)), i);
    for (int i = 0; i < FG_REASON_COUNT; i++)
        assert_int_equal(fg_reason_by_name(fg_reason_name((enum fg_reason)i)), i);
    for (int i = 0; i <= FG_CLASS_AUTO; i++)
        assert_int_equal(fg_class_by_name(fg_class_name((enum fg_class)i)), i);
    for (int i = 0; i < FG_PRIORITY_COUNT; i++)
        assert_int_equal(fg_priority_by_name(fg_priority_name((enum fg_priority)i)), i);
    for (int i = 0; i < FG_LEVEL_COUNT; i++)
        assert_int_equal(fg_level_by_name(fg_level_name((enum fg_level)i)), i);
}

static void what_is_unknown_is_said_not_guessed(void **state)
{
    assert_int_equal(fg_state_by_name("quued"), -1);
    assert_int_equal(fg_reason_by_name(""), -1);
    assert_string_equal(fg_state_name((enum fg_state)99), "?");
    assert_string_equal(fg_event_name((enum fg_event_kind)-1), "?");
    assert_string_equal(fg_reason_hint((enum fg_reason)99), "");
    assert_false(fg_state_is_terminal((enum fg_state)99));
}

static void only_ended_states_are_terminal(void **state)
{
    assert_false(fg_state_is_terminal(FG_STATE_QUEUED));
    assert_false(fg_state_is_terminal(FG_STATE_STARTING));
    assert_false(fg_state_is_terminal(FG_STATE_RUNNING));
    assert_true(fg_state_is_terminal(FG_STATE_SUCCEEDED));
    assert_true(fg_state_is_terminal(FG_STATE_FAILED));
    assert_true(fg_state_is_terminal(FG_STATE_CANCELED));
    assert_true(fg_state_is_terminal(FG_STATE_EXPIRED));
}

static void the_route_of_a_task_is_legal(void **state)
{
    static const struct { enum fg_event_kind kind; enum fg_state after; } route[] = {
        {FG_EV_TASK_QUEUED, FG_STATE_QUEUED},     {FG_EV_TASK_CLASSIFIED, FG_STATE_QUEUED},
        {FG_EV_TASK_PLACED, FG_STATE_STARTING},   {FG_EV_LEASE_GRANTED, FG_STATE_STARTING},
        {FG_EV_TASK_STARTED, FG_STATE_RUNNING},   {FG_EV_USAGE_RECORDED, FG_STATE_RUNNING},
        {FG_EV_TASK_QUEUED, FG_STATE_QUEUED}, /* lost: again from the queue */
        {FG_EV_LEASE_RELEASED, FG_STATE_QUEUED},
    };
    enum fg_state now = FG_STATE_QUEUED;
    for (size_t i = 0; i < sizeof route / sizeof *route; i++) {
        assert_true(fg_state_move(now, route[i].kind, &now));
        assert_int_equal(now, route[i].after);
    }
}

/* The event itself carries the terminal state; the table must not invent one. */
static void the_end_is_left_to_the_event(void **state)
{
    enum fg_state next;
    assert_true(fg_state_move(FG_STATE_RUNNING, FG_EV_TASK_FINISHED, &next));
    assert_int_equal(next, FG_STATE_RUNNING);
}

static void nothing_leaves_a_terminal_state(void **state)
{
    for (int s = 0; s < FG_STATE_COUNT; s++)
        for (int e = 0; e < FG_EVENT_COUNT; e++) {
            enum fg_state next = FG_STATE_COUNT;
            bool legal = fg_state_move((enum fg_state)s, (enum fg_event_kind)e, &next);
            if (!legal)
                assert_int_equal(next, FG_STATE_COUNT);
            else if (fg_state_is_terminal((enum fg_state)s))
                assert_int_equal(next, s);
        }
}

static void a_task_is_submitted_only_into_being(void **state)
{
    enum fg_state next;
    for (int s = 0; s < FG_STATE_COUNT; s++) {
        assert_false(fg_state_move((enum fg_state)s, FG_EV_TASK_SUBMITTED, &next));
        assert_false(fg_state_move((enum fg_state)s, FG_EV_NODE_LOST, &next));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_finds_its_own_number),   cmocka_unit_test(what_is_unknown_is_said_not_guessed),
        cmocka_unit_test(only_ended_states_are_terminal),    cmocka_unit_test(the_route_of_a_task_is_legal),
        cmocka_unit_test(the_end_is_left_to_the_event),      cmocka_unit_test(nothing_leaves_a_terminal_state),
        cmocka_unit_test(a_task_is_submitted_only_into_being),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
