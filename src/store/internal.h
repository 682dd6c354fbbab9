/* internal.h - what the files of src/store share. Not for others. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "store/sql.h"
#include "store/store.h"

/* Something for the writer thread: a batch (batch first, so that the public pointer is the item), or a call that the
 * loop thread waits for. */
struct fg_store_item {
    struct fg_store_batch batch;
    struct fg_store_item *next;
    struct fg_error *err;                /* of a failed batch; owned */
    int (*call)(struct fg_store *store, struct fg_db *db, void *arg, struct fg_error *err);
    void *call_arg;
    struct fg_error *call_err;
    int call_result;
    bool resumes;                        /* the call is made in spite of a failed batch, outside a transaction, and heals on success */
    bool call_done;
};
struct fg_store_queue { struct fg_store_item *head, **tail; };

struct fg_store {
    struct fg_db reader;                 /* loop thread */
    int lock_fd;                         /* held as long as we live: one server per database */
    int done_fd, wake_fd;                /* eventfds: to the loop, to the writer */
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock;                /* of what follows, down to the atomics */
    pthread_cond_t changed;              /* a call is done, or the writer went idle */
    struct fg_store_queue waiting, done;
    bool writing, asleep, stop;
    atomic_int_fast64_t commits;

    struct fg_db writer;                 /* writer thread from here on */
    struct fg_error failed;              /* code NONE: taking batches */
    int wal_pages;                       /* in the log, as of the last commit */
    bool wal_dirty;                      /* has pages that are not in the database file */
    bool checkpoint_fails;               /* said so once */
    int64_t newest_ns;                   /* newest event: the "now" by which idempotency keys expire */
};

/* migrate.c */
int fg_store_schema(struct fg_db *db, const char *path, int *ret_version, struct fg_error *err);
int fg_store_migrate(struct fg_db *db, const char *path, struct fg_error *err);
/* rows.c: within a transaction of the writer. A constraint that fails is a bug of the caller and ends the process. */
int fg_store_write_rows(struct fg_store *store, const struct fg_store_batch *batch, struct fg_error *err);
size_t fg_store_row_count(const struct fg_store_batch *batch);
/* upkeep.c: writer thread. */
void fg_store_upkeep_busy(struct fg_store *store);   /* after a commit, its answers given */
void fg_store_upkeep_idle(struct fg_store *store);
bool fg_store_upkeep_due(const struct fg_store *store);
int fg_store_probe(struct fg_store *store, struct fg_db *db, void *arg, struct fg_error *err);
int fg_store_wal_seen(void *store, sqlite3 *handle, const char *name, int pages);
/* writer.c */
void *fg_store_writer(void *store);
int fg_store_call(struct fg_store *store, int (*call)(struct fg_store *, struct fg_db *, void *, struct fg_error *), void *arg, struct fg_error *err);
void fg_store_queues_init(struct fg_store *store);
void fg_store_stop(struct fg_store *store);          /* once all that waits is written */
