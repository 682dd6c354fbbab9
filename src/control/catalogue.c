/* catalogue.c - which models there are, and where their weights come from; the routes that show and import them. */
#include "control/catalogue.h"
#include <string.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/log.h"
#include "control/json_out.h"
#include "control/routes.h"

#define CATALOGUE_MAX (16u << 20)

struct fg_catalogue {
    char *path;                          /* NULL: nowhere found */
    struct timespec mtime;
    json_t *root;                        /* {"models": [...]} */
    json_t *imports;                     /* NAME: {"blob", "format"} */
    FG_VEC(const char *) names;          /* borrowed from root */
};

/* The first folder that has a catalogue: the setting, beside the program, in its share folder, above its build folder. */
static char *find_path(const struct fg_config *config)
{
    const char *set = fg_config_str(config, "models_dir");
    if (set && *set)
        return fg_path_join(set, "catalogue.json");
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    static const char *const below[] = {"models", "../share/fastgpu/models", "../models", "../../../models"};
    for (size_t i = 0; i < FG_COUNT(below); i++) {
        char *path = fg_asprintf("%s/%s/catalogue.json", exe, below[i]);
        if (!access(path, R_OK))
            return path;
        free(path);
    }
    return NULL;
}

static void use(struct fg_catalogue *c, json_t *root)
{
    json_decref(c->root);
    c->root = root;
    c->names.count = 0;
    size_t i;
    json_t *model;
    json_array_foreach(json_object_get(root, "models"), i, model)
        if (*fg_json_str(model, "name", ""))
            fg_vec_push(&c->names, fg_json_str(model, "name", ""));
}

/* A catalogue that was edited into nonsense leaves the last good one in place. */
static int refresh(struct fg_catalogue *c, struct fg_error *err)
{
    struct stat st;
    if (!c->path || stat(c->path, &st))
        return 0;
    if (st.st_mtim.tv_sec == c->mtime.tv_sec && st.st_mtim.tv_nsec == c->mtime.tv_nsec)
        return 0;
    c->mtime = st.st_mtim;
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(c->path, CATALOGUE_MAX, &text, err))
        return -1;
    json_t *root = fg_json_parse(fg_str_cstr(&text), text.len, err);
    if (!root)
        return fg_fail_prefix(err, "%s", c->path);
    if (!json_is_array(json_object_get(root, "models"))) {
        json_decref(root);
        return fg_fail(err, FG_E_MALFORMED, "%s: no list \"models\"", c->path);
    }
    use(c, root);
    return 0;
}

int fg_catalogue_open(struct fg_server *s, struct fg_error *err)
{
    struct fg_catalogue *c = s->catalogue = fg_alloc(sizeof *c);
    c->imports = json_object();
    c->path = find_path(s->config);
    if (!c->path)
        fg_log_info("no model catalogue was found; set models_dir to use models");
    return refresh(c, err);
}

void fg_catalogue_close(struct fg_server *s)
{
    struct fg_catalogue *c = fg_take_ptr(s->catalogue);
    if (!c)
        return;
    free(c->path);
    json_decref(c->root);
    json_decref(c->imports);
    fg_vec_fini(&c->names);
    free(c);
}

static const json_t *lookup(const struct fg_catalogue *c, const char *name)
{
    size_t i;
    json_t *model;
    json_array_foreach(json_object_get(c->root, "models"), i, model)
        if (!strcmp(fg_json_str(model, "name", ""), name))
            return model;
    return NULL;
}

const json_t *fg_catalogue_find(struct fg_server *s, const char *name, struct fg_error *err)
{
    struct fg_catalogue *c = s->catalogue;
    struct fg_error why;
    if (refresh(c, &why))
        fg_log_warn("catalogue: %s", why.text);
    const json_t *model = lookup(c, name);
    if (model)
        return model;
    fg_fail(err, FG_E_INVALID, "there is no model '%s'", name);
    fg_fail_at(err, "/model_name");
    const char *near = fg_nearest(name, c->names.items, c->names.count);
    if (near)
        fg_fail_hint(err, "did you mean '%s'? `fgpu models` lists them all", near);
    else
        fg_fail_hint(err, c->names.count ? "`fgpu models` lists them" : "this server has no model catalogue (models_dir)");
    return NULL;
}

void fg_catalogue_imported(struct fg_server *s, const char *key, const char *doc)
{
    const char *name = key + strlen("model:");
    json_t *entry = doc ? json_loads(doc, 0, NULL) : NULL;
    if (entry)
        json_object_set_new(s->catalogue->imports, name, entry);
    else
        json_object_del(s->catalogue->imports, name);
}

static void copy(json_t *to, const char *as, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);
    if (value)
        json_object_set(to, as, value);
}

void fg_catalogue_attach(struct fg_server *s, const char *name, json_t *spec)
{
    struct fg_catalogue *c = s->catalogue;
    const json_t *model = lookup(c, name), *import = json_object_get(c->imports, name);
    const json_t *source = json_object_get(model, "source");
    if (!model)                          /* taken out of the catalogue since the submit: the agent says so */
        return;
    json_t *out = json_object();
    static const char *const kept[] = {"name", "task_type", "architecture", "input", "source"};
    for (size_t i = 0; i < FG_COUNT(kept); i++)
        copy(out, kept[i], model, kept[i]);
    if (import) {
        copy(out, "weights_blob", import, "blob");
        copy(out, "format", import, "format");
    } else {
        copy(out, "source_url", source, "url");
        copy(out, "sha256", source, "sha256");
        copy(out, "sha256_prefix", source, "sha256_prefix");
        copy(out, "format", source, "format");
    }
    json_object_set_new(spec, "model", out);
}

