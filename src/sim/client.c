/* client.c - users: they submit, repeat what was not answered, cancel, hold, release, and ask for the impossible. */
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

/* Three of them; the first one submits most. */
static fg_id some_tenant(struct world *w) { return (fg_id){0x0200, chance(w, 600) ? 1 : 2 + rnd(w, 2)}; }
static const fg_id tenant = {0x0200, 1};

static fg_id new_id(struct world *w)
{
    return (fg_id){(uint64_t)(w->now / MS) << 16, ++w->client.made};
}

static void make_spec(struct world *w, struct fg_spec *spec)
{
    static const char *const programs[] = {"python3 train.py", "true", "bash -c", "python3 eval.py", "make"};
    static const char *const kinds[] = {"cpu", "card-a", "card-b", "card-z"};
    fg_spec_defaults(spec);
    spec->json = fg_strdup("{\"command\":[\"true\"],\"task_type\":\"command\"}");
    spec->program = fg_strdup(programs[rnd(w, FG_COUNT(programs))]);
    spec->priority = chance(w, 800) ? FG_PRIORITY_NORMAL : (enum fg_priority)rnd(w, FG_PRIORITY_COUNT);
    if (!chance(w, 200))
        spec->need.memory_bytes = (uint64_t)between(w, 1, chance(w, 20) ? 80 : 8) << 29;
    if (!chance(w, 300))
        spec->need.share_permille = (uint32_t)between(w, 1, chance(w, 100) ? 20 : 5) * 50;
    if (chance(w, 200))
        spec->need.share_max_permille = FG_MAX(spec->need.share_permille, (uint32_t)between(w, 1, 20) * 50);
    if (chance(w, 200))
        spec->need.cpus_milli = (uint32_t)between(w, 1, 40) * 125;
    if (chance(w, 150))
        spec->need.host_bytes = (uint64_t)between(w, 1, 8) << 29;
    if (chance(w, 100))
        snprintf(spec->need.device_kind, sizeof spec->need.device_kind, "%s", kinds[rnd(w, chance(w, 100) ? 4 : 3)]);
    spec->limits.startup_ns = between(w, 20, 120) * SEC;
    spec->limits.run_ns = between(w, 5, 150) * SEC;
    if (chance(w, 100))
        spec->limits.queue_ns = between(w, 2, 600) * SEC;
    if (chance(w, 80))
        spec->limits.max_cost_nanousd = between(w, 1000, 20000000);
    spec->retries = (uint16_t)(chance(w, 500) ? rnd(w, 4) : 0);
    spec->retry_on = (uint8_t)rnd(w, 8);
    spec->hold = chance(w, 30);
    spec->spot = chance(w, 150);
    spec->preemptible = chance(w, 150);
    if (chance(w, 100))
        spec->limits.deadline_ns = between(w, 1, 600) * SEC;
}

/* A key that was used before gives the first task back, or is refused with another body. Never a second task. */
static void repeat(struct world *w)
{
    struct client *c = &w->client;
    struct fg_error err = {0};
    struct fg_spec spec;
    if (c->repeats.count == 0)
        return;
    struct repeat *r = &c->repeats.items[rnd(w, c->repeats.count)];
    bool other = chance(w, 300);
    char key[64], was[64];
    snprintf(was, sizeof was, "%s", r->idempotency);
    snprintf(key, sizeof key, "%.*s\n%s", (int)strcspn(was, "\n"), was, other ? "otherbody" : "body");
    const struct row *row = disk_row(&w->disk, r->task);
    if (row && row->settled)             /* the route asks the store first */
        return;
    fg_id found = FG_ID_NONE;
    bool there = w->server.core && fg_core_idempotent(w->server.core, tenant, was, &found);
    make_spec(w, &spec);
    spec.limits.deadline_ns = 0;
    struct fg_input in = {.kind = FG_IN_SUBMIT, .task = new_id(w), .submit = {tenant, &spec, key}};
    int rc = server_ask(w, &in, &err);
    if (rc == 0) {
        if (there || row)
            broken(w, "idempotency key of %s made a second task", short_id(r->task));
        r->task = in.task;               /* the first was lost unacknowledged */
        oracle_task(&w->oracle, in.task)->may_go = spec.spot || spec.preemptible;
        free(r->idempotency);
        r->idempotency = fg_strdup(key);
    } else if (there && err.code != (fg_streq(key, r->idempotency) ? FG_E_CONFLICT : FG_E_IDEMPOTENCY_MISMATCH) &&
               err.code != FG_E_STORAGE_FULL && err.code != FG_E_UNREACHABLE) {
        broken(w, "repeated key: %s", err.text);
    } else if (there && !fg_id_eq(found, r->task)) {
        broken(w, "idempotency key of %s names %s", short_id(r->task), short_id(found));
    }
    fg_spec_fini(&spec);
}

