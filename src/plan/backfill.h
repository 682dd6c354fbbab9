/* backfill.h - who of those that wait starts where something has ended, on the state of pack.h.
 *
 * What waits here is the window: the first so many of the caller's order. Nobody waits behind a head that does not fit; instead a
 * place is held for those who would starve. Whenever room appears on a node:
 *
 *     1 a big task that fits takes it, the oldest first: whole nodes are too rare to be cut up
 *     2 if a node is held for a big task, what runs there and may move moves here, so that the node empties
 *     3 of the others that fit, the one with the largest part of the GPUs, older ones a little preferred; but a share that would
 *       spoil a hole for those that fill it better (holes.h) lets it be for a while, if many wait
 *
 * A big task that has waited hold_after gets a node held for it: the one with the least to move. Nothing new starts there until
 * the task fits. Moves stay below moves_permille of the starts; without them a held node empties as its tasks end.
 * Pure: time is a parameter, in any unit; the same calls give the same answers. */
#pragma once
#include "plan/pack.h"

struct fg_backfill_options {
    uint32_t big_gpus;                   /* a task with so many GPUs is big; 0: none is, no node is held */
    uint32_t holds_most;                 /* nodes held at once */
    uint32_t moves_permille;             /* of the starts; 0: nothing moves */
    double hold_after;
    double age_weight;                   /* thousandths of a GPU that a unit of waiting outweighs */
    double patience;                     /* a share spoils x of a GPU after waiting x times this; 0: at once */
    void (*started)(void *arg, uint64_t id, uint32_t task, const struct fg_pack_choice *at);
    void (*moved)(void *arg, uint32_t task, const struct fg_pack_choice *to);
    void *arg;
};
struct fg_backfill_counts { uint64_t starts, moves, holds, waiting; };

struct fg_backfill;
/* pack stays the caller's and must outlive it; started may be called by every function below, and must not call them. */
struct fg_backfill *fg_backfill_create(struct fg_pack *pack, const struct fg_backfill_options *options);
void fg_backfill_destroy(struct fg_backfill *b);
/* A task of the type comes into the window: it starts where it fits, or waits. */
void fg_backfill_submit(struct fg_backfill *b, uint32_t type, uint64_t id, double now);
/* A task of the pack has ended. */
void fg_backfill_ended(struct fg_backfill *b, uint32_t task, double now);
struct fg_backfill_counts fg_backfill_counts(const struct fg_backfill *b);
