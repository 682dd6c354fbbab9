/* A price that is changed while tasks wait and run: what is decided from then on goes by it, what was agreed stays. */
#include "core_fix.h"

#define HOUR 3600

static void set(struct fix *f, const char *kind, int64_t price, int64_t spot)
{
    struct fg_input in = {.kind = FG_IN_PRICE, .price = {.price = {.nanousd_per_s = price, .spot_nanousd_per_s = spot}}};
    snprintf(in.price.price.kind, sizeof in.price.price.kind, "%s", kind);
    assert_ok(fix_in(f, in), f->err);
}

static void unset(struct fix *f, const char *kind)
{
    struct fg_input in = {.kind = FG_IN_PRICE, .price = {.unset = true}};
    snprintf(in.price.price.kind, sizeof in.price.price.kind, "%s", kind);
    assert_ok(fix_in(f, in), f->err);
}

static struct fix two_kinds(void)
{
    struct fix f = fix_new();
    f.devices[0] = fix_device("a0", "fast", 16 * GB);
    f.devices[1] = fix_device("b0", "slow", 16 * GB);
    f.device_count = 2;
    fix_hello(&f);
    return f;
}

static const char *kind_of(const struct fix *f, fg_id id) { return fg_core_device(f->core, fix_task(f, id)->lease.device)->kind; }

static struct fg_price price_of(const struct fix *f, const char *kind)
{
    struct fg_price_view views[8];
    size_t n = fg_core_prices(f->core, views, 8);
    for (size_t i = 0; i < n; i++)
        if (strcmp(views[i].price.kind, kind) == 0)
            return views[i].price;
    return (struct fg_price){.nanousd_per_s = -1};
}

/* Both cost 1,000,000 at first and the lowest id is taken; then the one is cheaper, then the other. */
static void a_task_that_waits_goes_where_it_is_cheapest_now(void **state)
{
    struct fix f = two_kinds();
    set(&f, "slow", 400000, 0);
    fg_id first = fix_submit(&f, fix_spec());
    fix_dispatch(&f);
    assert_string_equal(kind_of(&f, first), "slow");
    fg_id second = fix_submit(&f, fix_spec());   /* it waits while the price changes */
    set(&f, "fast", 300000, 0);
    fix_dispatch(&f);
    assert_string_equal(kind_of(&f, second), "fast");
    assert_int_equal(fix_task(&f, second)->placed.rule, FG_RULE_LEAST_COST);
    fix_end(&f);
}

/* Half of the device for an hour: 3600 s x 0.5 x 1,000,000 before, at the new price 3600 x 0.5 x 5,000,000. */
static void what_runs_is_charged_as_agreed_and_what_starts_next_as_it_is(void **state)
{
    struct fix f = two_kinds();
    fg_id before = fix_running(&f, fix_spec());
    set(&f, "fast", 5000000, 0);
    set(&f, "slow", 5000000, 0);
    assert_int_equal(fix_task(&f, before)->lease.price_nanousd_per_s, 1000000);
    fg_id after = fix_running(&f, fix_spec());
    assert_int_equal(fix_task(&f, after)->lease.price_nanousd_per_s, 5000000);
    f.now += HOUR * S;
    fix_finished(&f, before, FG_STATE_SUCCEEDED, FG_REASON_NONE, HOUR * S);
    fix_finished(&f, after, FG_STATE_SUCCEEDED, FG_REASON_NONE, HOUR * S);
    assert_int_equal(fix_task(&f, before)->cost_nanousd, INT64_C(1800) * 1000000);
    assert_int_equal(fix_task(&f, after)->cost_nanousd, INT64_C(1800) * 5000000);
    fix_end(&f);
}

static void quotes_go_by_the_new_price(void **state)
{
    struct fix f = two_kinds();
    struct fg_spec spec = fix_spec();
    struct fg_quote q, dear;
    assert_ok(fg_core_quote(f.core, &spec, &q, &f.err), f.err);
    set(&f, "", 3000000, 0);             /* neither has a price of its own */
    assert_ok(fg_core_quote(f.core, &spec, &dear, &f.err), f.err);
    assert_int_equal(dear.cost_p50_nanousd, 3 * q.cost_p50_nanousd);
    set(&f, "fast", 0, 0);               /* free of charge is a price */
    assert_ok(fg_core_quote(f.core, &spec, &dear, &f.err), f.err);
    assert_int_equal(dear.cost_p50_nanousd, 0);
    fix_end(&f);
}

