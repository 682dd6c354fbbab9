/* task_spec.c - a submitted object against the table of api/task.toml.
 *
 * One walk: every member is found in the table (by "group.key" below resources and limits), checked by the type of its
 * row, and stored where the spec has a place for it. Then the rules that join several fields. What has no place in
 * struct fg_spec (command, env, labels, ...) stays in the canonical text, where those who need it read it. */
#include "model/task_spec.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api_task.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "model/spec_check.h"

const struct fg_task_field fg_task_fields[] = {
#define X(path, type, required, min, max, choices, fallback, doc) {path, type, required, min, max, choices, fallback, doc},
    FG_TASK_FIELD_LIST(X)
#undef X
};
const size_t fg_task_field_count = FG_COUNT(fg_task_fields);

struct parse {
    struct fg_spec spec;
    struct fg_error *err;
};

/* The field "group.key", or "key" without a group. NULL when the table has none. */
static const struct fg_task_field *find_field(const char *group, const char *key)
{
    size_t n = group ? strlen(group) : 0;
    for (size_t i = 0; i < FG_COUNT(fg_task_fields); i++) {
        const char *path = fg_task_fields[i].path;
        if (group ? strncmp(path, group, n) != 0 || path[n] != '.' : strchr(path, '.') != NULL)
            continue;
        if (strcmp(group ? path + n + 1 : path, key) == 0)
            return &fg_task_fields[i];
    }
    return NULL;
}

/* Whether key names a group: some path begins with "key.". */
static const char *find_group(const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < FG_COUNT(fg_task_fields); i++)
        if (strncmp(fg_task_fields[i].path, key, n) == 0 && fg_task_fields[i].path[n] == '.')
            return key;
    return NULL;
}

/* The names allowed in a group, or at the top; groups themselves once. */
static int fail_unknown(struct fg_error *err, const char *group, const char *key)
{
    const struct fg_where at = {{group ? group : key, group ? key : NULL}};
    char names[FG_COUNT(fg_task_fields)][32];
    const char *known[FG_COUNT(fg_task_fields)];
    size_t n = 0, skip = group ? strlen(group) + 1 : 0;
    for (size_t i = 0; i < FG_COUNT(fg_task_fields); i++) {
        const char *path = fg_task_fields[i].path, *dot = strchr(path, '.');
        if (!group && dot && strcmp(dot + 1, key) == 0) {
            fg_spec_unknown(err, &at, NULL, 0);
            return fg_fail_hint(err, "Write it inside '%.*s': {\"%.*s\": {\"%s\": ...}}.", (int)(dot - path), path,
                                (int)(dot - path), path, key);
        }
        if (group && (strncmp(path, group, skip - 1) != 0 || path[skip - 1] != '.'))
            continue;
        const char *name = path + skip, *end = strchrnul(name, '.');
        snprintf(names[n], sizeof names[n], "%.*s", (int)(end - name), name);
        known[n] = names[n];
        n++;
    }
    return fg_spec_unknown(err, &at, known, n);
}

static int fail_type(struct fg_error *err, const struct fg_where *at, const json_t *value, const char *want)
{
    return fg_spec_fail(err, at, "must be %s, not %s", want, fg_spec_kind(value));
}

/* Integers, also written 1e9 or 5.0, as some clients do; exact up to 2^53. */
static bool whole_number(const json_t *value, int64_t *ret)
{
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    double real = json_real_value(value);
    if (!json_is_real(value) || real != floor(real) || fabs(real) > 9007199254740992.0)
        return false;
    *ret = (int64_t)real;
    return true;
}

/* Texts of the same value as people would write it, for messages about ranges. */
static char *show(char *buf, size_t n, enum fg_field_type type, int64_t v)
{
    if (type == FG_FIELD_BYTES)
        return fg_format_bytes(buf, n, (uint64_t)v);
    if (type == FG_FIELD_CORES)
        snprintf(buf, n, "%g", (double)v / 1000);
    else if (type == FG_FIELD_PERCENT)
        snprintf(buf, n, v % 10 ? "%" PRId64 ".%" PRId64 : "%" PRId64, v / 10, v % 10);
    else if (type == FG_FIELD_SECONDS && v >= 86400 && v % 86400 == 0)
        snprintf(buf, n, "%" PRId64 " day%s", v / 86400, v == 86400 ? "" : "s");
    else if (type == FG_FIELD_SECONDS)
        snprintf(buf, n, "%" PRId64 " s", v);
    else
        snprintf(buf, n, "%" PRId64, v);
    return buf;
}

static int fail_range(struct parse *p, const struct fg_task_field *f, const struct fg_where *at)
{
    char min[40], max[40];
    return fg_spec_fail(p->err, at, "must be within %s and %s", show(min, sizeof min, f->type, f->min),
                        show(max, sizeof max, f->type, f->max));
}

