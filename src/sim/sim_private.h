/* sim_private.h - the parts of the world and what they say to each other.
 *
 *   client.c --submit, cancel--> server.c (shell + core) --batches--> disk.c
 *                                    |  ^
 *                     actions, alive |  | hello, alive, reports      net.c: delay, loss, partitions
 *                                    v  |
 *                                machine.c (agent + attempts)        oracle.c: watches all, trusts nobody
 *
 * world.c owns time: happenings are done in order of (time, order of planning). */
#pragma once
#include "base/units.h"
#include "control/core.h"
#include "sim/world.h"

#define MS INT64_C(1000000)
#define SEC FG_NS_PER_S
#define LEASE_NS (30 * SEC)
#define MARGIN_NS (5 * SEC)
#define HEARTBEAT_NS (3 * SEC)
#define SILENCE_NS (10 * SEC)            /* then a connection counts as broken, on either side */
#define MACHINES_MAX 6
#define DEVICES_MAX 3

struct world;
typedef void happening_fn(struct world *w, int who, uint64_t what, void *data);
struct happening { int64_t at; uint64_t order; happening_fn *fn; int who; uint64_t what; void *data; };

/* --- disk.c --- */
struct record { uint64_t seq; int64_t time_ns; enum fg_event_kind kind; fg_id task, tenant; uint32_t attempt; char *body; };
struct row { fg_id id, tenant; char *doc, *spec, *idempotency; bool settled; };
struct aux { char *key, *doc; };
struct disk {
    FG_VEC(struct record) log;
    FG_VEC(struct row) rows;             /* in order of first commit */
    uint32_t *slots; size_t slot_count;  /* row index + 1 by id */
    FG_VEC(struct aux) aux;
    bool full;
    uint64_t hash;                       /* of the log */
};
struct send { struct fg_action action; uint64_t connection; };
struct batch {
    FG_VEC(struct fg_event) events;
    FG_VEC(struct row) rows;
    FG_VEC(struct aux) aux;
    FG_VEC(struct send) sends;
    FG_VEC(fg_id) submitted;             /* what a client is told once it is on disk */
    fg_id canceled;
};
void disk_commit(struct disk *disk, struct batch *batch);
struct row *disk_row(const struct disk *disk, fg_id id);
void disk_put_aux(struct disk *disk, const char *key, const char *doc);
void batch_destroy(struct batch *b);
void disk_fini(struct disk *disk);

/* --- net.c --- */
enum msg_kind { MSG_HELLO, MSG_ALIVE, MSG_REPORT, MSG_WELCOME, MSG_ACTION };   /* ALIVE goes both ways */
struct msg {
    enum msg_kind kind;
    uint64_t connection;
    int64_t sent_ns;                     /* ALIVE, HELLO, WELCOME: when the agent sent what is answered */
    struct fg_action action; char device[64]; struct fg_limits limits;   /* START: what it needs to know */
    fg_id task; uint32_t attempt; uint64_t epoch; enum fg_report_kind report; struct fg_usage usage; struct fg_outcome outcome; /* strings static */
    FG_VEC(struct fg_attempt_at_node) attempts;
};
struct link {
    bool cut;                            /* a partition: nothing passes */
    uint64_t dead_to_server, dead_to_agent; /* connections up to this one carry nothing any more */
    int64_t last_to_server, last_to_agent;  /* order is kept within a direction */
};
void net_to_server(struct world *w, int machine, struct msg *msg);   /* takes msg */
void net_to_agent(struct world *w, int machine, struct msg *msg);
/* Break the machine's connection; each end notices at once or by and by. */
void net_break(struct world *w, int machine, bool agent_notices, bool server_notices);

/* --- machine.c --- */
enum stage { STAGE_PULLING, STAGE_RUNNING, STAGE_ENDED };
struct attempt {                         /* what the machine's disk has of an attempt, and its supervisor */
    fg_id task; uint32_t number; uint64_t epoch;
    struct fg_lease lease;
    size_t device;                       /* index in its machine's */
    struct fg_limits limits;
    enum stage stage;
    bool started_sent, started_acked, ended_acked, killing;
    enum fg_reason kill_reason;
    int64_t started_ns, ends_ns, run_ns;
    struct fg_usage usage;
    uint32_t usage_acked;
    struct fg_outcome planned, outcome;
};
struct machine {
    struct fg_node node;
    struct fg_device devices[DEVICES_MAX];
    size_t device_count;
    bool on, agent_up;
    uint32_t boots;
    uint64_t connection;                 /* 0: none, as the agent sees it */
    int64_t heard_ns;
    int64_t lease_until_ns;              /* attempts die then */
    struct link link;
    FG_VEC(struct attempt *) attempts;
};
void machine_init(struct world *w, int index);
void machine_fini(struct machine *m);
void machine_receive(struct world *w, int index, struct msg *msg);
void machine_restart_agent(struct world *w, int index, int64_t down_ns);
void machine_reboot(struct world *w, int index, int64_t down_ns);
void machine_connect(struct world *w, int index);

