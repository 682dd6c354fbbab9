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
    refuse("1 2\n1 99999999999999999999\n1 2\n5", "too large");
    refuse("1000000000 1000000000\n1 2", "more than a file of");
    refuse("1 2\n1 nan\n1 2\n5", "'nan");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_is_read_task_by_task),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
