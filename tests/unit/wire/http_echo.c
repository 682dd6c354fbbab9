/* http_echo.c - a small server over wire/http.h, for test_http.py: one route per behaviour. usage: http_echo [ADDRESS [PORT]]
 * Prints "port N", serves until its standard input ends, stops, prints "closed N of N" and leaves 0 when nothing leaked. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "wire/http.h"

static struct { uint64_t opened, closed, answered, gone_later, stream_bytes; } stats;
static uv_loop_t loop;
static struct fg_http *http;

/* What a request carries: its timer, and whether it is still there. */
struct carried { struct fg_http_request *req; uv_timer_t timer; int64_t left, at; uint64_t bytes; bool waits; };

static struct carried *carried(struct fg_http_request *req) { return *fg_http_request_user(req); }

static int authorize(struct fg_http_request *req, const struct fg_http_route *route, void *arg, struct fg_error *err)
{
    if (route->scope[0] != '\0' && !fg_streq(fg_http_header(req, "Authorization"), "Bearer secret"))
        return fg_fail(err, FG_E_UNAUTHENTICATED, "no key");
    struct carried *c = fg_alloc(sizeof *c);
    c->req = req;
    uv_timer_init(&loop, &c->timer);
    c->timer.data = c;
    *fg_http_request_user(req) = c;
    stats.opened++;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle) { free(handle->data); }

