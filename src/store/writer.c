/* writer.c - the writer thread: takes all that waits, commits it as one transaction, answers in order. */
#include "store/internal.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

enum { GROUP_ROWS = 10000, IDLE_MS = 1000 };

static void queue_push(struct fg_store_queue *queue, struct fg_store_item *item)
{
    item->next = NULL;
    *queue->tail = item;
    queue->tail = &item->next;
}

static void queue_init(struct fg_store_queue *queue)
{
    queue->head = NULL;
    queue->tail = &queue->head;
}

static struct fg_store_item *queue_pop(struct fg_store_queue *queue)
{
    struct fg_store_item *item = queue->head;
    if (item && !(queue->head = item->next))
        queue->tail = &queue->head;
    return item;
}

static void signal_fd(int fd)
{
    while (eventfd_write(fd, 1) < 0 && errno == EINTR)
        ;
}

/* --- writer thread --- */

static int write_group(struct fg_store *store, const struct fg_store_queue *group, struct fg_error *err)
{
    struct fg_db *db = &store->writer;
    if (fg_db_run(db, FG_SQL_BEGIN, err) < 0)
        return -1;
    for (const struct fg_store_item *item = group->head; item; item = item->next)
        if (fg_store_write_rows(store, &item->batch, err) < 0)
            goto fail;
    if (fg_db_run(db, FG_SQL_COMMIT, err) < 0)
        goto fail;
    atomic_fetch_add_explicit(&store->commits, 1, memory_order_relaxed);
    return 0;
fail:
    fg_db_rollback(db);
    return -1;
}

static int make_call(struct fg_store *store, struct fg_store_item *item)
{
    struct fg_db *db = &store->writer;
    if (item->resumes) {
        int result = item->call(store, db, item->call_arg, item->call_err);
        if (result == 0)
            store->failed = (struct fg_error){0};
        return result;
    }
    if (store->failed.code) {
        if (item->call_err)
            *item->call_err = store->failed;
        return -1;
    }
    if (fg_db_run(db, FG_SQL_BEGIN, item->call_err) < 0)
        return -1;
    if (item->call(store, db, item->call_arg, item->call_err) == 0 && fg_db_run(db, FG_SQL_COMMIT, item->call_err) == 0) {
        atomic_fetch_add_explicit(&store->commits, 1, memory_order_relaxed);
        return 0;
    }
    fg_db_rollback(db);
    return -1;
}

