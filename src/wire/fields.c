/* fields.c - the codec of fields.h. */
#include "wire/fields.h"

#include <math.h>
#include <string.h>

#include "base/id.h"
#include "base/vec.h"

/* All FG_VEC have this shape. */
struct any_vec { char *items; size_t count, cap; };

static int64_t json_int(uint64_t v)
{
    return v > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)v;
}

static void encode_array(const struct fg_field *f, const struct any_vec *vec, struct fg_str *out)
{
    fg_str_adds(out, "[");
    for (size_t i = 0; i < vec->count; i++) {
        fg_str_adds(out, i > 0 ? ",{" : "{");
        fg_fields_encode(f->info, vec->items + i * f->size, out);
        fg_str_adds(out, "}");
    }
    fg_str_adds(out, "]");
}

static void encode_id(const char *prefix, fg_id id, struct fg_str *out)
{
    char text[FG_ID_TEXT];
    fg_str_addf(out, "\"%s\"", fg_id_format(text, prefix, id));
}

static void encode_value(const struct fg_field *f, const char *p, struct fg_str *out)
{
    switch (f->kind) {
    case F_ID: encode_id(f->info, *(const fg_id *)p, out); break;
    case F_U32: fg_str_addf(out, "%u", *(const uint32_t *)p); break;
    case F_I64: fg_str_addf(out, "%lld", (long long)*(const int64_t *)p); break;
    case F_U64: fg_str_addf(out, "%lld", (long long)json_int(*(const uint64_t *)p)); break;
    case F_INT: fg_str_addf(out, "%d", *(const int *)p); break;
    case F_BOOL: fg_str_adds(out, *(const bool *)p ? "true" : "false"); break;
    case F_REAL: fg_str_addf(out, "%.17g", isfinite(*(const double *)p) ? *(const double *)p : 0.0); break;
    case F_TEXT: fg_json_quote(out, p, strnlen(p, f->size)); break;
    case F_STRING: fg_json_quote(out, *(char *const *)p, strlen(*(char *const *)p)); break;
    case F_NAME: fg_str_addf(out, "\"%s\"", ((const struct fg_names *)f->info)->name(*(const int *)p)); break;
    case F_JSON: fg_json_dump(*(json_t *const *)p, out); break;
    case F_OBJECT: fg_str_adds(out, "{"); fg_fields_encode(f->info, p, out); fg_str_adds(out, "}"); break;
    case F_ARRAY: encode_array(f, (const struct any_vec *)p, out); break;
    }
}

static bool is_absent(const struct fg_field *f, const char *p)
{
    static const char zero[16];
    if (!(f->flags & OPTIONAL))
        return false;
    if (f->kind == F_STRING || f->kind == F_TEXT)
        return f->kind == F_STRING ? *(char *const *)p == NULL : *p == '\0';
    return f->size <= sizeof zero && memcmp(p, zero, f->size) == 0;      /* a number whose first byte is 0 is there */
}

void fg_fields_encode(const struct fg_fields *fields, const void *struct_base, struct fg_str *out)
{
    const char *base = struct_base;
    for (size_t i = 0; i < fields->count; i++) {
        const struct fg_field *f = &fields->at[i];
        if (is_absent(f, base + f->offset))
            continue;
        if (out->data[out->len - 1] != '{')
            fg_str_adds(out, ",");
        fg_str_addf(out, "\"%s\":", f->name);
        encode_value(f, base + f->offset, out);
    }
}

static int decode_int(const struct fg_field *f, const json_t *j, int64_t min, int64_t max, int64_t *ret, struct fg_error *err)
{
    if (!json_is_integer(j) || json_integer_value(j) < min || json_integer_value(j) > max)
        return fg_fail(err, FG_E_MALFORMED, "'%s' must be an integer from %lld to %lld", f->name, (long long)min, (long long)max);
    *ret = json_integer_value(j);
    return 0;
}

static int decode_text(const struct fg_field *f, const json_t *j, char *p, struct fg_error *err)
{
    if (!json_is_string(j) || json_string_length(j) >= f->size)
        return fg_fail(err, FG_E_MALFORMED, "'%s' must be a string of at most %zu bytes", f->name, f->size - 1);
    memcpy(p, json_string_value(j), json_string_length(j) + 1);
    return 0;
}

