/* gap.c - OR-Library text is read exactly, or refused with its line. */
#include "plan/gap.h"

#include "unit.h"

static void an_instance_is_read_task_by_task(void **state)
{
    /* 2 agents, 3 tasks; the file is agent by agent and begins with a byte order mark */
    const char *text = "\xef\xbb\xbf 2 3\n 1 2 3\n 4 5 6\r\n 7 8 9\n10 11 12\n 20\t21\n\n";
    struct fg_gap g;
    struct fg_error err = {0};
    assert_ok(fg_gap_parse(text, strlen(text), &g, &err), err);
    assert_int_equal(g.problem.agents, 2);
    assert_int_equal(g.problem.tasks, 3);
    assert_int_equal(g.cost[2 * 2 + 0], 3);
    assert_int_equal(g.cost[0 * 2 + 1], 4);
    assert_int_equal(g.need[1 * 2 + 1], 11);
    assert_int_equal(g.capacity[1], 21);
    fg_gap_fini(&g);
}

static void refuse(const char *text, const char *part)
{
    struct fg_gap g;
    struct fg_error err;
    assert_fails(fg_gap_parse(text, strlen(text), &g, &err), err, FG_E_MALFORMED);
    assert_has(err.text, part);
    assert_true(err.hint[0] != 0);
}

/* A nul is no white space, wherever it stands. */
static void bytes_that_are_no_numbers_are_refused(void **state)
{
    static const char text[] = "1 1\n2\n7\n5\n";
    for (size_t at = 0; at <= sizeof text - 1; at++) {
        char bad[sizeof text + 1];
        struct fg_gap g;
        struct fg_error err = {0};
        memcpy(bad, text, at);
        bad[at] = 0;
        memcpy(bad + at + 1, text + at, sizeof text - 1 - at);
        assert_fails(fg_gap_parse(bad, sizeof text, &g, &err), err, FG_E_MALFORMED);
    }
}

/* Cut off anywhere but in the last capacity, it says so; the largest numbers allowed are taken by the solver, too. */
static void every_cut_off_file_is_refused_and_the_largest_numbers_are_solved(void **state)
{
    static const char text[] = "2 2\n-576460752303423488 576460752303423488\n1 2\n3 576460752303423488\n5 6\n576460752303423488 7";
    struct fg_gap g;
    struct fg_assign_result r;
    struct fg_error err = {0};
    for (size_t n = 0; n + 2 < sizeof text; n++)
        assert_fails(fg_gap_parse(text, n, &g, &err), err, FG_E_MALFORMED);
    assert_ok(fg_gap_parse(text, sizeof text - 1, &g, &err), err);
    assert_ok(fg_assign_solve(&g.problem, &(struct fg_assign_options){.max_iterations = 100}, &r, &err), err);
    assert_true(r.lower_bound <= r.cost + r.cost_nobody);
    fg_assign_result_fini(&r);
    fg_gap_fini(&g);
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    refuse("", "line 1: the text ends where the number of agents");
    refuse("0 3", "the number of agents is 0");
    refuse("2 x", "not 'x'");
    refuse("1 2\n1 2\n1 -2\n5", "line 3: a need is -2");
    refuse("1 2\n1 2\n1 2\n", "the text ends where a capacity");
    refuse("1 2\n1 2\n1 2\n5 6", "something follows");
    refuse("1 2\n1 2.5\n1 2\n5", "line 2: a cost");
    refuse("1 2\n1 99999999999999999999\n1 2\n5", "task 2: line 2: a cost is 99999999999999999999; allowed is");
    refuse("1 2\n1 -99999999999999999999\n1 2\n5", "a cost is -9999999999999999999; allowed is");
    refuse("1 2\n1 576460752303423489\n1 2\n5", "task 2: line 2: a cost is 576460752303423489; allowed is -576460752303423488");
    refuse("1 2\n1 2\n1 576460752303423489\n5", "task 2: line 3: a need is 576460752303423489; allowed is 0 to 576460752303423488");
    refuse("1 2\n1 2\n1 2\n1152921504606846977", "line 4: a capacity is 1152921504606846977");
    refuse("99999999999 2", "line 1: the number of agents is 99999999999");
    refuse("1 2\n1 1e3\n1 2\n5", "not '1e3'");
    refuse("1 2\n1 -\n1 2\n5", "not '-'");
    refuse("1000000000 1000000000\n1 2", "more than a file of");
    refuse("1 2\n1 nan\n1 2\n5", "'nan");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_is_read_task_by_task),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(bytes_that_are_no_numbers_are_refused),
        cmocka_unit_test(every_cut_off_file_is_refused_and_the_largest_numbers_are_solved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
