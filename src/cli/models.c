/* models.c - fgpu models: the catalogue, and weights brought by hand. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/api.h"

static const struct cli_option no_options[] = {{NULL}};

static int run_list(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    struct cli_table t;
    size_t i;
    json_t *m;
    if (cli_get(cli, "/v1/models", &body, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json_list(body, "models", err);
    cli_table_init(&t, "MODEL|TYPE|WEIGHTS|ABOUT");
    json_array_foreach(json_object_get(body, "models"), i, m)
    {
        FG_AUTO_FREE char *name = cli_member(m, "name", "?"), *type = cli_member(m, "task_type", "-");
        FG_AUTO_FREE char *weights = cli_member(m, "weights", "-"), *about = cli_member(m, "title", "");
        cli_table_cell(&t, CLI_NO_TINT, "%s", name);
        cli_table_cell(&t, CLI_NO_TINT, "%s", type);
        cli_table_cell(&t, CLI_NO_TINT, "%s", weights);
        cli_table_cell(&t, CLI_NO_TINT, "%s", about);
    }
    return cli_put_table(cli, &t, err);
}

const struct cli_verb cli_verb_models_list = {
    "models list", "",       "list the catalogue and whether each model's weights are here", NULL, no_options, 0, 0,
    false,         run_list,
};

static const struct cli_option import_options[] = {
    {"format", 0, CLI_CHOICE, "onnx|torch", "What the file is. Default: guessed from its name and first bytes."},
    {"if-missing", 0, CLI_FLAG, NULL, "Do nothing when the model has weights already."},
    {NULL},
};

/* A torch file is a zip archive, or a pickle (protocol 2 and up begins with 0x80); ONNX is protobuf, whose first field
 * here is the version, 08 and a small number. The suffix decides first: it is what the user means. */
static const char *guess_format(const char *path)
{
    static const struct {
        const char *suffix, *format;
    } known[] = {{".onnx", "onnx"}, {".pt", "torch"}, {".pth", "torch"}, {".ckpt", "torch"}, {".bin", "torch"}};
    size_t n = strlen(path);
    for (size_t i = 0; i < FG_COUNT(known); i++) {
        size_t k = strlen(known[i].suffix);
        if (n > k && strcasecmp(path + n - k, known[i].suffix) == 0)
            return known[i].format;
    }
    unsigned char head[4] = {0};
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, head, sizeof head) != sizeof head)
        return NULL;
    if (memcmp(head, "PK\3\4", 4) == 0 || head[0] == 0x80)
        return "torch";
    return head[0] == 0x08 && head[1] < 32 ? "onnx" : NULL;
}

/* 1 when weights were imported for the model, 0 when not. */
static int has_weights(struct cli *cli, const char *name, struct fg_error *err)
{
    FG_AUTO_JSON json_t *body = NULL;
    size_t i;
    json_t *m;
    if (cli_get(cli, "/v1/models", &body, err) < 0)
        return -1;
    json_array_foreach(
        json_object_get(body, "models"), i,
        m) if (fg_streq(fg_json_str(m, "name", NULL), name)) return fg_streq(fg_json_str(m, "weights", ""), "imported");
    return 0; /* the server names the nearest model when it is unknown */
}

static int run_import(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    const char *name = args->names.items[0], *file = args->names.items[1], *format = cli_text(args, "format");
    char sha256[65];
    FG_AUTO_JSON json_t *answer = NULL;
    int have = cli_flag(args, "if-missing") ? has_weights(cli, name, err) : 0;
    if (have != 0) {
        if (have > 0)
            cli_note(cli, "%s has its weights already", name);
        return have < 0 ? -1 : 0;
    }
    if (!format && !(format = guess_format(file))) {
        fg_fail(err, FG_E_INVALID,
                access(file, R_OK) < 0 ? "'%s': %m" : "'%s' is neither an ONNX nor a torch file by its looks", file);
        return fg_fail_hint(err, "--format onnx or --format torch says which it is.");
    }
    if (cli_blob_put_file(cli, file, sha256, NULL, err) < 0)
        return -1;
    FG_AUTO_STR struct fg_str path = {0};
    fg_str_adds(&path, "/v1/models/");
    fg_client_escape(&path, name);
    fg_str_adds(&path, "/weights");
    FG_AUTO_JSON json_t *body = json_pack("{s:s, s:s}", "blob", sha256, "format", format);
    struct cli_request req = {.method = "PUT", .path = path.data, .body = body};
    if (cli_call(cli, &req, &answer, err) < 0)
        return -1;
    if (cli->json)
        return cli_put_json(answer, err);
    return cli_put_line(err, "%s uses %s (%s, %.12s)", name, file, format, sha256);
}

const struct cli_verb cli_verb_models_import = {
    "models import",
    "NAME FILE [options]",
    "upload a file as a model's weights",
    "FILE is an ONNX model or a torch state dict that fits the model's architecture.",
    import_options,
    2,
    2,
    false,
    run_import,
};
