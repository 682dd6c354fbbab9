/* world.h - the stand-in machine: devices, processes and true memory use, in one file shared by all processes.
 *
 * FGPU_FAKE_CUDA names the file. Whoever opens it first fills it from FGPU_FAKE_CUDA_SETUP (settings.c); without a name the
 * world is private to the library in the process. The stand-in driver and the stand-in NVML both look at the file, so what one
 * takes the other reports. Processes of sandboxes are known by pid namespace and pid; who made the world sees them all, as a driver does,
 * and others their own namespace. A process that died holds nothing: its slot is recognised by pid and start time and emptied by the next one who
 * looks. The lock is robust; whoever dies under it leaves sums that are made anew from the slots. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

#define FK_DEVICES 8u
#define FK_PROCESSES 320u /* a multiple of 64 */
#define FK_HOLDERS 8u /* handles of one export that others have imported */
#define FK_SYMBOLS 704u /* driver names; the generated list is shorter */
#define FK_FAILURES 32u
#define FK_EVENTS 256u
#define FK_MIGS 7u

/* What takes memory. The first FK_DEVICE_KINDS are device memory. */
enum fk_kind {
    FK_LINEAR,    /* cuMemAlloc, pitched too */
    FK_MANAGED,
    FK_VMM,       /* cuMemCreate */
    FK_POOL,      /* reserved by memory pools */
    FK_ARRAY,     /* arrays and mipmapped arrays */
    FK_GRAPH,     /* reserved for memory nodes of graphs */
    FK_CONTEXT,
    FK_MODULE,
    FK_LIMIT,     /* device heap, stacks and printf buffer beyond what a context has by default */
    FK_MULTICAST,
    FK_DEVICE_KINDS,
    FK_HOST = FK_DEVICE_KINDS, /* pinned host memory */
    FK_BORROWED,  /* opened from another process, which is charged */
    FK_KINDS,
};

struct fk_mig {
    uint32_t profile_gpcs; /* 0: no instance */
    uint32_t sms;
    uint64_t memory_bytes;
};

struct fk_device {
    char name[64];
    char serial[24];
    uint8_t uuid[16];
    uint32_t pci_domain, pci_bus, pci_device, pci_id;
    uint32_t major, minor, sms;
    uint64_t total_bytes, hidden_bytes; /* hidden: taken by the driver itself, never free */
    uint32_t mig_mode, migs;
    struct fk_mig mig[FK_MIGS];
    uint32_t temperature_c, power_mw, throttle; /* power: idle; throttle: NVML's bits */
    uint64_t energy_from_ns;
    uint64_t ecc_corrected, ecc_uncorrected;
    uint64_t seen_ns, seen_busy_ns; /* NVML's window at hand, and what the last one showed */
    uint32_t utilization, memory_utilization;
    struct fk_engine engine;
};

struct fk_process {
    uint32_t pid;          /* 0: free */
    uint32_t checkpoint;   /* enum fk_checkpoint */
    uint64_t pid_ns;       /* in which pid is its own */
    uint32_t outer_pid;    /* as who made the world sees it, 0: not looked for yet */
    uint64_t start_ticks;  /* of /proc/PID/stat */
    uint64_t live[FK_DEVICES][FK_KINDS];
    uint64_t peak[FK_DEVICES];
    uint64_t count[FK_DEVICES][FK_KINDS]; /* live things of each kind */
    uint64_t parked[FK_DEVICES];          /* device bytes taken away by a checkpoint */
    uint32_t moved_to[FK_DEVICES];        /* device + 1 whose memory it has instead, since a restore; 0: its own */
    uint64_t calls[FK_SYMBOLS];
    uint64_t seen_slot_ns[FK_DEVICES], seen_ns[FK_DEVICES]; /* NVML's windows */
    uint32_t utilization[FK_DEVICES];
    uint64_t sampled_ns[FK_DEVICES];
    char cgroup[192];      /* FGPU_FAKE_CGROUP, or of /proc/self/cgroup */
};

enum fk_checkpoint { FK_RUNNING, FK_LOCKED, FK_CHECKPOINTED, FK_FAILED };

