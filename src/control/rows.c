/* rows.c - the state as the rows of the store, out and in.
 *
 *   tasks      fg_task_encode, by the caller           core           {"epoch":next}
 *   node:ID    as the body of a node.joined            device:N       as the body of a node.joined with one device
 *   history:K  what the estimates have learnt          tenant:ID      {"used":...,"at":...,"weight":...}
 *   price:KIND as the body of a price.set              drain:ID:N     as the body of a node.drained; N 0: the machine */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "control/core_private.h"

struct sink { fg_core_row_fn *fn; void *arg; };

static void put_history(void *arg, const char *key, const char *doc)
{
    const struct sink *sink = arg;
    FG_AUTO_STR struct fg_str full = {0};
    fg_str_addf(&full, "history:%s", key);
    sink->fn(sink->arg, NULL, full.data, doc);
}

static void put_node(const struct sink *sink, const struct node *n)
{
    char id[FG_ID_TEXT], key[FG_ID_TEXT + 8];
    FG_AUTO_STR struct fg_str doc = {0};
    struct fg_event ev = {.kind = FG_EV_NODE_JOINED, .joined = {.node = n->n}};
    ev.joined.node.connected = false;
    ev.joined.node.seen_ns = n->joined_ns;
    snprintf(key, sizeof key, "node:%s", fg_id_format(id, "nod", n->n.id));
    fg_event_encode(&ev, &doc);
    sink->fn(sink->arg, NULL, key, fg_str_cstr(&doc));
}

static void put_device(const struct sink *sink, struct device *d)
{
    char key[24];
    FG_AUTO_STR struct fg_str doc = {0};
    struct fg_event ev = {.kind = FG_EV_NODE_JOINED, .joined = {.devices = &d->d, .count = 1}};
    snprintf(key, sizeof key, "device:%u", d->d.id);
    fg_event_encode(&ev, &doc);
    sink->fn(sink->arg, NULL, key, fg_str_cstr(&doc));
}

static void put_account(const struct sink *sink, const struct account *a)
{
    char id[FG_ID_TEXT], key[FG_ID_TEXT + 8];
    FG_AUTO_STR struct fg_str doc = {0};
    snprintf(key, sizeof key, "tenant:%s", fg_id_format(id, "ten", a->tenant));
    fg_str_addf(&doc, "{\"used\":%lld,\"at\":%lld,\"weight\":%u}", (long long)a->used_us, (long long)a->used_at_ns, a->weight);
    sink->fn(sink->arg, NULL, key, doc.data);
}

static int by_task(const void *a, const void *b)
{
    return fg_id_cmp((*(struct entry *const *)a)->t.id, (*(struct entry *const *)b)->t.id);
}

/* A task that goes on waiting does not need its spec's text in memory: the store has it when it is started. */
static void put_tasks(struct fg_core *core, const struct sink *sink)
{
    if (core->changed.count > 1)
        qsort(core->changed.items, core->changed.count, sizeof *core->changed.items, by_task);
    for (size_t i = 0; i < core->changed.count; i++) {
        struct entry *e = core->changed.items[i];
        e->changed = false;
        sink->fn(sink->arg, &e->t, NULL, NULL);
        if (e->t.state == FG_STATE_QUEUED)
            free(fg_take_ptr(e->t.spec.json));
    }
    core->changed.count = 0;
    if (core->changed.cap > 4096)        /* a burst does not stay in memory */
        fg_vec_fini(&core->changed);
}

void fg_core_changes(struct fg_core *core, fg_core_row_fn *fn, void *arg)
{
    struct sink sink = {fn, arg};
    put_tasks(core, &sink);
    if (core->counters_changed) {
        char doc[40];
        snprintf(doc, sizeof doc, "{\"epoch\":%llu}", (unsigned long long)core->next_epoch);
        fn(arg, NULL, "core", doc);
    }
    core->counters_changed = false;
    for (size_t i = 0; i < core->changed_nodes.count; i++) {
        struct node *n = core->changed_nodes.items[i];
        n->changed = false;
        put_node(&sink, n);
        for (struct device *d = NULL; (d = core_next_device(core, n, d));) {
            if (d->changed)
                put_device(&sink, d);
            d->changed = false;
        }
    }
    core->changed_nodes.count = 0;
    for (size_t i = 0; i < core->accounts.count; i++)
        if (core->accounts.items[i]->changed) {
            core->accounts.items[i]->changed = false;
            put_account(&sink, core->accounts.items[i]);
        }
    core_price_rows(core, fn, arg);
    core_drain_rows(core, fn, arg);
    fg_history_changes(core->history, put_history, &sink);
}

void fg_core_evict(struct fg_core *core, const fg_id *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct entry *e = table_find(core, tasks[i]);
        if (!e || !e->t.settled || e->changed)
            continue;
        core_assert(!e->line && !e->timer.place && !e->t.lease_live);
        table_remove(core, e);
        core_entry_destroy(e);
    }
}

/* --- startup --- */

