/* leases.h - vGPUs of devices whose limits are kept inside the task's process: the engine's server (vgpu/server.h), and where
 * its two files lie so that a sandbox can show them and a killed agent finds them again. Decision 0022.
 *
 *   limits     NAME in a folder on a memory file system, mode 0444: bound read-only into the sandbox
 *   counters   a sealed memory file: held by the supervisor and by the sandbox's first process
 *
 * Its own header because vgpu/page.h and the model both have words like fg_limits. One thread, short calls. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct fg_leases;
struct fg_lease_use {
    uint64_t memory_bytes, used_bytes, peak_bytes, denied;
    uint32_t share_permille;
    int64_t device_ns, throttle_ns;
    uint32_t processes;                  /* that are attached */
    bool corrupt;                        /* the task spoiled its counters */
    bool parked;                         /* fg_leases_park */
};
struct fg_lease_member { int32_t pid; uint64_t used_bytes, device_ns; };

/* scope: a word that makes the folder this agent's own. fallback: a folder for where /dev/shm is not to be had. claims: what is
 * leased is told to the arbiters of `fgpu slice` on this machine, and what they lease is not given away again (vgpu/claims.h). */
int fg_leases_open(struct fg_leases **ret, const char *scope, const char *fallback, bool claims, struct fg_error *err);
/* The leases go on: the next fg_leases_open and adopt find them. NULL is fine. */
void fg_leases_close(struct fg_leases *leases);
/* key: what every arbiter of the machine calls it, or NULL. */
int fg_leases_device(struct fg_leases *leases, const char *device, const char *key, uint64_t memory_bytes, struct fg_error *err);

/* Make the lease called name, or set one that is there anew. borrowed: its place is lent by leases that are parked.
 * FG_E_CONFLICT: what is left of the device does not suffice. */
int fg_leases_make(struct fg_leases *leases, const char *device, const char *name, uint64_t memory_bytes, uint32_t share_permille, bool borrowed,
                   struct fg_error *err);
int fg_leases_set(struct fg_leases *leases, const char *name, uint64_t memory_bytes, uint32_t share_permille, struct fg_error *err);
/* Take over what an earlier agent made. counters_fd is borrowed. */
int fg_leases_adopt(struct fg_leases *leases, const char *name, int counters_fd, struct fg_error *err);
/* Over, and its file removed; missing is fine. */
void fg_leases_end(struct fg_leases *leases, const char *name);
/* The path of its limits, the caller's to free. */
char *fg_leases_limits(const struct fg_leases *leases, const char *name);
/* Its counters, a duplicate for the caller; -1: there is no such lease. */
int fg_leases_counters(struct fg_leases *leases, const char *name);
bool fg_leases_use(struct fg_leases *leases, const char *name, struct fg_lease_use *ret);
/* Any thread. */
size_t fg_leases_members(struct fg_leases *leases, const char *name, struct fg_lease_member *ret, size_t max);
/* What decides whether a lease's memory can be given to others (reclaim.h). The two functions are for any thread. */
struct fg_lease_look {
    char name[64], device[64];
    uint64_t memory_bytes, used_bytes;
    uint32_t processes, unseen, bell;
    uint64_t work;                       /* changes with every job and every refused reservation */
    bool idle, movable, parked, aside, borrowed;
};
size_t fg_leases_look(struct fg_leases *leases, struct fg_lease_look *ret, size_t max);
int fg_leases_park(struct fg_leases *leases, const char *name, bool parked, struct fg_error *err);
/* Of a parked lease: its place may be leased to others; it is asked back (FG_E_CONFLICT: so much is missing); a place on another
 * device is held for it (device NULL: no longer), and is its own. Any thread. */
int fg_leases_aside(struct fg_leases *leases, const char *name, struct fg_error *err);
int fg_leases_back(struct fg_leases *leases, const char *name, uint64_t *ret_missing_bytes, uint32_t *ret_missing_permille, struct fg_error *err);
int fg_leases_move_to(struct fg_leases *leases, const char *name, const char *device, struct fg_error *err);
/* As move_to, for one that runs: the place alone, no order that outlives the agent. */
int fg_leases_hold(struct fg_leases *leases, const char *name, const char *device, struct fg_error *err);
int fg_leases_moved(struct fg_leases *leases, const char *name, struct fg_error *err);
/* Where it was to move by the last move_to, of an agent before this one as well: the order is a file beside the limits, since an agent
 * that is killed cannot know where the driver had got with it. "": nowhere. */
void fg_leases_ordered(const struct fg_leases *leases, const char *name, char ret[64]);
/* Every lease that has a file. */
void fg_leases_names(const struct fg_leases *leases, void (*fn)(void *arg, const char *name), void *arg);

/* Sum a copy of a counters file. False: it is none. */
bool fg_leases_sum(const void *counters, size_t size, struct fg_lease_use *ret);
