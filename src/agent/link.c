/* link.c - the connection to the server: frames in, frames out, and coming back when it breaks. Nothing that must arrive
 * is kept here: after each welcome, report.c and logship.c say again what the server does not have. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/internal.h"
#include "base/log.h"
#include "base/units.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000
#define READ_BYTES (256u << 10)
#define FLUSH_ROOM (64u << 10)

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch_socket(struct agent *a)
{
    struct link *l = &a->link;
    int events = UV_READABLE | (l->out.len > l->out_at ? UV_WRITABLE : 0);
    if (l->open && l->events != events)
        uv_poll_start(&l->poll, events, on_poll);
    l->events = events;
}

static void on_retry(uv_timer_t *timer)
{
    link_open(timer->data);
}

/* Waits double, and stay well within the lease: a server that is alive but shuts the door must be heard before it ends. */
static void retry_later(struct agent *a)
{
    int64_t longest_ms = FG_MIN(BACKOFF_MAX_MS, a->lease_ns / 4 / (FG_NS_PER_S / 1000));
    a->link.backoff_ms = FG_MAX(FG_MIN(a->link.backoff_ms, longest_ms), BACKOFF_FIRST_MS);
    uv_timer_start(&a->link.retry, on_retry, (uint64_t)a->link.backoff_ms, 0);
    a->link.backoff_ms *= 2;
}

static void on_closed(uv_handle_t *handle)
{
    struct agent *a = handle->data;
    close(fg_take_fd(a->link.fd));
    a->link.polling = false;
    if (a->stopping)
        return;
    retry_later(a);
}

void link_close(struct agent *a)
{
    struct link *l = &a->link;
    if (!l->open)
        return;
    l->open = l->welcomed = l->alive_waits = false;
    fg_str_clear(&l->in);
    fg_str_clear(&l->out);
    l->out_at = 0;
    uv_close((uv_handle_t *)&l->poll, on_closed);
}

static void lost(struct agent *a, const char *why)
{
    if (a->link.welcomed)
        fg_log_warn("lost the server: %s; tasks go on", why);
    link_close(a);
}

static void try_later(struct agent *a, int fd)
{
    if (fd >= 0)
        close(fd);
    retry_later(a);
}

void link_open(struct agent *a)
{
    struct link *l = &a->link;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (l->open || l->polling || a->stopping)
        return;
    if (!l->backoff_ms)
        l->backoff_ms = BACKOFF_FIRST_MS;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(a->set.socket) >= sizeof addr.sun_path) {
        try_later(a, fd);
        return;
    }
    memcpy(addr.sun_path, a->set.socket, strlen(a->set.socket) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
        try_later(a, fd);
        return;
    }
    l->fd = fd;
    l->open = l->polling = true;
    l->events = 0;
    l->welcomed = false;
    l->heard_ns = l->alive_sent_ns = agent_now(a);
    l->alive_waits = true;               /* a hello asks for a sign of life, too */
    uv_poll_init(&a->loop, &l->poll, fd);
    l->poll.data = a;
    report_hello(a);
    watch_socket(a);
}

/* --- out --- */

static void flush(struct agent *a)
{
    struct link *l = &a->link;
    while (l->open && l->out_at < l->out.len) {
        ssize_t n = send(l->fd, l->out.data + l->out_at, l->out.len - l->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                lost(a, strerror(errno));
            break;
        }
        l->out_at += (size_t)n;
    }
    if (l->out_at == l->out.len) {
        fg_str_clear(&l->out);
        l->out_at = 0;
    } else if (l->out_at > SEND_WINDOW) {
        memmove(l->out.data, l->out.data + l->out_at, l->out.len - l->out_at);
        l->out.len -= l->out_at;
        l->out_at = 0;
    }
}

void link_send(struct agent *a, const struct fg_msg *msg)
{
    struct link *l = &a->link;
    if (!l->open)
        return;
    bool idle = l->out.len == l->out_at;
    fg_msg_encode(msg, &l->out);
    if (idle)
        flush(a);
    watch_socket(a);
}

size_t link_pending(const struct agent *a) { return a->link.out.len - a->link.out_at; }

/* --- in --- */

/* The server answers each alive at once, so a lease holds from when the alive left, not from when the answer came. A
 * server that cannot write its store answers a hello so, and closes: it knows nothing now, but nobody is given up. */
