/* reclaimer_private.h - what reclaimer.c (looks and acts) and reclaimer_place.c (the places of who is parked) share. */
#pragma once
#include <pthread.h>

#include "base/vec.h"
#include "device/checkpoint.h"
#include "device/reclaimer.h"

#define LEASES_MAX  512

struct vgpu {
    char name[64];
    struct fg_reclaim machine;
    struct fg_checkpoint job;
    struct fg_lease_look look;
    struct fg_lease_member members[FG_CHECKPOINT_PIDS];
    size_t member_count;
    int32_t parked[FG_CHECKPOINT_PIDS];  /* who was put aside; none: all that are there now */
    size_t parked_count;
    int64_t host_ns, host_looked_ns;
    bool there;                          /* at this look */
    /* Its place: what of it others have, and since when it is asked back in vain (0: it is not). */
    uint64_t missing_bytes;
    uint32_t missing_permille;
    int64_t lacks_since_ns;
    char park_for[64];                   /* told to move there while it ran, and not parked yet; a place is held for it; "": not */
    char to[64];                         /* where it is to be brought back; "": where it was */
    bool elsewhere, move_failed;         /* the step that runs is there */
    bool adopted;                        /* by this agent, and not running since */
    int64_t ordered_ns;
};
struct fg_reclaimer {
    struct fg_reclaimer_config config;
    char *program, *driver;
    pthread_t thread;
    pthread_mutex_t mutex;               /* the list itself, states and ends; the thread alone changes them */
    pthread_cond_t stop;
    bool stopping, moves;                /* moves: the driver can bring back elsewhere */
    FG_VEC(struct vgpu *) vgpus;
    FG_VEC(struct name { char text[64]; }) drained;   /* devices */
    struct fg_lease_look looks[LEASES_MAX];
};

int64_t reclaimer_now_ns(void);
/* The mutex is held in all of these. Looks at all leases anew; then pointers to them may be of others. */
void reclaimer_look(struct fg_reclaimer *r);
/* NULL: it is not known. */
struct vgpu *reclaimer_vgpu(struct fg_reclaimer *r, const char *name);
bool reclaimer_is_drained(const struct fg_reclaimer *r, const char *device);
/* Take its place back, in the books of the device and by what the driver has free; says what others have of it. */
bool reclaimer_has_place(struct fg_reclaimer *r, struct vgpu *v, bool known, uint64_t free_bytes, int64_t now);
/* Told to move while it ran: parked now, it is ordered there; or it did not come to that, and stays. */
void reclaimer_follow_move(struct fg_reclaimer *r, struct vgpu *v, enum fg_reclaim_state before, const struct fg_reclaim_input *in, int64_t now);
/* Its place is wanted back by one who was parked. */
bool reclaimer_is_urgent(const struct fg_reclaimer *r, const struct vgpu *v);
