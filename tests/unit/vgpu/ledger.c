/* The memory ledger in one process: exact to the byte, exact over random histories, over threads, fork and live changes. */
#include "vgpu_unit.h"
#include <pthread.h>

static struct fg_lease lease;
static struct fg_ledger ledger;
static char env[256];

static int setup(void **state)
{
    unit_server_start(NULL);
    unit_open("m", 1000000, 500, 0, env);
    memset(&lease, 0, sizeof lease);
    assert_int_equal(fg_lease_attach(&lease, env), FG_LEASE_OK);
    fg_ledger_init(&ledger, &lease);
    return 0;
}

static int teardown(void **state)
{
    fg_ledger_fini(&ledger);
    fg_lease_detach(&lease);
    unit_server_stop();
    return 0;
}

static uint64_t used(void) { return fg_ledger_used(lease.counters); }

static void the_last_byte_is_granted_and_one_more_refused(void **state)
{
    assert_int_equal(fg_ledger_reserve(&ledger, 999999), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_reserve(&ledger, 2), FG_LEDGER_OVER);
    assert_int_equal(fg_ledger_reserve(&ledger, 1), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_reserve(&ledger, 1), FG_LEDGER_OVER);
    assert_int_equal(fg_ledger_reserve(&ledger, 0), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_reserve(&ledger, UINT64_MAX), FG_LEDGER_OVER);
    assert_int_equal(fg_ledger_reserve(&ledger, FG_MEMORY_MAX), FG_LEDGER_OVER);
    fg_ledger_cancel(&ledger, 1);
    assert_int_equal(used(), 999999);
    fg_ledger_credit(&ledger, 999999);
    assert_int_equal(used(), 0);
    assert_int_equal(unit_stats("m").denied, 4);
    assert_int_equal(unit_stats("m").peak_bytes, 1000000);
}

static void settles_to_the_true_size(void **state)
{
    struct fg_record r = {.key = 0x1000, .bytes = 4096}, got;
    assert_int_equal(fg_ledger_reserve(&ledger, 100), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_settle(&ledger, 100, &r), FG_LEDGER_OK);
    assert_int_equal(used(), 4096);
    assert_int_equal(fg_ledger_reserve(&ledger, 900000), FG_LEDGER_OK);
    struct fg_record small = {.key = 0x2000, .bytes = 512};
    assert_int_equal(fg_ledger_settle(&ledger, 900000, &small), FG_LEDGER_OK);
    assert_int_equal(used(), 4096 + 512);
    /* the driver took more than was asked for and than there is: charged, kept, and told */
    assert_int_equal(fg_ledger_reserve(&ledger, 1), FG_LEDGER_OK);
    struct fg_record large = {.key = 0x3000, .bytes = 2000000};
    assert_int_equal(fg_ledger_settle(&ledger, 1, &large), FG_LEDGER_OVER);
    assert_int_equal(used(), 4096 + 512 + 2000000);
    assert_int_equal(fg_ledger_take(&ledger, 0x3000, &got), FG_LEDGER_OK);
    fg_ledger_credit(&ledger, got.bytes);
    /* an address that is known already: the old one is gone, whatever we saw */
    assert_int_equal(fg_ledger_reserve(&ledger, 50), FG_LEDGER_OK);
    struct fg_record again = {.key = 0x1000, .bytes = 50, .owner = 7};
    assert_int_equal(fg_ledger_settle(&ledger, 50, &again), FG_LEDGER_OK);
    assert_int_equal(used(), 50 + 512);
    assert_int_equal(fg_ledger_drop_owner(&ledger, 7), 50);
    assert_int_equal(used(), 512);
}

static void double_and_foreign_frees_credit_nothing(void **state)
{
    struct fg_record r = {.key = 0x1000, .bytes = 10}, got;
    assert_int_equal(fg_ledger_reserve(&ledger, 10), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_settle(&ledger, 10, &r), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_take(&ledger, 0x9999, &got), FG_LEDGER_UNKNOWN);
    assert_int_equal(fg_ledger_take(&ledger, 0, &got), FG_LEDGER_UNKNOWN);
    assert_int_equal(fg_ledger_take(&ledger, 0x1000, &got), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_take(&ledger, 0x1000, &got), FG_LEDGER_UNKNOWN);
    assert_int_equal(used(), 10); /* until the driver has freed it */
    assert_int_equal(fg_ledger_restore(&ledger, &got), FG_LEDGER_OK); /* it would not */
    assert_int_equal(fg_ledger_find(&ledger, 0x1000, &got), FG_LEDGER_OK);
    fg_ledger_credit(&ledger, 500); /* a shim's bug gives back no more than this process holds */
    assert_int_equal(used(), 0);
}

