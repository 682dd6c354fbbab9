/* codec.h - how plain structs become compact JSON objects and return. Private to model.
 *
 * A struct's members are listed once, in fields.h, as X(KIND, key, member, default); put and get below are expanded
 * over that list, so that what is written is what is read. A member equal to its default is left out: 20,000 submits
 * a second pass here, and 100,000 documents are read at a restart.
 *
 * Writing: each member is `"key":value,` and the object's end turns the last comma into its brace. Enums travel by
 * name, ids as prefixed text, 64-bit counters as the signed integer of the same bits (JSON readers have no more). */
#pragma once
#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "model/scan.h"
#include "model/task.h"

static inline void fg_put_text(struct fg_str *out, const char *key, size_t key_len, const char *s, size_t n)
{
    fg_str_add(out, key, key_len);
    fg_json_quote(out, s, n);
    fg_str_add(out, ",", 1);
}

/* A name that needs no escapes. */
static inline void fg_put_name(struct fg_str *out, const char *key, size_t key_len, const char *name)
{
    size_t n = strlen(name);
    char *p = fg_str_reserve(out, key_len + n + 3);
    memcpy(p, key, key_len);
    p[key_len] = '"';
    memcpy(p + key_len + 1, name, n);
    memcpy(p + key_len + 1 + n, "\",", 3);
    out->len += key_len + n + 3;
}

static inline void fg_put_int(struct fg_str *out, const char *key, size_t key_len, int64_t value)
{
    char digits[20];
    size_t n = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[sizeof digits - ++n] = (char)('0' + rest % 10);
    while (rest /= 10);
    char *p = fg_str_reserve(out, key_len + n + 2);
    memcpy(p, key, key_len);
    p += key_len;
    if (value < 0)
        *p++ = '-';
    memcpy(p, digits + sizeof digits - n, n);
    memcpy(p + n, ",", 2);
    out->len = (size_t)(p + n + 1 - out->data);
}

void fg_put_double(struct fg_str *out, const char *key, size_t key_len, double value);
void fg_put_id(struct fg_str *out, const char *key, size_t key_len, const char *prefix, fg_id id);

static inline void fg_open_object(struct fg_str *out) { fg_str_add(out, "{", 1); }
static inline void fg_close_object(struct fg_str *out)
{
    if (out->data[out->len - 1] == ',')
        out->data[out->len - 1] = '}';
    else
        fg_str_add(out, "}", 1);
}

/* X(KIND, key, member, default) -> one member of the object, unless it has its default. `src` is the struct. */
#define FG_KEY(key) "\"" key "\":", sizeof "\"" key "\":" - 1
#define FG_PUT_NUMBER(key, member, dflt) if (src->member != (dflt)) fg_put_int(out, FG_KEY(key), (int64_t)src->member);
#define FG_PUT_I64 FG_PUT_NUMBER
#define FG_PUT_U64 FG_PUT_NUMBER
#define FG_PUT_U32 FG_PUT_NUMBER
#define FG_PUT_U16 FG_PUT_NUMBER
#define FG_PUT_U8 FG_PUT_NUMBER
#define FG_PUT_INT FG_PUT_NUMBER
#define FG_PUT_BOOL(key, member, dflt) \
    if (src->member != (dflt)) fg_str_adds(out, src->member ? "\"" key "\":true," : "\"" key "\":false,");
#define FG_PUT_DOUBLE(key, member, dflt) if (src->member != (dflt)) fg_put_double(out, FG_KEY(key), src->member);
#define FG_PUT_TEXT(key, member, dflt) if (src->member) fg_put_text(out, FG_KEY(key), src->member, strlen(src->member));
#define FG_PUT_CHARS(key, member, dflt) \
    if (src->member[0]) fg_put_text(out, FG_KEY(key), src->member, strnlen(src->member, sizeof src->member));
#define FG_PUT_NODE(key, member, dflt) if (!fg_id_is_none(src->member)) fg_put_id(out, FG_KEY(key), "nod", src->member);
#define FG_PUT_TASK(key, member, dflt) if (!fg_id_is_none(src->member)) fg_put_id(out, FG_KEY(key), "tsk", src->member);
#define FG_PUT_ENUM(key, member, dflt, name) if (src->member != (dflt)) fg_put_name(out, FG_KEY(key), name(src->member));
#define FG_PUT_STATE(key, member, dflt) FG_PUT_ENUM(key, member, dflt, fg_state_name)
#define FG_PUT_REASON(key, member, dflt) FG_PUT_ENUM(key, member, dflt, fg_reason_name)
#define FG_PUT_CLASS(key, member, dflt) FG_PUT_ENUM(key, member, dflt, fg_class_name)
#define FG_PUT_PRIORITY(key, member, dflt) FG_PUT_ENUM(key, member, dflt, fg_priority_name)
#define FG_PUT_LEVEL(key, member, dflt) FG_PUT_ENUM(key, member, dflt, fg_level_name)
#define FG_PUT_TYPE(key, member, dflt) FG_PUT_ENUM(key, member, dflt, fg_task_type_name)
#define FG_PUT(KIND, key, member, dflt) FG_PUT_##KIND(key, member, dflt)

