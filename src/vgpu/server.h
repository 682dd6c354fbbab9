/* server.h - the arbiter's shell: makes leases, reaps dead processes, runs the arbiter of each device. Used by the agent and
 * by `fgpu slice`.
 *
 * Two threads of its own: one waits on the bells of all leases and runs fg_arbiter_turn when one rings or a turn is due
 * (it sleeps while nobody waits and no window is contended); one waits on pidfds of the processes and reaps. All functions
 * here: any thread, short. Errors: -1 and *err.
 *
 * Processes in other pid namespaces (sandboxes) are found by namespace and pid through /proc, which needs the same uid or
 * root; one that cannot be found is reported in fg_lease_stats.unseen and is reaped only by fg_vgpu_server_close. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "vgpu/arbiter.h"
#include "vgpu/page.h"

struct fg_vgpu_server;

struct fg_vgpu_server_config {
    struct fg_arbiter_params arbiter;  /* zeroed: defaults */
    uint64_t vanish_ns;                /* 0: 1 s */
    /* 1: LIMITS are guarded by file mode 0444 alone, not by F_SEAL_FUTURE_WRITE, which would keep a later server from
     * writing them as well. For agents, whose tasks run under other users; the task's user could chmod them back. */
    int adoptable;
    /* A folder of claims.h: what this server leases is told to the other arbiters of the machine, and what they lease is not
     * given away again. NULL: they are not asked. scope: as there. */
    const char *claims_folder;
    uint64_t claims_scope;
};
/* Open to read and to set. */
struct fg_lease_spec {
    char id[64];                       /* empty: given by the server ("s1", "s2" ...) */
    char device[64];
    uint64_t memory_bytes;             /* 1..FG_MEMORY_MAX */
    uint32_t share_permille;           /* 1..1000 */
    enum fg_share_mode mode;
    uint32_t flags;                    /* LATENCY, FAIL_CLOSED, UNGATED, BORROWED */
};
struct fg_lease_stats {
    struct fg_lease_spec spec;
    uint64_t used_bytes, peak_bytes, denied;
    uint64_t device_ns, charged_ns, throttle_ns, submitted, ungated; /* ever-growing, dead processes included */
    uint32_t processes, waiting, inflight;
    uint32_t unseen;                   /* live slots whose process cannot be found, so not watched */
    int corrupt;                       /* 1: the task spoiled its counters; close the lease */
    int parked;                        /* fg_vgpu_server_park */
    int aside;                         /* fg_vgpu_server_aside */
    uint32_t bell;                     /* changes with every ring */
    uint32_t held;                     /* fg_held_flag of its processes */
};

/* Returns 0, or FG_E_INTERNAL when threads or files cannot be made. */
int fg_vgpu_server_create(struct fg_vgpu_server **ret, const struct fg_vgpu_server_config *config, struct fg_error *err);
/* Closes all leases. NULL is fine. */
void fg_vgpu_server_destroy(struct fg_vgpu_server *server);
/* As destroy, but the leases stay as they are, for a later server to adopt. */
void fg_vgpu_server_leave(struct fg_vgpu_server *server);

/* Name a device and what of its memory may be leased. Again with the same name: sets the memory anew.
 * FG_E_INVALID: 0 bytes or a bad name. */
int fg_vgpu_server_device(struct fg_vgpu_server *server, const char *name, uint64_t memory_bytes, struct fg_error *err);

/* Name the device as every arbiter of the machine does, before it is leased; without, it is not claimed. At most 127 bytes. */
int fg_vgpu_server_device_key(struct fg_vgpu_server *server, const char *name, const char *key, struct fg_error *err);
/* What the other arbiters of the machine have given away of it; nothing where they are not asked. */
struct fg_claim_sum;
int fg_vgpu_server_others(struct fg_vgpu_server *server, const char *name, struct fg_claim_sum *ret, struct fg_error *err);
/* The descriptor that keeps our claims while it is open, borrowed; -1: there is none. */
int fg_vgpu_server_claims_fd(const struct fg_vgpu_server *server);

/* Make a lease. ret_id: 64 bytes, or NULL. FG_E_NOT_FOUND: no such device. FG_E_INVALID: quota 0 or larger than the device,
 * share out of range, mode unknown. FG_E_CONFLICT: the id exists; memory or share left on the device does not suffice; an
 * exclusive lease shares its device with nobody; other arbiters of the machine have it. */
