/* spec_check.c - lists, maps and inputs of a spec, and how an error names its place. */
#include "model/spec_check.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"

/* RFC 6901: "~" is "~0" and "/" is "~1"; what does not fit is cut. */
static int set_pointer(struct fg_error *err, const struct fg_where *at)
{
    char pointer[sizeof ((struct fg_error *)0)->pointer];
    size_t n = 0;
    for (size_t i = 0; i < FG_COUNT(at->part) && at->part[i]; i++) {
        if (n < sizeof pointer - 1)
            pointer[n++] = '/';
        for (const char *c = at->part[i]; *c && n < sizeof pointer - 2; c++) {
            if (*c == '~' || *c == '/')
                pointer[n++] = '~';
            pointer[n++] = *c == '~' ? '0' : *c == '/' ? '1' : *c;
        }
    }
    pointer[n] = 0;
    return fg_fail_at(err, "%s", pointer);
}

/* The text names the place too, for those who show no pointer: "resources.share: must be ...". */
int fg_spec_at(struct fg_error *err, const struct fg_where *at)
{
    char name[120] = "";
    size_t n = 0;
    for (size_t i = 0; i < FG_COUNT(at->part) && at->part[i] && n < sizeof name; i++)
        n += (size_t)snprintf(name + n, sizeof name - n, "%s%.40s", i ? "." : "", at->part[i]);
    if (n > 0)
        fg_fail_prefix(err, "%s", name);
    return set_pointer(err, at);
}

int fg_spec_fail(struct fg_error *err, const struct fg_where *at, const char *fmt, ...)
{
    char text[sizeof ((struct fg_error *)0)->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fg_fail(err, FG_E_INVALID, "%s", text);
    return fg_spec_at(err, at);
}

int fg_spec_missing(struct fg_error *err, const char *key, const char *why)
{
    fg_fail(err, FG_E_INVALID, "'%s' is missing%s", key, why);
    return set_pointer(err, &(struct fg_where){{key}});
}

const char *fg_spec_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with decimals";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "something else";
}

static const char *last_part(const struct fg_where *at)
{
    const char *last = "";
    for (size_t i = 0; i < FG_COUNT(at->part) && at->part[i]; i++)
        last = at->part[i];
    return last;
}

int fg_spec_unknown(struct fg_error *err, const struct fg_where *at, const char *const *known, size_t n)
{
    const char *name = last_part(at), *near = fg_nearest(name, known, n);
    fg_fail(err, FG_E_INVALID, "unknown field '%.60s'", name);
    set_pointer(err, at);
    return near ? fg_fail_hint(err, "Did you mean '%s'?", near) : fg_fail_hint(err, "fgpu help submit lists the fields.");
}

/* The place one step deeper. */
static struct fg_where below(const struct fg_where *at, const char *part)
{
    struct fg_where w = *at;
    for (size_t i = 0; i + 1 < FG_COUNT(w.part); i++)
        if (!w.part[i]) {
            w.part[i] = part;
            break;
        }
    return w;
}

static int check_pattern(const char *s, const struct fg_where *at, struct fg_error *err)
{
    bool up = strcmp(s, "..") == 0 || fg_starts_with(s, "../") || strstr(s, "/../");
    size_t n = strlen(s);
    if (n >= 3 && strcmp(s + n - 3, "/..") == 0)
        up = true;
    if (n == 0 || s[0] == '/' || up) {
        fg_spec_fail(err, at, "'%.60s' is not a pattern below the working directory", s);
        return fg_fail_hint(err, "Write it relative and without '..', e.g. \"out/*.csv\".");
    }
    return 0;
}

static int check_cause(const char *s, const struct fg_where *at, struct fg_error *err)
{
    static const char *const causes[] = {"infra", "oom", "error"};
    for (size_t i = 0; i < FG_COUNT(causes); i++)
        if (strcmp(causes[i], s) == 0)
            return 0;
    const char *near = fg_nearest(s, causes, FG_COUNT(causes));
    fg_spec_fail(err, at, "'%.60s' is not one of infra, oom, error", s);
    return near ? fg_fail_hint(err, "Did you mean '%s'?", near) : -1;
}

