/* submit.c - the checks between a tenant's JSON and the core, and idempotency keys. */
#include "control/submit.h"
#include <ctype.h>
#include <string.h>
#include "base/io.h"
#include "base/units.h"
#include "control/catalogue.h"
#include "control/json_out.h"
#include "control/task_view.h"
#include "model/task_spec.h"

#define MANIFEST_MAX (8u << 20)

/* The value at a dotted path of the table, or NULL. */
static const json_t *at_path(const json_t *object, const char *path)
{
    char part[64];
    while (object && *path) {
        size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        object = json_object_get(object, part);
        path += n + (path[n] == '.');
    }
    return object;
}

static int blob_owned(struct fg_server *s, fg_id tenant, const char *sha256, struct fg_error *err)
{
    uint64_t size;
    if (fg_is_sha256(sha256) && fg_store_blob_owned(s->store, sha256, tenant, &size))
        return 0;
    fg_fail(err, FG_E_INVALID, "blob %.80s is not here", sha256);
    return fg_fail_hint(err, "upload it first: PUT /v1/blobs/SHA256; the SDK and `fgpu submit` do so for local paths");
}

/* "blob:SHA256", or an object of such: {"image": "blob:SHA256"}. */
static int input_owned(struct fg_server *s, fg_id tenant, const json_t *value, struct fg_error *err)
{
    const char *text = json_string_value(value), *key;
    json_t *member;
    if (text)
        return fg_starts_with(text, "blob:") ? blob_owned(s, tenant, text + 5, err) : 0;
    json_object_foreach((json_t *)value, key, member)
        if (input_owned(s, tenant, member, err))
            return -1;
    return 0;
}

/* A working directory's manifest names blobs itself: without this check it would be a way to read another tenant's. */
static int manifest_owned(struct fg_server *s, fg_id tenant, const char *sha256, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_asprintf("%s/%.2s/%s", s->blob_dir, sha256, sha256);
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, MANIFEST_MAX, &text, err))
        return -1;
    FG_AUTO_JSON json_t *manifest = fg_json_parse(fg_str_cstr(&text), text.len, err);
    if (!manifest) {
        err->code = FG_E_INVALID;
        return fg_fail_prefix(err, "the manifest of the working directory");
    }
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(manifest, "files"), i, file) {
        const char *blob = fg_json_str(file, "blob", "");
        if (blob_owned(s, tenant, fg_starts_with(blob, "blob:") ? blob + 5 : blob, err))
            return fg_fail_prefix(err, "file %zu of the working directory", i);
    }
    return 0;
}

static int check_blobs(struct fg_server *s, fg_id tenant, const json_t *object, struct fg_error *err)
{
    for (size_t i = 0; i < fg_task_field_count; i++) {
        const struct fg_task_field *field = &fg_task_fields[i];
        const json_t *value = field->type == FG_FIELD_INPUT ? at_path(object, field->path) : NULL;
        const char *text = json_string_value(value);
        int rc = value ? input_owned(s, tenant, value, err) : 0;
        if (!rc && text && !strcmp(field->path, "workdir") && fg_starts_with(text, "blob:"))
            rc = manifest_owned(s, tenant, text + 5, err);
        if (rc)
            return fg_fail_at(err, "/%s", field->path);  /* inputs are at the top level */
    }
    return 0;
}

static int point_at_need(const struct fg_spec *spec, struct fg_error *err)
{
    if (err->code == FG_E_INVALID && !*err->pointer)
        fg_fail_at(err, spec->need.memory_bytes ? "/resources/memory" : "/resources");
    return -1;
}

/* Planning a quote is only needed where the spec asks for what may not exist. */
static int check_need(struct fg_server *s, const struct fg_spec *spec, struct fg_error *err)
{
    struct fg_quote quote;
    if (!spec->need.memory_bytes && !*spec->need.device_kind && !spec->gang)
        return 0;
    return fg_core_quote(s->core, spec, &quote, err) ? point_at_need(spec, err) : 0;
}

int fg_submit_check(struct fg_server *s, fg_id tenant, const json_t *object, struct fg_spec *ret_spec, struct fg_error *err)
{
    struct fg_spec spec = {0};
    if (fg_task_spec_parse(object, &spec, err))
        return -1;
    if (!*spec.need.device_kind)
        snprintf(spec.need.device_kind, sizeof spec.need.device_kind, "%s", fg_config_str(s->config, "default_device_kind"));
    if (check_blobs(s, tenant, object, err) || (spec.model && !fg_catalogue_find(s, spec.model, err)) || check_need(s, &spec, err)) {
        fg_spec_fini(&spec);
        return -1;
    }
    *ret_spec = spec;
    return 0;
}

int fg_submit_enter(struct fg_server *s, fg_id tenant, struct fg_spec *spec, const char *key, const char body_hash[65],
                    fg_id *ret_task, struct fg_error *err)
{
    FG_AUTO_FREE char *idempotency = key ? fg_asprintf("%s\n%s", key, body_hash) : NULL;
    struct fg_input in = {.kind = FG_IN_SUBMIT, .task = fg_id_new(&s->ids, fg_server_now(s)),
                          .submit = {.tenant = tenant, .spec = spec, .idempotency = idempotency}};
    if (fg_turn_input(s, &in, err))
        return -1;
    *ret_task = in.task;
    return 0;
}

/* --- arrays --- */

