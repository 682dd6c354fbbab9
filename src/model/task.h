/* task.h - a task: what was asked (spec), what it needs, and where it stands. Plain data; times are UTC ns of fg_now (0: not yet).
 *
 *   submitted ---- queue ----> placed -- pull --> started -- load --> ready -- run --> finished
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/id.h"
#include "base/error.h"
#include "base/str.h"
#include "model/state.h"

typedef uint32_t fg_device_id;           /* assigned by the core in node.joined, never reused; 0 is none */

enum fg_task_type { FG_TASK_COMMAND, FG_TASK_IMAGE_CLASSIFICATION, FG_TASK_TYPE_COUNT };
#define FG_ARRAY_MAX 10000u
enum { FG_RETRY_INFRA = 1, FG_RETRY_OOM = 2, FG_RETRY_ERROR = 4 };
/* What api/task.toml gives limits that were not asked for; a test holds the two together. */
#define FG_DEFAULT_STARTUP_NS (INT64_C(600) * 1000000000)
#define FG_DEFAULT_RUN_NS (INT64_C(86400) * 1000000000)

/* What the planner and the core read of a spec. memory or share 0: not asked, the estimate proposes. */
struct fg_need {
    uint64_t memory_bytes;
    uint32_t share_permille;             /* of one device, 1..1000 */
    uint32_t share_max_permille;         /* elastic: may be lent idle share up to this in all; 0: its share is all it gets */
    char device_kind[64];                /* "" is any */
    /* Beside the device, on the processor of its machine: thousandths of a core and bytes of host memory. 0: not asked, not counted.
     * Where the device is that processor they are the least that its share and memory come to (fg_ask_of). */
    uint32_t cpus_milli;
    uint64_t host_bytes;
    bool share_guessed;                  /* of a completed need: nobody asked for the share, so on a processor the cores go before it */
};
struct fg_limits {
    int64_t queue_ns;                    /* 0: none */
    int64_t startup_ns, run_ns;
    int64_t max_cost_nanousd;            /* 0: none */
    int64_t deadline_ns;                 /* it should have ended so long after its submit; 0: none */
};

/* A validated spec. json is the canonical text: what was accepted, defaults not filled in. */
struct fg_spec {
    enum fg_task_type type;
    enum fg_class class;                 /* FG_CLASS_AUTO unless asked */
    enum fg_priority priority;
    struct fg_need need;
    struct fg_limits limits;
    uint16_t retries;
    uint8_t retry_on;                    /* FG_RETRY_* bits */
    bool hold;
    bool preemptible;                    /* a task of a higher class may take its place */
    bool spot;                           /* preemptible by any that is not, at the spot price */
    bool gang;                           /* all of its array are placed together or not at all */
    fg_id array;                         /* the first task of its array; NONE: it is in none */
    uint32_t array_index, array_size;    /* its own index; how many there are */
    char *name;                          /* NULL when not given; these four are owned by the spec */
    char *model;
    char *program;                       /* what estimates of a command go by: base name of argv[0], of its script too; or NULL */
    char *json;
};
/* What a spec is when nothing was asked: class auto, priority normal, the table's limits, retry_on infra. */
void fg_spec_defaults(struct fg_spec *ret_spec);
void fg_spec_fini(struct fg_spec *spec);
void fg_spec_copy(struct fg_spec *dst, const struct fg_spec *src);
const char *fg_task_type_name(enum fg_task_type type);
int fg_task_type_by_name(const char *name);                /* -1 when unknown */

/* Counters of one attempt's vGPU, cumulative. Times in ns of the device or of CLOCK_BOOTTIME. */
struct fg_usage {
    uint32_t seq;                        /* grows by one per record of an attempt */
    int64_t device_ns;                   /* device time used (cpu: CPU time) */
    int64_t wall_ns;                     /* since the process started */
    uint64_t memory_peak_bytes;
    int64_t throttled_ns;
    uint64_t denied;                     /* allocations refused or OOM kills */
};

/* How an attempt ended. Strings are owned. */
struct fg_outcome {
    enum fg_state state;                 /* succeeded, failed, canceled, expired */
    enum fg_reason reason;
    int exit_code;                       /* -1 when there was none */
    int signal;                          /* 0 when it was not killed */
    int64_t pull_ns, load_ns, run_ns;    /* phases as the agent measured them, on its boot clock */
    struct fg_usage usage;
    char *detail;                        /* one sentence for people, or NULL */
    char *result;                        /* JSON text of the result, or NULL */
    char *outputs;                       /* JSON array of {path,size,blob}, or NULL */
    char *log_tail;                      /* last lines printed, for errors; or NULL */
};
void fg_outcome_fini(struct fg_outcome *o);
void fg_outcome_copy(struct fg_outcome *dst, const struct fg_outcome *src);

