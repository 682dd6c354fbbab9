/* Parts of a machine's processor beside its devices: held, counted, waited for and given back. */
#include "core_fix.h"

/* cpu0 with 4 cores and 16 GB, and one or two cards of 16 GB beside it. */
static struct fix with_cards(size_t cards)
{
    struct fix f = fix_new();
    f.devices[0] = fix_device("cpu0", "cpu", 16 * GB);
    for (size_t i = 1; i <= cards; i++) {
        char name[16];
        snprintf(name, sizeof name, "card%zu", i);
        f.devices[i] = fix_device(name, "card", 16 * GB);
        snprintf(f.devices[i].backend, sizeof f.devices[i].backend, "opencl");
    }
    f.device_count = 1 + cards;
    fix_hello(&f);
    return f;
}

static struct fg_spec on(const char *kind, uint32_t cpus_milli, uint64_t host_bytes)
{
    struct fg_spec spec = fix_spec();
    snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "%s", kind);
    spec.need.cpus_milli = cpus_milli;
    spec.need.host_bytes = host_bytes;
    return spec;
}

static struct fg_device_view view(const struct fix *f, size_t at)
{
    struct fg_device_view v[4];
    assert_true(fg_core_devices(f->core, v, 4) > at);
    return v[at];
}

/* 1.5 of 4 cores are 375 permille. 10 s of half a card and of 375 permille of the processor, each 0.001 USD/s: 0.005 + 0.00375. */
static void a_part_is_held_counted_paid_for_and_given_back(void **state)
{
    struct fix f = with_cards(1);
    fg_id id = fix_running(&f, on("card", 1500, 2 * GB));
    const struct fg_lease *l = &fix_task(&f, id)->lease;
    assert_int_equal(l->device, 2);
    assert_int_equal(l->host, 1);
    assert_int_equal(l->cpus_milli, 1500);
    assert_int_equal(l->host_bytes, 2 * GB);
    assert_int_equal(l->share_permille, 500);
    assert_int_equal(view(&f, 0).share_free_permille, 625);
    assert_int_equal(view(&f, 0).memory_free_bytes, 14 * GB);
    assert_int_equal(view(&f, 1).share_free_permille, 500);
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, 10 * S);
    assert_int_equal(fix_task(&f, id)->cost_nanousd, 8750000);
    assert_int_equal(view(&f, 0).share_free_permille, 1000);
    assert_int_equal(view(&f, 0).memory_free_bytes, 16 * GB);
    fix_end(&f);
}

static bool told(const struct fix *f, fg_id id, fg_device_id device, const char *text)
{
    struct fg_block b[8];
    size_t n = fg_core_why(f->core, id, f->now, b, 8);
    for (size_t i = 0; i < n; i++)
        if (b[i].device == device && strstr(b[i].text, text))
            return true;
    return false;
}

static void neither_can_take_what_the_other_was_given(void **state)
{
    struct fix f = with_cards(1);
    fg_id first = fix_running(&f, on("card", 1500, 2 * GB));
    struct fg_spec own = on("cpu", 0, 0);
    own.need.share_permille = 700;
    fg_id beside = fix_submit(&f, on("card", 3000, 0)), on_cpu = fix_submit(&f, own);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, beside)->state, FG_STATE_QUEUED);
    assert_int_equal(fix_task(&f, on_cpu)->state, FG_STATE_QUEUED);
    assert_true(told(&f, beside, 2, "needs 3 cores beside it, the machine has 2.5 free; free when 1 task there has ended"));
    fix_finished(&f, first, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, beside)->state, FG_STATE_STARTING);    /* and 1 core is left: 250 permille */
    assert_int_equal(fix_task(&f, on_cpu)->state, FG_STATE_QUEUED);
    assert_true(told(&f, on_cpu, 1, "needs 45 % more share; free when 1 task there has ended"));
    fix_end(&f);
}

