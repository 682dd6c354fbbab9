#include "control/json_out.h"
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/units.h"

static void begin(struct fg_str *out, const char *key)
{
    char last = out->len ? out->data[out->len - 1] : '[';
    if (last != '{' && last != '[')
        fg_str_add(out, ",", 1);
    if (!key)
        return;
    fg_str_add(out, "\"", 1);
    fg_str_adds(out, key);
    fg_str_add(out, "\":", 2);
}

void fg_out_open(struct fg_str *out, const char *key, char bracket)
{
    begin(out, key);
    fg_str_add(out, &bracket, 1);
}

void fg_out_close(struct fg_str *out, char bracket)
{
    fg_str_add(out, &bracket, 1);
}

void fg_out_null(struct fg_str *out, const char *key)
{
    begin(out, key);
    fg_str_add(out, "null", 4);
}

void fg_out_text(struct fg_str *out, const char *key, const char *text)
{
    if (!text) {
        fg_out_null(out, key);
        return;
    }
    begin(out, key);
    fg_json_quote(out, text, strlen(text));
}

void fg_out_int(struct fg_str *out, const char *key, int64_t value)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)value);
    begin(out, key);
    fg_str_add(out, text, (size_t)n);
}

void fg_out_bool(struct fg_str *out, const char *key, bool value)
{
    begin(out, key);
    fg_str_adds(out, value ? "true" : "false");
}

void fg_out_id(struct fg_str *out, const char *key, const char *prefix, fg_id id)
{
    char text[FG_ID_TEXT];
    fg_out_text(out, key, fg_id_is_none(id) ? NULL : fg_id_format(text, prefix, id));
}

void fg_out_time(struct fg_str *out, const char *key, int64_t utc_ns)
{
    char text[40];
    fg_out_text(out, key, utc_ns ? fg_format_time(text, sizeof text, utc_ns) : NULL);
}

/* Exact: six digits of a second, cut. */
void fg_out_seconds(struct fg_str *out, const char *key, int64_t ns)
{
    if (ns < 0) {
        fg_out_null(out, key);
        return;
    }
    char text[40];
    int n = snprintf(text, sizeof text, "%lld.%06lld", (long long)(ns / FG_NS_PER_S), (long long)(ns % FG_NS_PER_S / 1000));
    begin(out, key);
    fg_str_add(out, text, (size_t)n);
}

void fg_out_percent(struct fg_str *out, const char *key, uint32_t permille)
{
    if (!permille) {
        fg_out_null(out, key);
        return;
    }
    begin(out, key);
    fg_str_addf(out, "%u", permille / 10);
    if (permille % 10)
        fg_str_addf(out, ".%u", permille % 10);
}

void fg_out_tenths(struct fg_str *out, const char *key, uint32_t permille)
{
    begin(out, key);
    fg_str_addf(out, "%u.%u", permille / 10, permille % 10);
}

void fg_out_cores(struct fg_str *out, const char *key, uint32_t milli)
{
    if (!milli) {
        fg_out_null(out, key);
        return;
    }
    begin(out, key);
    fg_str_addf(out, "%u", milli / 1000);
    if (milli % 1000)
        fg_str_addf(out, ".%03u", milli % 1000);
}

void fg_out_money(struct fg_str *out, const char *key, int64_t nanousd)
{
    char text[40];
    fg_out_text(out, key, fg_format_money(text, sizeof text, nanousd));
}

void fg_out_raw(struct fg_str *out, const char *key, const char *json)
{
    begin(out, key);
    fg_str_adds(out, json && *json ? json : "null");
}

void fg_out_json(struct fg_str *out, const char *key, const json_t *value)
{
    begin(out, key);
    if (value)
        fg_json_dump(value, out);
    else
        fg_str_add(out, "null", 4);
}

int fg_json_known(const json_t *object, const char *names, struct fg_error *err)
{
    if (!json_is_object(object))
        return fg_fail(err, FG_E_INVALID, "the body is not a JSON object");
    const char *known[16];
    FG_AUTO_FREE char *list = fg_strdup(names);
    char *rest = list;
    size_t n = 0;
    for (char *name; n < FG_COUNT(known) && (name = strsep(&rest, "|"));)
        known[n++] = name;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (i < n && strcmp(known[i], key))
            i++;
        if (i < n)
            continue;
        fg_fail(err, FG_E_INVALID, "unknown field '%.60s'", key);
        fg_fail_at(err, "/%.60s", key);
        const char *near = fg_nearest(key, known, n);
        return near ? fg_fail_hint(err, "did you mean '%s'?", near) : -1;
    }
    return 0;
}
