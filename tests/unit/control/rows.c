/* The state outlives the process: by its log, by its rows; and memory holds no more than it must. */
#include "core_fix.h"

#include "random.h"

/* --- a little store --- */

struct kept { fg_id id, tenant; char *doc, *spec; bool settled; };
struct aux { char *key, *doc; };
struct line { uint64_t seq; int64_t time_ns; enum fg_event_kind kind; fg_id task, tenant; uint32_t attempt; char *body; };
struct keep {
    FG_VEC(struct kept) tasks;
    FG_VEC(struct aux) aux;
    FG_VEC(struct line) log;
    size_t rows;                         /* of the last call */
    fg_id last;
};

static void keep_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct keep *k = arg;
    if (!task) {
        for (size_t i = 0; i < k->aux.count; i++)
            if (strcmp(k->aux.items[i].key, key) == 0) {
                free(k->aux.items[i].doc);
                k->aux.items[i].doc = fg_strdup(doc);
                return;
            }
        fg_vec_push(&k->aux, (struct aux){fg_strdup(key), fg_strdup(doc)});
        return;
    }
    assert_true(k->rows++ == 0 || fg_id_cmp(k->last, task->id) < 0);    /* each once, in id order */
    k->last = task->id;
    struct fg_str text = {0};
    fg_task_encode(task, &text);
    for (size_t i = 0; i < k->tasks.count; i++)
        if (fg_id_eq(k->tasks.items[i].id, task->id)) {
            free(k->tasks.items[i].doc);
            k->tasks.items[i].doc = fg_str_take(&text);
            k->tasks.items[i].settled = task->settled;
            return;
        }
    fg_vec_push(&k->tasks, (struct kept){task->id, task->tenant, fg_str_take(&text), fg_strdup(task->spec.json), task->settled});
}

/* What the shell does at the end of a turn. */
static void keep_turn(struct keep *k, struct fix *f)
{
    for (size_t i = 0; i < f->fx.events.count; i++) {
        const struct fg_event *ev = &f->fx.events.items[i];
        struct fg_str body = {0};
        fg_event_encode(ev, &body);
        fg_vec_push(&k->log, (struct line){ev->seq, ev->time_ns, ev->kind, ev->task, ev->tenant, ev->attempt, fg_str_take(&body)});
    }
    k->rows = 0;
    fg_core_changes(f->core, keep_row, k);
    fix_clear(f);
}

static void keep_fini(struct keep *k)
{
    for (size_t i = 0; i < k->tasks.count; i++) {
        free(k->tasks.items[i].doc);
        free(k->tasks.items[i].spec);
    }
    for (size_t i = 0; i < k->aux.count; i++) {
        free(k->aux.items[i].key);
        free(k->aux.items[i].doc);
    }
    for (size_t i = 0; i < k->log.count; i++)
        free(k->log.items[i].body);
    fg_vec_fini(&k->tasks);
    fg_vec_fini(&k->aux);
    fg_vec_fini(&k->log);
}

static struct fg_core *from_rows(const struct keep *k, uint64_t last_seq)
{
    struct fg_error err;
    struct fg_core *core = fix_core(1000);
    for (size_t i = 0; i < k->tasks.count; i++) {
        if (k->tasks.items[i].settled)
            continue;
        struct fg_task t = {.id = k->tasks.items[i].id, .tenant = k->tasks.items[i].tenant};
        assert_ok(fg_task_decode(k->tasks.items[i].doc, strlen(k->tasks.items[i].doc), &t, &err), err);
        assert_ok(fg_core_load_task(core, &t, &err), err);
    }
    for (size_t i = 0; i < k->aux.count; i++)
        assert_ok(fg_core_load_aux(core, k->aux.items[i].key, k->aux.items[i].doc, &err), err);
    fg_core_loaded(core, last_seq);
    fg_core_verify(core);
    return core;
}

static struct fg_core *from_log(const struct keep *k)
{
    struct fg_error err;
    struct fg_core *core = fix_core(1000);
    for (size_t i = 0; i < k->log.count; i++) {
        const struct line *l = &k->log.items[i];
        struct fg_event ev = {.seq = l->seq, .time_ns = l->time_ns, .kind = l->kind, .task = l->task, .tenant = l->tenant, .attempt = l->attempt};
        assert_ok(fg_event_decode(l->body, strlen(l->body), &ev, &err), err);
        assert_ok(fg_core_apply(core, &ev, &err), err);
        fg_event_fini(&ev);
    }
    fg_core_loaded(core, k->log.count);
    fg_core_verify(core);
    return core;
}

/* --- claims --- */