static void spot_tasks_have_the_spot_price(void **state)
{
    struct fix f = two_kinds();
    struct fg_spec spec = fix_spec();
    spec.spot = true;
    set(&f, "fast", 900000, 10000);
    fg_id id = fix_submit(&f, spec);
    fix_dispatch(&f);
    assert_string_equal(kind_of(&f, id), "fast");
    assert_int_equal(fix_task(&f, id)->lease.price_nanousd_per_s, 10000);
    fix_end(&f);
}

/* Once set, not again by the same; given back, not twice. */
static void a_change_is_one_event_and_none_where_nothing_changes(void **state)
{
    struct fix f = two_kinds();
    fix_clear(&f);
    set(&f, "fast", 7, 3);
    set(&f, "fast", 7, 3);
    unset(&f, "slow");
    assert_int_equal(fix_events(&f, FG_EV_PRICE_SET), 1);
    assert_int_equal(f.fx.events.count, 1);
    unset(&f, "fast");
    unset(&f, "fast");
    assert_int_equal(fix_events(&f, FG_EV_PRICE_SET), 2);
    assert_int_equal(price_of(&f, "fast").nanousd_per_s, 1000000);
    fix_end(&f);
}

static void a_price_that_is_none_is_refused(void **state)
{
    struct fix f = two_kinds();
    struct fg_input in = {.kind = FG_IN_PRICE, .price = {.price = {.nanousd_per_s = -1}}};
    assert_fails(fix_in(&f, in), f.err, FG_E_INVALID);
    in.price.price.nanousd_per_s = INT64_MAX;
    assert_fails(fix_in(&f, in), f.err, FG_E_INVALID);
    assert_int_equal(price_of(&f, "").nanousd_per_s, 1000000);
    fix_end(&f);
}

struct rows { FG_VEC(char *) all; size_t gone; };

static void on_row(void *arg, const struct fg_task *task, const char *key, const char *doc)
{
    struct rows *r = arg;
    if (strncmp(key ? key : "", "price:", 6) != 0)
        return;
    r->gone += !doc;
    fg_vec_push(&r->all, fg_strdup(key));
    fg_vec_push(&r->all, fg_strdup(doc));
}

/* The log alone gives the prices back, and so do the rows; what was given back leaves none. */
static void prices_survive_replay_and_rows(void **state)
{
    struct fix f = two_kinds();
    struct rows rows = {0};
    set(&f, "slow", 5, 2);
    set(&f, "fast", 9, 0);
    set(&f, "", 4, 0);
    unset(&f, "fast");
    struct fg_core *again = fix_core(1000), *loaded = fix_core(1000);
    for (size_t i = 0; i < f.fx.events.count; i++)
        assert_ok(fg_core_apply(again, &f.fx.events.items[i], &f.err), f.err);
    assert_true(fg_core_hash(again) == fg_core_hash(f.core));
    fg_core_changes(f.core, on_row, &rows);
    assert_int_equal(rows.gone, 1);
    for (size_t i = 0; i < rows.all.count; i += 2)
        if (rows.all.items[i + 1])
            assert_ok(fg_core_load_aux(loaded, rows.all.items[i], rows.all.items[i + 1], &f.err), f.err);
    struct fg_price_view a[8], b[8];
    assert_int_equal(fg_core_prices(loaded, a, 8), 2);   /* slow, and all others: no machine has come */
    assert_true(a[0].set && a[0].price.nanousd_per_s == 4 && a[1].price.nanousd_per_s == 5 && a[1].price.spot_nanousd_per_s == 2);
    assert_int_equal(fg_core_prices(again, b, 8), 3);
    for (size_t i = 0; i < rows.all.count; i++)
        free(rows.all.items[i]);
    fg_vec_fini(&rows.all);
    fg_core_destroy(again);
    fg_core_destroy(loaded);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_that_waits_goes_where_it_is_cheapest_now),
        cmocka_unit_test(what_runs_is_charged_as_agreed_and_what_starts_next_as_it_is),
        cmocka_unit_test(quotes_go_by_the_new_price),
        cmocka_unit_test(spot_tasks_have_the_spot_price),
        cmocka_unit_test(a_change_is_one_event_and_none_where_nothing_changes),
        cmocka_unit_test(a_price_that_is_none_is_refused),
        cmocka_unit_test(prices_survive_replay_and_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
