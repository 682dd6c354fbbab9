/* blob_routes.c - upload and download of content-addressed bytes. A blob belongs to each tenant that uploaded it; to others
 * it does not exist, even when its bytes are here. */
#include <string.h>
#include "base/io.h"
#include "control/blob_sink.h"
#include "control/json_out.h"
#include "control/routes.h"
#include "store/blob.h"

/* An upload under way. The pool syncs it, so it may outlive its call: then nobody is told. */
struct upload {
    uv_work_t work;
    struct fg_call *call;                /* NULL: the client went away */
    struct fg_server *server;
    struct fg_blob_writer *writer;
    bool on_pool, failed, known;
    char sha256[65];
    uint64_t size;
    struct fg_error err;
};

static void upload_free(struct upload *up) {
    fg_blob_abort(up->writer);
    free(up);
}

static void upload_drop(void *state) {
    struct upload *up = state;
    up->call = NULL;
    if (!up->on_pool)
        upload_free(up);
}

static int sink_begin(struct fg_http_request *req, void *arg, struct fg_error *err) {
    struct fg_call *call = fg_call_of(req);
    const char *expect = strcmp(fg_http_request_route(req)->name, "blob_put") ? NULL : fg_http_param(req, "sha256");
    if (fg_server_writable(arg, err))
        return -1;
    if (expect && !fg_is_sha256(expect)) {
        fg_fail(err, FG_E_INVALID, "'%.80s' is not a SHA-256", expect);
        return fg_fail_hint(err, "64 lower-case hex digits; POST /v1/blobs works without");
    }
    struct upload *up = fg_alloc(sizeof *up);
    up->call = call;
    up->server = arg;
    if (fg_blob_begin(up->server->blob_dir, expect, &up->writer, err)) {
        free(up);
        return -1;
    }
    call->state = up;
    call->drop = upload_drop;
    return 0;
}

static int sink_data(struct fg_http_request *req, const char *data, size_t n, void *arg, struct fg_error *err) {
    struct upload *up = fg_call_of(req)->state;
    return fg_blob_append(up->writer, data, n, err);
}

const struct fg_http_sink fg_blob_sink = {sink_begin, sink_data};

static void finish(uv_work_t *work) {
    struct upload *up = fg_link_of(work, struct upload, work);
    up->failed = fg_blob_finish(fg_take_ptr(up->writer), up->sha256, &up->size, &up->err) != 0;
}

static void owned(struct fg_call *call, const struct fg_error *err) {
    const struct upload *up = call->state;
    if (err) {
        fg_answer_fail(call, err);
        return;
    }
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_text(&out, "sha256", up->sha256);
    fg_out_int(&out, "size", (int64_t)up->size);
    fg_out_close(&out, '}');
    FG_AUTO_FREE char *location = fg_asprintf("Location: /v1/blobs/%s\n", up->sha256);
    bool put = !strcmp(fg_http_request_route(call->req)->name, "blob_put");
    fg_answer_json(call, put && up->known ? 200 : 201, &out, location);
}

static void finished(uv_work_t *work, int status) {
    struct upload *up = fg_link_of(work, struct upload, work);
    struct fg_call *call = up->call;
    up->on_pool = false;
    if (!call) {                         /* bytes nobody owns: a repeat of the upload finds them there */
        upload_free(up);
        return;
    }
    uint64_t size;
    if (status)
        up->failed = fg_fail(&up->err, FG_E_UNAVAILABLE, "the server stops") != 0;
    if (up->failed) {
        fg_answer_fail(call, &up->err);
        return;
    }
    up->known = fg_store_blob_owned(up->server->store, up->sha256, call->tenant, &size);
    if (!up->known)
        fg_turn_own(up->server, up->sha256, call->tenant, up->size);
    fg_turn_wait(call, owned);
}

static void store_body(struct fg_http_request *req, struct fg_server *s) {
    struct upload *up = fg_call_of(req)->state;
    up->on_pool = true;
    uv_queue_work(&s->loop, &up->work, finish, finished);
}

void fg_route_blob_put(struct fg_http_request *req, void *arg) { store_body(req, arg); }
void fg_route_blob_post(struct fg_http_request *req, void *arg) { store_body(req, arg); }

void fg_route_blob_get(struct fg_http_request *req, void *arg) {
    struct fg_server *s = arg;
    struct fg_call *call = fg_call_of(req);
    const char *sha256 = fg_http_param(req, "sha256");
    struct fg_error err;
    uint64_t size;
    int fd;
    if (!fg_is_sha256(sha256) || !fg_store_blob_owned(s->store, sha256, call->tenant, &size) ||
        fg_blob_open(s->blob_dir, sha256, &fd, &size, &err)) {
        fg_fail(&err, FG_E_NOT_FOUND, "there is no such blob");
        fg_fail_hint(&err, "PUT /v1/blobs/SHA256 uploads it");
        fg_answer_fail(call, &err);
        return;
    }
    FG_AUTO_FREE char *extra = fg_asprintf("ETag: \"%s\"\nCache-Control: private, immutable\n", sha256);
    fg_http_answer_file(req, fd, size, "application/octet-stream", extra);
}
