/* Arbiters of one machine that know each other: what they claim, and the guest that stands for the others' share. */
#include "vgpu_unit.h"
#include <sys/stat.h>
#include "vgpu/server_private.h"

static char folder[64];

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/fgpu-claims-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) { return rmdir(folder); /* fails when a claim was left */ }

static struct fg_claims *claims_of(uint64_t scope)
{
    struct fg_claims *claims;
    assert_ok(fg_claims_open(&claims, folder, scope, &unit_err), unit_err);
    return claims;
}

static struct fg_claim_sum others(struct fg_claims *claims, const char *device, int64_t now)
{
    struct fg_claim_sum sum;
    assert_ok(fg_claims_others(claims, device, now, &sum, &unit_err), unit_err);
    return sum;
}

static void claim(struct fg_claims *claims, const char *device, uint64_t memory, uint32_t permille, bool alone)
{
    assert_ok(fg_claims_set(claims, device, &(struct fg_claim){memory, permille, permille > 0, alone}, &unit_err), unit_err);
}

static void each_sees_what_the_others_claim_and_not_its_own(void **state)
{
    struct fg_claims *a = claims_of(1), *b = claims_of(2), *c = claims_of(3);
    claim(a, "x", 5 * GIB, 200, false);
    claim(b, "x", 7 * GIB, 300, true);
    claim(b, "y", 1, 1, false);
    struct fg_claim_sum sum = others(c, "x", 0);
    assert_int_equal(sum.all.memory_bytes, 12 * GIB);
    assert_int_equal(sum.all.share_permille, 500);
    assert_int_equal(sum.holders, 2);
    assert_true(sum.all.alone);
    assert_int_equal(others(a, "x", 0).all.memory_bytes, 7 * GIB);
    assert_int_equal(others(a, "nothing", 0).holders, 0);
    claim(b, "x", 0, 0, false);
    assert_int_equal(others(c, "x", 0).all.share_permille, 200);
    fg_claims_close(a);
    assert_int_equal(others(c, "x", 0).holders, 0);
    fg_claims_close(b);
    fg_claims_close(c);
}

static void who_used_the_device_lately_is_active(void **state)
{
    struct fg_claims *a = claims_of(1), *b = claims_of(2);
    claim(a, "x", 1, 400, false);
    fg_claims_busy(a, "x", 10000 * MS);
    assert_int_equal(others(b, "x", 11000 * MS).active_permille, 400);
    assert_int_equal(others(b, "x", 14000 * MS).active_permille, 0);
    fg_claims_close(a);
    fg_claims_close(b);
}

/* A descriptor that somebody else holds keeps the claim of a dead arbiter; its successor is not hindered by it, and with it counts
 * once, as the larger of the two. */
static void a_dead_arbiters_claim_lives_while_its_descriptor_is_held(void **state)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct fg_claims *b = claims_of(2);
    pid_t pid = fork();
    if (pid == 0) {
        claim(claims_of(1), "x", 3 * GIB, 300, false);
        if (fork() == 0) { /* this one holds it */
            close(ends[1]);
            char c;
            _exit(read(ends[0], &c, 1) < 0);
        }
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    assert_int_equal(others(b, "x", fg_boot_ns()).all.share_permille, 300);
    struct fg_claims *again = claims_of(1);
    assert_int_equal(others(again, "x", fg_boot_ns()).holders, 0);
    claim(again, "x", 1 * GIB, 400, false);
    assert_int_equal(others(b, "x", fg_boot_ns()).all.share_permille, 400);
    assert_int_equal(others(b, "x", fg_boot_ns()).all.memory_bytes, 3 * GIB);
    fg_claims_close(again);
    close(ends[0]);
    close(ends[1]);
    assert_true(unit_comes(others(b, "x", fg_boot_ns()).holders == 0)); /* and its file is gone with it */
    fg_claims_close(b);
}

static void a_server_gives_only_what_the_other_leaves(void **state)
{
    struct fg_vgpu_server_config config = {.claims_folder = folder, .claims_scope = 1};
    struct fg_claims *other = claims_of(2);
    struct fg_lease_spec spec = unit_spec("a", 40 * GIB, 600, 0);
    claim(other, "the gpu", 30 * GIB, 500, false);
    unit_server_start(&config); /* 64 GiB */
    assert_ok(fg_vgpu_server_device_key(unit_server, "gpu0", "the gpu", &unit_err), unit_err);
    assert_fails(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err, FG_E_CONFLICT);
    spec.memory_bytes = 34 * GIB;
    assert_fails(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err, FG_E_CONFLICT);
    assert_int_equal(others(other, "the gpu", 0).all.memory_bytes, 0); /* nothing stays claimed by who was refused */
    spec.share_permille = 500;
    assert_ok(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err);
    assert_int_equal(others(other, "the gpu", 0).all.memory_bytes, 34 * GIB);
    spec.share_permille = 501;
    assert_fails(fg_vgpu_server_set(unit_server, &spec, &unit_err), unit_err, FG_E_CONFLICT);
    assert_int_equal(others(other, "the gpu", 0).all.share_permille, 500);
    spec.share_permille = 100;
    assert_ok(fg_vgpu_server_set(unit_server, &spec, &unit_err), unit_err);
    assert_int_equal(others(other, "the gpu", 0).all.share_permille, 100);
    assert_ok(fg_vgpu_server_close(unit_server, "a", &unit_err), unit_err);
    assert_int_equal(others(other, "the gpu", 0).holders, 0);
    spec = unit_spec("b", 1, 1000, 0);
    spec.mode = FG_SHARE_EXCLUSIVE;
    claim(other, "the gpu", 1, 1, false);
    assert_fails(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err, FG_E_CONFLICT);
    unit_server_stop();
    fg_claims_close(other);
}