/* A core of 4 is more than the 10 % that are asked for; both memories are memory there. */
static void on_the_processor_itself_the_larger_counts(void **state)
{
    struct fix f = with_cards(0);
    struct fg_spec spec = on("", 1000, 3 * GB);
    spec.need.share_permille = 100;
    fg_id id = fix_running(&f, spec);
    const struct fg_lease *l = &fix_task(&f, id)->lease;
    assert_int_equal(l->share_permille, 250);
    assert_int_equal(l->memory_bytes, 4 * GB);
    assert_int_equal(l->host, 0);
    assert_int_equal(l->cpus_milli, 0);
    fix_end(&f);
}

static void thousandths_of_a_core_are_not_rounded_away(void **state)
{
    struct fix f = with_cards(1);        /* 4 cores: a permille is 4 thousandths; 40 tasks of 99 are 3960 */
    for (int i = 0; i < 40; i++) {
        struct fg_spec spec = on("card", 99, 0);
        spec.need.share_permille = 10;
        spec.need.memory_bytes = GB / 4;
        fix_submit(&f, spec);
    }
    fix_dispatch(&f);
    struct fg_core_counts counts;
    fg_core_counts(f.core, &counts);
    assert_int_equal(counts.starting, 40);
    assert_int_equal(view(&f, 0).share_free_permille, 10);
    fix_end(&f);
}

static void without_a_processor_that_is_known_it_is_refused_or_told(void **state)
{
    struct fix f = with_cards(1);
    f.devices[0] = f.devices[1];
    f.device_count = 1;
    fix_gone(&f);
    fix_hello(&f);                       /* cpu0 is not offered any more */
    struct fg_spec spec = on("card", 1000, 0);
    struct fg_quote quote;
    fg_id id = fix_submit(&f, spec);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_QUEUED);
    assert_true(told(&f, id, 2, "no processor of its machine is known"));
    assert_int_equal(fg_core_quote(f.core, &spec, &quote, &f.err), -1);
    assert_non_null(strstr(f.err.text, "no machine with such a device has its processor as a device"));
    assert_string_equal(f.err.pointer, "/resources/cpus");
    spec.need.cpus_milli = 0;
    assert_ok(fg_core_quote(f.core, &spec, &quote, &f.err), f.err);
    fix_end(&f);
}

/* The head is promised its cores: one that asks for one of them and goes on for long does not start, one that asks for none does. */
static void what_is_held_for_the_head_of_the_line_is_not_taken_beside_another_device(void **state)
{
    struct fix f = with_cards(2);
    fg_id first = fix_running(&f, on("card", 3000, 0)), head = fix_submit(&f, on("card", 4000, 0));
    f.now += S;                          /* later than the one whose end the head waits for, so expected to end later, too */
    struct fg_spec spec = on("card", 500, 0), none = on("card", 0, 0);
    spec.need.share_permille = none.need.share_permille = 250;
    fg_id some = fix_submit(&f, spec), without = fix_submit(&f, none);
    fix_dispatch(&f);
    assert_non_null(fg_core_reservation(f.core, head));
    assert_int_equal(fix_task(&f, head)->state, FG_STATE_QUEUED);
    assert_int_equal(fix_task(&f, some)->state, FG_STATE_QUEUED);
    assert_int_equal(fix_task(&f, without)->state, FG_STATE_STARTING);
    fix_finished(&f, first, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, head)->state, FG_STATE_STARTING);
    fix_end(&f);
}

static void who_holds_cores_beside_another_device_goes_for_a_higher_task(void **state)
{
    struct fix f = with_cards(2);
    struct fg_spec low = on("card", 3000, 0), high = on("card", 2000, 0);
    low.priority = FG_PRIORITY_LOW;
    low.preemptible = true;
    high.priority = FG_PRIORITY_HIGH;
    high.need.share_permille = 1000;     /* on the other card */
    fg_id goes = fix_running(&f, low), comes = fix_submit(&f, high);
    fix_dispatch(&f);
    assert_int_equal(fix_actions(&f, FG_ACT_KILL, goes), 1);
    fix_finished(&f, goes, FG_STATE_FAILED, FG_REASON_PREEMPTED, S);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, comes)->state, FG_STATE_STARTING);
    fix_end(&f);
}

