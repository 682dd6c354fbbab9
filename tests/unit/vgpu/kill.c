/* Processes of one vGPU that race and die: the total is exact and nobody hangs, whatever instruction they died at.
 * FGPU_LONG=1: 10^6 allocations by each race and 10,000 kills, every instruction; else a part. */
#include "vgpu_unit.h"
#include <sys/ptrace.h>

#define QUOTA 1000000
#define RACERS 8

static char env[256];
/* What the driver would know: bytes really handed out. Shared between the processes. */
static struct truth { uint64_t bytes, over, grants, done; uint64_t held[RACERS]; uint32_t beats[RACERS], stop; } *truth;

#ifdef __SANITIZE_ADDRESS__ /* a fork there copies much, and a step is many */
#define SLOW 10
#else
#define SLOW 1
#endif
static int scale(int full) { return getenv("FGPU_LONG") ? full : full / 10 / SLOW; }

static int setup(void **state)
{
    unit_server_start(NULL);
    unit_open("m", QUOTA, 500, 0, env);
    truth = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return 0;
}

static int teardown(void **state)
{
    munmap(truth, 4096);
    unit_server_stop();
    return 0;
}

static struct fg_lease lease;
static struct fg_ledger ledger;

static void attach(void)
{
    memset(&lease, 0, sizeof lease);
    if (fg_lease_attach(&lease, env) != FG_LEASE_OK)
        _exit(99);
    fg_ledger_init(&ledger, &lease);
}

static void racer(void *arg)
{
    struct rng rng = {(uint64_t)(uintptr_t)arg * 77};
    attach();
    for (int i = 0, n = scale(1000000) / RACERS; i < n; i++) {
        uint64_t bytes = 1 + rng_below(&rng, QUOTA / 3);
        if (fg_ledger_reserve(&ledger, bytes))
            continue;
        if (fg_add(&truth->bytes, bytes) + bytes > QUOTA)
            fg_add(&truth->over, 1);
        fg_add(&truth->grants, 1);
        struct fg_record r = {.key = (uint64_t)i + 1, .bytes = bytes - bytes / 7}, got;
        fg_add(&truth->bytes, r.bytes - bytes);
        if (fg_ledger_settle(&ledger, bytes, &r) || fg_ledger_take(&ledger, r.key, &got))
            _exit(1);
        fg_add(&truth->bytes, -got.bytes);
        fg_ledger_credit(&ledger, got.bytes);
    }
    if (fg_ledger_slot_used(lease.counters, (unsigned)(lease.slot - lease.counters->slots)) != 0)
        _exit(2);
}

static void eight_processes_race_never_over_never_leaked(void **state)
{
    pid_t pids[RACERS];
    for (uintptr_t i = 0; i < RACERS; i++)
        pids[i] = unit_fork(racer, (void *)(i + 1));
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(unit_wait(pids[i]), 0);
    assert_int_equal(truth->over, 0);
    assert_int_equal(truth->bytes, 0);
    assert_true(truth->grants > (uint64_t)scale(1000000) / 100);
    assert_int_equal(unit_stats("m").used_bytes, 0);
    assert_true(unit_stats("m").peak_bytes <= QUOTA);
}

/* Ledger and gate operations without end. */
static void victim(void *arg)
{
    static struct fg_gate gate;
    struct rng rng = {(uint64_t)(uintptr_t)arg};
    attach();
    fg_gate_init(&gate, &lease);
    for (uint64_t i = 1;; i++) {
        uint64_t bytes = 1 + rng_below(&rng, 1000);
        struct fg_record r = {.key = i % 64 + 1, .bytes = bytes, .owner = i % 4}, got;
        struct fg_ticket ticket;
        if (fg_ledger_take(&ledger, r.key, &got) == FG_LEDGER_OK)
            fg_ledger_credit(&ledger, got.bytes);
        if (fg_ledger_reserve(&ledger, bytes) == FG_LEDGER_OK)
            fg_ledger_settle(&ledger, bytes, &r);
        if (fg_gate_enter(&gate, 1 + i % 5, 0, &ticket) == FG_GATE_PASS)
            fg_gate_settle(&gate, &ticket, i * 1000, i * 1000 + 900);
    }
}

