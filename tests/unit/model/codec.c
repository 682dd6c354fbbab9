/* What is stored comes back: every member of tasks and events, whatever its value. */
#include "base/json.h"
#include "base/mem.h"
#include "model/event.h"
#include "random.h"
#include "unit.h"

#define ROUNDS 3000

/* UTF-8 with quotes, escapes and control bytes; NULL one time in three. */
static char *random_text(struct rng *r)
{
    static const char *const pieces[] = {"a", "\"", "\\", "\n", "\x01", "\x7f", "/", "é", "漢", "😀", "{}", "null", "%s", " "};
    if (rng_below(r, 3) == 0)
        return NULL;
    struct fg_str s = {0};
    for (uint64_t n = rng_below(r, 12); n > 0; n--)
        fg_str_adds(&s, pieces[rng_below(r, FG_COUNT(pieces))]);
    return fg_str_take(&s);
}

static void random_chars(struct rng *r, char *buf, size_t n)
{
    FG_AUTO_FREE char *text = random_text(r);
    snprintf(buf, n, "%s", text && strlen(text) < n ? text : "");
}

static int64_t sparse(struct rng *r) { return rng_below(r, 2) ? 0 : rng_below(r, 8) ? rng_size(r) : -rng_size(r); }
static fg_id random_id(struct rng *r) { return rng_below(r, 3) ? (fg_id){rng_next(r), rng_next(r)} : FG_ID_NONE; }

static struct fg_spec random_spec(struct rng *r)
{
    struct fg_spec s = {
        .type = (enum fg_task_type)rng_below(r, FG_TASK_TYPE_COUNT), .class = (enum fg_class)rng_below(r, FG_CLASS_COUNT + 1),
        .priority = (enum fg_priority)rng_below(r, FG_PRIORITY_COUNT),
        .need = {.memory_bytes = (uint64_t)sparse(r), .share_permille = (uint32_t)rng_below(r, 1001),
                 .share_max_permille = (uint32_t)sparse(r)},
        .limits = {sparse(r), rng_below(r, 2) ? FG_DEFAULT_STARTUP_NS : sparse(r), rng_below(r, 2) ? FG_DEFAULT_RUN_NS : sparse(r), sparse(r)},
        .retries = (uint16_t)rng_next(r), .retry_on = (uint8_t)rng_below(r, 8), .hold = rng_below(r, 2),
        .name = random_text(r), .model = random_text(r), .program = random_text(r),
    };
    random_chars(r, s.need.device_kind, sizeof s.need.device_kind);
    return s;
}

static struct fg_usage random_usage(struct rng *r)
{
    return (struct fg_usage){(uint32_t)sparse(r), sparse(r), sparse(r), (uint64_t)sparse(r), sparse(r), (uint64_t)sparse(r)};
}

static struct fg_outcome random_outcome(struct rng *r)
{
    return (struct fg_outcome){
        .state = (enum fg_state)rng_below(r, FG_STATE_COUNT), .reason = (enum fg_reason)rng_below(r, FG_REASON_COUNT),
        .exit_code = (int)rng_below(r, 300) - 1, .signal = (int)rng_below(r, 65), .pull_ns = sparse(r), .load_ns = sparse(r),
        .run_ns = sparse(r), .usage = random_usage(r), .detail = random_text(r), .result = random_text(r),
        .outputs = random_text(r), .log_tail = random_text(r)};
}

static struct fg_lease random_lease(struct rng *r)
{
    return (struct fg_lease){(uint32_t)rng_next(r), random_id(r), (uint64_t)sparse(r), (uint64_t)sparse(r), (uint32_t)rng_below(r, 1001),
                             (uint32_t)rng_below(r, 1001), sparse(r), sparse(r), sparse(r), sparse(r), sparse(r), (enum fg_level)rng_below(r, FG_LEVEL_COUNT),
                             (enum fg_level)rng_below(r, FG_LEVEL_COUNT)};
}

static struct fg_placed random_placed(struct rng *r)
{
    return (struct fg_placed){(uint16_t)rng_next(r), sparse(r), sparse(r), sparse(r)};
}

