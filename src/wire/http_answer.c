/* http_answer.c - answers: bytes, errors, files and streams. Each makes a response of libmicrohttpd, which is queued in the
 * next callback of its connection; a suspended connection is resumed for that. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/http_private.h"

enum { STREAM_BLOCK = 8192, STREAM_COMPACT = 65536 };

/* ---- heads ---- */

static void add_extra(struct MHD_Response *response, const char *extra, bool *sets_cache)
{
    FG_AUTO_FREE char *copy = fg_strdup(extra);
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *value = strchr(line, ':');
        if (value == NULL)
            continue;
        *value++ = '\0';
        value += strspn(value, " ");
        if (MHD_add_response_header(response, line, value) != MHD_YES)
            fg_log_warn("http: header '%s' of an answer is not valid and was left out", line);
        *sets_cache |= strcasecmp(line, MHD_HTTP_HEADER_CACHE_CONTROL) == 0;
    }
}

static void add_head(const struct fg_http_request *req, struct MHD_Response *response, const char *type, const char *extra)
{
    bool sets_cache = false;
    if (type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (type != NULL && (fg_starts_with(type, "application/json") || fg_starts_with(type, "application/problem+json"))) {
        char id[24];
        snprintf(id, sizeof id, "%016" PRIx64, req->id);
        MHD_add_response_header(response, "X-Request-Id", id);
    }
    if (extra != NULL)
        add_extra(response, extra, &sets_cache);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (!sets_cache)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
}

/* Whether the request still waits for an answer. A second one is a bug of the handler that must not reach the client. */
static bool may_answer(const struct fg_http_request *req)
{
    if (req->answered)
        fg_log_error("http: a second answer to request %016" PRIx64 " was dropped", req->id);
    return !req->answered && !req->gone;
}

/* Takes response. */
static void set_answer(struct fg_http_request *req, int status, struct MHD_Response *response, const char *type, const char *extra)
{
    const struct fg_http_config *config = &req->http->config;
    if (response == NULL)
        abort();                                 /* out of memory, see base/mem.h */
    add_head(req, response, type, extra);
    req->response = response;
    req->status = status;
    req->answered = true;
    if (config->on_answer != NULL)
        config->on_answer(req, status, (int64_t)(uv_hrtime() - req->start_ns), config->arg);
    fg_request_resume(req);
}

void fg_http_answer(struct fg_http_request *req, int status, const char *content_type, const char *body, size_t len, const char *extra)
{
    if (!may_answer(req))
        return;
    struct MHD_Response *response = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    set_answer(req, status, response, content_type, extra);
}

/* ---- errors ---- */

static void add_member(struct fg_str *out, const char *name, const char *text)
{
    fg_str_addf(out, ",\"%s\":", name);
    fg_json_quote(out, text, strlen(text));
}

static void problem(const struct fg_http_request *req, const struct fg_error *err, int status, struct fg_str *out)
{
    const struct fg_error_info *info = fg_error_info(err->code);
    fg_str_addf(out, "{\"type\":\"urn:fgpu:error:%s\",\"title\":\"%s\",\"status\":%d", info->name, info->title, status);
    add_member(out, "detail", err->text);
    add_member(out, "code", info->name);
    if (err->pointer[0] != '\0') {
        fg_str_adds(out, ",\"errors\":[{\"pointer\":");
        fg_json_quote(out, err->pointer, strlen(err->pointer));
        add_member(out, "detail", err->text);
        fg_str_adds(out, "}]");
    }
    if (err->hint[0] != '\0')
        add_member(out, "hint", err->hint);
    fg_str_addf(out, ",\"request_id\":\"%016" PRIx64 "\",\"retryable\":%s}\n", req->id, info->retryable ? "true" : "false");
}

void fg_answer_error(struct fg_http_request *req, const struct fg_error *err, int status, const char *extra)
{
    const struct fg_error_info *info = fg_error_info(err->code);
    if (status == 0)
        status = info->http_status >= 400 ? info->http_status : MHD_HTTP_INTERNAL_SERVER_ERROR;
    FG_AUTO_STR struct fg_str body = {0}, head = {0};
    problem(req, err, status, &body);
    fg_str_adds(&head, extra != NULL ? extra : "");
    if (status == MHD_HTTP_UNAUTHORIZED)
        fg_str_adds(&head, "\nWWW-Authenticate: Bearer realm=\"fgpu\"");
    if (info->retryable)
        fg_str_adds(&head, "\nRetry-After: 1");
    fg_http_answer(req, status, "application/problem+json", body.data, body.len, fg_str_cstr(&head));
}

void fg_http_fail(struct fg_http_request *req, const struct fg_error *err)
{
    fg_answer_error(req, err, 0, NULL);
}

/* ---- files ---- */

enum range { RANGE_NONE, RANGE_PART, RANGE_BEYOND };

/* Digits at *p, which moves behind them; UINT64_MAX when they do not fit. False when there are none. */
static bool read_number(const char **p, uint64_t *ret)
{
    const char *start = *p;
    uint64_t v = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
            v = UINT64_MAX / 16;                 /* far beyond any file */
    *ret = v;
    return *p > start;
}

/* "bytes=a-b", "bytes=a-", "bytes=-n" (RFC 9110 14.1.2). What is not understood, and several ranges, count as none. */
static enum range parse_range(const char *text, uint64_t size, uint64_t *ret_first, uint64_t *ret_len)
{
    if (text == NULL || strncasecmp(text, "bytes=", 6) != 0)
        return RANGE_NONE;
    const char *p = text + 6;
    uint64_t first = 0, last = size - 1, n = 0;
    if (*p == '-') {
        p++;
        if (!read_number(&p, &n) || *p != '\0')
            return RANGE_NONE;
        if (n == 0 || size == 0)
            return RANGE_BEYOND;
        first = n < size ? size - n : 0;
    } else {
        if (!read_number(&p, &first) || *p++ != '-')
            return RANGE_NONE;
        if (*p != '\0' && (!read_number(&p, &last) || *p != '\0' || last < first))
            return RANGE_NONE;
        if (first >= size)
            return RANGE_BEYOND;
    }
    *ret_first = first;
    *ret_len = FG_MIN(last, size - 1) - first + 1;
    return RANGE_PART;
}

static void answer_beyond(struct fg_http_request *req, uint64_t size)
{
    struct fg_error err;
    fg_fail(&err, FG_E_INVALID, "the range lies outside of the %" PRIu64 " bytes", size);
    FG_AUTO_FREE char *extra = fg_asprintf("Content-Range: bytes */%" PRIu64 "\nAccept-Ranges: bytes", size);
    fg_answer_error(req, &err, MHD_HTTP_RANGE_NOT_SATISFIABLE, extra);
}

void fg_http_answer_file(struct fg_http_request *req, int fd, uint64_t size, const char *content_type, const char *extra)
{
    FG_AUTO_FD int file = fd;
    if (!may_answer(req))
        return;
    uint64_t first = 0, len = size;
    /* If-Range asks for a validator, which is not given out here: then the whole is the right answer (RFC 9110 13.1.5). */
    bool may_part = strcmp(req->method, "GET") == 0 && fg_http_header(req, MHD_HTTP_HEADER_IF_RANGE) == NULL;
    enum range range = may_part ? parse_range(fg_http_header(req, MHD_HTTP_HEADER_RANGE), size, &first, &len) : RANGE_NONE;
    if (range == RANGE_BEYOND) {
        answer_beyond(req, size);
        return;
    }
    FG_AUTO_STR struct fg_str head = {0};
    fg_str_addf(&head, "%s\nAccept-Ranges: bytes", extra != NULL ? extra : "");
    if (range == RANGE_PART)
        fg_str_addf(&head, "\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, first + len - 1, size);
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(len, fg_take_fd(file), first);
    set_answer(req, range == RANGE_PART ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK, response, content_type, head.data);
}

/* ---- streams ---- */

size_t fg_http_stream_pending(const struct fg_http_request *req)
{
    return req->queue.len - req->queue_at;
}

static ssize_t read_stream(void *arg, uint64_t pos, char *buf, size_t max)
{
    struct fg_http_request *req = arg;
    /* Ending the stream would close the connection but not free it: libmicrohttpd 0.9.75 comes back to such a one only at its
     * idle timeout. A byte that cannot be sent, the socket being shut, ends it for good. */
    if (req->gone && req->conn->hung_up) {
        *buf = '\n';
        return 1;
    }
    if (req->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = FG_MIN(fg_http_stream_pending(req), max);
    if (n == 0) {
        if (req->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        fg_request_suspend(req);
        return 0;
    }
    memcpy(buf, req->queue.data + req->queue_at, n);
    req->queue_at += n;
    if (fg_http_stream_pending(req) == 0) {
        fg_str_clear(&req->queue);
        req->queue_at = 0;
        if (req->drained != NULL && !req->ended)
            req->drained(req, req->drained_arg);
    }
    return (ssize_t)n;
}

void fg_http_stream_begin(struct fg_http_request *req, int status, const char *content_type, const char *extra,
                          void (*drained)(struct fg_http_request *req, void *arg), void *arg)
{
    if (!may_answer(req))
        return;
    req->streaming = true;
    req->drained = drained;
    req->drained_arg = arg;
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, req, NULL);
    set_answer(req, status, response, content_type, extra);
}

void fg_http_stream_write(struct fg_http_request *req, const void *data, size_t n)
{
    if (!req->streaming || req->ended || req->gone || n == 0)
        return;
    if (req->queue_at > STREAM_COMPACT && req->queue_at > req->queue.len / 2) {
        memmove(req->queue.data, req->queue.data + req->queue_at, req->queue.len - req->queue_at);
        req->queue.len -= req->queue_at;
        req->queue_at = 0;
    }
    fg_str_add(&req->queue, data, n);
    fg_request_resume(req);
}

void fg_http_stream_end(struct fg_http_request *req)
{
    req->ended = true;
    fg_request_resume(req);
}
