/* server.h - the shell around the core (core.h), as the files of this room share it; private to control/.
 *
 *   HTTP request --\                                          /--> answers to calls that waited
 *   agent message --+--> fg_turn_input ... fg_turn_end --> store --> actions to agents
 *   timer ---------/     (fg_core_handle)  (dispatch, batch)  \--> waits and streams woken, settled tasks evicted
 *
 * Everything here runs on one thread, the loop's. Only blob and log files are synced on libuv's pool. */
#pragma once
#include <uv.h>
#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "control/core.h"
#include "control/list.h"
#include "store/store.h"
#include "wire/http.h"

struct fg_server;
struct fg_call;
/* err NULL: what the call waited for came. Else it will not, and the call should be answered with err. */
typedef void fg_call_fn(struct fg_call *call, const struct fg_error *err);

/* One HTTP request as the routes see it: who asks, and what it waits for. Lives until the connection is done with it. */
struct fg_call {
    struct fg_link link;                 /* in the one list it waits in */
    struct fg_server *server;
    struct fg_http_request *req;
    fg_id key, tenant;
    uint32_t scopes;                     /* of the key; auth.h */
    fg_call_fn *resume;
    fg_id task;                          /* what fg_wait_task waits for, or what a step needs to remember */
    int64_t deadline_ns;                 /* 0: none set yet */
    bool repeated;                       /* its handler runs again after a wait */
    void *state;                         /* what the route keeps between steps, */
    void (*drop)(void *state);           /* and how it is freed with the call */
};

#define FG_WAIT_BUCKETS 1024
#define FG_WAIT_MAX_S 300

struct fg_server {
    const struct fg_config *config;
    struct fg_clock clock;
    struct fg_id_gen ids;
    char *data_dir, *blob_dir, *log_dir, *url;
    int lock_fd;
    int64_t started_ns;
    fg_id default_tenant;                /* whose `*` keys rule every tenant */

    uv_loop_t loop;
    uv_signal_t on_term, on_int;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t tick, wait_timer, heartbeat, retry;
    uv_poll_t store_poll;
    unsigned seconds;                    /* of the heartbeat timer */
    bool stopping;
    int64_t paused_until_ns;             /* until then nothing is placed */

    struct fg_store *store;
    struct fg_core *core;                /* NULL while the store takes no writes */
    struct fg_error down;                /* why core is NULL */
    int64_t free_checked_ns;             /* when the disk's free space was looked at */
    bool free_low;

    struct fg_turn *turn;                /* the open one; NULL: nothing came in yet */
    struct fg_link committing;           /* turns handed to the store, in order */
    struct fg_effects fx;                /* of the open turn */

    struct fg_link waits[FG_WAIT_BUCKETS];  /* calls that wait for a task's end, by the task's id */
    size_t waiting;
    struct fg_ended *ended;              /* answers about settled tasks */
    struct fg_http *http;
    struct fg_auth *auth;
    struct fg_catalogue *catalogue;
    struct fg_nodes *nodes;
    struct fg_logs *logs;
    struct fg_keep *keep;
    struct fg_metrics *metrics;
    struct label_slot *labels;           /* told lately; task_view.c */
    struct fg_link streams;              /* open event streams (stream.h), for heartbeats and waking */
};

/* --- serve.c --- */
/* -1 FG_E_STORAGE_FULL while submits and uploads are refused: the store is down, or the disk has less than min_free_bytes. */
int fg_server_writable(struct fg_server *s, struct fg_error *err);
int64_t fg_server_now(struct fg_server *s);

/* --- load.c --- */
/* Make the core from what is stored. The store must take writes. */
int fg_server_load(struct fg_server *s, struct fg_error *err);
/* A commit failed: drop the memory, tell those who wait, try again each second. */
void fg_server_lose(struct fg_server *s, const struct fg_error *why);

/* --- turn.c --- */
/* Feed the core. -1 with its refusal, or FG_E_STORAGE_FULL while there is no core. */
int fg_turn_input(struct fg_server *s, const struct fg_input *in, struct fg_error *err);
/* Write an aux row with the turn; doc NULL deletes. The caller checked that there is a core. */
void fg_turn_aux(struct fg_server *s, const char *key, const char *doc);
/* The blob, whose bytes are on disk, belongs to tenant from this turn on. */
void fg_turn_own(struct fg_server *s, const char sha256[65], fg_id tenant, uint64_t size);
/* Call resume once all that came in up to now is on disk, from the loop. */
void fg_turn_wait(struct fg_call *call, fg_call_fn *resume);
/* Whether the task has changes that are not on disk yet: then what memory says of it must not be told. */
bool fg_turn_pending(const struct fg_server *s, fg_id task);
/* End of a loop iteration: plan, and hand what happened to the store. */
void fg_turn_end(struct fg_server *s);
/* Fail the open turn's calls with why and forget its effects. */
void fg_turn_abandon(struct fg_server *s, const struct fg_error *why);

/* --- wait.c --- */
/* Hold the call until the task's end is on disk or the deadline passes; resume gets FG_E_TIMEOUT then. */
void fg_wait_task(struct fg_call *call, fg_id task, int64_t deadline_ns, fg_call_fn *resume);
void fg_wait_wake(struct fg_server *s, fg_id task);
void fg_wait_timer(uv_timer_t *timer);
/* Seconds asked for by `Prefer: wait=N` or ?wait=N, as an absolute deadline kept in the call; 0: none. */
int fg_wait_asked(struct fg_call *call, int64_t *ret_deadline_ns, struct fg_error *err);

/* --- find.c: a task from memory, or else from disk --- */
struct fg_found { const struct fg_task *task; struct fg_task loaded; char *spec; bool asked_spec; };
/* FG_E_NOT_FOUND when there is none or it is another tenant's. fg_found_fini in either case; good until the core changes. */
int fg_find_task(struct fg_server *s, fg_id id, fg_id tenant, struct fg_found *ret, struct fg_error *err);
int fg_find_stored(struct fg_server *s, fg_id id, fg_id tenant, struct fg_found *ret, struct fg_error *err);
/* Its spec as JSON text; "" when it cannot be read. */
const char *fg_found_spec(struct fg_server *s, struct fg_found *f);
void fg_found_fini(struct fg_found *f);
/* The {id} of the path as a task of the caller's; answers the call and returns -1 when it is none. When the task has
 * changes on the way to the disk, the call is held and its handler runs again afterwards: -1, too. */
int fg_call_task(struct fg_call *call, struct fg_found *ret);
int fg_call_task_id(struct fg_call *call, fg_id *ret);   /* only parse and answer 404 */

/* --- answers --- */
static inline struct fg_call *fg_call_of(struct fg_http_request *req) { return *fg_http_request_user(req); }
static inline void fg_answer_json(struct fg_call *call, int status, const struct fg_str *body, const char *extra) {
    fg_http_answer(call->req, status, "application/json", fg_str_cstr(body), body->len, extra);
}
static inline void fg_answer_fail(struct fg_call *call, const struct fg_error *err) { fg_http_fail(call->req, err); }
