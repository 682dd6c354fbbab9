/* read.c - what the loop thread reads through its own connection. Rows go to the caller's function as they come, their
 * strings are SQLite's: no copies. */
#include <stdio.h>
#include "store/internal.h"
#include "base/log.h"

static sqlite3_int64 as_limit(size_t limit)
{
    return limit > INT64_MAX ? INT64_MAX : (sqlite3_int64)limit;
}

/* The statement is stepped to its end or to the first -1 of fn; either way it is reset. */
typedef int row_fn(sqlite3_stmt *stmt, void *arg, struct fg_error *err);
static int for_rows(struct fg_db *db, enum fg_sql sql, row_fn *fn, void *arg, struct fg_error *err)
{
    int rc;
    while ((rc = fg_db_step(db, sql, err)) == 1)
        if (fn(db->stmts[sql], arg, err) < 0) {
            fg_db_reset(db, sql);
            return -1;
        }
    return rc;
}

/* --- tasks --- */

struct task_reader { fg_store_task_fn *fn; void *arg; size_t rows; };

/* The columns of FG_SQL_TASK, and the spec where the statement has it. fn gets the row as const. */
static int task_row(sqlite3_stmt *stmt, void *arg, struct fg_error *err)
{
    struct task_reader *reader = arg;
    struct fg_store_task row = {
        .id = fg_db_column_id(stmt, 0),
        .tenant = fg_db_column_id(stmt, 1),
        .state = sqlite3_column_int(stmt, 2),
        .settled = sqlite3_column_int(stmt, 3) != 0,
        .submitted_ns = sqlite3_column_int64(stmt, 4),
        .finished_ns = sqlite3_column_int64(stmt, 5),
        .type = sqlite3_column_int(stmt, 6),
        .cost_nanousd = sqlite3_column_int64(stmt, 7),
        .name = (char *)fg_db_column_text(stmt, 8),
        .model = (char *)fg_db_column_text(stmt, 9),
        .doc = (char *)fg_db_column_text(stmt, 10),
        .spec = sqlite3_column_count(stmt) > 11 ? (char *)fg_db_column_text(stmt, 11) : NULL,
    };
    reader->rows++;
    return reader->fn(reader->arg, &row, err);
}

int fg_store_load_live(struct fg_store *store, fg_store_task_fn *fn, void *arg, struct fg_error *err)
{
    struct task_reader reader = { fn, arg, 0 };
    if (!fg_db_stmt(&store->reader, FG_SQL_LIVE, err))
        return -1;
    return for_rows(&store->reader, FG_SQL_LIVE, task_row, &reader, err);
}

int fg_store_task_get(struct fg_store *store, fg_id id, fg_store_task_fn *fn, void *arg, struct fg_error *err)
{
    struct task_reader reader = { fn, arg, 0 };
    struct fg_db *db = &store->reader;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_TASK_GET, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, id);
    if (for_rows(db, FG_SQL_TASK_GET, task_row, &reader, err) < 0)
        return -1;
    char text[FG_ID_TEXT];
    return reader.rows ? 0 : fg_fail(err, FG_E_NOT_FOUND, "no task %s", fg_id_format(text, "tsk", id));
}

int fg_store_task_list(struct fg_store *store, const struct fg_store_list *what, fg_store_task_fn *fn, void *arg, struct fg_error *err)
{
    struct task_reader reader = { fn, arg, 0 };
    struct fg_db *db = &store->reader;
    enum fg_sql sql = fg_id_is_none(what->tenant) ? FG_SQL_LIST_ALL : what->name ? FG_SQL_LIST_NAME
                    : what->state >= 0 ? FG_SQL_LIST_STATE : FG_SQL_LIST;
    sqlite3_stmt *stmt = fg_db_stmt(db, sql, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, fg_id_is_none(what->before) ? (fg_id){UINT64_MAX, UINT64_MAX} : what->before);
    sqlite3_bind_int64(stmt, 2, as_limit(what->limit));
    if (sql != FG_SQL_LIST_ALL)
        fg_db_bind_id(db, stmt, 3, what->tenant);
    if (sql != FG_SQL_LIST)
        sqlite3_bind_int(stmt, 4, what->state);
    if (sql == FG_SQL_LIST_ALL || sql == FG_SQL_LIST_NAME)
        fg_db_bind_text(stmt, 5, what->name);
    return for_rows(db, sql, task_row, &reader, err);
}

/* --- the log and the documents --- */

struct event_reader { fg_store_event_fn *fn; void *arg; };

static int event_row(sqlite3_stmt *stmt, void *arg, struct fg_error *err)
{
    struct event_reader *reader = arg;
    struct fg_store_event row = {
        .seq = (uint64_t)sqlite3_column_int64(stmt, 0),
        .time_ns = sqlite3_column_int64(stmt, 1),
        .kind = sqlite3_column_int(stmt, 2),
        .attempt = (uint32_t)sqlite3_column_int64(stmt, 3),
        .task = fg_db_column_id(stmt, 4),
        .tenant = fg_db_column_id(stmt, 5),
        .body = (char *)fg_db_column_text(stmt, 6),
    };
    return reader->fn(reader->arg, &row, err);
}

