/* rows.c - a batch becomes rows, inside the writer's transaction. */
#include "store/internal.h"
#include "base/log.h"

size_t fg_store_row_count(const struct fg_store_batch *batch)
{
    return batch->events.count + batch->tasks.count + batch->aux.count + batch->owns.count;
}

/* The core decides what is written, from memory that mirrors the disk. A row that contradicts the disk means that memory
 * is wrong, so nothing it says may be acknowledged: end here, and start again from what is on disk. */
static int put(struct fg_store *store, enum fg_sql sql, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    if (fg_db_step(db, sql, err) == 0)
        return 0;
    if ((sqlite3_extended_errcode(db->handle) & 0xff) == SQLITE_CONSTRAINT) {
        fg_log_error("store: a batch contradicts what is on disk: %s; ending, a restart reads it anew", sqlite3_errmsg(db->handle));
        abort();
    }
    return -1;
}

static int put_event(struct fg_store *store, const struct fg_store_event *ev, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_EVENT_ADD, err);
    if (!stmt)
        return -1;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)ev->seq);
    sqlite3_bind_int64(stmt, 2, ev->time_ns);
    sqlite3_bind_int(stmt, 3, ev->kind);
    sqlite3_bind_int64(stmt, 4, ev->attempt);
    fg_db_bind_id(db, stmt, 5, ev->task);
    fg_db_bind_id(db, stmt, 6, ev->tenant);
    fg_db_bind_text(stmt, 7, ev->body ? ev->body : "");
    store->newest_ns = FG_MAX(store->newest_ns, ev->time_ns);
    return put(store, FG_SQL_EVENT_ADD, err);
}

/* TASK_ADD and TASK_SET number their parameters alike. */
static int put_task_row(struct fg_store *store, enum fg_sql sql, const struct fg_store_task *task, bool *ret_done, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    sqlite3_stmt *stmt = fg_db_stmt(db, sql, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, task->id);
    sqlite3_bind_int(stmt, 3, task->state);
    sqlite3_bind_int(stmt, 4, task->settled);
    if (task->finished_ns)
        sqlite3_bind_int64(stmt, 6, task->finished_ns);
    else
        sqlite3_bind_null(stmt, 6);
    sqlite3_bind_int64(stmt, 8, task->cost_nanousd);
    sqlite3_bind_int64(stmt, 12, task->run_ns);
    sqlite3_bind_int64(stmt, 13, task->device_ns);
    fg_db_bind_text(stmt, 11, task->doc ? task->doc : "");
    if (sql == FG_SQL_TASK_ADD) {
        fg_db_bind_id(db, stmt, 2, task->tenant);
        sqlite3_bind_int64(stmt, 5, task->submitted_ns);
        sqlite3_bind_int(stmt, 7, task->type);
        fg_db_bind_text(stmt, 9, task->name);
        fg_db_bind_text(stmt, 10, task->model);
    }
    if (put(store, sql, err) < 0)
        return -1;
    *ret_done = sqlite3_changes(db->handle) > 0;
    return 0;
}

static int task_num(struct fg_store *store, fg_id id, sqlite3_int64 *ret, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_TASK_NUM, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, id);
    if (fg_db_step(db, FG_SQL_TASK_NUM, err) < 0)
        return -1;
    *ret = sqlite3_column_int64(stmt, 0);
    fg_db_reset(db, FG_SQL_TASK_NUM);
    return 0;
}

static int put_spec(struct fg_store *store, sqlite3_int64 num, const char *spec, struct fg_error *err)
{
    sqlite3_stmt *stmt = fg_db_stmt(&store->writer, FG_SQL_SPEC_SET, err);
    if (!stmt)
        return -1;
    sqlite3_bind_int64(stmt, 1, num);
    fg_db_bind_text(stmt, 2, spec);
    return put(store, FG_SQL_SPEC_SET, err);
}

static int put_idempotency(struct fg_store *store, const struct fg_store_task *task, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_IDEMPOTENCY_ADD, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, task->tenant);
    fg_db_bind_text(stmt, 2, task->idempotency_key);
    fg_db_bind_id(db, stmt, 3, task->id);
    fg_db_bind_text(stmt, 4, task->idempotency_body ? task->idempotency_body : "");
    sqlite3_bind_int64(stmt, 5, task->submitted_ns);
    return put(store, FG_SQL_IDEMPOTENCY_ADD, err);
}

/* A spec says that the task is probably new, none that it is probably known: so one statement is enough nearly always. */
static int put_task(struct fg_store *store, const struct fg_store_task *task, struct fg_error *err)
{
    enum fg_sql first = task->spec ? FG_SQL_TASK_ADD : FG_SQL_TASK_SET;
    enum fg_sql second = task->spec ? FG_SQL_TASK_SET : FG_SQL_TASK_ADD;
    bool done;
    if (put_task_row(store, first, task, &done, err) < 0)
        return -1;
    bool added = done && first == FG_SQL_TASK_ADD;
    if (!done && put_task_row(store, second, task, &done, err) < 0)
        return -1;
    if (task->spec) {
        sqlite3_int64 num = sqlite3_last_insert_rowid(store->writer.handle);
        if ((!added && task_num(store, task->id, &num, err) < 0) || put_spec(store, num, task->spec, err) < 0)
            return -1;
    }
    return task->idempotency_key ? put_idempotency(store, task, err) : 0;
}

static int put_aux(struct fg_store *store, const struct fg_store_aux *aux, struct fg_error *err)
{
    enum fg_sql sql = aux->doc ? FG_SQL_AUX_SET : FG_SQL_AUX_DELETE;
    sqlite3_stmt *stmt = fg_db_stmt(&store->writer, sql, err);
    if (!stmt)
        return -1;
    fg_db_bind_text(stmt, 1, aux->key);
    if (aux->doc)
        fg_db_bind_text(stmt, 2, aux->doc);
    return put(store, sql, err);
}

static int put_own(struct fg_store *store, const struct fg_store_own *own, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_BLOB_OWN, err);
    if (!stmt)
        return -1;
    fg_db_bind_text(stmt, 1, own->sha256);
    fg_db_bind_id(db, stmt, 2, own->tenant);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)own->size);
    sqlite3_bind_int64(stmt, 4, own->time_ns);
    return put(store, FG_SQL_BLOB_OWN, err);
}

int fg_store_write_rows(struct fg_store *store, const struct fg_store_batch *batch, struct fg_error *err)
{
    for (size_t i = 0; i < batch->events.count; i++)
        if (put_event(store, &batch->events.items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < batch->tasks.count; i++)
        if (put_task(store, &batch->tasks.items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < batch->aux.count; i++)
        if (put_aux(store, &batch->aux.items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < batch->owns.count; i++)
        if (put_own(store, &batch->owns.items[i], err) < 0)
            return -1;
    return 0;
}
