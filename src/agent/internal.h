/* internal.h - the agent's own: one loop thread owns all of it. What blocks (disks, hashing) goes through job.h.
 *
 *   an attempt:  MAKE -> PULL -> PLACE -> RUN -> COLLECT -> UPLOAD -> DONE -> GONE
 *   (runner.c)   folder, blobs,  work/   super-  outputs    blobs    report  forgotten
 *                fsync   weights         visor   hashed              until   folder
 *                                                                    acked   removed
 * KILL or a failure moves any of the first ones to DONE. */
#pragma once
#include <sys/types.h>
#include <uv.h>

#include "agent/outcome.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/id.h"
#include "base/str.h"
#include "base/vec.h"
#include "fgpu/device.h"
#include "wire/agent_proto.h"

#define PIECE_BYTES (256u << 10)         /* of a log */
#define BLOB_PIECE (1u << 20)
#define SEND_WINDOW (4u << 20)           /* bytes that may wait for the socket before bulk (logs, blobs) holds back */

/* --- paths and settings, the same for the whole run (settings.c) --- */
struct settings {
    char *data, *root, *attempts, *cache, *socket, *models, *python, *bwrap;   /* root: DATA/agent; bwrap NULL: not there */
    char *config_folder;
    uint64_t memory_reserve_bytes, log_limit_bytes;
    int64_t heartbeat_s, lease_s;        /* until the server says */
    int64_t device_check_s;
    bool offline;
    char *shims;                         /* folder of the libraries that go into tasks' processes; NULL: not found */
    int64_t reclaim_idle_s;
    bool reclaim_always, reclaim_move, reclaim_move_running;
    const char *cgroup_root, *opencl;    /* borrowed from the config */
    bool own_users;                      /* root: each attempt gets a user of its own */
    uint32_t first_uid;
    char scope[24];
    char host[64], boot_id[40];
    fg_id node;
};
/* -1: a folder cannot be made. make: create folders and node.json (the agent); else only name them (doctor). */
int settings_init(struct settings *s, const struct fg_config *config, bool make, struct fg_error *err);
void settings_fini(struct settings *s);

/* --- the connection (link.c) --- */
struct agent;
struct link {
    int fd;
    bool open, polling, welcomed;
    uv_poll_t poll;
    int events;                          /* what the poll waits for */
    uv_timer_t retry;
    struct fg_str in, out;
    size_t out_at;
    int64_t backoff_ms, alive_sent_ns, heard_ns;
    bool alive_waits;                    /* an alive is on its way; alive_sent_ns is when it left */
};
void link_open(struct agent *a);
void link_close(struct agent *a);
void link_send(struct agent *a, const struct fg_msg *msg);     /* dropped when there is no connection: all is said again after welcome */
size_t link_pending(const struct agent *a);
void link_tick(struct agent *a);

/* --- one attempt --- */
enum phase { PHASE_MAKE, PHASE_PULL, PHASE_PLACE, PHASE_RUN, PHASE_COLLECT, PHASE_UPLOAD, PHASE_DONE, PHASE_GONE };

struct output { char *path, *file; char sha256[65]; uint64_t size; };      /* path as reported; file below the attempt's folder */
struct attempt {
    struct agent *agent;
    fg_id task, tenant;
    uint32_t number;
    uint64_t epoch;
    char name[FG_ID_TEXT + 12];          /* TASK.N: its folder and its vGPU */
    char *dir;
    char device[64];
    struct fg_vgpu_limits limits;
    json_t *spec;
    uint32_t slot;                       /* its user is first_uid + slot */
    enum phase phase;
    bool waits;                          /* in PLACE: others have its device, it is tried again each second */
    bool busy;                           /* a job has it: it stays until the job is done */

    /* what the server wants of it */
    bool kill_wanted, forget_wanted;
    enum fg_reason kill_reason;

    /* pull.c */
    FG_VEC(char *) wants;                /* blobs, by SHA-256 */
    size_t have;
    json_t *manifest;
    char *weights;                       /* path in the cache */
    pid_t curl_pid;
    int64_t made_ns, pull_ns;

