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

int fg_get_int(const struct fg_getter *g, const char *key, int64_t min, int64_t max, int64_t *ret, bool *ret_there)
{
    const json_t *j = json_object_get(g->object, key);
    *ret_there = j != NULL;
    if (!j)
        return 0;
    if (!json_is_integer(j) || json_integer_value(j) < min || json_integer_value(j) > max)
        return wrong(g, key, "an integer in its range");
    *ret = json_integer_value(j);
    return 0;
}

int fg_get_double(const struct fg_getter *g, const char *key, double *ret)
{
    const json_t *j = json_object_get(g->object, key);
    if (j && !json_is_number(j))
        return wrong(g, key, "a number");
    if (j)
        *ret = json_number_value(j);
    return 0;
}

int fg_get_bool(const struct fg_getter *g, const char *key, bool *ret)
{
    const json_t *j = json_object_get(g->object, key);
    if (j && !json_is_boolean(j))
        return wrong(g, key, "true or false");
    if (j)
        *ret = json_is_true(j);
    return 0;
}

int fg_get_text(const struct fg_getter *g, const char *key, char **ret)
{
    const json_t *j = json_object_get(g->object, key);
    if (!j)
        return 0;
    if (!json_is_string(j))
        return wrong(g, key, "a string");
    free(*ret);
    *ret = fg_strndup(json_string_value(j), json_string_length(j));
    return 0;
}

int fg_get_chars(const struct fg_getter *g, const char *key, char *ret, size_t size)
{
    const json_t *j = json_object_get(g->object, key);
    if (!j)
        return 0;
    if (!json_is_string(j) || json_string_length(j) >= size)
        return wrong(g, key, "a string of its length");
    memcpy(ret, json_string_value(j), json_string_length(j) + 1);
    return 0;
}

int fg_get_id(const struct fg_getter *g, const char *key, const char *prefix, fg_id *ret)
{
    const json_t *j = json_object_get(g->object, key);
    if (j && (!json_is_string(j) || !fg_id_parse(json_string_value(j), prefix, ret)))
        return wrong(g, key, "an id of its kind");
    return 0;
}

int fg_get_name(const struct fg_getter *g, const char *key, int (*by_name)(const char *), int *ret, bool *ret_there)
{
    const json_t *j = json_object_get(g->object, key);
    *ret_there = j != NULL;
    if (!j)
        return 0;
    *ret = json_is_string(j) ? by_name(json_string_value(j)) : -1;
    return *ret < 0 ? wrong(g, key, "a name known here") : 0;
}

int fg_get_object(const struct fg_getter *g, const char *key, struct fg_getter *ret, bool *ret_there)
{
    const json_t *j = json_object_get(g->object, key);
    *ret_there = j != NULL;
    if (j && !json_is_object(j))
        return wrong(g, key, "an object");
    *ret = (struct fg_getter){j, g->what, g->err};
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