/* What one of them runs with: the spec as it was asked, but for the array, and its index in the environment. */
static char *element_json(json_t *object, uint32_t index, uint32_t size)
{
    json_t *env = json_object_get(object, "env");
    if (!env) {
        env = json_object();
        json_object_set_new(object, "env", env);
    }
    json_object_set_new(env, "FGPU_ARRAY_INDEX", json_sprintf("%u", index));
    json_object_set_new(env, "FGPU_ARRAY_SIZE", json_sprintf("%u", size));
    return json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
}

static int enter_element(struct fg_server *s, fg_id tenant, const struct fg_spec *spec, json_t *object, uint32_t i, const char *idempotency,
                         fg_id *tasks, struct fg_error *err)
{
    struct fg_spec one = *spec;          /* borrows all but its text; the core copies */
    tasks[i] = fg_id_new(&s->ids, fg_server_now(s));
    one.array = tasks[0];
    one.array_index = spec->array_index + i;
    one.json = element_json(object, one.array_index, spec->array_size);
    struct fg_input in = {.kind = FG_IN_SUBMIT, .task = tasks[i], .submit = {.tenant = tenant, .spec = &one, .idempotency = i ? NULL : idempotency}};
    int rc = fg_turn_input(s, &in, err);
    free(one.json);
    return rc;
}

/* In one turn, so all of them are in one transaction; only the first can be refused. */
int fg_submit_array(struct fg_server *s, fg_id tenant, const struct fg_spec *spec, const char *key, const char body_hash[65],
                    fg_id *ret_tasks, struct fg_error *err)
{
    FG_AUTO_FREE char *idempotency = key ? fg_asprintf("%s\n%s", key, body_hash) : NULL;
    FG_AUTO_JSON json_t *object = fg_json_parse(spec->json, strlen(spec->json), err);
    if (!object)
        return -1;
    json_object_del(object, "array");
    json_object_del(object, "gang");
    for (uint32_t i = 0; i < spec->array_size; i++)
        if (enter_element(s, tenant, spec, object, i, idempotency, ret_tasks, err))
            return i == 0 ? -1 : fg_fail_prefix(err, "task %u of the array", i);
    return 0;
}

/* --- idempotency --- */

int fg_submit_key(struct fg_http_request *req, const char **ret, struct fg_error *err)
{
    const char *key = *ret = fg_http_header(req, "Idempotency-Key");
    if (!key)
        return 0;
    size_t n = strlen(key);
    bool good = n > 0 && n <= FG_IDEMPOTENCY_MAX;
    for (size_t i = 0; good && i < n; i++)
        good = isprint((unsigned char)key[i]);
    if (good)
        return 0;
    fg_fail(err, FG_E_INVALID, "Idempotency-Key is not 1 to %d printable ASCII characters", FG_IDEMPOTENCY_MAX);
    return fg_fail_at(err, "Idempotency-Key");
}

/* The body of a live task's submit is in the task; a settled one's is in the store. */
static const char *body_of(struct fg_server *s, fg_id task, char stored[65])
{
    const struct fg_task *t = s->core ? fg_core_task(s->core, task) : NULL;
    const char *newline = t && t->idempotency ? strrchr(t->idempotency, '\n') : NULL;
    return newline ? newline + 1 : stored;
}

int fg_submit_repeated(struct fg_server *s, fg_id tenant, const char *key, const char body_hash[65], fg_id *ret_task, struct fg_error *err)
{
    char stored[65] = "";
    if (!key || (!(s->core && fg_core_idempotent(s->core, tenant, key, ret_task)) &&
                 !fg_store_idempotent(s->store, tenant, key, ret_task, stored)))
        return 0;
    if (!strcmp(body_of(s, *ret_task, stored), body_hash))
        return 1;
    fg_fail(err, FG_E_IDEMPOTENCY_MISMATCH, "Idempotency-Key '%.60s' was used with another body", key);
    return fg_fail_hint(err, "use a fresh key for a new task, or send the first body again");
}

/* --- quotes --- */

int fg_submit_quote(struct fg_server *s, const struct fg_spec *spec, struct fg_str *out, struct fg_error *err)
{
    struct fg_quote q = {0};
    if (!s->core) {
        *err = s->down;
        return -1;
    }
    if (fg_core_quote(s->core, spec, &q, err))
        return point_at_need(spec, err);
    const struct fg_device *device = q.device ? fg_core_device(s->core, q.device) : NULL;
    fg_out_open(out, NULL, '{');
    fg_out_bool(out, "dry_run", true);
    fg_out_text(out, "class", fg_class_name(q.class));
    fg_out_text(out, "class_rule", fg_class_rule_text(q.class_rule));
    fg_out_need(out, "need", &q.need);
    fg_out_text(out, "device_name", device ? device->name : NULL);
    fg_out_text(out, "device_kind", device ? device->kind : NULL);
    fg_out_open(out, "expected", '{');
    fg_out_seconds(out, "mean_s", q.estimate.mean_ns);
    fg_out_seconds(out, "p50_s", q.estimate.p50_ns);
    fg_out_seconds(out, "p95_s", q.estimate.p95_ns);
    fg_out_int(out, "samples", q.estimate.samples);
    fg_out_percent(out, "confidence_percent", q.estimate.confidence_permille);
    fg_out_close(out, '}');
    fg_out_open(out, "cost", '{');
    fg_out_money(out, "p50", q.cost_p50_nanousd);
    fg_out_money(out, "p95", q.cost_p95_nanousd);
    fg_out_text(out, "currency", "USD");
    fg_out_close(out, '}');
    fg_out_close(out, '}');
    return 0;
}
