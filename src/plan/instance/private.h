/* private.h - what the files of the plan-file planner share. */
#pragma once
#include "plan/instance.h"

uint32_t fg_names_find(const struct fg_names *n, const char *name);   /* 0: not there */
uint32_t fg_names_add(struct fg_names *n, const char *name, bool *ret_new);
void fg_names_fini(struct fg_names *n);

/* A task's latest end: deadline or horizon, whichever is first; INT64_MAX where there is none. */
static inline int64_t latest_end(const struct fg_instance *in, uint32_t task)
{
    int64_t d = in->tasks.items[task].deadline_ns, h = in->horizon_ns;
    return d && h ? FG_MIN(d, h) : d ? d : h ? h : INT64_MAX;
}
/* By when it must have ended in any plan. */
static inline int64_t last_end(const struct fg_instance *in, uint32_t task) { return FG_MIN(latest_end(in, task), FG_INSTANCE_END_MOST); }
/* a + b >= 0, or the most a plan may cost and a little more: what is there is refused in the end. */
static inline int64_t add_cost(int64_t a, int64_t b) { return FG_MIN(a + b, FG_INSTANCE_COST_MOST + 1); }

/* Why a task that could run is not planned. */
enum left_why { LEFT_NO_ROOM, LEFT_BUDGET, LEFT_TIME };
/* Tasks per vGPU and order; what a search changes. */
struct board {
    const struct fg_instance *in;
    const struct fg_assign_options *o;
    int64_t until_ns;                    /* by o->now_ns; 0: no limit */
    const bool *never;                   /* by task: it can run nowhere */
    uint8_t *why;                        /* by task, enum left_why */
    uint32_t *vgpu;                      /* by task */
    struct lane { uint32_t *tasks; uint32_t count, cap; int64_t cost, ends; bool valid; } *lanes; /* by vGPU */
    FG_VEC(struct fg_turn) turns;        /* scratch */
    uint64_t evaluations;
};
void board_init(struct board *b, const struct fg_instance *in, const uint32_t *vgpu, const bool *never, const struct fg_assign_options *o,
                int64_t until_ns);
void board_fini(struct board *b);
void board_remove(struct board *b, uint32_t task);
void board_add(struct board *b, uint32_t task, uint32_t vgpu);
/* Take tasks out one by one, and work the vGPU's turns out anew once. */
void board_take(struct board *b, uint32_t task);
void board_settle(struct board *b, uint32_t vgpu);
/* Put tasks that break a rule elsewhere or aside, then better the plan by shifts and swaps until nothing gains or o ends it. */
void board_repair(struct board *b);
void board_improve(struct board *b);
/* Whether the search is to end: interrupted, or out of time. */
bool board_late(const struct board *b);
/* A small plan to the end (exact.c): true when the board now has the most tasks that a valid plan can have, at the least they can
 * cost. vGPUs of one kind are alike. */
bool board_exact(struct board *b, const uint32_t *kind_of, uint32_t kinds);
/* Why a task cannot run at all, into text; false: it can somewhere. */
bool never_text(const struct fg_instance *in, uint32_t task, char *text, size_t n);
/* By group, and after all groups by gang: the first member that can run nowhere, or FG_ASSIGN_NOBODY. The caller's to free. */
uint32_t *board_blockers(const struct board *b);
/* Why task j, which the board has nowhere, is not planned. */
void left_text(const struct board *b, uint32_t j, const uint32_t *blocker, char *text, size_t n);
