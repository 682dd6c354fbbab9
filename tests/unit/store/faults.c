/* faults.c - the disk fails at every write there is, once for each kind of failure: what was answered stays, what was not
 * answered is not there, and the store works again when the disk does. */
#include "store_unit.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "fault_vfs.h"

/* Batch n: 3 events, a task, a document that says n. */
static struct fg_store_batch *batch_of(uint64_t n)
{
    struct fg_store_batch *batch = fg_store_batch_create();
    for (uint64_t i = 0; i < 3; i++)
        put_event(batch, 3 * n + i + 1, task_id(n + 1), alice, "an event of some length");
    put_task(batch, task_id(n + 1), alice, 0)->spec = fg_strdup("S");
    FG_AUTO_FREE char *number = fg_asprintf("%d", (int)n);
    put_aux(batch, "core", number);
    return batch;
}

static int count_rows(void *arg, const struct fg_store_task *row, struct fg_error *err) { ++*(int *)arg; return 0; }

/* Exactly batches 0..n-1 are there, whole. */
static void assert_holds(struct unit_store *u, int n)
{
    struct fg_error err;
    FG_AUTO_STR struct fg_str aux = {0};
    int tasks = 0;
    uint64_t seq;
    int64_t time_ns;
    assert_ok(fg_store_last(u->store, &seq, &time_ns, &err), err);
    assert_int_equal(seq, 3 * n);
    assert_ok(fg_store_load_live(u->store, count_rows, &tasks, &err), err);
    assert_int_equal(tasks, n);
    assert_ok(fg_store_load_aux(u->store, print_aux, &aux, &err), err);
    FG_AUTO_FREE char *want = n ? fg_asprintf("core=%d", n - 1) : fg_strdup("");
    assert_string_equal(fg_str_cstr(&aux), want);
}

/* For nth = 1, 2, ... until a commit has no nth write: the commit fails at its nth write with code, and all writes after. */
static void sweep(int result, enum fg_error_code want)
{
    struct unit_store u;
    unit_begin(&u);
    int n = 0, faults = 0;
    for (int nth = 1;; nth++) {
        fault_arm(FAULT_WRITE, nth, result);
        struct fg_error err = commit(&u, batch_of((uint64_t)n));
        if (!fault.hits) {
            fault_disarm();
            assert_int_equal(err.code, FG_E_NONE);
            assert_holds(&u, n + 1);
            break;
        }
        faults++;
        assert_string_equal(fg_error_info(err.code)->name, fg_error_info(want)->name);
        assert_holds(&u, n);             /* reads go on */
        err = commit(&u, batch_of((uint64_t)n));
        assert_int_equal(err.code, want);
        assert_fails(fg_store_resume(u.store, &err), err, want);
        struct fg_store_key key = { .id = {5, 1}, .tenant = alice };
        assert_fails(fg_store_key_add(u.store, &key, &err), err, want);
        fault_disarm();
        err = commit(&u, batch_of((uint64_t)n));
        assert_int_equal(err.code, want);        /* not before resume: the caller's memory is ahead of the disk */
        assert_ok(fg_store_resume(u.store, &err), err);
        assert_holds(&u, n);
        commit_ok(&u, batch_of((uint64_t)n++));
        assert_holds(&u, n);
    }
    assert_in_range(faults, 5, 1000);    /* a commit of this kind writes several pages, each a header and a body */
    unit_end(&u);
}

static void a_disk_full_at_any_write_fails_the_batch_whole(void **state) { sweep(SQLITE_FULL, FG_E_STORAGE_FULL); }
static void an_input_output_error_at_any_write_fails_the_batch_whole(void **state) { sweep(SQLITE_IOERR_WRITE, FG_E_IO); }

static void all_batches_behind_a_failed_one_fail_with_it(void **state)
{
    struct unit_store u;
    struct outcome outcomes[8] = {0};
    unit_begin(&u);
    fault_arm(FAULT_WRITE, 1, SQLITE_FULL);
    for (uint64_t n = 0; n < 8; n++) {
        struct fg_store_batch *batch = batch_of(n);
        batch->done = note_outcome;
        batch->arg = &outcomes[n];
        fg_store_write(u.store, batch);
    }
    fg_store_flush(u.store);
    fault_disarm();
    for (int n = 0; n < 8; n++) {
        assert_int_equal(outcomes[n].calls, 1);
        assert_int_equal(outcomes[n].err.code, FG_E_STORAGE_FULL);
        assert_string_equal(outcomes[n].err.text, outcomes[0].err.text);
    }
    struct fg_error err;
    assert_ok(fg_store_resume(u.store, &err), err);
    assert_holds(&u, 0);
    commit_ok(&u, batch_of(0));
    assert_holds(&u, 1);
    unit_end(&u);
}

static void a_batch_is_answered_after_its_fsync(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    for (uint64_t n = 0; n < 10; n++) {
        int before = fault.syncs;
        commit_ok(&u, batch_of(n));
        assert_true(fault.syncs > before);
    }
    unit_end(&u);
}

static int ends_by_abort(struct unit_store *u)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
        unit_open(u);
        fault_arm(FAULT_SYNC, 1, SQLITE_IOERR_FSYNC);
        commit(u, batch_of(1));
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void a_failed_fsync_ends_the_process_before_anyone_is_answered(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    commit_ok(&u, batch_of(0));
    unit_close(&u);
    assert_true(ends_by_abort(&u));
    unit_open(&u);                       /* the pages were written, only not known to be: 1 or 2 batches, whole */
    uint64_t seq;
    int64_t time_ns;
    struct fg_error err;
    assert_ok(fg_store_last(u.store, &seq, &time_ns, &err), err);
    assert_holds(&u, (int)(seq / 3));
    unit_end(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_full_at_any_write_fails_the_batch_whole),
        cmocka_unit_test(an_input_output_error_at_any_write_fails_the_batch_whole),
        cmocka_unit_test(all_batches_behind_a_failed_one_fail_with_it),
        cmocka_unit_test(a_batch_is_answered_after_its_fsync),
        cmocka_unit_test(a_failed_fsync_ends_the_process_before_anyone_is_answered),
    };
    fault_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