int fg_vgpu_server_open(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, char *ret_id, struct fg_error *err);
/* Take over the files of a lease made by an earlier, adoptable server of this boot (kept open by someone else, see _fds);
 * limits stay as they are. Both descriptors are duplicated. A limits file that is no memory file must be this user's and closed
 * to the writing of others. FG_E_INVALID: not a lease, or sealed. */
int fg_vgpu_server_adopt(struct fg_vgpu_server *server, int limits_fd, int counters_fd, char *ret_id, struct fg_error *err);
/* As open, with the limits in an empty file of the caller's instead of a memory file: one on a memory file system that a sandbox
 * can bind read-only, so that no user in it can change them. Its length and mode are set; the descriptor is duplicated. The
 * counters are a sealed memory file that every user may write who can reach it. Adoptable, whatever the config says. */
int fg_vgpu_server_open_at(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, int limits_fd, struct fg_error *err);
/* Live change of memory, share, mode and flags (id and device name the lease and do not change). Memory below what is
 * used is fine: growth is refused until enough is freed. Errors as open. */
int fg_vgpu_server_set(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, struct fg_error *err);
/* parked 1: nothing is granted any more, and every call that the front end sees rings (its bell moves); 0: it goes on. Kept over a
 * restart by who adopts. FG_E_NOT_FOUND. FG_E_UNSUPPORTED: an ungated lease, whose submits would not wait. */
int fg_vgpu_server_park(struct fg_vgpu_server *server, const char *id, int parked, struct fg_error *err);
/* The memory of a parked lease is off its device: what it holds there may be leased to others of this arbiter, of memory and share
 * alike, until it is asked back. To other arbiters of the machine it stays claimed. Adopted parked leases are aside. */
int fg_vgpu_server_aside(struct fg_vgpu_server *server, const char *id, struct fg_error *err);
/* Take its place again; it is held from then on. FG_E_CONFLICT: others have it, *ret says how much is missing. */
struct fg_lease_missing { uint64_t memory_bytes; uint32_t share_permille; };
int fg_vgpu_server_back(struct fg_vgpu_server *server, const char *id, struct fg_lease_missing *ret, struct fg_error *err);
/* Hold a place for a lease on another device, beside its own; NULL: no longer. Then moved: that device is its own
 * and it is aside no more. Errors as open. */
int fg_vgpu_server_move_to(struct fg_vgpu_server *server, const char *id, const char *device, struct fg_error *err);
int fg_vgpu_server_moved(struct fg_vgpu_server *server, const char *id, struct fg_error *err);
/* The lease is over: waiters get CLOSED, reservations are refused, files are let go. FG_E_NOT_FOUND. */
int fg_vgpu_server_close(struct fg_vgpu_server *server, const char *id, struct fg_error *err);

/* Value for FGPU_LEASE, valid for processes of this user while the server lives. */
int fg_vgpu_server_env(struct fg_vgpu_server *server, const char *id, char *buf, size_t size, struct fg_error *err);
/* The two files, borrowed: to hand to a supervisor. The kernel does not bind-mount memory files: in a sandbox they are
 * reached as /proc/PID/fd/N of a process inside that holds them and has the same uid (its pid 1), named in FGPU_LEASE. */
int fg_vgpu_server_fds(struct fg_vgpu_server *server, const char *id, int *ret_limits_fd, int *ret_counters_fd, struct fg_error *err);
int fg_vgpu_server_stats(struct fg_vgpu_server *server, const char *id, struct fg_lease_stats *ret, struct fg_error *err);
/* Up to max leases, by age. Returns how many there are. */
size_t fg_vgpu_server_list(struct fg_vgpu_server *server, struct fg_lease_stats *ret, size_t max);
/* The processes of a lease that were found, up to max. Returns how many there are; 0 without such a lease. */
struct fg_lease_process { int32_t pid; uint64_t used_bytes, device_ns; };      /* pid in the server's namespace */
size_t fg_vgpu_server_processes(struct fg_vgpu_server *server, const char *id, struct fg_lease_process *ret, size_t max);
