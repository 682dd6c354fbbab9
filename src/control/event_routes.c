/* event_routes.c - the event log as JSON pages or as a stream that goes on.
 *
 * A stream has a position in the log. It reads pages from the store until it has caught up, then takes events from each
 * batch as it commits. Both run on the loop, and a page may hold events of a batch that is on disk but not yet polled:
 * the position is what keeps those from being told twice. A client that reads slowly falls back to reading pages. */
#include <string.h>
#include "base/units.h"
#include "control/json_out.h"
#include "control/routes.h"
#include "control/stream.h"

#define PAGE 200
#define JSON_PAGE 1000

struct event_stream {
    struct fg_stream base;
    fg_id tenant, task;                  /* task NONE: all of the tenant */
    uint64_t at;                         /* seq of the last event told */
    bool live;                           /* caught up: batches are told as they come */
    bool follow, ended;
};

static void put_event(struct fg_str *out, const struct fg_store_event *ev)
{
    fg_out_open(out, NULL, '{');
    fg_out_int(out, "seq", (int64_t)ev->seq);
    fg_out_time(out, "time", ev->time_ns);
    fg_out_text(out, "event", fg_event_name((enum fg_event_kind)ev->kind));
    fg_out_id(out, "task", "tsk", ev->task);
    fg_out_int(out, "attempt", ev->attempt);
    fg_out_raw(out, "data", ev->body);
    fg_out_close(out, '}');
}

/* --- streams --- */

static void stream_end(struct event_stream *st)
{
    st->ended = true;
    fg_http_stream_write(st->base.call->req, "event: done\ndata: {}\n\n", 22);
    fg_http_stream_end(st->base.call->req);
}

/* A task's stream ends with the event that closes its account: nothing can follow. */
static void tell(struct event_stream *st, const struct fg_store_event *ev)
{
    FG_AUTO_STR struct fg_str out = {0};
    fg_str_addf(&out, "id: %llu\nevent: %s\ndata: ", (unsigned long long)ev->seq, fg_event_name((enum fg_event_kind)ev->kind));
    FG_AUTO_STR struct fg_str data = {0};
    put_event(&data, ev);
    fg_str_add(&out, data.data, data.len);
    fg_str_add(&out, "\n\n", 2);
    fg_http_stream_write(st->base.call->req, out.data, out.len);
    st->at = ev->seq;
    if (!fg_id_is_none(st->task) && ev->kind == FG_EV_TASK_SETTLED)
        stream_end(st);
}

struct reading { struct event_stream *stream; size_t count; };

static int take_event(void *arg, const struct fg_store_event *ev, struct fg_error *err)
{
    struct reading *r = arg;
    r->count++;
    if (!r->stream->ended)
        tell(r->stream, ev);
    return 0;
}

/* Caught up with a task that was settled before the stream's position: it would wait for ever. */
static bool nothing_follows(struct event_stream *st)
{
    struct fg_found found;
    if (fg_id_is_none(st->task))
        return false;
    bool settled = fg_find_task(st->base.call->server, st->task, st->tenant, &found, NULL) || found.task->settled;
    fg_found_fini(&found);
    return settled && !fg_turn_pending(st->base.call->server, st->task);
}

static void pump(struct event_stream *st)
{
    struct fg_server *s = st->base.call->server;
    struct fg_error err;
    while (!st->live && !st->ended && fg_http_stream_pending(st->base.call->req) < FG_STREAM_FULL) {
        struct reading r = {.stream = st};
        if (fg_store_events(s->store, st->tenant, st->task, st->at, PAGE, take_event, &r, &err)) {
            stream_end(st);              /* the client comes back with its position */
            return;
        }
        st->live = r.count < PAGE;
    }
    if (st->live && !st->ended && (!st->follow || nothing_follows(st)))
        stream_end(st);
}

static void on_drained(struct fg_http_request *req, void *arg)
{
    struct event_stream *st = arg;
    if (!st->live && !st->ended)
        pump(st);
}

