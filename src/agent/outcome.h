/* outcome.h - from what is known about an attempt's end to one typed cause. Pure. */
#pragma once
#include <jansson.h>
#include "model/task.h"

/* All that is known when an attempt is over. Strings are owned (ending_fini). */
struct ending {
    enum fg_reason failed;               /* it never ran, for this reason; NONE: it was launched */
    char *failure;                       /* the sentence for that */
    bool status;                         /* its supervisor wrote how it ended; false: the supervisor is gone without a word */
    bool rebooted;                       /* the machine restarted under it */
    bool exec;                           /* the program was started; else the sandbox could not be made */
    int exit_code;                       /* as the sandbox gives it: 128 + n for signal n */
    char stopped[40];                    /* "" or why the supervisor stopped it: a reason's name, or "canceled" */
    char step[120];                      /* what the supervisor could not do, with its errno */
    int error;
    char *why;                           /* the sentence for stopped, or NULL */
    uint64_t oom_kills;
    uint64_t device_denied;              /* requests for device memory that its vGPU refused; the host's are oom_kills */
    uint64_t device_limit_bytes;         /* ... which has this much */
    bool leftover;                       /* processes would not go away */
    int64_t started_ns, ended_ns, cpu_ns;
    uint64_t peak_bytes;
    char *tail;                          /* its last output */
    bool model;                          /* a model worker: its answer counts */
    char *answer;                        /* result.json, or NULL */
    char *program;                       /* argv[0], for messages */
};
void ending_fini(struct ending *e);
/* Fill from the supervisor's status.json. -1 FG_E_MALFORMED. */
int ending_parse(struct ending *e, const char *json, size_t len, struct fg_error *err);

/* The cause, by the first rule that fits; the rules are numbered in outcome.c. Sets state, reason, exit_code, signal,
 * load_ns, run_ns, detail, result, log_tail; the caller adds pull_ns, usage, outputs. */
void outcome_of(const struct ending *e, struct fg_outcome *ret);
/* The last lines of text, at most max, made valid UTF-8; NULL when there are none. The caller's to free. */
char *last_lines(const char *text, size_t max);
