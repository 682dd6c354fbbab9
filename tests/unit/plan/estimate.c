/* Times and sizes are learnt from what ran; what is kept on disk teaches as well as having seen it. */
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "base/vec.h"
#include "plan/estimate.h"
#include "random.h"
#include "unit.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define S FG_NS_PER_S

static struct fg_spec command(const char *program)
{
    struct fg_spec s;
    fg_spec_defaults(&s);
    s.program = (char *)program; /* borrowed: these specs are never freed */
    return s;
}

static struct fg_outcome ran(int64_t run_ns, uint64_t peak)
{
    return (struct fg_outcome){.state = FG_STATE_SUCCEEDED, .run_ns = run_ns, .usage.memory_peak_bytes = peak};
}

static void assert_near(int64_t value, int64_t want, int64_t percent)
{
    if (value < want - want * percent / 100 || value > want + want * percent / 100)
        fail_msg("%lld is not within %lld %% of %lld", (long long)value, (long long)percent, (long long)want);
}

/* Command: mean 60 s, sigma 1.5. p50 = 60 exp(-1.125) = 19.48 s, p95 = 19.48 exp(1.645 x 1.5) = 229.7 s. */
static void without_history_the_prior_speaks_and_says_so(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_estimate e;
    fg_estimate(h, &s, "cpu", 250, &e);
    assert_near(e.mean_ns, 60 * S, 0);
    assert_near(e.p50_ns, 19480 * S / 1000, 1);
    assert_near(e.p95_ns, 229700 * S / 1000, 1);
    assert_int_equal(e.samples, 0);
    assert_int_equal(e.confidence_permille, 0);
    assert_int_equal(e.memory_peak_bytes, 0);
    s.type = FG_TASK_IMAGE_CLASSIFICATION;
    fg_estimate(NULL, &s, "cpu", 250, &e);
    assert_near(e.mean_ns, 5 * S, 0);
    fg_history_destroy(h);
}

static void many_equal_runs_are_believed(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = ran(10 * S, 300 * MIB);
    struct fg_estimate e, before = {0};
    for (int i = 0; i < 100; i++) {
        fg_history_observe(h, &s, "cpu", 250, &o);
        fg_estimate(h, &s, "cpu", 250, &e);
        assert_true(e.confidence_permille >= before.confidence_permille);
        before = e;
    }
    assert_near(e.mean_ns, 10 * S, 5);
    assert_near(e.p50_ns, 10 * S, 2);
    assert_true(e.p95_ns < 15 * S);
    assert_int_equal(e.samples, 100);
    assert_int_equal(e.memory_peak_bytes, 300 * MIB);
    assert_true(e.confidence_permille > 900);
    fg_history_destroy(h);
}

static void one_run_moves_the_estimate_and_does_not_own_it(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = ran(1 * S, 0);
    struct fg_estimate e;
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_estimate(h, &s, "cpu", 250, &e);
    assert_true(e.p50_ns > 1 * S && e.p50_ns < 19 * S);
    assert_true(e.confidence_permille > 0 && e.confidence_permille < 500);
    fg_history_destroy(h);
}

/* Seen at 250 permille; at 500 twice as fast, at 1000 four times. */
static void time_at_an_unseen_share_goes_by_its_inverse(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = ran(40 * S, 0);
    struct fg_estimate at250, at1000, at100;
    for (int i = 0; i < 500; i++)
        fg_history_observe(h, &s, "cpu", 250, &o);
    fg_estimate(h, &s, "cpu", 250, &at250);
    fg_estimate(h, &s, "cpu", 1000, &at1000);
    fg_estimate(h, &s, "cpu", 100, &at100);
    assert_near(at250.p50_ns, 40 * S, 2);
    assert_near(at1000.p50_ns, 10 * S, 2);
    assert_near(at100.p50_ns, 100 * S, 2);
    assert_true(at1000.confidence_permille < at250.confidence_permille);
    fg_history_destroy(h);
}

/* One program is fast, the other slow; a third is between them by its type; another kind of device knows neither. */
static void programs_and_kinds_are_told_apart(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec fast = command("fast"), slow = command("slow"), other = command("other");
    struct fg_outcome one = ran(1 * S, 0), hundred = ran(100 * S, 0);
    struct fg_estimate e;
    for (int i = 0; i < 200; i++) {
        fg_history_observe(h, &fast, "cpu", 500, &one);
        fg_history_observe(h, &slow, "cpu", 500, &hundred);
    }
    fg_estimate(h, &fast, "cpu", 500, &e);
    assert_near(e.p50_ns, 1 * S, 5);
    fg_estimate(h, &slow, "cpu", 500, &e);
    assert_near(e.p50_ns, 100 * S, 5);
    fg_estimate(h, &other, "cpu", 500, &e);
    assert_near(e.p50_ns, 10 * S, 5); /* geometric mean */
    assert_int_equal(e.samples, 400);
    assert_true(e.confidence_permille <= 400);
    fg_estimate(h, &fast, "NVIDIA H200", 500, &e);
    assert_int_equal(e.samples, 0);
    fg_history_destroy(h);
}

