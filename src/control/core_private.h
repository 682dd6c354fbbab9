/* core_private.h - the state of the control core and what its files offer each other. Only core files include this.
 *
 *   table.c   id -> task, (tenant, idempotency key) -> task      apply.c    the only one that changes tasks, nodes, devices
 *   queue.c   waiting tasks in order                             core.c     submit, cancel, hold, release; emit
 *   timer.c   deadlines of tasks and nodes                       lease.c    nodes: hello, gone, alive, lost
 *   rows.c    stored rows out and in                             report.c   what agents say; how an attempt ends
 *   view.c    reading; verify.c: invariants and the state hash   dispatch.c planning; why.c: blocks and quotes
 *
 * Hard state changes by events alone (apply.c) and is what the store has. Soft state is what is learnt anew after a
 * restart: who is connected, how far leases were moved, which kills were sent. It is in no row and in no hash. */
#pragma once
#include "control/core.h"

enum timer_kind { TIMER_TASK, TIMER_NODE };
struct timer {
    int64_t due_ns;
    uint32_t place;                      /* in the heap, from 1; 0: not there */
    enum timer_kind kind;
    fg_id id;                            /* of its owner; breaks ties, so that equal states pop alike */
};

struct entry {                           /* a task in memory */
    struct fg_task t;
    struct timer timer;
    struct entry *left, *right;          /* queue */
    uint32_t size;                       /* of its subtree there, itself included; 0: not in the queue */
    struct entry *lease_prev, *lease_next; /* live leases of its node */
    uint64_t need_memory_bytes;          /* completed need, good for need_version of the history */
    uint32_t need_share_permille, need_version;
    uint32_t hello_mark;                 /* soft: the agent had it at this hello */
    bool linked;                         /* in that list, its share taken from the device */
    bool changed;                        /* its row waits for fg_core_changes */
    bool killing;                        /* soft: a kill was sent, for kill_reason, and is sent again at kill_again_ns */
    enum fg_reason kill_reason;
    int64_t kill_again_ns;
};

struct node {
    struct fg_node n;                    /* connected and seen_ns are soft */
    int64_t joined_ns;                   /* of its last node.joined or node.lost; seen_ns after a restart */
    int64_t deadline_ns;                 /* soft: its leases hold until then; 0: not known since the restart */
    struct timer timer;
    struct entry *leases;
    bool changed;
};

struct device {
    struct fg_device d;                  /* id 0: a hole */
    struct node *node;
    uint64_t memory_used_bytes;
    uint32_t share_used_permille;
    size_t leases;
    bool changed;
};

struct table { struct entry **slots; size_t count, mask; };

struct fg_core {
    struct fg_core_config config;        /* prices owned */
    uint64_t last_seq, next_epoch;
    bool counters_changed;
    struct table tasks, idempotent;
    struct entry *queue[FG_PRIORITY_COUNT];
    FG_VEC(struct timer *) timers;
    FG_VEC(struct node *) nodes;         /* by id */
    FG_VEC(struct device) devices;       /* device id - 1 */
    struct fg_history *history;
    uint32_t history_version;
    uint32_t hello_mark;
    FG_VEC(struct entry *) changed;
    struct fg_core_counts counts;
    bool plan_due;                       /* something changed that planning could use */
    struct {                             /* the last proposal: neighbours in a queue are mostly alike */
        uint32_t version;
        enum fg_task_type type;
        enum fg_class class;
        char name[80];
        struct fg_need asked, need;
    } proposed;
    FG_VEC(struct fg_plan_task) plan_tasks;     /* scratch of dispatch */
    FG_VEC(struct fg_plan_device) plan_devices;
};

/* An effect that breaks an invariant is our bug, and going on would spread it to the disk: stop, the log is whole. */
#define core_assert(cond) do { if (!(cond)) core_broken(#cond, __FILE__, __LINE__); } while (0)
_Noreturn void core_broken(const char *what, const char *file, int line);

/* table.c */
struct entry *table_find(const struct fg_core *core, fg_id task);
void table_add(struct fg_core *core, struct entry *e);
void table_remove(struct fg_core *core, struct entry *e);
struct entry *table_find_key(const struct fg_core *core, fg_id tenant, const char *key, size_t key_len);
/* All tasks in id order, the caller's to free. */
struct entry **table_sorted(const struct fg_core *core, size_t *ret_count);
void table_fini(struct fg_core *core);