    /* the supervisor (launch.c) */
    pid_t supervisor, sandbox;           /* 0: none */
    int pidfd, watch;
    uv_poll_t *poll;
    int64_t started_ns;                  /* boot clock; 0: not yet */
    bool vgpu;                           /* it may exist */
    bool audited_out;                    /* an audit had it stopped */

    /* parking.c: where its device memory is */
    enum fg_parking parking_said;        /* to the server, through this connection */
    uint32_t moved_said;                 /* parking_sent when the end of a move was told; 0: none was */
    uint32_t parking_sent, parking_acked; /* on this connection: what was asked is answered when they are equal */
    char moving_to[64];                  /* told to come back there; "": not */
    int64_t lacks_since_ns;
    bool evicted;                        /* its place was borrowed, and its owner wants it back */

    /* what is said of it (report.c) */
    struct fg_usage usage;
    uint32_t seq;
    int lease_fd;                        /* its file lease: the deadline, and behind it seq */
    bool started_acked, finished_acked, finished_said;
    int64_t said_ns;                     /* last time it was reported */
    struct ending ending;
    struct fg_outcome outcome;           /* from DONE on */

    /* logship.c */
    int log_fd;
    uint64_t log_sent;
    bool log_known;                      /* the server said, or never had, where it is */

    FG_VEC(struct output) outputs;       /* outputs.c */
    size_t uploaded;
    int upload_fd;
    uint64_t upload_at;
    bool upload_sent;                    /* the last piece is out, blob_ok is waited for */
    int upload_retries;
    int64_t upload_wait_ns;              /* it was refused: not again before then */
};

/* One kind of device. The host processor's is always the first. */
struct backend { const struct fg_device_backend *ops; void *state; };

struct fetch;
struct agent {
    uv_loop_t loop;
    const struct fg_config *config;
    struct settings set;
    struct fg_clock clock;
    FG_VEC(struct backend) backends;
    FG_VEC(struct fg_device) device_list;
    int64_t devices_seen_ns;             /* when they were last listed */
    FG_VEC(struct attempt *) attempts;
    FG_VEC(struct fetch *) fetches;
    struct link link;
    int inotify, supervisor_fd, seccomp_fd, lock_fd;
    uv_poll_t inotify_poll;
    uv_timer_t tick, audit, parking;
    int64_t audit_not_before;
    uv_signal_t sigterm, sigint;
    int64_t lease_ns, heartbeat_ns, lease_deadline;      /* boot clock */
    struct fg_str sandbox_base;          /* the options every sandbox has, NUL separated */
    bool stopping;
    int jobs;
};
static inline int64_t agent_now(struct agent *a) { return fg_boot(&a->clock); }

/* --- devices.c: the backends and what they have --- */
int devices_open(struct agent *a, struct fg_error *err);
void devices_close(struct agent *a);
/* The backend of a device, also of one that is not there any more: by its name. Never NULL. */
const struct backend *devices_backend(const struct agent *a, const char *device);
/* vGPUs that no attempt has end. */
void devices_drop_orphans(struct agent *a);
/* List them again when it is time; what changed (health, levels, a new one) is told to the server by a new hello. */
void devices_tick(struct agent *a);
struct fg_backend_options devices_options(const struct settings *set, bool make);

/* --- attempt.c: the list, the folder, attempt.json --- */
struct attempt *attempt_find(struct agent *a, fg_id task, uint32_t number);
struct attempt *attempt_create(struct agent *a, fg_id task, uint32_t number);      /* in the list, phase MAKE, folder not made */
void attempt_destroy(struct attempt *t);         /* out of the list; its folder stays as it is */
/* Folder, work/, out/ and attempt.json, all on disk when it returns 0. Runs on the pool. */
int attempt_make_folder(const struct attempt *t, struct fg_error *err);
/* attempt.json anew, on disk when it returns 0. */
int attempt_record(const struct attempt *t, struct fg_error *err);
/* Write a small file of its folder; not synced. */
int attempt_write(const struct attempt *t, const char *file, const void *data, size_t n, struct fg_error *err);
char *attempt_path(const struct attempt *t, const char *file);
#define LEASE_SEQ_AT 21                  /* 20 digits of the deadline and a newline come first */
int attempt_lease_fd(struct attempt *t); /* the open file, or -1 */
/* Open what an earlier agent left, in the phase it is in: the runner goes on from there. */
void attempt_scan(struct agent *a);
static inline uid_t attempt_user(const struct attempt *t, const struct settings *set)
{
    return set->own_users ? set->first_uid + t->slot : (uid_t)-1;   /* -1: the agent's own */
}

