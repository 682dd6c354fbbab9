/* page.h - the lease page: how the arbiter tells a task its limits, and how the task tells what it uses.
 *
 * A lease is two small memory files. Each has one writer side, so that nobody can raise his own limits:
 *
 *      arbiter (server.c)                                 every process of the task (ledger.c, gate.c)
 *        |  writes            LIMITS  4 KiB                  |  maps read-only
 *        +------------------> quota, share, mode, grant ---->+
 *        +<------------------ COUNTERS  68 KiB <-------------+
 *           reads, reaps      totals + 256 slots                one slot per process
 *
 * Server-made files are sealed: LIMITS against new writable maps, both against truncation (a reader never gets SIGBUS).
 * They are found by FGPU_LEASE=LIMITS_PATH:COUNTERS_PATH (/proc/<arbiter>/fd/N, or any file), else by the two
 * FG_LEASE_DEFAULT paths. All words are aligned, native-endian and accessed atomically; both files are of one boot of
 * one machine. What may run inside a task's process (page, ledger, gate) needs libc alone, never prints, exits, takes a
 * signal or registers an exit handler. Tasks of one lease trust each other; a task can at worst spoil its own counters,
 * and no value in COUNTERS can make another process read or write outside of it. Decisions 0010, 0011. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define FG_LEASE_ENV               "FGPU_LEASE"
#define FG_LEASE_DEFAULT_LIMITS    "/run/fgpu/lease.limits"
#define FG_LEASE_DEFAULT_COUNTERS  "/run/fgpu/lease.counters"
#define FG_LIMITS_MAGIC            0x314d494c55504746u /* "FGPULIM1" */
#define FG_COUNTERS_MAGIC          0x31544e4355504746u /* "FGPUCNT1" */
#define FG_LEASE_VERSION           2u                  /* changes with any change of the layout */
#define FG_DRAIN_SILENT            UINT64_MAX
#define FG_TICKS                   100u                /* a second, in the kernel's files: the same on every machine */
#define FG_SLOTS                   256u                /* processes of one lease; the width of a field in the ledger word */
#define FG_MEMORY_MAX              ((UINT64_C(1) << 41) - 1) /* 2 TiB: the width of a field in the ledger word */

enum fg_share_mode {
    FG_SHARE_WEIGHTED,  /* at least its share; idle share of others is lent to it */
    FG_SHARE_CAPPED,    /* never more than its share */
    FG_SHARE_EXCLUSIVE, /* the only one on its device */
};

enum fg_limit_flag {
    FG_LIMIT_LATENCY = 1,     /* jumps the queue at the next window */
    FG_LIMIT_FAIL_CLOSED = 2, /* arbiter vanished: submits are refused; without the flag they pass */
    FG_LIMIT_CLOSED = 4,      /* the lease is over: nothing more is reserved or submitted */
    FG_LIMIT_UNGATED = 8,     /* memory only: every submit passes and is only counted */
    FG_LIMIT_BORROWED = 32,   /* its place is lent by leases that are parked; said for arbiters, the task sees no difference */
    FG_LIMIT_PARKED = 16,     /* its device memory is with others: any call rings, and waits until it is back (decision 0026) */
};

/* LIMITS. Words below "live" change while tasks run; each is read alone, so no lock or sequence is needed.
 * generation counts changes of quota, share, mode or flags, for those who show them. */
struct fg_limits {
    uint64_t magic;
    uint32_t version, size;          /* FG_LEASE_VERSION, sizeof(struct fg_limits) */
    char id[64];                     /* of the lease, text */
    char device[64];                 /* as the backend names it */
    uint8_t boot_id[16];
    int32_t arbiter_pid;             /* in its own pid namespace; for people, not for checks */
    uint32_t beside_us;              /* live. A job may have waited so long for others' jobs between its START and END; 0: not at all */
    /* live */
    uint64_t memory_bytes __attribute__((aligned(64)));
    uint32_t share_permille, mode, flags, generation;
    uint64_t window_ns;              /* device time of one window */
    uint64_t vanish_ns;              /* waiting this long without a new heartbeat: the arbiter has vanished */
    /* The grant. A process may submit while the lease's charged_ns is below allow_ns: a window ends when its device
     * time is used up or when the arbiter lowers allow_ns; no clock is read before a submit. */
    uint64_t allow_ns __attribute__((aligned(64)));
    uint64_t inflight_ns;            /* per process: predicted device time it may have in flight (one job always may) */
    uint64_t drain_ns;               /* a settle that brings the work in flight below this rings the bell; 0: none does, and nobody
                                      * else wants the device; FG_DRAIN_SILENT: none does, but somebody does */
    uint64_t heartbeat_ns;           /* boot clock of the arbiter's last turn */
    uint32_t grant_seq;              /* futex: +1 and woken with every raise of allow_ns */
} __attribute__((aligned(64)));

