/* foresee.c - starts played ahead, where they can be worked out by hand. */
#include "plan/foresee.h"

#include "unit.h"

#define S INT64_C(1000000000)
#define GB (UINT64_C(1) << 30)

/* Times that are certain (p95 = p50), so the runs differ only by how wrong the play is believed to be: 6 % and 13 % on either side. */
static void starts_are_near(const struct fg_foresee *in, double seconds)
{
    int64_t starts[FG_FORESEE_RUNS], again[FG_FORESEE_RUNS];
    assert_true(fg_foresee(in, starts));
    assert_true(fg_foresee(in, again));
    assert_memory_equal(starts, again, sizeof starts);
    for (size_t x = 0; x < FG_FORESEE_RUNS; x++) {
        assert_true(x == 0 || starts[x] >= starts[x - 1]);
        assert_true((double)starts[x] > seconds * 0.6e9 && (double)starts[x] < seconds * 1.7e9);
    }
    assert_true((double)starts[FG_FORESEE_RUNS / 2] > seconds * 0.9e9 && (double)starts[FG_FORESEE_RUNS / 2] < seconds * 1.25e9);
}

/* One device that runs one at a time: 40 s are left of the 100 of what runs, then three of 100 s each. */
static void on_one_device_each_waits_for_those_before_it(void **state)
{
    struct fg_foresee_device d = {80 * GB, 40 * GB, 0, 1};
    struct fg_foresee_lease l = {0, 40 * GB, 1000, 60 * S, 100 * S, 100 * S};
    struct fg_foresee_line line = {.memory_bytes = GB, .share_permille = 1000, .together = 1, .p50_ns = 100 * S, .p95_ns = 100 * S, .work = 100, .samples = 9};
    struct fg_foresee_tenant t = {0, 1};
    uint32_t order[] = {0, 0, 0, 0};
    struct fg_foresee in = {.devices = &d, .leases = &l, .lines = &line, .tenants = &t, .order = order, .scale = 1, .device_count = 1, .lease_count = 1,
                            .line_count = 1, .tenant_count = 1, .order_count = 4, .target = 3};
    starts_are_near(&in, 340);
    in.target = 0;
    starts_are_near(&in, 40);
}

/* Two tenants on one device, 20 tasks of 10 s each in the order a a a ... b b b: they take turns, so the first of b is the second in all;
 * with twice as much used as all of a's tasks take, it is behind all of them. */
static void tenants_take_turns_by_what_they_used(void **state)
{
    struct fg_foresee_device d = {80 * GB, 80 * GB, 1000, 1};
    struct fg_foresee_line lines[] = {
        {.memory_bytes = GB, .share_permille = 1000, .together = 1, .p50_ns = 10 * S, .p95_ns = 10 * S, .work = 10, .samples = 9, .tenant = 0},
        {.memory_bytes = GB, .share_permille = 1000, .together = 1, .p50_ns = 10 * S, .p95_ns = 10 * S, .work = 10, .samples = 9, .tenant = 1}};
    uint32_t order[40];
    for (uint32_t x = 0; x < 40; x++)
        order[x] = x / 20;
    for (int used = 0; used <= 1; used++) {
        struct fg_foresee_tenant t[] = {{0, 1}, {used ? 400 : 5, 1}};
        struct fg_foresee in = {.devices = &d, .lines = lines, .tenants = t, .order = order, .scale = 1, .device_count = 1, .line_count = 2,
                                .tenant_count = 2, .order_count = 40, .target = 20};
        starts_are_near(&in, used ? 200 : 10);
    }
}

/* A gang of three whole devices starts when the last of the three that run has ended. A kind that is not there is never had. */
static void a_gang_waits_for_all_and_what_cannot_be_had_is_not_promised(void **state)
{
    struct fg_foresee_device d[3] = {{8 * GB, 0, 0, 1}, {8 * GB, 0, 0, 1}, {8 * GB, 0, 0, 1}};
    struct fg_foresee_lease l[3];
    for (uint32_t x = 0; x < 3; x++)
        l[x] = (struct fg_foresee_lease){x, 8 * GB, 1000, 0, (x + 1) * 100 * S, (x + 1) * 100 * S};
    struct fg_foresee_line line = {.memory_bytes = 8 * GB, .share_permille = 1000, .together = 3, .p50_ns = S, .p95_ns = S, .work = 1, .samples = 9};
    struct fg_foresee_tenant t = {0, 1};
    uint32_t order[] = {0};
    struct fg_foresee in = {.devices = d, .leases = l, .lines = &line, .tenants = &t, .order = order, .scale = 1, .device_count = 3, .lease_count = 3,
                            .line_count = 1, .tenant_count = 1, .order_count = 1, .target = 0};
    int64_t starts[FG_FORESEE_RUNS];
    starts_are_near(&in, 300);
    line.kind = 2;
    assert_false(fg_foresee(&in, starts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_one_device_each_waits_for_those_before_it),
        cmocka_unit_test(tenants_take_turns_by_what_they_used),
        cmocka_unit_test(a_gang_waits_for_all_and_what_cannot_be_had_is_not_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
