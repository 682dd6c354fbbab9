/* vgpu_bench.c - what the engine costs inside a task: a pass of the gate, a pair of the ledger, an attach.
 * usage: vgpu_bench            all figures
 *        vgpu_bench gate N     N passes and nothing else, to be counted by callgrind; likewise: pair N LIVE, none N
 *        vgpu_bench attach     32 processes at once
 *        vgpu_bench arbiter    what the arbiter itself uses */
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/gate.h"
#include "vgpu/ledger.h"
#include "vgpu/server.h"

#define GIB        (UINT64_C(1) << 30)
#define PROCESSES  32
#define ROUNDS     40

static struct fg_vgpu_server *server;
static struct fg_lease lease;
static struct fg_gate gate;
static struct fg_ledger ledger;
static char where[256];

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "vgpu_bench: %s failed\n", what);
    exit(1);
}

static void start(uint32_t flags)
{
    struct fg_error err;
    struct fg_lease_spec spec = {.id = "bench", .device = "gpu0", .memory_bytes = 64 * GIB, .share_permille = 1000, .flags = flags};
    must(fg_vgpu_server_create(&server, NULL, &err) == 0 && fg_vgpu_server_device(server, "gpu0", 64 * GIB, &err) == 0 &&
             fg_vgpu_server_open(server, &spec, NULL, &err) == 0 &&
             fg_vgpu_server_env(server, "bench", where, sizeof where, &err) == 0,
         "the server");
    must(fg_lease_attach(&lease, where) == FG_LEASE_OK, "attach");
    fg_gate_init(&gate, &lease);
    fg_ledger_init(&ledger, &lease);
}

/* Enter n times as a program does with short kernels; what is in flight is settled in batches of 64, outside the figure. */
static double gate_passes(int n, double *ret_settle_ns)
{
    static uint64_t clock = 1000000000;
    int64_t entering = 0, settling = 0;
    for (int done = 0; done < n; done += 64) {
        struct fg_ticket tickets[64];
        int64_t t0 = fg_boot_ns();
        for (uint64_t i = 0; i < 64; i++)
            must(fg_gate_enter(&gate, 1 + i % 7, 0, &tickets[i]) == FG_GATE_PASS, "a pass of the gate");
        int64_t t1 = fg_boot_ns();
        for (int i = 0; i < 64; i++, clock += 2000)
            fg_gate_settle(&gate, &tickets[i], clock, clock + 1000);
        settling += fg_boot_ns() - t1;
        entering += t1 - t0;
    }
    *ret_settle_ns = (double)settling / n;
    return (double)entering / n;
}

/* reserve, settle, take, credit: what one alloc and its free cost, with live others in the hash. Addresses as an
 * allocator gives them: those freed last come back first. */
static void ledger_pairs(int n)
{
    for (int i = 0; i < n; i++) {
        struct fg_record record = {.key = (0x7f0000000000u + ((uint64_t)i % 8 << 21)) | 1, .bytes = 4096}, got;
        must(fg_ledger_reserve(&ledger, 4096) == FG_LEDGER_OK && fg_ledger_settle(&ledger, 4096, &record) == FG_LEDGER_OK &&
                 fg_ledger_take(&ledger, record.key, &got) == FG_LEDGER_OK,
             "a pair of the ledger");
        fg_ledger_credit(&ledger, got.bytes);
    }
}

static void finish(void)
{
    fg_ledger_fini(&ledger);
    fg_lease_detach(&lease);
    fg_vgpu_server_destroy(server);
}

static void fill(uint64_t live)
{
    fg_ledger_drop_owner(&ledger, 1);
    for (uint64_t i = 0; i < live; i++) {
        struct fg_record record = {.key = 0x7e0000000000u + (i << 9), .bytes = 512, .owner = 1};
        must(fg_ledger_reserve(&ledger, 512) == FG_LEDGER_OK && fg_ledger_settle(&ledger, 512, &record) == FG_LEDGER_OK, "a fill");
    }
}