/* What a process has held at any time since it began. A driver cannot put such memory aside. */
enum fg_held_flag {
    FG_HELD_MANAGED = 1,      /* moved between host and device by the driver */
    FG_HELD_SHARED = 2,       /* given to or taken from another process or interface */
};

enum fg_slot_state { FG_SLOT_FREE, FG_SLOT_INIT, FG_SLOT_LIVE, FG_SLOT_DEAD };

/* One process of the task. Written by it alone, but for the ledger words (ledger.c says who and when) and the reaper. */
struct fg_slot {
    uint64_t owner;                  /* state:8 generation:24 pid:32, changed by compare-and-swap only (fg_owner_*) */
    uint64_t pid_ns;                 /* inode of its pid namespace: pid means something only there */
    uint64_t image;                  /* differs after exec: AT_RANDOM's address mixed with the vdso's */
    uint64_t attached_ns;            /* boot clock: a process of this pid that began later is another one */
    /* memory, bytes; ledger.c */
    uint64_t used __attribute__((aligned(64))); /* bytes:42 sequence:22 */
    uint64_t intent;                 /* delta:42 (two's complement) sequence:22 */
    uint64_t peak, denied;           /* highest used; refused reservations */
    /* submits; gate.c */
    uint64_t inflight __attribute__((aligned(64))); /* jobs:20 predicted ns:44, one word so that a submit adds once */
    uint64_t settled;                /* jobs; submitted = settled + in flight */
    uint64_t device_ns;              /* measured */
    uint64_t throttle_ns;            /* time threads waited at the gate */
    uint64_t ungated;                /* submits passed because the arbiter had vanished or nothing ever completed */
    uint32_t waiting;                /* threads waiting for a window now */
    uint32_t held;                   /* fg_held_flag */
    uint64_t busy_until_ns;          /* device clock of this process: end of the last job charged */
} __attribute__((aligned(256)));

/* COUNTERS */
struct fg_counters {
    uint64_t magic;
    uint32_t version, size;          /* FG_LEASE_VERSION, sizeof(struct fg_counters) */
    uint64_t total __attribute__((aligned(64)));      /* bytes:42 slot:8 sequence:14: memory of the lease and the last who changed it */
    uint64_t peak_bytes;
    uint64_t charged_ns __attribute__((aligned(64))); /* device time settled + predicted in flight; compared with allow_ns */
    uint32_t bell __attribute__((aligned(64)));       /* futex: +1 and woken when the arbiter should look */
    uint32_t slots_high;             /* slots below this were ever used */
    /* what reaped slots had counted */
    uint64_t gone_device_ns, gone_throttle_ns, gone_settled, gone_denied, gone_ungated;
    uint32_t arrivals;               /* a slot was taken: 0 -> 1 rings, and the server looks at all of them a moment later */
    uint64_t busy_until_ns __attribute__((aligned(64))); /* device clock: end of the last job charged to any process of the lease */
    struct fg_slot slots[FG_SLOTS] __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));

_Static_assert(sizeof(struct fg_limits) <= 4096, "limits fit a page");
_Static_assert(sizeof(struct fg_slot) == 256, "slot layout");
_Static_assert(sizeof(struct fg_counters) == 4096 + FG_SLOTS * 256, "counters layout");

static inline uint32_t fg_owner_state(uint64_t owner) { return owner >> 56; }
static inline int32_t fg_owner_pid(uint64_t owner) { return (int32_t)(uint32_t)owner; }
static inline uint32_t fg_owner_generation(uint64_t owner) { return owner >> 32 & 0xffffff; }
static inline uint64_t fg_owner_make(uint32_t state, uint32_t generation, int32_t pid)
{
    return (uint64_t)state << 56 | (uint64_t)(generation & 0xffffff) << 32 | (uint32_t)pid;
}

/* Every shared word goes through these. */
#define fg_get(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define fg_put(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define fg_add(p, v)  __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define fg_cas(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)