static int read_integer(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at, int64_t *ret)
{
    if (!whole_number(value, ret))
        return fail_type(p->err, at, value, "a whole number");
    return *ret < f->min || *ret > f->max ? fail_range(p, f, at) : 0;
}

static int read_bytes(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at, int64_t *ret)
{
    uint64_t bytes = 0;
    if (json_is_string(value)) {
        if (fg_parse_bytes(json_string_value(value), &bytes, p->err) < 0)
            return fg_spec_at(p->err, at);
        *ret = bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
    } else if (!whole_number(value, ret)) {
        fail_type(p->err, at, value, "a number of bytes");
        return fg_fail_hint(p->err, "Write an integer, or a string with a unit, e.g. \"1GB\" or \"512MiB\".");
    }
    return *ret < f->min || *ret > f->max ? fail_range(p, f, at) : 0;
}

/* Percent, kept as permille rounded to nearest; the range is that of what was written. */
static int read_percent(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at, int64_t *ret)
{
    if (json_is_string(value)) {
        uint32_t permille = 0;
        if (fg_parse_share(json_string_value(value), &permille, p->err) < 0)
            return fg_spec_at(p->err, at);
        *ret = permille;
    } else if (json_is_number(value)) {
        double permille = json_number_value(value) * 10;
        if (permille < (double)f->min || permille > (double)f->max) {
            fail_range(p, f, at);
            return fg_fail_hint(p->err, "It is percent of one device's compute, e.g. 50 or 12.5.");
        }
        *ret = llround(permille);
    } else {
        return fail_type(p->err, at, value, "a number of percent");
    }
    return *ret < f->min || *ret > f->max ? fail_range(p, f, at) : 0;
}

/* Cores, kept in thousandths rounded to nearest. */
static int read_cores(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at, int64_t *ret)
{
    double cores = json_number_value(value);
    if (json_is_string(value)) {
        char *end;
        cores = strtod(json_string_value(value), &end);
        if (end == json_string_value(value) || *end)
            return fail_type(p->err, at, value, "a number of cores");
    } else if (!json_is_number(value)) {
        fail_type(p->err, at, value, "a number of cores");
        return fg_fail_hint(p->err, "Write a number, e.g. 4 or 0.5.");
    }
    if (!(cores * 1000 >= (double)f->min && cores * 1000 <= (double)f->max))
        return fail_range(p, f, at);
    *ret = llround(cores * 1000);
    return 0;
}

static int read_seconds(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at, int64_t *ret)
{
    if (json_is_string(value)) {
        if (fg_parse_duration(json_string_value(value), ret, p->err) < 0)
            return fg_spec_at(p->err, at);
    } else if (json_is_number(value)) {
        double seconds = json_number_value(value);
        if (seconds < (double)f->min || seconds > (double)f->max)
            return fail_range(p, f, at);
        *ret = json_is_integer(value) ? json_integer_value(value) * FG_NS_PER_S : llround(seconds * (double)FG_NS_PER_S);
    } else {
        fail_type(p->err, at, value, "a number of seconds");
        return fg_fail_hint(p->err, "Write a number, or a string with a unit, e.g. \"5m\".");
    }
    return *ret < f->min * FG_NS_PER_S || *ret > f->max * FG_NS_PER_S ? fail_range(p, f, at) : 0;
}

/* A float has no exact cents; so money is never a JSON number. */
static int read_money(struct parse *p, const json_t *value, const struct fg_where *at, int64_t *ret)
{
    if (!json_is_string(value)) {
        fail_type(p->err, at, value, "an amount in USD as a string");
        return fg_fail_hint(p->err, "Write a decimal string, e.g. \"0.50\".");
    }
    if (fg_parse_money(json_string_value(value), ret, p->err) < 0)
        return fg_spec_at(p->err, at);
    return *ret > 0 ? 0 : fg_spec_fail(p->err, at, "must be more than 0; leave it out for no limit");
}

static int check_string(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at)
{
    if (!json_is_string(value))
        return fail_type(p->err, at, value, "a string");
    const char *s = json_string_value(value);
    size_t n = json_string_length(value);
    if (n == 0)
        return fg_spec_fail(p->err, at, "must not be empty");
    if ((int64_t)n > f->max)
        return fg_spec_fail(p->err, at, "is longer than %" PRId64 " bytes", f->max);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return fg_spec_fail(p->err, at, "must not hold control characters");
    return 0;
}

