/* outcome.c - why it ended, by numbered rules, top to bottom:
 *
 *   1 it never ran: pulling, input, workdir        -> that reason
 *   2 the machine restarted, no status             -> node_lost
 *   3 no status otherwise                          -> internal
 *   4 the supervisor stopped it                    -> canceled, or failed with that reason
 *   5 the kernel killed for memory, not exit 0     -> oom_host
 *   6 the program could not be started             -> user_error (not found, not executable)
 *   7 the sandbox could not be made                -> internal, with what to do
 *   8 a model worker answered with an error        -> its reason
 *   9 exit 0                                       -> succeeded (a worker must have answered)
 *  10 its vGPU refused it device memory            -> oom_vram
 *  11 killed by a signal; exit code                -> user_error */
#include "agent/outcome.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"

#define TAIL_LINES 20

void ending_fini(struct ending *e)
{
    free(e->failure);
    free(e->why);
    free(e->tail);
    free(e->answer);
    free(e->program);
    *e = (struct ending){0};
}

int ending_parse(struct ending *e, const char *json, size_t len, struct fg_error *err)
{
    FG_AUTO_JSON json_t *doc = fg_json_parse(json, len, err);
    if (!doc)
        return fg_fail_prefix(err, "status.json");
    e->status = true;
    e->exec = fg_json_bool(doc, "exec", false);
    e->exit_code = (int)fg_json_int(doc, "exit_code", -1);
    e->oom_kills = (uint64_t)fg_json_int(doc, "oom_kills", 0);
    e->leftover = fg_json_bool(doc, "leftover", false);
    e->started_ns = fg_json_int(doc, "started_ns", 0);
    e->ended_ns = fg_json_int(doc, "ended_ns", 0);
    e->cpu_ns = fg_json_int(doc, "cpu_ns", 0);
    e->peak_bytes = (uint64_t)fg_json_int(doc, "peak_bytes", 0);
    e->error = (int)fg_json_int(doc, "errno", 0);
    snprintf(e->stopped, sizeof e->stopped, "%s", fg_json_str(doc, "stopped", ""));
    snprintf(e->step, sizeof e->step, "%s", fg_json_str(doc, "step", ""));
    return 0;
}

char *last_lines(const char *text, size_t max)
{
    size_t n = text ? strlen(text) : 0, lines = 0;
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (!n)
        return NULL;
    size_t from = n;
    while (from && !(text[from - 1] == '\n' && ++lines == max))
        from--;
    struct fg_str out = {0};
    for (size_t i = from; i < n;) {
        size_t step = fg_utf8_step(text + i, n - i);
        bool control = step == 1 && (unsigned char)text[i] < 32 && text[i] != '\n' && text[i] != '\t';
        if (step && !control)
            fg_str_add(&out, text + i, step);
        else if (text[i] != '\r')
            fg_str_adds(&out, "\xef\xbf\xbd");
        i += step ? step : 1;
    }
    return fg_str_take(&out);
}

/* The sandbox's own complaint: before the program runs nobody else writes. "" when there is none. */
static const char *sandbox_says(const struct ending *e)
{
    const char *at = e->tail ? strstr(e->tail, "bwrap: ") : NULL;
    return at ? at + 7 : "";
}

static void fail(struct fg_outcome *o, enum fg_reason reason, char *detail)
{
    o->state = FG_STATE_FAILED;
    o->reason = reason;
    free(o->detail);
    o->detail = detail;
}

static void by_stop(const struct ending *e, struct fg_outcome *o)
{
    int reason = fg_reason_by_name(e->stopped);
    if (reason <= FG_REASON_NONE) {
        o->state = FG_STATE_CANCELED;
        o->reason = FG_REASON_NONE;
        o->detail = fg_strdup("canceled");
        return;
    }
    fail(o, (enum fg_reason)reason, fg_strdup(e->why ? e->why : fg_reason_doc((enum fg_reason)reason)));
}

static void by_sandbox(const struct ending *e, struct fg_outcome *o)
{
    const char *says = sandbox_says(e), *program = e->program ? e->program : "?";
    int n = (int)strcspn(says, "\n");
    if (fg_starts_with(says, "execvp ")) {
        bool missing = memmem(says, (size_t)n, "No such file", 12) != NULL;
        o->exit_code = missing ? 127 : 126;
        const char *why = strstr(says, ": ");
        fail(o, FG_REASON_USER_ERROR, missing ? fg_asprintf("command not found: %s", program)
                                              : fg_asprintf("cannot run %s%.60s", program, why ? why : ""));
        o->detail[strcspn(o->detail, "\n")] = '\0';
    } else if (*e->step && e->error == ENOENT && fg_starts_with(e->step, "start ")) {
        fail(o, FG_REASON_INTERNAL, fg_strdup("the sandbox is missing: install bubblewrap on the agent's machine"));
    } else if (e->error == E2BIG && fg_starts_with(e->step, "start ")) {
        fail(o, FG_REASON_USER_ERROR, fg_strdup("the command and its arguments are too long for this system"));
    } else if (*e->step) {
        fail(o, FG_REASON_INTERNAL, fg_asprintf("the sandbox could not be made: %s: %s", e->step, strerror(e->error)));
    } else if (strstr(says, "namespace") || strstr(says, "uid map")) {
        fail(o, FG_REASON_INTERNAL, fg_asprintf("this machine does not let tasks have their own user namespace (%.*s); "
                                                "'fgpu doctor' there says how to allow it", n, says));
    } else {
        fail(o, FG_REASON_INTERNAL, fg_asprintf("the sandbox could not be made: %.*s", n ? n : 7, n ? says : "no word"));
    }
}