/* It runs already: refusing it would leave it with nobody to arbitrate it. Others are refused until there is room again. */
static void an_adopted_lease_is_claimed_and_not_asked_for(void **state)
{
    struct fg_vgpu_server_config config = {.adoptable = 1, .claims_folder = folder, .claims_scope = 1};
    struct fg_claims *other = claims_of(2);
    struct fg_lease_spec spec = unit_spec("a", 40 * GIB, 600, 0);
    int limits, counters;
    unit_server_start(&config);
    assert_ok(fg_vgpu_server_device_key(unit_server, "gpu0", "the gpu", &unit_err), unit_err);
    assert_ok(fg_vgpu_server_open(unit_server, &spec, NULL, &unit_err), unit_err);
    assert_ok(fg_vgpu_server_fds(unit_server, "a", &limits, &counters, &unit_err), unit_err);
    limits = dup(limits), counters = dup(counters);
    fg_vgpu_server_leave(unit_server);
    claim(other, "the gpu", 30 * GIB, 500, false);
    unit_server_start(&config);
    assert_ok(fg_vgpu_server_device_key(unit_server, "gpu0", "the gpu", &unit_err), unit_err);
    assert_ok(fg_vgpu_server_adopt(unit_server, limits, counters, NULL, &unit_err), unit_err);
    assert_int_equal(others(other, "the gpu", 0).all.share_permille, 600);
    unit_server_stop();
    close(limits);
    close(counters);
    fg_claims_close(other);
}

/* --- the guest, on a fake clock: vGPUs that always have a job of 1 ms to run beside it --- */

struct hungry { int place; uint64_t charged_ns; int64_t end_ns, done_ns; };

static void run_beside_guest(struct device *d, struct hungry *all, int count, int64_t span_ns)
{
    const int64_t job = 1 * MS;
    int64_t turn_at = 0;
    for (int64_t now = 0; now < span_ns; now += MS / 20) {
        int ring = 0;
        for (int i = 0; i < count; i++) {
            struct hungry *h = &all[i];
            if (h->end_ns && now >= h->end_ns) {
                h->end_ns = 0;
                h->done_ns += job;
                ring = 1;
            }
            if (!h->end_ns && h->charged_ns < d->arbiter.vgpus[h->place].grant.allow_ns) {
                h->charged_ns += (uint64_t)job;
                h->end_ns = now + job;
            }
        }
        if (now < turn_at && !ring)
            continue;
        struct fg_arbiter_input in[FG_ARBITER_MAX] = {0};
        for (int i = 0; i < count; i++)
            in[all[i].place] = (struct fg_arbiter_input){all[i].charged_ns, all[i].end_ns ? (uint64_t)(all[i].end_ns - now) : 0,
                                                         all[i].end_ns != 0, !all[i].end_ns, 1};
        in[d->guest.place] = fg_guest_input(&d->guest, now);
        d->next_ns = fg_arbiter_turn(&d->arbiter, in, now);
        fg_guest_grant(d, &d->arbiter.vgpus[d->guest.place].grant, now);
        turn_at = d->next_ns;
    }
}

static void beside_a_guest_each_gets_its_part_of_the_whole(void **state)
{
    static const struct { uint32_t guest, shares[2]; } cases[] = {{500, {500, 0}}, {300, {500, 0}}, {300, {200, 500}}, {800, {100, 100}}};
    for (size_t c = 0; c < 4; c++) {
        struct device *d = calloc(1, sizeof *d);
        struct hungry all[2] = {{0}};
        int count = cases[c].shares[1] ? 2 : 1;
        uint32_t sum = cases[c].guest + cases[c].shares[0] + cases[c].shares[1];
        fg_arbiter_init(&d->arbiter, NULL, 0);
        for (int i = 0; i < count; i++)
            all[i].place = fg_arbiter_add(&d->arbiter, (uint64_t)i + 1, cases[c].shares[i], FG_SHARE_WEIGHTED, 0, 0);
        d->guest.share_permille = cases[c].guest;
        d->guest.place = fg_arbiter_add(&d->arbiter, UINT64_MAX, cases[c].guest, FG_SHARE_WEIGHTED, 0, 0);
        d->arbiter.vgpus[d->guest.place].outside = 1;
        run_beside_guest(d, all, count, 10000 * MS);
        for (int i = 0; i < count; i++) { /* of ten seconds; what the test's clock steps cost is within two points */
            double got = (double)all[i].done_ns / (10000 * MS) * 100, due = 100.0 * cases[c].shares[i] / sum;
            if (got < due - 3 || got > due + 2)
                fail_msg("guest %u, share %u: got %.1f %%, due %.1f %%", cases[c].guest, cases[c].shares[i], got, due);
        }
        free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_sees_what_the_others_claim_and_not_its_own, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(who_used_the_device_lately_is_active, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_dead_arbiters_claim_lives_while_its_descriptor_is_held, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_server_gives_only_what_the_other_leaves, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_adopted_lease_is_claimed_and_not_asked_for, make_folder, remove_folder),
        cmocka_unit_test(beside_a_guest_each_gets_its_part_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