static void some_turn(struct fix *f, struct rng *rng)
{
    struct fg_spec spec = fix_spec();
    fg_id id = {1000, 1 + rng_below(rng, f->ids + 1)};
    const struct fg_task *t = fg_core_task(f->core, id);
    f->now += (int64_t)rng_below(rng, 3) * S;
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
    case 2:
        spec.need.memory_bytes = rng_below(rng, 4) * GB;
        spec.priority = (enum fg_priority)rng_below(rng, FG_PRIORITY_COUNT);
        spec.retries = (uint16_t)rng_below(rng, 3);
        spec.retry_on = (uint8_t)rng_below(rng, 8);
        spec.hold = rng_below(rng, 5) == 0;
        spec.limits.queue_ns = rng_below(rng, 4) ? 0 : 20 * S;
        fix_submit(f, spec);
        break;
    case 3: fix_ask(f, FG_IN_CANCEL, id); break;
    case 4: fix_ask(f, rng_below(rng, 2) ? FG_IN_HOLD : FG_IN_RELEASE, id); break;
    case 5:
        if (t && t->lease_live)
            fix_started(f, id);
        break;
    case 6:
        if (t && t->state == FG_STATE_RUNNING)
            fix_used(f, id, t->usage.seq + 1, t->usage.wall_ns + S);
        break;
    case 7:
        if (t && t->lease_live)
            fix_finished(f, id, FG_STATE_FAILED, rng_below(rng, 2) ? FG_REASON_USER_ERROR : FG_REASON_OOM_HOST, 2 * S);
        break;
    }
    if (rng_below(rng, 40) == 0) {
        fix_gone(f);
        f->now += rng_below(rng, 2) ? LEASE + MARGIN : S;
        fix_tick(f);
        fix_hello(f);
    }
    fix_tick(f);
    fix_dispatch(f);
}

static void replay_and_rows_give_the_live_state(void **state)
{
    struct fix f = fix_new();
    struct keep k = {0};
    struct rng rng = rng_start("replay_and_rows_give_the_live_state");
    fix_hello(&f);
    for (int i = 0; i < 1500; i++) {
        some_turn(&f, &rng);
        keep_turn(&k, &f);
        if (i % 300 != 299)
            continue;
        struct fg_core *rows = from_rows(&k, k.log.count), *log = from_log(&k);
        assert_true(fg_core_hash(rows) == fg_core_hash(f.core));
        assert_true(fg_core_hash(log) == fg_core_hash(f.core));
        fg_core_destroy(rows);
        fg_core_destroy(log);
    }
    assert_true(k.log.count > 2000);
    keep_fini(&k);
    fix_end(&f);
}

static void a_restart_gives_each_machine_a_whole_lease(void **state)
{
    struct fix f = fix_new();
    struct keep k = {0};
    fix_hello(&f);
    fg_id id = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    keep_turn(&k, &f);
    fix_started(&f, id);
    keep_turn(&k, &f);
    fg_core_destroy(f.core);
    f.core = from_rows(&k, k.log.count);
    f.now += 5000 * S;                   /* much later: the old deadline says nothing */
    fix_tick(&f);
    assert_int_equal(f.fx.events.count, 0);
    assert_int_equal(fg_core_next_deadline(f.core), f.now + LEASE + MARGIN);
    struct fg_attempt_at_node has = {id, 1, fix_task(&f, id)->lease.epoch, false};
    fix_hello_with(&f, node_a, "boot", &has, 1);
    assert_int_equal(f.fx.events.count + f.fx.actions.count, 0);    /* adopted */
    fix_finished(&f, id, FG_STATE_SUCCEEDED, FG_REASON_NONE, S);
    assert_int_equal(fix_task(&f, id)->state, FG_STATE_SUCCEEDED);
    keep_fini(&k);
    fix_end(&f);
}

static void an_illegal_event_is_refused_and_changes_nothing(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id id = fix_running(&f, fix_spec());
    struct fg_core_counts counts;
    fg_core_counts(f.core, &counts);
    struct fg_lease lease = fix_task(&f, id)->lease;
    const struct fg_event wrong[] = {
        {.kind = FG_EV_TASK_STARTED, .task = id, .attempt = 1},                                    /* it runs already */
        {.kind = FG_EV_TASK_HELD, .task = id, .attempt = 1},
        {.kind = FG_EV_USAGE_RECORDED, .task = id, .attempt = 2},                                  /* of no attempt there is */
        {.kind = FG_EV_USAGE_RECORDED, .task = {9, 9}, .attempt = 1},
        {.kind = FG_EV_LEASE_RELEASED, .task = id, .attempt = 1, .released = {lease.epoch}},       /* while it runs */
        {.kind = FG_EV_TASK_QUEUED, .task = id, .attempt = 2, .queued = {.uses_retry = true}},     /* it has none */
        {.kind = FG_EV_TASK_FINISHED, .task = id, .attempt = 1, .finished = {.state = FG_STATE_RUNNING}},
        {.kind = FG_EV_TASK_SETTLED, .task = id, .attempt = 1},
        {.kind = FG_EV_TASK_SUBMITTED, .task = id, .attempt = 1},
        {.kind = FG_EV_NODE_LOST, .lost = {.node = node_b}},
    };
    uint64_t before = fg_core_hash(f.core);
    for (size_t i = 0; i < FG_COUNT(wrong); i++) {
        struct fg_event ev = wrong[i];
        ev.seq = counts.events + 1;
        assert_fails(fg_core_apply(f.core, &ev, &f.err), f.err, FG_E_INTERNAL);
        assert_true(before == fg_core_hash(f.core));
    }
    struct fg_event gap = {.kind = FG_EV_USAGE_RECORDED, .task = id, .attempt = 1, .seq = counts.events + 2};
    assert_fails(fg_core_apply(f.core, &gap, &f.err), f.err, FG_E_INTERNAL);
    assert_has(f.err.text, "usage.recorded");
    fix_end(&f);
}

