/* http.c - libmicrohttpd inside a libuv loop: one epoll set watched by uv_poll, its timeouts by uv_timer, and what it leaves
 * for later by uv_idle. Also the connections: limits, deadlines, hang-ups. Requests are http_request.c. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "wire/http_private.h"

enum { SWEEP_MS = 1000, SPARE_FDS = 256, STOP_ROUNDS = 100 };

static void on_idle(uv_idle_t *idle);
static void on_timer(uv_timer_t *timer);

/* ---- the loop ---- */

/* The timer is left alone while it fires early enough: a run too many costs less than a heap operation a request. */
static void run(struct fg_http *http)
{
    http->resumed = false;
    MHD_run(http->daemon);
    unsigned long long wait_ms = 0;
    bool waits = MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES;
    if (http->resumed || (waits && wait_ms == 0)) {
        uv_idle_start(&http->idle, on_idle);
        return;
    }
    uv_idle_stop(&http->idle);
    uint64_t due_ms = uv_now(http->loop) + wait_ms;
    if (waits && (!uv_is_active((uv_handle_t *)&http->timer) || due_ms < http->due_ms)) {
        http->due_ms = due_ms;
        uv_timer_start(&http->timer, on_timer, wait_ms, 0);
    }
}

static void on_idle(uv_idle_t *idle) { run(idle->data); }
static void on_timer(uv_timer_t *timer) { run(timer->data); }
static void on_ready(uv_poll_t *poll, int status, int events) { run(poll->data); }

/* ---- connections ---- */

static void on_sweep(uv_timer_t *timer)
{
    struct fg_http *http = timer->data;
    uint64_t now_ms = uv_now(http->loop);
    for (struct fg_http_conn *c = http->conns; c != NULL; c = c->next) {
        if (c->deadline_ms == 0 || now_ms < c->deadline_ms)
            continue;
        c->deadline_ms = 0;
        shutdown(c->fd, SHUT_RDWR);              /* libmicrohttpd sees the end of input and closes */
    }
}

static void open_conn(struct fg_http *http, struct MHD_Connection *mhd, void **ret)
{
    struct fg_http_conn *c = *ret = fg_alloc(sizeof *c);
    c->http = http;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->deadline_ms = uv_now(http->loop) + FG_HTTP_HEAD_MS;
    const struct sockaddr *sa = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    const void *address = sa->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
                                                    : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
    inet_ntop(sa->sa_family, address, c->peer, sizeof c->peer);
    c->next = http->conns;
    if (http->conns != NULL)
        http->conns->prev = c;
    else
        uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    http->conns = c;
}

static void close_conn(struct fg_http_conn *c)
{
    struct fg_http *http = c->http;
    if (c->watched)
        epoll_ctl(http->watch_fd, EPOLL_CTL_DEL, c->fd, NULL);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        http->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (http->conns == NULL)
        uv_timer_stop(&http->sweep);
    free(c);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        open_conn(arg, mhd, context);
    else if (*context != NULL)
        close_conn(fg_take_ptr(*context));
}

/* A client that hung up while its request was suspended: let libmicrohttpd have the connection back, to close it. */
static void lose_client(struct fg_http_request *req)
{
    if (req == NULL || !req->suspended)
        return;
    req->gone = true;
    if (req->streaming)
        shutdown(req->conn->fd, SHUT_RDWR);
    fg_request_resume(req);
}

static void on_watch(uv_poll_t *watch, int status, int events)
{
    struct fg_http *http = watch->data;
    struct epoll_event found[64];
    int n = epoll_wait(http->watch_fd, found, FG_COUNT(found), 0);
    for (int i = 0; i < n; i++) {
        struct fg_http_conn *c = found[i].data.ptr;
        c->hung_up = true;
        lose_client(c->req);
    }
}

/* Once a connection was suspended it stays in the set: one system call for its life. Edge-triggered, hence hung_up. */
static void watch_conn(struct fg_http_conn *c)
{
    if (c->watched)
        return;
    struct epoll_event want = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->watched = epoll_ctl(c->http->watch_fd, EPOLL_CTL_ADD, c->fd, &want) == 0;
}

