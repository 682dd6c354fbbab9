/* Idle share is lent to elastic tasks and comes back before anybody waits for it. */
#include "core_fix.h"

static struct fg_spec elastic(uint32_t share, uint32_t most)
{
    struct fg_spec spec = fix_spec();
    spec.need.share_permille = share;
    spec.need.share_max_permille = most;
    return spec;
}
static struct fg_spec plain(uint32_t share) { return elastic(share, 0); }
static uint32_t lent(const struct fix *f, fg_id id) { return fix_task(f, id)->lease.lent_permille; }
static void later(struct fix *f)
{
    f->now += S;
    fix_tick(f);
    fix_dispatch(f);
}
/* The actions so far, in order: "resize 1:500 start 2". */
static const char *acts(const struct fix *f)
{
    static char text[500];
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; i < f->fx.actions.count; i++) {
        const struct fg_action *a = &f->fx.actions.items[i];
        const char *gap = n ? " " : "";
        if (a->kind == FG_ACT_RESIZE)
            n += (size_t)snprintf(text + n, sizeof text - n, "%sresize %d:%u", gap, (int)a->task.lo, a->lease.share_permille + a->lease.lent_permille);
        else if (a->kind == FG_ACT_START)
            n += (size_t)snprintf(text + n, sizeof text - n, "%sstart %d", gap, (int)a->task.lo);
    }
    return text;
}

static void alone_it_gets_all_it_can_use_once_that_was_idle_for_a_second(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, elastic(250, 800));
    fix_dispatch(&f);
    assert_int_equal(lent(&f, id), 0);
    later(&f);
    assert_int_equal(lent(&f, id), 550);
    assert_string_equal(fix_story(&f), "lease.resized");
    assert_string_equal(acts(&f), "resize 1:800");
    fix_clear(&f);
    later(&f);
    assert_string_equal(acts(&f), "");   /* nothing changed, nothing is said */
    struct fg_device_view view;
    assert_int_equal(fg_core_devices(f.core, &view, 1), 1);
    assert_int_equal(view.share_free_permille, 750);     /* lent is free to others */
    assert_int_equal(view.share_lent_permille, 550);
    fix_end(&f);
}

static void who_comes_starts_at_once_and_the_borrower_is_lowered_first(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, elastic(250, 1000));
    later(&f);
    assert_int_equal(lent(&f, id), 750);
    fix_clear(&f);
    fg_id other = fix_submit(&f, plain(600));
    fix_dispatch(&f);
    assert_string_equal(acts(&f), "resize 1:400 start 2");
    fix_started(&f, other);
    fix_clear(&f);
    fg_id third = fix_submit(&f, plain(150));
    fix_dispatch(&f);
    assert_string_equal(acts(&f), "resize 1:250 start 3");   /* never below its own */
    fix_clear(&f);
    fix_finished(&f, other, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_started(&f, third);
    later(&f);
    later(&f);
    assert_string_equal(acts(&f), "resize 1:850");
    fix_end(&f);
}

static void what_fits_beside_what_is_lent_takes_nothing_back(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, elastic(250, 500));
    later(&f);
    fix_clear(&f);
    fix_submit(&f, plain(500));
    fix_dispatch(&f);
    assert_string_equal(acts(&f), "start 2");
    assert_int_equal(lent(&f, id), 250);
    fix_end(&f);
}

static void borrowers_are_brought_up_to_the_same_share_as_far_as_each_may_go(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id a = fix_running(&f, elastic(100, 1000)), b = fix_running(&f, elastic(300, 1000)), c = fix_running(&f, elastic(100, 150));
    later(&f);
    assert_int_equal(lent(&f, a), 325);  /* 425 + 425 + 150 */
    assert_int_equal(lent(&f, b), 125);
    assert_int_equal(lent(&f, c), 50);
    fix_clear(&f);
    fg_id d = fix_running(&f, elastic(200, 1000));
    later(&f);
    assert_int_equal(lent(&f, a), 175);  /* 275 + 300 + 150 + 275: b has more of its own */
    assert_int_equal(lent(&f, b), 0);
    assert_int_equal(lent(&f, d), 75);
    fix_end(&f);
}

static void what_is_lent_costs_nothing_and_counts_for_nobody(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    int64_t cost[2];
    for (int i = 0; i < 2; i++) {
        fg_id id = fix_running(&f, i ? elastic(250, 1000) : plain(250));
        later(&f);
        assert_int_equal(lent(&f, id), i ? 750 : 0);
        f.now += 9 * S;
        fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 10 * S);
        assert_int_equal(lent(&f, id), 0);
        cost[i] = fix_task(&f, id)->cost_nanousd;
    }
    assert_true(cost[0] > 0 && cost[0] == cost[1]);
    fix_end(&f);
}

