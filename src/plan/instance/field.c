/* field.c - numbers, sizes, times, money and words of a plan file, each checked where it stands. */
#include "plan/instance/field.h"

#include <math.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

int field_fail(struct reader *r, const yaml_node_t *n, const struct field *f, const char *what)
{
    fg_fail(r->err, FG_E_INVALID, "line %u: %s %s", line_of(n), f->name, what);
    return f->remedy ? fg_fail_hint(r->err, "%s", f->remedy) : -1;
}
/* The value's parser has spoken: say where. */
static int fail_parse(struct reader *r, const yaml_node_t *n, const struct field *f)
{
    fg_fail_prefix(r->err, "line %u: %s", line_of(n), f->name);
    return f->remedy && !r->err->hint[0] ? fg_fail_hint(r->err, "%s", f->remedy) : -1;
}
int field_want_scalar(struct reader *r, const yaml_node_t *n, const struct field *f)
{
    if (n->type == YAML_SCALAR_NODE && n->data.scalar.length > 0 && strlen(scalar(n)) == n->data.scalar.length)
        return 0;
    return field_fail(r, n, f, n->type == YAML_SCALAR_NODE ? "is empty" : "should be one value, not a list or a mapping");
}

int field_bytes(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    uint64_t *v = (uint64_t *)((char *)obj + f->at);
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    if (fg_parse_bytes(scalar(n), v, r->err) < 0)
        return fail_parse(r, n, f);
    return *v == 0 || *v > (uint64_t)1 << 50 ? field_fail(r, n, f, "must be more than 0 and at most 1 PiB") : 0;
}
int field_time(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    int64_t *v = (int64_t *)((char *)obj + f->at);
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    if (fg_parse_duration(scalar(n), v, r->err) < 0)
        return fail_parse(r, n, f);
    if (*v <= FG_INSTANCE_TIME_MOST)
        return 0;
    field_fail(r, n, f, "is more than ten years (3650d)");
    return fg_fail_hint(r->err, "A number without a unit is seconds; units are ns, us, ms, s, m, h, d. Split what really takes longer.");
}
int field_money(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    int64_t *v = (int64_t *)((char *)obj + f->at);
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    if (fg_parse_money(scalar(n), v, r->err) < 0)
        return fail_parse(r, n, f);
    return *v > 100000 * FG_NANOUSD_PER_USD ? field_fail(r, n, f, "is more than 100000 dollars") : 0;
}
int field_share(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    return fg_parse_share(scalar(n), (uint32_t *)((char *)obj + f->at), r->err) < 0 ? fail_parse(r, n, f) : 0;
}
/* A count or rate: digits with a point, and optionally a unit of flops (Gflop 1, Tflop 1000, Pflop 10^6). */
int field_number(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    static const struct { const char *name; double size; } units[] = {
        {"", 1}, {"gflop", 1}, {"gflops", 1}, {"tflop", 1e3}, {"tflops", 1e3}, {"pflop", 1e6}, {"pflops", 1e6}, {"/h", 1}, {"x", 1}};
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    const char *s = scalar(n);
    char *end;
    if ((*s < '0' || *s > '9') && *s != '.')             /* no sign, no nan, no inf, no 0x by any name */
        return field_fail(r, n, f, "is not a number of 0 or more");
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
        return field_fail(r, n, f, "is not a decimal number");
    double v = strtod(s, &end);
    while (*end == ' ')
        end++;
    for (size_t x = 0; x < FG_COUNT(units); x++)
        if (strcasecmp(end, units[x].name) == 0) {
            v *= units[x].size;
            if (!isfinite(v) || v > 1e18)
                return field_fail(r, n, f, "is too large (most is 1e18)");
            *(double *)((char *)obj + f->at) = v;
            return 0;
        }
    return field_fail(r, n, f, "is not a number with a unit known here");
}
int field_positive(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (field_number(r, n, f, obj) < 0)
        return -1;
    return *(double *)((char *)obj + f->at) > 0 ? 0 : field_fail(r, n, f, "must be more than 0");
}
int field_factor(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (field_number(r, n, f, obj) < 0)
        return -1;
    double v = *(double *)((char *)obj + f->at);
    return v >= 1 && v <= 1000 ? 0 : field_fail(r, n, f, "must be 1 (no slowdown) to 1000");
}
int field_count(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    int64_t v;
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    if (fg_parse_int(scalar(n), 1, FG_INSTANCE_TASKS_MOST, &v, r->err) < 0)
        return fail_parse(r, n, f);
    *(uint32_t *)((char *)obj + f->at) = (uint32_t)v;
    return 0;
}
int field_flag(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    bool yes = fg_streq(scalar(n), "true") || fg_streq(scalar(n), "yes");
    if (!yes && !fg_streq(scalar(n), "false") && !fg_streq(scalar(n), "no"))
        return field_fail(r, n, f, "is neither true nor false");
    *(bool *)((char *)obj + f->at) = yes;
    return 0;
}
int field_id(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    const char *s = scalar(n);
    size_t len = strlen(s);
    bool clean = fg_utf8_valid(s, len) && len <= 64;
    for (size_t x = 0; x < len; x++)
        clean &= (unsigned char)s[x] > 0x20 && s[x] != 0x7f;
    if (!clean)
        return field_fail(r, n, f, "must be 1 to 64 characters without spaces");
    free(*(char **)((char *)obj + f->at));
    *(char **)((char *)obj + f->at) = fg_strdup(s);
    return 0;
}