static struct fg_task random_task(struct rng *r)
{
    return (struct fg_task){
        .id = random_id(r), .tenant = random_id(r), .state = (enum fg_state)rng_below(r, FG_STATE_COUNT),
        .reason = (enum fg_reason)rng_below(r, FG_REASON_COUNT), .class = (enum fg_class)rng_below(r, FG_CLASS_COUNT + 1),
        .class_rule = (uint16_t)rng_next(r), .attempt = (uint32_t)sparse(r), .retries_left = (uint16_t)rng_next(r),
        .held = rng_below(r, 2), .cancel_requested = rng_below(r, 2), .settled = rng_below(r, 2), .spec = random_spec(r),
        .placed = random_placed(r), .lease = random_lease(r), .lease_live = rng_below(r, 2), .submitted_ns = sparse(r),
        .queued_ns = sparse(r), .placed_ns = sparse(r), .started_ns = sparse(r), .finished_ns = sparse(r),
        .usage = random_usage(r), .outcome = random_outcome(r), .cost_nanousd = sparse(r), .idempotency = random_text(r)};
}

static void assert_same_text(const char *a, const char *b)
{
    if (!a || !b)
        assert_true(a == b);
    else
        assert_string_equal(a, b);
}

static void assert_same_usage(const struct fg_usage *a, const struct fg_usage *b)
{
    assert_int_equal(a->seq, b->seq);
    assert_true(a->device_ns == b->device_ns && a->wall_ns == b->wall_ns && a->memory_peak_bytes == b->memory_peak_bytes &&
                a->throttled_ns == b->throttled_ns && a->denied == b->denied);
}

static void assert_same_spec(const struct fg_spec *a, const struct fg_spec *b)
{
    assert_true(a->type == b->type && a->class == b->class && a->priority == b->priority);
    assert_true(a->need.memory_bytes == b->need.memory_bytes && a->need.share_permille == b->need.share_permille &&
                a->need.share_max_permille == b->need.share_max_permille);
    assert_string_equal(a->need.device_kind, b->need.device_kind);
    assert_true(a->limits.queue_ns == b->limits.queue_ns && a->limits.startup_ns == b->limits.startup_ns &&
                a->limits.run_ns == b->limits.run_ns && a->limits.max_cost_nanousd == b->limits.max_cost_nanousd);
    assert_true(a->retries == b->retries && a->retry_on == b->retry_on && a->hold == b->hold);
    assert_same_text(a->name, b->name);
    assert_same_text(a->model, b->model);
    assert_same_text(a->program, b->program);
    assert_same_text(a->json, b->json);
}

static void assert_same_outcome(const struct fg_outcome *a, const struct fg_outcome *b)
{
    assert_true(a->state == b->state && a->reason == b->reason && a->exit_code == b->exit_code && a->signal == b->signal);
    assert_true(a->pull_ns == b->pull_ns && a->load_ns == b->load_ns && a->run_ns == b->run_ns);
    assert_same_usage(&a->usage, &b->usage);
    assert_same_text(a->detail, b->detail);
    assert_same_text(a->result, b->result);
    assert_same_text(a->outputs, b->outputs);
    assert_same_text(a->log_tail, b->log_tail);
}

static void assert_same_lease(const struct fg_lease *a, const struct fg_lease *b)
{
    assert_true(a->device == b->device && fg_id_eq(a->node, b->node) && a->epoch == b->epoch);
    assert_true(a->memory_bytes == b->memory_bytes && a->share_permille == b->share_permille);
    assert_true(a->lent_permille == b->lent_permille && a->resized_ns == b->resized_ns && a->lent_us == b->lent_us);
    assert_true(a->granted_ns == b->granted_ns && a->deadline_ns == b->deadline_ns && a->price_nanousd_per_s == b->price_nanousd_per_s);
    assert_true(a->memory_level == b->memory_level && a->share_level == b->share_level);
}

static void assert_same_placed(const struct fg_placed *a, const struct fg_placed *b)
{
    assert_true(a->rule == b->rule && a->expected_ns == b->expected_ns && a->expected_cost_nanousd == b->expected_cost_nanousd &&
                a->runner_up_cost_nanousd == b->runner_up_cost_nanousd);
}