static void nothing_is_lent_before_it_runs_while_it_is_stopped_or_while_its_machine_is_away(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_submit(&f, elastic(250, 1000));
    fix_dispatch(&f);
    later(&f);
    assert_int_equal(lent(&f, id), 0);
    fix_started(&f, id);
    fix_gone(&f);
    later(&f);
    assert_int_equal(lent(&f, id), 0);
    struct fg_attempt_at_node has = {id, 1, fix_task(&f, id)->lease.epoch, false};
    fix_hello_with(&f, node_a, "boot", &has, 1);
    later(&f);
    assert_int_equal(lent(&f, id), 750);
    fix_ask(&f, FG_IN_CANCEL, id);
    fix_clear(&f);
    fix_submit(&f, plain(500));
    fix_dispatch(&f);
    assert_string_equal(acts(&f), "resize 1:250 start 2");   /* all of it, since it is going */
    fix_end(&f);
}

static void at_its_hello_a_machine_is_told_what_goes_down_before_what_goes_up(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id a = fix_running(&f, elastic(200, 500)), b = fix_running(&f, elastic(300, 300));
    later(&f);
    assert_int_equal(lent(&f, a), 300);
    fg_id c = fix_submit(&f, plain(200));
    fix_dispatch(&f);
    fix_clear(&f);
    struct fg_attempt_at_node has[] = {{a, 1, fix_task(&f, a)->lease.epoch, false}, {b, 1, fix_task(&f, b)->lease.epoch, false}};
    fix_gone(&f);
    fix_hello_with(&f, node_a, "boot", has, 2);
    assert_string_equal(acts(&f), "resize 1:200 resize 1:500 start 3");
    assert_int_equal(fix_task(&f, c)->state, FG_STATE_STARTING);
    fix_end(&f);
}

static void copy_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct fg_core *to = arg;
    struct fg_error err;
    if (!task) {
        assert_ok(fg_core_load_aux(to, key, doc, &err), err);
        return;
    }
    struct fg_task copy = {.id = task->id, .tenant = task->tenant};
    FG_AUTO_STR struct fg_str text = {0};
    fg_task_encode(task, &text);
    assert_ok(fg_task_decode(text.data, text.len, &copy, &err), err);
    copy.spec.json = fg_strdup(task->spec.json);
    assert_ok(fg_core_load_task(to, &copy, &err), err);
}

static void what_is_lent_survives_a_restart_and_a_replay(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    struct fg_core *replayed = fix_core(1000), *loaded = fix_core(1000);
    fix_submit(&f, elastic(250, 1000));
    fix_dispatch(&f);
    fix_started(&f, (fg_id){1000, 1});
    later(&f);
    for (size_t i = 0; i < f.fx.events.count; i++)
        assert_ok(fg_core_apply(replayed, &f.fx.events.items[i], &f.err), f.err);
    fg_core_changes(f.core, copy_row, loaded);
    fg_core_loaded(loaded, f.fx.events.items[f.fx.events.count - 1].seq);
    fg_core_verify(replayed);
    fg_core_verify(loaded);
    assert_int_equal(fg_core_task(loaded, (fg_id){1000, 1})->lease.lent_permille, 750);
    assert_true(fg_core_hash(replayed) == fg_core_hash(f.core) && fg_core_hash(loaded) == fg_core_hash(f.core));
    fg_core_destroy(replayed);
    fg_core_destroy(loaded);
    fix_end(&f);
}

/* What ran for 10 s with all of the device is not believed to need 10 s with a quarter of it. */
static void times_are_learnt_by_the_share_it_had(void **state)
{
    int64_t expected[2];
    for (int i = 0; i < 2; i++) {
        struct fix f = fix_new();
        fix_hello(&f);
        for (int k = 0; k < 20; k++) {
            fg_id id = fix_running(&f, i ? elastic(250, 1000) : plain(1000));
            later(&f);
            f.now += 99 * S;
            fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 100 * S);
        }
        fg_id next = fix_submit(&f, plain(1000));
        fix_dispatch(&f);
        expected[i] = fix_task(&f, next)->placed.expected_ns;
        fix_end(&f);
    }
    assert_true(expected[1] > expected[0] * 8 / 10 && expected[1] < expected[0] * 12 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_gets_all_it_can_use_once_that_was_idle_for_a_second),
        cmocka_unit_test(who_comes_starts_at_once_and_the_borrower_is_lowered_first),
        cmocka_unit_test(what_fits_beside_what_is_lent_takes_nothing_back),
        cmocka_unit_test(borrowers_are_brought_up_to_the_same_share_as_far_as_each_may_go),
        cmocka_unit_test(what_is_lent_costs_nothing_and_counts_for_nobody),
        cmocka_unit_test(nothing_is_lent_before_it_runs_while_it_is_stopped_or_while_its_machine_is_away),
        cmocka_unit_test(at_its_hello_a_machine_is_told_what_goes_down_before_what_goes_up),
        cmocka_unit_test(what_is_lent_survives_a_restart_and_a_replay),
        cmocka_unit_test(times_are_learnt_by_the_share_it_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
