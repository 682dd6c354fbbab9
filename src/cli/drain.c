/* drain.c - fgpu nodes and devices drain, resume: take a machine or a device out of use for new tasks, and into use again. */
#include <string.h>
#include <time.h>

#include "cli/api.h"

static const struct cli_option no_options[] = {{NULL}};

/* --- names --- */

/* Of the list's items those that are meant: by id, by name, or for a device by NODE/DEVICE. */
static bool is_meant(const json_t *item, const char *asked, bool device)
{
    const char *name = fg_json_str(item, "name", ""), *slash = strrchr(asked, '/');
    if (fg_streq(asked, name) || (!device && fg_streq(asked, fg_json_str(item, "id", ""))))
        return true;
    if (!device || !slash || !fg_streq(slash + 1, name))
        return false;
    size_t n = (size_t)(slash - asked);
    const char *node = fg_json_str(item, "node_name", ""), *id = fg_json_str(item, "node", "");
    return (strncmp(asked, node, n) == 0 && !node[n]) || (strncmp(asked, id, n) == 0 && !id[n]);
}

static int find(struct cli *cli, const char *asked, bool device, const json_t *body, const json_t **ret, struct fg_error *err)
{
    size_t i;
    json_t *item;
    *ret = NULL;
    json_array_foreach(json_object_get(body, device ? "devices" : "nodes"), i, item)
    {
        if (!is_meant(item, asked, device))
            continue;
        if (*ret) {
            fg_fail(err, FG_E_INVALID, "more than one %s is called '%s'", device ? "device" : "machine", asked);
            return device ? fg_fail_hint(err, "name it as NODE/DEVICE, with the id of the machine where names are the same")
                          : fg_fail_hint(err, "fgpu nodes shows their ids");
        }
        *ret = item;
    }
    if (*ret)
        return 0;
    fg_fail(err, FG_E_NOT_FOUND, "no %s is called '%s'", device ? "device" : "machine", asked);
    return fg_fail_hint(err, "fgpu %s lists them", device ? "devices" : "nodes");
}

static const char *list_path(bool device) { return device ? "/v1/devices" : "/v1/nodes"; }

/* The path of what is asked for: by id for a machine, by number for a device. */
static int path_of(struct cli *cli, const char *asked, bool device, char **ret, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    const json_t *item;
    if (cli_get(cli, list_path(device), &body, err) < 0 || find(cli, asked, device, body, &item, err) < 0)
        return -1;
    *ret = device ? fg_asprintf("/v1/devices/%lld", (long long)fg_json_int(item, "id", 0)) : fg_asprintf("/v1/nodes/%s", fg_json_str(item, "id", "?"));
    return 0;
}

/* --- what is said --- */

static int show(struct cli *cli, const json_t *answer, struct fg_error *err)
{
    const char *device = fg_json_str(answer, "device_name", NULL), *node = fg_json_str(answer, "node_name", "?");
    bool drained = json_is_object(json_object_get(answer, "drained"));
    long long there = (long long)fg_json_int(answer, "tasks_there", 0);
    size_t i;
    json_t *t;
    if (cli->json)
        return cli_put_json(answer, err);
    FG_AUTO_FREE char *what = fg_asprintf("%s%s%s", node, device ? "/" : "", device ? device : "");
    if (cli_put_line(err, "%s %s", what, !drained ? "takes tasks" : there ? "is draining; still there:" : "is drained and empty") < 0)
        return -1;
    json_array_foreach(json_object_get(answer, "tasks"), i, t)
    {
        const char *more = fg_json_bool(t, "going", false) ? ", told to go" : fg_json_bool(t, "may_go", false) ? ", goes with --now" : "";
        if (drained && cli_put_line(err, "  %s %s on %s%s", fg_json_str(t, "id", "?"), fg_json_str(t, "state", "?"),
                                    fg_json_str(t, "device_name", "?"), more) < 0)
            return -1;
    }
    return 0;
}

