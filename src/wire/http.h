/* http.h - the HTTP server over libmicrohttpd, inside a libuv loop: external epoll, one thread, no locks. It knows routes,
 * bodies and answers, nothing of tasks. Limits: 16 KiB of headers, 10 s for the head, idle 75 s, 4,096 connections, 256 an address (loopback: no limit by address).
 *
 * A handler gets a request and must answer it once: now, or later from the loop (the connection is suspended meanwhile).
 * If the client goes away first, on_close is called and the request is gone. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/error.h"
#include "base/str.h"

enum fg_body { FG_BODY_NONE, FG_BODY_JSON, FG_BODY_STREAM };

struct fg_http;
struct fg_http_request;
typedef void fg_http_handler(struct fg_http_request *req, void *arg);

struct fg_http_route {
    const char *name, *method, *path;     /* path with {params} */
    const char *scope;                    /* "" : no key */
    enum fg_body body;
    const char *query;                    /* '|' separated allowed names */
    fg_http_handler *handler;
};
/* Where a streamed body goes: called in the loop as bytes come. begin may refuse (-1 with *err: answered at once, rest of body dropped). */
struct fg_http_sink {
    int (*begin)(struct fg_http_request *req, void *arg, struct fg_error *err);
    int (*data)(struct fg_http_request *req, const char *data, size_t n, void *arg, struct fg_error *err);
};
struct fg_http_config {
    const char *address;                  /* numeric, loopback only for now */
    uint16_t port;                        /* 0: any */
    size_t max_body_bytes;                /* FG_BODY_JSON; over it FG_E_TOO_LARGE */
    size_t max_batch_bytes;               /* for paths that end in ":batch" */
    const struct fg_http_route *routes; size_t route_count;
    /* Before the body is read: may refuse (401, 403, 507 ...). Sets what fg_http_request_user returns. NULL: all pass. */
    int (*authorize)(struct fg_http_request *req, const struct fg_http_route *route, void *arg, struct fg_error *err);
    struct fg_http_sink sink;             /* for FG_BODY_STREAM routes */
    void (*on_close)(struct fg_http_request *req, void *arg);   /* called once, last, for each request that had a route; frees the user pointer's target */
    void (*on_answer)(struct fg_http_request *req, int status, int64_t took_ns, void *arg); /* for metrics and the access log; may be NULL. The route is NULL for 404 and 405 */
    void *arg;
};
int fg_http_start(uv_loop_t *loop, const struct fg_http_config *config, struct fg_http **ret, struct fg_error *err);
void fg_http_stop(struct fg_http *http);  /* answers what waits with 503, cuts streams, closes; then the loop can be run out and closed. Not from a handler. */
uint16_t fg_http_port(const struct fg_http *http);

const struct fg_http_route *fg_http_request_route(const struct fg_http_request *req);
const char *fg_http_param(const struct fg_http_request *req, const char *name);   /* of the path; never NULL for a declared one */
const char *fg_http_query(const struct fg_http_request *req, const char *name);   /* NULL: not given. Unknown names were refused with 422 */
const char *fg_http_header(const struct fg_http_request *req, const char *name);  /* NULL: not given */
const char *fg_http_peer(const struct fg_http_request *req);
const char *fg_http_body(const struct fg_http_request *req, size_t *ret_len);     /* "" when none */
void **fg_http_request_user(struct fg_http_request *req);                         /* the program's own pointer */

/* Answer once. extra: "Name: value\n..." or NULL. Body is copied. HEAD sends the head only. Every JSON answer has
 * X-Request-Id; every answer has X-Content-Type-Options: nosniff and Cache-Control: no-store unless extra sets it. */
void fg_http_answer(struct fg_http_request *req, int status, const char *content_type, const char *body, size_t len, const char *extra);
/* application/problem+json of RFC 9457: type, title, status, detail, code, errors:[{pointer,detail}], hint, request_id, retryable.
 * retryable ones carry Retry-After: 1. */
void fg_http_fail(struct fg_http_request *req, const struct fg_error *err);
/* A file, whole or the Range asked for; takes fd. */
void fg_http_answer_file(struct fg_http_request *req, int fd, uint64_t size, const char *content_type, const char *extra);
/* Chunked stream: begin, then write any time from the loop, then end. Bytes queue in memory; pending tells how many,
 * so that a producer can wait; drained (may be NULL) is called when the queue got empty. */
void fg_http_stream_begin(struct fg_http_request *req, int status, const char *content_type, const char *extra,
                          void (*drained)(struct fg_http_request *req, void *arg), void *arg);
void fg_http_stream_write(struct fg_http_request *req, const void *data, size_t n);
size_t fg_http_stream_pending(const struct fg_http_request *req);
void fg_http_stream_end(struct fg_http_request *req);
