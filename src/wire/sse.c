/* sse.c - see sse.h. */
#include "wire/sse.h"

#include <string.h>

#include "base/units.h"

static int too_long(struct fg_error *err)
{
    return fg_fail(err, FG_E_TOO_LARGE, "the server sent a line of more than %d bytes", FG_SSE_MAX);
}

static int give_line(struct fg_lines *l, const char *rest, size_t n, struct fg_error *err)
{
    fg_str_add(&l->part, rest, n);
    int ret = l->fn(l->arg, fg_str_cstr(&l->part), l->part.len, err);
    fg_str_clear(&l->part);
    return ret;
}

int fg_lines_feed(struct fg_lines *l, const char *data, size_t n, struct fg_error *err)
{
    size_t start = 0;
    for (size_t i = 0; i < n; i++) {
        bool second = l->after_cr && data[i] == '\n';    /* of a \r\n, whose line is given already */
        l->after_cr = data[i] == '\r';
        if (second)
            start = i + 1;
        if (second || (data[i] != '\n' && data[i] != '\r'))
            continue;
        if (l->part.len + (i - start) > FG_SSE_MAX)
            return too_long(err);
        int ret = give_line(l, data + start, i - start, err);
        if (ret != 0)
            return ret;
        start = i + 1;
    }
    if (l->part.len + (n - start) > FG_SSE_MAX)
        return too_long(err);
    fg_str_add(&l->part, data + start, n - start);
    return 0;
}

int fg_lines_end(struct fg_lines *l, struct fg_error *err)
{
    return l->part.len > 0 ? give_line(l, "", 0, err) : 0;
}

void fg_lines_fini(struct fg_lines *l)
{
    fg_str_fini(&l->part);
}

/* ---- events ---- */

static void set_text(struct fg_str *s, const char *text, size_t n)
{
    fg_str_clear(s);
    fg_str_add(s, text, n);
}

static int give_event(struct fg_sse *s, struct fg_error *err)
{
    int ret = 0;
    set_text(&s->id, fg_str_cstr(&s->next_id), s->next_id.len);
    if (s->has_data) {
        size_t n = s->data.len > 0 ? s->data.len - 1 : 0;  /* without the \n that each data line added */
        if (s->data.len > 0)
            s->data.data[n] = '\0';
        struct fg_sse_event event = {fg_str_cstr(&s->id), s->event.len > 0 ? s->event.data : "message", fg_str_cstr(&s->data), n};
        ret = s->fn(s->arg, &event, err);
    }
    fg_str_clear(&s->event);
    fg_str_clear(&s->data);
    s->has_data = false;
    return ret;
}

static int take_line(void *arg, const char *line, size_t n, struct fg_error *err)
{
    struct fg_sse *s = arg;
    if (!s->started && n >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
        line += 3, n -= 3;
    s->started = true;
    if (n == 0)
        return give_event(s, err);
    const char *colon = memchr(line, ':', n);
    size_t name = colon != NULL ? (size_t)(colon - line) : n;
    const char *value = colon != NULL ? colon + 1 : line + n;
    value += value < line + n && *value == ' ';
    size_t len = (size_t)(line + n - value);

    if (name == 4 && memcmp(line, "data", 4) == 0) {
        if (s->data.len + len > FG_SSE_MAX)
            return too_long(err);
        fg_str_add(&s->data, value, len);
        fg_str_add(&s->data, "\n", 1);
        s->has_data = true;
    } else if (name == 5 && memcmp(line, "event", 5) == 0) {
        set_text(&s->event, value, len);
    } else if (name == 2 && memcmp(line, "id", 2) == 0 && memchr(value, '\0', len) == NULL) {
        set_text(&s->next_id, value, len);
    } else if (name == 5 && memcmp(line, "retry", 5) == 0) {
        int64_t ms = 0;
        if (fg_parse_int(value, 0, 60000, &ms, NULL) == 0)
            s->retry_ms = ms;
    }
    return 0;
}

void fg_sse_init(struct fg_sse *sse, int (*fn)(void *arg, const struct fg_sse_event *event, struct fg_error *err), void *arg)
{
    *sse = (struct fg_sse){.fn = fn, .arg = arg};
}

int fg_sse_feed(struct fg_sse *sse, const char *data, size_t n, struct fg_error *err)
{
    sse->lines.fn = take_line;
    sse->lines.arg = sse;
    return fg_lines_feed(&sse->lines, data, n, err);
}

void fg_sse_cut(struct fg_sse *sse)
{
    fg_str_clear(&sse->lines.part);
    fg_str_clear(&sse->event);
    fg_str_clear(&sse->data);
    set_text(&sse->next_id, fg_str_cstr(&sse->id), sse->id.len);
    sse->lines.after_cr = sse->has_data = sse->started = false;
}

void fg_sse_fini(struct fg_sse *sse)
{
    fg_lines_fini(&sse->lines);
    fg_str_fini(&sse->id);
    fg_str_fini(&sse->next_id);
    fg_str_fini(&sse->event);
    fg_str_fini(&sse->data);
}