void fg_request_suspend(struct fg_http_request *req)
{
    MHD_suspend_connection(req->mhd);
    req->suspended = true;
    watch_conn(req->conn);
    if (req->conn->hung_up)
        lose_client(req);
}

void fg_request_resume(struct fg_http_request *req)
{
    if (!req->suspended)
        return;
    req->suspended = false;
    MHD_resume_connection(req->mhd);
    req->http->resumed = true;
    if (!req->http->stopping)
        uv_idle_start(&req->http->idle, on_idle); /* nothing else tells the loop to come to run() */
}

/* ---- callbacks of requests ---- */

static void *on_request_line(void *arg, const char *target, struct MHD_Connection *mhd)
{
    return fg_request_create(arg, mhd, target);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_len, void **context)
{
    if (*context == NULL)
        *context = fg_request_create(arg, mhd, url);
    return fg_request_handle(*context, method, data, data_len);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
    fg_request_destroy(fg_take_ptr(*context));
}

/* Targets are decoded by http_target.c, which sees them raw. */
static size_t keep_escapes(void *arg, struct MHD_Connection *mhd, char *text)
{
    return strlen(text);
}

static void on_log(void *arg, const char *fmt, va_list ap)
{
    FG_AUTO_STR struct fg_str text = {0};
    fg_str_addv(&text, fmt, ap);
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    fg_log_debug("http: %s", fg_str_cstr(&text));
}

/* ---- start and stop ---- */

static int parse_address(const char *address, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len, struct fg_error *err)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    bool loopback = false;
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *ret_len = sizeof *v4;
        loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *ret_len = sizeof *v6;
        loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    } else {
        fg_fail(err, FG_E_INVALID, "listen address '%.80s' is not numeric", address);
        return fg_fail_hint(err, "use 127.0.0.1 or ::1");
    }
    if (loopback)
        return 0;
    fg_fail(err, FG_E_UNSUPPORTED, "listening on %s needs TLS, which is not there yet", address);
    return fg_fail_hint(err, "listen on 127.0.0.1 and let an SSH tunnel or a proxy with TLS carry it");
}

static int listen_on(const struct fg_http_config *config, uint16_t *ret_port, struct fg_error *err)
{
    struct sockaddr_storage sa;
    socklen_t len = 0;
    if (parse_address(config->address, config->port, &sa, &len, err) < 0)
        return -1;
    FG_AUTO_FD int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fg_fail(err, FG_E_IO, "make a socket: %m");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, FG_HTTP_CONNECTIONS) < 0) {
        bool taken = errno == EADDRINUSE;
        fg_fail(err, taken ? FG_E_CONFLICT : FG_E_IO, "listen on %s port %u: %m", config->address, config->port);
        return taken ? fg_fail_hint(err, "another server runs there; stop it or set `listen` to another port") : -1;
    }
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return fg_fail(err, FG_E_IO, "getsockname: %m");
    *ret_port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port : ((struct sockaddr_in *)&sa)->sin_port);
    return fg_take_fd(fd);
}

/* As many connections as promised, or as the process may have descriptors for, less those the program itself needs. */
static unsigned connection_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return FG_HTTP_CONNECTIONS;
    rlim_t want = FG_HTTP_CONNECTIONS + SPARE_FDS;
    if (limit.rlim_cur < want && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = FG_MIN(want, limit.rlim_max);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= want)
        return FG_HTTP_CONNECTIONS;
    return limit.rlim_cur > 2 * SPARE_FDS ? (unsigned)(limit.rlim_cur - SPARE_FDS) : (unsigned)(limit.rlim_cur / 2 + 1);
}

static struct MHD_Daemon *start_daemon(struct fg_http *http, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, http,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, http,   /* first: options may log */
                            MHD_OPTION_LISTEN_SOCKET, fd,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)FG_HTTP_POOL,
                            MHD_OPTION_CONNECTION_LIMIT, connection_limit(),
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)FG_HTTP_IDLE_MS / 1000,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                            MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, http,
                            MHD_OPTION_URI_LOG_CALLBACK, on_request_line, http,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
                            MHD_OPTION_END);
}

