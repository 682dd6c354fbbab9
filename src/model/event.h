/* event.h - what happened, as it is kept in the log. State changes only by events; applying them in order to
 * nothing gives the state back. One struct with a body per kind; strings are owned by the event. */
#pragma once
#include "model/device.h"

#define FG_DRAIN_REASON 101              /* its text, with the 0 */

struct fg_event {
    uint64_t seq;                        /* position in the log, from 1 */
    int64_t time_ns;
    enum fg_event_kind kind;
    fg_id task, tenant;                  /* NONE for node events */
    uint32_t attempt;
    union {
        struct { struct fg_spec spec; char *idempotency; } submitted;
        struct { enum fg_reason reason; bool uses_retry; int64_t cost_nanousd; } queued; /* cost: of the attempt that ended */
        struct { enum fg_class class; uint16_t rule; } classified;
        struct { struct fg_placed placed; fg_device_id device; } placed;
        struct fg_lease lease;           /* lease.granted */
        struct { int64_t pull_ns; } started;
        struct fg_usage usage;           /* usage.recorded */
        struct fg_outcome finished;
        struct { uint64_t epoch; } released;
        struct { uint64_t epoch; uint32_t lent_permille; } resized;
        struct { uint64_t epoch; fg_device_id device; uint64_t bytes; fg_id whom; } parked;  /* lease.parked, called, resumed, moving, moved;
                                          * whom: the waiting task that a move makes room for */
        struct { int64_t cost_nanousd; char *lines; } settled;   /* lines: JSON array of priced lines */
        struct { struct fg_node node; struct fg_device *devices; size_t count; } joined;
        struct { fg_id node; } lost;
        struct { uint32_t weight; } weighted;    /* tenant.weighted */
        struct { char kind[64]; int64_t nanousd_per_s, spot_nanousd_per_s; bool unset; } priced;   /* price.set; kind "": of those without one */
        struct { fg_id node; fg_device_id device; int64_t since_ns; char reason[FG_DRAIN_REASON]; bool now; } drained;  /* node.drained, resumed; device 0: all */
    };
};
void fg_event_fini(struct fg_event *ev);
/* Body as compact JSON (kind, time, task, attempt are columns of the log, not of the body), and back; exact.
 * Decode wants seq, time_ns, kind, task, tenant and attempt set by the caller. */
void fg_event_encode(const struct fg_event *ev, struct fg_str *out);
int fg_event_decode(const char *json, size_t len, struct fg_event *ev, struct fg_error *err);
