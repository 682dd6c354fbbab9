/* wait.c - calls that wait for a task's end: by task id in buckets, woken when the end is on disk, or by the deadline. */
#include <string.h>
#include "base/units.h"
#include "control/server.h"

static struct fg_link *bucket(struct fg_server *s, fg_id task)
{
    return &s->waits[fg_id_hash(task) % FG_WAIT_BUCKETS];
}

static void arm(struct fg_server *s, int64_t deadline_ns)
{
    int64_t in_ms = FG_MAX((deadline_ns - fg_server_now(s)) / 1000000 + 1, 1);
    if (!uv_is_active((uv_handle_t *)&s->wait_timer) || uv_timer_get_due_in(&s->wait_timer) > (uint64_t)in_ms)
        uv_timer_start(&s->wait_timer, fg_wait_timer, (uint64_t)in_ms, 0);
}

void fg_wait_task(struct fg_call *call, fg_id task, int64_t deadline_ns, fg_call_fn *resume)
{
    call->task = task;
    call->deadline_ns = deadline_ns;
    call->resume = resume;
    fg_list_push(bucket(call->server, task), &call->link);
    arm(call->server, deadline_ns);
}

void fg_wait_wake(struct fg_server *s, fg_id task)
{
    fg_list_each(l, bucket(s, task)) {
        struct fg_call *call = fg_link_of(l, struct fg_call, link);
        if (!fg_id_eq(call->task, task))
            continue;
        fg_link_leave(l);
        call->resume(call, NULL);
    }
}

/* At most 4,096 connections can wait: looking at all of them when one is due is cheaper than an ordered structure. */
void fg_wait_timer(uv_timer_t *timer)
{
    struct fg_server *s = timer->data;
    struct fg_error late;
    fg_fail(&late, FG_E_TIMEOUT, "it has not ended yet");
    int64_t now = fg_server_now(s), next = INT64_MAX;
    for (size_t i = 0; i < FG_WAIT_BUCKETS; i++) {
        fg_list_each(l, &s->waits[i]) {
            struct fg_call *call = fg_link_of(l, struct fg_call, link);
            if (call->deadline_ns > now) {
                next = FG_MIN(next, call->deadline_ns);
                continue;
            }
            fg_link_leave(l);
            call->resume(call, &late);
        }
    }
    if (next != INT64_MAX)
        arm(s, next);
}

/* The value of wait in a Prefer header such as "respond-async, wait=10". NULL when it has none. */
static const char *prefer_wait(const char *header)
{
    for (const char *p = header; p && *p;) {
        p += strspn(p, " \t,;");
        if (!strncasecmp(p, "wait=", 5))
            return p + 5;
        p += strcspn(p, ",;");
    }
    return NULL;
}

int fg_wait_asked(struct fg_call *call, int64_t *ret_deadline_ns, struct fg_error *err)
{
    *ret_deadline_ns = call->deadline_ns;
    if (call->deadline_ns)               /* kept from the first pass of a handler that runs again */
        return 0;
    const char *query = fg_http_query(call->req, "wait");
    const char *header = prefer_wait(fg_http_header(call->req, "Prefer"));
    if (!query && !header)
        return 0;
    char text[24];
    snprintf(text, sizeof text, "%.*s", query ? 20 : (int)FG_MIN(strspn(header, "0123456789"), 9u), query ? query : header);
    int64_t seconds;
    if (fg_parse_int(text, 0, INT32_MAX, &seconds, err)) {
        if (!query)                      /* a preference that makes no sense is none (RFC 7240) */
            return 0;
        fg_fail_at(err, "?wait");
        return fg_fail_hint(err, "whole seconds, at most %d", FG_WAIT_MAX_S);
    }
    if (seconds == 0)
        return 0;
    *ret_deadline_ns = fg_server_now(call->server) + FG_MIN(seconds, FG_WAIT_MAX_S) * FG_NS_PER_S;
    return 0;
}