static void assert_same_task(const struct fg_task *a, const struct fg_task *b)
{
    assert_true(a->state == b->state && a->reason == b->reason && a->class == b->class && a->class_rule == b->class_rule);
    assert_true(a->attempt == b->attempt && a->retries_left == b->retries_left && a->held == b->held &&
                a->cancel_requested == b->cancel_requested && a->settled == b->settled && a->lease_live == b->lease_live);
    assert_true(a->submitted_ns == b->submitted_ns && a->queued_ns == b->queued_ns && a->placed_ns == b->placed_ns &&
                a->started_ns == b->started_ns && a->finished_ns == b->finished_ns && a->cost_nanousd == b->cost_nanousd);
    assert_same_spec(&a->spec, &b->spec);
    assert_same_placed(&a->placed, &b->placed);
    assert_same_lease(&a->lease, &b->lease);
    assert_same_usage(&a->usage, &b->usage);
    assert_same_outcome(&a->outcome, &b->outcome);
    assert_same_text(a->idempotency, b->idempotency);
}

static void any_task_comes_back_as_it_was(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < ROUNDS; i++) {
        struct fg_task task = random_task(&r), back = {.id = {7, 8}, .tenant = {9, 10}};
        struct fg_error err = {0};
        FG_AUTO_STR struct fg_str doc = {0};
        fg_task_encode(&task, &doc);
        assert_ok(fg_task_decode(doc.data, doc.len, &back, &err), err);
        assert_same_task(&task, &back);
        assert_true(fg_id_eq(back.id, (fg_id){7, 8}) && fg_id_eq(back.tenant, (fg_id){9, 10}));
        fg_task_fini(&task);
        fg_task_fini(&back);
    }
}

static void decoding_replaces_all_but_id_tenant_and_spec_text(void **state)
{
    struct fg_task task = {.class = FG_CLASS_BATCH}, old = {.id = {1, 2}, .cost_nanousd = 5, .idempotency = fg_strdup("x")};
    struct fg_error err = {0};
    FG_AUTO_STR struct fg_str doc = {0};
    fg_spec_defaults(&task.spec);
    old.spec.json = fg_strdup("{\"a\":1}");
    old.spec.name = fg_strdup("old");
    fg_task_encode(&task, &doc);
    assert_string_equal(doc.data, "{}"); /* all default: nothing to say */
    assert_ok(fg_task_decode(doc.data, doc.len, &old, &err), err);
    assert_string_equal(old.spec.json, "{\"a\":1}");
    assert_null(old.spec.name);
    assert_null(old.idempotency);
    assert_int_equal(old.cost_nanousd, 0);
    fg_task_fini(&old);
}

static void a_corrupt_document_is_an_error_and_changes_nothing(void **state)
{
    static const char *const bad[] = {"", "[]", "{\"state\":\"flying\"}", "{\"attempt\":-1}", "{\"attempt\":4294967296}", "{\"held\":1}",
                                      "{\"want\":[]}", "{\"lease\":{\"node\":\"tsk_0\"}}", "{\"class_rule\":65536}", "{\"outcome\":{\"detail\":5}}",
                                      "{\"want\":{\"name\":\"x\",\"share\":-1}}", "{\"cost\":1.5}"};
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        struct fg_task task = {.attempt = 3};
        struct fg_error err = {0};
        assert_int_equal(fg_task_decode(bad[i], strlen(bad[i]), &task, &err), -1);
        assert_has(err.text, "stored task");
        assert_int_equal(task.attempt, 3);
    }
}

static void a_newer_document_is_read_without_what_is_new(void **state)
{
    struct fg_task task = {0};
    struct fg_error err = {0};
    const char *doc = "{\"attempt\":2,\"moon\":{\"phase\":[1]},\"want\":{\"colour\":\"red\"}}";
    assert_ok(fg_task_decode(doc, strlen(doc), &task, &err), err);
    assert_int_equal(task.attempt, 2);
    fg_task_fini(&task);
}