static void a_lease_beyond_the_device_is_not_legal(void **state)
{
    struct fix f = fix_new();
    fix_hello(&f);
    fg_id first = fix_submit(&f, fix_spec()), second = fix_submit(&f, fix_spec());
    fix_dispatch(&f);                    /* both halves are taken */
    fg_id third = fix_submit(&f, fix_spec());
    struct fg_core_counts counts;
    fg_core_counts(f.core, &counts);
    struct fg_event placed = {.kind = FG_EV_TASK_PLACED, .seq = counts.events + 1, .task = third, .attempt = 1};
    assert_ok(fg_core_apply(f.core, &placed, &f.err), f.err);
    struct fg_event granted = {.kind = FG_EV_LEASE_GRANTED, .seq = counts.events + 2, .task = third, .attempt = 1,
                               .lease = fix_task(&f, second)->lease};
    assert_fails(fg_core_apply(f.core, &granted, &f.err), f.err, FG_E_INTERNAL);
    assert_has(f.err.text, "epoch");
    granted.lease.epoch++;
    assert_fails(fg_core_apply(f.core, &granted, &f.err), f.err, FG_E_INTERNAL);
    assert_has(f.err.text, "no room");
    (void)first;
    fg_effects_fini(&f.fx);
    fg_core_destroy(f.core);
}

static void a_waiting_tasks_spec_text_leaves_memory_once_its_row_is_out(void **state)
{
    struct fix f = fix_new();
    struct keep k = {0};
    fg_id waits = fix_submit(&f, fix_spec());
    assert_non_null(fix_task(&f, waits)->spec.json);
    keep_turn(&k, &f);
    assert_null(fix_task(&f, waits)->spec.json);
    assert_string_equal(k.tasks.items[0].spec, fix_spec().json);
    fix_hello(&f);
    fg_id starts = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    keep_turn(&k, &f);
    assert_non_null(fix_task(&f, starts)->spec.json);           /* its start message wants it at once */
    keep_fini(&k);
    fix_end(&f);
}

static void only_settled_tasks_leave_memory(void **state)
{
    struct fix f = fix_new();
    struct keep k = {0};
    fg_id waits = fix_submit(&f, fix_spec()), gone;
    assert_ok(fix_submit_key(&f, fix_spec(), "k\nbody", &gone), f.err);
    assert_ok(fix_ask(&f, FG_IN_CANCEL, gone), f.err);
    fg_core_evict(f.core, (fg_id[]){waits, gone, {3, 3}}, 3);   /* its row is not out yet */
    assert_non_null(fg_core_task(f.core, gone));
    keep_turn(&k, &f);
    fg_core_evict(f.core, (fg_id[]){waits, gone, {3, 3}}, 3);
    assert_null(fg_core_task(f.core, gone));
    assert_non_null(fg_core_task(f.core, waits));
    assert_false(fg_core_idempotent(f.core, tenant, "k", &gone));
    keep_fini(&k);
    fix_end(&f);
}

static void a_corrupt_row_is_named(void **state)
{
    struct fix f = fix_new();
    assert_fails(fg_core_load_aux(f.core, "core", "{\"epoch\":\"x\"}", &f.err), f.err, FG_E_INTERNAL);
    assert_has(f.err.text, "'core'");
    assert_fails(fg_core_load_aux(f.core, "device:1", "{\"node\":{},\"devices\":[]}", &f.err), f.err, FG_E_INTERNAL);
    assert_has(f.err.text, "'device:1'");
    assert_ok(fg_core_load_aux(f.core, "model:resnet50", "{}", &f.err), f.err);     /* not ours */
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_and_rows_give_the_live_state),
        cmocka_unit_test(a_restart_gives_each_machine_a_whole_lease),
        cmocka_unit_test(an_illegal_event_is_refused_and_changes_nothing),
        cmocka_unit_test(a_lease_beyond_the_device_is_not_legal),
        cmocka_unit_test(a_waiting_tasks_spec_text_leaves_memory_once_its_row_is_out),
        cmocka_unit_test(only_settled_tasks_leave_memory),
        cmocka_unit_test(a_corrupt_row_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
