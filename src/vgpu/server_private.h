/* server_private.h - what server.c (leases), files.c, server_loop.c (the two threads) and process.c (who is a slot) share. */
#pragma once
#include <pthread.h>

#include "base/vec.h"
#include "vgpu/claims.h"
#include "vgpu/ledger.h"
#include "vgpu/server.h"

/* The process seen behind a slot. */
struct watch {
    uint64_t owner;       /* the slot's word when we looked; 0: nobody */
    int pidfd;            /* -1: not watched */
    int32_t pid;          /* in our namespace */
    int64_t seen_ns;
};

struct lease {
    uint64_t serial;      /* never reused; the arbiter's id */
    struct fg_lease_spec spec;
    int limits_fd, counters_fd;
    struct fg_limits *limits;
    struct fg_counters *counters;
    struct device *device;
    int place;            /* in the device's arbiter; -1: ungated */
    int corrupt;
    int parked;           /* out of the arbiter, and FG_LIMIT_PARKED is set */
    int aside;            /* parked, and its place may be another's */
    struct device *to;    /* a place is held there as well; NULL: it does not move */
    uint32_t unseen;
    int64_t look_ns;      /* when who arrived will be looked at; 0: nobody did */
    struct watch watches[FG_SLOTS];
};

/* The part of a device that other arbiters gave away and that is in use, as one more vGPU that always wants its turn: while
 * it has the window, nobody of ours has. It "runs" jobs of one window each. */
struct guest {
    int place;            /* in the device's arbiter; -1: nobody else uses the device */
    uint32_t share_permille;
    uint64_t charged_ns;  /* of jobs begun */
    int64_t end_ns;       /* of the job that runs, or 0 */
};

struct device {
    char name[64];
    char key[128];        /* the same text in every arbiter of the machine; "": not claimed */
    uint64_t charged_ns;  /* of all its leases at the last look */
    struct guest guest;
    uint64_t memory_bytes;
    struct fg_arbiter arbiter;
    struct lease *by_place[FG_ARBITER_MAX];
    int64_t next_ns;      /* when its next turn is due */
};

struct fg_vgpu_server {
    struct fg_vgpu_server_config config;
    pthread_mutex_t mutex;                /* all below; never held while waiting */
    FG_VEC(struct device *) devices;
    FG_VEC(struct lease *) leases;        /* by age */
    uint64_t serial;
    size_t first_heard;                   /* lease whose bell is heard first when there are too many */
    pthread_t loop, reaper;
    int started;                          /* threads: 0, 1, 2 */
    int stopping;
    uint32_t wake;                        /* futex of the loop thread */
    int epoll, nudge;                     /* of the reaper; an eventfd in it */
    struct fg_claims *claims;             /* NULL: other arbiters are not asked */
    uint64_t pid_ns;
};

void *fg_vgpu_loop(void *server);
void *fg_vgpu_reaper(void *server);
/* The loop should look again. Any thread. */
void fg_vgpu_wake(struct fg_vgpu_server *server);
/* Mutex held. NULL: *err says so. */
struct lease *fg_vgpu_lease_by_id(struct fg_vgpu_server *server, const char *id, struct fg_error *err);
/* What of the device the leases but self hold, others that are aside left out; mutex held. */
struct held { uint64_t memory_bytes; uint32_t share_permille; unsigned leases; const struct lease *alone; };
struct held fg_vgpu_held(const struct fg_vgpu_server *server, const struct device *device, const struct lease *self);
/* FG_E_CONFLICT: the spec does not fit beside them. */
int fg_vgpu_admit(struct fg_vgpu_server *server, const struct fg_lease_spec *spec, const struct device *device, const struct lease *self,
                  struct fg_error *err);
struct device *fg_vgpu_device_by_name(struct fg_vgpu_server *server, const char *name);
/* Write the lease's limits from its spec; mutex held. */
void fg_vgpu_publish(struct lease *lease);
/* Put the lease under the arbiter of its device, or change how it stands there, or take it out; mutex held. */
void fg_vgpu_arbitrate(struct lease *lease);
/* What the counters say; mutex held. */
struct fg_arbiter_input fg_vgpu_input(const struct lease *lease);
/* Stop watching; mutex held. */
void fg_vgpu_unwatch(struct fg_vgpu_server *server, struct watch *watch);

/* --- files.c: into lease->limits, ->counters and their descriptors --- */
/* limits_fd: an empty file for the limits, duplicated; -1: a memory file is made. */
int fg_vgpu_files_make(struct fg_vgpu_server *server, struct lease *lease, int limits_fd, struct fg_error *err);
int fg_vgpu_files_adopt(struct lease *lease, struct fg_error *err);

/* --- server_claims.c; mutex held --- */
/* Claim what the leases of the device will be with self as spec (NULL: with one more), if the others leave it; else what was
 * claimed stays. */
int fg_vgpu_claim(struct fg_vgpu_server *server, struct device *device, const struct lease *self, const struct fg_lease_spec *spec,
                  struct fg_error *err);
/* Claim what the leases of the device are now. */
void fg_vgpu_claim_again(struct fg_vgpu_server *server, struct device *device);
/* Tell the others that we use our devices, and see whether they use theirs. */
void fg_vgpu_claims_look(struct fg_vgpu_server *server);
/* The guest's counters, and what it does with its grant: the time of its next turn comes into device->next_ns. */
struct fg_arbiter_input fg_guest_input(struct guest *guest, int64_t now_ns);
void fg_guest_grant(struct device *device, const struct fg_arbiter_grant *grant, int64_t now_ns);

/* --- process.c --- */
enum found { FOUND, FOUND_DEAD, FOUND_UNSEEN };
/* Find and hold the process that owns a LIVE slot. FOUND: *ret_pidfd and *ret_pid. our_ns: our pid namespace. */
enum found fg_process_find(const struct fg_slot *slot, uint64_t owner, uint64_t our_ns, int *ret_pidfd, int32_t *ret_pid);
/* 1 when the process runs another program image than the one that took the slot; 0 when not or when it cannot be known. */
int fg_process_replaced(const struct fg_slot *slot, int32_t pid);
uint64_t fg_process_own_ns(void);
