/* upkeep.c - what the writer does beside writing: keep the write-ahead log short, forget old idempotency keys, and find
 * out whether a full disk takes writes again.
 *
 * SQLite's own automatic checkpoint is off: it runs inside COMMIT, before anyone is answered, and swallows its errors,
 * a failed fsync among them. Here it runs after the answers, on the one thread that writes; readers hold no long
 * transactions, so a checkpoint empties the log and the next commit starts it over. */
#include "store/internal.h"
#include "base/log.h"
#include "base/units.h"

enum {
    CHECKPOINT_PAGES = 2000,             /* 16 MB: a page rewritten often is copied to the database once */
    WARN_PAGES = 50000,                  /* 400 MB: someone holds an old snapshot */
    EXPIRE_ROWS = 5000,                  /* per round, a few ms; more than a log's length of submits can add */
    PROBE_BYTES = 256 * 1024             /* what must fit before a full disk counts as usable; freed into the file, as a reserve */
};
#define IDEMPOTENCY_NS (24 * 3600 * FG_NS_PER_S)

int fg_store_wal_seen(void *arg, sqlite3 *handle, const char *name, int pages)
{
    struct fg_store *store = arg;
    store->wal_pages = pages;
    store->wal_dirty = true;
    return SQLITE_OK;
}

/* A failure leaves the log as it is, nothing is lost: it grows until the next try. Never waits for a reader. */
static void checkpoint(struct fg_store *store, int mode)
{
    sqlite3 *handle = store->writer.handle;
    int in_log = 0, copied = 0;
    sqlite3_busy_timeout(handle, 0);
    int rc = sqlite3_wal_checkpoint_v2(handle, NULL, mode, &in_log, &copied);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
        struct fg_error err;
        fg_db_fail(&store->writer, &err, "checkpoint");
        if (!store->checkpoint_fails)
            fg_log_warn("%s; the write-ahead log stays until it can be copied", err.text);
        store->checkpoint_fails = true;
    } else {
        store->checkpoint_fails = false;
        store->wal_dirty = in_log > copied;
        store->wal_pages = in_log > copied ? in_log : 0;
        if (store->wal_dirty && in_log > WARN_PAGES)
            fg_log_warn("store: the write-ahead log has %d pages and cannot be emptied: does another program hold the database open?", in_log);
    }
    sqlite3_busy_timeout(handle, FG_DB_BUSY_MS);
}

static bool oldest_expired(struct fg_store *store, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    if (!fg_db_stmt(db, FG_SQL_IDEMPOTENCY_OLDEST, err) || fg_db_step(db, FG_SQL_IDEMPOTENCY_OLDEST, err) != 1)
        return false;
    bool expired = sqlite3_column_int64(db->stmts[FG_SQL_IDEMPOTENCY_OLDEST], 0) < store->newest_ns - IDEMPOTENCY_NS;
    fg_db_reset(db, FG_SQL_IDEMPOTENCY_OLDEST);
    return expired;
}

/* Best effort: what is not deleted now is deleted later. Whether there may be more. */
static bool expire(struct fg_store *store)
{
    struct fg_db *db = &store->writer;
    struct fg_error err = {0};
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_IDEMPOTENCY_EXPIRE, &err);
    if (!stmt || !oldest_expired(store, &err))
        return false;
    sqlite3_bind_int64(stmt, 1, store->newest_ns - IDEMPOTENCY_NS);
    sqlite3_bind_int(stmt, 2, EXPIRE_ROWS);
    if (fg_db_step(db, FG_SQL_IDEMPOTENCY_EXPIRE, &err) == 0)
        return sqlite3_changes(db->handle) == EXPIRE_ROWS;
    fg_log_warn("expire idempotency keys: %s", err.text);
    return false;
}

void fg_store_upkeep_busy(struct fg_store *store)
{
    if (store->wal_pages < CHECKPOINT_PAGES || store->failed.code)
        return;
    expire(store);
    checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
}

bool fg_store_upkeep_due(const struct fg_store *store)
{
    return store->wal_dirty && !store->failed.code;
}

void fg_store_upkeep_idle(struct fg_store *store)
{
    bool more = expire(store);
    checkpoint(store, SQLITE_CHECKPOINT_TRUNCATE);
    store->wal_dirty |= more;            /* due again in a second */
}

static int write_probe(struct fg_db *db, struct fg_error *err)
{
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_PROBE_ADD, err);
    if (!stmt)
        return -1;
    sqlite3_bind_int(stmt, 1, PROBE_BYTES);
    if (fg_db_step(db, FG_SQL_PROBE_ADD, err) < 0)
        return -1;
    return fg_db_run(db, FG_SQL_PROBE_DELETE, err);
}

/* The log first: emptied, it takes new commits without growing. Two transactions, since pages that are used and freed
 * within one are never written. */
int fg_store_probe(struct fg_store *store, struct fg_db *db, void *arg, struct fg_error *err)
{
    checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
    if (write_probe(db, err) == 0)
        return 0;
    fg_db_rollback(db);
    return -1;
}
