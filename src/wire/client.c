/* client.c - see client.h. One easy handle, reset before each request; it keeps its connection. */
#include "wire/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "wire/curl_lib.h"

enum { CONNECT_MS = 5000, MAX_ANSWER = 64 << 20, BUFFER = 256 << 10 };

struct fg_client {
    char *url, *key;                             /* url without a last slash; key or NULL */
    bool loopback;
    const volatile sig_atomic_t *stop;
    CURL *easy;                                  /* NULL before the first request */
    const struct fg_curl *curl;
};

/* One request on its way. */
struct transfer {
    struct fg_client *client;
    const struct fg_client_request *request;
    struct fg_client_answer *answer;
    struct fg_lines lines;
    uint64_t sent;
    off_t send_from;                             /* offset of send_fd at first; -1 when it cannot be rewound */
    bool read_failed;
    int ended;                                   /* what line returned, when not 0 */
    struct fg_error *err;                        /* filled when ended is -1 */
};

/* ---- open and close ---- */

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 || (strncasecmp(host, "localhost", 9) == 0 && strchr(":/", host[9]) != NULL);
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return true;
    return false;
}

int fg_client_open(const char *url, const char *key, struct fg_client **ret, struct fg_error *err)
{
    size_t scheme = strncasecmp(url, "http://", 7) == 0 ? 7 : strncasecmp(url, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0 || url[scheme] == '\0' || has_control(url) || strpbrk(url, "?#@") != NULL) {
        fg_fail(err, FG_E_INVALID, "'%.120s' is no URL of a server", url);
        return fg_fail_hint(err, "it looks like http://127.0.0.1:8470");
    }
    if (key != NULL && (key[0] == '\0' || has_control(key)))
        return fg_fail(err, FG_E_INVALID, "the key is empty or holds blanks");
    struct fg_client *client = fg_alloc(sizeof *client);
    size_t n = strlen(url);
    while (n > scheme && url[n - 1] == '/')
        n--;
    client->url = fg_strndup(url, n);
    client->key = fg_strdup(key);
    client->loopback = is_loopback(url + scheme);
    *ret = client;
    return 0;
}

void fg_client_close(struct fg_client *client)
{
    if (client == NULL)
        return;
    if (client->easy != NULL)
        client->curl->easy_cleanup(client->easy);
    if (client->key != NULL)
        explicit_bzero(client->key, strlen(client->key));
    free(client->key);
    free(client->url);
    free(client);
}

void fg_client_stop_on(struct fg_client *client, const volatile sig_atomic_t *stop)
{
    client->stop = stop;
}

void fg_client_answer_fini(struct fg_client_answer *answer)
{
    if (answer != NULL)
        fg_str_fini(&answer->body);
}

/* ---- callbacks of libcurl ---- */

static size_t fail_transfer(struct transfer *t)
{
    t->ended = -1;
    return CURL_WRITEFUNC_ERROR;
}

static size_t keep_bytes(struct transfer *t, const char *data, size_t n)
{
    if (t->answer->body.len + n > MAX_ANSWER) {
        fg_fail(t->err, FG_E_TOO_LARGE, "the answer has more than %d bytes", MAX_ANSWER);
        return fail_transfer(t);
    }
    fg_str_add(&t->answer->body, data, n);
    return n;
}

static size_t on_data(char *data, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    long status = 0;
    t->client->curl->easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
    t->answer->taken += n;
    if (status >= 400 || t->request->take == FG_TAKE_BYTES)
        return keep_bytes(t, data, n);
    if (t->request->take == FG_TAKE_FD) {
        if (fg_write_all(t->request->take_fd, data, n) == 0)
            return n;
        fg_fail(t->err, FG_E_IO, "write what the server sent: %m");
        return fail_transfer(t);
    }
    t->ended = fg_lines_feed(&t->lines, data, n, t->err);
    return t->ended == 0 ? n : CURL_WRITEFUNC_ERROR;
}

static size_t on_read(char *buf, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    uint64_t left = t->request->send_size - t->sent;
    size_t want = FG_MIN((uint64_t)n, left);
    ssize_t got;
    do
        got = want > 0 ? read(t->request->send_fd, buf, want) : 0;
    while (got < 0 && errno == EINTR);
    if (got < 0 || (got == 0 && want > 0)) {
        t->read_failed = true;
        fg_fail(t->err, FG_E_IO, got < 0 ? "read the file to upload: %m" : "the file to upload became shorter meanwhile");
        return CURL_READFUNC_ABORT;
    }
    t->sent += (uint64_t)got;
    return (size_t)got;
}

