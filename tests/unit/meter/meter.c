/* Lines of an ended task: the sum is the charge, our faults are free, nothing is ever negative. */
#include "base/json.h"
#include "base/units.h"
#include "meter/meter.h"
#include "random.h"
#include "unit.h"

#define GIB (UINT64_C(1) << 30)

static struct fg_task ended(enum fg_state state, enum fg_reason reason)
{
    return (struct fg_task){
        .state = state, .submitted_ns = 1000, .queued_ns = 1000, .placed_ns = 1000 + 2 * FG_NS_PER_S,
        .finished_ns = 1000 + 20 * FG_NS_PER_S,
        .lease = {.device = 1, .epoch = 1, .memory_bytes = GIB, .share_permille = 500, .price_nanousd_per_s = 1000000},
        .outcome = {.state = state, .reason = reason, .pull_ns = FG_NS_PER_S, .load_ns = 3 * FG_NS_PER_S, .run_ns = 10 * FG_NS_PER_S}};
}

/* Memory 1 of 4 GiB is 250, compute 500: 500 permille. 10 s x 0.001 USD/s x 0.5 = 0.005 USD = 5,000,000. */
static void only_the_run_phase_is_priced(void **state)
{
    struct fg_task task = ended(FG_STATE_SUCCEEDED, FG_REASON_NONE);
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n = 0;
    assert_int_equal(fg_meter_task(&task, 4 * GIB, lines, &n), 5000000);
    assert_int_equal(n, FG_PHASE_HOST);
    assert_int_equal(lines[FG_PHASE_QUEUE].time_ns, 2 * FG_NS_PER_S);
    assert_int_equal(lines[FG_PHASE_PULL].time_ns, FG_NS_PER_S);
    assert_int_equal(lines[FG_PHASE_LOAD].time_ns, 3 * FG_NS_PER_S);
    assert_int_equal(lines[FG_PHASE_RUN].share_permille, 500);
    for (int i = 0; i < FG_PHASE_RUN; i++)
        assert_int_equal(lines[i].amount_nanousd, 0);
}

static void what_failed_through_our_fault_is_free(void **state)
{
    static const enum fg_reason ours[] = {FG_REASON_NODE_LOST, FG_REASON_DEVICE_FAULT, FG_REASON_INTERNAL, FG_REASON_PREEMPTED, FG_REASON_PULLING};
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n, free_reasons = 0;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        struct fg_task task = ended(FG_STATE_FAILED, ours[i]);
        assert_int_equal(fg_meter_task(&task, 4 * GIB, lines, &n), 0);
        assert_int_equal(n, FG_PHASE_HOST);
        assert_int_equal(lines[FG_PHASE_RUN].time_ns, 10 * FG_NS_PER_S); /* shown, not charged */
    }
    for (int i = 0; i < FG_REASON_COUNT; i++)
        free_reasons += fg_reason_is_ours((enum fg_reason)i);
    assert_int_equal(free_reasons, sizeof ours / sizeof *ours);
}

static void a_user_error_and_a_cancel_cost_what_they_used(void **state)
{
    struct fg_task wrong = ended(FG_STATE_FAILED, FG_REASON_USER_ERROR), stopped = ended(FG_STATE_CANCELED, FG_REASON_NONE);
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n;
    assert_int_equal(fg_meter_task(&wrong, 4 * GIB, lines, &n), 5000000);
    assert_int_equal(fg_meter_task(&stopped, 4 * GIB, lines, &n), 5000000);
}