static int check_enum(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at)
{
    if (!json_is_string(value))
        return fail_type(p->err, at, value, "a string");
    const char *s = json_string_value(value), *known[8];
    char choices[200];
    size_t n = 0, len = strlen(s);
    snprintf(choices, sizeof choices, "%s", f->choices);
    for (const char *c = f->choices; c; c = strchr(c, '|'), c = c ? c + 1 : NULL)
        if (strncmp(c, s, len) == 0 && (c[len] == '|' || !c[len]) && len > 0)
            return 0;
    char *save = NULL;
    for (char *c = strtok_r(choices, "|", &save); c && n < FG_COUNT(known); c = strtok_r(NULL, "|", &save))
        known[n++] = c;
    const char *near = fg_nearest(s, known, n);
    fg_spec_fail(p->err, at, "'%.60s' is not one of %s", s, f->choices);
    return near ? fg_fail_hint(p->err, "Did you mean '%s'?", near) : -1;
}

/* Where checked numbers go; paths without a line stay in the text. */
static void store_number(struct fg_spec *spec, const char *path, int64_t v)
{
    if (strcmp(path, "resources.memory") == 0)
        spec->need.memory_bytes = (uint64_t)v;
    else if (strcmp(path, "resources.share") == 0)
        spec->need.share_permille = (uint32_t)v;
    else if (strcmp(path, "resources.share_max") == 0)
        spec->need.share_max_permille = (uint32_t)v;
    else if (strcmp(path, "resources.cpus") == 0)
        spec->need.cpus_milli = (uint32_t)v;
    else if (strcmp(path, "resources.host_memory") == 0)
        spec->need.host_bytes = (uint64_t)v;
    else if (strcmp(path, "limits.queue") == 0)
        spec->limits.queue_ns = v;
    else if (strcmp(path, "limits.startup") == 0)
        spec->limits.startup_ns = v;
    else if (strcmp(path, "limits.run") == 0)
        spec->limits.run_ns = v;
    else if (strcmp(path, "limits.max_cost") == 0)
        spec->limits.max_cost_nanousd = v;
    else if (strcmp(path, "limits.deadline") == 0)
        spec->limits.deadline_ns = v;
    else if (strcmp(path, "preemptible") == 0)
        spec->preemptible = v != 0;
    else if (strcmp(path, "spot") == 0)
        spec->spot = v != 0;
    else if (strcmp(path, "gang") == 0)
        spec->gang = v != 0;
    else if (strcmp(path, "retries") == 0)
        spec->retries = (uint16_t)v;
    else if (strcmp(path, "hold") == 0)
        spec->hold = v != 0;
}

static void store_text(struct fg_spec *spec, const char *path, const char *s)
{
    if (strcmp(path, "task_type") == 0)
        spec->type = (enum fg_task_type)fg_task_type_by_name(s);
    else if (strcmp(path, "class") == 0)
        spec->class = (enum fg_class)fg_class_by_name(s);
    else if (strcmp(path, "priority") == 0)
        spec->priority = (enum fg_priority)fg_priority_by_name(s);
    else if (strcmp(path, "name") == 0)
        spec->name = fg_strdup(s);
    else if (strcmp(path, "model_name") == 0)
        spec->model = fg_strdup(s);
    else if (strcmp(path, "resources.device_kind") == 0)
        snprintf(spec->need.device_kind, sizeof spec->need.device_kind, "%s", s);
}

static int read_number(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at)
{
    int64_t v = 0;
    int rc = f->type == FG_FIELD_BYTES     ? read_bytes(p, value, f, at, &v)
             : f->type == FG_FIELD_PERCENT ? read_percent(p, value, f, at, &v)
             : f->type == FG_FIELD_CORES   ? read_cores(p, value, f, at, &v)
             : f->type == FG_FIELD_SECONDS ? read_seconds(p, value, f, at, &v)
             : f->type == FG_FIELD_MONEY   ? read_money(p, value, at, &v)
                                           : read_integer(p, value, f, at, &v);
    if (rc == 0)
        store_number(&p->spec, f->path, v);
    return rc;
}

static int read_field(struct parse *p, const json_t *value, const struct fg_task_field *f, const struct fg_where *at)
{
    int rc;
    switch (f->type) {
    case FG_FIELD_STRING:
    case FG_FIELD_ENUM:
        rc = f->type == FG_FIELD_ENUM ? check_enum(p, value, f, at) : check_string(p, value, f, at);
        if (rc == 0)
            store_text(&p->spec, f->path, json_string_value(value));
        return rc;
    case FG_FIELD_BOOLEAN:
        if (!json_is_boolean(value))
            return fail_type(p->err, at, value, "true or false");
        store_number(&p->spec, f->path, json_is_true(value));
        return 0;
    case FG_FIELD_STRINGS: return fg_spec_check_strings(value, f, at, p->err);
    case FG_FIELD_MAP: return fg_spec_check_map(value, f, at, p->err);
    case FG_FIELD_INPUT: return fg_spec_check_input(value, f, at, p->err);
    case FG_FIELD_OBJECT: return json_is_object(value) ? 0 : fail_type(p->err, at, value, "an object");
    default: return read_number(p, value, f, at);
    }
}