/* One element of the list by the field's own rule. */
static int check_element(const json_t *item, const char *path, size_t index, const struct fg_where *at, struct fg_error *err)
{
    if (!json_is_string(item))
        return fg_spec_fail(err, at, "must be a string, not %s", fg_spec_kind(item));
    const char *s = json_string_value(item);
    if (strlen(s) != json_string_length(item))
        return fg_spec_fail(err, at, "must not hold a NUL byte");
    if (strcmp(path, "command") == 0)
        return index > 0 || s[0] ? 0 : fg_spec_fail(err, at, "the program's name must not be empty");
    if (strcmp(path, "outputs") == 0)
        return check_pattern(s, at, err);
    return strcmp(path, "retry_on") == 0 ? check_cause(s, at, err) : 0;
}

int fg_spec_check_strings(const json_t *value, const struct fg_task_field *field, const struct fg_where *at, struct fg_error *err)
{
    if (!json_is_array(value)) {
        fg_spec_fail(err, at, "must be an array of strings, not %s", fg_spec_kind(value));
        return json_is_string(value) && strcmp(field->path, "command") == 0
                   ? fg_fail_hint(err, "Write each argument by itself, [\"python3\", \"train.py\"]; a shell line is [\"sh\", \"-c\", LINE].")
                   : -1;
    }
    size_t n = json_array_size(value), bytes = 0;
    if (n == 0 && strcmp(field->path, "command") == 0)
        return fg_spec_fail(err, at, "must name a program");
    if ((int64_t)n > field->max)
        return fg_spec_fail(err, at, "has %zu elements; at most %" PRId64 " are allowed", n, field->max);
    for (size_t i = 0; i < n; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        const json_t *item = json_array_get(value, i);
        const struct fg_where deeper = below(at, index);
        if (check_element(item, field->path, i, &deeper, err) < 0)
            return -1;
        bytes += json_string_length(item) + 1;
    }
    if (bytes > FG_SPEC_ARGS_MAX_BYTES) {
        fg_spec_fail(err, at, "its %zu bytes are more than the %u allowed", bytes, FG_SPEC_ARGS_MAX_BYTES);
        return fg_fail_hint(err, "Put large data into a file and upload it.");
    }
    return 0;
}

static bool is_env_name(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    for (s++; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return false;
    return true;
}

static int check_pair(const char *key, const json_t *item, bool env, const struct fg_where *at, struct fg_error *err)
{
    if (env && !is_env_name(key)) {
        fg_spec_fail(err, at, "'%.60s' is not the name of an environment variable", key);
        return fg_fail_hint(err, "Names have letters, digits and _, and do not begin with a digit.");
    }
    if (!env && (!*key || strlen(key) > 63))
        return fg_spec_fail(err, at, "a label's name has 1 to 63 bytes");
    if (!json_is_string(item)) {
        fg_spec_fail(err, at, "must be a string, not %s", fg_spec_kind(item));
        return fg_fail_hint(err, "Put the value in quotes.");
    }
    if (strlen(json_string_value(item)) != json_string_length(item))
        return fg_spec_fail(err, at, "must not hold a NUL byte");
    return 0;
}

int fg_spec_check_map(const json_t *value, const struct fg_task_field *field, const struct fg_where *at, struct fg_error *err)
{
    if (!json_is_object(value))
        return fg_spec_fail(err, at, "must be an object of strings, not %s", fg_spec_kind(value));
    if ((int64_t)json_object_size(value) > field->max)
        return fg_spec_fail(err, at, "has %zu members; at most %" PRId64 " are allowed", json_object_size(value), field->max);
    bool env = strcmp(field->path, "env") == 0;
    size_t bytes = 0, most = env ? FG_SPEC_ENV_MAX_BYTES : FG_SPEC_LABELS_MAX_BYTES;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        const struct fg_where deeper = below(at, key);
        if (check_pair(key, item, env, &deeper, err) < 0)
            return -1;
        bytes += strlen(key) + json_string_length(item) + 2;
    }
    return bytes > most ? fg_spec_fail(err, at, "its %zu bytes are more than the %zu allowed", bytes, most) : 0;
}

