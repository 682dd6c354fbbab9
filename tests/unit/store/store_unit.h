/* store_unit.h - a store in a fresh folder, and batches with little text, for the tests of this folder. */
#pragma once
#include <poll.h>
#include "base/io.h"
#include "base/mem.h"
#include "store/store.h"
#include <errno.h>
#include <pthread.h>
#include "unit.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)
static const fg_id alice = {1, 1}, bob = {1, 2};

/* Ids in the order of n. */
static inline fg_id task_id(uint64_t n) { return (fg_id){0x0190000000000000, n}; }

struct unit_store { char folder[200], path[240]; struct fg_store *store; };

static inline void unit_open(struct unit_store *u)
{
    struct fg_error err;
    assert_ok(fg_store_open(u->path, &u->store, &err), err);
}

static inline void unit_begin(struct unit_store *u)
{
    unit_folder(u->folder, sizeof u->folder);
    snprintf(u->path, sizeof u->path, "%s/fgpu.db", u->folder);
    unit_open(u);
}

static inline void unit_close(struct unit_store *u)
{
    fg_store_close(u->store);
    u->store = NULL;
}

static inline void unit_end(struct unit_store *u)
{
    struct fg_error err;
    unit_close(u);
    assert_ok(fg_store_check(u->path, NULL, &err), err);
    assert_ok(fg_remove_tree(u->folder, &err), err);
}

static inline void put_event(struct fg_store_batch *batch, uint64_t seq, fg_id task, fg_id tenant, const char *body)
{
    fg_vec_push(&batch->events, (struct fg_store_event){ .seq = seq, .time_ns = (int64_t)seq * SECOND, .task = task, .tenant = tenant,
                .attempt = 1, .kind = 3, .body = fg_strdup(body) });
}

static inline struct fg_store_task *put_task(struct fg_store_batch *batch, fg_id id, fg_id tenant, int state)
{
    struct fg_store_task *task = fg_vec_add(&batch->tasks);
    *task = (struct fg_store_task){ .id = id, .tenant = tenant, .state = state, .submitted_ns = 5, .type = 1,
                                    .doc = fg_asprintf("{\"state\":%d}", state) };
    return task;
}

static inline void put_aux(struct fg_store_batch *batch, const char *key, const char *doc)
{
    fg_vec_push(&batch->aux, (struct fg_store_aux){ fg_strdup(key), fg_strdup(doc) });
}

/* What became of a batch. */
struct outcome { int calls; struct fg_error err; };

static inline void note_outcome(void *arg, struct fg_store_batch *batch, const struct fg_error *err)
{
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->err = err ? *err : (struct fg_error){0};
    fg_store_batch_destroy(batch);
}

/* Write one batch and wait for it. */
static inline struct fg_error commit(struct unit_store *u, struct fg_store_batch *batch)
{
    struct outcome outcome = {0};
    batch->done = note_outcome;
    batch->arg = &outcome;
    fg_store_write(u->store, batch);
    fg_store_flush(u->store);
    assert_int_equal(outcome.calls, 1);
    return outcome.err;
}

static inline void commit_ok(struct unit_store *u, struct fg_store_batch *batch)
{
    struct fg_error err = commit(u, batch);
    if (err.code)
        fail_msg("commit: %s", err.text);
}

/* One line per row read: what the tests compare. */
static inline int print_task(void *arg, const struct fg_store_task *row, struct fg_error *err)
{
    struct fg_str *out = arg;
    fg_str_addf(out, "%s%d:s%d", out->len ? " " : "", (int)row->id.lo, row->state);
    if (row->spec)
        fg_str_addf(out, ":%s", row->spec);
    return 0;
}

static inline int print_event(void *arg, const struct fg_store_event *ev, struct fg_error *err)
{
    struct fg_str *out = arg;
    fg_str_addf(out, "%s%d:%s", out->len ? " " : "", (int)ev->seq, ev->body);
    return 0;
}

static inline int print_aux(void *arg, const char *key, const char *doc, struct fg_error *err)
{
    struct fg_str *out = arg;
    fg_str_addf(out, "%s%s=%s", out->len ? " " : "", key, doc);
    return 0;
}

#define assert_live(u, want)                                                                                           \
    do {                                                                                                               \
        FG_AUTO_STR struct fg_str out_ = {0};                                                                          \
        struct fg_error err_;                                                                                          \
        assert_ok(fg_store_load_live((u)->store, print_task, &out_, &err_), err_);                                     \
        assert_string_equal(fg_str_cstr(&out_), want);                                                                 \
    } while (0)

#define assert_events(u, tenant, task, after, limit, want)                                                             \
    do {                                                                                                               \
        FG_AUTO_STR struct fg_str out_ = {0};                                                                          \
        struct fg_error err_;                                                                                          \
        assert_ok(fg_store_events((u)->store, tenant, task, after, limit, print_event, &out_, &err_), err_);           \
        assert_string_equal(fg_str_cstr(&out_), want);                                                                 \
    } while (0)