static int decode_array(const struct fg_field *f, const json_t *j, struct any_vec *vec, struct fg_error *err)
{
    if (!json_is_array(j))
        return fg_fail(err, FG_E_MALFORMED, "'%s' must be an array", f->name);
    size_t count = json_array_size(j);
    if (count == 0)
        return 0;
    vec->items = fg_realloc(NULL, count, f->size);
    memset(vec->items, 0, count * f->size);
    vec->cap = count;
    for (; vec->count < count; vec->count++)
        if (fg_fields_decode(f->info, json_array_get(j, vec->count), vec->items + vec->count * f->size, err) < 0)
            return fg_fail_prefix(err, "'%s' %zu", f->name, vec->count);
    return 0;
}

static int decode_name(const struct fg_field *f, const json_t *j, char *p, struct fg_error *err)
{
    const char *text = json_string_value(j);
    int value = text != NULL ? ((const struct fg_names *)f->info)->by_name(text) : -1;
    if (value < 0)
        return fg_fail(err, FG_E_MALFORMED, "'%s' is not one of its names: %s", f->name, text != NULL ? text : "no string");
    *(int *)p = value;
    return 0;
}

static int decode_number(const struct fg_field *f, const json_t *j, char *p, struct fg_error *err)
{
    int64_t v = 0;
    switch (f->kind) {
    case F_U32:
        if (decode_int(f, j, 0, UINT32_MAX, &v, err) < 0)
            return -1;
        *(uint32_t *)p = (uint32_t)v;
        return 0;
    case F_INT:
        if (decode_int(f, j, INT32_MIN, INT32_MAX, &v, err) < 0)
            return -1;
        *(int *)p = (int)v;
        return 0;
    case F_U64:                                  /* same bytes as an int64 that is not negative */
        return decode_int(f, j, 0, INT64_MAX, (int64_t *)p, err);
    default:
        return decode_int(f, j, INT64_MIN, INT64_MAX, (int64_t *)p, err);
    }
}

static int decode_value(const struct fg_field *f, const json_t *j, char *p, struct fg_error *err)
{
    switch (f->kind) {
    case F_ID:
        if (!json_is_string(j) || !fg_id_parse(json_string_value(j), f->info, (fg_id *)p))
            return fg_fail(err, FG_E_MALFORMED, "'%s' must be an id %s_...", f->name, (const char *)f->info);
        return 0;
    case F_BOOL:
        if (!json_is_boolean(j))
            return fg_fail(err, FG_E_MALFORMED, "'%s' must be true or false", f->name);
        *(bool *)p = json_is_true(j);
        return 0;
    case F_REAL:
        if (!json_is_number(j))
            return fg_fail(err, FG_E_MALFORMED, "'%s' must be a number", f->name);
        *(double *)p = json_number_value(j);
        return 0;
    case F_STRING:
        if (!json_is_string(j))
            return fg_fail(err, FG_E_MALFORMED, "'%s' must be a string", f->name);
        *(char **)p = fg_strdup(json_string_value(j));
        return 0;
    case F_JSON:
        if (!json_is_object(j))
            return fg_fail(err, FG_E_MALFORMED, "'%s' must be an object", f->name);
        *(json_t **)p = json_incref((json_t *)j);
        return 0;
    case F_OBJECT: return fg_fields_decode(f->info, j, p, err) < 0 ? fg_fail_prefix(err, "'%s'", f->name) : 0;
    case F_ARRAY: return decode_array(f, j, (struct any_vec *)p, err);
    case F_TEXT: return decode_text(f, j, p, err);
    case F_NAME: return decode_name(f, j, p, err);
    default: return decode_number(f, j, p, err);
    }
}

int fg_fields_decode(const struct fg_fields *fields, const json_t *obj, void *struct_base, struct fg_error *err)
{
    char *base = struct_base;
    if (!json_is_object(obj))
        return fg_fail(err, FG_E_MALFORMED, "must be an object");
    for (size_t i = 0; i < fields->count; i++) {
        const struct fg_field *f = &fields->at[i];
        const json_t *j = json_object_get(obj, f->name);
        if (j == NULL || (json_is_null(j) && (f->flags & OPTIONAL))) {
            if (f->flags & OPTIONAL)
                continue;
            return fg_fail(err, FG_E_MALFORMED, "'%s' is missing", f->name);
        }
        if (decode_value(f, j, base + f->offset, err) < 0)
            return -1;
    }
    return 0;
}
