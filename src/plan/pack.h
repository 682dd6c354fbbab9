/* pack.h - which node and which of its GPUs a task gets, so that what stays free can still be used.
 *
 * The state of a cluster, kept up to date task by task: an arrival or an ending touches one node. A task is of a type
 * (what it needs and where it may run), and everything is worked out per type and node and kept until the node changes.
 * Fits are hard: processor, memory, GPU thousandths, GPU memory, kind. Among the nodes that fit the policy chooses:
 *
 *     fastgpu    least loss of value (value.c: how much of the free GPUs the types that arrive could still use; fill.c: how much
 *                of them they will take before processor or memory are gone), plus what a scarce kind is worth to those bound to it
 *     fgd        fragmentation gradient descent as its authors run it (ATC'23), for comparison
 *     bestfit    the node with the least left
 *     firstfit   the first node
 *
 * Pure: no I/O, no clock, no global state; the same calls give the same answers. One state per thread.
 * Decisions 0023 (value), 0024 (prices, migration) and 0060 (what will be filled). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define FG_PACK_GPUS_MAX 16u             /* of one node */
#define FG_PACK_KINDS_MAX 64u            /* GPU models */
#define FG_PACK_NONE UINT32_MAX
#define FG_PACK_DEVICE 1000u             /* thousandths of one GPU */

enum fg_pack_policy { FG_PACK_FASTGPU, FG_PACK_FGD, FG_PACK_BESTFIT, FG_PACK_FIRSTFIT };
enum fg_pack_rule {
    FG_PACK_ONLY = 1,                    /* 1 the only node with room */
    FG_PACK_VALUE,                       /* 2 least value lost (fgd: least fragmentation) */
    FG_PACK_TIGHT,                       /* 3 equal so far: the node with the least left */
    FG_PACK_INDEX,                       /* 4 equal so far: the lowest index */
    FG_PACK_GIVEN                        /* placed by the caller, or moved for another task */
};
const char *fg_pack_policy_text(enum fg_pack_policy policy);

struct fg_pack_node {
    int64_t cpu_milli;
    uint64_t memory_bytes;
    uint32_t gpus;                       /* 0..FG_PACK_GPUS_MAX */
    uint32_t kind;                       /* of its GPUs, 0..FG_PACK_KINDS_MAX-1 */
    uint64_t gpu_memory_bytes;           /* of each; 0: not counted, only thousandths are */
};
struct fg_pack_type {
    int64_t cpu_milli;
    uint64_t memory_bytes;
    uint32_t gpus;                       /* 0: processor only */
    uint32_t gpu_milli;                  /* of each GPU: 1..1000, below 1000 only with one GPU; 0 with none */
    uint64_t gpu_memory_bytes;           /* of each GPU; 0: no part of the need */
    uint64_t kinds;                      /* bit k: may run on kind k; 0: on any */
};
struct fg_pack_choice {
    uint32_t node;
    uint32_t gpus;                       /* bit g: GPU g of the node */
    int64_t score;                       /* higher is better; fastgpu: thousandths of a GPU, the price taken off */
    enum fg_pack_rule rule;
};
struct fg_pack_task {
    uint32_t type, node, gpus;           /* node FG_PACK_NONE: no such task */
};
struct fg_pack_options {
    enum fg_pack_policy policy;
    bool random_ties;                    /* the last rule draws lots by seed instead of taking the lowest index: a regression test */
    uint64_t seed;
};

struct fg_pack;
struct fg_pack *fg_pack_create(const struct fg_pack_options *options);
void fg_pack_destroy(struct fg_pack *p);