struct fk_failure { char symbol[64]; uint64_t nth; uint32_t times, code, pid; }; /* calls nth .. nth+times-1 of a process (pid 0: each) */
/* A limit by the kernel on all processes of a cgroup together (r615 and later): hard_bytes 0: none. */
struct fk_limit { char cgroup[192]; uint32_t device, used; uint64_t soft_bytes, hard_bytes; };
struct fk_xid { uint32_t device; uint32_t xid; uint64_t type; };

struct fk_world {
    uint32_t magic, ready;
    uint64_t pid_ns;       /* of who made it */
    pthread_mutex_t lock;
    uint32_t changes;      /* futex: +1 with everything that may end a wait */
    uint32_t waiters;
    uint32_t driver, nvml; /* 12040 = 12.4; nvml 570 = driver 570 */
    char driver_text[32];
    uint32_t devices;
    uint32_t cuda_order[FK_DEVICES]; /* CUDA ordinal -> place in devices[], which is in order of PCI bus ids, NVML's order */
    uint32_t nvml_order[FK_DEVICES];
    uint32_t is_virtual;
    uint64_t virtual_ns;
    uint64_t checked_ns;   /* when the dead were last looked for */
    uint32_t processes;    /* slots ever used: process[0 .. processes-1] */
    uint64_t granule, vmm_granule, pool_chunk, graph_chunk, pitch_align, context_bytes, module_bytes, limit_step;
    uint64_t copy_bytes_per_us, copy_latency_ns, kernel_ns, slice_ns;
    uint32_t slots, mps, bad_memory_view;
    uint32_t checkpoint_fails;  /* the next checkpoint call ends in FAILED */
    struct fk_failure failures[FK_FAILURES];
    uint32_t failure_count, kernel_count;
    struct { char name[56]; uint64_t ns; } kernels[32]; /* lengths that tests gave */
    uint64_t xids_seen;
    uint64_t util_window_ns; /* NVML's sampling window */
    struct fk_limit limits[32];
    struct fk_xid xids[FK_EVENTS];
    uint64_t next_export;
    struct fk_export { uint64_t id; uint32_t process, device, kind; uint64_t bytes; uint64_t pointer; uint16_t holders[FK_HOLDERS]; bool left; } exports[1024];
    struct fk_device device[FK_DEVICES];
    struct fk_process process[FK_PROCESSES];
    struct fk_queue queue[FK_PROCESSES][FK_DEVICES];
};

extern struct fk_world *fk_world;

/* Locked. Has another process imported it? */
bool fk_export_held(const struct fk_export *e);
/* Locked. Is it left by its maker and held by nobody? Then it is gone. */
void fk_export_check(struct fk_export *e);

/* Open or make the world. 0, or -1 where the file cannot be had. Once per process; any thread. */
int fk_world_open(void);
/* From settings text: "driver=12040 devices=2 total=16G cuda=1,0 0.sms=80 fail=cuMemAlloc_v2:3:2". NULL: defaults.
 * Returns NULL, or the first word that is no setting. */
const char *fk_settings_apply(struct fk_world *world, const char *text);
bool fk_settings_word(struct fk_world *world, const char *text); /* one, later */

void fk_lock(void);
void fk_unlock(void);
uint64_t fk_now(void);          /* ns of the world's clock: CLOCK_MONOTONIC or the virtual one */
void fk_change(void);           /* wake those who wait */
/* Sleep until the clock shows until_ns, something changes after `seen`, or 20 ms passed. Virtual: moves the clock there. */
void fk_wait(uint32_t seen, uint64_t until_ns);

/* This process's slot, taken at the first call; -1 when none is free. */
int fk_self(void);
int fk_find_process(uint32_t pid);
uint32_t fk_pid_here(struct fk_process *p);                   /* in this process's namespace, 0: not seen there; under the lock */
/* Empty the slots of dead processes. Under the lock. */
void fk_reap(void);
uint64_t fk_device_used(unsigned device);                     /* all processes; under the lock */
uint64_t fk_cgroup_used(unsigned device, const char *cgroup); /* under the lock */
uint64_t fk_process_used(const struct fk_process *p, unsigned device);
/* Take bytes of a kind for this process; false when the device has no room (the dead are looked for first). Any thread. */
bool fk_take(unsigned device, enum fk_kind kind, uint64_t bytes);
void fk_give(unsigned device, enum fk_kind kind, uint64_t bytes);
/* Text of a device's UUID, "GPU-..." (41 bytes). */
void fk_uuid_text(const struct fk_device *device, char *buf, size_t n);
