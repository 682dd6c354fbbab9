/* metrics.c - what happened since the start, counted as events come to disk and answers go out; GET /metrics. */
#include "control/metrics.h"
#include <stdio.h>
#include <string.h>
#include "base/units.h"
#include "control/routes.h"
#include "control/stream.h"

#define HIST_MAX 14
#define DEVICES_MAX 1024

struct hist { uint64_t counts[HIST_MAX + 1]; int64_t sum_ns; };
static const double task_bounds[HIST_MAX] = {.001, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600};
static const double io_bounds[HIST_MAX] = {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5};

static const int statuses[] = {200, 201, 202, 204, 206, 304, 400, 401, 402, 403, 404, 405, 409, 413, 415, 416, 422, 429, 500, 503, 507, 0};
#define STATUSES FG_COUNT(statuses)
#define ROUTES_MAX 64

struct fg_metrics {
    uint64_t ended[FG_STATE_COUNT][FG_REASON_COUNT];
    uint64_t submitted, requeued;
    int64_t cost_nanousd;
    struct hist queue, start, run, commit, http;
    uint64_t answers[ROUTES_MAX][STATUSES];      /* the last row: paths that are none of ours */
};

struct fg_metrics *fg_metrics_create(void) { return fg_alloc(sizeof(struct fg_metrics)); }
void fg_metrics_destroy(struct fg_metrics *m) { free(m); }

static void observe(struct hist *h, const double *bounds, int64_t ns)
{
    size_t i = 0;
    while (i < HIST_MAX && (double)ns > bounds[i] * 1e9)
        i++;
    h->counts[i]++;
    h->sum_ns += FG_MAX(ns, 0);
}

/* The task is in memory still: it is evicted after its events were counted. */
void fg_metrics_event(struct fg_server *s, const struct fg_store_event *ev)
{
    struct fg_metrics *m = s->metrics;
    const struct fg_task *task = s->core ? fg_core_task(s->core, ev->task) : NULL;
    if (ev->kind == FG_EV_TASK_SUBMITTED)
        m->submitted++;
    else if (ev->kind == FG_EV_TASK_QUEUED && ev->attempt > 1)
        m->requeued++;
    else if (!task)
        return;
    else if (ev->kind == FG_EV_TASK_PLACED)
        observe(&m->queue, task_bounds, ev->time_ns - task->queued_ns);
    else if (ev->kind == FG_EV_TASK_STARTED)
        observe(&m->start, task_bounds, ev->time_ns - task->placed_ns);
    else if (ev->kind == FG_EV_TASK_SETTLED)
        m->cost_nanousd += task->cost_nanousd;
    else if (ev->kind == FG_EV_TASK_FINISHED && task->state < FG_STATE_COUNT && task->reason < FG_REASON_COUNT) {
        m->ended[task->state][task->reason]++;
        if (task->started_ns)
            observe(&m->run, task_bounds, ev->time_ns - task->started_ns);
    }
}

void fg_metrics_commit(struct fg_server *s, int64_t took_ns) { observe(&s->metrics->commit, io_bounds, took_ns); }

void fg_metrics_answer(struct fg_server *s, size_t route, int status, int64_t took_ns)
{
    size_t i = 0;
    while (statuses[i] && statuses[i] != status)
        i++;
    s->metrics->answers[FG_MIN(route, (size_t)ROUTES_MAX - 1)][i]++;
    observe(&s->metrics->http, io_bounds, took_ns);
}

/* --- text --- */

static void head(struct fg_str *out, const char *name, const char *type, const char *help)
{
    fg_str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_hist(struct fg_str *out, const char *name, const char *help, const struct hist *h, const double *bounds)
{
    head(out, name, "histogram", help);
    uint64_t sum = 0;
    for (size_t i = 0; i < HIST_MAX; i++)
        fg_str_addf(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)(sum += h->counts[i]));
    sum += h->counts[HIST_MAX];
    fg_str_addf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9f\n%s_count %llu\n", name, (unsigned long long)sum, name,
                (double)h->sum_ns / 1e9, name, (unsigned long long)sum);
}

