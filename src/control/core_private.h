/* core_private.h - the state of the control core and what its files offer each other. Only core files include this.
 *
 *   table.c   id -> task, (tenant, idempotency key) -> task      apply.c    the only one that changes tasks, nodes, devices
 *   queue.c   waiting tasks in order                             core.c     submit, cancel, hold, release; emit
 *   line.c    those of a tenant that ask the same                account.c  what tenants use, and their weights
 *   reserve.c what is held for the heads of the line             preempt.c  whose place is taken
 *   kinds.c   the largest device of each kind                    elastic.c idle share: lent and taken back
 *   deadline.c which deadlines cannot be met                     forecast.c when a waiting task will start
 *   timer.c   deadlines of tasks and nodes                       lease.c    nodes: hello, gone, alive, lost
 *   parking.c parked memory: lent, moved, called back            migrate.c  running tasks moved to open a device
 *   rows.c    stored rows out and in                             report.c   what agents say; how an attempt ends
 *   view.c    reading; verify.c: invariants and the state hash   dispatch.c planning; why.c: blocks and quotes
 *   host.c    what is held of a machine's processor beside its devices
 *   prices.c  what device kinds cost, and how that changes       drain.c    machines and devices taken out of use
 *
 * Hard state changes by events alone (apply.c) and is what the store has. Soft state is what is learnt anew after a
 * restart: who is connected, how far leases were moved, which kills were sent. It is in no row and in no hash. */
#pragma once
#include "control/core.h"
#include "plan/market.h"
#include "plan/moves.h"
#include "plan/rooms.h"

enum timer_kind { TIMER_TASK, TIMER_NODE };
struct timer {
    int64_t due_ns;
    uint32_t place;                      /* in the heap, from 1; 0: not there */
    enum timer_kind kind;
    fg_id id;                            /* of its owner; breaks ties, so that equal states pop alike */
};

struct account;
struct line;

struct entry {                           /* a task in memory */
    struct fg_task t;
    struct timer timer;
    struct line *line;                   /* where it waits; NULL: not in the queue */
    struct entry *left, *right;          /* there */
    uint32_t size;                       /* of its subtree there, itself included; 0: not in the queue */
    struct entry *gang_prev, *gang_next; /* the others of its gang that have not ended */
    struct entry *lease_prev, *lease_next; /* live leases of its node */
    struct entry *device_prev, *device_next; /* and of its device */
    struct entry *host_prev, *host_next; /* and with a part of its machine's processor beside that */
    int64_t expected_ns, p50_ns, p95_ns; /* soft: run time as estimated when it was placed */
    uint32_t held_permille;              /* soft: what of the device its live lease counts as */
    uint32_t hello_mark;                 /* soft: the agent had it at this hello */
    bool linked;                         /* in that list, its share taken from the device */
    bool changed;                        /* its row waits for fg_core_changes */
    int64_t moving_since_ns, no_move_ns; /* soft: its move began; not to be moved before, */
    unsigned moves_failed;               /* ... after so many moves that failed */
    bool killing;                        /* soft: a kill was sent, for kill_reason, and is sent again at kill_again_ns */
    enum fg_reason kill_reason;
    int64_t kill_again_ns;
};

/* Tasks of one tenant and priority that ask the same: what blocks one blocks them all, so a window of lines sees past
 * thousands of equal tasks. Ordered by deadline, then age; lines of a tenant by their first task. A gang is a line of its own. */
struct line {
    struct account *account;
    struct line *next;                   /* in its hash chain */
    uint64_t hash;
    enum fg_priority priority;
    enum fg_task_type type;
    enum fg_class class;
    bool spot;
    char *name;                          /* model or program, or NULL */
    struct fg_need asked;
    int64_t run_ns;
    fg_id gang;                          /* NONE: its tasks start one by one */
    struct entry *root;                  /* its tasks, a treap */
    struct fg_order head;                /* of the first */
    struct line *left, *right;           /* in the tenant's treap */
    struct fg_need need;                 /* completed, good for need_version of the history; 0: not yet */
    uint32_t need_version, estimate_version;
    struct fg_estimate estimate;         /* on the kind it would most likely get */
    uint64_t blocked_at;                 /* soft: room_version at which nothing was found for it */
    uint64_t no_reserve_at;              /* soft: ... at which no end of what runs would have helped */
    uint64_t nowhere_at;                 /* soft: places when no usable device could hold it, were it empty; 0: not known */
    int64_t moves_look_ns;               /* soft: moves for it are not looked for before */
    uint64_t seen_at;                    /* soft: the last walk that counted it, and how many it took of it */
    size_t taken;
};

