/* sse.h - server-sent events (HTML living standard, 9.2) and lines, taken apart as bytes come. Pure. One thread a parser. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

/* Longest line or event; more is FG_E_TOO_LARGE, so that no server fills our memory. */
enum { FG_SSE_MAX = 4 << 20 };

/* Splits at \n, \r\n or \r. line has no line end and a NUL behind it. fn returns 0 to go on; else it is what feed returns. */
struct fg_lines {
    int (*fn)(void *arg, const char *line, size_t n, struct fg_error *err);
    void *arg;
    struct fg_str part;                          /* zero at first */
    bool after_cr;
};
int fg_lines_feed(struct fg_lines *lines, const char *data, size_t n, struct fg_error *err);
int fg_lines_end(struct fg_lines *lines, struct fg_error *err);   /* gives a last line that has no end */
void fg_lines_fini(struct fg_lines *lines);

struct fg_sse_event { const char *id, *event, *data; size_t data_len; };   /* id: the last one seen, "" at first; event: "message" unless named */

struct fg_sse {
    int (*fn)(void *arg, const struct fg_sse_event *event, struct fg_error *err);
    void *arg;
    struct fg_lines lines;                       /* the rest zero at first */
    struct fg_str id;                            /* of the last whole event: where to go on after a cut */
    struct fg_str next_id, event, data;          /* of the event that is coming */
    bool started, has_data;
    int64_t retry_ms;                            /* 0: the server did not say */
};
void fg_sse_init(struct fg_sse *sse, int (*fn)(void *arg, const struct fg_sse_event *event, struct fg_error *err), void *arg);
/* fn returns 0 to go on; else it is what feed returns. An event is given at its blank line; a cut one never is. */
int fg_sse_feed(struct fg_sse *sse, const char *data, size_t n, struct fg_error *err);
void fg_sse_cut(struct fg_sse *sse);             /* the connection was lost: forget the part event, keep the id */
void fg_sse_fini(struct fg_sse *sse);
