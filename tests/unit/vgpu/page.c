/* The lease page: what is refused, and how it is said; what a task cannot do to it; exec, detach, slots. */
#include "vgpu_unit.h"

static char env[256];

static int setup(void **state)
{
    unit_server_start(NULL);
    unit_open("m", 1000000, 500, 0, env);
    return 0;
}

static int teardown(void **state)
{
    unit_server_stop();
    return 0;
}

/* Two ordinary files with the bytes of a good lease, for tests that spoil them. */
static char folder[128], limits_path[160], counters_path[160], where[400];
static struct fg_limits *limits;
static struct fg_counters *counters;

static void *map_new(const char *path, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(at != MAP_FAILED);
    return at;
}

static int files_setup(void **state)
{
    unit_folder(folder, sizeof folder);
    snprintf(limits_path, sizeof limits_path, "%s/limits", folder);
    snprintf(counters_path, sizeof counters_path, "%s/counters", folder);
    snprintf(where, sizeof where, "%s:%s", limits_path, counters_path);
    limits = map_new(limits_path, 4096);
    counters = map_new(counters_path, sizeof *counters);
    *limits = (struct fg_limits){.magic = FG_LIMITS_MAGIC, .version = FG_LEASE_VERSION, .size = sizeof *limits, .id = "x",
                                 .device = "gpu0", .memory_bytes = 1000, .share_permille = 100, .window_ns = 8000000,
                                 .vanish_ns = 100000000, .allow_ns = UINT64_MAX, .inflight_ns = 8000000};
    fg_counters_format(counters);
    return 0;
}

static int files_teardown(void **state)
{
    munmap(limits, 4096);
    munmap(counters, sizeof *counters);
    unlink(limits_path);
    unlink(counters_path);
    rmdir(folder);
    return 0;
}

static enum fg_lease_status try(const char *at)
{
    struct fg_lease lease = {0};
    enum fg_lease_status status = fg_lease_attach(&lease, at);
    assert_true(fg_lease_text(status)[0]);
    if (status == FG_LEASE_OK)
        fg_lease_detach(&lease);
    assert_null(lease.limits);
    assert_null(lease.counters);
    return status;
}

static void good_files_attach(void **state) { assert_int_equal(try(where), FG_LEASE_OK); }

static void every_spoiled_field_is_refused(void **state)
{
    struct fg_limits good = *limits;
#define SPOIL(field, value, status)                                                                                    \
    limits->field = (value);                                                                                           \
    assert_int_equal(try(where), status);                                                                              \
    *limits = good;
    SPOIL(magic, 1, FG_LEASE_CORRUPT)
    SPOIL(version, FG_LEASE_VERSION + 1, FG_LEASE_VERSION_DIFFERS)
    SPOIL(size, 8, FG_LEASE_CORRUPT)
    SPOIL(memory_bytes, 0, FG_LEASE_CORRUPT)
    SPOIL(memory_bytes, FG_MEMORY_MAX + 1, FG_LEASE_CORRUPT)
    SPOIL(share_permille, 0, FG_LEASE_CORRUPT)
    SPOIL(share_permille, 1001, FG_LEASE_CORRUPT)
    SPOIL(mode, 3, FG_LEASE_CORRUPT)
    SPOIL(window_ns, 0, FG_LEASE_CORRUPT)
    SPOIL(vanish_ns, 0, FG_LEASE_CORRUPT)
    SPOIL(flags, FG_LIMIT_CLOSED, FG_LEASE_OVER)
    memset(limits->id, 'x', sizeof limits->id);
    assert_int_equal(try(where), FG_LEASE_CORRUPT);
    *limits = good;
    counters->magic = 1;
    assert_int_equal(try(where), FG_LEASE_CORRUPT);
    fg_counters_format(counters);
    counters->version = FG_LEASE_VERSION + 1;
    assert_int_equal(try(where), FG_LEASE_VERSION_DIFFERS);
    fg_counters_format(counters);
    counters->slots_high = FG_SLOTS + 1;
    assert_int_equal(try(where), FG_LEASE_CORRUPT);
    counters->slots_high = 0;
    assert_int_equal(try(where), FG_LEASE_OK);
}

