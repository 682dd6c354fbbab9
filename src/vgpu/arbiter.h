/* arbiter.h - who may use a device now. Pure: (state, what the counters say, now) -> grants. No I/O, clock or lock.
 *
 * One device, one window at a time while vGPUs contend; decision 0010 has the drawing and the arithmetic.
 *  - Each vGPU has a virtual time that advances by measured device time x 1000 / share_permille. Those that want the
 *    device and are not ahead of the weighted mean compete; the earliest virtual deadline (virtual time + one window)
 *    gets the next window. So the difference between what a vGPU got and its share is at most one window (plus
 *    one job, which cannot be preempted).
 *  - Alone, or all others idle, a vGPU is lent the whole device, with at most one window in flight: the first other
 *    that wants in has the device when that has drained.
 *  - capped: a bucket of device time fills with the share and bounds every grant. exclusive: nobody else is granted.
 *  - latency: wins the next window whenever it is not ahead of its share.
 * One thread at a time. */
#pragma once
#include <stdint.h>
#include "vgpu/page.h"

#define FG_ARBITER_MAX 128

struct fg_arbiter_params {
    uint64_t window_ns; /* device time of one window; 0: 8 ms */
    uint64_t linger_ns; /* the owner may leave the device idle this long before it loses a wanted window; 0: 0.4 ms */
    uint64_t overlap_ns; /* the next owner is let in when the last has at most this predicted in flight; 0: a sixteenth of a window,
                         * so that a bell, a turn and a wake-up take place while the device is still busy */
    uint64_t lend_ns;   /* device time lent ahead to one who is alone; 0: 250 ms */
};

/* What the counters of a vGPU say now. */
struct fg_arbiter_input {
    uint64_t charged_ns;  /* settled + predicted in flight */
    uint64_t inflight_ns; /* predicted in flight */
    uint32_t inflight;    /* jobs */
    uint32_t waiting;     /* threads waiting at the gate for a window */
    uint32_t processes;
    uint64_t settled;     /* jobs so far */
};
struct fg_arbiter_grant {
    uint64_t allow_ns;    /* as in fg_limits */
    uint64_t inflight_ns; /* per process */
    uint64_t drain_ns;    /* as in fg_limits: ring when less is in flight; 0: do not ring */
    uint64_t beside_ns;   /* what others may have in flight beside it */
};

struct fg_arbiter_vgpu {
    /* set by add and set */
    uint64_t id;          /* the caller's; 0: this place is free */
    uint32_t share_permille;
    enum fg_share_mode mode;
    int latency;
    int outside;          /* others' windows, of which only the wall clock is known: it is let in when the device is empty */
    /* state */
    int active;           /* wants or uses the device; counted in the weighted mean */
    int64_t vtime;        /* weighted virtual time, ns x 1000 / permille; kept relative to the mean */
    uint64_t charged_ns;  /* at the last turn */
    int64_t inflight_ns;  /* likewise, of a sane size */
    int64_t credit_ns;    /* capped: device time it may use now; below 0: owed */
    int fresh;            /* it just came: has the next window */
    int64_t left_ns;      /* when it stopped competing */
    int64_t idle_since_ns; /* no work in flight and none wanted since; -1: busy */
    /* lane: beside the owner's window (arbiter_lane.c) */
    uint64_t settled;     /* jobs, at the last turn */
    int64_t mean_ns;      /* of its last jobs */
    int64_t pace_ns;      /* sparse: from job to job when it has the device to itself; 0: it keeps the device busy, or is unknown */
    int64_t known_ns;     /* pace_ns as it was last */
    int64_t job_ns;       /* of which the device works */
    int64_t judged_ns;    /* what is known of that holds until then */
    int64_t again_ns;     /* one who is behind is looked at again then */
    int64_t lane_ns;      /* time it had one, ... */
    int64_t lane_jobs;    /* ... jobs it did in it, ... */
    unsigned looks, busy; /* ... looks at it, and those that found it with work */
    unsigned lefts;       /* windows it lost in a gap, one after the other */
    int falls_short;      /* of its share and of what it could use */
    int lane;             /* may submit beside the owner */
    int ahead;            /* it had its lane and ran ahead: closed until it is level */
    struct fg_arbiter_grant grant;
};

struct fg_arbiter {
    struct fg_arbiter_params params;
    struct fg_arbiter_vgpu vgpus[FG_ARBITER_MAX];
    unsigned count;       /* places in use are below this */
    int crowded;          /* more than one wants or uses the device */
    int owner;            /* who has the window, or -1 */
    int draining;         /* the last owner, whose work is still in flight, or -1 */
    int64_t opened_ns;    /* when the window was opened */
    uint64_t opened_settled_ns; /* what its owner had settled then */
    uint64_t opened_jobs; /* and how many jobs */
    int64_t beside_ns;    /* what others used since */
    int lanes;            /* vGPUs that are known to be sparse and are there */
    int64_t look_ns;      /* when those in lanes are looked at next */
    uint32_t dither;
    int64_t beside_until_ns; /* jobs that ran beside a lane have ended then */
    int64_t beside_job_ns; /* those of lanes together */
    int64_t queue_ns;     /* anybody may have so much in flight */
    int lent;             /* it was opened when nobody else wanted one */
    int64_t drain_until_ns;
    int64_t turned_ns;    /* last turn */
    uint64_t windows;     /* opened so far */
};

void fg_arbiter_init(struct fg_arbiter *arbiter, const struct fg_arbiter_params *params, int64_t now_ns);
/* Returns its place, or -1 when full. id not 0; share 1..1000. charged_ns: what its counters say at this moment. */
int fg_arbiter_add(struct fg_arbiter *arbiter, uint64_t id, uint32_t share_permille, enum fg_share_mode mode, int latency,
                   uint64_t charged_ns);
/* Live change; takes effect at the next turn. */
void fg_arbiter_set(struct fg_arbiter *arbiter, int place, uint32_t share_permille, enum fg_share_mode mode, int latency);
void fg_arbiter_remove(struct fg_arbiter *arbiter, int place);

/* Account for what happened since the last turn and decide. inputs[place] and vgpus[place].grant for every place below
 * count. Returns the time at which the next turn is due if no bell rings before: INT64_MAX when nothing is. */
int64_t fg_arbiter_turn(struct fg_arbiter *arbiter, const struct fg_arbiter_input *inputs, int64_t now_ns);
