/* stream.c - what all open streams share: being woken, heartbeats, and what the client accepts. */
#include "control/stream.h"
#include <string.h>

void fg_stream_enter(struct fg_server *s, struct fg_stream *st)
{
    fg_list_push(&s->streams, &st->link);
}

void fg_streams_publish(struct fg_server *s, const struct fg_store_batch *batch)
{
    fg_list_each(l, &s->streams) {
        struct fg_stream *st = fg_link_of(l, struct fg_stream, link);
        st->committed(st, batch);
    }
}

void fg_streams_logged(struct fg_server *s, fg_id task, uint32_t attempt)
{
    fg_list_each(l, &s->streams) {
        struct fg_stream *st = fg_link_of(l, struct fg_stream, link);
        if (st->logged)
            st->logged(st, task, attempt);
    }
}

/* Comments keep proxies from closing a quiet stream, and show us a client that is gone. */
void fg_streams_heartbeat(uv_timer_t *timer)
{
    struct fg_server *s = timer->data;
    fg_list_each(l, &s->streams) {
        struct fg_stream *st = fg_link_of(l, struct fg_stream, link);
        if (st->sse && fg_http_stream_pending(st->call->req) < FG_STREAM_FULL)
            fg_http_stream_write(st->call->req, ": heartbeat\n\n", 13);
    }
}

size_t fg_streams_count(const struct fg_server *s)
{
    size_t n = 0;
    fg_list_each(l, &s->streams)
        n++;
    return n;
}

bool fg_accepts(struct fg_http_request *req, const char *type)
{
    const char *accept = fg_http_header(req, "Accept");
    size_t n = strlen(type);
    for (const char *p = accept; p && *p;) {
        p += strspn(p, " \t,");
        size_t len = strcspn(p, " \t,;");
        if (len == n && !strncasecmp(p, type, n))
            return true;
        p += strcspn(p, ",");
    }
    return false;
}
