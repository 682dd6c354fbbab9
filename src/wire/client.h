/* client.h - the HTTP client of the fgpu command: blocking, one connection kept alive, over libcurl. libcurl and the twenty
 * libraries behind it are opened at the first request: linking them would add 6 ms to every start of the one binary.
 * One thread per client. */
#pragma once
#include <signal.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"
#include "wire/sse.h"

struct fg_client;
/* url: "http://127.0.0.1:8470"; key may be NULL. FG_E_INVALID for what is neither. Connects to nothing yet. */
int fg_client_open(const char *url, const char *key, struct fg_client **ret, struct fg_error *err);
void fg_client_close(struct fg_client *client);
/* Requests end early with FG_E_TIMEOUT ("interrupted") once *stop is not 0: for a SIGINT handler. */
void fg_client_stop_on(struct fg_client *client, const volatile sig_atomic_t *stop);

enum fg_send { FG_SEND_NOTHING, FG_SEND_BYTES, FG_SEND_FD };
enum fg_take { FG_TAKE_BYTES, FG_TAKE_FD, FG_TAKE_LINES };

struct fg_client_request {
    const char *method;                          /* NULL: GET */
    const char *path;                            /* with query, escaped: fg_client_escape */
    const char *headers;                         /* "Name: value\n..." or NULL */
    enum fg_send send;
    const char *content_type;                    /* NULL: application/json for bytes, application/octet-stream for a file */
    const void *bytes; size_t len;               /* FG_SEND_BYTES */
    int send_fd; uint64_t send_size;             /* FG_SEND_FD: so many bytes from its offset on */
    enum fg_take take;                           /* where an answer below 400 goes; errors always go to answer.body */
    int take_fd;                                 /* FG_TAKE_FD */
    int (*line)(void *arg, const char *line, size_t n, struct fg_error *err);   /* FG_TAKE_LINES: 0 goes on, 1 ends with success, -1 fails */
    void *line_arg;
    int64_t timeout_ms;                          /* of the whole; 0: none */
};
struct fg_client_answer {
    int status;                                  /* 0: there was none */
    struct fg_str body;                          /* at most 64 MiB */
    uint64_t taken;                              /* bytes of body that came */
    char content_type[80], etag[80], location[200], request_id[40];
    int64_t retry_after_s;                       /* 0: not said */
};
void fg_client_answer_fini(struct fg_client_answer *answer);

/* Send and wait. 0 for a status below 400. -1 otherwise: what the server's problem document says (code by name, pointer,
 * hint), FG_E_UNREACHABLE with the hint `fgpu up`, FG_E_TIMEOUT, or what line returned. *ret is set in any case; fini it. */
int fg_client_send(struct fg_client *client, const struct fg_client_request *request, struct fg_client_answer *ret, struct fg_error *err);

/* Follow an SSE stream: fn gets each event once, in order; a lost connection is made again from the last id on, for
 * patience_ms. Returns 0 when fn returned 1 or the server ended the stream, else -1. last_id may be NULL. */
int fg_client_follow(struct fg_client *client, const char *path, const char *last_id, int64_t patience_ms,
                     int (*fn)(void *arg, const struct fg_sse_event *event, struct fg_error *err), void *arg, struct fg_error *err);

/* Append text percent-encoded, for one path segment or query value. */
void fg_client_escape(struct fg_str *out, const char *text);
