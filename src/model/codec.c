/* codec.c - the readers behind codec.h, and the structs that tasks and events share. */
#include "model/codec.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "model/fields.h"

/* %.17g gives every double back. JSON has no infinity: a measurement that is none is left out. */
void fg_put_double(struct fg_str *out, const char *key, size_t key_len, double value)
{
    if (!isfinite(value))
        return;
    fg_str_add(out, key, key_len);
    fg_str_addf(out, "%.17g,", value);
}

void fg_put_id(struct fg_str *out, const char *key, size_t key_len, const char *prefix, fg_id id)
{
    char text[FG_ID_TEXT];
    fg_put_name(out, key, key_len, fg_id_format(text, prefix, id));
}

static int wrong(const struct fg_getter *g, const char *key, const char *what)
{
    return fg_fail(g->err, FG_E_INTERNAL, "stored %s: member '%s' is not %s", g->what, key, what);
}

/* A member, from either. text ends with a NUL. */
struct value {
    enum { NOTHING, INTEGER, REAL, BOOLEAN, STRING, OBJECT, OTHER } type;
    int64_t number;
    double real;
    const char *text;
    size_t len;
    struct fg_getter inner;
};

static struct value scanned(const struct fg_getter *g, const char *key)
{
    const struct fg_scan_member *m = fg_scan_find(g->scan, g->first, g->end, key);
    if (!m)
        return (struct value){.type = NOTHING};
    switch (m->type) {
    case FG_SCAN_INTEGER: return (struct value){.type = INTEGER, .number = m->number, .real = (double)m->number};
    case FG_SCAN_BOOLEAN: return (struct value){.type = BOOLEAN, .number = m->number};
    case FG_SCAN_STRING: return (struct value){.type = STRING, .text = m->text, .len = m->len};
    case FG_SCAN_OBJECT: break;
    }
    uint32_t first = (uint32_t)(m - g->scan->members) + 1;
    return (struct value){.type = OBJECT, .inner = {NULL, g->what, g->err, g->scan, first, m->end}};
}

static struct value find(const struct fg_getter *g, const char *key)
{
    if (!g->object)
        return scanned(g, key);
    const json_t *j = json_object_get(g->object, key);
    if (!j)
        return (struct value){.type = NOTHING};
    switch (json_typeof(j)) {
    case JSON_INTEGER: return (struct value){.type = INTEGER, .number = json_integer_value(j), .real = json_number_value(j)};
    case JSON_REAL: return (struct value){.type = REAL, .real = json_real_value(j)};
    case JSON_TRUE:
    case JSON_FALSE: return (struct value){.type = BOOLEAN, .number = json_is_true(j)};
    case JSON_STRING: return (struct value){.type = STRING, .text = json_string_value(j), .len = json_string_length(j)};
    case JSON_OBJECT: return (struct value){.type = OBJECT, .inner = {.object = j, .what = g->what, .err = g->err}};
    default: return (struct value){.type = OTHER};
    }
}

int fg_get_int(const struct fg_getter *g, const char *key, int64_t min, int64_t max, int64_t *ret, bool *ret_there)
{
    const struct value v = find(g, key);
    *ret_there = v.type != NOTHING;
    if (v.type == NOTHING)
        return 0;
    if (v.type != INTEGER || v.number < min || v.number > max)
        return wrong(g, key, "an integer in its range");
    *ret = v.number;
    return 0;
}

int fg_get_double(const struct fg_getter *g, const char *key, double *ret)
{
    const struct value v = find(g, key);
    if (v.type == NOTHING)
        return 0;
    if (v.type != INTEGER && v.type != REAL)
        return wrong(g, key, "a number");
    *ret = v.real;
    return 0;
}

int fg_get_bool(const struct fg_getter *g, const char *key, bool *ret)
{
    const struct value v = find(g, key);
    if (v.type == NOTHING)
        return 0;
    if (v.type != BOOLEAN)
        return wrong(g, key, "true or false");
    *ret = v.number != 0;
    return 0;
}

int fg_get_text(const struct fg_getter *g, const char *key, char **ret)
{
    const struct value v = find(g, key);
    if (v.type == NOTHING)
        return 0;
    if (v.type != STRING)
        return wrong(g, key, "a string");
    free(*ret);
    *ret = fg_strndup(v.text, v.len);
    return 0;
}

int fg_get_chars(const struct fg_getter *g, const char *key, char *ret, size_t size)
{
    const struct value v = find(g, key);
    if (v.type == NOTHING)
        return 0;
    if (v.type != STRING || v.len >= size)
        return wrong(g, key, "a string of its length");
    memcpy(ret, v.text, v.len + 1);
    return 0;
}

