/* queue_bench.c - the control core alone, in memory: many waiting tasks, many devices.
 * usage: queue_bench TASKS DEVICES LINES [NODES...]
 * TASKS wait in LINES lines of three tenants; DEVICES run four tasks each. Then the same decisions on fleets of NODES
 * machines with eight devices each, and on those with tasks that ask for cores and host memory beside them. Prints `what  figure unit`, one a line. The
 * clock is for measuring only; the core is given its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "control/core.h"

#define S FG_NS_PER_S
#define GB (UINT64_C(1) << 30)
#define PER_NODE 8

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);   /* nothing here waits; what others run does not count */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double resident_mb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%*s %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static struct bench {
    struct fg_core *core;
    struct fg_effects fx;
    int64_t now;
    uint64_t ids;
    size_t lines;
    bool beside;                         /* tasks ask for cores and host memory */
} b = {.now = 1000 * S};

static struct fg_core *make(void)
{
    static const struct fg_price price = {"", 1000000, 0};
    return fg_core_create(&(struct fg_core_config){.lease_ns = 300 * S, .lease_margin_ns = 10 * S, .window = 1000, .prices = &price,
                                                   .price_count = 1, .half_life_ns = 86400 * S, .improve_iterations = 20000});
}

static void must(int rc, const struct fg_error *err)
{
    if (rc < 0) {
        fprintf(stderr, "queue_bench: %s\n", err->text);
        exit(1);
    }
}

static void handle(const struct fg_input *in)
{
    struct fg_error err;
    must(fg_core_handle(b.core, in, b.now, &b.fx, &err), &err);
}

static void dispatch(void)
{
    struct fg_error err;
    must(fg_core_dispatch(b.core, b.now, &b.fx, &err), &err);
}

static void no_row(void *arg, const struct fg_task *task, const char *key, const char *doc) {}

static void stored(void)
{
    fg_core_changes(b.core, no_row, NULL);
    fg_effects_clear(&b.fx);
}

static fg_id submit(uint32_t share)
{
    static const char *const programs[] = {"python3 train.py", "true", "make", "python3 eval.py"};
    struct fg_spec spec;
    uint64_t n = ++b.ids;
    fg_spec_defaults(&spec);
    spec.json = (char *)"{\"command\":[\"python3\",\"train.py\"],\"task_type\":\"command\"}";
    spec.program = (char *)programs[n % 4];
    spec.need.memory_bytes = GB + (n % b.lines) * 4096;
    spec.need.share_permille = share;
    if (b.beside) {
        snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "card");
        spec.need.cpus_milli = 500 + (uint32_t)(n % b.lines) * 8;
        spec.need.host_bytes = 8 * GB;
    }
    fg_id id = {1000 + n, n};
    handle(&(struct fg_input){.kind = FG_IN_SUBMIT, .task = id, .submit = {{7, 1 + n % 3}, &spec, NULL}});
    return id;
}

static void hello(size_t devices)
{
    struct fg_device d[PER_NODE + 1];
    for (size_t i = 0; i < devices; i += PER_NODE) {
        struct fg_node node = {.id = {1, i + 1}};
        size_t n = FG_MIN((size_t)PER_NODE, devices - i);
        snprintf(node.name, sizeof node.name, "node-%zu", i);
        for (size_t k = 0; k < n; k++) {
            d[k] = (struct fg_device){.memory_bytes = 80 * GB, .units = 1, .healthy = true, .memory_level = FG_LEVEL_KERNEL};
            snprintf(d[k].name, sizeof d[k].name, "dev%zu", k);
            snprintf(d[k].kind, sizeof d[k].kind, "card");
        }
        if (b.beside) {
            d[n] = (struct fg_device){.memory_bytes = 512 * GB, .units = 32, .healthy = true, .memory_level = FG_LEVEL_KERNEL};
            snprintf(d[n].name, sizeof d[n].name, "cpu0");
            snprintf(d[n].kind, sizeof d[n].kind, "cpu");
            snprintf(d[n++].backend, sizeof d->backend, "cpu");
        }
        handle(&(struct fg_input){.kind = FG_IN_NODE_HELLO, .hello = {.node = &node, .devices = d, .device_count = n}});
    }
}