/* libcurl rewinds to send again, e.g. when a kept connection turns out to be dead. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *t = arg;
    if (origin != SEEK_SET || t->send_from < 0 || lseek(t->request->send_fd, t->send_from + offset, SEEK_SET) < 0)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    const struct transfer *t = arg;
    return t->client->stop != NULL && *t->client->stop != 0;
}

static bool header_is(const char *line, size_t n, const char *name, char *ret, size_t size)
{
    size_t len = strlen(name);
    if (n <= len || line[len] != ':' || strncasecmp(line, name, len) != 0)
        return false;
    for (line += len + 1, n -= len + 1; n > 0 && (*line == ' ' || *line == '\t'); line++, n--)
        ;
    while (n > 0 && (unsigned char)line[n - 1] <= ' ')
        n--;
    snprintf(ret, size, "%.*s", (int)n, line);
    return true;
}

static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
    struct fg_client_answer *a = ((struct transfer *)arg)->answer;
    char text[24];
    if (header_is(line, n, "etag", a->etag, sizeof a->etag) || header_is(line, n, "location", a->location, sizeof a->location) ||
        header_is(line, n, "content-type", a->content_type, sizeof a->content_type) ||
        header_is(line, n, "x-request-id", a->request_id, sizeof a->request_id))
        return n;
    if (header_is(line, n, "retry-after", text, sizeof text))
        fg_parse_int(text, 0, 86400, &a->retry_after_s, NULL);
    return n;
}

/* ---- a request ---- */

static struct curl_slist *add_headers(const struct transfer *t)
{
    const struct fg_curl *curl = t->client->curl;
    const struct fg_client_request *r = t->request;
    struct curl_slist *list = NULL;
    FG_AUTO_STR struct fg_str line = {0};
    if (t->client->key != NULL) {
        fg_str_addf(&line, "Authorization: Bearer %s", t->client->key);
        list = curl->slist_append(list, line.data);
        explicit_bzero(line.data, line.len);
    }
    fg_str_clear(&line);
    if (r->send != FG_SEND_NOTHING) {
        const char *type = r->send == FG_SEND_BYTES ? "application/json" : "application/octet-stream";
        fg_str_addf(&line, "Content-Type: %s", r->content_type != NULL ? r->content_type : type);
        list = curl->slist_append(list, line.data);
    }
    FG_AUTO_FREE char *copy = fg_strdup(r->headers);
    char *rest = NULL;
    for (char *p = copy != NULL ? strtok_r(copy, "\n", &rest) : NULL; p != NULL; p = strtok_r(NULL, "\n", &rest))
        list = curl->slist_append(list, p);
    return list;
}

/* libcurl reads long, pointers and curl_off_t from its variable arguments: each value below has exactly that type. */
static void set_body(const struct transfer *t, const char *method)
{
    const struct fg_client_request *r = t->request;
    CURL *e = t->client->easy;
    __typeof__(&curl_easy_setopt) set = t->client->curl->easy_setopt;
    if (r->send == FG_SEND_FD) {
        set(e, CURLOPT_UPLOAD, 1L);
        set(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->send_size);
        set(e, CURLOPT_READFUNCTION, on_read);
        set(e, CURLOPT_READDATA, t);
        set(e, CURLOPT_SEEKFUNCTION, on_seek);
        set(e, CURLOPT_SEEKDATA, t);
    } else if (r->send == FG_SEND_BYTES || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        set(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(r->send == FG_SEND_BYTES ? r->len : 0));
        set(e, CURLOPT_POSTFIELDS, r->send == FG_SEND_BYTES ? (const char *)r->bytes : "");
    }
    if (strcmp(method, "HEAD") == 0)
        set(e, CURLOPT_NOBODY, 1L);
    else if (strcmp(method, "GET") != 0 || r->send != FG_SEND_NOTHING)
        set(e, CURLOPT_CUSTOMREQUEST, method);
}