static void ends_that_are_not_its_own_teach_no_time(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_estimate e;
    for (int reason = 0; reason < FG_REASON_COUNT; reason++) {
        struct fg_outcome o = ran(1 * S, 0);
        o.state = FG_STATE_FAILED;
        o.reason = (enum fg_reason)reason;
        if (reason != FG_REASON_USER_ERROR)
            fg_history_observe(h, &s, "cpu", 250, &o);
        o.state = FG_STATE_CANCELED;
        fg_history_observe(h, &s, "cpu", 250, &o);
    }
    fg_estimate(h, &s, "cpu", 250, &e);
    assert_int_equal(e.samples, 0);
    struct fg_outcome o = ran(1 * S, 0);
    o.state = FG_STATE_FAILED;
    o.reason = FG_REASON_USER_ERROR;
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_estimate(h, &s, "cpu", 250, &e);
    assert_int_equal(e.samples, 1);
    fg_history_destroy(h);
}

static void no_estimate_is_beyond_the_run_limit(void **state)
{
    struct fg_spec s = command("train");
    struct fg_estimate e;
    s.limits.run_ns = 5 * S;
    fg_estimate(NULL, &s, "cpu", 250, &e);
    assert_true(e.mean_ns == 5 * S && e.p50_ns == 5 * S && e.p95_ns == 5 * S);
}

static void the_slice_proposed_is_the_peak_and_a_quarter(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = ran(S, 400 * MIB), tiny = ran(S, 3 * MIB);
    struct fg_need need;
    fg_propose_need(h, &s, FG_CLASS_BATCH, &need);
    assert_int_equal(need.memory_bytes, 1 * GIB); /* prior */
    assert_int_equal(need.share_permille, 250);
    fg_history_observe(h, &s, "cpu", 250, &o);
    for (int i = 0; i < 4; i++) {
        fg_propose_need(h, &s, FG_CLASS_BATCH, &need);
        assert_int_equal(need.memory_bytes, 1 * GIB); /* fewer than five runs: not below the prior */
        fg_history_observe(h, &s, "cpu", 250, &tiny); /* the largest counts */
    }
    fg_propose_need(h, &s, FG_CLASS_TRAINING, &need);
    assert_int_equal(need.memory_bytes, 500 * MIB);
    assert_int_equal(need.share_permille, 500);
    s.need = (struct fg_need){.memory_bytes = 7 * MIB, .share_permille = 30, .device_kind = "cpu"};
    fg_propose_need(h, &s, FG_CLASS_LARGE, &need);
    assert_memory_equal(&need, &s.need, sizeof need); /* what was asked stays */
    fg_history_destroy(h);
}

static void memory_that_was_not_enough_is_doubled(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = {.state = FG_STATE_FAILED, .reason = FG_REASON_OOM_HOST, .usage.memory_peak_bytes = 1 * GIB};
    struct fg_need need;
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_propose_need(h, &s, FG_CLASS_BATCH, &need);
    assert_int_equal(need.memory_bytes, 2 * GIB);
    fg_history_destroy(h);
}

/* A bad picture fails before the model is loaded; the next good one must not be given its few megabytes. */
static void a_failure_says_nothing_of_the_memory_that_success_needs(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = ran(S, 13 * MIB);
    struct fg_need need;
    o.state = FG_STATE_FAILED;
    o.reason = FG_REASON_USER_ERROR;
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_propose_need(h, &s, FG_CLASS_BATCH, &need);
    assert_int_equal(need.memory_bytes, 1 * GIB); /* still the prior */
    fg_history_destroy(h);
}

/* "sh -c true" has nothing to say of the memory of "sh -c ./train". */
static void inline_programs_teach_no_memory(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("sh -c");
    struct fg_outcome o = ran(S, 2 * MIB);
    struct fg_need need;
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_propose_need(h, &s, FG_CLASS_BATCH, &need);
    assert_int_equal(need.memory_bytes, 1 * GIB);
    fg_history_destroy(h);
}