static void on_close(struct fg_http_request *req, void *arg)
{
    struct carried *c = carried(req);
    if (c == NULL)
        return;
    stats.closed++;
    stats.gone_later += c->waits;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

static void on_answer(struct fg_http_request *req, int status, int64_t took_ns, void *arg) { stats.answered++; }

static int64_t number(struct fg_http_request *req, const char *name, int64_t fallback)
{
    const char *text = fg_http_query(req, name);
    int64_t v = fallback;
    return text != NULL && fg_parse_int(text, 0, INT64_C(1) << 40, &v, NULL) == 0 ? v : fallback;
}

static void answer_text(struct fg_http_request *req, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void answer_text(struct fg_http_request *req, const char *fmt, ...)
{
    FG_AUTO_STR struct fg_str out = {0};
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(&out, fmt, ap);
    va_end(ap);
    fg_http_answer(req, 200, "application/json", out.data, out.len, NULL);
}

static void get_hello(struct fg_http_request *req, void *arg) { answer_text(req, "{\"hello\":\"world\"}\n"); }

static void get_item(struct fg_http_request *req, void *arg)
{
    FG_AUTO_STR struct fg_str out = {0};
    fg_str_adds(&out, "{\"id\":");
    fg_json_quote(&out, fg_http_param(req, "id"), strlen(fg_http_param(req, "id")));
    fg_str_adds(&out, ",\"q\":");
    const char *q = fg_http_query(req, "quiet");
    fg_json_quote(&out, q != NULL ? q : "-", q != NULL ? strlen(q) : 1);
    fg_str_addf(&out, ",\"peer\":\"%s\"}", fg_http_peer(req));
    fg_http_answer(req, 200, "application/json", out.data, out.len, "Cache-Control: max-age=1\nX-Extra: yes");
}

static void post_echo(struct fg_http_request *req, void *arg)
{
    size_t n = 0;
    const char *body = fg_http_body(req, &n);
    fg_http_answer(req, 200, "application/json", body, n, NULL);
}

static void post_nothing(struct fg_http_request *req, void *arg) { fg_http_answer(req, 204, NULL, "", 0, NULL); }

static int upload_begin(struct fg_http_request *req, void *arg, struct fg_error *err)
{
    if (fg_streq(fg_http_param(req, "name"), "refused"))
        return fg_fail(err, FG_E_STORAGE_FULL, "no room");
    return 0;
}

static int upload_data(struct fg_http_request *req, const char *data, size_t n, void *arg, struct fg_error *err)
{
    carried(req)->bytes += n;
    if (fg_streq(fg_http_param(req, "name"), "half") && carried(req)->bytes > 1000)
        return fg_fail(err, FG_E_STORAGE_FULL, "the disk is full");
    return 0;
}

static void put_upload(struct fg_http_request *req, void *arg)
{
    answer_text(req, "{\"bytes\":%llu}", (unsigned long long)carried(req)->bytes);
}

static void on_later(uv_timer_t *timer)
{
    struct carried *c = timer->data;
    c->waits = false;
    answer_text(c->req, "{\"late\":true}");
}

static void get_later(struct fg_http_request *req, void *arg)
{
    struct carried *c = carried(req);
    c->waits = true;
    uv_timer_start(&c->timer, on_later, (uint64_t)number(req, "ms", 10), 0);
}

static void get_file(struct fg_http_request *req, void *arg)
{
    char path[] = "/tmp/http_echo.XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    int64_t size = number(req, "size", 1000);
    FG_AUTO_STR struct fg_str out = {0};
    for (int64_t i = 0; i < size; i++)
        *fg_str_reserve(&out, 1) = (char)('a' + i % 26), out.len++;
    if (size > 0)
        fg_write_all(fd, out.data, out.len);
    fg_http_answer_file(req, fd, (uint64_t)size, "application/octet-stream", NULL);
}

/* Ticks 1..n, going on behind Last-Event-ID. */
static void on_tick(uv_timer_t *timer)
{
    struct carried *c = timer->data;
    char text[64];
    if (c->at++ >= c->left) {
        fg_http_stream_end(c->req);
        c->waits = false;
        uv_timer_stop(timer);
        return;
    }
    int n = snprintf(text, sizeof text, "id: %lld\ndata: tick %lld\n\n", (long long)c->at, (long long)c->at);
    fg_http_stream_write(c->req, text, (size_t)n);
}

static void get_ticks(struct fg_http_request *req, void *arg)
{
    struct carried *c = carried(req);
    const char *last = fg_http_header(req, "Last-Event-ID");
    c->waits = true;
    c->left = number(req, "n", 3);
    if (last != NULL)
        fg_parse_int(last, 0, INT32_MAX, &c->at, NULL);
    fg_http_stream_begin(req, 200, "text/event-stream", NULL, NULL, NULL);
    uint64_t ms = (uint64_t)number(req, "ms", 10);
    uv_timer_start(&c->timer, on_tick, ms, ms);
}

/* Produces as fast as the client takes it, never more than one block in memory. */
static void pump(struct fg_http_request *req, void *arg)
{
    static char block[65536];
    struct carried *c = carried(req);
    size_t n = FG_MIN((size_t)c->left, sizeof block);
    memset(block, 'x', sizeof block);
    if (n == 0) {
        fg_http_stream_end(req);
        return;
    }
    c->left -= (int64_t)n;
    stats.stream_bytes += n;
    fg_http_stream_write(req, block, n);
}

static void get_flood(struct fg_http_request *req, void *arg)
{
    carried(req)->left = number(req, "bytes", 1000000);
    fg_http_stream_begin(req, 200, "text/plain", NULL, pump, NULL);
    pump(req, NULL);
}

static void get_fail(struct fg_http_request *req, void *arg)
{
    struct fg_error err;
    fg_fail(&err, fg_error_code_by_name(fg_http_param(req, "code")), "it \"failed\"");
    fg_fail_at(&err, "/a/b");
    fg_fail_hint(&err, "do better");
    fg_http_fail(req, &err);
}

static void get_twice(struct fg_http_request *req, void *arg)
{
    answer_text(req, "{\"first\":1}");
    answer_text(req, "{\"second\":2}");
}

static void get_stats(struct fg_http_request *req, void *arg)
{
    answer_text(req, "{\"opened\":%llu,\"closed\":%llu,\"answered\":%llu,\"gone_later\":%llu,\"stream_bytes\":%llu}",
                (unsigned long long)stats.opened, (unsigned long long)stats.closed, (unsigned long long)stats.answered,
                (unsigned long long)stats.gone_later, (unsigned long long)stats.stream_bytes);
}

static const struct fg_http_route routes[] = {
    {"hello", "GET", "/hello", "", FG_BODY_NONE, "", get_hello},
    {"root", "GET", "/", "", FG_BODY_NONE, "", get_hello},
    {"item", "GET", "/items/{id}", "", FG_BODY_NONE, "quiet|limit", get_item},
    {"item_delete", "DELETE", "/items/{id}", "", FG_BODY_NONE, "", post_nothing},
    {"echo", "POST", "/echo", "", FG_BODY_JSON, "", post_echo},
    {"echo_batch", "POST", "/echo:batch", "", FG_BODY_JSON, "", post_echo},
    {"nothing", "POST", "/nothing", "", FG_BODY_NONE, "", post_nothing},
    {"secret", "POST", "/secret", "read", FG_BODY_JSON, "", post_echo},
    {"upload", "PUT", "/upload/{name}", "", FG_BODY_STREAM, "", put_upload},
    {"later", "GET", "/later", "", FG_BODY_NONE, "ms", get_later},
    {"file", "GET", "/file", "", FG_BODY_NONE, "size", get_file},
    {"ticks", "GET", "/ticks", "", FG_BODY_NONE, "n|ms", get_ticks},
    {"flood", "GET", "/flood", "", FG_BODY_NONE, "bytes", get_flood},
    {"fail", "GET", "/fail/{code}", "", FG_BODY_NONE, "", get_fail},
    {"twice", "GET", "/twice", "", FG_BODY_NONE, "", get_twice},
    {"stats", "GET", "/stats", "", FG_BODY_NONE, "", get_stats},
};

static void on_input(uv_poll_t *poll, int status, int events)
{
    uv_close((uv_handle_t *)poll, NULL);
    fg_http_stop(http);
}

int main(int argc, char **argv)
{
    struct fg_http_config config = {
        .address = argc > 1 ? argv[1] : "127.0.0.1", .port = argc > 2 ? (uint16_t)atoi(argv[2]) : 0, .max_body_bytes = 1 << 20, .max_batch_bytes = 4 << 20,
        .routes = routes, .route_count = FG_COUNT(routes), .authorize = authorize,
        .sink = {upload_begin, upload_data}, .on_close = on_close, .on_answer = on_answer};
    struct fg_error err;
    uv_loop_init(&loop);
    fg_log_setup("http_echo", FG_LOG_DEBUG);
    if (fg_http_start(&loop, &config, &http, &err) < 0) {
        fprintf(stderr, "%s: %s\n", fg_error_info(err.code)->name, err.text);
        return 1;
    }
    printf("port %u\n", fg_http_port(http));
    fflush(stdout);
    uv_poll_t input;
    uv_poll_init(&loop, &input, 0);
    uv_poll_start(&input, UV_READABLE, on_input);
    uv_run(&loop, UV_RUN_DEFAULT);
    int left = uv_loop_close(&loop);
    printf("closed %llu of %llu\n", (unsigned long long)stats.closed, (unsigned long long)stats.opened);
    return left == 0 && stats.closed == stats.opened ? 0 : 1;
}
