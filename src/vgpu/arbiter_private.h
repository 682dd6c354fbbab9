/* arbiter_private.h - what the arbiter's files share: units, and the lane beside the owner. */
#pragma once
#include "vgpu/arbiter.h"

#define NEVER   INT64_MAX
#define SANE_NS 1000000000000 /* no more is believed to be in flight, or used between two turns */

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t within(int64_t a, int64_t limit) { return most(-limit, least(a, limit)); }

/* Device time as virtual time of a vGPU, and its part of wall time. */
static inline int64_t weighted(const struct fg_arbiter_vgpu *v, int64_t ns) { return ns * 1000 / v->share_permille; }
static inline int64_t part(const struct fg_arbiter_vgpu *v, int64_t ns) { return ns * v->share_permille / 1000; }

/* Its bucket does not allow it anything now. */
int fg_arbiter_blocked(const struct fg_arbiter *arbiter, int place);
/* Who must be alone, or -1. */
int fg_arbiter_exclusive(const struct fg_arbiter *arbiter);

/* What its counters say of its jobs, which ran for so long, dt after the last turn. */
void fg_lane_look(struct fg_arbiter *arbiter, int place, const struct fg_arbiter_input *input, int64_t ran_ns, int64_t dt_ns);
/* The owner's contended window is over: did it keep the device busy? */
void fg_lane_measure(struct fg_arbiter *arbiter, const struct fg_arbiter_input *owners, int64_t now_ns);
/* Does it compete, and is not known whether it keeps the device busy? Its window is to show that. */
int fg_lane_unknown(const struct fg_arbiter *arbiter, int place);
/* Decide who has a lane. Returns when to look again. */
int64_t fg_lane_open(struct fg_arbiter *arbiter);
/* How long a job of this one may have to wait for those of others that are let in beside it. */
int64_t fg_lane_beside(const struct fg_arbiter *arbiter, int place);
/* How much one who has a lane may use until the next turn. */
int64_t fg_lane_span(const struct fg_arbiter *arbiter, const struct fg_arbiter_vgpu *vgpu);
