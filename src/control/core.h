/* core.h - the control core: a pure state machine, (state, input, now) -> (state, events, actions).
 *
 *   input --> fg_core_handle: decides --> events --> fg_core_apply: the only one that changes state
 *                                    \--> actions: what to tell agents, once the events are on disk
 *
 * The shell (serve.c, or the simulator) feeds inputs one at a time, hands the events to the store, and performs the
 * actions after their events are committed. Replaying the events, or loading the stored rows, restores the state;
 * acting again on a state (fg_core_reconcile through node hello) is idempotent. No I/O, no clock, no randomness:
 * ids and times come in with the input. One thread. Same inputs, same outputs, always. */
#pragma once
#include "base/vec.h"
#include "model/event.h"
#include "model/price.h"
#include "plan/classify.h"
#include "plan/order.h"
#include "plan/place.h"
#include "plan/reserve.h"

struct fg_core_config {
    int64_t lease_ns;                    /* an attempt outlives contact by this long */
    int64_t lease_margin_ns;             /* added before a node is declared lost */
    int64_t min_memory_reserve_bytes;
    size_t window;                       /* lines at the head of the queue that a planning round looks at, >= 1000; equal
                                          * tasks of a tenant are one line */
    int64_t half_life_ns;                /* of what counts as used in fair share; 0: for ever */
    uint64_t improve_iterations;         /* moves the solver may try in a round; 0: none */
    const struct fg_price *prices;       /* copied */
    size_t price_count;
};

enum fg_input_kind {
    FG_IN_SUBMIT, FG_IN_CANCEL, FG_IN_HOLD, FG_IN_RELEASE,
    FG_IN_WEIGHT,                        /* a tenant's weight in fair share */
    FG_IN_PRICE,                         /* what a device kind costs from now on */
    FG_IN_DRAIN,                         /* a machine or device takes no new tasks, or takes them again */
    FG_IN_NODE_HELLO,                    /* an agent connected, with its devices and the attempts it has */
    FG_IN_NODE_GONE,                     /* its connection broke; its leases go on until their deadline */
    FG_IN_NODE_ALIVE,                    /* heartbeat: moves the deadlines of its leases */
    FG_IN_REPORT,                        /* what an agent says about an attempt; safe to repeat */
    FG_IN_TICK                           /* time went by; call at fg_core_next_deadline or each second */
};
enum fg_report_kind { FG_REPORT_STARTED, FG_REPORT_USAGE, FG_REPORT_FINISHED, FG_REPORT_PARKING };
/* Where the device memory of an attempt is; moved: a move that was asked for has ended, and device is where it is now. */
struct fg_parking_report { int parking; uint64_t bytes; char device[64]; bool moved; };

/* An attempt as its agent has it, at hello. */
struct fg_attempt_at_node { fg_id task; uint32_t attempt; uint64_t epoch; bool finished; };

struct fg_input {
    enum fg_input_kind kind;
    fg_id task;                          /* SUBMIT: the new id, made by the shell */
    union {
        struct { fg_id tenant; struct fg_spec *spec; const char *idempotency; } submit;   /* spec is copied */
        struct { fg_id node; } node;     /* GONE, ALIVE */
        struct { fg_id tenant; uint32_t weight; } weight;      /* 1..FG_WEIGHT_MAX */
        struct { fg_id tenant; struct fg_price price; bool unset; } price;   /* tenant: whose log has it; unset: as the settings say */
        struct { fg_id tenant, node; fg_device_id device; const char *reason; bool now, resume; } drain;     /* device 0: all of the machine;
                                          * now: who may be asked to go is */
        struct { const struct fg_node *node; const struct fg_device *devices; size_t device_count;
                 const struct fg_attempt_at_node *attempts; size_t attempt_count; } hello; /* device ids are assigned here */
        struct { fg_id node; uint32_t attempt; uint64_t epoch; enum fg_report_kind kind; int64_t pull_ns;
                 struct fg_usage usage; struct fg_outcome *outcome;                         /* outcome is copied */
                 struct fg_parking_report parking; } report;
    };
};