static void report(fg_id id, enum fg_report_kind kind)
{
    const struct fg_task *t = fg_core_task(b.core, id);
    struct fg_outcome o = {.state = FG_STATE_SUCCEEDED, .run_ns = 60 * S};
    handle(&(struct fg_input){.kind = FG_IN_REPORT, .task = id, .report = {.node = t->lease.node, .attempt = t->attempt,
                              .epoch = t->lease.epoch, .kind = kind, .outcome = &o}});
}

/* --- restart: what is stored of n waiting tasks, decoded and loaded, up to the first decision --- */

struct doc { fg_id id, tenant; char *text; };
static FG_VEC(struct doc) docs;

static void keep_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct fg_str text = {0};
    if (!task)
        return;
    fg_task_encode(task, &text);
    fg_vec_push(&docs, (struct doc){task->id, task->tenant, fg_str_take(&text)});
}

static void restart(size_t n)
{
    struct fg_error err;
    b.core = make();
    for (size_t i = 0; i < n; i++)
        submit(250);
    fg_core_changes(b.core, keep_row, NULL);
    fg_effects_clear(&b.fx);
    fg_core_destroy(b.core);
    double begin = now_s();
    b.core = make();
    double decoding = 0;
    for (size_t i = 0; i < docs.count; i++) {
        struct fg_task t = {.id = docs.items[i].id, .tenant = docs.items[i].tenant};
        double from = now_s();
        must(fg_task_decode(docs.items[i].text, strlen(docs.items[i].text), &t, &err), &err);
        decoding += now_s() - from;
        must(fg_core_load_task(b.core, &t, &err), &err);
    }
    fg_core_loaded(b.core, n * 3);
    hello(8);
    dispatch();
    printf("restart, %zu waiting tasks decoded, loaded, first decision  %.3f s\n", n, now_s() - begin);
    printf("of these for decoding  %.3f s\n", decoding);
    for (size_t i = 0; i < docs.count; i++)
        free(docs.items[i].text);
    fg_vec_fini(&docs);
    fg_effects_clear(&b.fx);
    fg_core_destroy(b.core);
}

static int by_value(const void *a, const void *c)
{
    double x = *(const double *)a, y = *(const double *)c;
    return x < y ? -1 : x > y;
}

static void print_times(const char *what, double *t, size_t n)
{
    qsort(t, n, sizeof *t, by_value);
    printf("%s, p50  %.1f us\n%s, p99  %.1f us\n", what, t[n / 2] * 1e6, what, t[n * 99 / 100] * 1e6);
}

/* --- fleets --- */

static double *times(size_t n, double (*one)(void *arg), void *arg)
{
    double *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        t[i] = one(arg);
        stored();
    }
    return t;
}

static double an_arrival(void *arg)
{
    double begin = now_s();
    submit(250);
    dispatch();
    return now_s() - begin;
}

static double a_price(void *arg)
{
    struct fg_input in = {.kind = FG_IN_PRICE, .price = {.price = {.kind = "card", .nanousd_per_s = 1000000 + (int64_t)++b.ids}}};
    double begin = now_s();
    handle(&in);
    dispatch();
    return now_s() - begin;
}

struct ids { FG_VEC(fg_id) list; size_t next; };

/* Those that run end in the order of a stride, so that room comes up all over the fleet. */
static double an_end(void *arg)
{
    struct ids *running = arg;
    fg_id id = running->list.items[running->next];
    running->next = (running->next + 7919) % running->list.count;
    b.now += S / 100;
    double begin = now_s();
    report(id, FG_REPORT_FINISHED);
    dispatch();
    return now_s() - begin;
}

static void keep_started(struct ids *running)
{
    for (size_t i = 0; i < b.fx.actions.count; i++)
        if (b.fx.actions.items[i].kind == FG_ACT_START)
            fg_vec_push(&running->list, b.fx.actions.items[i].task);
    stored();
    for (size_t i = 0; i < running->list.count; i++)
        report(running->list.items[i], FG_REPORT_STARTED);
    stored();
}

static void print_row(const char *what, size_t nodes, double (*one)(void *arg), void *arg)
{
    enum { N = 2000 };
    char name[120];
    snprintf(name, sizeof name, "%zu machines of 8%s, %s", nodes, b.beside ? ", with cores" : "", what);
    double *t = times(N, one, arg);
    print_times(name, t, N);
    free(t);
}

