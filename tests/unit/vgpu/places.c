/* Who is parked or moves keeps its lease; its place is lent, and comes back when it is asked for. */
#include "vgpu_unit.h"

static int setup(void **state)
{
    unit_server_start(NULL);
    return 0;
}

static int teardown(void **state)
{
    unit_server_stop();
    return 0;
}

/* Parked, a lease gets nothing and whatever is called rings; an arbiter that comes later finds it parked. */
static void a_parked_lease_rings_at_each_call_and_stays_parked_over_a_restart(void **state)
{
    struct fg_vgpu_server_config config = {.adoptable = 1};
    int limits, counters;
    char env[256], id[64];
    struct fg_lease l = {0};
    struct fg_ledger ledger;
    static struct fg_gate g;
    struct fg_ticket t;
    unit_server_stop();
    unit_server_start(&config);
    unit_open("p", 1000, 500, 0, env);
    assert_int_equal(fg_lease_attach(&l, env), FG_LEASE_OK);
    fg_ledger_init(&ledger, &l);
    fg_gate_init(&g, &l);
    assert_int_equal(fg_gate_enter(&g, 1, 0, &t), FG_GATE_PASS); /* the whole device is lent to it */
    fg_gate_settle(&g, &t, 0, 0);
    assert_ok(fg_vgpu_server_park(unit_server, "p", 1, &unit_err), unit_err);
    uint32_t bell = unit_stats("p").bell;
    assert_int_equal(fg_ledger_reserve(&ledger, 10), FG_LEDGER_OK);
    assert_int_not_equal(unit_stats("p").bell, bell);
    bell = unit_stats("p").bell;
    assert_int_equal(fg_gate_enter(&g, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY);
    assert_int_not_equal(unit_stats("p").bell, bell);
    struct fg_lease_spec spec = unit_spec("p", 2000, 600, 0);
    assert_ok(fg_vgpu_server_set(unit_server, &spec, &unit_err), unit_err); /* a change does not wake it */
    assert_int_equal(fg_gate_enter(&g, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY);
    assert_ok(fg_vgpu_server_fds(unit_server, "p", &limits, &counters, &unit_err), unit_err);
    struct fg_vgpu_server *first = unit_server;
    unit_server_start(&config);
    assert_ok(fg_vgpu_server_adopt(unit_server, limits, counters, id, &unit_err), unit_err);
    assert_int_equal(unit_stats("p").parked, 1);
    assert_int_equal(fg_gate_enter(&g, 1, FG_GATE_NOWAIT, &t), FG_GATE_BUSY);
    assert_ok(fg_vgpu_server_park(unit_server, "p", 0, &unit_err), unit_err);
    assert_int_equal(fg_gate_enter(&g, 1, 0, &t), FG_GATE_PASS);
    fg_lease_mark(&l, FG_HELD_SHARED);
    assert_int_equal(unit_stats("p").held, FG_HELD_SHARED);
    unit_open("u", 1000, 1, FG_LIMIT_UNGATED, env);
    assert_fails(fg_vgpu_server_park(unit_server, "u", 1, &unit_err), unit_err, FG_E_UNSUPPORTED);
    assert_fails(fg_vgpu_server_park(unit_server, "x", 1, &unit_err), unit_err, FG_E_NOT_FOUND);
    fg_lease_detach(&l);
    fg_vgpu_server_destroy(first);
}

/* 64 GiB: an owner of 50 is aside, a borrower of 40 takes its place, and the owner has it back when that is gone. */
static void the_place_of_who_is_aside_is_leased_to_others_until_it_is_asked_back(void **state)
{
    struct fg_lease_missing missing;
    char env[256];
    unit_open("owner", 50 * GIB, 700, 0, env);
    opening_is_refused(unit_spec("guest", 40 * GIB, 600, FG_LIMIT_BORROWED), FG_E_CONFLICT, "left to lease");
    assert_fails(fg_vgpu_server_aside(unit_server, "owner", &unit_err), unit_err, FG_E_INVALID);     /* only who is parked */
    assert_ok(fg_vgpu_server_park(unit_server, "owner", 1, &unit_err), unit_err);
    opening_is_refused(unit_spec("guest", 40 * GIB, 600, FG_LIMIT_BORROWED), FG_E_CONFLICT, "left to lease");  /* its memory is there still */
    assert_ok(fg_vgpu_server_aside(unit_server, "owner", &unit_err), unit_err);
    unit_open("guest", 40 * GIB, 600, FG_LIMIT_BORROWED, env);
    assert_fails(fg_vgpu_server_back(unit_server, "owner", &missing, &unit_err), unit_err, FG_E_CONFLICT);
    assert_true(missing.memory_bytes == 26 * GIB && missing.share_permille == 300);
    assert_int_equal(unit_stats("owner").aside, 1);
    assert_ok(fg_vgpu_server_close(unit_server, "guest", &unit_err), unit_err);
    assert_ok(fg_vgpu_server_back(unit_server, "owner", &missing, &unit_err), unit_err);
    assert_true(!missing.memory_bytes && !missing.share_permille);
    opening_is_refused(unit_spec("guest", 40 * GIB, 200, FG_LIMIT_BORROWED), FG_E_CONFLICT, "left to lease");
    assert_ok(fg_vgpu_server_park(unit_server, "owner", 0, &unit_err), unit_err);
    assert_fails(fg_vgpu_server_back(unit_server, "owner", &missing, &unit_err), unit_err, FG_E_INVALID);
}

static void who_moves_has_a_place_on_both_devices_until_it_is_there(void **state)
{
    struct fg_lease_missing missing;
    char env[256];
    unit_open("owner", 50 * GIB, 700, 0, env);
    struct fg_lease_spec other = unit_spec("other", 20 * GIB, 200, 0);
    snprintf(other.device, sizeof other.device, "gpu-b");
    assert_ok(fg_vgpu_server_device(unit_server, "gpu-b", 64 * GIB, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_move_to(unit_server, "owner", "gpu-b", &unit_err), unit_err);   /* while it runs */
    opening_is_refused(other, FG_E_CONFLICT, "left to lease");
    assert_fails(fg_vgpu_server_moved(unit_server, "owner", &unit_err), unit_err, FG_E_INVALID);
    assert_ok(fg_vgpu_server_park(unit_server, "owner", 1, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_aside(unit_server, "owner", &unit_err), unit_err);
    assert_fails(fg_vgpu_server_move_to(unit_server, "owner", "gpu-c", &unit_err), unit_err, FG_E_NOT_FOUND);
    assert_ok(fg_vgpu_server_move_to(unit_server, "owner", NULL, &unit_err), unit_err);
    assert_fails(fg_vgpu_server_moved(unit_server, "owner", &unit_err), unit_err, FG_E_INVALID);
    assert_ok(fg_vgpu_server_move_to(unit_server, "owner", "gpu-b", &unit_err), unit_err);
    opening_is_refused(other, FG_E_CONFLICT, "left to lease");
    assert_ok(fg_vgpu_server_move_to(unit_server, "owner", NULL, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_open(unit_server, &other, NULL, &unit_err), unit_err);
    assert_fails(fg_vgpu_server_move_to(unit_server, "owner", "gpu-b", &unit_err), unit_err, FG_E_CONFLICT);
    assert_ok(fg_vgpu_server_close(unit_server, "other", &unit_err), unit_err);
    assert_ok(fg_vgpu_server_move_to(unit_server, "owner", "gpu-b", &unit_err), unit_err);
    assert_ok(fg_vgpu_server_moved(unit_server, "owner", &unit_err), unit_err);
    assert_string_equal(unit_stats("owner").spec.device, "gpu-b");
    assert_int_equal(unit_stats("owner").aside, 0);
    opening_is_refused(other, FG_E_CONFLICT, "left to lease");
    assert_ok(fg_vgpu_server_back(unit_server, "owner", &missing, &unit_err), unit_err);    /* it has it */
    unit_open("first", 60 * GIB, 900, 0, env);                                              /* on the device it left */
    assert_ok(fg_vgpu_server_park(unit_server, "owner", 0, &unit_err), unit_err);
}

/* A killed agent's leases come back in any order: who runs in a place that an owner has asked back is not refused for it. */
static void lent_places_are_taken_over_as_they_are(void **state)
{
    struct fg_vgpu_server_config config = {.adoptable = 1};
    struct fg_lease_missing missing;
    int fds[2][2];
    char env[256], id[64];
    unit_server_stop();
    unit_server_start(&config);
    unit_open("owner", 50 * GIB, 700, 0, env);
    assert_ok(fg_vgpu_server_park(unit_server, "owner", 1, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_aside(unit_server, "owner", &unit_err), unit_err);
    unit_open("guest", 40 * GIB, 600, FG_LIMIT_BORROWED, env);
    assert_ok(fg_vgpu_server_fds(unit_server, "owner", &fds[0][0], &fds[0][1], &unit_err), unit_err);
    assert_ok(fg_vgpu_server_fds(unit_server, "guest", &fds[1][0], &fds[1][1], &unit_err), unit_err);
    struct fg_vgpu_server *first = unit_server;
    unit_server_start(&config);
    assert_ok(fg_vgpu_server_adopt(unit_server, fds[0][0], fds[0][1], id, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_back(unit_server, "owner", &missing, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_adopt(unit_server, fds[1][0], fds[1][1], id, &unit_err), unit_err);
    assert_true(unit_stats("guest").spec.flags & FG_LIMIT_BORROWED);
    fg_vgpu_server_destroy(first);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_parked_lease_rings_at_each_call_and_stays_parked_over_a_restart),
        T(the_place_of_who_is_aside_is_leased_to_others_until_it_is_asked_back),
        T(who_moves_has_a_place_on_both_devices_until_it_is_there),
        T(lent_places_are_taken_over_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