/* The best of several runs: the machine's other work only ever adds. */
static void print_costs(void)
{
    static const uint64_t lives[] = {0, 1000, 100000};
    double enter = 1e9, settle = 1e9;
    for (int i = 0; i < 20; i++) {
        double s, e = gate_passes(128000, &s);
        enter = e < enter ? e : enter;
        settle = s < settle ? s : settle;
    }
    printf("gate pass            %7.1f ns   (bar 20)\n", enter);
    printf("gate settle          %7.1f ns\n", settle);
    for (int k = 0; k < 3; k++) {
        double best = 1e9;
        fill(lives[k]);
        for (int i = 0; i < 20; i++) {
            int64_t t0 = fg_boot_ns();
            ledger_pairs(50000);
            double ns = (double)(fg_boot_ns() - t0) / 50000;
            best = ns < best ? ns : best;
        }
        printf("ledger pair, %6llu live %5.1f ns (bar 100, flat)\n", (unsigned long long)lives[k], best);
    }
    fg_ledger_drop_owner(&ledger, 1);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct shared { uint32_t go, ready, done; int64_t took[ROUNDS * PROCESSES], cpu[ROUNDS * PROCESSES]; };

/* From the first line to a first reservation and a first pass of the gate, in memory that was never used, as in a program. */
static int attach_once(void)
{
    static struct fg_lease fresh;
    static struct fg_gate its_gate;
    static struct fg_ledger its_ledger;
    struct fg_ticket ticket;
    if (fg_lease_attach(&fresh, where) != FG_LEASE_OK)
        return 0;
    fg_ledger_init(&its_ledger, &fresh);
    fg_gate_init(&its_gate, &fresh);
    return fg_ledger_reserve(&its_ledger, 4096) == FG_LEDGER_OK && fg_gate_enter(&its_gate, 1, 0, &ticket) == FG_GATE_PASS;
}

/* A child: wait for the start of all, then attach, or (spin_ns > 0) use that much processor time. */
static void one_of_many(struct shared *shared, int place, int64_t spin_ns)
{
    fg_add(&shared->ready, 1);
    while (!fg_get(&shared->go))
        syscall(SYS_futex, &shared->go, FUTEX_WAIT, 0, NULL, NULL, 0);
    int64_t t0 = fg_boot_ns(), c0 = cpu_ns();
    int ok = 1;
    if (!spin_ns)
        ok = attach_once();
    while (cpu_ns() - c0 < spin_ns)
        ;
    shared->took[place] = fg_boot_ns() - t0;
    shared->cpu[place] = cpu_ns() - c0;
    fg_add(&shared->done, 1);
    while (fg_get(&shared->done) < PROCESSES) /* nobody's end in the others' figures */
        usleep(20000);
    _exit(!ok);
}

static void all_at_once(struct shared *shared, int64_t spin_ns)
{
    for (int round = 0; round < ROUNDS; round++) {
        shared->go = shared->ready = shared->done = 0;
        for (int i = 0; i < PROCESSES; i++)
            if (fork() == 0)
                one_of_many(shared, round * PROCESSES + i, spin_ns);
        while (fg_get(&shared->ready) < PROCESSES)
            usleep(1000);
        usleep(15000); /* the last round's dead are reaped */
        fg_put(&shared->go, 1);
        syscall(SYS_futex, &shared->go, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        for (int status; wait(&status) > 0;)
            must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "an attach of a child");
    }
    qsort(shared->took, ROUNDS * PROCESSES, sizeof *shared->took, by_value);
    qsort(shared->cpu, ROUNDS * PROCESSES, sizeof *shared->cpu, by_value);
}

static void print_attach(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int middle = ROUNDS * PROCESSES / 2, most = ROUNDS * PROCESSES * 99 / 100;
    must(shared != MAP_FAILED, "mmap");
    all_at_once(shared, 0);
    int64_t cpu = shared->cpu[middle];
    printf("attach to ready, %d processes at once: p50 %.3f ms, p99 %.3f ms (bar 1)\n", PROCESSES, (double)shared->took[middle] / 1e6,
           (double)shared->took[most] / 1e6);
    printf("  of which its own CPU time: p50 %.3f ms, p99 %.3f ms (the rest is waiting for a core)\n", (double)cpu / 1e6,
           (double)shared->cpu[most] / 1e6);
    all_at_once(shared, cpu);
    printf("  processes that only compute for %.3f ms, likewise: floor50 %.3f ms, floor99 %.3f ms\n", (double)cpu / 1e6,
           (double)shared->took[middle] / 1e6, (double)shared->took[most] / 1e6);
}

/* A tenant on a device that is a sleep: jobs of 1 ms, one after the other. */
static void tenant(const char *its_lease, const uint32_t *busy)
{
    static struct fg_lease fresh;
    static struct fg_gate its_gate;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    must(fg_lease_attach(&fresh, its_lease) == FG_LEASE_OK, "attach");
    fg_gate_init(&its_gate, &fresh);
    for (;;) {
        struct fg_ticket ticket;
        if (!fg_get(busy)) {
            usleep(100000);
            continue;
        }
        must(fg_gate_enter(&its_gate, 1, 0, &ticket) == FG_GATE_PASS, "a pass of the gate");
        uint64_t began = (uint64_t)fg_boot_ns();
        usleep(1000);
        fg_gate_settle(&its_gate, &ticket, began, (uint64_t)fg_boot_ns());
    }
}

/* Processor time of this process, which is the arbiter's, in % of one core. */
static double used_while(unsigned seconds)
{
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    int64_t begin = fg_boot_ns();
    sleep(seconds);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double spent = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
    return spent / (double)(fg_boot_ns() - begin) * 100;
}

static void print_arbiter(unsigned count)
{
    struct fg_error err;
    pid_t pids[64];
    uint32_t *busy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(busy != MAP_FAILED && count <= 64, "mmap");
    must(fg_vgpu_server_device(server, "gpu1", 64 * GIB, &err) == 0, "the device");
    for (unsigned i = 0; i < count; i++) {
        struct fg_lease_spec spec = {.device = "gpu1", .memory_bytes = GIB / 4, .share_permille = 1000 / count};
        char id[64], its_lease[256];
        must(fg_vgpu_server_open(server, &spec, id, &err) == 0 &&
                 fg_vgpu_server_env(server, id, its_lease, sizeof its_lease, &err) == 0,
             "a lease");
        if (!(pids[i] = fork()))
            tenant(its_lease, busy);
    }
    sleep(1);
    double idle = used_while(2);
    fg_put(busy, 1);
    usleep(300000);
    double working = used_while(2);
    printf("arbiter of %2u vGPUs: idle %.3f %%, all of them contending %.2f %% of a core\n", count, idle, working);
    for (unsigned i = 0; i < count; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    munmap(busy, 4096);
}

/* Each in a server of its own. */
static void print_arbiters(void)
{
    static const unsigned counts[] = {1, 8, 64};
    for (unsigned i = 0; i < 3; i++) {
        start(FG_LIMIT_UNGATED);
        print_arbiter(counts[i]);
        finish();
    }
}

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : 0;
    double unused;
    if (argc > 1 && !strcmp(argv[1], "arbiter")) {
        print_arbiters();
        return 0;
    }
    start(FG_LIMIT_UNGATED); /* all the loads, checks and adds of a pass; no arbiter's wake-ups in the figures */
    if (argc == 1) {
        print_costs();
        print_attach();
    } else if (!strcmp(argv[1], "attach")) {
        print_attach();
    } else if (!strcmp(argv[1], "gate")) {
        gate_passes(n, &unused);
    } else if (!strcmp(argv[1], "pair")) {
        fill(argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
        ledger_pairs(n);
    } else {
        must(!strcmp(argv[1], "none"), "usage: vgpu_bench [gate N | pair N LIVE | none N]:");
    }
    finish();
    return 0;
}
