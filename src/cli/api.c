/* api.c - requests with the user's address and key. */
#include "cli/api.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/credentials.h"

#define DEFAULT_TIMEOUT_MS 60000
#define PATIENCE_MS        60000

struct cli_api {
    struct cli_credentials who;
    struct fg_client *client;
};

void cli_api_destroy(struct cli_api *api)
{
    if (!api)
        return;
    fg_client_close(api->client);
    cli_credentials_fini(&api->who);
    free(api);
}

/* url NULL: the configured one. */
static int open_api(struct cli *cli, const char *url, struct fg_error *err)
{
    struct cli_api *api = fg_alloc(sizeof *api);
    const char *flag = url ? url : cli_text(cli->args, "url");
    if (cli_credentials_find(flag, cli_text(cli->args, "key-file"), &api->who, err) < 0 ||
        fg_client_open(api->who.url, api->who.key, &api->client, err) < 0) {
        cli_api_destroy(api);
        return -1;
    }
    cli_api_destroy(cli->api);
    cli->api = api;
    return 0;
}

int cli_api_url(struct cli *cli, const char **ret, struct fg_error *err)
{
    if (!cli->api && open_api(cli, NULL, err) < 0)
        return -1;
    *ret = cli->api->who.url;
    return 0;
}

const char *cli_api_key(struct cli *cli) { return cli->api ? cli->api->who.key : NULL; }
const char *cli_api_key_origin(struct cli *cli) { return cli->api ? cli->api->who.key_origin : NULL; }
struct fg_client *cli_api_client(struct cli *cli) { return cli->api->client; }
int cli_api_use(struct cli *cli, const char *url, struct fg_error *err) { return open_api(cli, url, err); }

static void explain(struct cli *cli, struct fg_error *err)
{
    bool found = err->code == FG_E_UNAUTHENTICATED && !cli->api->who.key;
    if (found || (err->code == FG_E_UNAUTHENTICATED && !*err->hint))
        fg_fail_hint(err, "'fgpu up' saves a key; --key-file or $FGPU_API_KEY give another.");
}

/* With an idempotency key a repeat is safe, so a short absence of the server is not the user's problem. */
static int send_retrying(struct cli *cli, const struct fg_client_request *request, bool again,
                         struct fg_client_answer *ret, struct fg_error *err)
{
    static const long pauses_ms[] = {200, 1000};
    for (size_t i = 0;; i++) {
        struct fg_error e = {0};
        if (fg_client_send(cli->api->client, request, ret, &e) == 0)
            return 0;
        if (!again || !fg_error_info(e.code)->retryable || i >= FG_COUNT(pauses_ms)) {
            explain(cli, &e);
            *err = e;
            return -1;
        }
        fg_client_answer_fini(ret);
        nanosleep(&(struct timespec){pauses_ms[i] / 1000, pauses_ms[i] % 1000 * 1000000}, NULL);
    }
}

int cli_send(struct cli *cli, const struct cli_request *req, struct fg_client_answer *ret, struct fg_error *err)
{
    struct fg_error unused;
    FG_AUTO_STR struct fg_str body = {0}, headers = {0};
    const char *url;
    err = err ? err : &unused;
    *ret = (struct fg_client_answer){0};
    if (cli_api_url(cli, &url, err) < 0)
        return -1;
    fg_str_addf(&headers, "Accept: %s", req->accept ? req->accept : "application/json");
    if (req->idempotency_key)
        fg_str_addf(&headers, "\nIdempotency-Key: %s", req->idempotency_key);
    struct fg_client_request request = {.method = req->method,
                                        .path = req->path,
                                        .headers = headers.data,
                                        .timeout_ms = req->timeout_ms ? req->timeout_ms : DEFAULT_TIMEOUT_MS};
    if (req->body) {
        fg_json_dump(req->body, &body);
        request.send = FG_SEND_BYTES;
        request.bytes = body.data;
        request.len = body.len;
    }
    fg_client_stop_on(cli->api->client, req->stop);
    return send_retrying(cli, &request, req->idempotency_key != NULL, ret, err);
}

int cli_call(struct cli *cli, const struct cli_request *req, json_t **ret, struct fg_error *err)
{
    struct fg_client_answer a;
    json_t *j = NULL;
    int rc = cli_send(cli, req, &a, err);
    if (rc == 0 && a.body.len > 0 && !(j = fg_json_parse(a.body.data, a.body.len, err)))
        rc = fg_fail_prefix(err, "the answer to %s %s", req->method, req->path);
    fg_client_answer_fini(&a);
    if (rc == 0 && ret)
        *ret = j ? fg_take_ptr(j) : json_object();
    json_decref(j);
    return rc;
}

int cli_get(struct cli *cli, const char *path, json_t **ret, struct fg_error *err)
{
    struct cli_request req = {.method = "GET", .path = path};
    return cli_call(cli, &req, ret, err);
}

int cli_post(struct cli *cli, const char *path, const json_t *body, json_t **ret, struct fg_error *err)
{
    struct cli_request req = {.method = "POST", .path = path, .body = body};
    return cli_call(cli, &req, ret, err);
}

/* --- following --- */

struct follower {
    int (*fn)(void *arg, const struct fg_sse_event *ev, struct fg_error *err);
    void *arg;
    char last_id[64];
    int rc; /* of fn */
    bool any;
};

static int on_event(void *arg, const struct fg_sse_event *ev, struct fg_error *err)
{
    struct follower *f = arg;
    snprintf(f->last_id, sizeof f->last_id, "%s", ev->id);
    f->any = true;
    return f->rc = f->fn(f->arg, ev, err);
}

static int64_t boot_ms(void)
{
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    return fg_boot(&clock) / 1000000;
}

/* The client outlives lost connections; here, streams that a stopping server ended properly are taken up again, too. */
int cli_follow(struct cli *cli, const char *path,
               int (*fn)(void *arg, const struct fg_sse_event *ev, struct fg_error *err), void *arg,
               const volatile sig_atomic_t *stop, struct fg_error *err)
{
    struct follower f = {.fn = fn, .arg = arg};
    const char *url;
    if (cli_api_url(cli, &url, err) < 0)
        return -1;
    fg_client_stop_on(cli->api->client, stop);
    bool ever = false;
    for (int64_t since = boot_ms();;) {
        struct fg_error e = {0};
        f.any = false;
        int rc = fg_client_follow(cli->api->client, path, *f.last_id ? f.last_id : NULL, PATIENCE_MS, on_event, &f, &e);
        if (f.rc > 0 || (stop && *stop))
            return 0;
        ever |= rc == 0 || f.any;
        since = rc == 0 || f.any ? boot_ms() : since;
        bool again =
            f.rc == 0 && ever && (rc == 0 || fg_error_info(e.code)->retryable) && boot_ms() - since < PATIENCE_MS;
        if (!again) {
            explain(cli, &e);
            *err = e;
            return -1;
        }
        nanosleep(&(struct timespec){0, 300000000}, NULL);
    }
}

void cli_query(struct fg_str *path, const char *key, const char *value)
{
    if (!value)
        return;
    fg_str_addf(path, "%c%s=", strchr(path->data, '?') ? '&' : '?', key);
    fg_client_escape(path, value);
}