/* Against a plain array as the truth. */
static void random_histories_agree_with_an_array(void **state)
{
    enum { KEYS = 3000 };
    static uint64_t truth[KEYS], owners[KEYS];
    struct rng rng = rng_start("random_histories_agree_with_an_array");
    uint64_t sum = 0, live = 0;
    memset(truth, 0, sizeof truth);
    for (int i = 0; i < 400000; i++) {
        uint64_t k = rng_below(&rng, KEYS), key = (k + 1) << (k % 3 ? 8 : 21); /* as drivers' addresses: aligned */
        struct fg_record r;
        if (rng_below(&rng, 4000) == 0) {
            uint64_t owner = 1 + rng_below(&rng, 8), bytes = 0;
            for (int j = 0; j < KEYS; j++)
                if (truth[j] && owners[j] == owner) {
                    bytes += truth[j];
                    truth[j] = 0;
                    live--;
                }
            assert_int_equal(fg_ledger_drop_owner(&ledger, owner), bytes);
            sum -= bytes;
        } else if (truth[k]) {
            assert_int_equal(fg_ledger_take(&ledger, key, &r), FG_LEDGER_OK);
            assert_int_equal(r.bytes, truth[k]);
            fg_ledger_credit(&ledger, r.bytes);
            sum -= truth[k];
            truth[k] = 0;
            live--;
        } else {
            uint64_t asked = 1 + rng_below(&rng, 2000), real = asked + rng_below(&rng, 64);
            enum fg_ledger_status s = fg_ledger_reserve(&ledger, asked);
            assert_int_equal(s, sum + asked <= 1000000 ? FG_LEDGER_OK : FG_LEDGER_OVER);
            if (s)
                continue;
            r = (struct fg_record){.key = key, .bytes = real, .owner = owners[k] = 1 + rng_below(&rng, 8)};
            s = fg_ledger_settle(&ledger, asked, &r);
            assert_int_equal(s, sum + real <= 1000000 ? FG_LEDGER_OK : FG_LEDGER_OVER);
            truth[k] = real;
            sum += real;
            live++;
        }
        assert_int_equal(used(), sum);
    }
    assert_int_equal(fg_ledger_live(&ledger), live);
    for (uint64_t owner = 1; owner <= 8; owner++)
        sum -= fg_ledger_drop_owner(&ledger, owner);
    assert_int_equal(sum, 0);
    assert_int_equal(used(), 0);
}

static void quota_changes_while_it_is_used(void **state)
{
    assert_int_equal(fg_ledger_reserve(&ledger, 800000), FG_LEDGER_OK);
    struct fg_lease_spec spec = unit_spec("m", 500000, 500, 0);
    assert_ok(fg_vgpu_server_set(unit_server, &spec, &unit_err), unit_err);
    struct fg_memory_view view;
    fg_ledger_view(&lease, &view);
    assert_int_equal(view.quota_bytes, 500000);
    assert_int_equal(view.used_bytes, 800000);
    assert_int_equal(view.free_bytes, 0); /* not 2^64 - 300000 */
    assert_int_equal(fg_ledger_reserve(&ledger, 1), FG_LEDGER_OVER);
    fg_ledger_cancel(&ledger, 400000);
    assert_int_equal(fg_ledger_reserve(&ledger, 100000), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_reserve(&ledger, 1), FG_LEDGER_OVER);
    spec.memory_bytes = 500001;
    assert_ok(fg_vgpu_server_set(unit_server, &spec, &unit_err), unit_err);
    assert_int_equal(fg_ledger_reserve(&ledger, 1), FG_LEDGER_OK);
    fg_ledger_cancel(&ledger, 500001);
    assert_int_equal(used(), 0);
}

static void closed_lease_refuses(void **state)
{
    assert_int_equal(fg_ledger_reserve(&ledger, 10), FG_LEDGER_OK);
    assert_ok(fg_vgpu_server_close(unit_server, "m", &unit_err), unit_err);
    assert_int_equal(fg_ledger_reserve(&ledger, 10), FG_LEDGER_CLOSED);
    fg_ledger_cancel(&ledger, 10); /* freeing still works */
    assert_int_equal(used(), 0);
    struct fg_lease late = {0};
    assert_int_not_equal(fg_lease_attach(&late, env), FG_LEASE_OK);
}

static void *churn(void *arg)
{
    struct rng rng = {(uint64_t)(uintptr_t)arg};
    for (int i = 0; i < 20000; i++) {
        uint64_t bytes = 1 + rng_below(&rng, 100000);
        if (fg_ledger_reserve(&ledger, bytes))
            continue;
        struct fg_record r = {.key = (uint64_t)(uintptr_t)arg << 32 | ((unsigned)i + 1u), .bytes = bytes}, got;
        assert_int_equal(fg_ledger_settle(&ledger, bytes, &r), FG_LEDGER_OK);
        if (i % 3 == 0)
            usleep(0);
        assert_int_equal(fg_ledger_take(&ledger, r.key, &got), FG_LEDGER_OK);
        fg_ledger_credit(&ledger, got.bytes);
    }
    return NULL;
}

static void threads_leave_nothing_behind(void **state)
{
    pthread_t threads[8];
    for (uintptr_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(used(), 0);
    assert_true(unit_stats("m").peak_bytes <= 1000000);
}

/* The child: no records, a slot of its own; what it frees of its parent's is not credited; its end credits its own. */
static void child(void *arg)
{
    struct fg_record got;
    if (fg_ledger_take(&ledger, 0x1000, &got) != FG_LEDGER_UNKNOWN || fg_ledger_live(&ledger) != 0)
        _exit(1);
    fg_ledger_credit(&ledger, 1000);
    if (used() != 1000 || fg_ledger_reserve(&ledger, 999000) != FG_LEDGER_OK || fg_ledger_reserve(&ledger, 1) != FG_LEDGER_OVER)
        _exit(2);
    if (fg_ledger_slot_used(lease.counters, 0) != 1000 || lease.slot == &lease.counters->slots[0])
        _exit(3);
}

static void forked_child_has_a_slot_of_its_own(void **state)
{
    struct fg_record r = {.key = 0x1000, .bytes = 1000};
    assert_int_equal(fg_ledger_reserve(&ledger, 1000), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_settle(&ledger, 1000, &r), FG_LEDGER_OK);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(unit_wait(unit_fork(child, NULL)), 0);
        assert_true(unit_comes(used() == 1000));
    }
    assert_int_equal(fg_ledger_live(&ledger), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_last_byte_is_granted_and_one_more_refused),
        T(settles_to_the_true_size),
        T(double_and_foreign_frees_credit_nothing),
        T(random_histories_agree_with_an_array),
        T(quota_changes_while_it_is_used),
        T(closed_lease_refuses),
        T(threads_leave_nothing_behind),
        T(forked_child_has_a_slot_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