enum fg_action_kind {
    FG_ACT_START,                        /* start the attempt task/attempt on node with lease */
    FG_ACT_KILL,                         /* kill it: canceled, time, superseded */
    FG_ACT_ACK,                          /* the report is on disk */
    FG_ACT_FORGET,                       /* the attempt is over for us: drop what is kept of it */
    FG_ACT_RESIZE,                       /* the vGPU of an attempt that runs has share + lent of lease now; safe to repeat */
    FG_ACT_MOVE                          /* bring it back on the device lease.moving_to; safe to repeat */
};
struct fg_action {
    enum fg_action_kind kind;
    fg_id node, task;
    uint32_t attempt;
    uint64_t epoch;
    struct fg_lease lease;               /* START, RESIZE, MOVE */
    enum fg_reason reason;               /* KILL */
    enum fg_report_kind report;          /* ACK */
    uint32_t report_seq;
};
struct fg_effects {
    FG_VEC(struct fg_event) events;      /* owned; in log order */
    /* Perform after all events of these and of all earlier effects are on disk (an ack of a repeated report must not
     * overtake the event of the first), and only through the connection the node had when they were decided: when it has
     * connected anew, drop them, its hello decided again. */
    FG_VEC(struct fg_action) actions;
};
void fg_effects_clear(struct fg_effects *fx);  /* frees the events, keeps the arrays */
void fg_effects_fini(struct fg_effects *fx);

/* Plans made since the start. Every plan's cost, and what no plan for the same tasks could beat. */
struct fg_plan_stats {
    uint64_t rounds, placed, improved;   /* improved: rounds in which the solver was asked */
    uint64_t preempted, reserved;
    uint64_t borrowed, moves, chains;    /* tasks placed in memory of parked ones; tasks told to move; chains of moves for a head */
    int64_t cost_nanousd, bound_nanousd; /* sums */
    int64_t last_cost_nanousd, last_bound_nanousd;
};

struct fg_core;
struct fg_core *fg_core_create(const struct fg_core_config *config);
void fg_core_destroy(struct fg_core *core);

/* Take one input. Appends to *fx. 0, or -1 with *err when the input is refused; then nothing changed and nothing was
 * appended: SUBMIT whose idempotency key is taken (FG_E_CONFLICT, or FG_E_IDEMPOTENCY_MISMATCH for another body;
 * *ret_task of the first is in fg_core_idempotent) or whose deadline cannot be met (FG_E_INVALID), CANCEL/HOLD/RELEASE of an unknown task (FG_E_NOT_FOUND) or in a
 * state that does not allow it (FG_E_CONFLICT). Stale or repeated reports are not errors: they are acked or answered
 * with KILL and FORGET. Does not plan: call fg_core_dispatch when the inputs of a turn are in. */
int fg_core_handle(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);
/* Plan: place what can be placed from the head of the queue. Cheap when nothing changed. */
int fg_core_dispatch(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);
/* Change the state by one recorded event: used by handle, dispatch and replay alike. -1: the event is not legal in this
 * state (corrupt log); nothing changed. */
int fg_core_apply(struct fg_core *core, const struct fg_event *ev, struct fg_error *err);
/* When to tick next (absolute), INT64_MAX: never. */
int64_t fg_core_next_deadline(const struct fg_core *core);

/* Rows changed since the last call, for the store: each task once, in id order; aux rows ("node:...", "device:...",
 * "history:...", "core") as documents. doc NULL: delete. After this the rows count as stored. */
typedef void fg_core_row_fn(void *arg, const struct fg_task *task, const char *aux_key, const char *aux_doc);
void fg_core_changes(struct fg_core *core, fg_core_row_fn *fn, void *arg);
/* Drop tasks that are settled from memory; call with ids whose rows are committed. Unknown ids are fine. */
void fg_core_evict(struct fg_core *core, const fg_id *tasks, size_t n);
/* Startup: one stored task that is not settled yet (moved in), or one aux row. Then fg_core_loaded once. */
int fg_core_load_task(struct fg_core *core, struct fg_task *task, struct fg_error *err);
int fg_core_load_aux(struct fg_core *core, const char *key, const char *doc, struct fg_error *err);
void fg_core_loaded(struct fg_core *core, uint64_t last_seq);

/* Reading. Pointers are good until the next call that changes the core. */
const struct fg_task *fg_core_task(const struct fg_core *core, fg_id task);   /* NULL: unknown or evicted */
bool fg_core_idempotent(const struct fg_core *core, fg_id tenant, const char *key, fg_id *ret_task);
struct fg_core_counts { size_t queued, starting, running, held; size_t tasks; uint64_t events; };   /* held ones are counted in queued too */
void fg_core_counts(const struct fg_core *core, struct fg_core_counts *ret);
/* 1-based place in the queue, 0: not queued. Between tenants it is a forecast: who is served next depends on what they use
 * until then. O(lines before it). */