struct account {                         /* a tenant, as far as the queue is concerned */
    fg_id tenant;
    uint64_t used_us;                    /* as of used_at_ns; order.h has the unit */
    int64_t used_at_ns;
    uint32_t weight;
    bool changed;
    struct line *lines[FG_PRIORITY_COUNT];
    size_t waiting[FG_PRIORITY_COUNT], line_count[FG_PRIORITY_COUNT], live;
    uint64_t live_permille, live_expected_us;
    __int128 live_started;               /* sum of permille x granted_ns */
};

struct price { struct fg_price is; bool unset, changed; };     /* unset: config's again; its row is to go */
struct drain {                           /* of a machine, or of one device of it */
    fg_id node;
    fg_device_id device;                 /* 0: all of it */
    int64_t since_ns;
    char reason[FG_DRAIN_REASON];
    bool now, over, changed;             /* over: lifted, its row is to go */
};
struct kind { char name[64]; fg_device_id largest; };    /* of devices; "" is any */
struct some_devices { FG_VEC(struct fg_plan_device) devices; FG_VEC(struct fg_plan_lease) leases; };
struct gang { fg_id id; struct entry *first; uint32_t count; };

struct node {
    struct fg_node n;                    /* connected and seen_ns are soft */
    int64_t joined_ns;                   /* of its last node.joined or node.lost; seen_ns after a restart */
    int64_t deadline_ns;                 /* soft: its leases hold until then; 0: not known since the restart */
    struct timer timer;
    struct entry *leases;
    fg_device_id first;                  /* of its devices; 0: none */
    fg_device_id host;                   /* the one that is its processor; 0: none is known */
    uint32_t number;                     /* soft: from 1, in the order they came */
    uint64_t mark;                       /* soft: scratch of host.c */
    bool changed, drained;
    size_t movers, moving;               /* devices whose agent can move tasks; leases that are on their way */
    int64_t move_after_ns;               /* soft: no chain of moves before */
};
/* Moves of running tasks that open a device for a head of the line. Soft. */
struct chain_move { fg_id task; uint64_t epoch; fg_device_id to; bool begun; };
struct chain {
    struct node *node;
    fg_id group;
    fg_device_id device;                 /* that it opens */
    struct chain_move moves[FG_MOVES_MAX];
    uint32_t count;
    int64_t began_ns, ready_ns;          /* ready: as it should be */
    uint64_t stood_us;                   /* device time that was lost to it so far */
};
struct move_rate { char kind[64]; int64_t ns_per_mib; };

struct device {
    struct fg_device d;                  /* id 0: a hole */
    struct node *node;
    fg_device_id next;                   /* of its node */
    uint64_t memory_used_bytes;
    uint32_t share_used_permille;        /* own shares of the leases */
    uint32_t share_lent_permille;        /* on top of them */
    uint64_t memory_parked_bytes, memory_borrowed_bytes;      /* of used: of leases that are parked, that are in their place */
    uint32_t share_parked_permille, share_borrowed_permille;
    size_t parked, called;               /* leases that are parked, and how many of them have called */
    size_t leases, elastic;              /* live ones, and how many of them may be lent more */
    int64_t lend_at_ns;                  /* soft: when idle share is lent; 0: nothing is to be done */
    struct entry *first;                 /* of its live leases */
    struct entry *beside;                /* of those elsewhere on its machine that hold a part of it, and what of its cores in sum */
    uint64_t host_milli;
    bool changed, drained;               /* drained: itself, whatever its machine is */
};

struct table { struct entry **slots; size_t count, mask; };