/* Where the device memory of a vGPU is, as its agent says (decision 0026). */
enum fg_parking {
    FG_PARKING_NONE,                     /* on its device */
    FG_PARKING_PARKED,                   /* aside, in the host's memory: its place is lent to tasks that may be asked to go */
    FG_PARKING_CALLED,                   /* it comes back: nothing more is lent of its place */
    FG_PARKING_LACKS,                    /* called, and there is no room; only said, never kept */
    FG_PARKING_COUNT
};
const char *fg_parking_name(enum fg_parking parking);
int fg_parking_by_name(const char *name);                  /* -1 when unknown */

/* The right of one attempt to one vGPU. */
struct fg_lease {
    fg_device_id device;
    fg_id node;
    uint64_t epoch;                      /* grows with every lease of the system; fences what came before */
    uint64_t memory_bytes;
    uint32_t share_permille;             /* its own, which is promised, planned with and paid for */
    uint32_t lent_permille;              /* on top, of what is idle: elastic tasks */
    bool borrowed;                       /* its place is that of owners who are parked: it goes when one of them wakes */
    uint32_t parking;                    /* enum fg_parking; PARKED and CALLED are the owner's, who is promised his place */
    uint64_t parked_bytes;               /* what of its memory was put aside when it was parked last */
    int64_t parked_ns, parked_us;        /* when it was parked, 0: it is not; for how long before that */
    fg_device_id moving_to;              /* a place is held for it there until its agent says how the move ended; 0: none */
    fg_device_id moved_from;             /* where it was before its last move; 0: it was never moved */
    fg_id moved_for;                     /* the task that the last move, or the one under way, makes room for; NONE: none */
    int64_t resized_ns, lent_us;         /* when that last changed; sum of permille x us lent until then */
    int64_t granted_ns, deadline_ns;     /* deadline moves with heartbeats; only its last recorded value is stored */
    int64_t price_nanousd_per_s;         /* of the whole device, frozen at grant */
    fg_device_id host;                   /* the processor of the machine on which it holds a part beside its device; 0: none was asked for */
    uint32_t cpus_milli;                 /* held there, and of its memory */
    uint64_t host_bytes;
    uint32_t host_permille;              /* what of it that counts as: the larger of its parts of cores and memory */
    int64_t host_price_nanousd_per_s;    /* of that whole device, frozen at grant */
    enum fg_level memory_level, share_level;
};

/* Why the planner chose what it chose; kept for `fgpu why`. */
struct fg_placed {
    uint16_t rule;                       /* enum fg_rule of plan/place.h */
    int64_t expected_ns;                 /* run time */
    int64_t expected_cost_nanousd;
    int64_t runner_up_cost_nanousd;      /* of the next best device, 0 when there was none */
    int64_t third_cost_nanousd;          /* and of the one after it */
    fg_device_id second_device, third_device; /* which they were, 0: none */
    int64_t plan_cost_nanousd, plan_bound_nanousd; /* of all that was placed in the same round, and what no plan could beat */
};

struct fg_task {
    fg_id id, tenant;
    enum fg_state state;
    enum fg_reason reason;               /* why it waits, or why it ended */
    enum fg_class class;
    uint16_t class_rule;                 /* enum fg_class_rule of plan/classify.h */
    uint32_t attempt;                    /* 1 for the first; counts leases asked for */
    uint16_t retries_left;
    bool held, cancel_requested, settled;
    struct fg_spec spec;                 /* spec.json NULL once only the store has it */
    struct fg_placed placed;
    struct fg_lease lease;               /* epoch 0: holds none now; the last one's values stay for display */
    bool lease_live;
    int64_t submitted_ns, queued_ns, placed_ns, started_ns, finished_ns;
    struct fg_usage usage;               /* last record of the current attempt */
    struct fg_outcome outcome;           /* valid in terminal states */
    int64_t cost_nanousd;                /* charged so far; final once settled */
    char *idempotency;                   /* "key\nbody-hash" of its submit, or NULL */
};
void fg_task_fini(struct fg_task *task);

/* The changing part of a task as compact JSON (all but id, tenant and spec.json), and back. Exact: decode(encode(t)) == t.
 * Decode wants *ret_task zeroed or valid, replaces all of it but id, tenant and spec.json, and leaves it alone on -1.
 * Trusted input: -1 with *err only when the store is corrupt. Members it does not know are ignored. */
void fg_task_encode(const struct fg_task *task, struct fg_str *out);
int fg_task_decode(const char *json, size_t len, struct fg_task *ret_task, struct fg_error *err);
