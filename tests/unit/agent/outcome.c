/* Every way an attempt can end has one typed cause. */
#include "unit.h"

#include "agent/outcome.h"
#include "base/mem.h"

#define MISSING "bwrap: execvp nosuch: No such file or directory\n"
#define RUNS .status = true, .exec = true, .started_ns = 1000, .ended_ns = 5000

struct row { const char *what; struct ending e; enum fg_state state; enum fg_reason reason; int exit_code, sig; const char *detail; };
#define FAILED FG_STATE_FAILED
#define R(x) FG_REASON_##x

static const struct row rows[] = {
    {"exit 0", {RUNS}, FG_STATE_SUCCEEDED, R(NONE), 0, 0, ""},
    {"exit 0 though a child was killed for memory", {RUNS, .oom_kills = 1}, FG_STATE_SUCCEEDED, R(NONE), 0, 0, ""},
    {"exit 1", {RUNS, .exit_code = 1}, FAILED, R(USER_ERROR), 1, 0, "exit code 1"},
    {"exit 255", {RUNS, .exit_code = 255}, FAILED, R(USER_ERROR), 255, 0, "exit code 255"},
    {"a shell did not find a program", {RUNS, .exit_code = 127}, FAILED, R(USER_ERROR), 127, 0, "was not found"},
    {"segmentation fault", {RUNS, .exit_code = 139}, FAILED, R(USER_ERROR), 139, 11, "killed by signal 11, SIGSEGV"},
    {"abort", {RUNS, .exit_code = 134}, FAILED, R(USER_ERROR), 134, 6, "SIGABRT"},
    {"it killed itself", {RUNS, .exit_code = 137}, FAILED, R(USER_ERROR), 137, 9, "SIGKILL"},
    {"killed for memory", {RUNS, .exit_code = 137, .oom_kills = 1}, FAILED, R(OOM_HOST), 137, 9, "more host memory"},
    {"a child was killed for memory and it gave up", {RUNS, .exit_code = 1, .oom_kills = 2}, FAILED, R(OOM_HOST), 1, 0, "memory"},
    {"too little memory for the sandbox itself", {.status = true, .oom_kills = 1}, FAILED, R(OOM_HOST), -1, 0, "memory"},
    {"no such program", {.status = true, .tail = (char *)MISSING, .program = (char *)"nosuch"}, FAILED, R(USER_ERROR), 127, 0,
     "command not found: nosuch"},
    {"not a program", {.status = true, .tail = (char *)"bwrap: execvp /etc: Permission denied\n", .program = (char *)"/etc"}, FAILED,
     R(USER_ERROR), 126, 0, "cannot run /etc: Permission denied"},
    {"run limit", {RUNS, .exit_code = 143, .stopped = "time_limit"}, FAILED, R(TIME_LIMIT), 143, 15, "run limit"},
    {"run limit, though it ended well in its grace", {RUNS, .stopped = "time_limit"}, FAILED, R(TIME_LIMIT), 0, 0, ""},
    {"canceled", {RUNS, .exit_code = 143, .stopped = "canceled"}, FG_STATE_CANCELED, R(NONE), 143, 15, "canceled"},
    {"canceled before it ran", {.stopped = "none"}, FG_STATE_CANCELED, R(NONE), -1, 0, "canceled"},
    {"its cost limit", {RUNS, .exit_code = 137, .stopped = "max_cost"}, FAILED, R(MAX_COST), 137, 9, "max_cost"},
    {"startup limit, while it was pulling", {.stopped = "startup_limit"}, FAILED, R(STARTUP_LIMIT), -1, 0, "startup"},
    {"the lease ran out", {RUNS, .exit_code = 137, .stopped = "node_lost"}, FAILED, R(NODE_LOST), 137, 9, ""},
    {"the agent audited it", {RUNS, .exit_code = 137, .stopped = "oom_host"}, FAILED, R(OOM_HOST), 137, 9, "memory"},
    {"it went around the layer", {RUNS, .exit_code = 137, .stopped = "limit_bypassed", .why = (char *)"process 3 (sh) uses the driver"}, FAILED,
     R(LIMIT_BYPASSED), 137, 9, "process 3 (sh)"},
    {"stopped, and nobody wrote why", {RUNS, .exit_code = 137, .stopped = "limit_bypassed"}, FAILED, R(LIMIT_BYPASSED), 137, 9, "went around"},
    {"its vGPU refused it memory", {RUNS, .exit_code = 1, .device_denied = 2, .device_limit_bytes = 64 << 20}, FAILED, R(OOM_VRAM), 1, 0,
     "exit code 1, after its vGPU of 64 MiB had refused it device memory (2 times)"},
    {"refused memory, and a crash on it", {RUNS, .exit_code = 139, .device_denied = 1}, FAILED, R(OOM_VRAM), 139, 11, "SIGSEGV"},
    {"refused memory, and it knew how to go on", {RUNS, .device_denied = 5}, FG_STATE_SUCCEEDED, R(NONE), 0, 0, ""},
    {"canceled after a refusal", {RUNS, .exit_code = 143, .stopped = "canceled", .device_denied = 1}, FG_STATE_CANCELED, R(NONE), 143, 15, ""},
    {"host memory comes before device memory", {RUNS, .exit_code = 137, .oom_kills = 1, .device_denied = 1}, FAILED, R(OOM_HOST), 137, 9, ""},
    {"no bubblewrap", {.status = true, .step = "start /usr/bin/bwrap", .error = 2}, FAILED, R(INTERNAL), -1, 0, "install bubblewrap"},
    {"a command line of megabytes", {.status = true, .step = "start /usr/bin/bwrap", .error = 7}, FAILED, R(USER_ERROR), -1, 0, "too long"},
    {"no cgroup to join", {.status = true, .step = "join /sys/fs/cgroup/x", .error = 13}, FAILED, R(INTERNAL), -1, 0, "join /sys"},
    {"user namespaces are off", {.status = true, .tail = (char *)"bwrap: No permissions to create a new namespace\n"}, FAILED, R(INTERNAL), -1,
     0, "fgpu doctor"},
    {"the sandbox says nothing", {.status = true}, FAILED, R(INTERNAL), -1, 0, "no word"},
    {"the supervisor was killed", {.status = false}, FAILED, R(INTERNAL), -1, 0, "supervisor was killed"},
    {"the machine restarted", {.rebooted = true}, FAILED, R(NODE_LOST), -1, 0, "restarted"},
    {"the machine restarted after it ended", {RUNS, .rebooted = true}, FG_STATE_SUCCEEDED, R(NONE), 0, 0, ""},
    {"weights not there", {.failed = R(PULLING), .failure = (char *)"no weights"}, FAILED, R(PULLING), -1, 0, "no weights"},
    {"input not there", {.failed = R(INPUT_MISSING), .failure = (char *)"no blob"}, FAILED, R(INPUT_MISSING), -1, 0, "no blob"},
    {"a worker says what is wrong", {RUNS, .exit_code = 3, .model = true,
     .answer = (char *)"{\"error\":{\"reason\":\"user_error\",\"detail\":\"not an image\",\"hint\":\"send a PNG\"}}"}, FAILED, R(USER_ERROR), 3, 0,
     "not an image; send a PNG"},
    {"a worker's unknown reason is ours", {RUNS, .exit_code = 3, .model = true, .answer = (char *)"{\"error\":{\"reason\":\"gremlins\"}}"},
     FAILED, R(INTERNAL), 3, 0, "the model worker failed"},
    {"a worker without an answer", {RUNS, .model = true}, FAILED, R(INTERNAL), 0, 0, "without an answer"},
    {"a worker's answer that is no JSON", {RUNS, .model = true, .answer = (char *)"{\"result\":"}, FAILED, R(INTERNAL), 0, 0, "without an answer"},
    {"a worker killed for memory", {RUNS, .exit_code = 137, .oom_kills = 1, .model = true}, FAILED, R(OOM_HOST), 137, 9, "memory"},
};