static int check_blob(const json_t *value, const struct fg_where *at, struct fg_error *err)
{
    if (!json_is_string(value)) {
        fg_spec_fail(err, at, "must be \"blob:SHA256\" of an uploaded file, not %s", fg_spec_kind(value));
        return fg_fail_hint(err, "Upload the file (POST /v1/blobs) and give its blob; the SDK and fgpu do it by themselves.");
    }
    const char *s = json_string_value(value);
    if (fg_starts_with(s, "blob:") && fg_is_sha256(s + 5))
        return 0;
    if (fg_starts_with(s, "blob:")) {
        fg_spec_fail(err, at, "'%.80s' is not blob: and 64 lower-case hex digits", s);
        return fg_fail_hint(err, "POST /v1/blobs answers with the SHA-256 to use.");
    }
    fg_spec_fail(err, at, "'%.80s' is a path or text, and the server opens no path that a client names", s);
    return fg_fail_hint(err, "Upload the file (POST /v1/blobs) and give \"blob:SHA256\"; the SDK and fgpu do it by themselves.");
}

int fg_spec_check_input(const json_t *value, const struct fg_task_field *field, const struct fg_where *at, struct fg_error *err)
{
    static const char *const members[] = {"image"};
    if (!json_is_object(value) || strcmp(field->path, "input_data") != 0)
        return check_blob(value, at, err);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        const struct fg_where deeper = below(at, key);
        if (strcmp(key, members[0]) != 0)
            return fg_spec_unknown(err, &deeper, members, FG_COUNT(members));
        if (check_blob(item, &deeper, err) < 0)
            return -1;
    }
    return json_object_size(value) ? 0 : fg_spec_fail(err, at, "must have a member 'image'");
}

/* Bytes of the base name of path, cut to at most max at the end of a character. */
static size_t base_name(const char **path, size_t max)
{
    const char *slash = strrchr(*path, '/');
    if (slash && slash[1])
        *path = slash + 1;
    size_t n = strlen(*path);
    if (n > max)
        for (n = max; n > 0 && ((unsigned char)(*path)[n] & 0xc0) == 0x80; n--)
            ;
    return n;
}

/* Programs whose own name says nothing of the work: what they run is part of the key. */
static bool is_interpreter(const char *name, size_t n)
{
    static const char *const names[] = {"python", "sh", "bash", "dash", "zsh", "perl", "ruby", "node", "julia", "Rscript"};
    while (n > 0 && (isdigit((unsigned char)name[n - 1]) || name[n - 1] == '.'))
        n--; /* python3.11 */
    for (size_t i = 0; i < FG_COUNT(names); i++)
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0)
            return true;
    return false;
}

/* An inline program ("sh -c LINE") is known only as such: its lines have nothing in common. */
char *fg_spec_program(const json_t *command)
{
    const char *name = json_string_value(json_array_get(command, 0));
    size_t n = base_name(&name, 60);
    if (!is_interpreter(name, n))
        return fg_strndup(name, n);
    for (size_t i = 1; i < json_array_size(command); i++) {
        const char *arg = json_string_value(json_array_get(command, i));
        bool module = strcmp(arg, "-m") == 0 && i + 1 < json_array_size(command);
        if (strcmp(arg, "-c") == 0 || strcmp(arg, "-e") == 0)
            return fg_asprintf("%.*s -c", (int)n, name);
        if (arg[0] == '-' && !module)
            continue;
        if (module)
            arg = json_string_value(json_array_get(command, i + 1));
        size_t m = base_name(&arg, 60);
        return fg_asprintf("%.*s %s%.*s", (int)n, name, module ? "-m " : "", (int)m, arg);
    }
    return fg_strndup(name, n);
}
