/* http_request.c - one request from its first line to its handler: route, checks, permission, body. See http_private.h. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "wire/http_private.h"

/* What the head says of the body. */
struct body_head { bool present, chunked, expects_100; uint64_t length; };

struct fg_http_request *fg_request_create(struct fg_http *http, struct MHD_Connection *mhd, const char *target)
{
    struct fg_http_request *req = fg_alloc(sizeof *req);
    req->http = http;
    req->mhd = mhd;
    req->conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    req->conn->req = req;
    req->id = http->next_id++;
    req->start_ns = uv_hrtime();
    req->method = "";
    struct fg_error err;
    if (fg_target_parse(target != NULL ? target : "", &req->target, &err) < 0) {
        req->bad_target = fg_alloc(sizeof err);
        *req->bad_target = err;
    }
    return req;
}

void fg_request_destroy(struct fg_http_request *req)
{
    if (req == NULL)
        return;
    struct fg_http *http = req->http;
    if (http->config.on_close != NULL && req->route != NULL)
        http->config.on_close(req, http->config.arg);
    req->conn->req = NULL;
    req->conn->deadline_ms = uv_now(http->loop) + FG_HTTP_IDLE_MS + FG_HTTP_HEAD_MS;
    http->buffered -= req->counted;
    if (req->response != NULL)
        MHD_destroy_response(req->response);
    fg_target_fini(&req->target);
    free(req->bad_target);
    fg_str_fini(&req->body);
    fg_str_fini(&req->queue);
    free(req);
}

/* ---- head ---- */

static enum MHD_Result see_framing(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    unsigned *seen = arg;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
        *seen += 1;
    else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0)
        *seen += 1;
    return MHD_YES;
}

/* A body must be framed in one way only (RFC 9112 6.3): two readers of a doubtful one would see two different requests. */
static int read_body_head(struct fg_http_request *req, struct body_head *ret, struct fg_error *err)
{
    const char *length = fg_http_header(req, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *coding = fg_http_header(req, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    const char *expect = fg_http_header(req, MHD_HTTP_HEADER_EXPECT);
    *ret = (struct body_head){.expects_100 = expect != NULL && strcasecmp(expect, "100-continue") == 0};
    if (length == NULL && coding == NULL)
        return 0;
    unsigned seen = 0;
    MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, see_framing, &seen);
    ret->chunked = coding != NULL;
    ret->length = length != NULL ? strtoull(length, NULL, 10) : 0;   /* libmicrohttpd checked its digits */
    ret->present = ret->chunked || ret->length > 0;
    if (seen > 1)
        return fg_fail(err, FG_E_MALFORMED, "the head gives the length of the body more than once");
    if (coding != NULL && strcasecmp(coding, "chunked") != 0)
        return fg_fail(err, FG_E_MALFORMED, "Transfer-Encoding '%.40s' is not understood, only chunked is", coding);
    return 0;
}

static const char *route_method(const char *method)
{
    return strcmp(method, "HEAD") == 0 ? "GET" : method;
}

static void list_methods(const struct fg_http_request *req, struct fg_str *allow)
{
    for (size_t i = 0; i < req->http->config.route_count; i++) {
        const struct fg_http_route *r = &req->http->config.routes[i];
        if (fg_target_match(&req->target, r->path))
            fg_str_addf(allow, "%s%s%s", allow->len > 0 ? ", " : "", r->method, strcmp(r->method, "GET") == 0 ? ", HEAD" : "");
    }
}

static int find_route(struct fg_http_request *req, struct fg_str *allow, struct fg_error *err)
{
    const struct fg_http_config *config = &req->http->config;
    const char *method = route_method(req->method);
    for (size_t i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].method, method) == 0 && fg_target_match(&req->target, config->routes[i].path)) {
            req->route = &config->routes[i];
            return 0;
        }
    }
    list_methods(req, allow);
    if (allow->len == 0)
        return fg_fail(err, FG_E_NOT_FOUND, "there is nothing at this path");
    fg_fail(err, FG_E_METHOD_NOT_ALLOWED, "this path does not take %.20s", req->method);
    return fg_fail_hint(err, "it takes %s", allow->data);
}

