/* task.c - reading task objects, finding tasks by what users type, waiting for their end. */
#include "cli/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/id.h"
#include "base/units.h"
#include "cli/api.h"

#define POLL_S 60

static int64_t number(const json_t *obj, const char *key, double scale)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_number(v) ? llround(json_number_value(v) * scale) : CLI_UNKNOWN;
}

int64_t cli_seconds(const json_t *obj, const char *key) { return number(obj, key, 1e9); }

static void read_placement(const json_t *task, struct cli_task *t)
{
    const json_t *placed = json_object_get(task, "placement"), *level = json_object_get(placed, "enforcement");
    const json_t *slice = json_is_object(placed) ? placed : json_object_get(task, "slice");
    if (!json_is_object(slice))
        slice = json_object_get(task, "need");
    t->device = fg_json_str(placed, "device_name", "");
    t->node = fg_json_str(placed, "node_name", "");
    t->memory_level = fg_json_str(level, "memory", "");
    t->share_level = fg_json_str(level, "share", "");
    t->memory_bytes = number(slice, "memory_bytes", 1);
    t->share_permille = number(slice, "share_percent", 10);
    t->lent_permille = number(slice, "share_lent_percent", 10);
    t->cpus_milli = number(slice, "cpus", 1000);
    t->host_bytes = number(slice, "host_memory_bytes", 1);
    t->parking = fg_json_str(placed, "parking", "");
    if (fg_streq(t->parking, "none"))
        t->parking = "";
    t->borrowed = fg_json_bool(placed, "borrowed", false);
}

void cli_task_read(const json_t *task, struct cli_task *ret)
{
    const json_t *timings = json_object_get(task, "timings"), *error = json_object_get(task, "error");
    struct cli_task *t = ret;
    t->id = fg_json_str(task, "id", "");
    t->name = fg_json_str(task, "name", "");
    t->type = fg_json_str(task, "task_type", "");
    t->model = fg_json_str(task, "model_name", "");
    t->state = fg_json_str(task, "state", "");
    t->reason = fg_json_str(task, "reason", fg_json_str(error, "reason", ""));
    if (fg_streq(t->reason, "none"))
        t->reason = "";
    t->detail = fg_json_str(task, "detail", fg_json_str(error, "message", ""));
    t->hint = fg_json_str(task, "hint", fg_json_str(error, "hint", ""));
    t->cost = fg_json_str(json_object_get(task, "cost"), "amount", "");
    t->peak_bytes = number(json_object_get(task, "usage"), "memory_peak_bytes", 1);
    t->queue_ns = cli_seconds(timings, "queue_s");
    t->pull_ns = cli_seconds(timings, "pull_s");
    t->load_ns = cli_seconds(timings, "load_s");
    t->run_ns = cli_seconds(timings, "run_s");
    t->exit_code = number(task, "exit_code", 1);
    t->signal = number(task, "signal", 1);
    t->attempt = number(task, "attempt", 1);
    read_placement(task, t);
    t->ended = fg_streq(t->state, "succeeded") || fg_streq(t->state, "failed") || fg_streq(t->state, "canceled") ||
               fg_streq(t->state, "expired");
}

int cli_task_get(struct cli *cli, const char *id, json_t **ret, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_asprintf("/v1/tasks/%s", id);
    return cli_get(cli, path, ret, err);
}

static int newest(struct cli *cli, char **ret_id, struct fg_error *err)
{
    FG_AUTO_JSON json_t *list = NULL;
    if (cli_get(cli, "/v1/tasks?limit=1", &list, err) < 0)
        return -1;
    const char *id = fg_json_str(json_array_get(json_object_get(list, "tasks"), 0), "id", NULL);
    if (!id)
        return fg_fail(err, FG_E_NOT_FOUND, "there is no task yet");
    *ret_id = fg_strdup(id);
    return 0;
}

/* Ids begin with the time, so a useful beginning is long; letters of either case, with or without "tsk_". */
static bool begins(const char *id, const char *word)
{
    if (strncasecmp(word, "tsk_", 4) == 0)
        word += 4;
    return strlen(id) > 4 && strncasecmp(id + 4, word, strlen(word)) == 0;
}

