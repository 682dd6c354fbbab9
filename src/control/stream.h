/* stream.h - answers that stay open and grow: events and logs. Each is registered with the server, which wakes it. */
#pragma once
#include "control/server.h"

#define FG_STREAM_FULL (256u << 10)      /* bytes waiting for a slow client at which a stream stops producing */

struct fg_stream {
    struct fg_link link;                 /* in server->streams */
    struct fg_call *call;
    bool sse;                            /* takes heartbeat comments */
    /* A batch is on disk. */
    void (*committed)(struct fg_stream *st, const struct fg_store_batch *batch);
    /* More of the attempt's log is there; NULL: does not care. */
    void (*logged)(struct fg_stream *st, fg_id task, uint32_t attempt);
};
void fg_stream_enter(struct fg_server *s, struct fg_stream *st);
void fg_streams_publish(struct fg_server *s, const struct fg_store_batch *batch);
void fg_streams_logged(struct fg_server *s, fg_id task, uint32_t attempt);
void fg_streams_heartbeat(uv_timer_t *timer);
size_t fg_streams_count(const struct fg_server *s);
/* Whether the client asked for media type in Accept (an exact match of one of its types). */
bool fg_accepts(struct fg_http_request *req, const char *type);