static void put_tasks(struct fg_str *out, struct fg_server *s)
{
    struct fg_core_counts n = {0};
    if (s->core)
        fg_core_counts(s->core, &n);
    head(out, "fastgpu_tasks", "gauge", "Live tasks by state.");
    fg_str_addf(out, "fastgpu_tasks{state=\"queued\"} %zu\nfastgpu_tasks{state=\"starting\"} %zu\nfastgpu_tasks{state=\"running\"} %zu\n",
                n.queued, n.starting, n.running);
    head(out, "fastgpu_tasks_held", "gauge", "Queued tasks that their owners hold.");
    fg_str_addf(out, "fastgpu_tasks_held %zu\n", n.held);
    head(out, "fastgpu_tasks_submitted_total", "counter", "Tasks accepted since the start.");
    fg_str_addf(out, "fastgpu_tasks_submitted_total %llu\n", (unsigned long long)s->metrics->submitted);
    head(out, "fastgpu_task_requeues_total", "counter", "Attempts after the first.");
    fg_str_addf(out, "fastgpu_task_requeues_total %llu\n", (unsigned long long)s->metrics->requeued);
    head(out, "fastgpu_tasks_total", "counter", "Ended tasks since the start.");
    for (int state = 0; state < FG_STATE_COUNT; state++)
        for (int reason = 0; reason < FG_REASON_COUNT; reason++)
            if (s->metrics->ended[state][reason])
                fg_str_addf(out, "fastgpu_tasks_total{result=\"%s\",reason=\"%s\"} %llu\n", fg_state_name((enum fg_state)state),
                            fg_reason_name((enum fg_reason)reason), (unsigned long long)s->metrics->ended[state][reason]);
    char money[40];
    head(out, "fastgpu_cost_total", "counter", "Charged since the start.");
    fg_str_addf(out, "fastgpu_cost_total{currency=\"USD\"} %s\n", fg_format_money(money, sizeof money, s->metrics->cost_nanousd));
}

static void put_plans(struct fg_str *out, struct fg_server *s)
{
    struct fg_plan_stats p = {0};
    char money[40];
    if (s->core)
        fg_core_plan_stats(s->core, &p);
    head(out, "fastgpu_plan_rounds_total", "counter", "Planning rounds that placed something; of these, with the solver.");
    fg_str_addf(out, "fastgpu_plan_rounds_total{solver=\"no\"} %llu\nfastgpu_plan_rounds_total{solver=\"yes\"} %llu\n",
                (unsigned long long)(p.rounds - p.improved), (unsigned long long)p.improved);
    head(out, "fastgpu_plan_cost_total", "counter", "Expected cost of all plans, USD.");
    fg_str_addf(out, "fastgpu_plan_cost_total %s\n", fg_format_money(money, sizeof money, p.cost_nanousd));
    head(out, "fastgpu_plan_lower_bound_total", "counter", "What no plans for the same tasks could cost less than, USD.");
    fg_str_addf(out, "fastgpu_plan_lower_bound_total %s\n", fg_format_money(money, sizeof money, p.bound_nanousd));
    head(out, "fastgpu_plan_gap_ratio", "gauge", "Of the last plan: cost above the lower bound.");
    fg_str_addf(out, "fastgpu_plan_gap_ratio %.6f\n", p.last_bound_nanousd > 0
                ? (double)(p.last_cost_nanousd - p.last_bound_nanousd) / (double)p.last_bound_nanousd : 0.0);
    head(out, "fastgpu_preemptions_total", "counter", "Tasks asked to make room for a higher one.");
    fg_str_addf(out, "fastgpu_preemptions_total %llu\n", (unsigned long long)p.preempted);
    head(out, "fastgpu_moves_total", "counter", "Tasks told to move to another device of their machine.");
    fg_str_addf(out, "fastgpu_moves_total %llu\n", (unsigned long long)p.moves);
    head(out, "fastgpu_move_chains_total", "counter", "Times that running tasks were moved to open a device for one that waited.");
    fg_str_addf(out, "fastgpu_move_chains_total %llu\n", (unsigned long long)p.chains);
    head(out, "fastgpu_reservations_total", "counter", "Places held for a head of the line.");
    fg_str_addf(out, "fastgpu_reservations_total %llu\n", (unsigned long long)p.reserved);
}

static void put_http(struct fg_str *out, const struct fg_metrics *m)
{
    head(out, "fastgpu_http_requests_total", "counter", "Answers by route and status.");
    for (size_t r = 0; r < ROUTES_MAX; r++)
        for (size_t i = 0; i < STATUSES; i++)
            if (m->answers[r][i])
                fg_str_addf(out, "fastgpu_http_requests_total{route=\"%s\",code=\"%d\"} %llu\n",
                            r < fg_route_count ? fg_routes[r].name : "none", statuses[i], (unsigned long long)m->answers[r][i]);
}