int fg_get_id(const struct fg_getter *g, const char *key, const char *prefix, fg_id *ret)
{
    const struct value v = find(g, key);
    if (v.type == NOTHING)
        return 0;
    return v.type == STRING && fg_id_parse(v.text, prefix, ret) ? 0 : wrong(g, key, "an id of its kind");
}

int fg_get_name(const struct fg_getter *g, const char *key, int (*by_name)(const char *), int *ret, bool *ret_there)
{
    const struct value v = find(g, key);
    *ret_there = v.type != NOTHING;
    if (v.type == NOTHING)
        return 0;
    *ret = v.type == STRING ? by_name(v.text) : -1;
    return *ret < 0 ? wrong(g, key, "a name known here") : 0;
}

int fg_get_object(const struct fg_getter *g, const char *key, struct fg_getter *ret, bool *ret_there)
{
    const struct value v = find(g, key);
    *ret_there = v.type != NOTHING;
    if (v.type != NOTHING && v.type != OBJECT)
        return wrong(g, key, "an object");
    *ret = v.inner;
    return 0;
}

/* Start a nested object; when nothing came in, end takes the key away again. */
static size_t open_member(struct fg_str *out, const char *key, size_t key_len)
{
    size_t before = out->len;
    fg_str_add(out, key, key_len);
    fg_open_object(out);
    return before;
}

static void close_member(struct fg_str *out, size_t before)
{
    if (out->data[out->len - 1] == '{') {
        out->len = before;
        out->data[before] = 0;
        return;
    }
    fg_close_object(out);
    fg_str_add(out, ",", 1);
}

void fg_put_spec(struct fg_str *out, const char *key, size_t key_len, const struct fg_spec *src)
{
    size_t before = open_member(out, key, key_len);
    FG_SPEC_FIELDS(FG_PUT)
    close_member(out, before);
}

void fg_put_usage(struct fg_str *out, const char *key, size_t key_len, const struct fg_usage *src)
{
    size_t before = open_member(out, key, key_len);
    FG_USAGE_FIELDS(FG_PUT)
    close_member(out, before);
}

void fg_put_outcome(struct fg_str *out, const char *key, size_t key_len, const struct fg_outcome *src)
{
    size_t before = open_member(out, key, key_len);
    FG_OUTCOME_FIELDS(FG_PUT)
    fg_put_usage(out, FG_KEY("usage"), &src->usage);
    close_member(out, before);
}

void fg_put_lease(struct fg_str *out, const char *key, size_t key_len, const struct fg_lease *src)
{
    size_t before = open_member(out, key, key_len);
    FG_LEASE_FIELDS(FG_PUT)
    close_member(out, before);
}

void fg_put_placed(struct fg_str *out, const char *key, size_t key_len, const struct fg_placed *src)
{
    size_t before = open_member(out, key, key_len);
    FG_PLACED_FIELDS(FG_PUT)
    close_member(out, before);
}

/* The member as a getter of its own, g; the function ends here when there is none. */
#define ENTER(outer, key) \
    struct fg_getter inner_; \
    bool inner_there_ = false; \
    if (fg_get_object(outer, key, &inner_, &inner_there_) < 0) return -1; \
    if (!inner_there_) return 0; \
    const struct fg_getter *g = &inner_

int fg_get_spec(const struct fg_getter *outer, const char *key, struct fg_spec *dst)
{
    ENTER(outer, key);
    FG_SPEC_FIELDS(FG_GET)
    return 0;
}

int fg_get_usage(const struct fg_getter *outer, const char *key, struct fg_usage *dst)
{
    ENTER(outer, key);
    FG_USAGE_FIELDS(FG_GET)
    return 0;
}

int fg_get_outcome(const struct fg_getter *outer, const char *key, struct fg_outcome *dst)
{
    ENTER(outer, key);
    FG_OUTCOME_FIELDS(FG_GET)
    return fg_get_usage(g, "usage", &dst->usage);
}

int fg_get_lease(const struct fg_getter *outer, const char *key, struct fg_lease *dst)
{
    ENTER(outer, key);
    FG_LEASE_FIELDS(FG_GET)
    return 0;
}

int fg_get_placed(const struct fg_getter *outer, const char *key, struct fg_placed *dst)
{
    ENTER(outer, key);
    FG_PLACED_FIELDS(FG_GET)
    return 0;
}
