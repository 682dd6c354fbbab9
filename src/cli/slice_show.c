/* slice_show.c - fgpu slice ls, fgpu slice set. */
#include "cli/slice.h"

#include <string.h>

#include "base/units.h"

/* Slices and devices of the arbiter that runs; NULL in *ret_slices members: none does. */
static int list_all(const char *folder, json_t *slices, struct fg_error *err)
{
    struct fg_error why = {0};
    for (bool more = true; more;) {
        FG_AUTO_JSON json_t *answer = NULL;
        FG_AUTO_JSON json_t *request =
            json_pack("{s:s, s:I}", "op", "list", "from", (json_int_t)json_array_size(slices));
        if (slice_ask(folder, false, request, NULL, &answer, NULL, NULL, &why) < 0) {
            if (why.code == FG_E_NOT_FOUND)
                return 0;
            *err = why;
            return -1;
        }
        json_array_extend(slices, json_object_get(answer, "slices"));
        more = fg_json_bool(answer, "more", false) && json_array_size(json_object_get(answer, "slices")) > 0;
    }
    return 0;
}

static void add_row(struct cli_table *t, const json_t *s)
{
    char memory[32], used[32], time[32], waited[32], age[32];
    bool denied = fg_json_int(s, "denied", 0) > 0;
    fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(s, "memory_bytes", 0));
    fg_format_bytes(used, sizeof used, (uint64_t)fg_json_int(s, "used_bytes", 0));
    fg_format_duration(time, sizeof time, fg_json_int(s, "device_ns", 0));
    fg_format_duration(waited, sizeof waited, fg_json_int(s, "throttle_ns", 0));
    fg_format_duration(age, sizeof age, fg_json_int(s, "age_ns", 0));
    cli_table_cell(t, CLI_BOLD, "%s", fg_json_str(s, "id", "?"));
    cli_table_cell(t, CLI_NO_TINT, "%s", fg_json_str(s, "device", "?"));
    cli_table_cell(t, CLI_NO_TINT, "%s", memory);
    cli_table_cell(t, denied ? CLI_YELLOW : CLI_NO_TINT, "%s", used);
    cli_table_cell(t, CLI_NO_TINT, "%g %%", (double)fg_json_int(s, "share_permille", 0) / 10);
    cli_table_cell(t, CLI_NO_TINT, "%s", fg_json_str(s, "mode", "?"));
    cli_table_cell(t, CLI_NO_TINT, "%lld", (long long)fg_json_int(s, "processes", 0));
    cli_table_cell(t, CLI_NO_TINT, "%s", time);
    cli_table_cell(t, CLI_NO_TINT, "%s", waited);
    cli_table_cell(t, CLI_NO_TINT, "%s", age);
    cli_table_cell(t, CLI_DIM, "%s", fg_json_str(s, "command", "-"));
}

static int put_slices(const struct cli *cli, const json_t *slices, struct fg_error *err)
{
    struct cli_table t;
    size_t i;
    json_t *s;
    cli_table_init(&t, "ID|DEVICE|>MEMORY|>USED|>SHARE|MODE|>PROCESSES|>TIME|>WAITED|>AGE|COMMAND");
    json_array_foreach(slices, i, s) add_row(&t, s);
    return cli_put_table(cli, &t, err);
}

static int run_ls(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_FREE char *folder = slice_folder(cli, err);
    FG_AUTO_JSON json_t *all = json_pack("{s:[]}", "slices");
    json_t *slices = json_object_get(all, "slices");
    if (!folder || list_all(folder, slices, err) < 0)
        return -1;
    return cli->json ? cli_put_json_list(all, "slices", err) : put_slices(cli, slices, err);
}

static const struct cli_option ls_options[] = {{NULL}};
const struct cli_verb cli_verb_slice_ls = {
    "slice ls",
    "[--json]",
    "list this user's slices: quota, use, share, device time",
    "TIME is what the slice used of the device, WAITED what its threads waited for their share.",
    ls_options,
    0,
    0,
    false,
    run_ls,
};

static int set_request(const struct cli_args *args, json_t *request, struct fg_error *err)
{
    const char *gpu = cli_text(args, "gpu"), *share = cli_text(args, "share"), *mode = cli_text(args, "mode");
    uint64_t bytes;
    uint32_t permille;
    if (!gpu && !share && !mode) {
        fg_fail(err, FG_E_INVALID, "nothing to change was given");
        return fg_fail_hint(err, "For example: fgpu slice set %s --share 50 --gpu 4GB", args->names.items[0]);
    }
    if (gpu && fg_parse_bytes(gpu, &bytes, err) < 0)
        return -1;
    if (gpu && bytes == 0)
        return fg_fail(err, FG_E_INVALID, "--gpu: a memory quota is more than nothing");
    if (gpu)
        json_object_set_new(request, "memory_bytes", json_integer((json_int_t)FG_MIN(bytes, (uint64_t)INT64_MAX)));
    if (share && fg_parse_share(share, &permille, err) < 0)
        return -1;
    if (share)
        json_object_set_new(request, "share_permille", json_integer(permille));
    if (mode)
        json_object_set_new(request, "mode", json_string(mode));
    return 0;
}

static int run_set(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    char memory[32];
    const char *id = args->names.items[0];
    FG_AUTO_JSON json_t *answer = NULL;
    FG_AUTO_STR struct fg_str clean = {0};
    cli_clean(&clean, id, strlen(id));
    FG_AUTO_JSON json_t *request = json_pack("{s:s, s:s}", "op", "set", "id", fg_str_cstr(&clean));
    if (set_request(args, request, err) < 0)
        return -1;
    FG_AUTO_FREE char *folder = slice_folder(cli, err);
    if (!folder)
        return -1;
    if (slice_ask(folder, false, request, NULL, &answer, NULL, NULL, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(answer, err);
    fg_format_bytes(memory, sizeof memory, (uint64_t)fg_json_int(answer, "memory_bytes", 0));
    return cli_put_line(err, "%s: %s memory, %g %% %s", fg_json_str(answer, "id", "?"), memory,
                        (double)fg_json_int(answer, "share_permille", 0) / 10, fg_json_str(answer, "mode", "?"));
}

static const struct cli_option set_options[] = {
    {"gpu", 0, CLI_BYTES, "SIZE",
     "The new memory quota. Below what is used nothing is taken away, but nothing more is given."},
    {"share", 0, CLI_SHARE, "PERCENT", "The new share of the device's time."},
    {"mode", 0, CLI_CHOICE, "weighted|capped|exclusive", "The new mode."},
    {NULL},
};
const struct cli_verb cli_verb_slice_set = {
    "slice set", "ID [options]", "change a slice while its program runs", NULL, set_options, 1, 1, false, run_set,
};