static inline uint32_t fg_inflight_jobs(uint64_t inflight) { return inflight >> 44; }
static inline uint64_t fg_inflight_ns(uint64_t inflight) { return inflight & ((UINT64_C(1) << 44) - 1); }

enum fg_lease_status {
    FG_LEASE_OK = 0,
    FG_LEASE_NONE,      /* no FGPU_LEASE and no default files: not in a vGPU */
    FG_LEASE_MALFORMED, /* FGPU_LEASE is not LIMITS_PATH:COUNTERS_PATH */
    FG_LEASE_OPEN,      /* a file cannot be opened or mapped; system_error says why */
    FG_LEASE_TRUNCATED, /* shorter or longer than its layout */
    FG_LEASE_CORRUPT,   /* magic, size or a limit is impossible */
    FG_LEASE_VERSION_DIFFERS,
    FG_LEASE_FULL,      /* FG_SLOTS processes already */
    FG_LEASE_OVER,      /* the lease is closed */
    FG_LEASE_SYSTEM,    /* no memory; system_error */
    FG_LEASE_STATUS_COUNT
};
/* One sentence for people. Never NULL. */
const char *fg_lease_text(enum fg_lease_status status);

/* A process's hold on its lease. One per copy of a shim in a process, static or long-lived; all threads share it.
 * Zero it first. Open to read; only page.c writes. */
struct fg_lease {
    const struct fg_limits *limits;  /* NULL: not attached */
    struct fg_counters *counters;
    struct fg_slot *slot;
    uint64_t owner;                  /* what slot->owner is while it is ours */
    uint32_t *alive;                 /* wiped to 0 in a forked child: costs no system call to see */
    uint32_t lock;                   /* fg_lock: one ledger operation of this process at a time; reattach */
    uint32_t epoch;                  /* +1 with every attach, so that ledger and gate see that they are in a child */
    int system_error;
};

/* Find, check and map the lease and take a slot. where: as FGPU_LEASE, or NULL for the environment, then the default
 * files. At success a slot is held until the process ends (the server sees that), execs (a new attach of the image
 * frees it at once, else the server within 1 s), or detaches. On failure *lease is unattached and nothing is left over.
 * What it does: two opens, three maps, one look at /proc; 0.05 to 0.1 ms. Not for signal handlers. */
enum fg_lease_status fg_lease_attach(struct fg_lease *lease, const char *where);
/* Give memory, slot and maps back. No other thread may be in the ledger or the gate of this lease. NULL and unattached are fine. */
void fg_lease_detach(struct fg_lease *lease);
/* The child of a fork has no slot yet: take one. ledger.c and gate.c call this by themselves; any thread. */
enum fg_lease_status fg_lease_reattach(struct fg_lease *lease);
static inline int fg_lease_forked(const struct fg_lease *lease) { return !__atomic_load_n(lease->alive, __ATOMIC_RELAXED); }
/* Ask the arbiter to look. Any thread. */
void fg_lease_ring(struct fg_lease *lease);
/* Before the process takes hold of such memory (fg_held_flag): it stays marked. Any thread. */
void fg_lease_mark(struct fg_lease *lease, uint32_t held);

/* Checks of a mapped or read page, used by attach and by who adopts one. size: of the file. */
enum fg_lease_status fg_limits_check(const struct fg_limits *limits, uint64_t size);
enum fg_lease_status fg_counters_check(const struct fg_counters *counters, uint64_t size);
/* Fill fresh, zeroed files' memory. */
void fg_counters_format(struct fg_counters *counters);

/* A small lock for one process's own memory: a thread may sleep in it, and dies only with its process. 0 free, 1 held, 2 held and
 * somebody sleeps. To let go costs no locked instruction: who came to wait between the look and the store is not woken, and
 * looks again by himself after a millisecond. */
void fg_lock_wait(uint32_t *word);
void fg_lock_wake(uint32_t *word);
static inline void fg_lock(uint32_t *word)
{
    uint32_t free = 0;
    if (__builtin_expect(!__atomic_compare_exchange_n(word, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED), 0))
        fg_lock_wait(word);
}
static inline void fg_unlock(uint32_t *word)
{
    uint32_t held = __atomic_load_n(word, __ATOMIC_RELAXED);
    __atomic_store_n(word, 0, __ATOMIC_RELEASE);
    if (__builtin_expect(held == 2, 0))
        fg_lock_wake(word);
}
int64_t fg_boot_ns(void);