static int read_object(struct parse *p, const json_t *object, const char *group)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        const struct fg_where at = {{group ? group : key, group ? key : NULL}};
        const struct fg_task_field *f = find_field(group, key);
        const char *inner = group || f ? NULL : find_group(key);
        int rc;
        if (f)
            rc = read_field(p, value, f, &at);
        else if (!inner)
            rc = fail_unknown(p->err, group, key);
        else
            rc = json_is_object(value) ? read_object(p, value, inner) : fail_type(p->err, &at, value, "an object");
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int check_model_name(struct parse *p, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+:@/";
    const struct fg_where at = {{"model_name"}};
    if (name[strspn(name, letters)] || strchr("./-", name[0]) || strstr(name, "..") || strstr(name, "//")) {
        fg_spec_fail(p->err, &at, "'%.60s' is not a model's name", name);
        return fg_fail_hint(p->err, "Name a model of the catalogue; fgpu models lists them.");
    }
    return 0;
}

/* "0-99"; without it the task is none of an array. */
static int read_array(struct parse *p, const json_t *value)
{
    const struct fg_where at = {{"array"}};
    unsigned first, last;
    char end;
    if (!value)
        return p->spec.gang ? fg_spec_missing(p->err, "array", ": a gang is an array that starts together") : 0;
    if (sscanf(json_string_value(value), "%9u-%9u%c", &first, &last, &end) != 2 || last < first) {
        fg_spec_fail(p->err, &at, "'%.40s' is not FIRST-LAST", json_string_value(value));
        return fg_fail_hint(p->err, "For instance \"0-99\".");
    }
    if (last - first >= FG_ARRAY_MAX)
        return fg_spec_fail(p->err, &at, "has %u tasks; at most %u are allowed", last - first + 1, FG_ARRAY_MAX);
    p->spec.array_index = first;
    p->spec.array_size = last - first + 1;
    return 0;
}

static int require(struct parse *p, const json_t *object, const char *key, const char *why)
{
    return json_object_get(object, key) ? 0 : fg_spec_missing(p->err, key, why);
}

/* What the type asks for, and what a field means that needs another. */
static int check_rules(struct parse *p, const json_t *object)
{
    struct fg_spec *spec = &p->spec;
    const json_t *causes = json_object_get(object, "retry_on"), *command = json_object_get(object, "command");
    if (spec->type == FG_TASK_COMMAND) {
        if (require(p, object, "command", ": a task of type command names its program and arguments") < 0)
            return fg_fail_hint(p->err, "For instance {\"task_type\": \"command\", \"command\": [\"python3\", \"train.py\"]}.");
        spec->program = fg_spec_program(command);
    } else {
        char why[80];
        snprintf(why, sizeof why, ": tasks of type %s need it", fg_task_type_name(spec->type));
        if (require(p, object, "model_name", why) < 0 || require(p, object, "input_data", why) < 0)
            return -1;
        if (command)
            return fg_spec_fail(p->err, &(struct fg_where){{"command"}}, "is only for tasks of type command");
    }
    if (causes) {
        spec->retry_on = 0;
        for (size_t i = 0; i < json_array_size(causes); i++) {
            const char *cause = json_string_value(json_array_get(causes, i));
            spec->retry_on |= cause[0] == 'i' ? FG_RETRY_INFRA : cause[0] == 'o' ? FG_RETRY_OOM : FG_RETRY_ERROR;
        }
    }
    if (spec->need.share_max_permille && spec->need.share_max_permille < spec->need.share_permille)
        return fg_spec_fail(p->err, &(struct fg_where){{"resources", "share_max"}}, "is less than the share");
    return spec->model ? check_model_name(p, spec->model) : 0;
}

int fg_task_spec_parse(const json_t *object, struct fg_spec *ret_spec, struct fg_error *err)
{
    struct parse p = {.err = err};
    if (!json_is_object(object))
        return fail_type(err, &(struct fg_where){{NULL}}, object, "an object");
    fg_spec_defaults(&p.spec);
    if (read_object(&p, object, NULL) < 0)
        goto fail;
    for (size_t i = 0; i < FG_COUNT(fg_task_fields); i++)
        if (fg_task_fields[i].required && require(&p, object, fg_task_fields[i].path, "") < 0)
            goto fail;
    if (check_rules(&p, object) < 0 || read_array(&p, json_object_get(object, "array")) < 0)
        goto fail;
    p.spec.json = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!p.spec.json) {
        fg_fail(err, FG_E_INVALID, "the task cannot be written as JSON");
        goto fail;
    }
    *ret_spec = p.spec;
    return 0;
fail:
    fg_spec_fini(&p.spec);
    return -1;
}
