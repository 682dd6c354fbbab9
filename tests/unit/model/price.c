/* The one formula from a held slice to money: exact, rounded once, never wrapping. */
#include "base/units.h"
#include "model/price.h"
#include "random.h"
#include "unit.h"

static void the_larger_share_is_priced_rounded_up(void **state)
{
    assert_int_equal(fg_price_permille(1, 1000, 0), 1);
    assert_int_equal(fg_price_permille(500, 1000, 250), 500);
    assert_int_equal(fg_price_permille(501, 2000, 250), 251); /* 250.5 */
    assert_int_equal(fg_price_permille(0, 1000, 0), 1);
    assert_int_equal(fg_price_permille(2000, 1000, 10), 1000);
    assert_int_equal(fg_price_permille(2000, 0, 10), 10); /* memory of the device not known */
    assert_int_equal(fg_price_permille(UINT64_MAX, UINT64_MAX, 1), 1000);
}

/* 0.05 USD an hour is 13,889 nano-dollars a second (13,888.9); half of it for 2 s costs 13,889. */
static void a_slice_costs_price_times_share_times_time(void **state)
{
    assert_int_equal(fg_price_of(2 * FG_NS_PER_S, 500, 13889), 13889);
    assert_int_equal(fg_price_of(FG_NS_PER_S / 2, 1000, 1), 1); /* half up */
    assert_int_equal(fg_price_of(FG_NS_PER_S / 2 - 1, 1000, 1), 0);
    assert_int_equal(fg_price_of(0, 1000, 1000), 0);
    assert_int_equal(fg_price_of(-5, 1000, 1000), 0);
    assert_int_equal(fg_price_of(5, 1000, -1000), 0);
}

static void what_is_too_large_saturates(void **state)
{
    assert_true(fg_price_of(INT64_MAX, 1000, INT64_MAX) == INT64_MAX);
    assert_true(fg_price_of(INT64_MAX, 1, INT64_MAX) == INT64_MAX);
    assert_true(fg_price_of(INT64_MAX, 1000, FG_NS_PER_S) == INT64_MAX);
}

static void costs_grow_with_each_factor_and_agree_with_long_division(void **state)
{
    struct rng r = rng_start(__func__);
    for (int i = 0; i < 100000; i++) {
        int64_t time = rng_size(&r), price = rng_size(&r);
        uint32_t permille = 1 + (uint32_t)rng_below(&r, 1000);
        int64_t cost = fg_price_of(time, permille, price);
        assert_true(cost >= 0);
        assert_true(time == INT64_MAX || fg_price_of(time + 1, permille, price) >= cost);
        assert_true(permille == 1000 || fg_price_of(time, permille + 1, price) >= cost);
        assert_true(price == INT64_MAX || fg_price_of(time, permille, price + 1) >= cost);
        /* Two ways of the same: 128-bit integers of another order, where they do not overflow. */
        if (time < INT64_C(1) << 40 && price < INT64_C(1) << 40) {
            int64_t other;
            assert_true(fg_mul_div(time * (int64_t)permille, price, 1000 * FG_NS_PER_S, &other));
            assert_true(other == cost);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_larger_share_is_priced_rounded_up),
        cmocka_unit_test(a_slice_costs_price_times_share_times_time),
        cmocka_unit_test(what_is_too_large_saturates),
        cmocka_unit_test(costs_grow_with_each_factor_and_agree_with_long_division),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