static void every_ending_has_its_cause(void **state)
{
    for (size_t i = 0; i < FG_COUNT(rows); i++) {
        const struct row *r = &rows[i];
        struct fg_outcome o;
        outcome_of(&r->e, &o);
        if (o.state != r->state || o.reason != r->reason || o.exit_code != r->exit_code || o.signal != r->sig ||
            !strstr(o.detail ? o.detail : "", r->detail))
            fail_msg("%s: %s/%s, exit %d, signal %d, '%s'", r->what, fg_state_name(o.state), fg_reason_name(o.reason), o.exit_code, o.signal,
                     o.detail ? o.detail : "");
        fg_outcome_fini(&o);
    }
}

static void a_workers_result_and_load_time_are_taken_apart(void **state)
{
    struct ending e = {RUNS, .model = true, .answer = (char *)"{\"id\":1,\"result\":{\"p\":0.951062},\"load_ns\":1500,\"run_ns\":9}"};
    struct fg_outcome o;
    outcome_of(&e, &o);
    assert_int_equal(o.state, FG_STATE_SUCCEEDED);
    assert_string_equal(o.result, "{\"p\":0.951062}");
    assert_int_equal(o.load_ns, 1500);   /* of the 4000 ns between start and end */
    assert_int_equal(o.run_ns, 2500);
    fg_outcome_fini(&o);
}