static void on_alive(struct agent *a)
{
    struct link *l = &a->link;
    if (!l->alive_waits)
        return;
    l->alive_waits = false;
    a->lease_deadline = l->alive_sent_ns + a->lease_ns;
    for (size_t i = 0; i < a->attempts.count; i++)
        launch_lease(a->attempts.items[i]);
}

static int on_message(struct agent *a, struct fg_msg *msg, struct fg_error *err)
{
    if (!a->link.welcomed && msg->kind != FG_MSG_WELCOME && msg->kind != FG_MSG_START && msg->kind != FG_MSG_KILL &&
        msg->kind != FG_MSG_FORGET && msg->kind != FG_MSG_ALIVE)
        return fg_fail(err, FG_E_MALFORMED, "the server did not say welcome first");
    switch (msg->kind) {
    case FG_MSG_WELCOME:
        a->link.backoff_ms = BACKOFF_FIRST_MS;
        a->link.welcomed = true;
        a->link.alive_waits = false;
        report_welcome(a, &msg->welcome);
        return 0;
    case FG_MSG_START: runner_start(a, &msg->start); return 0;
    case FG_MSG_KILL: runner_kill(a, &msg->ref); return 0;
    case FG_MSG_RESIZE: runner_resize(a, &msg->resize); return 0;
    case FG_MSG_MOVE: parking_move(a, &msg->move); return 0;
    case FG_MSG_FORGET: runner_forget(a, &msg->ref); return 0;
    case FG_MSG_ACK: report_ack(a, &msg->ref); return 0;
    case FG_MSG_LOG_AT: logship_at(a, &msg->ref); return 0;
    case FG_MSG_BLOB: pull_blob(a, msg); return 0;
    case FG_MSG_BLOB_OK: outputs_blob_ok(a, &msg->blob); return 0;
    case FG_MSG_ALIVE: on_alive(a); return 0;
    default: return fg_fail(err, FG_E_MALFORMED, "message %d is not for an agent", (int)msg->kind);
    }
}

static void take_frames(struct agent *a)
{
    struct link *l = &a->link;
    size_t at = 0;
    while (l->open) {
        struct fg_frame frame;
        struct fg_msg msg;
        struct fg_error err;
        size_t used = 0;
        int got = fg_frame_decode(l->in.data + at, l->in.len - at, &frame, &used, &err);
        if (got == 0)
            break;
        int rc = got < 0 ? -1 : fg_msg_decode(&frame, &msg, &err);
        if (got > 0)
            json_decref(frame.header);
        if (rc == 0) {
            rc = on_message(a, &msg, &err);
            fg_msg_fini(&msg);
        }
        if (rc != 0) {
            lost(a, err.text);
            return;
        }
        at += used;
    }
    if (!l->open)
        return;
    memmove(l->in.data, l->in.data + at, l->in.len - at);
    l->in.len -= at;
}

static void on_readable(struct agent *a)
{
    struct link *l = &a->link;
    ssize_t n = recv(l->fd, fg_str_reserve(&l->in, READ_BYTES), READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lost(a, n ? strerror(errno) : "it closed the connection");
        return;
    }
    l->in.len += (size_t)n;
    l->heard_ns = agent_now(a);
    take_frames(a);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct agent *a = poll->data;
    if (status < 0) {
        lost(a, uv_strerror(status));
        return;
    }
    if (events & UV_READABLE)
        on_readable(a);
    if (a->link.open && (events & UV_WRITABLE))
        flush(a);
    if (a->link.open && a->link.welcomed && link_pending(a) < FLUSH_ROOM) {      /* room for what was held back */
        logship_all(a);
        for (size_t i = 0; i < a->attempts.count; i++)
            outputs_next(a->attempts.items[i]);
    }
    watch_socket(a);
}

/* Each second: a sign of life when one is due, and an end to a connection that has been silent for too long. */
void link_tick(struct agent *a)
{
    struct link *l = &a->link;
    int64_t now = agent_now(a);
    if (!l->open)
        return;
    if (now - l->heard_ns > 3 * a->heartbeat_ns + 5 * FG_NS_PER_S) {
        lost(a, "it has been silent for too long");
        return;
    }
    if (l->welcomed && !l->alive_waits && now - l->alive_sent_ns >= a->heartbeat_ns) {
        l->alive_waits = true;
        l->alive_sent_ns = now;
        link_send(a, &(struct fg_msg){.kind = FG_MSG_ALIVE});
    }
}