static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    return type != NULL && strncasecmp(type, json, n) == 0 && (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

static int check_body_head(struct fg_http_request *req, const struct body_head *body, struct fg_error *err)
{
    const struct fg_http_config *config = &req->http->config;
    size_t path_len = strlen(req->route->path);
    bool batch = path_len >= 6 && strcmp(req->route->path + path_len - 6, ":batch") == 0;
    req->body_limit = batch ? config->max_batch_bytes : config->max_body_bytes;
    if (!body->present || req->route->body == FG_BODY_STREAM)
        return 0;
    const char *type = fg_http_header(req, MHD_HTTP_HEADER_CONTENT_TYPE);
    const char *coding = fg_http_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING);
    if (req->route->body == FG_BODY_JSON && (!is_json(type) || (coding != NULL && strcasecmp(coding, "identity") != 0))) {
        fg_fail(err, FG_E_UNSUPPORTED_MEDIA, "the body is '%.60s'%s%.20s", type != NULL ? type : "of no type",
                coding != NULL ? " encoded as " : "", coding != NULL ? coding : "");
        return fg_fail_hint(err, "send plain JSON with `Content-Type: application/json`");
    }
    if (body->length > req->body_limit) {
        fg_fail(err, FG_E_TOO_LARGE, "the body has %llu bytes, at most %zu are taken", (unsigned long long)body->length, req->body_limit);
        return fg_fail_hint(err, "upload large inputs as blobs: PUT /v1/blobs/SHA256");
    }
    return 0;
}

static int judge_head(struct fg_http_request *req, const struct body_head *body, struct fg_str *allow, struct fg_error *err)
{
    const struct fg_http_config *config = &req->http->config;
    if (req->http->stopping)
        return fg_fail(err, FG_E_UNAVAILABLE, "the server is stopping");
    if (req->bad_target != NULL) {
        *err = *req->bad_target;
        return -1;
    }
    if (find_route(req, allow, err) < 0)
        return -1;
    if (config->authorize != NULL && config->authorize(req, req->route, config->arg, err) < 0)
        return -1;
    if (fg_target_check_query(&req->target, req->route->query, err) < 0 || check_body_head(req, body, err) < 0)
        return -1;
    if (req->route->body == FG_BODY_STREAM && config->sink.begin != NULL)
        return config->sink.begin(req, config->arg, err);
    return 0;
}

static void refuse(struct fg_http_request *req, const struct fg_error *err, int status, const char *extra)
{
    req->phase = FG_REQ_REFUSED;
    fg_answer_error(req, err, status, extra);
}

static enum MHD_Result give_answer(struct fg_http_request *req)
{
    if (req->response == NULL) {
        if (!req->answered)
            fg_request_suspend(req);
        return MHD_YES;
    }
    struct MHD_Response *response = fg_take_ptr(req->response);
    enum MHD_Result ret = MHD_queue_response(req->mhd, (unsigned)req->status, response);
    MHD_destroy_response(response);
    return ret;
}

static enum MHD_Result finish(struct fg_http_request *req)
{
    req->conn->deadline_ms = 0;
    if (req->phase == FG_REQ_BODY) {
        struct fg_error err;
        req->phase = FG_REQ_HANDLED;
        if (req->http->stopping && fg_fail(&err, FG_E_UNAVAILABLE, "the server is stopping") < 0)
            fg_http_fail(req, &err);
        else
            req->route->handler(req, req->http->config.arg);
    }
    return give_answer(req);
}

