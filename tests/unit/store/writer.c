/* writer.c - batches from the loop thread to the disk: order, groups, waiting, and what ends the process. */
#include "store_unit.h"
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct order { int done, failed; bool out_of_order; };
struct numbered { struct order *order; int number; };

static void note_order(void *arg, struct fg_store_batch *batch, const struct fg_error *err)
{
    struct numbered *it = arg;
    it->order->out_of_order |= it->number != it->order->done;
    it->order->done++;
    it->order->failed += err != NULL;
    free(it);
    fg_store_batch_destroy(batch);
}

static void send_numbered(struct unit_store *u, struct order *order, int number)
{
    struct fg_store_batch *batch = fg_store_batch_create();
    struct numbered *it = fg_alloc(sizeof *it);
    *it = (struct numbered){ order, number };
    put_event(batch, (uint64_t)number + 1, task_id((uint64_t)number + 1), alice, "x");
    put_task(batch, task_id((uint64_t)number + 1), alice, 0)->spec = fg_strdup("S");
    batch->done = note_order;
    batch->arg = it;
    fg_store_write(u->store, batch);
}

/* Queued faster than one disk can sync them one by one: far fewer transactions than batches. */
static void waiting_batches_share_a_transaction_and_are_answered_in_order(void **state)
{
    struct unit_store u;
    struct order order = {0};
    unit_begin(&u);
    for (int i = 0; i < 2000; i++)
        send_numbered(&u, &order, i);
    fg_store_flush(u.store);
    assert_int_equal(order.done, 2000);
    assert_int_equal(order.failed, 0);
    assert_false(order.out_of_order);
    assert_in_range(fg_store_commits(u.store), 1, 1000);
    unit_end(&u);
}

static void the_descriptor_is_readable_when_an_answer_waits_and_only_then(void **state)
{
    struct unit_store u;
    struct order order = {0};
    unit_begin(&u);
    struct pollfd fd = { .fd = fg_store_fd(u.store), .events = POLLIN };
    assert_int_equal(poll(&fd, 1, 0), 0);
    for (int i = 0; i < 20; i++) {
        send_numbered(&u, &order, i);
        assert_int_equal(poll(&fd, 1, 10000), 1);
        fg_store_poll(u.store);
        assert_int_equal(order.done, i + 1);
        assert_int_equal(poll(&fd, 1, 0), 0);
    }
    unit_end(&u);
}

static void what_was_answered_is_seen_by_the_reader_at_once(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    for (uint64_t n = 1; n <= 50; n++) {
        struct fg_store_batch *batch = fg_store_batch_create();
        put_event(batch, n, task_id(n), alice, "x");
        commit_ok(&u, batch);
        uint64_t seq;
        int64_t time_ns;
        struct fg_error err;
        assert_ok(fg_store_last(u.store, &seq, &time_ns, &err), err);
        assert_int_equal(seq, n);
    }
    unit_end(&u);
}

static void closing_commits_and_answers_what_is_queued(void **state)
{
    struct unit_store u;
    struct order order = {0};
    unit_begin(&u);
    for (int i = 0; i < 100; i++)
        send_numbered(&u, &order, i);
    unit_close(&u);
    assert_int_equal(order.done, 100);
    assert_int_equal(order.failed, 0);
    unit_open(&u);
    uint64_t seq;
    int64_t time_ns;
    struct fg_error err;
    assert_ok(fg_store_last(u.store, &seq, &time_ns, &err), err);
    assert_int_equal(seq, 100);
    unit_end(&u);
}

static void an_empty_batch_is_answered_without_a_transaction(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    commit_ok(&u, fg_store_batch_create());
    assert_int_equal(fg_store_commits(u.store), 0);
    fg_store_write(u.store, fg_store_batch_create());    /* nobody waits for it */
    fg_store_flush(u.store);
    fg_store_batch_destroy(NULL);
    fg_store_close(NULL);
    unit_end(&u);
}

/* A batch of more rows than a group takes is still one transaction. */
static void a_batch_larger_than_a_group_is_one_transaction(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    for (uint64_t n = 1; n <= 15000; n++)
        put_event(batch, n, FG_ID_NONE, FG_ID_NONE, "x");
    commit_ok(&u, batch);
    assert_int_equal(fg_store_commits(u.store), 1);
    unit_end(&u);
}

struct chain { struct unit_store *u; int left; };

static void write_next(void *arg, struct fg_store_batch *batch, const struct fg_error *err)
{
    struct chain *chain = arg;
    fg_store_batch_destroy(batch);
    if (err || --chain->left == 0)
        return;
    struct fg_store_batch *next = fg_store_batch_create();
    put_event(next, (uint64_t)(1000 - chain->left), FG_ID_NONE, FG_ID_NONE, "x");
    next->done = write_next;
    next->arg = chain;
    fg_store_write(chain->u->store, next);
}

static void flush_waits_for_what_the_answers_queue_too(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct chain chain = { &u, 20 };
    struct fg_store_batch *batch = fg_store_batch_create();
    batch->done = write_next;
    batch->arg = &chain;
    fg_store_write(u.store, batch);
    fg_store_flush(u.store);
    assert_int_equal(chain.left, 0);
    unit_end(&u);
}

