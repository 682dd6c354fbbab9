/* Idle device memory by the stand-in driver: real processes behind the CUDA front end are parked, and come back. */
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/mem.h"
#include "device/checkpoint.h"
#include "device/reclaimer.h"
#include "fake_cuda.h"

#define MIB    (UINT64_C(1) << 20)
#define S      INT64_C(1000000000)
#define HELD   (128 * MIB)               /* of the task: 64 it asked for, and its context */
#define GENEROUS_MS 60000

static char folder[200];
static struct fg_leases *leases;
static struct fg_reclaimer *reclaimer;
static struct fg_reclaim_params params;
static void *driver;
static struct { pid_t pid; int in, out; } task;
static uint64_t pretended_free;          /* 0: what is free indeed */

static void *function(const char *name)
{
    void *f = dlsym(driver, name);
    if (!f)
        fail_msg("no %s: %s", name, dlerror());
    return f;
}
#define FAKE(name) ((__typeof__(name) *)function(#name))
static uint64_t free_now(void) { return FAKE(fake_free)(0); }

static bool free_bytes(void *arg, const char *device, uint64_t *ret)
{
    *ret = pretended_free ? pretended_free : free_now();
    return true;
}

static void sleep_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }
#define until(condition)                                                                                               \
    do {                                                                                                               \
        int ms_ = 0;                                                                                                   \
        while (!(condition) && ms_++ < GENEROUS_MS)                                                                    \
            sleep_ms(1);                                                                                               \
        if (ms_ >= GENEROUS_MS)                                                                                        \
            fail_msg("never: %s", #condition);                                                                         \
    } while (0)

static void start_task(void)
{
    int in[2], out[2];
    struct fg_error err = {0};
    assert_ok(fg_leases_make(leases, "stand-in", "t1", 512 * MIB, 500, false, &err), err);
    FG_AUTO_FREE char *limits = fg_leases_limits(leases, "t1");
    int counters = fg_leases_counters(leases, "t1");
    FG_AUTO_FREE char *lease = fg_asprintf("%s:/proc/%d/fd/%d", limits, (int)getpid(), counters);
    FG_AUTO_FREE char *shim = fg_asprintf("%s/libcuda.so.1", folder);
    setenv("FGPU_LEASE", lease, 1);
    assert_true(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    fflush(NULL);
    task.pid = fork();
    if (task.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl(RECLAIM_TASK, RECLAIM_TASK, shim, (char *)NULL);
        _exit(99);
    }
    unsetenv("FGPU_LEASE");
    close(in[0]);
    close(out[1]);
    task.in = in[1];
    task.out = out[0];
    char dot;
    assert_int_equal(read(task.out, &dot, 1), 1);
    close(counters);
}

static void tell(char word) { assert_int_equal(write(task.in, &word, 1), 1); }
static bool answered(int ms) { return poll(&(struct pollfd){.fd = task.out, .events = POLLIN}, 1, ms) == 1; }
static void hear(void)
{
    char dot;
    assert_true(answered(GENEROUS_MS));
    assert_int_equal(read(task.out, &dot, 1), 1);
}

static void start_reclaimer(void)
{
    struct fg_error err = {0};
    struct fg_reclaimer_config config = {.params = params, .leases = leases, .program = PROGRAM, .driver = FAKE_CUDA, .free_bytes = free_bytes};
    assert_ok(fg_reclaimer_start(&reclaimer, &config, &err), err);
}
static void stop_reclaimer(void)
{
    fg_reclaimer_stop(reclaimer);
    reclaimer = NULL;
}
static enum fg_reclaim_state state_now(void) { return fg_reclaimer_state(reclaimer, "t1"); }

/* A stand-in machine, a lease, and a task that holds memory. */
static void begin(const char *setup)
{
    struct fg_error err = {0};
    FG_AUTO_FREE char *world = fg_asprintf("%s/world", folder);
    remove(world);
    setenv("FGPU_FAKE_CUDA", world, 1);
    setenv("FGPU_FAKE_CUDA_SETUP", setup, 1);
    setenv("FGPU_CUDA_CONTEXT_BYTES", "67108864", 1);
    driver = dlopen(FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    if (!driver)
        fail_msg("%s", dlerror());
    int (*init)(unsigned);
    *(void **)&init = function("cuInit");
    assert_int_equal(init(0), 0);
    params = (struct fg_reclaim_params){.idle_ns = S / 4, .when = FG_RECLAIM_ALWAYS};
    pretended_free = 0;
    assert_ok(fg_leases_open(&leases, "unit-reclaim", folder, false, &err), err);
    assert_ok(fg_leases_device(leases, "stand-in", NULL, 1024 * MIB, &err), err);
    start_task();
}

static void finish(void)
{
    stop_reclaimer();
    if (task.pid > 0) {
        kill(task.pid, SIGKILL);
        waitpid(task.pid, NULL, 0);
        close(task.in);
        close(task.out);
        task.pid = 0;
    }
    fg_leases_end(leases, "t1");
    fg_leases_close(leases);
    leases = NULL;
}

/* Each test in a process of its own: the stand-in machine is made once in each. */
static void on_machine(const char *setup, void (*body)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failure ends this process; the other tests are its parent's */
        begin(setup);
        body();
        finish();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define MACHINE "devices=2 total=1G context=64M"

static void called(void)
{
    tell('c');
    hear();
}

static void comes_back(void)
{
    assert_int_equal(FAKE(fake_live)((uint32_t)task.pid, 0, FAKE_ALL), HELD);
    uint64_t before = free_now();
    start_reclaimer();
    until(state_now() == FG_RECLAIM_PARKED);
    assert_int_equal(free_now(), before + HELD);
    until((called(), free_now() == before)); /* one that looks too late sees it idle and parked again */
    until(state_now() == FG_RECLAIM_PARKED);
    tell('a');                               /* a call for memory wakes it likewise */
    hear();
    until((called(), FAKE(fake_live)((uint32_t)task.pid, 0, FAKE_ALL) == HELD + MIB));
}
static void an_idle_tasks_memory_is_free_for_others_and_back_at_its_next_call(void **state) { on_machine(MACHINE, comes_back); }

static void peeks(void)
{
    params.peek_ns = 2 * S;
    params.idle_ns = S / 4;
    start_reclaimer();
    until(state_now() == FG_RECLAIM_PARKED);
    tell('e');
    hear();
}
static void a_call_that_no_front_end_sees_is_answered_too(void **state) { on_machine(MACHINE, peeks); }

static void managed(void)
{
    tell('m');
    hear();
    start_reclaimer();
    sleep_ms(2500);                          /* ten times idle_ns, and five looks */
    assert_int_equal(state_now(), FG_RECLAIM_RUNNING);
    assert_int_equal(FAKE(fake_calls)(0, "cuCheckpointProcessLock"), 0);
}
static void who_held_managed_memory_is_never_parked(void **state) { on_machine(MACHINE, managed); }

static void shared(void)
{
    tell('i');
    hear();
    start_reclaimer();
    sleep_ms(2500);
    assert_int_equal(state_now(), FG_RECLAIM_RUNNING);
}
static void who_gave_its_memory_to_another_process_is_never_parked(void **state) { on_machine(MACHINE, shared); }

static void only_wanted(void)
{
    params.when = FG_RECLAIM_WANTED;
    start_reclaimer();
    sleep_ms(2500);
    assert_int_equal(state_now(), FG_RECLAIM_RUNNING);
    pretended_free = 200 * MIB;              /* it may still ask for 384 */
    until(state_now() == FG_RECLAIM_PARKED);
}
static void memory_is_taken_only_when_somebody_may_lack_it(void **state) { on_machine(MACHINE, only_wanted); }

static void no_room(void)
{
    start_reclaimer();
    until(state_now() == FG_RECLAIM_PARKED);
    pretended_free = 10 * MIB;
    tell('c');
    assert_false(answered(2000));
    assert_int_equal(state_now(), FG_RECLAIM_PARKED);
    pretended_free = 0;
    hear();
}
static void without_room_its_call_waits_until_there_is_some(void **state) { on_machine(MACHINE, no_room); }

static void broken(void)
{
    char text[200];
    start_reclaimer();
    until(state_now() == FG_RECLAIM_FAILED);
    assert_true(fg_reclaimer_lost(reclaimer, "t1", text));
    assert_has(text, "the driver lost the process");
    assert_has(text, "CUDA_ERROR_UNKNOWN");
    assert_false(fg_reclaimer_lost(reclaimer, "t2", text));
}
static void what_the_driver_loses_is_told_for_the_task_to_end(void **state) { on_machine(MACHINE " checkpoint_fails=1", broken); }

static void adopted(void)
{
    start_reclaimer();
    until(state_now() == FG_RECLAIM_PARKED);
    stop_reclaimer();
    params.idle_ns = 0;                      /* the option is off when the agent comes again */
    start_reclaimer();
    until(state_now() == FG_RECLAIM_RUNNING && FAKE(fake_live)((uint32_t)task.pid, 0, FAKE_ALL) == HELD);
    tell('c');
    hear();
}
static void an_agent_that_starts_again_brings_back_what_it_had_parked(void **state) { on_machine(MACHINE, adopted); }

static void killed(void)
{
    uint64_t before = free_now();
    start_reclaimer();
    until(state_now() == FG_RECLAIM_PARKED);
    kill(task.pid, SIGKILL);
    waitpid(task.pid, NULL, 0);
    task.pid = 0;
    until(state_now() == FG_RECLAIM_RUNNING);
    assert_true(free_now() >= before + HELD);
}
static void a_parked_task_can_be_killed(void **state) { on_machine(MACHINE, killed); }

/* --- the helper by itself --- */

static enum fg_reclaim_reply does(bool restore, const char *pairs, struct fg_checkpoint *c)
{
    struct fg_error err = {0};
    enum fg_reclaim_reply reply = FG_REPLY_NONE;
    int32_t pid = task.pid;
    struct fg_checkpoint_job job = {.program = PROGRAM, .driver = FAKE_CUDA, .restore = restore, .pairs = pairs, .pids = &pid, .count = 1, .lock_ms = GENEROUS_MS};
    assert_ok(fg_checkpoint_start(c, &job, &err), err);
    until((reply = fg_checkpoint_reply(c)) != FG_REPLY_NONE);
    return reply;
}

static void uuid_text(int ordinal, char ret[48])
{
    unsigned char u[16];
    int (*get)(unsigned char *, int), at = snprintf(ret, 48, "GPU-");
    *(void **)&get = function("cuDeviceGetUuid_v2");
    assert_int_equal(get(u, ordinal), 0);
    for (int i = 0; i < 16; i++)
        at += snprintf(ret + at, 48 - (size_t)at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

static void moves(void)
{
    struct fg_checkpoint c = {0};
    struct fg_error err = {0};
    bool can_move = false;
    char old[48], new[48];
    assert_ok(fg_checkpoint_probe(PROGRAM, FAKE_CUDA, &can_move, &err), err);
    assert_true(can_move);
    uuid_text(0, old);
    uuid_text(1, new);
    FG_AUTO_FREE char *pairs = fg_asprintf("%s=%s,%s=%s", old, new, new, old);
    assert_int_equal(does(false, NULL, &c), FG_REPLY_DONE);
    assert_int_equal(does(true, "GPU-0=nonsense", &c), FG_REPLY_REFUSED);
    assert_int_equal(does(true, pairs, &c), FG_REPLY_DONE);
    assert_int_equal(FAKE(fake_live)((uint32_t)task.pid, 0, FAKE_ALL), 0);
    assert_int_equal(FAKE(fake_live)((uint32_t)task.pid, 1, FAKE_ALL), HELD);
    tell('e');
    hear();
}
static void what_is_parked_can_come_back_on_another_device_of_the_kind(void **state) { on_machine(MACHINE, moves); }

static void refused_and_undone(void)
{
    struct fg_checkpoint c = {0};
    tell('m');
    hear();
    assert_int_equal(does(false, NULL, &c), FG_REPLY_REFUSED);
    assert_has(c.said, "does not checkpoint");
    tell('e');                               /* it runs on */
    hear();
    assert_int_equal(does(true, NULL, &c), FG_REPLY_DONE); /* nothing to bring back is no failure */
}
static void what_the_driver_refuses_to_park_runs_on(void **state) { on_machine(MACHINE, refused_and_undone); }

static void gone(void)
{
    struct fg_checkpoint c = {0};
    kill(task.pid, SIGKILL);
    waitpid(task.pid, NULL, 0);
    assert_int_equal(does(false, NULL, &c), FG_REPLY_GONE);
    assert_int_equal(does(true, NULL, &c), FG_REPLY_DONE);
    task.pid = 0;
}
static void a_process_that_ended_is_told(void **state) { on_machine(MACHINE, gone); }

static void crashes(void)
{
    struct fg_checkpoint c = {0};
    struct fg_error err = {0};
    int32_t pid = task.pid;
    struct fg_checkpoint_job job = {.program = "/bin/cat", .driver = "/dev/null", .pids = &pid, .count = 1, .lock_ms = GENEROUS_MS};
    assert_ok(fg_checkpoint_start(&c, &job, &err), err); /* fails by itself, with a status that is none of ours */
    enum fg_reclaim_reply reply = FG_REPLY_NONE;
    until((reply = fg_checkpoint_reply(&c)) != FG_REPLY_NONE);
    assert_int_equal(reply, FG_REPLY_LOST);
    job.program = "/nowhere";
    assert_fails(fg_checkpoint_start(&c, &job, &err), err, FG_E_INTERNAL);
    fg_checkpoint_abandon(&c);               /* nothing runs: nothing to do */
}
static void a_helper_that_dies_is_an_answer_that_is_lost(void **state) { on_machine(MACHINE, crashes); }

static void too_old(void)
{
    struct fg_error err = {0};
    bool can_move;
    assert_fails(fg_checkpoint_probe(PROGRAM, FAKE_CUDA, &can_move, &err), err, FG_E_UNSUPPORTED);
    assert_has(err.text, "12.4; checkpoints came with 12.8");
    assert_fails(fg_checkpoint_probe(PROGRAM, "/nowhere/libcuda.so.1", &can_move, &err), err, FG_E_UNSUPPORTED);
    assert_has(err.text, "no driver");
    start_reclaimer();                       /* says so in the log, and nobody is parked */
    sleep_ms(1500);
    assert_int_equal(state_now(), FG_RECLAIM_RUNNING);
}
static void an_older_driver_is_said_to_be_too_old(void **state) { on_machine(MACHINE " driver=12040", too_old); }

static void cannot_move(void)
{
    struct fg_checkpoint c = {0};
    struct fg_error err = {0};
    bool can_move = true;
    char old[48], new[48];
    assert_ok(fg_checkpoint_probe(PROGRAM, FAKE_CUDA, &can_move, &err), err);
    assert_false(can_move);
    uuid_text(0, old);
    uuid_text(1, new);
    FG_AUTO_FREE char *pairs = fg_asprintf("%s=%s", old, new);
    assert_int_equal(does(false, NULL, &c), FG_REPLY_DONE);
    assert_int_equal(does(true, pairs, &c), FG_REPLY_REFUSED);
    assert_int_equal(does(true, NULL, &c), FG_REPLY_DONE);
}
static void a_driver_before_13_brings_back_but_moves_nothing(void **state) { on_machine(MACHINE " driver=12080", cannot_move); }

static int set_up(void **state)
{
    char path[300];
    unit_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/driver", folder);
    if (mkdir(path, 0700) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    if (symlink(SHIM, path) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    return symlink(FAKE_CUDA, path);
}

static int tear_down(void **state)
{
    FG_AUTO_FREE char *command = fg_asprintf("rm -r '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_tasks_memory_is_free_for_others_and_back_at_its_next_call),
        cmocka_unit_test(a_call_that_no_front_end_sees_is_answered_too),
        cmocka_unit_test(who_held_managed_memory_is_never_parked),
        cmocka_unit_test(who_gave_its_memory_to_another_process_is_never_parked),
        cmocka_unit_test(memory_is_taken_only_when_somebody_may_lack_it),
        cmocka_unit_test(without_room_its_call_waits_until_there_is_some),
        cmocka_unit_test(what_the_driver_loses_is_told_for_the_task_to_end),
        cmocka_unit_test(an_agent_that_starts_again_brings_back_what_it_had_parked),
        cmocka_unit_test(a_parked_task_can_be_killed),
        cmocka_unit_test(what_is_parked_can_come_back_on_another_device_of_the_kind),
        cmocka_unit_test(what_the_driver_refuses_to_park_runs_on),
        cmocka_unit_test(a_process_that_ended_is_told),
        cmocka_unit_test(a_helper_that_dies_is_an_answer_that_is_lost),
        cmocka_unit_test(an_older_driver_is_said_to_be_too_old),
        cmocka_unit_test(a_driver_before_13_brings_back_but_moves_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
