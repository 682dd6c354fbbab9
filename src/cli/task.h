/* task.h - a task as the server shows it (control/task_view.c), picked apart for people; and how its user names it. */
#pragma once
#include <signal.h>
#include "cli/cli.h"

#define CLI_UNKNOWN INT64_C(-1)

/* Strings are borrowed from the JSON they were read from; "" and CLI_UNKNOWN for what is not known yet. */
struct cli_task {
    const char *id, *name, *type, *model, *state, *reason, *detail, *hint;
    const char *parking;                 /* "parked", "called"; "": on its device */
    bool borrowed;
    const char *device, *node, *memory_level, *share_level, *cost;
    int64_t memory_bytes, peak_bytes, share_permille, lent_permille, cpus_milli, host_bytes;
    int64_t queue_ns, pull_ns, load_ns, run_ns;
    int64_t exit_code, signal, attempt;
    bool ended;
};
void cli_task_read(const json_t *task, struct cli_task *ret);
int64_t cli_seconds(const json_t *obj, const char *key);       /* a member in seconds as ns, or CLI_UNKNOWN */
int cli_task_get(struct cli *cli, const char *id, json_t **ret, struct fg_error *err);
/* An id as given by the user, made whole: all of one, its beginning, or "last". The caller's to free. */
int cli_task_id(struct cli *cli, const char *word, char **ret_id, struct fg_error *err);
/* Hold until the task has ended or timeout_ns went by (< 0: however long): FG_E_TIMEOUT. Outlives a restart of the server.
 * ret: the body of /result. */
int cli_task_wait(struct cli *cli, const char *id, int64_t timeout_ns, const volatile sig_atomic_t *stop, json_t **ret,
                  struct fg_error *err);

/* --- show.c --- */
enum cli_tint cli_state_tint(const char *state);
void cli_add_slice(struct fg_str *out, const struct cli_task *t);          /* "cpu0 1.0 GiB 50 %" or "-" */
char *cli_duration(char *buf, size_t n, int64_t ns);                       /* "-" when unknown */
char *cli_hint(const char *hint, const char *id);                          /* with the task's id where it says ID; the caller's to free */
/* What `run` and `get` say about an ended task on one screen: state, why, times, slice, enforcement, cost. */
void cli_add_summary(struct fg_str *out, const struct cli_task *t);
/* The result on stdout: labels with probabilities, or JSON of what else it is; nothing when there is none. */
int cli_put_result(struct cli *cli, const json_t *result, struct fg_error *err);
/* Write the outputs of a result body below dir; "outputs" are listed on stderr. */
int cli_save_outputs(struct cli *cli, const json_t *body, const char *dir, struct fg_error *err);