static void a_task_without_a_lease_has_only_its_wait(void **state)
{
    struct fg_task task = ended(FG_STATE_EXPIRED, FG_REASON_QUEUE_LIMIT);
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n;
    task.lease = (struct fg_lease){0};
    task.placed_ns = 0;
    assert_int_equal(fg_meter_task(&task, 0, lines, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(lines[0].time_ns, 20 * FG_NS_PER_S);
    assert_int_equal(lines[0].amount_nanousd, 0);
}

/* Placed at 2 s, lost, queued again at 5 s and canceled there at 20 s: the wait is the last one. */
static void a_wait_after_a_lost_attempt_counts_from_the_queue(void **state)
{
    struct fg_task task = ended(FG_STATE_CANCELED, FG_REASON_NONE);
    struct fg_line lines[FG_PHASE_COUNT];
    size_t n;
    task.queued_ns = 1000 + 5 * FG_NS_PER_S;
    fg_meter_task(&task, 4 * GIB, lines, &n);
    assert_int_equal(lines[FG_PHASE_QUEUE].time_ns, 15 * FG_NS_PER_S);
}

static struct fg_task random_task(struct rng *r)
{
    struct fg_task task = ended(FG_STATE_FAILED, (enum fg_reason)rng_below(r, FG_REASON_COUNT));
    int64_t *fields[] = {&task.submitted_ns, &task.queued_ns, &task.placed_ns, &task.finished_ns, &task.outcome.pull_ns, &task.outcome.load_ns,
                         &task.outcome.run_ns, &task.lease.price_nanousd_per_s};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = rng_below(r, 10) ? rng_size(r) : -rng_size(r);
    task.lease.device = (uint32_t)rng_below(r, 3);
    task.lease.memory_bytes = (uint64_t)rng_size(r);
    task.lease.share_permille = (uint32_t)rng_below(r, 1001);
    return task;
}

static void the_sum_of_lines_is_the_total_and_more_time_never_costs_less(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < 50000; i++) {
        struct fg_task task = random_task(&r);
        struct fg_line lines[FG_PHASE_COUNT], longer[FG_PHASE_COUNT];
        uint64_t memory = (uint64_t)rng_size(&r);
        size_t n, m;
        int64_t total = fg_meter_task(&task, memory, lines, &n), sum = 0;
        for (size_t l = 0; l < n; l++) {
            assert_int_equal(lines[l].phase, l);
            assert_true(lines[l].amount_nanousd >= 0 && lines[l].time_ns >= 0);
            sum += lines[l].amount_nanousd; /* one line is priced: no overflow */
        }
        assert_true(sum == total);
        if (task.outcome.run_ns < INT64_MAX / 2)
            task.outcome.run_ns += (int64_t)rng_below(&r, 1u << 30);
        assert_true(fg_meter_task(&task, memory, longer, &m) >= total);
        assert_int_equal(m, n);
    }
}

static void lines_are_written_as_exact_decimals(void **state)
{
    const struct fg_line lines[] = {
        {FG_PHASE_QUEUE, 1250000000, 0, 0, 0},
        {FG_PHASE_RUN, 1, 500, 13889, 1400},
    };
    struct fg_error err = {0};
    FG_AUTO_STR struct fg_str out = {0};
    fg_lines_encode(lines, 2, &out);
    assert_string_equal(out.data,
                        "[{\"phase\":\"queue\",\"seconds\":\"1.25\",\"permille\":0,\"price_per_s\":\"0.00\",\"amount\":\"0.00\"},"
                        "{\"phase\":\"run\",\"seconds\":\"0.000000001\",\"permille\":500,\"price_per_s\":\"0.000013889\",\"amount\":\"0.0000014\"}]");
    FG_AUTO_JSON json_t *parsed = fg_json_parse(out.data, out.len, &err);
    assert_int_equal(json_array_size(parsed), 2);
    fg_str_clear(&out);
    fg_lines_encode(lines, 0, &out);
    assert_string_equal(out.data, "[]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_run_phase_is_priced),
        cmocka_unit_test(what_failed_through_our_fault_is_free),
        cmocka_unit_test(a_user_error_and_a_cancel_cost_what_they_used),
        cmocka_unit_test(a_task_without_a_lease_has_only_its_wait),
        cmocka_unit_test(a_wait_after_a_lost_attempt_counts_from_the_queue),
        cmocka_unit_test(the_sum_of_lines_is_the_total_and_more_time_never_costs_less),
        cmocka_unit_test(lines_are_written_as_exact_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
