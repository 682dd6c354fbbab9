/* foresee.h - when a task that waits will start: the queue played ahead many times, if nobody submits more.
 *
 *     run times are drawn: of what runs, given how long it has run already; of a line that was never seen, all off by the same factor
 *     of the highest priority the tenant that has used least, of its tasks the first, starts where it fits; the first that does not is the head, and a device is held for it until the
 *     95th percentiles say it has room, as the planner does; others start beside it or before that
 *
 * A large fleet is played as a small one: one device of so many, and one task. Of a long queue several tasks
 * of a line are played as one. Sorted starts of RUNS plays: the 1st, 5th and 9th of 9 are their 10th, 50th and 90th percentiles, without bias.
 * Pure; the same question, the same answer (decision 0062). Any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_FORESEE_RUNS 9u
#define FG_FORESEE_DEVICES 64u           /* at most; of more, every so many-th is given */

struct fg_foresee_device { uint64_t memory_bytes, memory_free_bytes; uint32_t share_free_permille, kind; };
struct fg_foresee_lease { uint32_t device; uint64_t memory_bytes; uint32_t share_permille; int64_t age_ns, p50_ns, p95_ns; };
struct fg_foresee_line {                 /* of tasks that ask the same */
    uint64_t memory_bytes;
    uint32_t share_permille;
    uint32_t kind;                       /* 0: any */
    uint32_t together;                   /* so many start together, as one entry of the order; else 1 */
    int rank;                            /* what is held for a lower one, a higher one may use */
    uint32_t tenant, priority;           /* served: the highest priority first, then by what tenants have used */
    int64_t p50_ns, p95_ns;
    double work;                         /* device time one entry is expected to take, in the unit of used */
    uint32_t samples;                    /* what the times rest on; 0: on nothing */
    uint32_t family;                     /* lines of one program or model: what is believed of one is wrong of all alike */
};
struct fg_foresee_tenant { double used, weight; };
struct fg_foresee {
    const struct fg_foresee_device *devices; /* one of scale, and the leases there */
    uint32_t scale;                      /* of the tasks one in so many is played, too */
    const struct fg_foresee_lease *leases;
    const struct fg_foresee_line *lines;
    const struct fg_foresee_tenant *tenants;
    const uint32_t *order;               /* lines: whose task would be served next, if all were served */
    size_t device_count, lease_count, line_count, tenant_count, order_count;
    size_t target;                       /* index in order */
    double work_before, work_listed;     /* 0, or order has not all that is before the target: the work of all that is, and of what order has */
};
/* Nanoseconds from now, in ascending order. false: it never started. */
bool fg_foresee(const struct fg_foresee *ahead, int64_t ret_starts[FG_FORESEE_RUNS]);