static void start_loop(struct fg_http *http)
{
    int epoll_fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    http->poll.data = http->watch.data = http->timer.data = http->sweep.data = http->idle.data = http;
    uv_poll_init(http->loop, &http->poll, epoll_fd);
    uv_poll_init(http->loop, &http->watch, http->watch_fd);
    uv_timer_init(http->loop, &http->timer);
    uv_timer_init(http->loop, &http->sweep);
    uv_idle_init(http->loop, &http->idle);
    http->open_handles = 5;
    uv_poll_start(&http->poll, UV_READABLE, on_ready);
    uv_poll_start(&http->watch, UV_READABLE, on_watch);
    uv_idle_start(&http->idle, on_idle);         /* the listening socket joins the epoll set in the first run */
}

int fg_http_start(uv_loop_t *loop, const struct fg_http_config *config, struct fg_http **ret, struct fg_error *err)
{
    signal(SIGPIPE, SIG_IGN);                    /* sendfile has no flag against it */
    uint16_t port = 0;
    if (fg_mhd_open(err) < 0)
        return -1;
    FG_AUTO_FD int fd = listen_on(config, &port, err);
    if (fd < 0)
        return -1;
    FG_AUTO_FD int watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (watch_fd < 0)
        return fg_fail(err, FG_E_IO, "epoll_create: %m");
    FG_AUTO_FREE struct fg_http *http = fg_alloc(sizeof *http);
    *http = (struct fg_http){.loop = loop, .config = *config, .port = port};
    http->next_id = uv_hrtime() << 20;           /* ids of two runs do not meet in one log */
    http->daemon = start_daemon(http, fd);
    if (http->daemon == NULL)
        return fg_fail(err, FG_E_IO, "the HTTP server does not start: %m");
    (void)fg_take_fd(fd);                        /* the daemon's now */
    http->watch_fd = fg_take_fd(watch_fd);
    start_loop(http);
    *ret = fg_take_ptr(http);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct fg_http *http = handle->data;
    if (--http->open_handles == 0) {
        close(http->watch_fd);
        free(http);
    }
}

static void refuse_open_requests(struct fg_http *http)
{
    struct fg_error err;
    fg_fail(&err, FG_E_UNAVAILABLE, "the server is stopping");
    for (struct fg_http_conn *c = http->conns; c != NULL; c = c->next) {
        if (c->req == NULL)
            continue;
        if (c->req->streaming && !c->req->ended) {
            c->req->gone = true;                 /* cut, not ended: the client knows that there is more and comes again */
            fg_request_resume(c->req);
        } else if (c->req->phase == FG_REQ_HANDLED && !c->req->answered) {
            fg_http_fail(c->req, &err);
        }
    }
}

void fg_http_stop(struct fg_http *http)
{
    if (http == NULL)
        return;
    http->stopping = true;
    refuse_open_requests(http);
    unsigned long long wait_ms = 0;
    for (int i = 0; i < STOP_ROUNDS; i++) {      /* enough to send what fits into the sockets */
        MHD_run(http->daemon);
        if (MHD_get_timeout(http->daemon, &wait_ms) != MHD_YES || wait_ms > 0)
            break;
    }
    for (struct fg_http_conn *c = http->conns; c != NULL; c = c->next)
        if (c->req != NULL)
            fg_request_resume(c->req);           /* libmicrohttpd aborts on suspended ones */
    uv_handle_t *handles[] = {(uv_handle_t *)&http->poll, (uv_handle_t *)&http->watch, (uv_handle_t *)&http->timer,
                              (uv_handle_t *)&http->sweep, (uv_handle_t *)&http->idle};
    uv_poll_stop(&http->poll);                   /* before its descriptor is closed */
    uv_poll_stop(&http->watch);
    MHD_stop_daemon(fg_take_ptr(http->daemon));
    for (size_t i = 0; i < FG_COUNT(handles); i++)
        uv_close(handles[i], on_handle_closed);
}

uint16_t fg_http_port(const struct fg_http *http)
{
    return http->port;
}
