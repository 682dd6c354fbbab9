/* load.c - the core from what is stored: at start, and after a commit failed and memory was ahead of the disk. */
#include <string.h>
#include "base/log.h"
#include "base/units.h"
#include "control/catalogue.h"
#include "control/nodes.h"
#include "control/server.h"

#define IMPROVE_ITERATIONS 20000         /* a few milliseconds of a round that has something to gain */

static int load_task(void *arg, const struct fg_store_task *row, struct fg_error *err)
{
    struct fg_server *s = arg;
    struct fg_task task = {0};
    char id[FG_ID_TEXT];
    if (fg_task_decode(row->doc, strlen(row->doc), &task, err))
        return fg_fail_prefix(err, "stored task %s", fg_id_format(id, "tsk", row->id));
    task.id = row->id;
    task.tenant = row->tenant;
    int rc = fg_core_load_task(s->core, &task, err);     /* its spec's text stays in the store */
    fg_task_fini(&task);
    return rc;
}

static int load_aux(void *arg, const char *key, const char *doc, struct fg_error *err)
{
    struct fg_server *s = arg;
    if (!fg_starts_with(key, "model:"))
        return fg_core_load_aux(s->core, key, doc, err);
    fg_catalogue_imported(s, key, doc);
    return 0;
}

static struct fg_core *make_core(const struct fg_config *config)
{
    struct fg_price prices[] = {
        {.kind = "cpu", .nanousd_per_s = fg_price_second(fg_config_int(config, "price.cpu_usd_per_hour")),
         .spot_nanousd_per_s = fg_price_second(fg_config_int(config, "price.cpu_spot_usd_per_hour"))},
        {.kind = "", .nanousd_per_s = fg_price_second(fg_config_int(config, "price.other_usd_per_hour"))},
    };
    struct fg_core_config core = {
        .lease_ns = fg_config_int(config, "lease_s") * FG_NS_PER_S,
        .lease_margin_ns = 2 * fg_config_int(config, "heartbeat_s") * FG_NS_PER_S,
        .half_life_ns = fg_config_int(config, "fair_share.half_life_s") * FG_NS_PER_S, .improve_iterations = IMPROVE_ITERATIONS,
        .window = 1000, .prices = prices, .price_count = FG_COUNT(prices)};
    return fg_core_create(&core);
}

int fg_server_load(struct fg_server *s, struct fg_error *err)
{
    uint64_t last_seq;
    int64_t last_ns;
    if (fg_store_last(s->store, &last_seq, &last_ns, err))
        return -1;
    fg_clock_floor(&s->clock, last_ns);
    s->core = make_core(s->config);
    if (fg_store_load_aux(s->store, load_aux, s, err) || fg_store_load_live(s->store, load_task, s, err)) {
        fg_core_destroy(fg_take_ptr(s->core));
        return -1;
    }
    fg_core_loaded(s->core, last_seq);
    struct fg_core_counts counts;
    fg_core_counts(s->core, &counts);
    fg_log_info("state loaded: %zu live task(s), event %llu", counts.tasks, (unsigned long long)last_seq);
    /* A first turn: lets deadlines that passed meanwhile take effect, and arms the tick. */
    struct fg_input in = {.kind = FG_IN_TICK};
    return fg_turn_input(s, &in, err);
}

/* --- a failed commit --- */

static void try_again(uv_timer_t *timer)
{
    struct fg_server *s = timer->data;
    struct fg_error err;
    if (!fg_list_empty(&s->committing))  /* batches behind the failed one are still to be told */
        return;
    if (fg_store_resume(s->store, &err)) {
        fg_log_debug("the store still takes no writes: %s", err.text);
        return;
    }
    if (fg_server_load(s, &err)) {
        fg_log_error("reload: %s", err.text);
        return;
    }
    fg_log_info("the store takes writes again");
    uv_timer_stop(timer);
}

void fg_server_lose(struct fg_server *s, const struct fg_error *why)
{
    if (!s->core)
        return;
    fg_log_error("commit failed: %s; nothing of it was acknowledged, submits are refused until the store takes writes", why->text);
    bool full = why->code == FG_E_STORAGE_FULL;
    fg_fail(&s->down, full ? FG_E_STORAGE_FULL : FG_E_UNAVAILABLE, "the server cannot write its store: %s", why->text);
    fg_fail_hint(&s->down, full ? "free disk space in the data folder; the server goes on by itself"
                                : "the server's log says more; it tries again each second");
    fg_core_destroy(fg_take_ptr(s->core));
    uv_timer_stop(&s->tick);
    fg_turn_abandon(s, &s->down);
    fg_nodes_drop_all(s);
    if (!s->stopping)
        uv_timer_start(&s->retry, try_again, 1000, 1000);
}