static void every_wrong_length_is_refused(void **state)
{
    static const off_t sizes[] = {0, 1, 100, 4095, 4097, 1 << 20};
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(truncate(limits_path, sizes[i]), 0);
        assert_int_equal(try(where), FG_LEASE_TRUNCATED);
    }
    assert_int_equal(truncate(limits_path, 4096), 0);
    assert_int_equal(try(where), FG_LEASE_CORRUPT); /* zeroed by the cut */
    files_teardown(NULL);
    files_setup(NULL);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(truncate(counters_path, sizes[i]), 0);
        assert_int_equal(try(where), FG_LEASE_TRUNCATED);
    }
    assert_int_equal(truncate(counters_path, sizeof *counters), 0);
}

static void wrong_names_are_told_apart(void **state)
{
    char at[500];
    assert_int_equal(try(""), FG_LEASE_MALFORMED);
    assert_int_equal(try("/one"), FG_LEASE_MALFORMED);
    assert_int_equal(try("/a:/b:/c"), FG_LEASE_MALFORMED);
    assert_int_equal(try(":/b"), FG_LEASE_MALFORMED);
    assert_int_equal(try("/a:"), FG_LEASE_MALFORMED);
    assert_int_equal(try("/nowhere/a:/nowhere/b"), FG_LEASE_OPEN);
    snprintf(at, sizeof at, "%s:/nowhere/b", limits_path);
    assert_int_equal(try(at), FG_LEASE_OPEN);
    snprintf(at, sizeof at, "/dev/zero:%s", counters_path);
    assert_int_equal(try(at), FG_LEASE_TRUNCATED);
    unsetenv(FG_LEASE_ENV);
    assert_int_equal(try(NULL), FG_LEASE_NONE); /* a cleaned environment and no default files */
    setenv(FG_LEASE_ENV, where, 1);
    assert_int_equal(try(NULL), FG_LEASE_OK);
    unsetenv(FG_LEASE_ENV);
}

static void random_bytes_never_crash(void **state)
{
    struct rng rng = rng_start("random_bytes_never_crash");
    uint8_t *bytes = (uint8_t *)counters;
    for (int i = 0; i < 300; i++) {
        for (size_t k = 64; k < sizeof *counters; k += 1 + rng_below(&rng, 40))
            bytes[k] = (uint8_t)rng_next(&rng);
        counters->slots_high = (uint32_t)rng_below(&rng, FG_SLOTS + 1);
        struct fg_lease lease = {0};
        static struct fg_gate gate;
        struct fg_ledger ledger;
        struct fg_ticket ticket;
        if (fg_lease_attach(&lease, where) != FG_LEASE_OK) /* all slots seem taken */
            continue;
        fg_ledger_init(&ledger, &lease);
        fg_gate_init(&gate, &lease);
        if (fg_ledger_reserve(&ledger, 10) == FG_LEDGER_OK)
            fg_ledger_credit(&ledger, 10);
        if (fg_gate_enter(&gate, 5, FG_GATE_NOWAIT, &ticket) == FG_GATE_PASS)
            fg_gate_settle(&gate, &ticket, 1, 2);
        fg_ledger_fini(&ledger);
        fg_lease_detach(&lease);
    }
}

static void full_of_processes_is_said(void **state)
{
    for (unsigned i = 0; i < FG_SLOTS; i++)
        counters->slots[i].owner = fg_owner_make(FG_SLOT_LIVE, 1, 1);
    assert_int_equal(try(where), FG_LEASE_FULL);
}