static void do_call(struct fg_store *store, struct fg_store_item *item)
{
    int result = make_call(store, item);
    pthread_mutex_lock(&store->lock);
    item->call_result = result;
    item->call_done = true;              /* item is on the loop thread's stack: not ours any more after the unlock */
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

/* What waits, from the front: one call, or batches up to GROUP_ROWS rows (one batch may be larger). Lock held. */
static void take_group(struct fg_store *store, struct fg_store_queue *ret, size_t *ret_rows)
{
    queue_init(ret);
    *ret_rows = 0;
    struct fg_store_item *item;
    while ((item = store->waiting.head)) {
        size_t rows = item->call ? 0 : fg_store_row_count(&item->batch);
        if (ret->head && (item->call || *ret_rows + rows > GROUP_ROWS))
            break;
        queue_push(ret, queue_pop(&store->waiting));
        *ret_rows += rows;
        if (item->call)
            break;
    }
}

static void do_group(struct fg_store *store, struct fg_store_queue *group, size_t rows)
{
    if (!store->failed.code && rows > 0) {
        struct fg_error err = {0};
        if (write_group(store, group, &err) < 0)
            store->failed = err;
    }
    pthread_mutex_lock(&store->lock);
    bool was_empty = !store->done.head;
    struct fg_store_item *item;
    while ((item = queue_pop(group))) {
        if (store->failed.code) {
            item->err = fg_alloc(sizeof *item->err);
            *item->err = store->failed;
        }
        queue_push(&store->done, item);
    }
    pthread_mutex_unlock(&store->lock);
    if (was_empty)
        signal_fd(store->done_fd);
}

/* Until there is something to do, or IDLE_MS went by with upkeep due. Lock held, given up meanwhile. */
static void wait_for_work(struct fg_store *store)
{
    store->asleep = true;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    bool due = fg_store_upkeep_due(store);
    struct pollfd fd = { .fd = store->wake_fd, .events = POLLIN };
    int n = poll(&fd, 1, due ? IDLE_MS : -1);
    eventfd_t count;
    if (n > 0)
        eventfd_read(store->wake_fd, &count);
    else if (n == 0)
        fg_store_upkeep_idle(store);
    pthread_mutex_lock(&store->lock);
    store->asleep = false;
}

void *fg_store_writer(void *arg)
{
    struct fg_store *store = arg;
    struct fg_store_queue group;
    size_t rows;
    pthread_mutex_lock(&store->lock);
    while (store->waiting.head || !store->stop) {
        if (!store->waiting.head) {
            wait_for_work(store);
            continue;
        }
        take_group(store, &group, &rows);
        store->writing = true;
        pthread_mutex_unlock(&store->lock);
        if (group.head->call)
            do_call(store, group.head);
        else
            do_group(store, &group, rows);
        fg_store_upkeep_busy(store);
        pthread_mutex_lock(&store->lock);
        store->writing = false;
        pthread_cond_broadcast(&store->changed);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* --- loop thread --- */

void fg_store_queues_init(struct fg_store *store)
{
    queue_init(&store->waiting);
    queue_init(&store->done);
}

static void enqueue(struct fg_store *store, struct fg_store_item *item)
{
    pthread_mutex_lock(&store->lock);
    bool wake = store->asleep && !store->waiting.head;
    queue_push(&store->waiting, item);
    pthread_mutex_unlock(&store->lock);
    if (wake)
        signal_fd(store->wake_fd);
}

void fg_store_stop(struct fg_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    pthread_mutex_unlock(&store->lock);
    signal_fd(store->wake_fd);
    pthread_join(store->thread, NULL);
}

struct fg_store_batch *fg_store_batch_create(void)
{
    struct fg_store_item *item = fg_alloc(sizeof *item);
    return &item->batch;
}

void fg_store_batch_destroy(struct fg_store_batch *batch)
{
    if (!batch)
        return;
    for (size_t i = 0; i < batch->events.count; i++)
        free(batch->events.items[i].body);
    for (size_t i = 0; i < batch->tasks.count; i++) {
        struct fg_store_task *task = &batch->tasks.items[i];
        free(task->name);
        free(task->model);
        free(task->doc);
        free(task->spec);
        free(task->idempotency_key);
        free(task->idempotency_body);
    }
    for (size_t i = 0; i < batch->aux.count; i++) {
        free(batch->aux.items[i].key);
        free(batch->aux.items[i].doc);
    }
    fg_vec_fini(&batch->events);
    fg_vec_fini(&batch->tasks);
    fg_vec_fini(&batch->aux);
    fg_vec_fini(&batch->owns);
    free(batch);
}

void fg_store_write(struct fg_store *store, struct fg_store_batch *batch)
{
    enqueue(store, (struct fg_store_item *)batch);
}

int fg_store_fd(const struct fg_store *store)
{
    return store->done_fd;
}

void fg_store_poll(struct fg_store *store)
{
    eventfd_t count;
    (void)!eventfd_read(store->done_fd, &count);
    pthread_mutex_lock(&store->lock);
    struct fg_store_item *item = store->done.head;
    queue_init(&store->done);
    pthread_mutex_unlock(&store->lock);
    while (item) {
        struct fg_store_item *next = item->next;
        FG_AUTO_FREE struct fg_error *err = fg_take_ptr(item->err);
        if (item->batch.done)
            item->batch.done(item->batch.arg, &item->batch, err);
        else
            fg_store_batch_destroy(&item->batch);
        item = next;
    }
}

void fg_store_flush(struct fg_store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->waiting.head || store->writing || store->done.head) {
        if (store->waiting.head || store->writing) {
            pthread_cond_wait(&store->changed, &store->lock);
            continue;
        }
        pthread_mutex_unlock(&store->lock);
        fg_store_poll(store);            /* may queue more */
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
}

int64_t fg_store_commits(const struct fg_store *store)
{
    return atomic_load_explicit(&store->commits, memory_order_relaxed);
}

static int wait_for_call(struct fg_store *store, struct fg_store_item *item)
{
    enqueue(store, item);
    pthread_mutex_lock(&store->lock);
    while (!item->call_done)
        pthread_cond_wait(&store->changed, &store->lock);
    pthread_mutex_unlock(&store->lock);
    return item->call_result;
}

int fg_store_call(struct fg_store *store, int (*call)(struct fg_store *, struct fg_db *, void *, struct fg_error *), void *arg, struct fg_error *err)
{
    struct fg_store_item item = { .call = call, .call_arg = arg, .call_err = err };
    return wait_for_call(store, &item);
}

int fg_store_resume(struct fg_store *store, struct fg_error *err)
{
    struct fg_store_item item = { .call = fg_store_probe, .call_err = err, .resumes = true };
    return wait_for_call(store, &item);
}
