/* holes.c - what a hole is worth: prices by hand, and never a set of shares that is worth more than its GPU. */
#include "plan/holes.h"

#include <math.h>
#include <stdbool.h>

#include "random.h"
#include "unit.h"

static bool near(double a, double b) { return fabs(a - b) < 1e-3; }

/* As many of 650 as of 350, and some whole: one of each fills a GPU. So 10 + 30 GPUs; of 400 free, the 350 is the use. */
static void shares_that_fill_a_gpu_together_are_worth_it_together(void **state)
{
    struct fg_holes h;
    double gpus = fg_holes_price((uint32_t[]){650, 350, 1000}, (double[]){10, 10, 30}, 3, &h);
    assert_true(near(gpus, 40));
    assert_true(near(h.worth[650] + h.worth[350], 1) && near(h.worth[1000], 1));
    assert_true(near(h.worth[400], h.worth[350]) && near(fg_holes_loss(&h, 400, 350), 0));
}

/* 810 is alone on its GPU whatever else comes: worth all of it, and the 190 beside it nothing. */
static void a_share_that_nobody_fits_beside_is_worth_a_gpu(void **state)
{
    struct fg_holes h;
    assert_true(near(fg_holes_price((uint32_t[]){810, 500}, (double[]){7, 4}, 2, &h), 9));
    assert_true(near(h.worth[810], 1) && near(h.worth[190], 0) && near(h.worth[500], 0.5));
    assert_true(near(fg_holes_loss(&h, 500, 500), 0));
}

static void no_share_at_all_makes_no_hole_worth_anything(void **state)
{
    struct fg_holes h;
    assert_true(fg_holes_price(NULL, NULL, 0, &h) == 0);
    assert_true(h.worth[1000] == 0);
}

/* 0 <= loss: what two parts are worth apart, they are worth together. And the GPUs needed are at least the work, at most one each. */
static void no_mix_is_priced_beyond_what_it_needs(void **state)
{
    struct rng r = rng_start("holes_mix");
    for (int x = 0; x < 40; x++) {
        struct fg_holes h;
        uint32_t size[12], n = 1 + (uint32_t)rng_below(&r, 12), at = 0;
        double weight[12], work = 0, each = 0;
        for (uint32_t i = 0; i < n; i++) {
            size[i] = at += 1 + (uint32_t)rng_below(&r, 80);
            weight[i] = 1 + (double)rng_below(&r, 100);
            work += weight[i] * size[i] / 1000, each += weight[i];
        }
        double gpus = fg_holes_price(size, weight, n, &h);
        if (gpus < work * (1 - 5e-3) || gpus > each * (1 + 1e-9))
            fail_msg("case %d: %g GPUs for work of %g", x, gpus, work);
        for (uint32_t f = 1; f <= 1000; f++)
            for (uint32_t s = 1; s <= f; s++)
                assert_true(fg_holes_loss(&h, f, s) >= -1e-9);
        assert_true(h.worth[1000] <= 1 + 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_that_fill_a_gpu_together_are_worth_it_together),
        cmocka_unit_test(a_share_that_nobody_fits_beside_is_worth_a_gpu),
        cmocka_unit_test(no_share_at_all_makes_no_hole_worth_anything),
        cmocka_unit_test(no_mix_is_priced_beyond_what_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
