/* sql.h - one SQLite connection with its statements, each prepared once, and what SQLite's errors mean to us.
 * Every statement of the store stands in this table; tests/unit/store checks the plan of each. One thread per connection.
 * The planner has no statistics here, so the statements that must be fast name their index: a missing one is an error. */
#pragma once
#include <sqlite3.h>
#include "base/error.h"
#include "base/id.h"

#define FG_SQL_TASK "t.id, t.tenant, t.state, t.settled, t.submitted_ns, t.finished_ns, t.type, t.cost_nanousd, t.name, t.model, t.doc"
#define FG_SQL_KEY "id, tenant, hash, scopes, name, created_ns, expires_ns, revoked_ns"

/* Parameters that mean the same have the same number within a group, so that one binder serves the group. */
#define FG_SQL_LIST(X) \
    X(BEGIN, "BEGIN IMMEDIATE") \
    X(COMMIT, "COMMIT") \
    X(ROLLBACK, "ROLLBACK") \
    X(EVENT_ADD, "INSERT INTO event(seq, time_ns, kind, attempt, task, tenant, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)") \
    X(TASK_ADD, "INSERT INTO task(id, tenant, state, settled, submitted_ns, finished_ns, type, cost_nanousd, run_ns, device_ns, name, model, doc)" \
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?12, ?13, ?9, ?10, ?11) ON CONFLICT(id) DO NOTHING") \
    X(TASK_SET, "UPDATE task SET state = ?3, settled = ?4, finished_ns = ?6, cost_nanousd = ?8, run_ns = ?12, device_ns = ?13, doc = ?11 WHERE id = ?1") \
    X(TASK_NUM, "SELECT num FROM task WHERE id = ?1") \
    X(SPEC_SET, "INSERT OR REPLACE INTO spec(num, spec) VALUES(?1, ?2)") \
    X(IDEMPOTENCY_ADD, "INSERT INTO idempotency(tenant, key, task, body, time_ns) VALUES(?1, ?2, ?3, ?4, ?5)") \
    X(IDEMPOTENCY_EXPIRE, "DELETE FROM idempotency WHERE num IN (SELECT num FROM idempotency ORDER BY num LIMIT ?2) AND time_ns < ?1") \
    X(IDEMPOTENCY_OLDEST, "SELECT time_ns FROM idempotency ORDER BY num LIMIT 1") \
    X(AUX_SET, "INSERT INTO aux(key, doc) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET doc = excluded.doc") \
    X(AUX_DELETE, "DELETE FROM aux WHERE key = ?1") \
    X(PROBE_ADD, "INSERT OR REPLACE INTO probe(num, filler) VALUES(1, zeroblob(?1))") \
    X(PROBE_DELETE, "DELETE FROM probe") \
    X(LAST_EVENT, "SELECT seq, time_ns FROM event ORDER BY seq DESC LIMIT 1") \
    X(EVENTS, "SELECT seq, time_ns, kind, attempt, task, tenant, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2") \
    X(EVENTS_OF_TENANT, "SELECT seq, time_ns, kind, attempt, task, tenant, body FROM event INDEXED BY event_by_tenant" \
                        " WHERE tenant = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2") \
    X(EVENTS_OF_TASK, "SELECT seq, time_ns, kind, attempt, task, tenant, body FROM event INDEXED BY event_by_task" \
                      " WHERE task = ?4 AND seq > ?1 AND (?3 IS NULL OR tenant = ?3) ORDER BY seq LIMIT ?2") \
    X(LIVE, "SELECT " FG_SQL_TASK ", s.spec FROM task t INDEXED BY task_live LEFT JOIN spec s ON s.num = t.num" \
            " WHERE t.settled = 0 ORDER BY t.id") \
    X(TASK_GET, "SELECT " FG_SQL_TASK ", s.spec FROM task t LEFT JOIN spec s ON s.num = t.num WHERE t.id = ?1") \
    X(LIST_ALL, "SELECT " FG_SQL_TASK " FROM task t WHERE t.id < ?1 AND (?4 < 0 OR t.state = ?4) AND (?5 IS NULL OR t.name = ?5)" \
                " ORDER BY t.id DESC LIMIT ?2") \
    X(LIST, "SELECT " FG_SQL_TASK " FROM task t INDEXED BY task_by_tenant WHERE t.tenant = ?3 AND t.id < ?1 ORDER BY t.id DESC LIMIT ?2") \
    X(LIST_STATE, "SELECT " FG_SQL_TASK " FROM task t INDEXED BY task_by_state WHERE t.tenant = ?3 AND t.state = ?4 AND t.id < ?1" \
                  " ORDER BY t.id DESC LIMIT ?2") \
    X(LIST_NAME, "SELECT " FG_SQL_TASK " FROM task t INDEXED BY task_by_name WHERE t.tenant = ?3 AND t.name = ?5 AND t.id < ?1" \
                 " AND (?4 < 0 OR t.state = ?4) ORDER BY t.id DESC LIMIT ?2") \
    X(USAGE, "SELECT type, state, coalesce(model, ''), count(*), sum(cost_nanousd), sum(run_ns), sum(device_ns) FROM task INDEXED BY task_by_end" \
             " WHERE tenant = ?3 AND finished_ns >= ?1 AND finished_ns < ?2 GROUP BY 1, 2, 3") \
    X(USAGE_ALL, "SELECT type, state, coalesce(model, ''), count(*), sum(cost_nanousd), sum(run_ns), sum(device_ns) FROM task INDEXED BY task_by_end" \
                 " WHERE finished_ns >= ?1 AND finished_ns < ?2 GROUP BY 1, 2, 3") \
    X(AUX_ALL, "SELECT key, doc FROM aux ORDER BY key") \
    X(IDEMPOTENT, "SELECT task, body FROM idempotency WHERE tenant = ?1 AND key = ?2") \
    X(KEY_ADD, "INSERT INTO key(" FG_SQL_KEY ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)") \
    X(KEY_GET, "SELECT " FG_SQL_KEY " FROM key WHERE id = ?1") \
    X(KEY_REVOKE, "UPDATE key SET revoked_ns = CASE revoked_ns WHEN 0 THEN ?2 ELSE revoked_ns END WHERE id = ?1") \
    X(KEY_LIST, "SELECT " FG_SQL_KEY " FROM key WHERE ?1 IS NULL OR tenant = ?1 ORDER BY id") \
    X(TENANT_GET, "SELECT id FROM tenant WHERE name = ?1") \
    X(TENANT_ADD, "INSERT INTO tenant(name, id) VALUES(?1, ?2) ON CONFLICT(name) DO NOTHING") \
    X(BLOB_OWN, "INSERT INTO blob(sha256, tenant, size, time_ns) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(sha256, tenant) DO NOTHING") \
    X(BLOB_OWNED, "SELECT size FROM blob WHERE sha256 = ?1 AND tenant = ?2")

