/* store.h - what must survive: the event log, the materialised rows, keys and blobs' owners. SQLite behind it
 * (WAL, synchronous FULL); PostgreSQL later through the same calls.
 *
 *   loop thread:  fg_store_write(batch) --queue--> writer thread: takes all that wait, one transaction, one fsync
 *                 fg_store_poll <--eventfd-------- done in order, with the result
 *   loop thread reads through its own connection (WAL: readers never wait for the writer).
 *
 * A batch is all or nothing and batches commit in order. When one fails, it and all that are queued behind it fail
 * with the same error (FG_E_STORAGE_FULL, FG_E_IO), and the store takes no batch until fg_store_resume: the caller's
 * memory is then ahead of the disk and must be loaded anew. An fsync error ends the process (never retried), and so does
 * a batch that contradicts the disk (an event's seq or an idempotency key twice): that is a bug of the caller.
 * Functions given to a read must not call the same read again. Idempotency keys are forgotten 24 h (of the log's time) later. */
#pragma once
#include "base/id.h"
#include "base/vec.h"
#include "base/error.h"

struct fg_store;

struct fg_store_event { uint64_t seq; int64_t time_ns; fg_id task, tenant; uint32_t attempt; int kind; char *body; }; /* body owned by the batch */
struct fg_store_task {                   /* one materialised task */
    fg_id id, tenant;
    int state; bool settled;
    int64_t submitted_ns, finished_ns;
    int type; int64_t cost_nanousd;
    int64_t run_ns, device_ns;           /* for sums; written, not read back: they stand in doc too */
    char *name, *model;                  /* may be NULL */
    char *doc;                           /* fg_task_encode; owned by the batch */
    char *spec;                          /* canonical spec JSON, only the first time; NULL keeps what is stored */
    char *idempotency_key, *idempotency_body; /* only the first time, or NULL */
};
struct fg_store_aux { char *key; char *doc; };  /* doc NULL: delete */
struct fg_store_own { char sha256[65]; fg_id tenant; uint64_t size; int64_t time_ns; };  /* the blob is the tenant's too; again is fine */
struct fg_store_batch {
    FG_VEC(struct fg_store_event) events;
    FG_VEC(struct fg_store_task) tasks;
    FG_VEC(struct fg_store_aux) aux;
    FG_VEC(struct fg_store_own) owns;
    void (*done)(void *arg, struct fg_store_batch *batch, const struct fg_error *err); /* on the loop thread, from fg_store_poll; err NULL: on disk. Frees the batch itself with fg_store_batch_destroy */
    void *arg;
};
struct fg_store_batch *fg_store_batch_create(void);  /* the only way to make one */
void fg_store_batch_destroy(struct fg_store_batch *batch);

/* Open or create path, migrate forward (each migration one transaction; a newer schema is refused by name).
 * FG_E_CONFLICT: another process has it open. */
int fg_store_open(const char *path, struct fg_store **ret, struct fg_error *err);
void fg_store_close(struct fg_store *store);     /* commits what is queued, stops the thread, polls a last time; NULL is fine */
/* Whether the file at path is a store we can read and whole (PRAGMA integrity_check); also while a server has it open.
 * ret_version may be NULL. FG_E_NOT_FOUND, FG_E_INVALID (another program's), FG_E_UNSUPPORTED (newer), FG_E_IO (damaged). */
int fg_store_check(const char *path, int *ret_version, struct fg_error *err);
void fg_store_write(struct fg_store *store, struct fg_store_batch *batch); /* takes the batch; never blocks */
int fg_store_fd(const struct fg_store *store);   /* readable when fg_store_poll has something */
void fg_store_poll(struct fg_store *store);
void fg_store_flush(struct fg_store *store);     /* wait until nothing is queued, then poll; tests and shutdown */
int fg_store_resume(struct fg_store *store, struct fg_error *err); /* after a failed batch: try to write again; -1 while it cannot */
int64_t fg_store_commits(const struct fg_store *store);  /* transactions so far, for metrics */

/* --- startup --- */
typedef int fg_store_task_fn(void *arg, const struct fg_store_task *row, struct fg_error *err);   /* row borrowed */
typedef int fg_store_aux_fn(void *arg, const char *key, const char *doc, struct fg_error *err);
typedef int fg_store_event_fn(void *arg, const struct fg_store_event *ev, struct fg_error *err);
int fg_store_load_live(struct fg_store *store, fg_store_task_fn *fn, void *arg, struct fg_error *err); /* not settled, by id; with spec */
int fg_store_load_aux(struct fg_store *store, fg_store_aux_fn *fn, void *arg, struct fg_error *err);
int fg_store_last(struct fg_store *store, uint64_t *ret_seq, int64_t *ret_time_ns, struct fg_error *err);
/* The log from after_seq on, oldest first, at most limit; task NONE: all, tenant NONE: all. */
int fg_store_events(struct fg_store *store, fg_id tenant, fg_id task, uint64_t after_seq, size_t limit, fg_store_event_fn *fn, void *arg, struct fg_error *err);

/* --- reads (loop thread) --- */
int fg_store_task_get(struct fg_store *store, fg_id id, fg_store_task_fn *fn, void *arg, struct fg_error *err); /* FG_E_NOT_FOUND */
struct fg_store_list { fg_id tenant; int state; /* -1 any */ fg_id before; /* NONE: newest */ size_t limit; const char *name; };
int fg_store_task_list(struct fg_store *store, const struct fg_store_list *what, fg_store_task_fn *fn, void *arg, struct fg_error *err); /* newest first; without spec */
bool fg_store_idempotent(struct fg_store *store, fg_id tenant, const char *key, fg_id *ret_task, char ret_body[65]);
struct fg_store_sum { int type; int state; char model[104]; int64_t tasks, cost_nanousd, run_ns, device_ns; };
int fg_store_usage(struct fg_store *store, fg_id tenant, int64_t from_ns, int64_t to_ns, void (*fn)(void *arg, const struct fg_store_sum *sum), void *arg, struct fg_error *err);

/* --- keys and tenants: written at once (own transaction), rare --- */
struct fg_store_key { fg_id id, tenant; char hash[65]; char scopes[400]; char name[100]; int64_t created_ns, expires_ns, revoked_ns; }; /* 0: never */
int fg_store_key_add(struct fg_store *store, const struct fg_store_key *key, struct fg_error *err);
int fg_store_key_get(struct fg_store *store, fg_id id, struct fg_store_key *ret, struct fg_error *err);       /* FG_E_NOT_FOUND */
int fg_store_key_revoke(struct fg_store *store, fg_id id, int64_t now_ns, struct fg_error *err);
int fg_store_key_list(struct fg_store *store, fg_id tenant, void (*fn)(void *arg, const struct fg_store_key *key), void *arg, struct fg_error *err); /* NONE: all */
int fg_store_tenant_ensure(struct fg_store *store, const char *name, fg_id fresh_id, fg_id *ret, struct fg_error *err);
/* A blob belongs to every tenant that uploaded it. Its bytes are files (store/blob.h); a batch says so, in owns. */
bool fg_store_blob_owned(struct fg_store *store, const char *sha256, fg_id tenant, uint64_t *ret_size);