/* A neighbour that must never hang; between beats it holds what it says. */
static void neighbour(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    struct rng rng = {me * 13};
    attach();
    for (uint64_t held = 0; !fg_get(&truth->stop);) {
        uint64_t bytes = rng_below(&rng, 1000);
        if (held > 20000 || (held && rng_below(&rng, 2))) {
            uint64_t part = bytes < held ? bytes : held;
            fg_ledger_credit(&ledger, part);
            held -= part;
        } else if (fg_ledger_reserve(&ledger, bytes) == FG_LEDGER_OK) {
            held += bytes;
        }
        fg_put(&truth->held[me], held);
        fg_add(&truth->beats[me], 1);
    }
    fg_add(&truth->done, 1);
    pause();
}

static uint64_t beats(void) { return (uint64_t)fg_get(&truth->beats[0]) + fg_get(&truth->beats[1]); }

static void killed_at_random_instants_neighbours_go_on_and_totals_are_right(void **state)
{
    struct rng rng = rng_start("killed_at_random_instants");
    int kills = scale(10000) / (getenv("FGPU_LONG") ? 1 : 2); /* rounds of 100 */
    for (int done = 0; done < kills;) {
        pid_t near[2];
        memset(truth, 0, sizeof *truth);
        for (uintptr_t i = 0; i < 2; i++)
            near[i] = unit_fork(neighbour, (void *)i);
        assert_true(unit_comes(truth->beats[0] && truth->beats[1]));
        for (int i = 0; i < 100; i++, done++) {
            pid_t pid = unit_fork(victim, (void *)(uintptr_t)rng_next(&rng));
            usleep((useconds_t)rng_below(&rng, 1500));
            kill(pid, SIGKILL);
            assert_int_equal(unit_wait(pid), 128 + SIGKILL);
            uint64_t was = beats();
            if (i % 10 == 0)
                assert_true(unit_comes(beats() > was + 1));
        }
        fg_put(&truth->stop, 1);
        assert_true(unit_comes(fg_get(&truth->done) == 2));
        uint64_t held = truth->held[0] + truth->held[1];
        if (!unit_comes(unit_stats("m").used_bytes == held && unit_stats("m").processes == 2))
            fail_msg("after %d kills: %llu bytes counted, %llu held", done, (unsigned long long)unit_stats("m").used_bytes,
                     (unsigned long long)held);
        for (int i = 0; i < 2; i++) {
            kill(near[i], SIGKILL);
            unit_wait(near[i]);
        }
        assert_true(unit_comes(unit_stats("m").used_bytes == 0 && unit_stats("m").processes == 0));
    }
}

/* The operation whose every instruction is tried. A quota of 1000: the last one is refused. */
static void stepped(void *arg)
{
    attach();
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    if (fg_ledger_reserve(&ledger, 300) || fg_ledger_reserve(&ledger, 200))
        _exit(1);
    struct fg_record r = {.key = 1, .bytes = 350};
    fg_ledger_settle(&ledger, 300, &r);
    fg_ledger_credit(&ledger, 150);
    fg_ledger_reserve(&ledger, QUOTA);
}

/* Kill a process before its n-th instruction. Returns 0 when it ended before. */
static int kill_at(int n)
{
    int status;
    pid_t pid = unit_fork(stepped, NULL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    for (int i = 0; i < n; i++) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status))
            return 0;
    }
    kill(pid, SIGKILL);
    unit_wait(pid);
    return 1;
}

/* Exhaustive: after a death at each instruction of the ledger's operations, and an operation of a neighbour before or
 * after the dead slot is reaped, the total is what the neighbour holds. */
static void killed_at_every_instruction_the_total_is_right(void **state)
{
    attach(); /* the parent is the neighbour */
    int n = 1, stride = getenv("FGPU_LONG") ? 1 : 7 * SLOW * (SLOW > 1 ? 4 : 1);
    for (; kill_at(n); n += stride) {
        assert_int_equal(fg_ledger_reserve(&ledger, 7), FG_LEDGER_OK); /* before or after the reaper: it races */
        if (!unit_comes(fg_ledger_used(lease.counters) == 7))
            fail_msg("killed before instruction %d: %llu bytes counted, 7 held", n, (unsigned long long)fg_ledger_used(lease.counters));
        fg_ledger_credit(&ledger, 7);
        assert_int_equal(fg_ledger_used(lease.counters), 0);
    }
    printf("tried %d instructions, one in %d\n", n, stride);
    assert_true(n > 200);
    fg_ledger_fini(&ledger);
    fg_lease_detach(&lease);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(eight_processes_race_never_over_never_leaked),
        T(killed_at_random_instants_neighbours_go_on_and_totals_are_right),
        T(killed_at_every_instruction_the_total_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
