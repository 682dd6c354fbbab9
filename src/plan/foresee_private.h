/* foresee_private.h - a queue being played ahead: foresee.c sets it up, foresee_play.c plays it. Memory is counted in 256ths of the largest
 * device, so that lines that ask nearly the same are one class, and a step looks at classes and not at tasks. Times are doubles, in
 * nanoseconds from now. */
#pragma once
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "plan/foresee.h"

#define UNITS 256
#define NONE UINT32_MAX
#define Z95 1.645
#define NORMALS 1024u
#define HEADS_MOST 8u
#define TOGETHER_MOST 64u                /* of a gang, on so few devices */
#define ENTRIES 600u                     /* of the order; of more, tasks of a line are played several at a time */
#define FOREVER 1e18
#define OFF_MEAN 0.06                    /* of ln(start): what the real planner takes longer, measured (decision 0062), */
#define COARSE 0.1                       /* more of both for each doubling: several large ones in a row wait for room once, not each */
#define OFF_SPREAD 0.13                  /* and how much that differs from queue to queue */
#define SPANS 5                          /* lines whose times are within a fifth of each other are as long, where that decides who starts beside a head */

struct size { int memory, share; };
struct class { struct size need; uint32_t kind, together, tenant, priority; int rank, span; uint32_t first; bool head, hopeless; };   /* first: of order, NONE: no more */
struct time { double mu, own, shared; double p95; };             /* by line: ln ns */
struct run { double end, expected; struct size size; uint32_t device, next; };
struct head { uint32_t at, class; double start; uint64_t devices; struct size held, spare[FG_FORESEE_DEVICES]; };   /* spare: beside it, from its start on */
struct play {
    const struct fg_foresee *in;
    uint32_t devices;
    double unit;                         /* bytes */
    struct size *whole, *free_now, *room; uint32_t *kind;        /* by device; free_now: at the start of each run */
    struct class *classes; uint32_t class_count, *open, open_count;   /* open: that may start in this pass */
    uint32_t *class_of;                  /* by line */
    struct time *times; double *shift;   /* by line */
    uint32_t *order, order_count, target, *next;                 /* played order, and the next of the same class */
    double *count;                       /* tasks in an entry, one after the other */
    struct run *runs; uint32_t run_count, run_cap, *first_run;   /* heap by end: indices into runs */
    uint32_t *heap, heap_count;
    struct head heads[HEADS_MOST]; uint32_t head_count;
    uint64_t rng;
    float normal[NORMALS];
    double off, coarse;                  /* how wrong the play is, in OFF_SPREAD; how much more, since tasks are played several at a time */
    double now, *used;                   /* used: by tenant, over its weight */
    bool done;
};

static inline uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static inline uint64_t rnd(struct play *p) { return mix(p->rng += 0x9e3779b97f4a7c15u); }
static inline double draw(struct play *p) { return p->normal[rnd(p) % NORMALS]; }

static inline struct size size_of(const struct play *p, uint64_t memory, uint32_t share)
{
    int units = (int)lround((double)memory / p->unit);
    return (struct size){memory ? FG_MAX(units, 1) : 0, (int)share};
}

static inline bool fits(struct size need, struct size room) { return need.memory <= room.memory && need.share <= room.share; }
static inline struct size plus(struct size a, struct size b) { return (struct size){a.memory + b.memory, a.share + b.share}; }
static inline struct size minus(struct size a, struct size b) { return (struct size){a.memory - b.memory, a.share - b.share}; }

/* z with P(Z > z) = q, to 0.0005. */
double foresee_beyond(double q);
/* One run: when the target starts; -1: never. */
double foresee_play(struct play *p, uint32_t number);
