/* prices.c - what a device kind costs: as the settings say, unless it was set while the server runs.
 *
 * A price concerns what is decided from now on: quotes, placements, leases granted. A lease keeps the price that it was
 * granted at, so what runs is charged as agreed, and max_cost is reached when it was going to be. Who waits is not
 * looked at: no price makes room. */
#include <stdio.h>
#include <string.h>

#include "control/core_private.h"

#define PRICE_MOST INT64_C(1000000000000000)     /* a million dollars a second: sums over years stay integers */
#define KINDS_MOST 1000u

static struct price *find(const struct fg_core *core, const char *kind)
{
    for (size_t i = 0; i < core->prices.count; i++)
        if (strcmp(core->prices.items[i].is.kind, kind) == 0)
            return &core->prices.items[i];
    return NULL;
}

static const struct fg_price *in_config(const struct fg_core *core, const char *kind)
{
    for (size_t i = 0; i < core->config.price_count; i++)
        if (strcmp(core->config.prices[i].kind, kind) == 0)
            return &core->config.prices[i];
    return NULL;
}

/* Of this name exactly, or NULL. */
static const struct fg_price *named(const struct fg_core *core, const char *kind)
{
    const struct price *set = find(core, kind);
    return set && !set->unset ? &set->is : in_config(core, kind);
}

struct fg_price core_price(const struct fg_core *core, const char *kind)
{
    const struct fg_price *own = named(core, kind), *any = own ? own : named(core, "");
    struct fg_price price = any ? *any : (struct fg_price){0};
    snprintf(price.kind, sizeof price.kind, "%s", kind);
    return price;
}

int core_set_price(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err)
{
    const struct fg_price *p = &in->price.price;
    const struct price *now = find(core, p->kind);
    if (p->nanousd_per_s < 0 || p->nanousd_per_s > PRICE_MOST || p->spot_nanousd_per_s < 0 || p->spot_nanousd_per_s > PRICE_MOST)
        return fg_fail(err, FG_E_INVALID, "a price is from 0 to a million dollars a second");
    if (!now && !in->price.unset && core->prices.count >= KINDS_MOST)
        return fg_fail(err, FG_E_INVALID, "%u kinds have prices already", KINDS_MOST);
    bool is_set = now && !now->unset;
    if (in->price.unset ? !is_set : is_set && now->is.nanousd_per_s == p->nanousd_per_s && now->is.spot_nanousd_per_s == p->spot_nanousd_per_s)
        return 0;                        /* so it is already */
    struct fg_event ev = {.kind = FG_EV_PRICE_SET, .tenant = in->price.tenant, .priced = {.unset = in->price.unset}};
    snprintf(ev.priced.kind, sizeof ev.priced.kind, "%s", p->kind);
    if (!in->price.unset) {
        ev.priced.nanousd_per_s = p->nanousd_per_s;
        ev.priced.spot_nanousd_per_s = p->spot_nanousd_per_s;
    }
    core_emit(core, fx, now_ns, &ev);
    return 0;
}

/* They stand by kind, so that equal states are equal whatever was set first. */
static struct price *slot(struct fg_core *core, const char *kind)
{
    struct price *p = find(core, kind);
    if (p)
        return p;
    fg_vec_add(&core->prices);
    size_t at = core->prices.count - 1;
    for (; at > 0 && strcmp(core->prices.items[at - 1].is.kind, kind) > 0; at--)
        core->prices.items[at] = core->prices.items[at - 1];
    p = &core->prices.items[at];
    *p = (struct price){.unset = true};
    snprintf(p->is.kind, sizeof p->is.kind, "%s", kind);
    return p;
}

static int take(struct fg_core *core, const struct fg_event *ev, struct fg_error *err)
{
    if (ev->priced.nanousd_per_s < 0 || ev->priced.spot_nanousd_per_s < 0)
        return fg_fail(err, FG_E_INTERNAL, "a price below 0");
    struct price *p = slot(core, ev->priced.kind);
    p->is.nanousd_per_s = ev->priced.nanousd_per_s;
    p->is.spot_nanousd_per_s = ev->priced.spot_nanousd_per_s;
    p->unset = ev->priced.unset;
    p->changed = true;
    return 0;
}

int core_priced(struct fg_core *core, const struct fg_event *ev, struct fg_error *err)
{
    if (take(core, ev, err) < 0)
        return -1;
    core->prices_changed = true;
    core_plan_prices(core, ev->priced.kind);
    return 0;
}

/* --- rows --- */

void core_price_rows(struct fg_core *core, fg_core_row_fn *fn, void *arg)
{
    for (size_t i = 0; core->prices_changed && i < core->prices.count; i++) {
        struct price *p = &core->prices.items[i];
        FG_AUTO_STR struct fg_str key = {0}, doc = {0};
        if (!p->changed)
            continue;
        p->changed = false;
        struct fg_event ev = {.kind = FG_EV_PRICE_SET,
                              .priced = {.nanousd_per_s = p->is.nanousd_per_s, .spot_nanousd_per_s = p->is.spot_nanousd_per_s}};
        memcpy(ev.priced.kind, p->is.kind, sizeof ev.priced.kind);
        fg_event_encode(&ev, &doc);
        fg_str_addf(&key, "price:%s", p->is.kind);
        fn(arg, NULL, fg_str_cstr(&key), p->unset ? NULL : fg_str_cstr(&doc));
    }
    core->prices_changed = false;
}

int core_load_price(struct fg_core *core, const char *kind, const char *doc, struct fg_error *err)
{
    struct fg_event ev = {.kind = FG_EV_PRICE_SET};
    if (fg_event_decode(doc, strlen(doc), &ev, err) < 0)
        return -1;
    if (strcmp(kind, ev.priced.kind) != 0)
        return fg_fail(err, FG_E_INTERNAL, "the row is of '%s'", ev.priced.kind);
    if (take(core, &ev, err) < 0)
        return -1;
    find(core, kind)->changed = false;
    return 0;
}

/* --- reading --- */

static size_t add_view(const struct fg_core *core, const char *kind, struct fg_price_view *views, size_t n, size_t max)
{
    const struct price *set = find(core, kind);
    for (size_t i = 0; i < FG_MIN(n, max); i++)
        if (strcmp(views[i].price.kind, kind) == 0)
            return n;
    if (n < max)
        views[n] = (struct fg_price_view){core_price(core, kind), set && !set->unset};
    return n + 1;
}

size_t fg_core_prices(const struct fg_core *core, struct fg_price_view *views, size_t max)
{
    size_t n = add_view(core, "", views, 0, max);
    for (size_t i = 0; i < core->config.price_count; i++)
        n = add_view(core, core->config.prices[i].kind, views, n, max);
    for (size_t i = 0; i < core->prices.count; i++)
        if (!core->prices.items[i].unset)
            n = add_view(core, core->prices.items[i].is.kind, views, n, max);
    core_largest(core, "");              /* the list of kinds is as things are */
    for (size_t i = 0; i < core->kinds.count; i++)
        n = add_view(core, core->kinds.items[i].name, views, n, max);
    return n;
}