/* Getters: an absent member leaves *ret alone; a wrong type or value is -1 with *err naming the key. */
struct fg_getter {
    const json_t *object;                /* NULL: members [first, end) of scan */
    const char *what;
    struct fg_error *err;
    const struct fg_scan *scan;
    uint32_t first, end;
};
int fg_get_int(const struct fg_getter *g, const char *key, int64_t min, int64_t max, int64_t *ret, bool *ret_there);
int fg_get_double(const struct fg_getter *g, const char *key, double *ret);
int fg_get_bool(const struct fg_getter *g, const char *key, bool *ret);
int fg_get_text(const struct fg_getter *g, const char *key, char **ret);
int fg_get_chars(const struct fg_getter *g, const char *key, char *ret, size_t size);
int fg_get_id(const struct fg_getter *g, const char *key, const char *prefix, fg_id *ret);
int fg_get_name(const struct fg_getter *g, const char *key, int (*by_name)(const char *), int *ret, bool *ret_there);
int fg_get_object(const struct fg_getter *g, const char *key, struct fg_getter *ret, bool *ret_there);

/* The same X -> read it into dst->member, through `g`; returns -1 from the function it stands in. */
#define FG_GET_NUMBER(key, member, min, max) do { \
        int64_t v_; bool there_ = false; \
        if (fg_get_int(g, key, min, max, &v_, &there_) < 0) return -1; \
        if (there_) dst->member = (__typeof__(dst->member))v_; \
    } while (0);
#define FG_GET_I64(key, member) FG_GET_NUMBER(key, member, INT64_MIN, INT64_MAX)
#define FG_GET_U64(key, member) FG_GET_NUMBER(key, member, INT64_MIN, INT64_MAX)
#define FG_GET_U32(key, member) FG_GET_NUMBER(key, member, 0, UINT32_MAX)
#define FG_GET_U16(key, member) FG_GET_NUMBER(key, member, 0, UINT16_MAX)
#define FG_GET_U8(key, member) FG_GET_NUMBER(key, member, 0, UINT8_MAX)
#define FG_GET_INT(key, member) FG_GET_NUMBER(key, member, INT32_MIN, INT32_MAX)
#define FG_GET_BOOL(key, member) if (fg_get_bool(g, key, &dst->member) < 0) return -1;
#define FG_GET_DOUBLE(key, member) if (fg_get_double(g, key, &dst->member) < 0) return -1;
#define FG_GET_TEXT(key, member) if (fg_get_text(g, key, &dst->member) < 0) return -1;
#define FG_GET_CHARS(key, member) if (fg_get_chars(g, key, dst->member, sizeof dst->member) < 0) return -1;
#define FG_GET_NODE(key, member) if (fg_get_id(g, key, "nod", &dst->member) < 0) return -1;
#define FG_GET_TASK(key, member) if (fg_get_id(g, key, "tsk", &dst->member) < 0) return -1;
#define FG_GET_ENUM(key, member, by_name) do { \
        int v_; bool there_ = false; \
        if (fg_get_name(g, key, by_name, &v_, &there_) < 0) return -1; \
        if (there_) dst->member = (__typeof__(dst->member))v_; \
    } while (0);
#define FG_GET_STATE(key, member) FG_GET_ENUM(key, member, fg_state_by_name)
#define FG_GET_REASON(key, member) FG_GET_ENUM(key, member, fg_reason_by_name)
#define FG_GET_CLASS(key, member) FG_GET_ENUM(key, member, fg_class_by_name)
#define FG_GET_PRIORITY(key, member) FG_GET_ENUM(key, member, fg_priority_by_name)
#define FG_GET_LEVEL(key, member) FG_GET_ENUM(key, member, fg_level_by_name)
#define FG_GET_TYPE(key, member) FG_GET_ENUM(key, member, fg_task_type_by_name)
#define FG_GET(KIND, key, member, dflt) FG_GET_##KIND(key, member)

/* The structs that tasks and events share. Each put appends `"key":{...},`, or nothing when all is default. */
void fg_put_spec(struct fg_str *out, const char *key, size_t key_len, const struct fg_spec *src);
void fg_put_usage(struct fg_str *out, const char *key, size_t key_len, const struct fg_usage *src);
void fg_put_outcome(struct fg_str *out, const char *key, size_t key_len, const struct fg_outcome *src);
void fg_put_lease(struct fg_str *out, const char *key, size_t key_len, const struct fg_lease *src);
void fg_put_placed(struct fg_str *out, const char *key, size_t key_len, const struct fg_placed *src);
/* Read member key of g; dst must be initialised (spec: fg_spec_defaults) and owns what was read even after -1. */
int fg_get_spec(const struct fg_getter *g, const char *key, struct fg_spec *dst);
int fg_get_usage(const struct fg_getter *g, const char *key, struct fg_usage *dst);
int fg_get_outcome(const struct fg_getter *g, const char *key, struct fg_outcome *dst);
int fg_get_lease(const struct fg_getter *g, const char *key, struct fg_lease *dst);
int fg_get_placed(const struct fg_getter *g, const char *key, struct fg_placed *dst);