/* 175 bytes when this was written: 100,000 of them are loaded at a restart, and 20,000 a second are written. */
static void a_queued_task_is_a_short_document(void **state)
{
    struct fg_task task = {.reason = FG_REASON_WAITING_CAPACITY, .class = FG_CLASS_BATCH, .class_rule = 6,
                           .submitted_ns = 1780000000123456789, .queued_ns = 1780000000123456789};
    FG_AUTO_STR struct fg_str doc = {0};
    fg_spec_defaults(&task.spec);
    task.spec.need = (struct fg_need){.memory_bytes = 1000000000, .share_permille = 500};
    task.spec.program = fg_strdup("python3 train.py");
    fg_task_encode(&task, &doc);
    assert_true(doc.len < 200);
    fg_task_fini(&task);
}

static struct fg_device random_device(struct rng *r)
{
    struct fg_device d = {.id = (uint32_t)rng_next(r), .node = random_id(r), .memory_bytes = (uint64_t)sparse(r), .units = (uint32_t)sparse(r),
                          .gflops = (double)rng_size(r) / 1000.0, .memory_level = (enum fg_level)rng_below(r, FG_LEVEL_COUNT),
                          .share_level = (enum fg_level)rng_below(r, FG_LEVEL_COUNT), .healthy = rng_below(r, 2), .moves = rng_below(r, 2)};
    random_chars(r, d.name, sizeof d.name);
    random_chars(r, d.kind, sizeof d.kind);
    random_chars(r, d.backend, sizeof d.backend);
    random_chars(r, d.level_why, sizeof d.level_why);
    return d;
}

static void random_joined(struct rng *r, struct fg_event *ev)
{
    ev->joined.node = (struct fg_node){.id = random_id(r), .connected = rng_below(r, 2), .lost = rng_below(r, 2), .seen_ns = sparse(r)};
    random_chars(r, ev->joined.node.name, sizeof ev->joined.node.name);
    random_chars(r, ev->joined.node.boot_id, sizeof ev->joined.node.boot_id);
    ev->joined.count = rng_below(r, 4);
    ev->joined.devices = ev->joined.count ? fg_alloc(ev->joined.count * sizeof *ev->joined.devices) : NULL;
    for (size_t i = 0; i < ev->joined.count; i++)
        ev->joined.devices[i] = random_device(r);
}

static struct fg_event random_event(struct rng *r)
{
    struct fg_event ev = {.seq = rng_next(r), .time_ns = sparse(r), .kind = (enum fg_event_kind)rng_below(r, FG_EVENT_COUNT),
                          .task = random_id(r), .tenant = random_id(r), .attempt = (uint32_t)rng_next(r)};
    switch (ev.kind) {
    case FG_EV_TASK_SUBMITTED:
        ev.submitted.spec = random_spec(r);
        ev.submitted.spec.json = rng_below(r, 4) ? fg_strdup("{\"command\":[\"a\\\"b\",\"é\"],\"n\":0.5,\"z\":{}}") : random_text(r);
        ev.submitted.idempotency = random_text(r);
        break;
    case FG_EV_TASK_QUEUED: ev.queued.reason = (enum fg_reason)rng_below(r, FG_REASON_COUNT); ev.queued.uses_retry = rng_below(r, 2); break;
    case FG_EV_TASK_CLASSIFIED: ev.classified.class = (enum fg_class)rng_below(r, FG_CLASS_COUNT); ev.classified.rule = (uint16_t)rng_next(r); break;
    case FG_EV_TASK_PLACED: ev.placed.placed = random_placed(r); ev.placed.device = (uint32_t)rng_next(r); break;
    case FG_EV_LEASE_GRANTED: ev.lease = random_lease(r); break;
    case FG_EV_TASK_STARTED: ev.started.pull_ns = sparse(r); break;
    case FG_EV_USAGE_RECORDED: ev.usage = random_usage(r); break;
    case FG_EV_TASK_FINISHED: ev.finished = random_outcome(r); break;
    case FG_EV_LEASE_RELEASED: ev.released.epoch = (uint64_t)sparse(r); break;
    case FG_EV_LEASE_RESIZED: ev.resized.epoch = (uint64_t)sparse(r); ev.resized.lent_permille = (uint32_t)rng_below(r, 1001); break;
    case FG_EV_PRICE_SET:
        snprintf(ev.priced.kind, sizeof ev.priced.kind, "%s", rng_below(r, 2) ? "NVIDIA \"H200\"" : "");
        ev.priced.nanousd_per_s = sparse(r), ev.priced.spot_nanousd_per_s = sparse(r), ev.priced.unset = rng_below(r, 2);
        break;
    case FG_EV_LEASE_MOVING:
        ev.parked.epoch = (uint64_t)sparse(r), ev.parked.device = (fg_device_id)rng_below(r, 9), ev.parked.whom = random_id(r);
        break;
    case FG_EV_NODE_DRAINED:
    case FG_EV_NODE_RESUMED:
        ev.drained.node = random_id(r), ev.drained.device = (fg_device_id)rng_below(r, 9), ev.drained.since_ns = sparse(r);
        snprintf(ev.drained.reason, sizeof ev.drained.reason, "%s", rng_below(r, 2) ? "fan \"2\"\n" : "");
        ev.drained.now = rng_below(r, 2);
        break;
    case FG_EV_TASK_SETTLED: ev.settled.cost_nanousd = sparse(r); ev.settled.lines = random_text(r); break;
    case FG_EV_NODE_JOINED: random_joined(r, &ev); break;
    case FG_EV_NODE_LOST: ev.lost.node = random_id(r); break;
    default: break;
    }
    return ev;
}