/* --- persistence --- */

struct row { char *key; char *doc; };
struct rows { FG_VEC(struct row) list; };

static void keep_row(void *arg, const char *key, const char *doc)
{
    struct rows *rows = arg;
    for (size_t i = 0; i < rows->list.count; i++)
        if (strcmp(rows->list.items[i].key, key) == 0) {
            free(rows->list.items[i].doc);
            rows->list.items[i].doc = fg_strdup(doc);
            return;
        }
    fg_vec_push(&rows->list, (struct row){fg_strdup(key), fg_strdup(doc)});
}

static void free_rows(struct rows *rows)
{
    for (size_t i = 0; i < rows->list.count; i++) {
        free(rows->list.items[i].key);
        free(rows->list.items[i].doc);
    }
    fg_vec_fini(&rows->list);
}

static const char *const programs[] = {"a", "b|c", "b", "漢 %", "sh -c"};
static const char *const kinds[] = {"cpu", "c|cpu", "NVIDIA H200"};

static void observe_random(struct rng *r, struct fg_history *a, struct fg_history *b)
{
    struct fg_spec s = command(programs[rng_below(r, FG_COUNT(programs))]);
    struct fg_outcome o = ran(rng_size(r) >> 10, (uint64_t)rng_size(r) >> 20);
    if (rng_below(r, 4) == 0) {
        o.state = FG_STATE_FAILED;
        o.reason = rng_below(r, 2) ? FG_REASON_OOM_HOST : FG_REASON_USER_ERROR;
    }
    const char *kind = kinds[rng_below(r, FG_COUNT(kinds))];
    uint32_t share = 1 + (uint32_t)rng_below(r, 1000);
    fg_history_observe(a, &s, kind, share, &o);
    if (b)
        fg_history_observe(b, &s, kind, share, &o);
}

/* At a restart the rows are all there is: the second half must find the same as if nothing had happened. */
static void loading_then_observing_is_observing_all_along(void **state)
{
    struct rng r = rng_start(__func__);
    struct fg_history *whole = fg_history_create(), *loaded = fg_history_create();
    struct rows rows = {0};
    struct fg_error err = {0};
    for (int i = 0; i < 500; i++) {
        observe_random(&r, whole, NULL);
        if (i % 50 == 0)
            fg_history_changes(whole, keep_row, &rows);
    }
    fg_history_changes(whole, keep_row, &rows);
    for (size_t i = 0; i < rows.list.count; i++)
        assert_ok(fg_history_load(loaded, rows.list.items[i].key, rows.list.items[i].doc, &err), err);
    for (int i = 0; i < 500; i++)
        observe_random(&r, whole, loaded);
    for (int i = 0; i < 500; i++) {
        struct fg_spec s = command(programs[rng_below(&r, FG_COUNT(programs))]);
        const char *kind = kinds[rng_below(&r, FG_COUNT(kinds))];
        uint32_t share = 1 + (uint32_t)rng_below(&r, 1000);
        struct fg_estimate x, y;
        struct fg_need m, n;
        memset(&x, 0, sizeof x);
        memset(&y, 0, sizeof y);
        fg_estimate(whole, &s, kind, share, &x);
        fg_estimate(loaded, &s, kind, share, &y);
        assert_memory_equal(&x, &y, sizeof x);
        assert_true(x.p50_ns <= x.p95_ns && x.mean_ns > 0);
        fg_propose_need(whole, &s, FG_CLASS_BATCH, &m);
        fg_propose_need(loaded, &s, FG_CLASS_BATCH, &n);
        assert_true(m.memory_bytes == n.memory_bytes);
    }
    free_rows(&rows);
    fg_history_destroy(whole);
    fg_history_destroy(loaded);
}

static void only_what_changed_is_told_and_only_once(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec s = command("train");
    struct fg_outcome o = ran(S, MIB);
    struct rows rows = {0}, more = {0};
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_history_observe(h, &s, "cpu", 250, &o);
    fg_history_changes(h, keep_row, &rows);
    assert_int_equal(rows.list.count, 4); /* share, kind, type, memory */
    fg_history_changes(h, keep_row, &more);
    assert_int_equal(more.list.count, 0);
    free_rows(&rows);
    free_rows(&more);
    fg_history_destroy(h);
}

static void names_cannot_forge_each_others_keys(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_spec a = command("x|cpu"), b = command("x");
    struct fg_outcome o = ran(S, 0);
    struct fg_estimate e;
    fg_history_observe(h, &a, "k", 250, &o);
    fg_estimate(h, &b, "cpu|k", 250, &e);
    assert_int_equal(e.samples, 0);
    fg_history_destroy(h);
}

