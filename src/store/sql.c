/* sql.c - see sql.h. */
#include "store/sql.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

const char *const fg_sql_text[FG_SQL_COUNT] = {
#define X(NAME, text) [FG_SQL_##NAME] = text,
    FG_SQL_LIST(X)
#undef X
};

/* Pages of 8 KiB: a tenth more submits per second than 4 KiB in batches (task documents fit), none fewer one by one. The
 * caches are small, since the idle server must be: what is hot (the right edges of the trees) fits. No mmap: its pages
 * count as resident, and a read error would arrive as SIGBUS. secure_delete is on in Debian and doubles writes. */
static const char settings[] =
    "PRAGMA page_size = 8192; PRAGMA cache_size = -8192; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
    "PRAGMA secure_delete = OFF; PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;";

int fg_db_open(struct fg_db *db, const char *path, int flags, struct fg_error *err)
{
    *db = (struct fg_db){0};
    if (sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        fg_db_fail(db, err, "open");
        fg_fail_prefix(err, "'%s'", path);
        fg_db_close(db);
        return -1;
    }
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_timeout(db->handle, FG_DB_BUSY_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (fg_db_exec(db, settings, err) < 0) {
        fg_fail_prefix(err, "'%s'", path);
        fg_db_close(db);
        return -1;
    }
    return 0;
}

void fg_db_close(struct fg_db *db)
{
    for (size_t i = 0; i < FG_SQL_COUNT; i++)
        sqlite3_finalize(db->stmts[i]);
    int rc = sqlite3_close(db->handle);
    assert(rc == SQLITE_OK);
    (void)rc;
    *db = (struct fg_db){0};
}

static enum fg_error_code meaning(int rc, int system_errno)
{
    bool full = system_errno == ENOSPC || system_errno == EDQUOT;
    switch (rc & 0xff) {
    case SQLITE_FULL: return FG_E_STORAGE_FULL;
    case SQLITE_CANTOPEN: return full ? FG_E_STORAGE_FULL : FG_E_IO;
    case SQLITE_IOERR: /* SHMSIZE: the WAL's index could not grow, for which SQLite keeps no errno */
        return full || rc == SQLITE_IOERR_SHMSIZE ? FG_E_STORAGE_FULL : FG_E_IO;
    case SQLITE_BUSY: case SQLITE_LOCKED: return FG_E_UNAVAILABLE;
    case SQLITE_NOMEM: return FG_E_NOMEM;
    case SQLITE_READONLY: case SQLITE_PERM: case SQLITE_CORRUPT: case SQLITE_NOTADB: return FG_E_IO;
    default: return FG_E_INTERNAL;
    }
}

int fg_db_fail(struct fg_db *db, struct fg_error *err, const char *what)
{
    int rc = sqlite3_extended_errcode(db->handle), system_errno = sqlite3_system_errno(db->handle);
    if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC) {
        fg_log_error("store: %s: fsync failed (%s); what is on disk is unknown: ending, a restart reads it anew",
                     what, strerror(system_errno));
        abort();
    }
    fg_fail(err, meaning(rc, system_errno), "store: %s: %s (sqlite %d, %s)", what, sqlite3_errmsg(db->handle), rc,
            system_errno ? strerror(system_errno) : "no errno");
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        fg_fail_hint(err, "the database file is damaged; stop the server, keep a copy of the file and restore a backup");
    return -1;
}

int fg_db_exec(struct fg_db *db, const char *sql, struct fg_error *err)
{
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fg_db_fail(db, err, sql);
    return 0;
}

sqlite3_stmt *fg_db_stmt(struct fg_db *db, enum fg_sql sql, struct fg_error *err)
{
    sqlite3_stmt **stmt = &db->stmts[sql];
    if (*stmt) {
        assert(!sqlite3_stmt_busy(*stmt));
        return *stmt;
    }
    if (sqlite3_prepare_v3(db->handle, fg_sql_text[sql], -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) != SQLITE_OK) {
        fg_db_fail(db, err, fg_sql_text[sql]);
        return NULL;
    }
    return *stmt;
}

int fg_db_step(struct fg_db *db, enum fg_sql sql, struct fg_error *err)
{
    int rc = sqlite3_step(db->stmts[sql]);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        fg_db_fail(db, err, fg_sql_text[sql]);
    sqlite3_reset(db->stmts[sql]);
    return rc == SQLITE_DONE ? 0 : -1;
}

void fg_db_reset(struct fg_db *db, enum fg_sql sql)
{
    sqlite3_reset(db->stmts[sql]);
}

int fg_db_run(struct fg_db *db, enum fg_sql sql, struct fg_error *err)
{
    if (!fg_db_stmt(db, sql, err))
        return -1;
    return fg_db_step(db, sql, err);
}

void fg_db_rollback(struct fg_db *db)
{
    /* A full disk or an I/O error may have rolled back already. */
    if (!sqlite3_get_autocommit(db->handle) && fg_db_run(db, FG_SQL_ROLLBACK, NULL) < 0) {
        fg_log_error("store: rollback failed: %s; ending, a restart reads what is on disk", sqlite3_errmsg(db->handle));
        abort();
    }
}

/* Big-endian, so that the order of the bytes is the order of the ids, oldest first. */
void fg_db_bind_id(struct fg_db *db, sqlite3_stmt *stmt, int i, fg_id id)
{
    if (fg_id_is_none(id)) {
        sqlite3_bind_null(stmt, i);
        return;
    }
    uint8_t *bytes = db->ids[i];
    for (int b = 0; b < 8; b++) {
        bytes[b] = (uint8_t)(id.hi >> (56 - 8 * b));
        bytes[8 + b] = (uint8_t)(id.lo >> (56 - 8 * b));
    }
    sqlite3_bind_blob(stmt, i, bytes, 16, SQLITE_STATIC);
}

void fg_db_bind_text(sqlite3_stmt *stmt, int i, const char *text)
{
    sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
}

fg_id fg_db_column_id(sqlite3_stmt *stmt, int i)
{
    const uint8_t *bytes = sqlite3_column_blob(stmt, i);
    if (!bytes || sqlite3_column_bytes(stmt, i) != 16)
        return FG_ID_NONE;
    fg_id id = FG_ID_NONE;
    for (int b = 0; b < 8; b++) {
        id.hi = id.hi << 8 | bytes[b];
        id.lo = id.lo << 8 | bytes[8 + b];
    }
    return id;
}

const char *fg_db_column_text(sqlite3_stmt *stmt, int i)
{
    return (const char *)sqlite3_column_text(stmt, i);
}