/* A task opens the very file the arbiter writes. */
static void limits_cannot_be_written_or_cut_by_the_task(void **state)
{
    char path[256], *colon;
    snprintf(path, sizeof path, "%s", env);
    colon = strchr(path, ':');
    *colon = 0;
    int fd = open(path, O_RDWR);
    if (fd >= 0) { /* root may open it; the seal holds all the same */
        assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(ftruncate(fd, 0), -1);
        close(fd);
    }
    fd = open(colon + 1, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    close(fd);
}

static void detach_gives_all_back(void **state)
{
    for (int i = 0; i < 600; i++) { /* more often than there are slots */
        struct fg_lease lease = {0};
        struct fg_ledger ledger;
        assert_int_equal(fg_lease_attach(&lease, env), FG_LEASE_OK);
        fg_ledger_init(&ledger, &lease);
        assert_int_equal(fg_ledger_reserve(&ledger, 1000000), FG_LEDGER_OK);
        fg_lease_detach(&lease);
        assert_int_equal(unit_stats("m").used_bytes, 0);
    }
    fg_lease_detach(NULL);
    assert_int_equal(unit_stats("m").processes, 0);
}

/* Two copies of a shim in one process (dlmopen) are two slots of one budget. */
static void two_copies_in_a_process_share_the_budget(void **state)
{
    struct fg_lease a = {0}, b = {0};
    struct fg_ledger la, lb;
    assert_int_equal(fg_lease_attach(&a, env), FG_LEASE_OK);
    assert_int_equal(fg_lease_attach(&b, env), FG_LEASE_OK);
    assert_ptr_not_equal(a.counters, b.counters);
    fg_ledger_init(&la, &a);
    fg_ledger_init(&lb, &b);
    assert_int_equal(fg_ledger_reserve(&la, 600000), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_reserve(&lb, 400001), FG_LEDGER_OVER);
    assert_int_equal(fg_ledger_reserve(&lb, 400000), FG_LEDGER_OK);
    fg_lease_detach(&a);
    assert_int_equal(unit_stats("m").used_bytes, 400000);
    fg_lease_detach(&b);
}

/* A slot of our pid and image from before we began: of a process that is dead, and whose pid we have now. One from after we
 * began is ours. */
static void a_dead_process_whose_pid_is_ours_now_is_reaped_at_attach(void **state)
{
    struct fg_lease l = {0}, again = {0};
    assert_int_equal(fg_lease_attach(&l, env), FG_LEASE_OK);
    struct fg_slot *other = &l.counters->slots[7];
    *other = *l.slot;
    other->attached_ns = 1;
    l.counters->slots_high = 8;
    assert_int_equal(fg_lease_attach(&again, env), FG_LEASE_OK);
    assert_int_not_equal(fg_owner_state(fg_get(&other->owner)), FG_SLOT_LIVE);
    assert_int_equal(fg_owner_state(fg_get(&l.slot->owner)), FG_SLOT_LIVE);
    fg_lease_detach(&again);
    fg_lease_detach(&l);
}

/* exec frees what the driver held: at once when the new program is in the vGPU too, else when the server looks. */
static void exec_body(void *arg)
{
    static struct fg_lease lease;
    static struct fg_ledger ledger;
    if (fg_lease_attach(&lease, env))
        _exit(9);
    fg_ledger_init(&ledger, &lease);
    if (fg_ledger_reserve(&ledger, 900000))
        _exit(8);
    if (arg) {
        setenv(FG_LEASE_ENV, env, 1);
        execl("/proc/self/exe", "unit_vgpu_page", "attach", NULL);
    } else {
        execlp("sleep", "sleep", "30", NULL);
    }
    _exit(7);
}

static void exec_gives_back_what_the_old_program_held(void **state)
{
    assert_int_equal(unit_wait(unit_fork(exec_body, (void *)1)), 0);
    assert_true(unit_comes(unit_stats("m").used_bytes == 0));
    pid_t pid = unit_fork(exec_body, NULL);
    assert_true(unit_comes(unit_stats("m").used_bytes == 900000));
    assert_true(unit_comes(unit_stats("m").used_bytes == 0));
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it still sleeps */
    kill(pid, SIGKILL);
    unit_wait(pid);
}

/* What the exec'd program does: only the slot of its former self lies in the way of the last byte. */
static int attach_again(void)
{
    struct fg_lease lease = {0};
    struct fg_ledger ledger;
    if (fg_lease_attach(&lease, NULL))
        return 1;
    fg_ledger_init(&ledger, &lease);
    return fg_ledger_reserve(&ledger, 1000000) == FG_LEDGER_OK ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return attach_again();
#define F(f) cmocka_unit_test_setup_teardown(f, files_setup, files_teardown)
#define S(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        F(good_files_attach),
        F(every_spoiled_field_is_refused),
        F(every_wrong_length_is_refused),
        F(wrong_names_are_told_apart),
        F(random_bytes_never_crash),
        F(full_of_processes_is_said),
        S(limits_cannot_be_written_or_cut_by_the_task),
        S(detach_gives_all_back),
        S(two_copies_in_a_process_share_the_budget),
        S(a_dead_process_whose_pid_is_ours_now_is_reaped_at_attach),
        S(exec_gives_back_what_the_old_program_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
