/* task_reads.c - what tells about tasks: get, list, result, why. Only what is on disk is told. */
#include <string.h>
#include "base/units.h"
#include "control/ended.h"
#include "control/json_out.h"
#include "control/routes.h"
#include "control/task_view.h"

#define LIST_DEFAULT 50
#define LIST_MAX 1000
#define LABEL_SCAN_MAX 1000              /* rows a list by label looks at before it hands back a cursor: 25 ms of the loop */

static void run_again(struct fg_call *call, const struct fg_error *err)
{
    fg_http_request_route(call->req)->handler(call->req, call->server);
}

/* True: the call was held until the task ended or its time is up, and its handler runs again. */
static bool hold_until_end(struct fg_call *call, const struct fg_found *found)
{
    struct fg_error err;
    if (fg_wait_asked(call, &call->deadline_ns, &err)) {
        fg_answer_fail(call, &err);
        return true;
    }
    if (fg_state_is_terminal(found->task->state) || call->deadline_ns <= fg_server_now(call->server))
        return false;
    fg_wait_task(call, found->task->id, call->deadline_ns, run_again);
    return true;
}

/* --- get --- */

/* Of what changes a task, not of the answer: "waiting for 3 s" is no change. */
static void etag_of(const struct fg_task *t, char ret[24])
{
    const int64_t parts[] = {(int64_t)t->id.lo, t->state, t->reason, t->class, t->attempt, t->held, t->cancel_requested, t->settled,
                             t->usage.seq, t->cost_nanousd, t->queued_ns, t->placed_ns, t->started_ns, t->finished_ns};
    uint64_t hash = 1469598103934665603u;
    const unsigned char *p = (const unsigned char *)parts;
    for (size_t i = 0; i < sizeof parts; i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    snprintf(ret, 24, "\"%016llx\"", (unsigned long long)hash);
}

static void answer_task(struct fg_call *call, const char *etag, const struct fg_str *body)
{
    char extra[48];
    snprintf(extra, sizeof extra, "ETag: %s\n", etag);
    const char *known = fg_http_header(call->req, "If-None-Match");
    bool same = known && (!strcmp(known, "*") || strstr(known, etag));
    fg_answer_json(call, same ? 304 : 200, same ? &(struct fg_str){0} : body, extra);
}

static bool answer_ended(struct fg_call *call)
{
    fg_id id;
    const struct fg_ended_answer *kept = fg_id_parse(fg_http_param(call->req, "id"), "tsk", &id)
                                             ? fg_ended_get(call->server->ended, id, call->tenant) : NULL;
    if (kept)
        answer_task(call, kept->etag, &kept->body);
    return kept;
}

void fg_route_task_get(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_found found;
    if (answer_ended(call) || fg_call_task(call, &found))
        return;
    if (!hold_until_end(call, &found)) {
        FG_AUTO_STR struct fg_str out = {0};
        char etag[24];
        etag_of(found.task, etag);
        fg_out_task(&out, NULL, call->server, &found);
        if (found.task == &found.loaded && found.task->settled && call->server->core)    /* without it names are missing */
            fg_ended_put(call->server->ended, found.task->id, call->tenant, etag, &out);
        answer_task(call, etag, &out);
    }
    fg_found_fini(&found);
}

/* --- result --- */

void fg_route_task_result(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    struct fg_found found;
    if (fg_call_task(call, &found))
        return;
    if (!hold_until_end(call, &found)) {
        FG_AUTO_STR struct fg_str out = {0};
        bool ended = fg_state_is_terminal(found.task->state);
        if (ended)
            fg_out_result(&out, call->server, &found);
        else
            fg_out_task(&out, NULL, call->server, &found);
        fg_answer_json(call, ended ? 200 : 202, &out, ended ? NULL : "Retry-After: 1\n");
    }
    fg_found_fini(&found);
}

/* --- list --- */

struct page { FG_VEC(struct fg_found) rows; };

static int take_row(void *arg, const struct fg_store_task *row, struct fg_error *err)
{
    struct page *page = arg;
    struct fg_found *f = fg_vec_add(&page->rows);
    if (fg_task_decode(row->doc, strlen(row->doc), &f->loaded, err))
        return -1;
    f->loaded.id = row->id;
    f->loaded.tenant = row->tenant;
    return 0;
}

static void page_clear(struct page *page)
{
    for (size_t i = 0; i < page->rows.count; i++)
        fg_found_fini(&page->rows.items[i]);
    page->rows.count = 0;
}

static int bad_query(struct fg_error *err, const char *name, const char *hint)
{
    fg_fail_at(err, "?%s", name);
    return hint ? fg_fail_hint(err, "%s", hint) : -1;
}

static int list_query(struct fg_call *call, struct fg_store_list *what, size_t *ret_limit, struct fg_error *err)
{
    struct fg_http_request *req = call->req;
    const char *state = fg_http_query(req, "state"), *limit = fg_http_query(req, "limit"), *cursor = fg_http_query(req, "cursor");
    *what = (struct fg_store_list){.tenant = call->tenant, .state = -1, .name = fg_http_query(req, "name")};
    int64_t n = LIST_DEFAULT;
    if (state && (what->state = fg_state_by_name(state)) < 0) {
        fg_fail(err, FG_E_INVALID, "'%.40s' is not a state", state);
        return bad_query(err, "state", "queued, starting, running, succeeded, failed, canceled or expired");
    }
    if (limit && fg_parse_int(limit, 1, LIST_MAX, &n, err))
        return bad_query(err, "limit", "1 to 1000");
    if (cursor && !fg_id_parse(cursor, "tsk", &what->before)) {
        fg_fail(err, FG_E_INVALID, "'%.60s' is not a cursor", cursor);
        return bad_query(err, "cursor", "give back next_cursor as it was");
    }
    *ret_limit = (size_t)n;
    return 0;
}

/* label=KEY or label=KEY=VALUE. */
static bool has_label(const char *spec, const char *label)
{
    FG_AUTO_JSON json_t *object = json_loads(spec, 0, NULL);
    const char *equals = strchr(label, '=');
    FG_AUTO_FREE char *key = fg_strndup(label, equals ? (size_t)(equals - label) : strlen(label));
    const char *value = fg_json_str(json_object_get(object, "labels"), key, NULL);
    return value && (!equals || !strcmp(value, equals + 1));
}

/* Append the rows of one page of the store; stops when limit are told. Returns how many were; the last row looked at is in
 * what->before. */
static size_t put_page(struct fg_server *s, struct fg_str *out, struct fg_store_list *what, struct page *page, const char *label, size_t limit)
{
    size_t told = 0;
    for (size_t i = 0; i < page->rows.count && told < limit; i++) {
        struct fg_found *f = &page->rows.items[i];
        f->task = &f->loaded;            /* here, not in take_row: the array moves while it grows */
        what->before = f->loaded.id;
        if (label && !has_label(fg_found_spec(s, f), label))
            continue;
        fg_out_task(out, NULL, s, f);
        told++;
    }
    return told;
}

static int list(struct fg_call *call, struct fg_error *err)
{
    struct fg_store_list what;
    size_t limit = 0, told = 0, seen = 0;
    const char *label = fg_http_query(call->req, "label");
    if (list_query(call, &what, &limit, err))
        return -1;
    FG_AUTO_STR struct fg_str out = {0};
    fg_out_open(&out, NULL, '{');
    fg_out_open(&out, "tasks", '[');
    struct page page = {0};
    bool more = true;
    int rc = 0;
    while (more && told < limit && seen < LABEL_SCAN_MAX && !rc) {
        what.limit = label ? LIST_MAX : limit - told + 1;
        rc = fg_store_task_list(call->server->store, &what, take_row, &page, err);
        size_t n = page.rows.count;
        seen += n;
        if (!rc)
            told += put_page(call->server, &out, &what, &page, label, limit - told);
        more = n && (!fg_id_eq(what.before, page.rows.items[n - 1].loaded.id) || (label && n == what.limit));
        page_clear(&page);
    }
    fg_vec_fini(&page.rows);
    if (rc)
        return -1;
    fg_out_close(&out, ']');
    fg_out_id(&out, "next_cursor", "tsk", more ? what.before : FG_ID_NONE);
    fg_out_close(&out, '}');
    fg_answer_json(call, 200, &out, NULL);
    return 0;
}

void fg_route_task_list(struct fg_http_request *req, void *arg)
{
    struct fg_error err;
    if (list(fg_call_of(req), &err))
        fg_answer_fail(fg_call_of(req), &err);
}