static enum MHD_Result handle_head(struct fg_http_request *req)
{
    struct fg_error err;
    struct body_head body;
    FG_AUTO_STR struct fg_str allow = {0};
    req->phase = FG_REQ_BODY;
    size_t head = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    if (read_body_head(req, &body, &err) < 0) {
        refuse(req, &err, 0, "Connection: close");
        return give_answer(req);
    }
    if (head > FG_HTTP_MAX_HEAD) {
        fg_fail(&err, FG_E_TOO_LARGE, "the head of the request has %zu bytes, at most %d are taken", head, FG_HTTP_MAX_HEAD);
        refuse(req, &err, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, NULL);
    } else if (judge_head(req, &body, &allow, &err) < 0) {
        FG_AUTO_FREE char *extra = allow.len > 0 ? fg_asprintf("Allow: %s", allow.data) : NULL;
        refuse(req, &err, 0, extra);
    }
    /* Answers wait for the second call, at the end of the request: one given in the first call closes the connection.
     * A refused body of modest size is read and dropped for that, lest the answer be lost in the reset; a client that asked
     * first (Expect), or one that sends much, is answered at once. */
    if (req->phase == FG_REQ_REFUSED && (body.expects_100 || body.length > FG_HTTP_MAX_DROPPED))
        return give_answer(req);
    bool streams = req->phase == FG_REQ_BODY && req->route->body == FG_BODY_STREAM;
    req->conn->deadline_ms = streams ? 0 : uv_now(req->http->loop) + FG_HTTP_JSON_MS;
    return MHD_YES;
}

/* ---- body ---- */

static int keep_json(struct fg_http_request *req, const char *data, size_t n, struct fg_error *err)
{
    struct fg_http *http = req->http;
    if (n > req->body_limit - req->body.len) {
        fg_fail(err, FG_E_TOO_LARGE, "the body has more than %zu bytes", req->body_limit);
        return fg_fail_hint(err, "upload large inputs as blobs: PUT /v1/blobs/SHA256");
    }
    if (http->buffered + n > FG_HTTP_MAX_BUFFERED)
        return fg_fail(err, FG_E_UNAVAILABLE, "too many large requests at once");
    http->buffered += n;
    req->counted += n;
    fg_str_add(&req->body, data, n);
    return 0;
}

static int take_body(struct fg_http_request *req, const char *data, size_t n, struct fg_error *err)
{
    const struct fg_http_config *config = &req->http->config;
    switch (req->route->body) {
    case FG_BODY_JSON: return keep_json(req, data, n, err);
    case FG_BODY_STREAM: return config->sink.data != NULL ? config->sink.data(req, data, n, config->arg, err) : 0;
    case FG_BODY_NONE: break;                    /* `curl -d {}` on a route without a body does no harm */
    }
    req->dropped += n;
    return req->dropped <= req->body_limit ? 0 : fg_fail(err, FG_E_TOO_LARGE, "this path takes no body");
}

static enum MHD_Result handle_body(struct fg_http_request *req, const char *data, size_t n)
{
    if (req->phase == FG_REQ_BODY) {
        struct fg_error err;
        if (take_body(req, data, n, &err) == 0)
            return MHD_YES;
        fg_str_fini(&req->body);
        refuse(req, &err, 0, NULL);
    }
    req->dropped += n;
    return req->dropped <= FG_HTTP_MAX_DROPPED ? MHD_YES : MHD_NO;
}

enum MHD_Result fg_request_handle(struct fg_http_request *req, const char *method, const char *data, size_t *data_len)
{
    if (req->gone)
        return MHD_NO;
    if (req->phase == FG_REQ_HEAD) {
        req->method = method;
        return handle_head(req);
    }
    if (*data_len > 0) {
        size_t n = *data_len;
        *data_len = 0;
        return handle_body(req, data, n);
    }
    return finish(req);
}

/* ---- what handlers ask ---- */

const struct fg_http_route *fg_http_request_route(const struct fg_http_request *req) { return req->route; }
const char *fg_http_peer(const struct fg_http_request *req) { return req->conn->peer; }
void **fg_http_request_user(struct fg_http_request *req) { return &req->user; }

const char *fg_http_param(const struct fg_http_request *req, const char *name)
{
    const char *value = fg_target_param(&req->target, req->route->path, name);
    return value != NULL ? value : "";
}

const char *fg_http_query(const struct fg_http_request *req, const char *name)
{
    return fg_target_query(&req->target, name);
}

const char *fg_http_header(const struct fg_http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name);
}

const char *fg_http_body(const struct fg_http_request *req, size_t *ret_len)
{
    if (ret_len != NULL)
        *ret_len = req->body.len;
    return fg_str_cstr(&req->body);
}
