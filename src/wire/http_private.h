/* http_private.h - what http.c (daemon, loop, connections), http_request.c (route, body, handler) and http_answer.c share.
 *
 * Life of a request, in the callbacks of libmicrohttpd (all in the loop's thread):
 *
 *   request line -> fg_request_create -> head: route, checks, authorize -> body -> handler -> answer -> fg_request_destroy
 *                                          |refused                          |no answer yet: suspended until there is one
 *                                          +--> answer, rest of body dropped
 *
 * libmicrohttpd does not look at the socket of a suspended connection; http.c watches it in an epoll set of its own, and
 * a client that hangs up makes its request `gone`: resumed once, then closed. */
#pragma once
#include "wire/mhd_lib.h"

#include "wire/http.h"
#include "wire/http_target.h"

enum {
    FG_HTTP_MAX_HEAD = 16384,
    FG_HTTP_POOL = 32768,                /* per connection: read buffer, headers, write buffer */
    FG_HTTP_HEAD_MS = 10000,             /* from accept to the end of the first head */
    FG_HTTP_IDLE_MS = 75000,             /* no byte in either direction */
    FG_HTTP_JSON_MS = 60000,             /* from the head to the end of a JSON body */
    FG_HTTP_CONNECTIONS = 4096,
    FG_HTTP_MAX_DROPPED = 4 << 20,       /* of a refused body before the connection is cut */
    FG_HTTP_MAX_BUFFERED = 256 << 20,    /* JSON bodies of all requests together */
};

/* One client connection. */
struct fg_http_conn {
    struct fg_http *http;
    struct fg_http_conn *prev, *next;
    struct fg_http_request *req;         /* the open one, or NULL */
    int fd;                              /* libmicrohttpd's */
    uint64_t deadline_ms;                /* uv_now at which it is cut; 0: none */
    bool watched, hung_up;
    char peer[46];
};

enum fg_request_phase { FG_REQ_HEAD, FG_REQ_BODY, FG_REQ_REFUSED, FG_REQ_HANDLED };

struct fg_http_request {
    struct fg_http *http;
    struct fg_http_conn *conn;
    struct MHD_Connection *mhd;
    enum fg_request_phase phase;
    uint64_t id, start_ns;
    struct fg_target target;
    struct fg_error *bad_target;         /* owned; why target is empty, or NULL */
    const struct fg_http_route *route;   /* NULL: none matched */
    const char *method;
    struct fg_str body;
    size_t body_limit, counted;          /* counted: of FG_HTTP_MAX_BUFFERED */
    uint64_t dropped;
    void *user;

    struct MHD_Response *response;       /* made, not yet queued */
    int status;
    bool answered, suspended, gone;

    bool streaming, ended;
    struct fg_str queue;                 /* bytes of a stream from queue_at on wait to be sent */
    size_t queue_at;
    void (*drained)(struct fg_http_request *req, void *arg);
    void *drained_arg;
};

struct fg_http {
    uv_loop_t *loop;
    struct fg_http_config config;
    struct MHD_Daemon *daemon;
    int watch_fd;                        /* epoll set of suspended connections */
    uint16_t port;
    bool stopping, resumed;              /* resumed: a connection was, since the last run */
    uint64_t next_id, buffered;
    struct fg_http_conn *conns;
    uv_poll_t poll, watch;
    uv_timer_t timer, sweep;
    uv_idle_t idle;
    uint64_t due_ms;                     /* of timer */
    int open_handles;
};

/* http_request.c */
struct fg_http_request *fg_request_create(struct fg_http *http, struct MHD_Connection *mhd, const char *target);
void fg_request_destroy(struct fg_http_request *req);
enum MHD_Result fg_request_handle(struct fg_http_request *req, const char *method, const char *data, size_t *data_len);

/* http.c */
void fg_request_suspend(struct fg_http_request *req);    /* only inside a callback of libmicrohttpd */
void fg_request_resume(struct fg_http_request *req);     /* no-op unless suspended */

/* http_answer.c: fg_http_fail with another status (0: the error's) and more headers. */
void fg_answer_error(struct fg_http_request *req, const struct fg_error *err, int status, const char *extra);