int fg_store_events(struct fg_store *store, fg_id tenant, fg_id task, uint64_t after_seq, size_t limit, fg_store_event_fn *fn, void *arg, struct fg_error *err)
{
    struct event_reader reader = { fn, arg };
    struct fg_db *db = &store->reader;
    enum fg_sql sql = !fg_id_is_none(task) ? FG_SQL_EVENTS_OF_TASK : !fg_id_is_none(tenant) ? FG_SQL_EVENTS_OF_TENANT : FG_SQL_EVENTS;
    sqlite3_stmt *stmt = fg_db_stmt(db, sql, err);
    if (!stmt)
        return -1;
    sqlite3_bind_int64(stmt, 1, after_seq > INT64_MAX ? INT64_MAX : (sqlite3_int64)after_seq);
    sqlite3_bind_int64(stmt, 2, as_limit(limit));
    if (sql != FG_SQL_EVENTS)
        fg_db_bind_id(db, stmt, 3, tenant);
    if (sql == FG_SQL_EVENTS_OF_TASK)
        fg_db_bind_id(db, stmt, 4, task);
    return for_rows(db, sql, event_row, &reader, err);
}

int fg_store_last(struct fg_store *store, uint64_t *ret_seq, int64_t *ret_time_ns, struct fg_error *err)
{
    struct fg_db *db = &store->reader;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_LAST_EVENT, err);
    int rc = stmt ? fg_db_step(db, FG_SQL_LAST_EVENT, err) : -1;
    if (rc < 0)
        return -1;
    *ret_seq = rc ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    *ret_time_ns = rc ? sqlite3_column_int64(stmt, 1) : 0;
    fg_db_reset(db, FG_SQL_LAST_EVENT);
    return 0;
}

struct aux_reader { fg_store_aux_fn *fn; void *arg; };

static int aux_row(sqlite3_stmt *stmt, void *arg, struct fg_error *err)
{
    struct aux_reader *reader = arg;
    return reader->fn(reader->arg, fg_db_column_text(stmt, 0), fg_db_column_text(stmt, 1), err);
}

int fg_store_load_aux(struct fg_store *store, fg_store_aux_fn *fn, void *arg, struct fg_error *err)
{
    struct aux_reader reader = { fn, arg };
    if (!fg_db_stmt(&store->reader, FG_SQL_AUX_ALL, err))
        return -1;
    return for_rows(&store->reader, FG_SQL_AUX_ALL, aux_row, &reader, err);
}

bool fg_store_idempotent(struct fg_store *store, fg_id tenant, const char *key, fg_id *ret_task, char ret_body[65])
{
    struct fg_db *db = &store->reader;
    struct fg_error err;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_IDEMPOTENT, &err);
    if (!stmt)
        goto fail;
    fg_db_bind_id(db, stmt, 1, tenant);
    fg_db_bind_text(stmt, 2, key);
    int rc = fg_db_step(db, FG_SQL_IDEMPOTENT, &err);
    if (rc < 0)
        goto fail;
    if (rc == 1) {
        *ret_task = fg_db_column_id(stmt, 0);
        snprintf(ret_body, 65, "%s", fg_db_column_text(stmt, 1));
        fg_db_reset(db, FG_SQL_IDEMPOTENT);
    }
    return rc == 1;
fail:
    fg_log_error("look up an idempotency key: %s", err.text);
    return false;
}

/* --- usage --- */

struct sum_reader { void (*fn)(void *arg, const struct fg_store_sum *sum); void *arg; };

static int sum_row(sqlite3_stmt *stmt, void *arg, struct fg_error *err)
{
    struct sum_reader *reader = arg;
    struct fg_store_sum sum = {
        .type = sqlite3_column_int(stmt, 0),
        .state = sqlite3_column_int(stmt, 1),
        .tasks = sqlite3_column_int64(stmt, 3),
        .cost_nanousd = sqlite3_column_int64(stmt, 4),
        .run_ns = sqlite3_column_int64(stmt, 5),
        .device_ns = sqlite3_column_int64(stmt, 6),
    };
    snprintf(sum.model, sizeof sum.model, "%s", fg_db_column_text(stmt, 2));
    reader->fn(reader->arg, &sum);
    return 0;
}

int fg_store_usage(struct fg_store *store, fg_id tenant, int64_t from_ns, int64_t to_ns, void (*fn)(void *arg, const struct fg_store_sum *sum), void *arg, struct fg_error *err)
{
    struct sum_reader reader = { fn, arg };
    struct fg_db *db = &store->reader;
    enum fg_sql sql = fg_id_is_none(tenant) ? FG_SQL_USAGE_ALL : FG_SQL_USAGE;
    sqlite3_stmt *stmt = fg_db_stmt(db, sql, err);
    if (!stmt)
        return -1;
    sqlite3_bind_int64(stmt, 1, from_ns);
    sqlite3_bind_int64(stmt, 2, to_ns);
    if (sql == FG_SQL_USAGE)
        fg_db_bind_id(db, stmt, 3, tenant);
    return for_rows(db, sql, sum_row, &reader, err);
}