/* Label values that agents named: backslash, quote and line end escaped, as the text format wants. */
static void put_label(struct fg_str *out, const char *name, const char *value)
{
    fg_str_addf(out, "%s=\"", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\n')
            fg_str_adds(out, "\\n");
        else
            fg_str_addf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    fg_str_adds(out, "\"");
}

static void put_device(struct fg_str *out, const struct fg_device_view *v, const char *name, const char *extra, double value)
{
    fg_str_addf(out, "%s{", name);
    put_label(out, "device", v->device->name);
    put_label(out, ",kind", v->device->kind);
    put_label(out, ",node", v->node ? v->node->name : "");
    fg_str_addf(out, "%s} %.15g\n", extra, value);
}

static void put_devices(struct fg_str *out, struct fg_server *s)
{
    static struct fg_device_view views[DEVICES_MAX];
    size_t n = s->core ? fg_core_devices(s->core, views, DEVICES_MAX) : 0;
    n = FG_MIN(n, (size_t)DEVICES_MAX);
    head(out, "fastgpu_device_memory_bytes", "gauge", "Memory that may be handed out, and how much of it is free.");
    for (size_t i = 0; i < n; i++) {
        put_device(out, &views[i], "fastgpu_device_memory_bytes", ",state=\"total\"", (double)views[i].device->memory_bytes);
        put_device(out, &views[i], "fastgpu_device_memory_bytes", ",state=\"free\"", (double)views[i].memory_free_bytes);
        put_device(out, &views[i], "fastgpu_device_memory_bytes", ",state=\"parked\"", (double)views[i].memory_parked_bytes);
        put_device(out, &views[i], "fastgpu_device_memory_bytes", ",state=\"borrowed\"", (double)views[i].memory_borrowed_bytes);
    }
    head(out, "fastgpu_device_share_free_ratio", "gauge", "Compute share that is free.");
    for (size_t i = 0; i < n; i++)
        put_device(out, &views[i], "fastgpu_device_share_free_ratio", "", views[i].share_free_permille / 1000.0);
    head(out, "fastgpu_device_share_lent_ratio", "gauge", "Of what is free: lent to elastic tasks.");
    for (size_t i = 0; i < n; i++)
        put_device(out, &views[i], "fastgpu_device_share_lent_ratio", "", views[i].share_lent_permille / 1000.0);
    head(out, "fastgpu_device_vgpus", "gauge", "Leases held.");
    for (size_t i = 0; i < n; i++)
        put_device(out, &views[i], "fastgpu_device_vgpus", "", (double)views[i].leases);
    head(out, "fastgpu_device_drained", "gauge", "1 while an operator keeps new tasks off the device, or its machine.");
    for (size_t i = 0; i < n; i++)
        put_device(out, &views[i], "fastgpu_device_drained", "", fg_core_drain(s->core, views[i].device->node, views[i].device->id, NULL));
    head(out, "fastgpu_gpu_healthy", "gauge", "1 while the device is healthy and its node connected.");
    for (size_t i = 0; i < n; i++)
        put_device(out, &views[i], "fastgpu_gpu_healthy", "", views[i].device->healthy && views[i].node && views[i].node->connected);
}

static long resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*s %ld", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

void fg_route_metrics(struct fg_http_request *req, void *arg)
{
    struct fg_server *s = arg;
    const struct fg_metrics *m = s->metrics;
    FG_AUTO_STR struct fg_str out = {0};
    put_tasks(&out, s);
    put_plans(&out, s);
    put_hist(&out, "fastgpu_task_queue_seconds", "From queued to placed.", &m->queue, task_bounds);
    put_hist(&out, "fastgpu_task_start_seconds", "From placed to running.", &m->start, task_bounds);
    put_hist(&out, "fastgpu_task_run_seconds", "From running to ended.", &m->run, task_bounds);
    put_hist(&out, "fastgpu_journal_commit_seconds", "From handing a batch to the store until it is on disk.", &m->commit, io_bounds);
    put_hist(&out, "fastgpu_http_request_seconds", "From a request's head to its answer, waits included.", &m->http, io_bounds);
    head(&out, "fastgpu_journal_commits_total", "counter", "Transactions of the store.");
    fg_str_addf(&out, "fastgpu_journal_commits_total %lld\n", (long long)fg_store_commits(s->store));
    put_http(&out, m);
    head(&out, "fastgpu_sse_clients", "gauge", "Open streams of events and logs.");
    fg_str_addf(&out, "fastgpu_sse_clients %zu\n", fg_streams_count(s));
    put_devices(&out, s);
    head(&out, "fastgpu_placing_paused", "gauge", "1 while nothing is placed, as before a stop.");
    fg_str_addf(&out, "fastgpu_placing_paused %d\n", fg_server_now(s) < s->paused_until_ns);
    head(&out, "fastgpu_store_writable", "gauge", "0 while commits fail.");
    fg_str_addf(&out, "fastgpu_store_writable %d\n", s->core != NULL);
    head(&out, "process_resident_memory_bytes", "gauge", "Resident memory.");
    fg_str_addf(&out, "process_resident_memory_bytes %ld\n", resident_bytes());
    head(&out, "fastgpu_uptime_seconds", "gauge", "Since the server started.");
    fg_str_addf(&out, "fastgpu_uptime_seconds %.3f\n", (double)(fg_server_now(s) - s->started_ns) / 1e9);
    fg_http_answer(req, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len, NULL);
}
