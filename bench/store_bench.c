/* store_bench.c - what one core stores per second: submits in batches of 1, 10 and 100 (each waits for its commit, as 1 and
 * 8 batches in flight), then the start with many queued tasks, lists and reads.
 *   store_bench [FOLDER] [SUBMITS]    a fresh database is made in FOLDER (default /tmp) and removed */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store.h"

static const char spec[] = "{\"task_type\":\"command\",\"command\":[\"python3\",\"train.py\",\"--epochs\",\"3\",\"--lr\",\"0.001\"],"
    "\"env\":{\"OMP_NUM_THREADS\":\"2\"},\"resources\":{\"memory\":1073741824,\"share\":50},\"limits\":{\"run\":3600},\"labels\":{\"run\":\"a\"}}";
static const char doc[] = "{\"state\":\"queued\",\"reason\":\"waiting_capacity\",\"class\":\"batch\",\"class_rule\":3,\"attempt\":1,\"retries_left\":0,"
    "\"held\":false,\"cancel\":false,\"type\":\"command\",\"priority\":\"normal\",\"need\":{\"memory_bytes\":1073741824,\"share_permille\":500,\"kind\":\"\"},"
    "\"limits\":{\"queue_ns\":0,\"startup_ns\":600000000000,\"run_ns\":3600000000000,\"max_cost\":0},\"submitted_ns\":1760000000000000000,"
    "\"queued_ns\":1760000000000000000,\"cost\":0,\"lease\":{\"epoch\":0},\"usage\":{\"seq\":0}}";

struct run { struct fg_store *store; struct fg_clock clock; struct fg_id_gen gen; fg_id tenants[8]; uint64_t seq; int in_flight; int64_t worst_ns; };
struct flight { struct run *run; int64_t begun_ns; };

static void add_event(struct run *run, struct fg_store_batch *batch, fg_id task, fg_id tenant, int kind, char *body)
{
    fg_vec_push(&batch->events, (struct fg_store_event){ .seq = ++run->seq, .time_ns = fg_now(&run->clock), .task = task,
                .tenant = tenant, .attempt = 1, .kind = kind, .body = body });
}

