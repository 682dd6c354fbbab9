/* crash.c - kill -9 at random instants: what was answered is there, and what is there is whole and without a gap.
 *
 *   crash              the test: ROUNDS times a child writes numbered batches and says on a pipe which were answered, until killed
 *   crash write PATH   the child
 *
 * Batch b (from 0) has 1 + b % 5 events, whose bodies are "b.i", a task b and the document core=b. Nothing else is
 * written, so the log alone tells how many batches are there. FGPU_SEED (random.h) draws other instants. */
#include "store_unit.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "random.h"

enum { ROUNDS = 100, IN_FLIGHT = 6 };

static uint64_t events_of(uint64_t batch) { return 1 + batch % 5; }

/* --- the child --- */

struct child { struct unit_store u; uint64_t next_batch, next_seq; int in_flight; };
struct note { struct child *child; uint64_t batch; };

static void say_answered(void *arg, struct fg_store_batch *batch, const struct fg_error *err)
{
    struct note *note = arg;
    if (err || write(STDOUT_FILENO, &note->batch, sizeof note->batch) != sizeof note->batch)
        _exit(1);
    note->child->in_flight--;
    free(note);
    fg_store_batch_destroy(batch);
}

static void send_batch(struct child *child)
{
    struct fg_store_batch *batch = fg_store_batch_create();
    uint64_t b = child->next_batch++;
    char text[50];
    for (uint64_t i = 0; i < events_of(b); i++) {
        snprintf(text, sizeof text, "%d.%d", (int)b, (int)i);
        put_event(batch, ++child->next_seq, task_id(b + 1), alice, text);
    }
    put_task(batch, task_id(b + 1), alice, 0)->spec = fg_strdup("S");
    snprintf(text, sizeof text, "%d", (int)b);
    put_aux(batch, "core", text);
    struct note *note = fg_alloc(sizeof *note);
    *note = (struct note){ child, b };
    batch->done = say_answered;
    batch->arg = note;
    child->in_flight++;
    fg_store_write(child->u.store, batch);
}

static int write_until_killed(const char *path)
{
    struct child child = {0};
    struct fg_error err;
    int64_t time_ns;
    uint64_t seq = 0;
    if (fg_store_open(path, &child.u.store, &err) < 0 || fg_store_last(child.u.store, &child.next_seq, &time_ns, &err) < 0) {
        fprintf(stderr, "child: %s\n", err.text);
        return 1;
    }
    while (seq < child.next_seq)
        seq += events_of(child.next_batch++);
    for (;;) {
        while (child.in_flight < IN_FLIGHT)
            send_batch(&child);
        struct pollfd fd = { .fd = fg_store_fd(child.u.store), .events = POLLIN };
        poll(&fd, 1, -1);
        fg_store_poll(child.u.store);
    }
}

/* --- the test --- */

/* How far the log was checked, and what was answered so far. */
struct checked { uint64_t seq, batch, event, answered; };

static int check_event(void *arg, const struct fg_store_event *ev, struct fg_error *err)
{
    struct checked *c = arg;
    char want[50];
    snprintf(want, sizeof want, "%d.%d", (int)c->batch, (int)c->event);
    if (ev->seq != c->seq + 1 || strcmp(ev->body, want) != 0 || !fg_id_eq(ev->task, task_id(c->batch + 1)))
        return fg_fail(err, FG_E_IO, "event %d is '%s', not '%s'", (int)ev->seq, ev->body, want);
    c->seq++;
    if (++c->event == events_of(c->batch)) {
        c->batch++;
        c->event = 0;
    }
    return 0;
}

static int count_rows(void *arg, const struct fg_store_task *row, struct fg_error *err) { ++*(uint64_t *)arg; return 0; }

static void check_store(struct unit_store *u, struct checked *c, bool deep)
{
    struct fg_error err;
    unit_open(u);
    assert_ok(fg_store_events(u->store, FG_ID_NONE, FG_ID_NONE, c->seq, SIZE_MAX, check_event, c, &err), err);
    assert_int_equal(c->event, 0);                       /* the last batch is whole */
    assert_true(c->batch >= c->answered);                /* and the answered ones are there */
    FG_AUTO_STR struct fg_str core = {0};
    FG_AUTO_FREE char *want = c->batch ? fg_asprintf("core=%d", (int)c->batch - 1) : fg_strdup("");
    assert_ok(fg_store_load_aux(u->store, print_aux, &core, &err), err);
    assert_string_equal(fg_str_cstr(&core), want);
    if (deep) {
        uint64_t tasks = 0;
        assert_ok(fg_store_load_live(u->store, count_rows, &tasks, &err), err);
        assert_int_equal(tasks, c->batch);
        assert_ok(fg_store_check(u->path, NULL, &err), err);
    }
    unit_close(u);
}

static pid_t start_child(const char *path, int *ret_pipe)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execl("/proc/self/exe", "crash", "write", path, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    *ret_pipe = fds[0];
    return pid;
}

/* Lets the child write for after_us from its first answer on (or from its start: then recovery is what is killed). */
static void run_and_kill(const char *path, struct checked *c, bool in_recovery, unsigned after_us)
{
    int fd;
    uint64_t answered;
    pid_t pid = start_child(path, &fd);
    if (!in_recovery && read(fd, &answered, sizeof answered) == sizeof answered)
        c->answered = answered + 1;
    usleep(after_us);
    assert_int_equal(kill(pid, SIGKILL), 0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);     /* not an error of its own */
    while (read(fd, &answered, sizeof answered) == sizeof answered)
        c->answered = answered + 1;
    close(fd);
}

static void no_answered_batch_is_lost_and_none_is_half_there(void **state)
{
    struct rng rng = rng_start(__func__);
    struct unit_store u;
    struct checked c = {0};
    unit_begin(&u);
    unit_close(&u);
    for (int round = 0; round < ROUNDS; round++) {
        bool in_recovery = rng_below(&rng, 8) == 0;
        run_and_kill(u.path, &c, in_recovery, (unsigned)rng_below(&rng, in_recovery ? 20000 : 40000));
        /* mostly the next child recovers what this one left; now and then we look first */
        if (round % 4 == 3)
            check_store(&u, &c, round % 20 == 19);
    }
    printf("%d kills, %d batches answered, %d there\n", ROUNDS, (int)c.answered, (int)c.batch);
    assert_true(c.answered > ROUNDS / 2);
    unit_end(&u);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "write"))
        return write_until_killed(argv[2]);
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_answered_batch_is_lost_and_none_is_half_there) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
