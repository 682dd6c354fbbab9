/* why.c - fgpu why: why a task waits, device by device; why it ended; why it was placed where it was. */
#include <string.h>

#include "base/units.h"
#include "cli/api.h"
#include "cli/task.h"

static const struct cli_option no_options[] = {{NULL}};

static void add_member(struct fg_str *out, const json_t *obj, const char *key, const char *head)
{
    FG_AUTO_FREE char *text = cli_hint(fg_json_str(obj, key, ""), fg_json_str(obj, "id", "ID"));
    if (!*text)
        return;
    fg_str_addf(out, "%-8s", head);
    cli_clean(out, text, strlen(text));
    fg_str_adds(out, "\n");
}

/* When it should start, and what is held for it. */
static void add_start(struct fg_str *out, const json_t *why)
{
    const json_t *start = json_object_get(why, "start"), *held = json_object_get(why, "reservation");
    char p50[32], p10[32], p90[32];
    if (json_is_object(start))
        fg_str_addf(out, "%-8sin about %s; in 80 of 100 cases between %s and %s\n", "starts", cli_duration(p50, sizeof p50, cli_seconds(start, "in_s")),
                    cli_duration(p10, sizeof p10, cli_seconds(start, "p10_s")), cli_duration(p90, sizeof p90, cli_seconds(start, "p90_s")));
    if (json_is_object(held))
        fg_str_addf(out, "%-8s%s is held for it from %s on\n", "held", fg_json_str(held, "device_name", "a device"), fg_json_str(held, "start", "?"));
}

static void add_blocks(struct fg_str *out, const json_t *why)
{
    size_t i;
    json_t *block;
    int64_t position = fg_json_int(why, "position", 0);
    if (position > 0)
        fg_str_addf(out, "%-8s%lld in the queue\n", "place", (long long)position);
    add_start(out, why);
    json_array_foreach(json_object_get(why, "blocks"), i, block)
    {
        const char *text = fg_json_str(block, "text", ""), *device = fg_json_str(block, "device_name", "no device");
        FG_AUTO_STR struct fg_str line = {0};
        fg_str_addf(&line, "%s: %s%s%s", device, fg_json_str(block, "reason", ""), *text ? ": " : "", text);
        fg_str_adds(out, "  ");
        cli_clean(out, line.data, line.len);
        fg_str_adds(out, "\n");
    }
}

static void add_decision(struct fg_str *out, const json_t *decision)
{
    char time[32];
    const char *other = fg_json_str(decision, "runner_up_cost", "");
    if (!json_is_object(decision))
        return;
    int64_t ns = cli_seconds(decision, "expected_s");
    fg_str_addf(out, "%-8srule %lld: %s\n", "placed", (long long)fg_json_int(decision, "rule", 0),
                fg_json_str(decision, "rule_text", ""));
    fg_str_addf(out, "%-8s%s, %s USD%s%s%s\n", "expect", cli_duration(time, sizeof time, ns),
                fg_json_str(decision, "expected_cost", "?"), *other ? "; next best " : "", other, *other ? " USD" : "");
}

static void add_plan(struct fg_str *out, const json_t *decision)
{
    size_t i;
    json_t *other;
    const json_t *plan = json_object_get(decision, "plan");
    json_array_foreach(json_object_get(decision, "alternatives"), i, other)
        fg_str_addf(out, "%-8s%s would cost %s USD\n", i ? "" : "instead", fg_json_str(other, "device_name", "?"), fg_json_str(other, "expected_cost", "?"));
    if (json_is_object(plan))
        fg_str_addf(out, "%-8s%s USD for all that was placed with it; no plan costs less than %s (gap %.3f %%)\n", "plan",
                    fg_json_str(plan, "cost", "?"), fg_json_str(plan, "lower_bound", "?"), json_number_value(json_object_get(plan, "gap_percent")));
}

static int run_why(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_FREE char *id = NULL;
    FG_AUTO_JSON json_t *why = NULL;
    FG_AUTO_STR struct fg_str out = {0};
    if (cli_task_id(cli, args->names.items[0], &id, err) < 0)
        return -1;
    FG_AUTO_FREE char *path = fg_asprintf("/v1/tasks/%s/why", id);
    if (cli_get(cli, path, &why, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(why, err);
    const char *reason = fg_json_str(why, "reason", "");
    fg_str_addf(&out, "%s %s%s%s\n", id, fg_json_str(why, "state", ""), *reason ? ": " : "", reason);
    add_member(&out, why, "reason_text", "means");
    add_member(&out, why, "detail", "why");
    add_member(&out, why, "hint", "hint");
    add_member(&out, why, "class", "class");
    add_member(&out, why, "class_rule", "because");
    add_blocks(&out, why);
    add_decision(&out, json_object_get(why, "decision"));
    add_plan(&out, json_object_get(why, "decision"));
    return cli_put(&out, err);
}

const struct cli_verb cli_verb_why = {
    "why",
    "ID",
    "explain why a task waits, or why it ran where it did",
    "Of a task that waits, its place, when it should start, and every reason on every device with what would start it there.\n"
    "Of one that was placed, the numbered rule that decided, the next best devices and the plan it was part of.",
    no_options,
    1,
    1,
    false,
    run_why,
};
