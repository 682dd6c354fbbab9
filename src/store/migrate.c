/* migrate.c - the schema, as the list of its steps. A step that was ever released is never edited: add one. */
#include <stdio.h>
#include "store/internal.h"

/* What is on a submit's path is kept lean: rows are appended at the right edge of their tree, ids are 16 bytes,
 * indices are partial where most rows do not need them.
 *
 *   event        the log. seq is the row's number, so the two indices are (task, seq) and (tenant, seq)
 *   task         one row per task, rewritten when it changes; spec apart, because that never changes and may be large
 *   idempotency  numbered as they come, so the oldest are found without an index over time */
static const char schema_1[] =
    "CREATE TABLE event(seq INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, kind INTEGER NOT NULL, attempt INTEGER NOT NULL,"
    " task BLOB, tenant BLOB, body TEXT NOT NULL) STRICT;"
    "CREATE INDEX event_by_task ON event(task) WHERE task IS NOT NULL;"
    "CREATE INDEX event_by_tenant ON event(tenant) WHERE tenant IS NOT NULL;"
    "CREATE TABLE task(num INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, tenant BLOB NOT NULL, state INTEGER NOT NULL,"
    " settled INTEGER NOT NULL, submitted_ns INTEGER NOT NULL, finished_ns INTEGER, type INTEGER NOT NULL,"
    " cost_nanousd INTEGER NOT NULL, run_ns INTEGER NOT NULL, device_ns INTEGER NOT NULL, name TEXT, model TEXT, doc TEXT NOT NULL) STRICT;"
    "CREATE INDEX task_by_tenant ON task(tenant, id);"
    "CREATE INDEX task_by_state ON task(tenant, state, id);"
    "CREATE INDEX task_by_name ON task(tenant, name, id) WHERE name IS NOT NULL;"
    "CREATE INDEX task_by_end ON task(tenant, finished_ns, type, state, model, cost_nanousd, run_ns, device_ns) WHERE finished_ns IS NOT NULL;"
    "CREATE INDEX task_live ON task(id) WHERE settled = 0;"
    "CREATE TABLE spec(num INTEGER PRIMARY KEY, spec TEXT NOT NULL) STRICT;"
    "CREATE TABLE idempotency(num INTEGER PRIMARY KEY, tenant BLOB NOT NULL, key TEXT NOT NULL, task BLOB NOT NULL,"
    " body TEXT NOT NULL, time_ns INTEGER NOT NULL, UNIQUE(tenant, key)) STRICT;"
    "CREATE TABLE aux(key TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;"
    "CREATE TABLE key(id BLOB PRIMARY KEY, tenant BLOB NOT NULL, hash TEXT NOT NULL, scopes TEXT NOT NULL, name TEXT NOT NULL,"
    " created_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, revoked_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tenant(name TEXT PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT, WITHOUT ROWID;"
    "CREATE TABLE blob(sha256 TEXT NOT NULL, tenant BLOB NOT NULL, size INTEGER NOT NULL, time_ns INTEGER NOT NULL,"
    " PRIMARY KEY(sha256, tenant)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE probe(num INTEGER PRIMARY KEY, filler BLOB NOT NULL) STRICT;";

static const char *const steps[] = { schema_1 };
enum { APPLICATION_ID = 0x46475055 };    /* "FGPU": tells our file from any other SQLite database */

static int pragma_int(struct fg_db *db, const char *sql, int *ret, struct fg_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW) {
        fg_db_fail(db, err, sql);
        sqlite3_finalize(stmt);
        return -1;
    }
    *ret = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return 0;
}

static int apply(struct fg_db *db, int version, const char *sql, struct fg_error *err)
{
    char number[100];
    snprintf(number, sizeof number, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, version);
    if (fg_db_run(db, FG_SQL_BEGIN, err) < 0)
        return -1;
    if (fg_db_exec(db, sql, err) == 0 && fg_db_exec(db, number, err) == 0 && fg_db_run(db, FG_SQL_COMMIT, err) == 0)
        return 0;
    fg_fail_prefix(err, "migration to schema %d", version);
    fg_db_rollback(db);
    return -1;
}

int fg_store_schema(struct fg_db *db, const char *path, int *ret_version, struct fg_error *err)
{
    int version, application, tables;
    if (pragma_int(db, "PRAGMA user_version", &version, err) < 0 ||
        pragma_int(db, "PRAGMA application_id", &application, err) < 0 ||
        pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
        return fg_fail_prefix(err, "'%s'", path);
    if (application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0))
        return fg_fail(err, FG_E_INVALID, "'%s' is a database of another program", path);
    if (version > (int)FG_COUNT(steps)) {
        fg_fail(err, FG_E_UNSUPPORTED, "'%s' has schema %d; this fgpu knows schemas up to %d", path, version, (int)FG_COUNT(steps));
        return fg_fail_hint(err, "it was written by a newer fgpu: use that one, or restore a backup from before the update");
    }
    *ret_version = version;
    return 0;
}

int fg_store_migrate(struct fg_db *db, const char *path, struct fg_error *err)
{
    int version;
    if (fg_store_schema(db, path, &version, err) < 0)
        return -1;
    for (; version < (int)FG_COUNT(steps); version++)
        if (apply(db, version + 1, steps[version], err) < 0)
            return fg_fail_prefix(err, "'%s'", path);
    return 0;
}