/* No submit is refused but for the disk, the way there, or a deadline that it has. */
static void may_refuse(struct world *w, const struct fg_spec *spec, const struct fg_error *err)
{
    bool deadline = err->code == FG_E_INVALID && spec->limits.deadline_ns && fg_streq(err->pointer, "/limits/deadline");
    if (err->code && err->code != FG_E_STORAGE_FULL && err->code != FG_E_UNREACHABLE && !deadline)
        broken(w, "submit refused: %s", err->text);
}

static void submit(struct world *w)
{
    struct client *c = &w->client;
    struct fg_error err = {0};
    struct fg_spec spec;
    char key[64];
    bool keyed = chance(w, 300);
    make_spec(w, &spec);
    struct fg_input in = {.kind = FG_IN_SUBMIT, .task = new_id(w), .submit = {.tenant = keyed ? tenant : some_tenant(w), .spec = &spec}};
    snprintf(key, sizeof key, "k%llu\nbody", (unsigned long long)c->made);
    if (keyed)
        in.submit.idempotency = key;
    if (server_ask(w, &in, &err) == 0 && keyed)
        fg_vec_push(&c->repeats, (struct repeat){fg_strdup(key), in.task});
    else
        may_refuse(w, &spec, &err);
    *oracle_task(&w->oracle, in.task) = (struct watched){.id = in.task, .attempts_allowed = 1u + spec.retries,
                                                         .may_go = spec.spot || spec.preemptible};
    fg_spec_fini(&spec);
}

/* An array in one request, all or none of it, which are to start together. */
static void submit_gang(struct world *w)
{
    struct fg_error err = {0};
    struct fg_input in[4];
    struct fg_spec specs[4];
    size_t n = 2 + rnd(w, 3);
    fg_id of = some_tenant(w), first = FG_ID_NONE;
    make_spec(w, &specs[0]);
    specs[0].need.memory_bytes = (uint64_t)between(w, 1, 8) << 29;
    specs[0].need.share_permille = (uint32_t)between(w, 1, 10) * 100;
    specs[0].gang = true;
    specs[0].array_size = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        if (i)
            fg_spec_copy(&specs[i], &specs[0]);
        fg_id id = new_id(w);
        first = i ? first : id;
        specs[i].array = first;
        specs[i].array_index = (uint32_t)i;
        in[i] = (struct fg_input){.kind = FG_IN_SUBMIT, .task = id, .submit = {.tenant = of, .spec = &specs[i]}};
        *oracle_task(&w->oracle, id) = (struct watched){.id = id, .attempts_allowed = 1u + specs[0].retries, .gang = first,
                                                        .gang_size = (uint32_t)n, .may_go = specs[0].spot || specs[0].preemptible};
    }
    if (server_ask_all(w, in, n, &err) < 0)
        may_refuse(w, &specs[0], &err);
    for (size_t i = 0; i < n; i++)
        fg_spec_fini(&specs[i]);
}

/* Mostly a recent task: older ones have ended. */
static fg_id some_task(struct world *w)
{
    size_t n = w->oracle.tasks.count, recent = chance(w, 800) ? 200 : 100000;
    return n ? w->oracle.tasks.items[n - 1 - rnd(w, FG_MIN(n, recent))].id : FG_ID_NONE;
}

/* What waits for ever (no device could hold it) would fill the queue in the end. */
static fg_id oldest_task(struct world *w)
{
    struct client *c = &w->client;
    for (; c->oldest < w->oracle.tasks.count; c->oldest++) {
        const struct watched *t = &w->oracle.tasks.items[c->oldest];
        if (t->known ? !t->settled : c->oldest + 100 > w->oracle.tasks.count)   /* the unknown were lost before their ack */
            return t->id;
    }
    return FG_ID_NONE;
}

static void ask(struct world *w, enum fg_input_kind kind, fg_id task)
{
    struct fg_error err = {0};
    struct fg_input in = {.kind = kind, .task = task};
    if (fg_id_is_none(in.task))
        return;
    if (server_ask(w, &in, &err) < 0 && err.code != FG_E_NOT_FOUND && err.code != FG_E_CONFLICT &&
        err.code != FG_E_STORAGE_FULL && err.code != FG_E_UNREACHABLE)
        broken(w, "refused: %s", err.text);
}

