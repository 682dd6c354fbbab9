/* open.c - open, check and close a store. */
#include "store/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>

/* Counting every allocation under one global lock is a tenth of the time of a small transaction; we never ask for the count. */
static void configure_sqlite(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* Two servers on one database would both be right and together wrong. A file of its own: closing any descriptor of the
 * database would drop SQLite's locks. */
static int lock_database(const char *path, int *ret_fd, struct fg_error *err)
{
    FG_AUTO_FREE char *name = fg_asprintf("%s-lock", path);
    FG_AUTO_FD int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fg_fail(err, errno == ENOSPC || errno == EDQUOT ? FG_E_STORAGE_FULL : FG_E_IO, "open '%s': %m", name);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        fg_fail(err, errno == EWOULDBLOCK ? FG_E_CONFLICT : FG_E_IO, "lock '%s': %m", name);
        return fg_fail_hint(err, "another fgpu serves from this folder; stop it, or choose another data_dir");
    }
    /* Made here so that nobody else may read it; the log and its index inherit the mode. */
    FG_AUTO_FD int db = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (db < 0)
        return fg_fail(err, errno == ENOSPC || errno == EDQUOT ? FG_E_STORAGE_FULL : FG_E_IO, "open '%s': %m", path);
    *ret_fd = fg_take_fd(fd);
    return 0;
}

static int use_wal(struct fg_db *db, const char *path, struct fg_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode = WAL", -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW) {
        fg_db_fail(db, err, "journal_mode");
        sqlite3_finalize(stmt);
        return fg_fail_prefix(err, "'%s'", path);
    }
    bool wal = !sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "wal");
    sqlite3_finalize(stmt);
    if (wal)
        return 0;
    fg_fail(err, FG_E_UNSUPPORTED, "'%s': no write-ahead log on this file system", path);
    return fg_fail_hint(err, "put data_dir on a local disk");
}

static int open_connections(struct fg_store *store, const char *path, struct fg_error *err)
{
    /* The file is not touched before it is known to be ours. */
    int version;
    if (fg_db_open(&store->writer, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err) < 0 ||
        fg_store_schema(&store->writer, path, &version, err) < 0 || use_wal(&store->writer, path, err) < 0 ||
        fg_store_migrate(&store->writer, path, err) < 0)
        return -1;
    if (fg_db_open(&store->reader, path, SQLITE_OPEN_READWRITE, err) < 0 ||
        fg_db_exec(&store->reader, "PRAGMA query_only = ON; PRAGMA cache_size = -2048", err) < 0)
        return -1;
    sqlite3_wal_hook(store->writer.handle, fg_store_wal_seen, store);
    store->wal_dirty = true;             /* what an earlier process left */
    uint64_t seq;
    return fg_store_last(store, &seq, &store->newest_ns, err);
}

/* Signals are the loop's business. */
static int start_writer(struct fg_store *store, struct fg_error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&store->thread, NULL, fg_store_writer, store);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        errno = rc;
        return fg_fail(err, FG_E_NOMEM, "start the writer thread: %m");
    }
    store->thread_runs = true;
    return 0;
}

int fg_store_open(const char *path, struct fg_store **ret, struct fg_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure_sqlite);
    struct fg_store *store = fg_alloc(sizeof *store);
    store->lock_fd = -1;
    store->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    store->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    fg_store_queues_init(store);
    if (store->done_fd < 0 || store->wake_fd < 0)
        fg_fail(err, FG_E_IO, "eventfd: %m");
    else if (lock_database(path, &store->lock_fd, err) == 0 && open_connections(store, path, err) == 0 && start_writer(store, err) == 0) {
        *ret = store;
        return 0;
    }
    fg_store_close(store);
    return -1;
}

void fg_store_close(struct fg_store *store)
{
    if (!store)
        return;
    if (store->thread_runs) {
        fg_store_stop(store);
        fg_store_poll(store);
    }
    fg_db_close(&store->reader);
    fg_db_close(&store->writer);
    FG_AUTO_FD int lock_fd = store->lock_fd, done_fd = store->done_fd, wake_fd = store->wake_fd;
    (void)lock_fd, (void)done_fd, (void)wake_fd;
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* The first thing integrity_check says, "ok" when all is well. */
static int check_integrity(struct fg_db *db, struct fg_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db->handle, "PRAGMA integrity_check(1)", -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW) {
        fg_db_fail(db, err, "integrity_check");
        sqlite3_finalize(stmt);
        return -1;
    }
    const char *said = (const char *)sqlite3_column_text(stmt, 0);
    int result = 0;
    if (sqlite3_stricmp(said, "ok")) {
        fg_fail(err, FG_E_IO, "the database is damaged: %s", said);
        result = fg_fail_hint(err, "stop the server, keep a copy of the file and restore a backup");
    }
    sqlite3_finalize(stmt);
    return result;
}

int fg_store_check(const char *path, int *ret_version, struct fg_error *err)
{
    if (access(path, F_OK) < 0)
        return fg_fail(err, errno == ENOENT ? FG_E_NOT_FOUND : FG_E_IO, "'%s': %m", path);
    struct fg_db db;
    int version;
    if (fg_db_open(&db, path, SQLITE_OPEN_READWRITE, err) < 0)
        return -1;
    int result = fg_db_exec(&db, "PRAGMA query_only = ON", err);
    if (result == 0)
        result = fg_store_schema(&db, path, &version, err);
    if (result == 0 && (result = check_integrity(&db, err)) < 0)
        fg_fail_prefix(err, "'%s'", path);
    if (result == 0 && ret_version)
        *ret_version = version;
    fg_db_close(&db);
    return result;
}