size_t fg_core_position(const struct fg_core *core, fg_id task, int64_t now_ns);
/* What is held for a task, or NULL: it is no head of the line. */
const struct fg_reservation *fg_core_reservation(const struct fg_core *core, fg_id task);
void fg_core_plan_stats(const struct fg_core *core, struct fg_plan_stats *ret);
/* Prices by kind: of every kind there is a device of, or that was priced; "" is that of all others. Returns how many there are. */
struct fg_price_view { struct fg_price price; bool set; };     /* set: not as the settings say */
size_t fg_core_prices(const struct fg_core *core, struct fg_price_view *views, size_t max);
/* Tenants that the queue knows, by id. */
struct fg_tenant_view { fg_id tenant; uint32_t weight; uint64_t used_us;    /* until now */
                        uint64_t expected_us;    /* of what runs, until its end: counted as used when turns are taken */
                        size_t waiting, live; };
size_t fg_core_tenants(const struct fg_core *core, int64_t now_ns, struct fg_tenant_view *views, size_t max);
/* Snapshot views for routes: devices with what is free, nodes, leases of a device. Return counts, at most max written. */
struct fg_device_view { const struct fg_device *device; const struct fg_node *node; uint64_t memory_free_bytes; uint32_t share_free_permille;
                        uint32_t share_lent_permille;   /* of what is free: lent to elastic tasks until somebody needs it */
                        uint64_t memory_parked_bytes, memory_borrowed_bytes;   /* quotas of parked tasks; of tasks in their place */
                        int64_t price_nanousd_per_s; size_t leases; };
size_t fg_core_devices(const struct fg_core *core, struct fg_device_view *views, size_t max);
size_t fg_core_nodes(const struct fg_core *core, const struct fg_node **nodes, size_t max);
/* Whether nothing new is placed on a device, or (device 0) on a machine, and since when and why. */
struct fg_drain_view { int64_t since_ns; const char *reason; bool now, whole_node; };
bool fg_core_drain(const struct fg_core *core, fg_id node, fg_device_id device, struct fg_drain_view *ret);
/* Tasks with a place there (device 0: anywhere on the machine), also those that move to it; going: they were told to end. */
struct fg_staying { const struct fg_task *task; bool going; };
size_t fg_core_tasks_at(const struct fg_core *core, fg_id node, fg_device_id device, struct fg_staying *tasks, size_t max);
size_t fg_core_device_tasks(const struct fg_core *core, fg_device_id device, const struct fg_task **tasks, size_t max);
const struct fg_device *fg_core_device(const struct fg_core *core, fg_device_id device);
/* Blocks of a queued task against every device, and its completed need and estimate; for `why` and quotes. */
size_t fg_core_why(const struct fg_core *core, fg_id task, int64_t now_ns, struct fg_block *blocks, size_t max);
/* When a waiting task will start: in 80 of 100 cases between p10 and p90. False: it waits for nothing that is known to come. */
struct fg_forecast { int64_t p10_ns, p50_ns, p90_ns; };
bool fg_core_forecast(const struct fg_core *core, fg_id task, int64_t now_ns, struct fg_forecast *ret);
/* What a spec would be given now: class, need, best device, cost. For quotes (dry_run). -1 FG_E_INVALID: no device could ever take it
 * (then the message says the largest there is); with no device known at all that is not an error and ret->device is 0. */
struct fg_quote { enum fg_class class; enum fg_class_rule class_rule; struct fg_need need; struct fg_estimate estimate; fg_device_id device;
                  int64_t cost_p50_nanousd, cost_p95_nanousd; };
int fg_core_quote(const struct fg_core *core, const struct fg_spec *spec, struct fg_quote *ret, struct fg_error *err);
/* Check every internal invariant (capacity, indices, counters); abort with a message when one is broken. For tests and debug builds. */
void fg_core_verify(const struct fg_core *core);
/* FNV hash over the canonical encoding of the whole state: equal states, equal hashes. For replay tests. */
uint64_t fg_core_hash(const struct fg_core *core);