static void assert_same_device(const struct fg_device *a, const struct fg_device *b)
{
    assert_true(a->id == b->id && fg_id_eq(a->node, b->node) && a->memory_bytes == b->memory_bytes && a->units == b->units);
    assert_true(a->gflops == b->gflops && a->memory_level == b->memory_level && a->share_level == b->share_level && a->healthy == b->healthy && a->moves == b->moves);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->kind, b->kind);
    assert_string_equal(a->backend, b->backend);
    assert_string_equal(a->level_why, b->level_why);
}

static void assert_same_joined(const struct fg_event *a, const struct fg_event *b)
{
    const struct fg_node *x = &a->joined.node, *y = &b->joined.node;
    assert_true(fg_id_eq(x->id, y->id) && x->connected == y->connected && x->lost == y->lost && x->seen_ns == y->seen_ns);
    assert_string_equal(x->name, y->name);
    assert_string_equal(x->boot_id, y->boot_id);
    assert_int_equal(a->joined.count, b->joined.count);
    for (size_t i = 0; i < a->joined.count; i++)
        assert_same_device(&a->joined.devices[i], &b->joined.devices[i]);
}

static void assert_same_event(const struct fg_event *a, const struct fg_event *b)
{
    assert_true(a->seq == b->seq && a->time_ns == b->time_ns && a->kind == b->kind && a->attempt == b->attempt);
    assert_true(fg_id_eq(a->task, b->task) && fg_id_eq(a->tenant, b->tenant));
    switch (a->kind) {
    case FG_EV_TASK_SUBMITTED:
        assert_same_spec(&a->submitted.spec, &b->submitted.spec);
        assert_same_text(a->submitted.idempotency, b->submitted.idempotency);
        break;
    case FG_EV_TASK_QUEUED: assert_true(a->queued.reason == b->queued.reason && a->queued.uses_retry == b->queued.uses_retry); break;
    case FG_EV_TASK_CLASSIFIED: assert_true(a->classified.class == b->classified.class && a->classified.rule == b->classified.rule); break;
    case FG_EV_TASK_PLACED:
        assert_int_equal(a->placed.device, b->placed.device);
        assert_same_placed(&a->placed.placed, &b->placed.placed);
        break;
    case FG_EV_LEASE_GRANTED: assert_same_lease(&a->lease, &b->lease); break;
    case FG_EV_TASK_STARTED: assert_true(a->started.pull_ns == b->started.pull_ns); break;
    case FG_EV_USAGE_RECORDED: assert_same_usage(&a->usage, &b->usage); break;
    case FG_EV_TASK_FINISHED: assert_same_outcome(&a->finished, &b->finished); break;
    case FG_EV_LEASE_RELEASED: assert_true(a->released.epoch == b->released.epoch); break;
    case FG_EV_LEASE_RESIZED:
        assert_true(a->resized.epoch == b->resized.epoch && a->resized.lent_permille == b->resized.lent_permille);
        break;
    case FG_EV_PRICE_SET:
        assert_string_equal(a->priced.kind, b->priced.kind);
        assert_true(a->priced.nanousd_per_s == b->priced.nanousd_per_s && a->priced.spot_nanousd_per_s == b->priced.spot_nanousd_per_s);
        assert_true(a->priced.unset == b->priced.unset);
        break;
    case FG_EV_LEASE_MOVING:
        assert_true(a->parked.epoch == b->parked.epoch && a->parked.device == b->parked.device && fg_id_eq(a->parked.whom, b->parked.whom));
        break;
    case FG_EV_NODE_DRAINED:
    case FG_EV_NODE_RESUMED:
        assert_true(fg_id_eq(a->drained.node, b->drained.node) && a->drained.device == b->drained.device);
        assert_string_equal(a->drained.reason, b->drained.reason);
        assert_true(a->drained.since_ns == b->drained.since_ns && a->drained.now == b->drained.now);
        break;
    case FG_EV_TASK_SETTLED:
        assert_true(a->settled.cost_nanousd == b->settled.cost_nanousd);
        assert_same_text(a->settled.lines, b->settled.lines);
        break;
    case FG_EV_NODE_JOINED: assert_same_joined(a, b); break;
    case FG_EV_NODE_LOST: assert_true(fg_id_eq(a->lost.node, b->lost.node)); break;
    default: break;
    }
}