/* --- nodes --- */
/* FG_E_INVALID: a negative or far too large capacity, too many GPUs, a kind out of range. */
int fg_pack_add_node(struct fg_pack *p, const struct fg_pack_node *node, uint32_t *ret_index, struct fg_error *err);
/* A closed node gets no new tasks and none moved to it (drained, lost, reserved); what runs there stays. */
void fg_pack_close_node(struct fg_pack *p, uint32_t node, bool closed);
/* What is free on a node. gpu_milli and gpu_memory_bytes have FG_PACK_GPUS_MAX places, or are NULL. False: no such node. */
bool fg_pack_free(const struct fg_pack *p, uint32_t node, int64_t *cpu_milli, uint64_t *memory_bytes, uint32_t *gpu_milli,
                  uint64_t *gpu_memory_bytes);
uint32_t fg_pack_node_count(const struct fg_pack *p);        /* indices are below it */

/* --- types: equal needs are one type; the number is good for the life of p --- */
int fg_pack_type_of(struct fg_pack *p, const struct fg_pack_type *type, uint32_t *ret_type, struct fg_error *err);
const struct fg_pack_type *fg_pack_type_at(const struct fg_pack *p, uint32_t type);
/* count tasks of this type have arrived, or are expected. What was told is what fastgpu and fgd call typical and what the
 * prices come from; they are worked out anew when the sum has grown by an eighth, so that no single arrival costs much. */
void fg_pack_expect(struct fg_pack *p, uint32_t type, uint64_t count);
/* Price of a kind of node's GPUs in thousandths: typed demand over supply, 1000 where they are equal (price.c). */
int64_t fg_pack_price(struct fg_pack *p, uint32_t node);

/* --- decisions --- */
/* Where a task of this type goes. False: it fits nowhere now. */
bool fg_pack_best(struct fg_pack *p, uint32_t type, struct fg_pack_choice *ret);
/* The best GPUs on this one node. */
bool fg_pack_best_on(struct fg_pack *p, uint32_t type, uint32_t node, struct fg_pack_choice *ret);
/* Whether it could ever fit: some node, were it empty, takes it. */
bool fg_pack_possible(const struct fg_pack *p, uint32_t type);
/* Take what choice says; the task's number, good until it is unplaced. A choice that does not fit is a fault of the caller: abort. */
uint32_t fg_pack_place(struct fg_pack *p, uint32_t type, const struct fg_pack_choice *choice);
/* As place, for what runs already: refused (FG_E_INVALID) where it does not fit. */
int fg_pack_restore(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t gpus, uint32_t *ret_task, struct fg_error *err);
void fg_pack_unplace(struct fg_pack *p, uint32_t task);
struct fg_pack_task fg_pack_task_at(const struct fg_pack *p, uint32_t task);
/* A task that its backend cannot move is left where it is by chains. */
void fg_pack_pin(struct fg_pack *p, uint32_t task, bool pinned);

/* --- migration (chain.c): only to open whole GPUs or whole nodes --- */
#define FG_PACK_MOVES_MAX 16u
struct fg_pack_move {
    uint32_t task;
    struct fg_pack_choice to;
};
struct fg_pack_chain {
    struct fg_pack_move moves[FG_PACK_MOVES_MAX];    /* in the order in which they can be made, each into free room */
    uint32_t count;
    struct fg_pack_choice choice;                    /* where the task goes after them */
};
/* The fewest moves, at most `most`, that make room for a task of this type; FG_PACK_NONE for node: on any node. False: there
 * is no such chain, or the task takes less than a whole GPU. The state is as before; apply with fg_pack_apply. */
bool fg_pack_open(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t most, struct fg_pack_chain *ret);
/* Make the moves and place the task; its number. */
uint32_t fg_pack_apply(struct fg_pack *p, uint32_t type, const struct fg_pack_chain *chain);

/* --- sums --- */
struct fg_pack_totals {
    uint64_t gpu_milli, gpu_milli_free;
    uint64_t cpu_milli, cpu_milli_free;
    uint64_t tasks;
    uint64_t memory_used_bytes;          /* by this state itself */
};
struct fg_pack_totals fg_pack_totals(const struct fg_pack *p);
/* Free GPU thousandths that the typical types cannot use, as FGD's authors count it: expected over their frequencies. */
double fg_pack_fragmentation(struct fg_pack *p);