/* Of a machine or of one of its devices; what is drained is soon resumed. */
static void drain(struct world *w)
{
    struct fg_device_view views[MACHINES_MAX * DEVICES_MAX];
    struct fg_error err;
    size_t n = w->server.core ? fg_core_devices(w->server.core, views, FG_COUNT(views)) : 0;
    if (!n)
        return;
    const struct fg_device *d = views[rnd(w, n)].device;
    struct fg_input in = {.kind = FG_IN_DRAIN, .drain = {.node = d->node, .device = chance(w, 500) ? d->id : 0, .reason = chance(w, 500) ? "dust" : NULL,
                                                         .now = chance(w, 300), .resume = fg_core_drain(w->server.core, d->node, d->id, NULL) && chance(w, 700)}};
    server_ask(w, &in, &err);
}

/* So that in the end all that waits can start. */
static void resume_all(struct world *w)
{
    struct fg_device_view views[MACHINES_MAX * DEVICES_MAX];
    struct fg_input all[2 * MACHINES_MAX * DEVICES_MAX];
    struct fg_error err;
    size_t n = fg_core_devices(w->server.core, views, FG_COUNT(views));
    for (size_t i = 0; i < n; i++) {
        all[2 * i] = (struct fg_input){.kind = FG_IN_DRAIN, .drain = {.node = views[i].device->node, .device = views[i].device->id, .resume = true}};
        all[2 * i + 1] = (struct fg_input){.kind = FG_IN_DRAIN, .drain = {.node = views[i].device->node, .resume = true}};
    }
    for (size_t i = 0; i < 2 * n; i++)
        server_ask(w, &all[i], &err);
}

static void act(struct world *w, int who, uint64_t what, void *data)
{
    struct fg_core_counts counts = {0};
    struct fg_error err;
    if (w->client.stopped)
        return;
    if (w->server.core)
        fg_core_counts(w->server.core, &counts);
    size_t many = counts.queued > 150 ? 0 : chance(w, 30) ? 60 : 1 + rnd(w, 3);
    for (size_t i = 0; i < many; i++)
        submit(w);
    if (many && chance(w, 60))
        submit_gang(w);
    if (chance(w, 10))
        server_ask(w, &(struct fg_input){.kind = FG_IN_WEIGHT, .weight = {some_tenant(w), 1 + (uint32_t)rnd(w, 4)}}, &err);
    if (chance(w, 10)) {
        static const char *const kinds[] = {"cpu", "", "big"};
        struct fg_input in = {.kind = FG_IN_PRICE, .price = {.price = {.nanousd_per_s = (int64_t)rnd(w, 3) * 1000000}, .unset = chance(w, 300)}};
        snprintf(in.price.price.kind, sizeof in.price.price.kind, "%s", kinds[rnd(w, 3)]);
        server_ask(w, &in, &err);
    }
    if (chance(w, 15))
        drain(w);
    if (chance(w, 150))
        ask(w, FG_IN_CANCEL, some_task(w));
    if (chance(w, 20))
        ask(w, FG_IN_CANCEL, oldest_task(w));
    if (chance(w, 60))
        ask(w, FG_IN_HOLD, some_task(w));
    if (chance(w, 100))
        ask(w, FG_IN_RELEASE, some_task(w));
    if (chance(w, 80))
        repeat(w);
    at(w, w->now + between(w, 10 * MS, SEC), act, 0, 0, NULL);
}

void client_start(struct world *w) { at(w, w->now + SEC, act, 0, 0, NULL); }

/* Half of the held ones are let go, so that both are seen to come to rest. */
static void release_some(struct world *w, int who, uint64_t what, void *data)
{
    struct fg_error err;
    if (!w->server.up || w->server.degraded) {
        at(w, w->now + SEC, release_some, 0, 0, NULL);
        return;
    }
    resume_all(w);
    for (size_t i = 0; i < w->oracle.tasks.count; i++)
        if (i % 2) {
            const struct fg_task *t = fg_core_task(w->server.core, w->oracle.tasks.items[i].id);
            if (t && t->state == FG_STATE_QUEUED && t->held)
                server_ask(w, &(struct fg_input){.kind = FG_IN_RELEASE, .task = t->id}, &err);
        }
}

void client_wind_down(struct world *w)
{
    w->client.stopped = true;
    at(w, w->now + SEC, release_some, 0, 0, NULL);
}

void client_fini(struct client *c)
{
    for (size_t i = 0; i < c->repeats.count; i++)
        free(c->repeats.items[i].idempotency);
    fg_vec_fini(&c->repeats);
}