static void set_up(struct transfer *t, const char *url, const struct curl_slist *headers)
{
    CURL *e = t->client->easy;
    __typeof__(&curl_easy_setopt) set = t->client->curl->easy_setopt;
    t->client->curl->easy_reset(e);
    set(e, CURLOPT_URL, url);
    set(e, CURLOPT_PROTOCOLS_STR, "http,https");
    set(e, CURLOPT_NOSIGNAL, 1L);
    set(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    set(e, CURLOPT_TIMEOUT_MS, (long)t->request->timeout_ms);
    set(e, CURLOPT_TCP_KEEPALIVE, 1L);
    set(e, CURLOPT_BUFFERSIZE, (long)BUFFER);
    set(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER);
    set(e, CURLOPT_USERAGENT, "fgpu");
    set(e, CURLOPT_HTTPHEADER, headers);
    set(e, CURLOPT_WRITEFUNCTION, on_data);
    set(e, CURLOPT_WRITEDATA, t);
    set(e, CURLOPT_HEADERFUNCTION, on_header);
    set(e, CURLOPT_HEADERDATA, t);
    set(e, CURLOPT_NOPROGRESS, 0L);
    set(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    set(e, CURLOPT_XFERINFODATA, t);
    if (t->client->loopback)
        set(e, CURLOPT_PROXY, "");               /* a proxy of the environment cannot reach our loopback */
    set_body(t, t->request->method != NULL ? t->request->method : "GET");
}

static int open_curl(struct fg_client *client, struct fg_error *err)
{
    if (client->easy != NULL)
        return 0;
    client->curl = fg_curl(err);
    if (client->curl == NULL)
        return -1;
    client->easy = client->curl->easy_init();
    return client->easy != NULL ? 0 : fg_fail(err, FG_E_NOMEM, "libcurl: out of memory");
}

static int fail_unreachable(const struct fg_client *client, const char *what, struct fg_error *err)
{
    fg_fail(err, FG_E_UNREACHABLE, "%s: %s", client->url, what);
    return client->loopback ? fg_fail_hint(err, "start it with `fgpu up`") : fg_fail_hint(err, "is the address right, and does the server run?");
}

static int fail_curl(struct transfer *t, CURLcode code, struct fg_error *err)
{
    const char *what = t->client->curl->easy_strerror(code);
    if (t->ended < 0 || t->read_failed)
        return -1;                               /* err is filled */
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        if (t->answer->status == 0 && t->request->timeout_ms == 0)
            return fail_unreachable(t->client, "no connection within 5 s", err);
        return fg_fail(err, FG_E_TIMEOUT, "no whole answer within %lld ms", (long long)t->request->timeout_ms);
    case CURLE_ABORTED_BY_CALLBACK: return fg_fail(err, FG_E_TIMEOUT, "interrupted");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return fg_fail(err, FG_E_INVALID, "%s: %s", t->client->url, what);
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE: return fail_unreachable(t->client, "the connection was lost before the whole answer came", err);
    case CURLE_COULDNT_CONNECT: return fail_unreachable(t->client, "no server answers there", err);
    default: return fail_unreachable(t->client, what, err);
    }
}

/* ---- what the server says is wrong ---- */

static enum fg_error_code code_of_status(int status)
{
    for (int code = FG_E_NONE + 1; code < FG_E_COUNT; code++)
        if (fg_error_info((enum fg_error_code)code)->http_status == status)
            return (enum fg_error_code)code;
    return status < 500 ? FG_E_INVALID : FG_E_INTERNAL;
}

static int fail_status(const struct fg_client_answer *answer, struct fg_error *err)
{
    FG_AUTO_JSON json_t *doc = fg_json_parse(fg_str_cstr(&answer->body), answer->body.len, NULL);
    const char *code = fg_json_str(doc, "code", NULL);
    if (code == NULL)
        return fg_fail(err, code_of_status(answer->status), "the server answered with status %d", answer->status);
    fg_fail(err, fg_error_code_by_name(code), "%s", fg_json_str(doc, "detail", fg_json_str(doc, "title", code)));
    const char *pointer = fg_json_str(json_array_get(json_object_get(doc, "errors"), 0), "pointer", NULL);
    const char *hint = fg_json_str(doc, "hint", NULL);
    if (pointer != NULL)
        fg_fail_at(err, "%s", pointer);
    return hint != NULL ? fg_fail_hint(err, "%s", hint) : -1;
}

static int finish(struct transfer *t, CURLcode code, struct fg_error *err)
{
    long status = 0;
    t->client->curl->easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
    t->answer->status = (int)status;
    if (t->ended > 0)
        return 0;
    if (code != CURLE_OK && !(status >= 400 && code == CURLE_SEND_ERROR))  /* refused before the body was all sent */
        return fail_curl(t, code, err);
    if (status >= 400)
        return fail_status(t->answer, err);
    return t->request->take == FG_TAKE_LINES && fg_lines_end(&t->lines, err) < 0 ? -1 : 0;
}

int fg_client_send(struct fg_client *client, const struct fg_client_request *request, struct fg_client_answer *ret, struct fg_error *err)
{
    struct fg_error unused;
    err = err != NULL ? err : &unused;
    *ret = (struct fg_client_answer){0};
    if (open_curl(client, err) < 0)
        return -1;
    struct transfer t = {.client = client, .request = request, .answer = ret, .err = err,
                         .lines = {.fn = request->line, .arg = request->line_arg},
                         .send_from = request->send == FG_SEND_FD ? lseek(request->send_fd, 0, SEEK_CUR) : -1};
    FG_AUTO_FREE char *url = fg_asprintf("%s%s", client->url, request->path);
    struct curl_slist *headers = add_headers(&t);
    set_up(&t, url, headers);
    CURLcode code = client->curl->easy_perform(client->easy);
    int result = finish(&t, code, err);
    client->curl->slist_free_all(headers);
    fg_lines_fini(&t.lines);
    return result;
}

void fg_client_escape(struct fg_str *out, const char *text)
{
    for (; *text != '\0'; text++) {
        bool plain = strchr("-._~", *text) != NULL || (*text >= '0' && *text <= '9') || ((*text | 0x20) >= 'a' && (*text | 0x20) <= 'z');
        if (plain)
            fg_str_add(out, text, 1);
        else
            fg_str_addf(out, "%%%02X", (unsigned char)*text);
    }
}