/* --- runner.c: the phases --- */
void runner_start(struct agent *a, const struct fg_msg_start *msg);
void runner_kill(struct agent *a, const struct fg_msg_ref *ref);
void runner_resize(struct agent *a, const struct fg_msg_resize *msg);
void runner_forget(struct agent *a, const struct fg_msg_ref *ref);
void runner_adopt(struct attempt *t);            /* after attempt_scan */
void runner_pulled(struct attempt *t);           /* all blobs are in the cache */
void runner_ended(struct attempt *t);            /* t->ending is filled; the vGPU may go */
void runner_uploaded(struct attempt *t);
void runner_fail(struct attempt *t, enum fg_reason reason, const char *sentence);
void runner_tick(struct agent *a);

/* --- pull.c: blobs into the cache --- */
void pull_begin(struct attempt *t);              /* calls runner_pulled or runner_fail, now or later */
void pull_stop(struct attempt *t);
void pull_blob(struct agent *a, const struct fg_msg *msg);
void pull_reconnected(struct agent *a);
void pull_drop_all(struct agent *a);
char *pull_cached(const struct agent *a, const char *sha256);      /* its path there, the caller's to free */
/* The SHA-256 of the task's input: input_data is a blob, or an object {"image": blob}; NULL: it has none. Borrowed. */
const char *pull_input(const json_t *spec);
int pull_weights(struct attempt *t);             /* weights.c: 1 on their way, 0 there, -1 failed (runner_fail was called) */

/* --- workdir.c: files into work/; runs on the pool --- */
int workdir_wants(const json_t *manifest, struct attempt *t, struct fg_error *err);
int workdir_place(const struct agent *a, const struct attempt *t, struct fg_error *err);

/* --- launch.c: the supervisor --- */
int launch_start(struct attempt *t, struct fg_error *err);
bool launch_adopt(struct attempt *t);            /* false: no supervisor lives; *t is as before */
/* why: one sentence that its owner is to read, or NULL: the reason's own. */
void launch_stop(struct attempt *t, const char *reason, const char *why);
void launch_lease(struct attempt *t);            /* write the agent's lease deadline into its folder */
void launch_event(struct attempt *t, const char *file);            /* a file of its folder changed */
void launch_release(struct attempt *t);          /* descriptors, watch */
int launch_supervisor(struct fg_error *err);     /* the program in a sealed memory file */

/* --- outputs.c --- */
void outputs_collect(struct attempt *t);         /* then runner_uploaded */
void outputs_next(struct attempt *t);
void outputs_reconnected(struct agent *a);
void outputs_blob_ok(struct agent *a, const struct fg_msg_blob *msg);
void outputs_tick(struct attempt *t);
void outputs_drop(struct attempt *t);
char *outputs_json(const struct attempt *t);     /* NULL: none */

/* --- report.c --- */
void report_started(struct attempt *t);
void report_finished(struct attempt *t);         /* held back until its log is on its way */
void report_usage(struct attempt *t);
void report_last_usage(struct attempt *t);       /* after the end, before the vGPU goes */
void report_ack(struct agent *a, const struct fg_msg_ref *ref);
void report_again(struct agent *a, int64_t older_than_ns);
void report_hello(struct agent *a);
void report_welcome(struct agent *a, const struct fg_msg_welcome *msg);

/* --- logship.c --- */
void logship_some(struct attempt *t);            /* what is new and fits the window */
void logship_all(struct agent *a);
void logship_at(struct agent *a, const struct fg_msg_ref *ref);
bool logship_complete(struct attempt *t);

/* --- audit.c --- */
bool audit_needed(const struct agent *a);
void audit_tick(struct agent *a);                /* of what the kernel does not limit */

/* --- parking.c: idle attempts whose device memory lies aside --- */
bool parking_needed(const struct agent *a);
void parking_tick(struct agent *a);
void parking_move(struct agent *a, const struct fg_msg_move *msg);
void parking_welcome(struct agent *a);           /* the server knows nothing of what was said before */