/* Two of a gang with 2 cores each: on two cards of 4 cores, not of 3 that are left. */
static void a_gang_starts_where_there_are_cores_for_all_of_it(void **state)
{
    struct fix f = with_cards(2);
    fg_id other = fix_running(&f, on("card", 1000, 0));
    struct fg_spec spec = on("card", 2000, 0);
    fg_id ids[2];
    spec.gang = true;
    spec.array_size = 2;
    spec.array = (fg_id){1000, f.ids + 1};
    for (uint32_t i = 0; i < 2; i++) {
        spec.array_index = i;
        ids[i] = fix_submit(&f, spec);
    }
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, ids[0])->state, FG_STATE_QUEUED);
    fix_finished(&f, other, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, ids[0])->state, FG_STATE_STARTING);
    assert_int_equal(fix_task(&f, ids[1])->state, FG_STATE_STARTING);
    fix_end(&f);
}

/* What a task on the processor is lent goes back when cores are asked for beside a card. */
static void lent_share_of_the_processor_is_taken_back_for_a_part(void **state)
{
    struct fix f = with_cards(1);
    struct fg_spec elastic = on("cpu", 0, 0);
    elastic.need.share_permille = 250;
    elastic.need.share_max_permille = 1000;
    fg_id borrower = fix_running(&f, elastic);
    f.now += 10 * S;
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, borrower)->lease.lent_permille, 750);
    fg_id part = fix_submit(&f, on("card", 1000, 0));
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, part)->state, FG_STATE_STARTING);
    assert_int_equal(fix_task(&f, borrower)->lease.lent_permille, 500);
    fix_end(&f);
}

/* The class proposes a share of its own; with cores asked for and no share, the processor is held for the cores alone. */
static void cores_go_before_a_share_that_nobody_asked_for(void **state)
{
    struct fix f = with_cards(1);
    struct fg_spec spec = on("cpu", 500, 0);
    spec.need.share_permille = 0;
    fg_id id = fix_running(&f, spec);
    assert_int_equal(fix_task(&f, id)->lease.device, 1);
    assert_int_equal(fix_task(&f, id)->lease.share_permille, 125);
    assert_int_equal(view(&f, 0).share_free_permille, 875);
    fix_end(&f);
}

/* What ends on a drained processor makes no room there, so nothing is held of it: it would be promised and dropped round after round. */
static void nothing_is_promised_of_a_drained_processor(void **state)
{
    struct fix f = with_cards(1);
    struct fg_spec spec = on("card", 3000, 0);
    spec.preemptible = true;             /* so that a round looks for heads though nothing fits; of their rank it stays */
    fg_id first = fix_running(&f, spec);
    struct fg_input in = {.kind = FG_IN_DRAIN, .drain = {.tenant = tenant, .node = node_a, .device = 1}};
    assert_ok(fix_in(&f, in), f.err);
    fg_id id = fix_submit(&f, on("card", 2000, 0));
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_QUEUED);
    assert_null(fg_core_reservation(f.core, id));
    in.drain.resume = true;
    assert_ok(fix_in(&f, in), f.err);
    fix_dispatch(&f);
    assert_non_null(fg_core_reservation(f.core, id));
    fix_finished(&f, first, FG_STATE_SUCCEEDED, FG_REASON_NONE, 10 * S);
    fix_dispatch(&f);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_STARTING);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_is_held_counted_paid_for_and_given_back),
        cmocka_unit_test(neither_can_take_what_the_other_was_given),
        cmocka_unit_test(on_the_processor_itself_the_larger_counts),
        cmocka_unit_test(nothing_is_promised_of_a_drained_processor),
        cmocka_unit_test(cores_go_before_a_share_that_nobody_asked_for),
        cmocka_unit_test(thousandths_of_a_core_are_not_rounded_away),
        cmocka_unit_test(without_a_processor_that_is_known_it_is_refused_or_told),
        cmocka_unit_test(what_is_held_for_the_head_of_the_line_is_not_taken_beside_another_device),
        cmocka_unit_test(who_holds_cores_beside_another_device_goes_for_a_higher_task),
        cmocka_unit_test(a_gang_starts_where_there_are_cores_for_all_of_it),
        cmocka_unit_test(lent_share_of_the_processor_is_taken_back_for_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
