/* knapsack.c - the best set for a room, against a table over everything. */
#include "plan/assign/knapsack.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "random.h"
#include "unit.h"

enum { ITEMS = 40, ROOM = 300 };

/* A few shapes: free worths; worths that follow sizes (all in the core); many alike; sizes of nothing and of more than the room. */
static uint32_t make(struct rng *r, struct item *items, int32_t *room)
{
    uint32_t n = (uint32_t)rng_below(r, ITEMS + 1), shape = (uint32_t)rng_below(r, 3);
    *room = (int32_t)rng_below(r, ROOM + 1);
    for (uint32_t x = 0; x < n; x++) {
        int32_t size = (int32_t)rng_below(r, 60), worth = (int32_t)rng_below(r, 400) - 100;
        if (shape == 1)
            worth = 5 * size + (int32_t)rng_below(r, 9) - 4;
        else if (shape == 2)
            size = 9 + (int32_t)rng_below(r, 2), worth = 14 * size;
        if (rng_below(r, 20) == 0)
            size = ROOM + 5;
        items[x] = (struct item){.task = x, .size = size, .worth = (float)worth};
    }
    return n;
}

static double best_of(const struct item *items, uint32_t n, int32_t room)
{
    double best[ROOM + 1] = {0};
    for (uint32_t x = 0; x < n; x++)
        for (int32_t at = room; at >= items[x].size && items[x].worth > 0; at--)
            best[at] = fmax(best[at], best[at - items[x].size] + (double)items[x].worth);
    return best[room];
}

/* What the shares weigh, are worth, and how many are split. */
static void add_up(const struct item *items, uint32_t n, double *size, double *worth, uint32_t *split)
{
    *size = *worth = *split = 0;
    for (uint32_t x = 0; x < n; x++) {
        assert_true(items[x].share >= 0 && items[x].share <= 1);
        *size += (double)items[x].share * items[x].size;
        *worth += (double)(items[x].share * items[x].worth);
        *split += items[x].share > 0 && items[x].share < 1;
    }
}

static void the_set_is_the_best_that_fits(void **state)
{
    struct rng r = rng_start(__func__);
    (void)state;
    struct knapsack k = {.table = fg_alloc((ITEMS + 1) * (ROOM + 1) * sizeof(float)), .core = fg_alloc(ITEMS * sizeof(uint32_t)), .cells_most = INFINITY};
    for (int round = 0; round < 3000; round++) {
        struct item items[ITEMS];
        int32_t room;
        uint32_t n = make(&r, items, &room), split;
        double best = best_of(items, n, room), size, worth, value = knapsack_solve(&k, items, n, room);
        add_up(items, n, &size, &worth, &split);
        assert_true(split == 0 && size <= room);
        assert_true(fabs(value - best) < 0.01 && fabs(worth - best) < 0.01); /* worths are whole */
    }
    free(k.table), free(k.core);
}

static void without_a_table_the_answer_is_the_linear_bound(void **state)
{
    struct rng r = rng_start(__func__);
    (void)state;
    struct knapsack k = {.table = NULL, .core = fg_alloc(ITEMS * sizeof(uint32_t)), .cells_most = -1};
    for (int round = 0; round < 3000; round++) {
        struct item items[ITEMS];
        int32_t room;
        uint32_t n = make(&r, items, &room), split;
        double best = best_of(items, n, room), size, worth, value = knapsack_solve(&k, items, n, room);
        add_up(items, n, &size, &worth, &split);
        assert_true(split <= 1 && size <= room + 0.01);
        assert_true(value >= best - 0.01 && fabs(worth - value) < 0.01);
    }
    free(k.core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_is_the_best_that_fits),
        cmocka_unit_test(without_a_table_the_answer_is_the_linear_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