static void by_exit(const struct ending *e, struct fg_outcome *o)
{
    int sig = o->signal;
    const char *name = sig ? sigabbrev_np(sig) : NULL;
    if (sig)
        fail(o, FG_REASON_USER_ERROR, fg_asprintf("killed by signal %d%s%s", sig, name ? ", SIG" : "", name ? name : ""));
    else if (e->exit_code == 127)
        fail(o, FG_REASON_USER_ERROR, fg_strdup("exit code 127: a program it called was not found"));
    else
        fail(o, FG_REASON_USER_ERROR, fg_asprintf("exit code %d", e->exit_code));
}

/* It ended badly, and was refused memory before: nearly always because of it. */
static void by_refusal(const struct ending *e, struct fg_outcome *o)
{
    char limit[32];
    by_exit(e, o);
    FG_AUTO_FREE char *how = fg_take_ptr(o->detail);
    fail(o, FG_REASON_OOM_VRAM, fg_asprintf("%s, after its vGPU of %s had refused it device memory (%llu time%s)", how,
                                            fg_format_bytes(limit, sizeof limit, e->device_limit_bytes),
                                            (unsigned long long)e->device_denied, e->device_denied == 1 ? "" : "s"));
}

/* The worker's answer, NULL when there is none that can be read. */
static json_t *answer_of(const struct ending *e, struct fg_outcome *o)
{
    if (!e->answer)
        return NULL;
    json_t *answer = fg_json_parse(e->answer, strlen(e->answer), NULL);
    o->load_ns = FG_MAX(0, fg_json_int(answer, "load_ns", 0));
    o->load_ns = FG_MIN(o->load_ns, o->run_ns);
    o->run_ns -= o->load_ns;
    return answer;
}

static bool by_worker_error(const json_t *answer, struct fg_outcome *o)
{
    const json_t *error = json_object_get(answer, "error");
    if (!json_is_object(error))
        return false;
    int reason = fg_reason_by_name(fg_json_str(error, "reason", ""));
    const char *hint = fg_json_str(error, "hint", ""), *detail = fg_json_str(error, "detail", "the model worker failed");
    fail(o, reason > FG_REASON_NONE ? (enum fg_reason)reason : FG_REASON_INTERNAL,
         fg_asprintf("%s%s%s", detail, *hint ? "; " : "", hint));
    return true;
}

static void by_success(const struct ending *e, const json_t *answer, struct fg_outcome *o)
{
    o->state = FG_STATE_SUCCEEDED;
    if (!e->model)
        return;
    json_t *result = json_object_get(answer, "result");
    if (!result) {
        fail(o, FG_REASON_INTERNAL, fg_strdup("the model worker ended without an answer"));
        return;
    }
    /* 15 digits come back as they were written: 0.951062, not 0.95106199999999996. */
    o->result = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

void outcome_of(const struct ending *e, struct fg_outcome *o)
{
    *o = (struct fg_outcome){.exit_code = e->status && e->exec ? e->exit_code : -1};
    o->run_ns = e->status && e->started_ns && e->ended_ns > e->started_ns ? e->ended_ns - e->started_ns : 0;
    o->signal = o->exit_code > 128 && o->exit_code <= 128 + 64 ? o->exit_code - 128 : 0;
    FG_AUTO_JSON json_t *answer = e->model ? answer_of(e, o) : NULL;

    if (e->failed != FG_REASON_NONE)                                            /* 1 */
        fail(o, e->failed, fg_strdup(e->failure ? e->failure : fg_reason_doc(e->failed)));
    else if (!e->status && *e->stopped)                                         /* 4, before it was launched */
        by_stop(e, o);
    else if (!e->status && e->rebooted)                                         /* 2 */
        fail(o, FG_REASON_NODE_LOST, fg_strdup("its machine was restarted"));
    else if (!e->status)                                                        /* 3 */
        fail(o, FG_REASON_INTERNAL, fg_strdup("its supervisor was killed; what was left of the task was killed too"));
    else if (*e->stopped)                                                       /* 4 */
        by_stop(e, o);
    else if (e->oom_kills && !(e->exec && e->exit_code == 0))                   /* 5 */
        fail(o, FG_REASON_OOM_HOST, fg_strdup(fg_reason_doc(FG_REASON_OOM_HOST)));
    else if (!e->exec)                                                          /* 6, 7 */
        by_sandbox(e, o);
    else if (by_worker_error(answer, o))                                        /* 8 */
        ;
    else if (e->exit_code == 0)                                                 /* 9 */
        by_success(e, answer, o);
    else if (e->device_denied)                                                  /* 10 */
        by_refusal(e, o);
    else                                                                        /* 11 */
        by_exit(e, o);
    if (o->state == FG_STATE_FAILED)
        o->log_tail = last_lines(e->tail, TAIL_LINES);
}