static void a_worker_cannot_claim_more_load_time_than_it_ran(void **state)
{
    struct ending e = {RUNS, .model = true, .answer = (char *)"{\"result\":1,\"load_ns\":999999999}"};
    struct fg_outcome o;
    outcome_of(&e, &o);
    assert_int_equal(o.load_ns, 4000);
    assert_int_equal(o.run_ns, 0);
    fg_outcome_fini(&o);
}

static void a_failure_has_its_last_lines_and_a_success_has_none(void **state)
{
    struct ending e = {RUNS, .exit_code = 1, .tail = (char *)"one\ntwo\n"};
    struct fg_outcome o;
    outcome_of(&e, &o);
    assert_string_equal(o.log_tail, "one\ntwo");
    fg_outcome_fini(&o);
    e.exit_code = 0;
    outcome_of(&e, &o);
    assert_null(o.log_tail);
    fg_outcome_fini(&o);
}

static void last_lines_are_the_last_and_valid_text(void **state)
{
    static const struct { const char *text; size_t max; const char *want; } cases[] = {
        {"a\nb\nc\n", 2, "b\nc"}, {"a\nb\nc", 3, "a\nb\nc"}, {"a\n\n\n", 5, "a"}, {"no end", 1, "no end"},
        {"bad \xff byte", 1, "bad \xef\xbf\xbd byte"}, {"bell\a", 1, "bell\xef\xbf\xbd"}, {"50%\r\n100%\r\n", 1, "100%"}};
    for (size_t i = 0; i < FG_COUNT(cases); i++) {
        char *got = last_lines(cases[i].text, cases[i].max);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
    assert_null(last_lines("", 3));
    assert_null(last_lines("\n\n", 3));
    assert_null(last_lines(NULL, 3));
}

static void a_status_file_is_read_back(void **state)
{
    static const char text[] = "{\"exec\":true,\"exit_code\":3,\"stopped\":\"\",\"oom_kills\":1,\"started_ns\":5,\"ended_ns\":9,\"cpu_ns\":2,"
                               "\"peak_bytes\":4096,\"dropped_bytes\":7,\"leftover\":true,\"errno\":0,\"step\":\"\"}\n";
    struct ending e = {0};
    struct fg_error err;
    assert_ok(ending_parse(&e, text, strlen(text), &err), err);
    assert_true(e.status && e.exec);
    assert_int_equal(e.exit_code, 3);
    assert_int_equal(e.peak_bytes, 4096);
    assert_true(e.leftover);
    assert_fails(ending_parse(&e, text, 20, &err), err, FG_E_MALFORMED);
    ending_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ending_has_its_cause),
        cmocka_unit_test(a_workers_result_and_load_time_are_taken_apart),
        cmocka_unit_test(a_worker_cannot_claim_more_load_time_than_it_ran),
        cmocka_unit_test(a_failure_has_its_last_lines_and_a_success_has_none),
        cmocka_unit_test(last_lines_are_the_last_and_valid_text),
        cmocka_unit_test(a_status_file_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