/* queue.c: priority high to low, then id */
void queue_add(struct fg_core *core, struct entry *e);
void queue_remove(struct fg_core *core, struct entry *e);
size_t queue_size(const struct fg_core *core);
size_t queue_place(const struct fg_core *core, const struct entry *e);   /* from 1; 0: not in it */
/* fn for the first n; it must not change the queue. */
void queue_head(const struct fg_core *core, size_t n, void (*fn)(void *arg, struct entry *e), void *arg);

/* timer.c */
void timer_set(struct fg_core *core, struct timer *timer, int64_t due_ns);  /* INT64_MAX: none */
struct timer *timer_first(const struct fg_core *core);                      /* NULL: none */
void timer_of_task(struct fg_core *core, struct entry *e);                  /* set it from the state of the task */
void timer_of_node(struct fg_core *core, struct node *n);
int64_t timer_task_due(const struct fg_core *core, const struct entry *e);
int64_t core_cost_limit_at(const struct fg_core *core, const struct entry *e); /* when a running task reaches max_cost */

/* apply.c */
struct node *core_node(const struct fg_core *core, fg_id id);
struct device *core_device(const struct fg_core *core, fg_device_id id);
struct node *core_node_add(struct fg_core *core, fg_id id);
struct device *core_device_slot(struct fg_core *core, fg_device_id id);
void core_touch(struct fg_core *core, struct entry *e);                     /* its row changed */
void core_count(struct fg_core *core, const struct entry *e, int by);       /* in counts */
bool core_queueable(const struct entry *e);                                 /* queued and not held */
void core_lease_link(struct fg_core *core, struct entry *e);                /* take the device share of a live lease */
void core_lease_unlink(struct fg_core *core, struct entry *e);
struct entry *core_entry_create(struct fg_task *task);                      /* moves task in */
void core_entry_destroy(struct entry *e);
uint64_t core_largest_memory(const struct fg_core *core, const char *kind); /* of a device of that kind, "" any; 0: none */

/* core.c: record an event (ev->kind and its body set; body moved), apply it, append it to fx */
void core_emit(struct fg_core *core, struct fg_effects *fx, int64_t now_ns, struct fg_event *ev);
void core_emit_task(struct fg_core *core, struct fg_effects *fx, int64_t now_ns, const struct entry *e, uint32_t attempt, struct fg_event ev);
void core_act(struct fg_effects *fx, enum fg_action_kind kind, const struct entry *e, enum fg_reason reason);
void core_kill(struct fg_core *core, struct entry *e, enum fg_reason reason, int64_t now_ns, struct fg_effects *fx);

/* report.c */
int core_report(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);
/* End the current attempt of a starting or running task with outcome (moved): finished, or queued again. */
void core_end_attempt(struct fg_core *core, struct entry *e, struct fg_outcome *outcome, int64_t now_ns, struct fg_effects *fx);
/* End a task that waits. */
void core_end_queued(struct fg_core *core, struct entry *e, enum fg_state state, enum fg_reason reason, const char *detail,
                     int64_t now_ns, struct fg_effects *fx);

/* lease.c */
int core_hello(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);
void core_gone(struct fg_core *core, fg_id node);
void core_alive(struct fg_core *core, fg_id node, int64_t now_ns);
void core_tick(struct fg_core *core, int64_t now_ns, struct fg_effects *fx);

/* dispatch.c */
void core_plan_devices(struct fg_core *core, bool empty);                   /* fill plan_devices; empty: as if nothing ran */
void core_need(struct fg_core *core, struct entry *e, struct fg_need *ret); /* completed need of a queued task */
bool core_device_usable(const struct device *d);
int64_t core_price(const struct fg_core *core, const char *kind);
uint64_t core_memory_for_tasks(const struct fg_core *core, const struct device *d); /* less the reserve */

/* why.c */
enum fg_class core_classify(const struct fg_core *core, const struct fg_spec *spec, enum fg_class_rule *ret_rule);