static void any_event_comes_back_as_it_was(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < ROUNDS; i++) {
        struct fg_event ev = random_event(&r);
        struct fg_event back = {.seq = ev.seq, .time_ns = ev.time_ns, .kind = ev.kind, .task = ev.task, .tenant = ev.tenant, .attempt = ev.attempt};
        struct fg_error err = {0};
        FG_AUTO_STR struct fg_str body = {0};
        if (ev.kind == FG_EV_TASK_SUBMITTED && ev.submitted.spec.json && ev.submitted.spec.json[0] == '{')
            ev.submitted.spec.json[0] = '['; /* what begins as an object must be canonical; the next test has such */
        fg_event_encode(&ev, &body);
        assert_ok(fg_event_decode(body.data, body.len, &back, &err), err);
        assert_same_event(&ev, &back);
        fg_event_fini(&ev);
        fg_event_fini(&back);
    }
}

/* The log is read by people: the spec stands in it as it was accepted. */
static void the_spec_stands_in_its_event_unquoted(void **state)
{
    struct fg_event ev = {.kind = FG_EV_TASK_SUBMITTED};
    FG_AUTO_STR struct fg_str body = {0};
    fg_spec_defaults(&ev.submitted.spec);
    ev.submitted.spec.json = fg_strdup("{\"command\":[\"true\"]}");
    fg_event_encode(&ev, &body);
    assert_string_equal(body.data, "{\"spec\":{\"command\":[\"true\"]}}");
    fg_event_fini(&ev);
}

/* Every single-byte change of valid documents: an error or a task, never a crash or a leak. */
static void a_damaged_document_never_crashes(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < ROUNDS; i++) {
        struct fg_task task = random_task(&r), back = {0};
        struct fg_event ev = random_event(&r), evback = {.kind = ev.kind};
        FG_AUTO_STR struct fg_str doc = {0}, body = {0};
        fg_task_encode(&task, &doc);
        fg_event_encode(&ev, &body);
        doc.data[rng_below(&r, doc.len)] = (char)rng_next(&r);
        body.data[rng_below(&r, body.len)] = (char)rng_next(&r);
        fg_task_decode(doc.data, doc.len, &back, NULL);
        fg_event_decode(body.data, body.len, &evback, NULL);
        fg_task_fini(&task);
        fg_task_fini(&back);
        fg_event_fini(&ev);
        fg_event_fini(&evback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_task_comes_back_as_it_was),
        cmocka_unit_test(decoding_replaces_all_but_id_tenant_and_spec_text),
        cmocka_unit_test(a_corrupt_document_is_an_error_and_changes_nothing),
        cmocka_unit_test(a_newer_document_is_read_without_what_is_new),
        cmocka_unit_test(a_queued_task_is_a_short_document),
        cmocka_unit_test(any_event_comes_back_as_it_was),
        cmocka_unit_test(the_spec_stands_in_its_event_unquoted),
        cmocka_unit_test(a_damaged_document_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