/* --- routes --- */

/* One model: what the catalogue says and where its weights would come from. */
static void put_model(struct fg_server *s, struct fg_str *out, const json_t *model)
{
    const char *name = fg_json_str(model, "name", "");
    const json_t *import = json_object_get(s->catalogue->imports, name);
    const json_t *source = json_object_get(model, "source");
    bool offline = fg_config_int(s->config, "offline");
    fg_out_open(out, NULL, '{');
    fg_out_text(out, "name", name);
    fg_out_text(out, "task_type", fg_json_str(model, "task_type", NULL));
    fg_out_text(out, "title", fg_json_str(model, "title", NULL));
    fg_out_text(out, "architecture", fg_json_str(model, "architecture", NULL));
    fg_out_text(out, "weights", import ? "imported" : *fg_json_str(source, "url", "") && !offline ? "source" : "missing");
    fg_out_text(out, "blob", fg_json_str(import, "blob", NULL));
    fg_out_text(out, "format", fg_json_str(import ? import : source, "format", NULL));
    fg_out_json(out, "source", source);
    fg_out_json(out, "license", json_object_get(model, "license"));
    fg_out_close(out, '}');
}

void fg_route_models(struct fg_http_request *req, void *arg)
{
    struct fg_server *s = arg;
    struct fg_error err;
    if (refresh(s->catalogue, &err))
        fg_log_warn("catalogue: %s", err.text);
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_open(&out, "models", '[');
    size_t i;
    json_t *model;
    json_array_foreach(json_object_get(s->catalogue->root, "models"), i, model)
        put_model(s, &out, model);
    fg_out_close(&out, ']');
    fg_out_close(&out, '}');
    fg_answer_json(fg_call_of(req), 200, &out, NULL);
}

struct import { char *key, *doc; };

static void import_drop(void *state)
{
    struct import *import = state;
    free(import->key);
    free(import->doc);
    free(import);
}

static void import_done(struct fg_call *call, const struct fg_error *err)
{
    if (err) {
        fg_answer_fail(call, err);
        return;
    }
    struct fg_server *s = call->server;
    const struct import *import = call->state;
    fg_catalogue_imported(s, import->key, import->doc);
    FG_AUTO_STR struct fg_str out = {0};
    const json_t *model = lookup(s->catalogue, import->key + strlen("model:"));
    put_model(s, &out, model);
    fg_answer_json(call, 200, &out, NULL);
}

static int import_check(struct fg_call *call, const json_t *body, struct fg_error *err)
{
    struct fg_server *s = call->server;
    const char *sha256 = fg_json_str(body, "blob", ""), *format = fg_json_str(body, "format", "");
    if (fg_starts_with(sha256, "blob:"))
        sha256 += 5;
    if (!fg_is_sha256(sha256)) {
        fg_fail(err, FG_E_INVALID, "blob is not a SHA-256");
        return fg_fail_at(err, "/blob");
    }
    if (strcmp(format, "onnx") && strcmp(format, "torch")) {
        fg_fail(err, FG_E_INVALID, "format '%s' is not known", format);
        fg_fail_at(err, "/format");
        return fg_fail_hint(err, "onnx, or torch for a state dict");
    }
    uint64_t size;
    if (!fg_store_blob_owned(s->store, sha256, call->tenant, &size)) {
        fg_fail(err, FG_E_INVALID, "blob %.12s... is not here", sha256);
        fg_fail_at(err, "/blob");
        return fg_fail_hint(err, "upload it first: PUT /v1/blobs/%.12s...", sha256);
    }
    return 0;
}

void fg_route_model_put(struct fg_http_request *req, void *arg)
{
    struct fg_server *s = arg;
    struct fg_call *call = fg_call_of(req);
    struct fg_error err;
    size_t len;
    const char *text = fg_http_body(req, &len), *name = fg_http_param(req, "name");
    FG_AUTO_JSON json_t *body = NULL;
    const json_t *model = fg_catalogue_find(s, name, &err);
    if (!model)
        err.code = FG_E_NOT_FOUND;       /* named by the path */
    if (!model || fg_server_writable(s, &err) || !(body = fg_json_parse(text, len, &err)) ||
        fg_json_known(body, "blob|format", &err) || import_check(call, body, &err)) {
        fg_answer_fail(call, &err);
        return;
    }
    const char *sha256 = fg_json_str(body, "blob", "");
    struct import *import = fg_alloc(sizeof *import);
    import->key = fg_asprintf("model:%s", name);
    import->doc = fg_asprintf("{\"blob\":\"%s\",\"format\":\"%s\"}", sha256 + (fg_starts_with(sha256, "blob:") ? 5 : 0),
                              fg_json_str(body, "format", ""));
    call->state = import;
    call->drop = import_drop;
    fg_turn_aux(s, import->key, import->doc);
    fg_turn_wait(call, import_done);
}