/* --- server.c --- */
struct server {
    bool up, degraded;                   /* degraded: the disk takes no writes */
    uint64_t life;                       /* grows with every start */
    struct fg_core *core;
    FG_VEC(struct batch *) waiting;      /* decided, not on disk */
    size_t committing;                   /* the first so many of them are being written */
    uint64_t connections[MACHINES_MAX];
    int64_t heard_ns[MACHINES_MAX];
    uint64_t turns;
    int64_t refuse_until_ns;             /* no connections right after a failed write */
};
void server_start(struct world *w);
void server_crash(struct world *w, int64_t down_ns);
void server_receive(struct world *w, int machine, struct msg *msg);
void server_gone(struct world *w, int machine, uint64_t connection);
/* What a client asks. The core's answer; *err as the route would say it. */
int server_ask(struct world *w, const struct fg_input *in, struct fg_error *err);
int server_ask_all(struct world *w, const struct fg_input *in, size_t n, struct fg_error *err);  /* submits, all on disk or none */
struct fg_core *server_rebuild(struct world *w, bool replay);   /* from disk: rows, or the whole log */

/* --- client.c --- */
struct client {
    uint64_t made;                       /* ids */
    size_t oldest;                       /* index in the oracle's tasks: all before it have ended */
    bool stopped;
    FG_VEC(struct repeat { char *idempotency; fg_id task; }) repeats;
};
void client_start(struct world *w);
void client_wind_down(struct world *w);
void client_fini(struct client *c);

/* --- oracle.c --- */
struct watched {                         /* a task as the outside world saw it */
    fg_id id;
    bool known, submit_acked, cancel_acked, settled;
    enum fg_state state;
    uint32_t attempt, attempts_allowed, usage_seq;
    fg_id gang; uint32_t gang_size;      /* its first one; how many start together */
    uint32_t share_max;                  /* elastic: own and lent share, at most */
    bool may_go;                         /* spot or preemptible */
    uint64_t lease_epoch;                /* by the log; 0: none */
    struct fg_lease lease;
    uint64_t last_started_epoch;         /* of a process that was really started */
    int live;                            /* processes now */
    int64_t cost_nanousd;
};
struct oracle {
    FG_VEC(struct watched) tasks;
    uint32_t *slots; size_t slot_count;
    uint64_t last_seq, last_epoch;
    struct { uint64_t memory; uint32_t share; uint64_t host_milli; } leased[MACHINES_MAX * DEVICES_MAX + 1], used[MACHINES_MAX][DEVICES_MAX];
    uint64_t memory[MACHINES_MAX * DEVICES_MAX + 1];
    uint32_t units[MACHINES_MAX * DEVICES_MAX + 1];
    fg_id node[MACHINES_MAX * DEVICES_MAX + 1], drained_nodes[MACHINES_MAX];
    bool drained[MACHINES_MAX * DEVICES_MAX + 1];
};
void oracle_event(struct world *w, const struct fg_event *ev);               /* it is on disk now */
void oracle_batch(struct world *w, const struct batch *b);                   /* all of it is, in one transaction */
void oracle_acked(struct world *w, fg_id submitted, fg_id canceled);
void oracle_process(struct world *w, int machine, const struct attempt *a, bool starts);
void oracle_resize(struct world *w, int machine, struct attempt *a, uint32_t lent_permille);
void oracle_final(struct world *w);
void oracle_fini(struct oracle *o);
struct watched *oracle_task(struct oracle *o, fg_id id);                     /* made when it is not there */

/* What this world suffers from most; drawn from its seed, so that each kind of trouble has worlds of its own. */
struct climate {
    int64_t fault_every_ns;              /* on average half of it */
    unsigned slow_write, very_slow_write;    /* permille of commits; of the slow ones longer than a lease */
    unsigned late_message;               /* permille of messages */
    unsigned long_outage;                /* permille of outages that last longer than a lease */
};

struct world {
    struct fg_sim_options options;
    struct fg_sim_result *result;
    uint64_t rng;
    int64_t now;
    uint64_t order, connections;
    FG_VEC(struct happening) ahead;      /* heap */
    struct climate climate;
    struct disk disk;
    struct server server;
    struct machine machines[MACHINES_MAX];
    int machine_count;
    struct client client;
    struct oracle oracle;
    bool calm;                           /* no more faults */
};
/* world.c */
void at(struct world *w, int64_t when, happening_fn *fn, int who, uint64_t what, void *data);
uint64_t rnd(struct world *w, uint64_t n);                                   /* 0 .. n-1 */
bool chance(struct world *w, unsigned permille);
int64_t between(struct world *w, int64_t lo, int64_t hi);
void broken(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void trace(const struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *short_id(fg_id id);                                              /* static buffer */