static void fleet(size_t nodes)
{
    struct ids running = {0};
    size_t devices = nodes * PER_NODE;
    double before = resident_mb(), begin = now_s();
    b.core = make();
    hello(devices);
    const char *with = b.beside ? ", with cores" : "";
    printf("%zu machines of 8%s, coming  %.2f s\n", nodes, with, now_s() - begin);
    stored();
    for (size_t i = 0; i < devices * 4; i++)
        submit(250);
    fg_effects_clear(&b.fx);
    begin = now_s();
    dispatch();
    printf("%zu machines of 8%s, filled  %.0f decisions/s\n", nodes, with, (double)devices * 4 / (now_s() - begin));
    keep_started(&running);
    print_row("an end that nobody waits for", nodes, an_end, &running);
    print_row("an arrival that is placed", nodes, an_arrival, NULL);
    for (size_t i = 0; i < 10000; i++)
        submit(250);
    dispatch();
    stored();
    print_row("an end and who takes its place", nodes, an_end, &running);
    print_row("a price that changes", nodes, a_price, NULL);
    printf("%zu machines of 8%s, resident  %.0f MB\n", nodes, with, resident_mb() - before);
    fg_vec_fini(&running.list);
    fg_core_destroy(b.core);
}

int main(int argc, char **argv)
{
    enum { N = 1000 };
    static double arrivals[N], ends[N], whys[N];
    size_t tasks = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000, devices = argc > 2 ? strtoul(argv[2], NULL, 10) : 8;
    b.lines = argc > 3 ? strtoul(argv[3], NULL, 10) : 50;
    double before = resident_mb();
    b.core = make();
    hello(devices);
    for (size_t i = 0; i < devices * 4; i++)
        submit(250);
    double begin = now_s();
    dispatch();
    printf("placing %zu tasks on %zu empty devices  %.0f /s\n", devices * 4, devices, (double)devices * 4 / (now_s() - begin));
    FG_VEC(fg_id) running = {0};
    for (size_t i = 0; i < b.fx.actions.count; i++)
        if (b.fx.actions.items[i].kind == FG_ACT_START)
            fg_vec_push(&running, b.fx.actions.items[i].task);
    stored();
    for (size_t i = 0; i < running.count; i++)
        report(running.items[i], FG_REPORT_STARTED);
    stored();
    begin = now_s();
    for (size_t i = 0; i < tasks; i++) {
        submit(250);
        if (i % 100 == 0) {
            dispatch();
            stored();
        }
    }
    dispatch();
    stored();
    printf("submits into the queue  %.0f /s\n", (double)tasks / (now_s() - begin));
    printf("%zu waiting tasks, resident  %.0f MB\n", tasks, resident_mb() - before);
    for (size_t i = 0; i < N; i++) {
        begin = now_s();
        submit(250);
        dispatch();
        arrivals[i] = now_s() - begin;
        stored();
    }
    for (size_t i = 0; i < N && i < running.count; i++) {
        b.now += S / 100;
        begin = now_s();
        report(running.items[i], FG_REPORT_FINISHED);
        dispatch();
        ends[i] = now_s() - begin;
        stored();
    }
    static struct fg_block blocks[1024];
    for (size_t i = 0; i < N; i++) {
        struct fg_forecast f;
        fg_id id = {1000 + b.ids - i, b.ids - i};
        begin = now_s();
        fg_core_why(b.core, id, b.now, blocks, 1024);
        fg_core_position(b.core, id, b.now);
        fg_core_forecast(b.core, id, b.now, &f);
        whys[i] = now_s() - begin;
    }
    print_times("an arrival and its round", arrivals, N);
    print_times("an end and its round", ends, FG_MIN((size_t)N, running.count));
    print_times("why", whys, N);
    fg_core_destroy(b.core);
    fg_vec_fini(&running);
    restart(150000);
    for (int beside = 0; beside <= 1; beside++)
        for (int i = 4; i < argc; i++) {
            b.beside = beside;
            fleet(strtoul(argv[i], NULL, 10));
        }
    fg_effects_fini(&b.fx);
    return 0;
}