static int by_beginning(struct cli *cli, const char *word, char **ret_id, struct fg_error *err)
{
    FG_AUTO_JSON json_t *list = NULL;
    const char *found = NULL;
    size_t i;
    json_t *task;
    if (cli_get(cli, "/v1/tasks?limit=1000", &list, err) < 0)
        return -1;
    json_array_foreach(json_object_get(list, "tasks"), i, task)
    {
        const char *id = fg_json_str(task, "id", "");
        if (!begins(id, word))
            continue;
        if (found) {
            fg_fail(err, FG_E_INVALID, "'%s' begins more than one id: %s, %s", word, found, id);
            return fg_fail_hint(err, "Give more letters of it.");
        }
        found = id;
    }
    if (!found) {
        fg_fail(err, FG_E_NOT_FOUND, "there is no task '%s'", word);
        return fg_fail_hint(err, "'fgpu ps -a' lists your tasks.");
    }
    *ret_id = fg_strdup(found);
    return 0;
}

int cli_task_id(struct cli *cli, const char *word, char **ret_id, struct fg_error *err)
{
    fg_id id;
    char text[FG_ID_TEXT];
    if (fg_streq(word, "last"))
        return newest(cli, ret_id, err);
    if (fg_id_parse(word, "tsk", &id)) {
        *ret_id = fg_strdup(fg_id_format(text, "tsk", id));
        return 0;
    }
    if (!*word || strspn(word, "tsk_0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz") != strlen(word)) {
        fg_fail(err, FG_E_INVALID, "'%s' is no id of a task", word);
        return fg_fail_hint(err, "Ids look like tsk_01JX...; 'last' is the newest task.");
    }
    return by_beginning(cli, word, ret_id, err);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * FG_NS_PER_S + t.tv_nsec;
}

/* Ask for the result, held by the server up to POLL_S. 1: ended, *ret set. 0: not yet. */
static int ask_result(struct cli *cli, const char *id, int64_t hold_s, const volatile sig_atomic_t *stop, json_t **ret,
                      struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_asprintf("/v1/tasks/%s/result?wait=%lld", id, (long long)hold_s);
    struct cli_request req = {.method = "GET", .path = path, .timeout_ms = (hold_s + 30) * 1000, .stop = stop};
    struct fg_client_answer a;
    int rc = cli_send(cli, &req, &a, err);
    if (rc == 0 && a.status == 200)
        rc = (*ret = fg_json_parse(fg_str_cstr(&a.body), a.body.len, err)) ? 1 : -1;
    fg_client_answer_fini(&a);
    return rc;
}

int cli_task_wait(struct cli *cli, const char *id, int64_t timeout_ns, const volatile sig_atomic_t *stop, json_t **ret,
                  struct fg_error *err)
{
    int64_t start = now_ns(), seen = start;
    bool ever = false;
    struct fg_error e;
    while (!(stop && *stop)) {
        int64_t left = timeout_ns < 0 ? POLL_S * FG_NS_PER_S : timeout_ns - (now_ns() - start);
        if (left <= 0)
            return fg_fail(err, FG_E_TIMEOUT, "%s has not ended in time", id);
        int64_t hold = FG_MIN(POLL_S, (left + FG_NS_PER_S - 1) / FG_NS_PER_S), asked = now_ns();
        int rc = ask_result(cli, id, hold, stop, ret, &e);
        if (rc > 0)
            return 0;
        ever |= rc == 0;
        seen = rc == 0 ? now_ns() : seen;
        if (rc < 0 && (!ever || !fg_error_info(e.code)->retryable || now_ns() - seen > 60 * FG_NS_PER_S)) {
            if (err)
                *err = e;
            return -1;
        }
        if (now_ns() - asked < hold * FG_NS_PER_S / 2) /* it was not held: the pause is ours to make */
            nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
    return fg_fail(err, FG_E_TIMEOUT, "interrupted");
}