static void a_corrupt_row_is_an_error_that_names_it(void **state)
{
    static const char *const bad[] = {"", "[]", "{}", "{\"n\":-1,\"mu\":0,\"m2\":0,\"peak\":0,\"oom\":0}", "{\"n\":1,\"mu\":\"x\",\"m2\":0,\"peak\":0,\"oom\":0}"};
    struct fg_history *h = fg_history_create();
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        struct fg_error err = {0};
        assert_int_equal(fg_history_load(h, "t|command|cpu", bad[i], &err), -1);
        assert_has(err.text, "t|command|cpu");
    }
    fg_history_destroy(h);
}

/* Names are the tenants' to invent. What is known goes on learning; the type's cell serves the rest. */
static void history_does_not_grow_without_bound(void **state)
{
    struct fg_history *h = fg_history_create();
    struct fg_estimate e;
    struct fg_outcome o = ran(S, 0);
    char name[32];
    for (int i = 0; i < 30000; i++) {
        snprintf(name, sizeof name, "p%d", i);
        struct fg_spec s = command(name);
        fg_history_observe(h, &s, "cpu", 250, &o);
    }
    struct fg_spec first = command("p0"), last = command("p29999");
    fg_estimate(h, &first, "cpu", 250, &e);
    assert_int_equal(e.samples, 1);
    fg_estimate(h, &last, "cpu", 250, &e);
    assert_int_equal(e.samples, 30000); /* of its type */
    fg_history_destroy(h);
}

/* Five sizes of a net take 10, 20, 40 ... s on a, thrice that on b. Of a sixth only its time on a is known: on b it is thrice
 * that, within the band that is told; on a kind that nobody knows the band is wider. */
static void a_kind_never_seen_is_completed_from_others_like_it(void **state)
{
    static const char *const names[] = {"net 16", "net 32", "net 64", "net 128", "net 256"};
    struct fg_history *h = fg_history_create();
    struct fg_estimate known, completed, strange;
    for (int x = 0; x < 5; x++) {
        struct fg_spec s = command(names[x]);
        struct fg_outcome a = ran((INT64_C(10) << x) * S, 0), b = ran((INT64_C(30) << x) * S, 0);
        fg_history_observe(h, &s, "a", 1000, &a);
        fg_history_observe(h, &s, "b", 1000, &b);
    }
    struct fg_spec s = command("net 512");
    struct fg_outcome a = ran(320 * S, 0);
    for (int x = 0; x < 5; x++)
        fg_history_observe(h, &s, "a", 1000, &a);
    fg_estimate(h, &s, "a", 1000, &known);
    fg_estimate(h, &s, "b", 1000, &completed);
    fg_estimate(h, &s, "c", 1000, &strange);
    assert_near(completed.p50_ns, 960 * S, 15);
    assert_true(completed.p95_ns > 960 * S && completed.p95_ns < 2 * 960 * S);
    assert_true(completed.confidence_permille > strange.confidence_permille && completed.confidence_permille < 600);
    assert_true(strange.p95_ns / strange.p50_ns > completed.p95_ns / completed.p50_ns);
    assert_int_equal(known.samples, 5);
    fg_history_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_history_the_prior_speaks_and_says_so),
        cmocka_unit_test(many_equal_runs_are_believed),
        cmocka_unit_test(one_run_moves_the_estimate_and_does_not_own_it),
        cmocka_unit_test(time_at_an_unseen_share_goes_by_its_inverse),
        cmocka_unit_test(programs_and_kinds_are_told_apart),
        cmocka_unit_test(ends_that_are_not_its_own_teach_no_time),
        cmocka_unit_test(no_estimate_is_beyond_the_run_limit),
        cmocka_unit_test(the_slice_proposed_is_the_peak_and_a_quarter),
        cmocka_unit_test(memory_that_was_not_enough_is_doubled),
        cmocka_unit_test(a_failure_says_nothing_of_the_memory_that_success_needs),
        cmocka_unit_test(inline_programs_teach_no_memory),
        cmocka_unit_test(loading_then_observing_is_observing_all_along),
        cmocka_unit_test(only_what_changed_is_told_and_only_once),
        cmocka_unit_test(names_cannot_forge_each_others_keys),
        cmocka_unit_test(a_corrupt_row_is_an_error_that_names_it),
        cmocka_unit_test(history_does_not_grow_without_bound),
        cmocka_unit_test(a_kind_never_seen_is_completed_from_others_like_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