/* Calls that wait take their turn among batches; reads go on meanwhile. Under TSan this is the test for races. */
static void writes_calls_and_reads_mix(void **state)
{
    struct unit_store u;
    struct order order = {0};
    unit_begin(&u);
    for (int i = 0; i < 400; i++) {
        send_numbered(&u, &order, i);
        struct fg_error err;
        FG_AUTO_STR struct fg_str out = {0};
        if (i % 20 == 0) {
            struct fg_store_key key = { .id = {5, (uint64_t)i + 1}, .tenant = alice, .hash = "h", .name = "k" };
            assert_ok(fg_store_key_add(u.store, &key, &err), err);
            assert_ok(fg_store_key_get(u.store, key.id, &key, &err), err);
            assert_ok(fg_store_load_live(u.store, print_task, &out, &err), err);
            assert_true(out.len > (size_t)i);    /* the call came after the batches before it */
        }
        if (i % 7 == 0)
            fg_store_poll(u.store);
    }
    fg_store_flush(u.store);
    assert_int_equal(order.done, 400);
    assert_false(order.out_of_order);
    unit_end(&u);
}

static off_t wal_bytes(const struct unit_store *u)
{
    FG_AUTO_FREE char *wal = fg_asprintf("%s-wal", u->path);
    struct stat st;
    return stat(wal, &st) == 0 ? st.st_size : 0;
}

/* 160 MB are written in batches of 0.4 MB; the log is emptied from 16 MB on, and cut to nothing when all is quiet. */
static void the_log_stays_short_under_load_and_is_gone_when_idle(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    char *doc = fg_alloc(400001);
    off_t largest = 0;
    for (int i = 0; i < 400; i++) {
        struct fg_store_batch *batch = fg_store_batch_create();
        memset(doc, 'a' + i % 26, 400000);
        put_aux(batch, "core", doc);
        commit_ok(&u, batch);
        largest = FG_MAX(largest, wal_bytes(&u));
    }
    free(doc);
    assert_in_range(largest, 8 << 20, 24 << 20);
    for (int i = 0; i < 1200 && wal_bytes(&u) > 0; i++)
        usleep(50000);
    assert_int_equal(wal_bytes(&u), 0);
    unit_end(&u);
}

static void another_programs_snapshot_delays_nobody(void **state)
{
    struct unit_store u;
    sqlite3 *other;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_event(batch, 1, FG_ID_NONE, FG_ID_NONE, "x");
    commit_ok(&u, batch);
    assert_int_equal(sqlite3_open(u.path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN; SELECT count(*) FROM event", NULL, NULL, NULL), SQLITE_OK);
    usleep(1200000);                     /* idle upkeep meets the snapshot */
    for (uint64_t n = 2; n <= 20; n++) {
        batch = fg_store_batch_create();
        put_event(batch, n, FG_ID_NONE, FG_ID_NONE, "x");
        commit_ok(&u, batch);
    }
    sqlite3_close(other);
    unit_end(&u);
}

static void another_programs_transaction_is_waited_for(void **state)
{
    struct unit_store u;
    struct outcome outcome = {0};
    sqlite3 *other;
    unit_begin(&u);
    assert_int_equal(sqlite3_open(u.path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_event(batch, 1, FG_ID_NONE, FG_ID_NONE, "x");
    batch->done = note_outcome;
    batch->arg = &outcome;
    fg_store_write(u.store, batch);
    usleep(300000);
    fg_store_poll(u.store);
    assert_int_equal(outcome.calls, 0);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    fg_store_flush(u.store);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.err.code, FG_E_NONE);
    unit_end(&u);
}

/* Runs body in a child; the signal that ended it, or minus its exit status. */
static int ending_of(void (*body)(struct unit_store *u), struct unit_store *u)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);        /* cmocka catches it */
        int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(quiet, 2);
        body(u);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void write_one_seq_twice(struct unit_store *u)
{
    unit_open(u);
    for (int i = 0; i < 2; i++) {
        struct fg_store_batch *batch = fg_store_batch_create();
        put_event(batch, (uint64_t)(2 - i), FG_ID_NONE, FG_ID_NONE, i ? "good" : "good too");
        put_event(batch, (uint64_t)(2 - i), FG_ID_NONE, FG_ID_NONE, "bad");
        fg_store_write(u->store, batch);
    }
    fg_store_flush(u->store);
}

static void a_batch_that_contradicts_the_disk_ends_the_process_and_leaves_no_trace(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_event(batch, 1, FG_ID_NONE, FG_ID_NONE, "before");
    commit_ok(&u, batch);
    unit_close(&u);
    assert_int_equal(ending_of(write_one_seq_twice, &u), SIGABRT);
    unit_open(&u);
    assert_events(&u, FG_ID_NONE, FG_ID_NONE, 0, 9, "1:before");
    unit_end(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_batches_share_a_transaction_and_are_answered_in_order),
        cmocka_unit_test(the_descriptor_is_readable_when_an_answer_waits_and_only_then),
        cmocka_unit_test(what_was_answered_is_seen_by_the_reader_at_once),
        cmocka_unit_test(closing_commits_and_answers_what_is_queued),
        cmocka_unit_test(an_empty_batch_is_answered_without_a_transaction),
        cmocka_unit_test(a_batch_larger_than_a_group_is_one_transaction),
        cmocka_unit_test(flush_waits_for_what_the_answers_queue_too),
        cmocka_unit_test(writes_calls_and_reads_mix),
        cmocka_unit_test(the_log_stays_short_under_load_and_is_gone_when_idle),
        cmocka_unit_test(another_programs_snapshot_delays_nobody),
        cmocka_unit_test(another_programs_transaction_is_waited_for),
        cmocka_unit_test(a_batch_that_contradicts_the_disk_ends_the_process_and_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