/* Until nobody has a place there. Who takes it into use again meanwhile ends the wait. */
static int wait_empty(struct cli *cli, const char *asked, bool device, struct fg_error *err)
{
    for (;; nanosleep(&(struct timespec){0, 500000000}, NULL)) {
        FG_AUTO_JSON json_t *body = NULL;
        const json_t *item;
        if (cli_get(cli, list_path(device), &body, err) < 0 || find(cli, asked, device, body, &item, err) < 0)
            return -1;
        if (!json_is_object(json_object_get(item, "drained")))
            return fg_fail(err, FG_E_CONFLICT, "'%s' takes tasks again: somebody resumed it", asked);
        if (fg_json_int(item, "tasks_there", 0) == 0) {
            cli_note(cli, "%s is empty", asked);
            return 0;
        }
    }
}

static int drain(struct cli *cli, const struct cli_args *args, bool device, struct fg_error *err)
{
    FG_AUTO_FREE char *base = NULL;
    FG_AUTO_JSON json_t *answer = NULL, *body = NULL;
    const char *asked = args->names.items[0], *reason = cli_text(args, "reason");
    if (path_of(cli, asked, device, &base, err) < 0)
        return -1;
    body = json_pack("{s:s?,s:b}", "reason", reason, "now", cli_flag(args, "now"));
    if (!body)
        return fg_fail(err, FG_E_INVALID, "the reason is no UTF-8 text");
    FG_AUTO_FREE char *path = fg_asprintf("%s/drain", base);
    if (cli_post(cli, path, body, &answer, err) < 0 || show(cli, answer, err) < 0)
        return -1;
    return cli_flag(args, "wait") && fg_json_int(answer, "tasks_there", 0) ? wait_empty(cli, asked, device, err) : 0;
}

static int resume(struct cli *cli, const struct cli_args *args, bool device, struct fg_error *err)
{
    FG_AUTO_FREE char *base = NULL;
    FG_AUTO_JSON json_t *answer = NULL;
    if (path_of(cli, args->names.items[0], device, &base, err) < 0)
        return -1;
    FG_AUTO_FREE char *path = fg_asprintf("%s/resume", base);
    if (cli_post(cli, path, NULL, &answer, err) < 0)
        return -1;
    const json_t *drained = json_object_get(answer, "drained");
    if (!cli->json && device && fg_json_bool(drained, "whole_node", false))
        cli_note(cli, "its machine is drained still: fgpu nodes resume %s", fg_json_str(answer, "node_name", "NODE"));
    return show(cli, answer, err);
}

/* --- verbs --- */

static const struct cli_option drain_options[] = {
    {"reason", 0, CLI_TEXT, "TEXT", "Shown in fgpu nodes, devices and why; at most 100 bytes."},
    {"wait", 0, CLI_FLAG, NULL, "Return when nobody is there any more."},
    {"now", 0, CLI_FLAG, NULL, "Ask spot and preemptible tasks to go; they wait in the queue again."},
    {NULL},
};

static int run_nodes_drain(struct cli *cli, const struct cli_args *args, struct fg_error *err) { return drain(cli, args, false, err); }
static int run_nodes_resume(struct cli *cli, const struct cli_args *args, struct fg_error *err) { return resume(cli, args, false, err); }
static int run_devices_drain(struct cli *cli, const struct cli_args *args, struct fg_error *err) { return drain(cli, args, true, err); }
static int run_devices_resume(struct cli *cli, const struct cli_args *args, struct fg_error *err) { return resume(cli, args, true, err); }

const struct cli_verb cli_verb_nodes_drain = {
    "nodes drain", "NAME", "place nothing new on a machine",
    "What runs there goes on until it ends. It stands until fgpu nodes resume, also over restarts of server and agent. "
    "Like drain in Slurm and cordon in Kubernetes. Wants an unrestricted key of the first tenant.",
    drain_options, 1, 1, false, run_nodes_drain,
};
const struct cli_verb cli_verb_nodes_resume = {
    "nodes resume", "NAME", "place tasks on a drained machine again",
    "Devices of it that were drained one by one stay so. Like resume in Slurm and uncordon in Kubernetes.", no_options, 1, 1, false, run_nodes_resume,
};
const struct cli_verb cli_verb_devices_drain = {
    "devices drain", "NODE/DEVICE", "place nothing new on one device",
    "Its name alone will do where no other machine has one of that name. As fgpu nodes drain else.",
    drain_options, 1, 1, false, run_devices_drain,
};
const struct cli_verb cli_verb_devices_resume = {
    "devices resume", "NODE/DEVICE", "place tasks on a drained device again", NULL, no_options, 1, 1, false, run_devices_resume,
};