int fg_core_load_task(struct fg_core *core, struct fg_task *task, struct fg_error *err)
{
    if (task->settled || fg_state_is_terminal(task->state))
        return fg_fail(err, FG_E_INTERNAL, "a task that has ended was given to load");
    if (table_find(core, task->id))
        return fg_fail(err, FG_E_INTERNAL, "a task was given twice to load");
    struct entry *e = core_entry_create(task);
    if (e->t.state == FG_STATE_QUEUED)
        free(fg_take_ptr(e->t.spec.json));
    table_add(core, e);
    gang_join(core, e);
    core_count(core, e, +1);
    return 0;
}

static int load_joined(struct fg_core *core, const char *doc, bool device, struct fg_error *err)
{
    struct fg_event ev = {.kind = FG_EV_NODE_JOINED};
    if (fg_event_decode(doc, strlen(doc), &ev, err) < 0)
        return -1;
    int rc = 0;
    if (device && (ev.joined.count != 1 || ev.joined.devices[0].id == 0)) {
        rc = fg_fail(err, FG_E_INTERNAL, "no device");
    } else if (device) {
        core_device_slot(core, ev.joined.devices[0].id)->d = ev.joined.devices[0];
    } else if (fg_id_is_none(ev.joined.node.id) || core_node(core, ev.joined.node.id)) {
        rc = fg_fail(err, FG_E_INTERNAL, "no node, or one given twice");
    } else {
        struct node *n = core_node_add(core, ev.joined.node.id);
        n->n = ev.joined.node;
        n->joined_ns = n->n.seen_ns;
    }
    fg_event_fini(&ev);
    return rc;
}

static int load_counters(struct fg_core *core, const char *doc, struct fg_error *err)
{
    FG_AUTO_JSON json_t *j = fg_json_parse(doc, strlen(doc), err);
    int64_t epoch = j ? fg_json_int(j, "epoch", 0) : 0;
    if (!j)
        return -1;
    if (epoch < 1)
        return fg_fail(err, FG_E_INTERNAL, "no epoch");
    core->next_epoch = (uint64_t)epoch;
    return 0;
}

static int load_account(struct fg_core *core, const char *id, const char *doc, struct fg_error *err)
{
    fg_id tenant;
    FG_AUTO_JSON json_t *j = fg_json_parse(doc, strlen(doc), err);
    if (!j)
        return -1;
    int64_t weight = fg_json_int(j, "weight", 0);
    if (!fg_id_parse(id, "ten", &tenant) || weight < 1 || weight > FG_WEIGHT_MAX)
        return fg_fail(err, FG_E_INTERNAL, "no tenant, or no weight");
    struct account *a = account_of(core, tenant);
    a->used_us = (uint64_t)fg_json_int(j, "used", 0);
    a->used_at_ns = fg_json_int(j, "at", 0);
    a->weight = (uint32_t)weight;
    return 0;
}

/* Rows of kinds we do not know belong to somebody else. */
int fg_core_load_aux(struct fg_core *core, const char *key, const char *doc, struct fg_error *err)
{
    int rc = 0;
    if (strcmp(key, "core") == 0)
        rc = load_counters(core, doc, err);
    else if (fg_starts_with(key, "node:") || fg_starts_with(key, "device:"))
        rc = load_joined(core, doc, key[0] == 'd', err);
    else if (fg_starts_with(key, "tenant:"))
        rc = load_account(core, key + strlen("tenant:"), doc, err);
    else if (fg_starts_with(key, "price:"))
        rc = core_load_price(core, key + strlen("price:"), doc, err);
    else if (fg_starts_with(key, "drain:"))
        rc = core_load_drain(core, doc, err);
    else if (fg_starts_with(key, "history:"))
        rc = fg_history_load(core->history, key + strlen("history:"), doc, err);
    return rc < 0 ? fg_fail_prefix(err, "stored row '%s'", key) : 0;
}

/* Soft state starts anew; indices follow from the rows. After a replay most of it stands already. */
void fg_core_loaded(struct fg_core *core, uint64_t last_seq)
{
    core->last_seq = last_seq;
    core->history_version++;
    for (size_t i = 0; i < core->devices.count; i++) {
        struct device *d = &core->devices.items[i];
        struct node *n = core_node(core, d->d.node);
        if (d->d.id && !d->node && n)
            core_device_at(d, n);
        core_assert(!d->d.id || d->node);
    }
    for (size_t i = 0; i < core->nodes.count; i++)
        core_find_host(core, core->nodes.items[i]);
    core_drains_mark(core);
    for (size_t i = 0; i < core->nodes.count; i++)
        core_movers_count(core, core->nodes.items[i]);
    size_t count;
    FG_AUTO_FREE struct entry **all = table_sorted(core, &count);
    bool replayed = fg_demand_arrived(core->demand) > 0;
    for (size_t i = 0; i < count; i++) {
        struct entry *e = all[i];
        if (!replayed)
            core_ask_for(core, e, e->t.submitted_ns);
        core_assert(!e->t.lease_live || e->t.lease.epoch < core->next_epoch);
        if (e->t.lease_live && !e->linked)
            core_lease_link(core, e);
        if (!e->line && core_queueable(e))
            queue_add(core, e);
        timer_of_task(core, e);
    }
    for (size_t i = 0; i < core->nodes.count; i++) {
        core->nodes.items[i]->deadline_ns = 0;
        core->nodes.items[i]->n.connected = false;
        timer_of_node(core, core->nodes.items[i]);
    }
    core->plan_fresh = core->kinds_fresh = false;
    core_room(core);
}
