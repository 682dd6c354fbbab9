/* Who goes around the limits, and who only looks like it. */
#include "unit.h"

#include "base/mem.h"
#include "device/judge.h"

#define D .driver = "libpocl.so.2"
/* since when, and how it spent its time: now, all of the processor, asleep, wanting a processor it does not get */
#define S INT64_C(1000000000)
#define T (1000 * S)
#define NOW {0}
#define BUSY {5, T - FG_JUDGE_GRACE_NS, 0, T, FG_JUDGE_GRACE_CPU_NS}
#define ASLEEP {5, T - FG_JUDGE_GRACE_NS, CPU, T - FG_JUDGE_IDLE_NS, CPU}
#define HARDLY_ASLEEP {5, T - FG_JUDGE_GRACE_NS, CPU, T - FG_JUDGE_IDLE_NS + 1, CPU}
#define STARVED {5, T - FG_JUDGE_PATIENCE_NS + 1, CPU, T - FG_JUDGE_PATIENCE_NS + 1, CPU}
#define LATE {5, T - FG_JUDGE_PATIENCE_NS, CPU, T, CPU}
#define CPU FG_JUDGE_GRACE_CPU_NS

static const struct row { const char *what; struct fg_look look; bool member; struct fg_suspect odd; enum fg_verdict want; const char *text; } rows[] = {
    {"a program without a device", {.name = "sh"}, false, LATE, FG_IN_ORDER},
    {"one in the books", {D, .loader = true, .layer = true}, true, LATE, FG_IN_ORDER},
    {"a forked child that does nothing", {D, .loader = true, .layer = true, .counters = true}, false, LATE, FG_IN_ORDER},
    {"a start: the driver comes before the layer", {D, .loader = true, .env_on = true}, false, NOW, FG_SUSPECT},
    {"a start that never comes to an end", {D, .loader = true, .env_on = true}, false, LATE, FG_OFFENDER, "libpocl.so.2 open"},
    {"a start that takes its time and the processor", {D, .loader = true, .env_on = true}, false, BUSY, FG_OFFENDER, "libpocl.so.2 open"},
    {"a start on a machine that has no time for it", {D, .loader = true, .env_on = true}, false, STARVED, FG_SUSPECT},
    {"nobody starts in his sleep", {D, .loader = true, .env_on = true, .sleeps = true}, false, ASLEEP, FG_OFFENDER, "libpocl.so.2 open"},
    {"a start that waits for something", {D, .loader = true, .env_on = true, .sleeps = true}, false, HARDLY_ASLEEP, FG_SUSPECT},
    {"a start: the layer before the lease", {D, .loader = true, .layer = true, .env_on = true}, false, NOW, FG_SUSPECT},
    {"a cleaned environment", {D, .loader = true}, false, NOW, FG_OFFENDER, "OPENCL_LAYERS"},
    {"the driver by itself", {D}, false, NOW, FG_OFFENDER, "by itself"},
    {"the driver by itself, with the right environment", {D, .env_on = true}, false, NOW, FG_OFFENDER, "by itself"},
    {"another lease", {D, .loader = true, .layer = true, .env_on = true, .env_lease = true}, false, NOW, FG_OFFENDER, "FGPU_LEASE"},
    {"FGPU_LEASE names the lease itself", {D, .loader = true, .layer = true, .env_lease = true, .counters = true}, true, LATE, FG_IN_ORDER},
    {"a device file for a moment", {.node = "/dev/nvidia0"}, false, NOW, FG_SUSPECT},
    {"a device file that stays open", {.node = "/dev/nvidia0"}, false, LATE, FG_OFFENDER, "/dev/nvidia0"},
    {"a process that starts cannot be looked at", {.hidden = true}, false, NOW, FG_SUSPECT},
    {"one that hides", {.hidden = true, .name = "shy"}, false, LATE, FG_OFFENDER, "cannot be looked at"},
};

static void every_look_has_its_verdict(void **state)
{
    for (size_t i = 0; i < FG_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        char text[200] = "";
        struct fg_look look = r->look;
        struct fg_suspect odd = r->odd;
        look.cpu_ns = CPU;
        enum fg_verdict got = fg_judge_process(&look, 5, r->member, T, &odd, text);
        if (got != r->want || (r->text && !strstr(text, r->text)))
            fail_msg("%s: verdict %d, '%s'", r->what, (int)got, text);
    }
}

#define MIB (UINT64_C(1) << 20)

static void what_moves_is_not_asleep(void **state)
{
    struct fg_look look = {D, .loader = true, .env_on = true, .sleeps = true};
    struct fg_suspect odd = {0};
    char text[200];
    for (int64_t at = T; at < T + FG_JUDGE_PATIENCE_NS; at += S / 2) {
        look.cpu_ns += S / 100; /* asleep whenever it is looked at, and yet it does something */
        look.sleeps = at / S % 2;
        assert_int_equal(fg_judge_process(&look, 5, false, at, &odd, text), FG_SUSPECT);
    }
    assert_int_equal(fg_judge_process(&look, 5, false, T + FG_JUDGE_PATIENCE_NS, &odd, text), FG_OFFENDER);
    assert_int_equal(fg_judge_process(&look, 6, false, T + FG_JUDGE_PATIENCE_NS, &odd, text), FG_SUSPECT); /* somebody else */
}

static void memory_above_quota_books_and_overhead_is_an_offence(void **state)
{
    char text[200];
    struct fg_truth none = {.known = false}, now = {.known = true, .quota_bytes = 1024 * MIB, .used_bytes = 1000 * MIB, .processes = 1};
    now.memory_bytes = (1024 + 256 + 128) * MIB; /* quota, one process, an eighth */
    assert_false(fg_judge_truth(&none, &now, text));
    now.memory_bytes++;
    assert_true(fg_judge_truth(&none, &now, text));
    assert_has(text, "1000 MiB");
    now.processes = 2;
    assert_false(fg_judge_truth(&none, &now, text));
    now.processes = 1;
    now.used_bytes = 1300 * MIB; /* it was shrunk below what it has: its books know */
    assert_false(fg_judge_truth(&none, &now, text));
    now.known = false;
    assert_false(fg_judge_truth(&none, &now, text));
}

static void time_that_was_not_charged_is_an_offence(void **state)
{
    char text[200];
    struct fg_truth before = {.known = true, .engine_ns = 10 * S, .charged_ns = 10 * S, .at_ns = 100 * S}, now = before;
    now.at_ns = 101 * S;
    now.engine_ns += S;
    now.charged_ns += S;
    assert_false(fg_judge_truth(&before, &now, text));
    now.charged_ns = before.charged_ns + S * 8 / 10;
    assert_false(fg_judge_truth(&before, &now, text)); /* a fifth of the span is forgiven: copies on the side */
    now.charged_ns--;
    assert_true(fg_judge_truth(&before, &now, text));
    assert_has(text, "worked 1000 ms");
    now.at_ns--;
    assert_false(fg_judge_truth(&before, &now, text)); /* too short a span to say */
    now.at_ns++;
    now.engine_ns = before.engine_ns - 1; /* a process ended and took its count along */
    assert_false(fg_judge_truth(&before, &now, text));
    before.known = false;
    assert_false(fg_judge_truth(&before, &now, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_look_has_its_verdict),
        cmocka_unit_test(what_moves_is_not_asleep),
        cmocka_unit_test(memory_above_quota_books_and_overhead_is_an_offence),
        cmocka_unit_test(time_that_was_not_charged_is_an_offence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
