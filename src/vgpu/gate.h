/* gate.h - every submit of device work passes here: may this vGPU submit now, and what will it cost?
 *
 *     fg_gate_enter(key) ---> driver's submit --failed--> fg_gate_cancel(ticket)
 *                                  | ok
 *                             device runs, its event completes (any thread)
 *                                  |
 *                             fg_gate_settle(ticket, start, end)      measured time replaces the predicted
 *
 * Enter passes when   lease's charged_ns < limits' allow_ns                      (it has a window)
 *               and   this process has nothing in flight, or predicted in flight + this job <= limits' inflight_ns.
 * A job's cost is predicted by a moving average per key (kernel and size class, graph, copy direction: the shim's
 * choice); a key never measured counts as a whole in-flight bound, so that a debt stays within one window. Passing costs
 * a few loads and two atomic adds: no system call, clock or lock. Without a window the thread rings the arbiter and waits on a
 * futex. A program whose submits cannot complete before it submits more (events set by hand, which the shim could not
 * see) is let through when nothing completed in twice the predicted time, and counted in slot->ungated: a limit may not
 * deadlock a program.
 * Must not be called during stream capture, and nothing here calls the driver. Any thread. */
#pragma once
#include "vgpu/page.h"

#define FG_GATE_KEY_BITS 13
#define FG_GATE_KEYS (1u << FG_GATE_KEY_BITS)

struct fg_gate {
    struct fg_lease *lease;
    uint32_t epoch;
    uint32_t settles;       /* futex: +1 with every settle while someone waits for one */
    uint32_t settle_waiters;
    uint32_t stalls;        /* submits let through since anything completed */
    uint64_t lost_beat;     /* heartbeat at which the arbiter was found vanished; 0: not */
    struct fg_cost { uint64_t key; uint64_t mean_ns; } costs[FG_GATE_KEYS]; /* direct-mapped by hash */
};

/* A job, or a batch of jobs that will be settled together. Plain data: copy it where the completion finds it. */
struct fg_ticket {
    uint64_t key;           /* 0: jobs of several keys */
    uint64_t predicted_ns;
    uint32_t jobs;
    uint32_t epoch;         /* a ticket from before a fork settles nothing */
};

enum fg_gate_status {
    FG_GATE_PASS = 0,
    FG_GATE_BUSY,           /* FG_GATE_NOWAIT only: no window now */
    FG_GATE_CLOSED,         /* the lease is over, or the arbiter vanished and the lease fails closed: answer device lost */
};
enum fg_gate_flag {
    FG_GATE_NOWAIT = 1,     /* answer BUSY instead of waiting */
    FG_GATE_UNBOUND = 2,    /* this job or one before it waits for an act of the program (an event set by hand): do not wait
                             * for work in flight, only for a window */
};

/* *gate: zeroed, or a gate before. */
void fg_gate_init(struct fg_gate *gate, struct fg_lease *lease);
/* key: not 0. At PASS *ret is the job's ticket, and settle or cancel must follow. */
enum fg_gate_status fg_gate_enter(struct fg_gate *gate, uint64_t key, unsigned how, struct fg_ticket *ret);
/* A batch of small jobs that will be settled together, paid for before they are known: budget_ns counts as in flight until then, and
 * the first job with it. So the jobs of a batch need no look at the page. */
enum fg_gate_status fg_gate_prepay(struct fg_gate *gate, uint64_t budget_ns, unsigned how, struct fg_ticket *ret);
/* So many more jobs were submitted on the budget. Before settle or cancel. */
void fg_gate_count(struct fg_gate *gate, struct fg_ticket *batch, uint32_t more_jobs);
/* The driver refused the submit: nothing is charged. */
void fg_gate_cancel(struct fg_gate *gate, const struct fg_ticket *ticket);
/* The job ran from start to end on the device's clock (ns; one clock per process). Jobs that overlap are charged for
 * the union of their time. end <= start: nothing measured, the prediction stands. Callable from driver callbacks. */
void fg_gate_settle(struct fg_gate *gate, const struct fg_ticket *ticket, uint64_t start_ns, uint64_t end_ns);
/* Several jobs that ended, in the order in which they ran: each is learned from as fg_gate_settle does, the counters move
 * once and who waits is woken once. Those with failed set are cancelled. */
struct fg_ended { struct fg_ticket ticket; uint64_t start_ns, end_ns; int failed; };
void fg_gate_settle_many(struct fg_gate *gate, const struct fg_ended *ended, unsigned count);
/* Put a further job into a batch that will be settled as one. */
void fg_ticket_merge(struct fg_ticket *batch, const struct fg_ticket *more);
/* What was probably its own of the time between START and END: as expected, but not more than that time, nor less than what is left of it
 * when others took beside_ns. */
static inline uint64_t fg_gate_apart(uint64_t expected_ns, uint64_t spent_ns, uint64_t beside_ns)
{
    uint64_t least_ns = spent_ns > beside_ns ? spent_ns - beside_ns : 0;
    return spent_ns <= expected_ns ? spent_ns : least_ns > expected_ns ? least_ns : expected_ns;
}
/* Predicted cost of one job of the key, ns; 0: never measured. */
static inline struct fg_cost *fg_gate_cost(const struct fg_gate *gate, uint64_t key)
{
    return (struct fg_cost *)(uintptr_t)&gate->costs[key * 0x9e3779b97f4a7c15u >> (64 - FG_GATE_KEY_BITS)];
}
static inline uint64_t fg_gate_predict(const struct fg_gate *gate, uint64_t key)
{
    const struct fg_cost *cost = fg_gate_cost(gate, key);
    return __atomic_load_n(&cost->key, __ATOMIC_RELAXED) == key ? __atomic_load_n(&cost->mean_ns, __ATOMIC_RELAXED) : 0;
}