enum fg_sql {
#define X(NAME, ...) FG_SQL_##NAME,
    FG_SQL_LIST(X)
#undef X
    FG_SQL_COUNT
};
extern const char *const fg_sql_text[FG_SQL_COUNT];

enum { FG_DB_BUSY_MS = 10000 };          /* only another program (a backup, sqlite3) can hold our locks */
struct fg_db {
    sqlite3 *handle;
    sqlite3_stmt *stmts[FG_SQL_COUNT];
    uint8_t ids[16][16];                 /* bound ids by parameter number, so that binding one copies nothing */
};

/* Open with the settings all our connections share. On failure *db is closed. */
int fg_db_open(struct fg_db *db, const char *path, int flags, struct fg_error *err);
void fg_db_close(struct fg_db *db);
/* What the last failed call on db means: fills *err, returns -1. Ends the process when an fsync failed: the kernel may
 * have dropped the pages it could not write and reports it once, so a retry would call lost bytes durable. */
int fg_db_fail(struct fg_db *db, struct fg_error *err, const char *what);
int fg_db_exec(struct fg_db *db, const char *sql, struct fg_error *err);
/* The statement, reset and ready to bind; NULL with *err. Asserts that it is not in use further up the stack. */
sqlite3_stmt *fg_db_stmt(struct fg_db *db, enum fg_sql sql, struct fg_error *err);
/* One step: 1 a row, 0 the end (then it is reset), -1 with *err (reset too). */
int fg_db_step(struct fg_db *db, enum fg_sql sql, struct fg_error *err);
void fg_db_reset(struct fg_db *db, enum fg_sql sql);
/* A statement without parameters or rows, to its end. */
int fg_db_run(struct fg_db *db, enum fg_sql sql, struct fg_error *err);
void fg_db_rollback(struct fg_db *db);   /* when a transaction is open; a rollback that fails ends the process */

/* NONE binds NULL. The id is kept in db until the parameter of that number is bound again. */
void fg_db_bind_id(struct fg_db *db, sqlite3_stmt *stmt, int i, fg_id id);
void fg_db_bind_text(sqlite3_stmt *stmt, int i, const char *text);   /* borrowed until the reset; NULL binds NULL */
fg_id fg_db_column_id(sqlite3_stmt *stmt, int i);                    /* NULL gives NONE */
const char *fg_db_column_text(sqlite3_stmt *stmt, int i);            /* borrowed until the next step */