static void add_submit(struct run *run, struct fg_store_batch *batch, bool idempotent)
{
    int64_t now_ns = fg_now(&run->clock);
    fg_id id = fg_id_new(&run->gen, now_ns), tenant = run->tenants[id.lo % FG_COUNT(run->tenants)];
    add_event(run, batch, id, tenant, 0, fg_asprintf("{\"spec\":%s}", spec));
    add_event(run, batch, id, tenant, 1, fg_strdup("{\"reason\":\"waiting_capacity\"}"));
    add_event(run, batch, id, tenant, 2, fg_strdup("{\"class\":\"batch\",\"rule\":3}"));
    struct fg_store_task *task = fg_vec_add(&batch->tasks);
    *task = (struct fg_store_task){ .id = id, .tenant = tenant, .submitted_ns = now_ns, .doc = fg_strdup(doc), .spec = fg_strdup(spec) };
    if (idempotent) {
        task->idempotency_key = fg_asprintf("%016" PRIx64 "-%016" PRIx64, fg_id_hash(id), id.lo);
        task->idempotency_body = fg_strdup("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}

static void done(void *arg, struct fg_store_batch *batch, const struct fg_error *err)
{
    struct flight *flight = arg;
    struct run *run = flight->run;
    if (err) {
        fprintf(stderr, "store_bench: %s\n", err->text);
        exit(1);
    }
    run->worst_ns = FG_MAX(run->worst_ns, fg_now(&run->clock) - flight->begun_ns);
    run->in_flight--;
    free(flight);
    fg_store_batch_destroy(batch);
}

static void send(struct run *run, int submits, bool idempotent)
{
    struct fg_store_batch *batch = fg_store_batch_create();
    struct flight *flight = fg_alloc(sizeof *flight);
    *flight = (struct flight){ run, fg_now(&run->clock) };
    for (int i = 0; i < submits; i++)
        add_submit(run, batch, idempotent);
    batch->done = done;
    batch->arg = flight;
    run->in_flight++;
    fg_store_write(run->store, batch);
}

static double cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void measure(struct run *run, int batch, int flights, bool idempotent, int total)
{
    int64_t begun = fg_now(&run->clock), commits = fg_store_commits(run->store);
    double cpu = cpu_s();
    run->worst_ns = 0;
    int sent = 0;
    while (sent < total || run->in_flight) {
        for (; sent < total && run->in_flight < flights; sent += batch)
            send(run, batch, idempotent);
        struct pollfd fd = { .fd = fg_store_fd(run->store), .events = POLLIN };
        poll(&fd, 1, -1);
        fg_store_poll(run->store);
    }
    double s = (double)(fg_now(&run->clock) - begun) / 1e9;
    commits = fg_store_commits(run->store) - commits;
    printf("batch %4d x %d in flight%s  %8.0f submits/s  %7.0f commits/s  %5.1f us CPU/submit  worst %5.1f ms\n", batch, flights,
           idempotent ? " +key" : "     ", sent / s, (double)commits / s, (cpu_s() - cpu) * 1e6 / sent, (double)run->worst_ns / 1e6);
}

static int count_task(void *arg, const struct fg_store_task *row, struct fg_error *err)
{
    size_t *bytes = arg;
    *bytes += strlen(row->doc) + (row->spec ? strlen(row->spec) : 0);
    return 0;
}

static void timed(struct run *run, const char *what, int rounds, int (*call)(struct run *run, size_t *bytes, struct fg_error *err))
{
    struct fg_error err;
    size_t bytes = 0;
    int64_t begun = fg_now(&run->clock);
    for (int i = 0; i < rounds; i++)
        if (call(run, &bytes, &err) < 0) {
            fprintf(stderr, "store_bench: %s\n", err.text);
            exit(1);
        }
    double us = (double)(fg_now(&run->clock) - begun) / 1e3 / rounds;
    printf("%-34s %10.1f us  (%zu bytes)\n", what, us, bytes / (size_t)rounds);
}

static int load_live(struct run *run, size_t *bytes, struct fg_error *err)
{
    return fg_store_load_live(run->store, count_task, bytes, err);
}

static int list_100(struct run *run, size_t *bytes, struct fg_error *err)
{
    struct fg_store_list what = { .tenant = run->tenants[0], .state = -1, .limit = 100 };
    return fg_store_task_list(run->store, &what, count_task, bytes, err);
}

static int list_none(struct run *run, size_t *bytes, struct fg_error *err)
{
    struct fg_store_list what = { .tenant = run->tenants[0], .state = 4, .limit = 100 };
    return fg_store_task_list(run->store, &what, count_task, bytes, err);
}

static int get_last(struct run *run, size_t *bytes, struct fg_error *err)
{
    return fg_store_task_get(run->store, run->gen.last, count_task, bytes, err);
}

static void print_memory(void)
{
    FG_AUTO_STR struct fg_str status = {0};
    struct fg_error err;
    if (fg_read_file("/proc/self/status", 65536, &status, &err) == 0) {
        const char *rss = strstr(fg_str_cstr(&status), "VmRSS:");
        printf("resident: %.*s\n", rss ? (int)strcspn(rss + 6, "\n") : 0, rss ? rss + 6 : "");
    }
}

int main(int argc, char **argv)
{
    int total = argc > 2 ? atoi(argv[2]) : 30000;
    FG_AUTO_FREE char *folder = fg_asprintf("%s/store-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    struct run run = {0};
    struct fg_error err;
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    FG_AUTO_FREE char *path = fg_path_join(folder, "fgpu.db");
    fg_clock_init_real(&run.clock);
    for (size_t i = 0; i < FG_COUNT(run.tenants); i++)
        run.tenants[i] = fg_id_new(&run.gen, fg_now(&run.clock));
    if (fg_store_open(path, &run.store, &err) < 0) {
        fprintf(stderr, "store_bench: %s\n", err.text);
        return 1;
    }
    measure(&run, 1, 1, false, total / 10);
    measure(&run, 1, 16, false, total / 2);
    measure(&run, 10, 1, false, total / 2);
    measure(&run, 100, 1, false, total);
    measure(&run, 100, 8, false, total);
    measure(&run, 100, 1, true, total);
    fg_store_close(run.store);
    if (fg_store_open(path, &run.store, &err) < 0)
        return 1;
    print_memory();
    timed(&run, "load of all live tasks", 1, load_live);
    print_memory();
    timed(&run, "newest 100 of a tenant", 100, list_100);
    timed(&run, "none in state failed", 100, list_none);
    timed(&run, "one task", 1000, get_last);
    printf("%llu events\n", (unsigned long long)run.seq);
    fg_store_close(run.store);
    return fg_remove_tree(folder, &err) < 0;
}