static void on_committed(struct fg_stream *base, const struct fg_store_batch *batch)
{
    struct event_stream *st = fg_link_of(base, struct event_stream, base);
    for (size_t i = 0; i < batch->events.count && st->live && !st->ended; i++) {
        const struct fg_store_event *ev = &batch->events.items[i];
        if (ev->seq <= st->at || !fg_id_eq(ev->tenant, st->tenant) || (!fg_id_is_none(st->task) && !fg_id_eq(ev->task, st->task)))
            continue;
        if (fg_http_stream_pending(base->call->req) >= FG_STREAM_FULL)
            st->live = false;            /* on_drained goes on from st->at */
        else
            tell(st, ev);
    }
}

static void drop(void *state)
{
    struct event_stream *st = state;
    fg_link_leave(&st->base.link);
    free(st);
}

static void open_stream(struct fg_call *call, fg_id task, uint64_t after, bool follow)
{
    struct event_stream *st = fg_alloc(sizeof *st);
    *st = (struct event_stream){.base = {.call = call, .sse = true, .committed = on_committed},
                                .tenant = call->tenant, .task = task, .at = after, .follow = follow};
    call->state = st;
    call->drop = drop;
    fg_stream_enter(call->server, &st->base);
    fg_http_stream_begin(call->req, 200, "text/event-stream", "Cache-Control: no-store\nX-Accel-Buffering: no\n", on_drained, st);
    fg_http_stream_write(call->req, "retry: 1000\n\n", 13);
    pump(st);
}

/* --- pages --- */

struct page { struct fg_str out; uint64_t last; size_t count; };

static int take_json(void *arg, const struct fg_store_event *ev, struct fg_error *err)
{
    struct page *page = arg;
    put_event(&page->out, ev);
    page->last = ev->seq;
    page->count++;
    return 0;
}

/* next_after is where to go on: always given, so that a poller needs no case for an empty page. */
static void answer_page(struct fg_call *call, fg_id task, uint64_t after)
{
    struct page page = {.last = after};
    struct fg_error err;
    fg_out_open(&page.out, NULL, '{');
    fg_out_open(&page.out, "events", '[');
    if (fg_store_events(call->server->store, call->tenant, task, after, JSON_PAGE, take_json, &page, &err)) {
        fg_answer_fail(call, &err);
    } else {
        fg_out_close(&page.out, ']');
        fg_out_int(&page.out, "next_after", (int64_t)page.last);
        fg_out_bool(&page.out, "more", page.count == JSON_PAGE);
        fg_out_close(&page.out, '}');
        fg_answer_json(call, 200, &page.out, NULL);
    }
    fg_str_fini(&page.out);
}

static int position(struct fg_http_request *req, uint64_t *ret, struct fg_error *err)
{
    const char *header = fg_http_header(req, "Last-Event-ID"), *query = fg_http_query(req, "after");
    int64_t value = 0;
    if (header && *header ? fg_parse_int(header, 0, INT64_MAX, &value, err) : query && fg_parse_int(query, 0, INT64_MAX, &value, err)) {
        fg_fail_at(err, header && *header ? "Last-Event-ID" : "?after");
        return fg_fail_hint(err, "the id of the last event that was seen");
    }
    *ret = (uint64_t)value;
    return 0;
}

static void answer_events(struct fg_call *call, fg_id task)
{
    struct fg_error err;
    uint64_t after = 0;
    const char *follow = fg_http_query(call->req, "follow");
    if (position(call->req, &after, &err))
        fg_answer_fail(call, &err);
    else if (fg_accepts(call->req, "text/event-stream"))
        open_stream(call, task, after, !follow || !strcmp(follow, "true") || !strcmp(follow, "1"));
    else
        answer_page(call, task, after);
}

void fg_route_task_events(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_found found;
    if (fg_call_task(call, &found))
        return;
    fg_id task = found.task->id;
    fg_found_fini(&found);
    answer_events(call, task);
}

void fg_route_events(struct fg_http_request *req, void *arg)
{
    answer_events(fg_call_of(req), FG_ID_NONE);
}
