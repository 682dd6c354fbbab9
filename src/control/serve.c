/* serve.c - start, run and stop the server; what belongs to no route. */
#include "control/serve.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"
#include "control/auth.h"
#include "control/blob_sink.h"
#include "control/catalogue.h"
#include "control/ended.h"
#include "store/blob.h"
#include "control/keep.h"
#include "control/log_files.h"
#include "control/metrics.h"
#include "control/nodes.h"
#include "control/routes.h"
#include "control/stream.h"
#include "control/task_view.h"

int64_t fg_server_now(struct fg_server *s) { return fg_now(&s->clock); }

int fg_server_writable(struct fg_server *s, struct fg_error *err)
{
    if (!s->core) {
        *err = s->down;
        return -1;
    }
    int64_t now = fg_server_now(s);
    if (now - s->free_checked_ns > FG_NS_PER_S / 5) {
        struct statvfs fs;
        uint64_t floor = (uint64_t)fg_config_int(s->config, "min_free_bytes");
        s->free_low = statvfs(s->data_dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < floor;
        s->free_checked_ns = now;
    }
    if (!s->free_low)
        return 0;
    char floor[32];
    fg_fail(err, FG_E_STORAGE_FULL, "the disk of the data folder has less than %s free",
            fg_format_bytes(floor, sizeof floor, (uint64_t)fg_config_int(s->config, "min_free_bytes")));
    return fg_fail_hint(err, "free disk space in the data folder, or lower min_free_bytes");
}

/* --- HTTP's side of a call --- */

const struct fg_http_route fg_routes[] = {
#define X(NAME, method, path, scope, body, query, doc) {#NAME, method, path, scope, body, query, fg_route_##NAME},
    FG_ROUTE_LIST(X)
#undef X
};
const size_t fg_route_count = FG_COUNT(fg_routes);

static int on_authorize(struct fg_http_request *req, const struct fg_http_route *route, void *arg, struct fg_error *err)
{
    struct fg_call *call = fg_alloc(sizeof *call);
    call->server = arg;
    call->req = req;
    *fg_http_request_user(req) = call;
    return fg_auth_check(call, route->scope, err);
}

static void on_close(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    if (!call)
        return;
    fg_link_leave(&call->link);
    if (call->drop)
        call->drop(call->state);
    free(call);
    *fg_http_request_user(req) = NULL;
}

static void on_answer(struct fg_http_request *req, int status, int64_t took_ns, void *arg)
{
    const struct fg_http_route *route = fg_http_request_route(req);
    fg_metrics_answer(arg, route ? (size_t)(route - fg_routes) : fg_route_count, status, took_ns);
}

static int split_listen(const char *listen, char address[64], uint16_t *ret_port, struct fg_error *err)
{
    const char *colon = strrchr(listen, ':');
    int64_t port;
    if (!colon || colon == listen || (size_t)(colon - listen) >= 64)
        return fg_fail(err, FG_E_INVALID, "listen '%s' is not ADDRESS:PORT", listen);
    if (fg_parse_int(colon + 1, 0, 65535, &port, err))
        return fg_fail_prefix(err, "listen '%s'", listen);
    bool bracket = listen[0] == '[' && colon[-1] == ']';
    snprintf(address, 64, "%.*s", (int)(colon - listen) - 2 * bracket, listen + bracket);
    *ret_port = (uint16_t)port;
    return 0;
}

static int start_http(struct fg_server *s, struct fg_error *err)
{
    char address[64];
    uint16_t port = 0;
    if (split_listen(fg_config_str(s->config, "listen"), address, &port, err))
        return -1;
    size_t max_body = (size_t)fg_config_int(s->config, "max_body_bytes");
    struct fg_http_config config = {
        .address = address, .port = port, .max_body_bytes = max_body, .max_batch_bytes = 32 * max_body,
        .routes = fg_routes, .route_count = fg_route_count, .authorize = on_authorize, .sink = fg_blob_sink,
        .on_close = on_close, .on_answer = on_answer, .arg = s};
    if (fg_http_start(&s->loop, &config, &s->http, err))
        return -1;
    s->url = fg_asprintf(strchr(address, ':') ? "http://[%s]:%u" : "http://%s:%u", address, fg_http_port(s->http));
    return 0;
}

/* --- the loop's handles --- */

/* What a turn performs may open the next one (an agent turned out to be gone): it must not wait for the next event. */
static void on_turn_prepare(uv_prepare_t *handle)
{
    struct fg_server *s = handle->data;
    for (int i = 0; i < 8 && s->turn; i++)
        fg_turn_end(s);
}
static void on_turn_check(uv_check_t *handle) { fg_turn_end(handle->data); }

static void on_tick(uv_timer_t *timer)
{
    struct fg_server *s = timer->data;
    struct fg_error err;
    struct fg_input in = {.kind = FG_IN_TICK};
    if (fg_turn_input(s, &in, &err))
        fg_log_error("tick: %s", err.text);
}

static void on_heartbeat(uv_timer_t *timer)
{
    struct fg_server *s = timer->data;
    fg_nodes_tick(s, fg_server_now(s));
    fg_keep_tick(s, fg_server_now(s));
    if (++s->seconds % 15 == 0)
        fg_streams_heartbeat(timer);
}

static void on_store(uv_poll_t *handle, int status, int events)
{
    struct fg_server *s = handle->data;
    fg_store_poll(s->store);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct fg_server *s = handle->data;
    fg_log_info("signal %d: stopping", signum);
    s->stopping = true;
    uv_stop(&s->loop);
}

static void start_handles(struct fg_server *s)
{
    uv_signal_init(&s->loop, &s->on_term);
    uv_signal_init(&s->loop, &s->on_int);
    uv_prepare_init(&s->loop, &s->prepare);
    uv_check_init(&s->loop, &s->check);
    uv_timer_init(&s->loop, &s->tick);
    uv_timer_init(&s->loop, &s->wait_timer);
    uv_timer_init(&s->loop, &s->heartbeat);
    uv_timer_init(&s->loop, &s->retry);
    uv_handle_t *handles[] = {(uv_handle_t *)&s->on_term, (uv_handle_t *)&s->on_int, (uv_handle_t *)&s->prepare,
                              (uv_handle_t *)&s->check, (uv_handle_t *)&s->tick, (uv_handle_t *)&s->wait_timer,
                              (uv_handle_t *)&s->heartbeat, (uv_handle_t *)&s->retry};
    for (size_t i = 0; i < FG_COUNT(handles); i++)
        handles[i]->data = s;
    uv_signal_start(&s->on_term, on_signal, SIGTERM);
    uv_signal_start(&s->on_int, on_signal, SIGINT);
    uv_prepare_start(&s->prepare, on_turn_prepare);
    uv_check_start(&s->check, on_turn_check);
    uv_timer_start(&s->tick, on_tick, 0, 0);     /* armed again by each turn */
    uv_timer_start(&s->heartbeat, on_heartbeat, 1000, 1000);
    signal(SIGPIPE, SIG_IGN);
}

/* --- start and stop --- */

static char *data_folder(const struct fg_config *config)
{
    const char *set = fg_config_str(config, "data_dir");
    if (set && *set)
        return fg_strdup(set);
    const char *base = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    return base && *base ? fg_path_join(base, "fastgpu") : fg_asprintf("%s/.local/share/fastgpu", home ? home : ".");
}

/* One server to a data folder; the lock goes with the process. */
static int lock_data(struct fg_server *s, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(s->data_dir, "server.lock");
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return fg_fail(err, FG_E_IO, "open '%s': %m", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    fg_fail(err, FG_E_CONFLICT, "another server runs on '%s'", s->data_dir);
    return fg_fail_hint(err, "stop it first, or give another data_dir");
}

static int make_folders(struct fg_server *s, struct fg_error *err)
{
    s->data_dir = data_folder(s->config);
    s->blob_dir = fg_path_join(s->data_dir, "blobs");
    s->log_dir = fg_path_join(s->data_dir, "logs");
    if (fg_mkdir_p(s->data_dir, 0700, err) || fg_mkdir_p(s->blob_dir, 0700, err) || fg_mkdir_p(s->log_dir, 0700, err))
        return -1;
    return lock_data(s, err);
}

static int write_ready(struct fg_server *s, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(s->data_dir, "server.json");
    FG_AUTO_FREE char *text = fg_asprintf("{\"url\":\"%s\",\"pid\":%d}\n", s->url, (int)getpid());
    return fg_write_file_atomic(path, text, strlen(text), 0600, err);
}

static int start(struct fg_server *s, struct fg_error *err)
{
    if (make_folders(s, err))
        return -1;
    FG_AUTO_FREE char *db = fg_path_join(s->data_dir, "fgpu.db");
    s->ended = fg_ended_create();
    size_t cut_short = 0;
    if (fg_blob_clean(s->blob_dir, &cut_short, err))
        return -1;
    if (cut_short)
        fg_log_info("%zu upload(s) that a crash had cut short are removed", cut_short);
    if (fg_store_open(db, &s->store, err) || fg_catalogue_open(s, err))
        return -1;
    s->logs = fg_logs_create(s->log_dir);
    s->keep = fg_keep_create(s->config);
    s->auth = fg_auth_create();
    s->metrics = fg_metrics_create();
    if (fg_server_load(s, err) || start_http(s, err) || fg_nodes_start(s, err) || fg_auth_first_start(s, err))
        return -1;
    int rc = uv_poll_init(&s->loop, &s->store_poll, fg_store_fd(s->store));
    if (rc)
        return fg_fail(err, FG_E_INTERNAL, "watch the store: %s", uv_strerror(rc));
    s->store_poll.data = s;
    uv_poll_start(&s->store_poll, UV_READABLE, on_store);
    return write_ready(s, err);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* What is under way is committed and answered; then everything closes. */
static void stop(struct fg_server *s)
{
    s->stopping = true;
    if (s->data_dir && s->url) {
        FG_AUTO_FREE char *path = fg_path_join(s->data_dir, "server.json");
        unlink(path);
    }
    fg_turn_end(s);
    if (s->store)
        fg_store_flush(s->store);
    if (s->http)
        fg_http_stop(s->http);
    fg_nodes_stop(s);
    fg_turn_end(s);                      /* agents gone */
    if (s->store)
        fg_store_flush(s->store);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    uv_walk(&s->loop, close_handle, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    fg_nodes_destroy(s);
    fg_store_close(s->store);
    fg_core_destroy(s->core);
    fg_effects_fini(&s->fx);
    fg_keep_destroy(s->keep);
    fg_logs_destroy(s->logs);
    fg_catalogue_close(s);
    fg_ended_destroy(s->ended);
    fg_auth_destroy(s->auth);
    fg_metrics_destroy(s->metrics);
    fg_labels_destroy(s->labels);
    uv_loop_close(&s->loop);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->data_dir);
    free(s->blob_dir);
    free(s->log_dir);
    free(s->url);
    free(s);
}

int fg_serve_main(const struct fg_config *config, struct fg_error *err)
{
    struct fg_server *s = fg_alloc(sizeof *s);
    s->config = config;
    s->lock_fd = -1;
    fg_clock_init_real(&s->clock);
    s->started_ns = fg_server_now(s);
    fg_list_init(&s->committing);
    fg_list_init(&s->streams);
    for (size_t i = 0; i < FG_WAIT_BUCKETS; i++)
        fg_list_init(&s->waits[i]);
    int rc = uv_loop_init(&s->loop);
    if (rc) {
        free(s);
        return fg_fail(err, FG_E_INTERNAL, "event loop: %s", uv_strerror(rc));
    }
    start_handles(s);
    rc = start(s, err);
    if (!rc) {
        fg_log_info("ready at %s (%lld ms)", s->url, (long long)((fg_server_now(s) - s->started_ns) / 1000000));
        uv_run(&s->loop, UV_RUN_DEFAULT);
    }
    stop(s);
    return rc;
}