struct fg_core {
    struct fg_core_config config;        /* prices owned */
    FG_VEC(struct price) prices;         /* set while it runs, by kind; they go before those of config */
    FG_VEC(struct drain) drains;         /* by machine and device */
    bool prices_changed, drains_changed;
    uint64_t last_seq, next_epoch;
    bool counters_changed;
    struct table tasks, idempotent;
    FG_VEC(struct account *) accounts;   /* by tenant */
    FG_VEC(struct gang) gangs;           /* by id */
    struct line **line_slots;            /* hash of lines: a power of two of them */
    size_t line_slot_count, line_count;
    size_t waiting;                      /* in all lines */
    uint64_t room_version;               /* grows when there may be room that was not there before */
    uint64_t walks, machine_marks;
    struct fg_reservation reservations[FG_RESERVATIONS_MAX];    /* soft, like the promises in them */
    size_t reservation_count;
    size_t preemptible_live, parked_live;
    struct fg_plan_stats plan_stats;
    FG_VEC(struct timer *) timers;
    FG_VEC(struct node *) nodes;         /* by id */
    FG_VEC(struct device) devices;       /* device id - 1 */
    struct fg_history *history;
    struct fg_demand *demand;            /* soft: follows from the tasks that came; after a restart from those that are there */
    uint32_t history_version;
    uint32_t hello_mark;
    FG_VEC(struct entry *) changed;
    FG_VEC(struct node *) changed_nodes; /* or some of their devices */
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
    FG_VEC(struct entry *) plan_entries;
    FG_VEC(struct fg_plan_device) plan_devices;
    bool kinds_fresh;
    FG_VEC(struct kind) kinds;           /* kinds.c */
    bool plan_fresh;                     /* plan_devices is as things are, but for plan_dirty */
    FG_VEC(fg_device_id) plan_dirty;
    uint64_t places;                     /* what the usable ones among plan_devices could hold, as a word: who fits none need not ask again */
    struct fg_rooms *rooms;              /* plan_devices as they were when they were fresh, in order */
    struct some_devices some;            /* scratch of reserve.c and forecast.c */
    size_t movers;                       /* devices whose agent can move tasks */
    FG_VEC(struct chain *) chains;
    FG_VEC(struct move_rate) move_rates; /* soft: seen since the start */
    FG_VEC(fg_device_id) lend_due;       /* soft: devices with lend_at_ns */
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

/* line.c */
struct line *line_of(struct fg_core *core, const struct entry *e);          /* made when there is none */
void line_add(struct fg_core *core, struct line *l, struct entry *e);
void line_remove(struct fg_core *core, struct line *l, struct entry *e);    /* an empty one goes away */
struct entry *line_first(const struct line *l);
struct entry *line_after(const struct line *l, const struct fg_order *key); /* NULL: none */
size_t line_before(const struct line *l, const struct fg_order *key);       /* how many of its tasks come before key */
size_t line_size(const struct line *l);
struct line *account_line_after(const struct account *a, int priority, const struct fg_order *key); /* NULL key: the first */
struct fg_order entry_order(const struct entry *e);
/* Whether its tasks may start now; a gang only as a whole. */
bool line_ready(const struct line *l);
void lines_fini(struct fg_core *core);

/* account.c */
struct account *account_of(struct fg_core *core, fg_id tenant);             /* made when it is not there */
struct account *account_find(const struct fg_core *core, fg_id tenant);     /* or NULL */
uint64_t account_used(const struct fg_core *core, const struct account *a, int64_t now_ns);
struct fg_fair account_fair(const struct fg_core *core, struct account *a, int64_t now_ns);
void account_link(struct fg_core *core, struct entry *e, bool link);        /* a live lease begins or ends to count */
void account_fold(struct fg_core *core, const struct entry *e, int64_t now_ns); /* a lease ended: what it used is used */
bool account_is_plain(const struct account *a);                             /* nothing to remember */
struct gang *gang_of(const struct fg_core *core, fg_id id);                 /* NULL: none */
void gang_join(struct fg_core *core, struct entry *e);                      /* no gang: nothing happens */
void gang_leave(struct fg_core *core, struct entry *e);

/* queue.c: priority high to low; then order.h */
void queue_add(struct fg_core *core, struct entry *e);
void queue_remove(struct fg_core *core, struct entry *e);
size_t queue_size(const struct fg_core *core);
size_t queue_place(const struct fg_core *core, const struct entry *e, int64_t now_ns);   /* from 1; 0: not in it */
size_t queue_before_own(const struct account *a, int priority, const struct fg_order *key); /* of its tenant's */
uint64_t queue_charge(struct fg_core *core, struct line *l);                /* what one of its tasks is expected to use */
/* A walk through the queue in order. Nothing may enter or leave it meanwhile. */
struct walk {
    struct fg_core *core;
    int64_t now_ns;
    int priority;
    struct fg_fair_heap tenants;
    FG_VEC(struct turn *) turns;
    struct turn *turn;                   /* whose task was last */
    struct line *line;
    struct entry *entry;
    bool drop;                           /* set by the caller: no more of this line */
    bool takes;                          /* set by the caller: it is likely to start, so its tenant is charged */
};
void walk_begin(struct walk *w, struct fg_core *core, int64_t now_ns);
struct entry *walk_next(struct walk *w); /* NULL: the end */
void walk_end(struct walk *w);

/* reserve.c */
void reserve_refresh(struct fg_core *core, int64_t now_ns);                 /* drop what is over, count anew what is spare */
bool reserve_for(struct fg_core *core, const struct fg_plan_task *task, struct line *l, int64_t now_ns);
void reserve_drop(struct fg_core *core, size_t index);
const struct fg_reservation *reserve_find(const struct fg_core *core, const struct entry *e);
bool core_is_reserved(const struct fg_core *core, fg_device_id device, int most);   /* for a head of the line of that rank at most */
fg_id core_group(const struct entry *e);                                    /* itself, or the first of its gang that waits */
struct entry *core_waiting(const struct fg_core *core, fg_id group);        /* the one whose group it is, or NULL */
int core_rank(const struct entry *e);                                       /* spot 0, low 1, normal 2, high 3 */
struct fg_plan_lease core_plan_lease(const struct fg_core *core, const struct entry *e, int64_t end_ns, int64_t latest_ns);   /* as planning has a live lease */
int64_t core_end_expected(const struct entry *e, int64_t now_ns);           /* of a live lease */
int64_t core_end_latest(const struct entry *e, int64_t now_ns);
void core_some_devices(struct fg_core *core, const struct fg_plan_task *task, struct some_devices *ret);

/* preempt.c: make room for the head that reservation index is for, if others may be asked to go. Spoils plan_devices. */
void core_make_go(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_effects *fx);   /* with all of its gang */
void core_hold_places(struct fg_core *core, struct fg_reservation *r, const struct fg_need *need, const fg_device_id *devices, uint32_t n,
                      int64_t now_ns);
void preempt_for(struct fg_core *core, size_t index, const struct fg_plan_task *task, int64_t now_ns, struct fg_effects *fx);

/* host.c */
void core_find_host(struct fg_core *core, struct node *n);                  /* after its devices changed */
struct device *core_host_of(const struct fg_core *core, const struct device *d);    /* its machine's processor, or NULL */
uint32_t core_share_beside(const struct device *d);                         /* that parts beside other devices come to, rounded up */
void core_plan_host(const struct fg_core *core, const struct device *d, bool empty, struct fg_plan_device *ret);
bool core_could_hold(const struct fg_core *core, const struct device *d, const struct fg_need *need);   /* empty */
uint64_t core_memory_beside(const struct fg_core *core, const struct fg_need *need);    /* its memory, a guess, cut to what it can have with its part */
/* What the lease of a placement holds there; lent share is taken back for it. */
void core_host_lease(struct fg_core *core, const struct fg_placement *p, bool spot, int64_t now_ns, struct fg_lease *lease, struct fg_effects *fx);
int core_host_check(const struct fg_core *core, const struct fg_lease *l, struct fg_error *err);
void core_host_link(struct fg_core *core, struct entry *e, int by);
typedef struct fg_plan_lease core_lease_fn(const struct fg_core *core, const struct entry *e, double z, int64_t now_ns);
/* Add the leases of machines of list's devices where what ends elsewhere on the machine matters to the need. True: that is all of
 * them; else core_listed says whether a device's own are among them. */
bool core_list_machines(struct fg_core *core, const struct fg_need *need, struct some_devices *list, core_lease_fn *make, double z, int64_t now_ns);
bool core_listed(const struct fg_core *core, const struct device *d);
void core_verify_hosts(const struct fg_core *core);

/* elastic.c */
bool core_elastic(const struct entry *e);                                   /* of a live lease: it may be lent more */
void core_lend_later(struct fg_core *core, struct device *d, int64_t now_ns);   /* its idle share changed */
void core_lend(struct fg_core *core, int64_t now_ns, struct fg_effects *fx);    /* what is due */
/* Lent share goes down until a lease of so much fits beside it; own shares leave room for it. */
void core_take_back(struct fg_core *core, struct device *d, uint32_t share_permille, int64_t now_ns, struct fg_effects *fx);
void core_resize(struct fg_core *core, struct entry *e, uint32_t lent_permille, int64_t now_ns, struct fg_effects *fx);
void core_lend_hello(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx);
uint32_t core_mean_share(const struct fg_task *t, int64_t now_ns);          /* that an attempt ran with, lent share included */

/* parking.c */
/* What of a device is not to be had by a task that is to stay: the larger of what is promised and what is there. */
uint64_t core_memory_held(const struct device *d);
uint32_t core_share_held(const struct device *d);
bool core_end_helps(const struct fg_core *core, const struct entry *e);     /* the end of a live lease makes that smaller */
void core_parking_link(struct fg_core *core, struct entry *e, int by);      /* what its lease adds to the sums of its devices; by 1 or -1 */
int core_parking_check(const struct fg_core *core, const struct entry *e, const struct fg_event *ev, struct fg_error *err);
void core_parking_apply(struct fg_core *core, struct entry *e, const struct fg_event *ev);
void core_parking_said(struct fg_core *core, struct entry *e, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx);
void core_parking_hello(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx);
/* Give waiting tasks that may be asked to go the place of those that are parked. */
int core_lend_places(struct fg_core *core, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);

/* Hold a place on `to` and have its agent bring it there, for whom (or NONE); false: there is no room for it. */
bool core_move(struct fg_core *core, struct entry *e, struct device *to, fg_id whom, int64_t now_ns, struct fg_effects *fx);
struct device *core_place_to_move(const struct fg_core *core, const struct entry *e);      /* NULL: none */

/* migrate.c */
void core_movers_count(struct fg_core *core, struct node *n);               /* its devices changed */
/* Moves that make room for the head that reservation index is for; true: they are under way. */
bool core_open_for(struct fg_core *core, size_t index, const struct fg_plan_task *task, int64_t now_ns, struct fg_effects *fx);
void core_chains_step(struct fg_core *core, int64_t now_ns, struct fg_effects *fx);
void core_moved(struct fg_core *core, struct entry *e, bool there, int64_t now_ns);         /* its move ended */
void core_leave_drained(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx);
void core_tell_chain(const struct fg_core *core, const struct entry *e, int64_t now_ns, struct fg_block *b);
void core_chains_fini(struct fg_core *core);

/* timer.c */
void timer_set(struct fg_core *core, struct timer *timer, int64_t due_ns);  /* INT64_MAX: none */
struct timer *timer_first(const struct fg_core *core);                      /* NULL: none */
void timer_of_task(struct fg_core *core, struct entry *e);                  /* set it from the state of the task */
void timer_of_node(struct fg_core *core, struct node *n);
int64_t timer_task_due(const struct fg_core *core, const struct entry *e);
int64_t core_cost_limit_at(const struct fg_core *core, const struct entry *e); /* when a running task reaches max_cost */

/* machines.c */
struct node *core_node(const struct fg_core *core, fg_id id);
struct device *core_device(const struct fg_core *core, fg_device_id id);
struct node *core_node_add(struct fg_core *core, fg_id id);
struct device *core_device_slot(struct fg_core *core, fg_device_id id);
void core_device_at(struct device *d, struct node *n);                      /* it is one of n, from now on */
struct device *core_next_device(const struct fg_core *core, const struct node *n, const struct device *last);  /* last NULL: the first */

/* apply.c */
void core_touch(struct fg_core *core, struct entry *e);                     /* its row changed */
void core_room(struct fg_core *core);                                       /* there may be room that was not there */
void core_count(struct fg_core *core, const struct entry *e, int by);       /* in counts */
bool core_queueable(const struct entry *e);                                 /* queued and not held */
void core_lease_link(struct fg_core *core, struct entry *e);                /* take the device share of a live lease */
void core_lease_unlink(struct fg_core *core, struct entry *e);
struct entry *core_entry_create(struct fg_task *task);                      /* moves task in */
void core_entry_destroy(struct entry *e);

/* kinds.c: of a kind, "" any */
const struct device *core_largest(const struct fg_core *core, const char *kind);    /* NULL: there is none */
uint64_t core_largest_memory(const struct fg_core *core, const char *kind);         /* for tasks; 0: none */

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
void core_grant(struct fg_core *core, const struct fg_placement *p, bool borrowed, int64_t now_ns, struct fg_effects *fx);
void core_plan_devices(struct fg_core *core, bool empty);                   /* fill plan_devices; empty: as if nothing ran */
void core_plan_changed(struct fg_core *core, fg_device_id id);              /* what planning sees of it */
void core_plan_node_changed(struct fg_core *core, const struct node *n);    /* ... of its devices */
struct fg_plan_device *core_plan_device(const struct fg_core *core, fg_device_id id);   /* among them, or NULL */
void core_plan_prices(struct fg_core *core, const char *kind);              /* what those of the kind cost has changed, and nothing else */
void core_need(struct fg_core *core, struct entry *e, struct fg_need *ret); /* completed need of a queued task */
void core_line_need(struct fg_core *core, struct line *l, struct fg_need *ret);
const struct fg_estimate *core_line_estimate(struct fg_core *core, struct line *l);
bool core_device_usable(const struct device *d);
uint64_t core_memory_for_tasks(const struct fg_core *core, const struct device *d); /* less the reserve */

void core_ask_for(struct fg_core *core, struct entry *e, int64_t now_ns);   /* it came: what is typical follows from it */
void core_complete(struct fg_core *core, const struct fg_spec *spec, enum fg_class class, struct fg_need *ret); /* of a spec */

/* prices.c */
struct fg_price core_price(const struct fg_core *core, const char *kind);
int core_set_price(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);
int core_priced(struct fg_core *core, const struct fg_event *ev, struct fg_error *err);     /* apply price.set */
void core_price_rows(struct fg_core *core, fg_core_row_fn *fn, void *arg);
int core_load_price(struct fg_core *core, const char *kind, const char *doc, struct fg_error *err);

/* drain.c */
bool core_is_drained(const struct device *d);
int core_drain(struct fg_core *core, const struct fg_input *in, int64_t now_ns, struct fg_effects *fx, struct fg_error *err);
int core_drained(struct fg_core *core, const struct fg_event *ev, struct fg_error *err);    /* apply node.drained, node.resumed */
void core_drains_mark(struct fg_core *core);                                /* on machines and devices, once all are loaded */
void core_drain_hello(struct fg_core *core, const struct node *n, int64_t now_ns, struct fg_effects *fx);
void core_drain_rows(struct fg_core *core, fg_core_row_fn *fn, void *arg);
int core_load_drain(struct fg_core *core, const char *doc, struct fg_error *err);
void core_tell_drain(const struct fg_core *core, struct fg_block *b);       /* that this is why */

/* deadline.c: -1 FG_E_INVALID when count such tasks cannot all end in time, with the proof; tenant NONE: alone */
int core_check_deadline(struct fg_core *core, fg_id tenant, const struct fg_spec *spec, const struct fg_need *need, uint32_t count,
                        int64_t now_ns, struct fg_error *err);

/* forecast.c: the blocks of each device, with what would start it there */
size_t core_tell_devices(struct fg_core *core, struct entry *e, int64_t now_ns, struct fg_block *blocks, size_t max);

/* why.c */
enum fg_class core_classify(const struct fg_core *core, const struct fg_spec *spec, enum fg_class_rule *ret_rule);
