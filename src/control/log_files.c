/* log_files.c - append pieces at their offset, tell the sender where to go on, keep few descriptors open. */
#include "control/log_files.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"

#define BUCKETS 256
#define IDLE_NS (30 * FG_NS_PER_S)

struct fg_log_file {
    struct fg_link link;                 /* in its bucket */
    fg_id task;
    uint32_t attempt;
    int fd;
    uint64_t size;
    int64_t used_ns;
    bool asked;                          /* the agent was told where to go on */
    bool refused;                        /* the disk took a piece not, and it has not come again */
};
struct fg_logs { char *dir; struct fg_link buckets[BUCKETS]; };

struct fg_logs *fg_logs_create(const char *dir)
{
    struct fg_logs *logs = fg_alloc(sizeof *logs);
    logs->dir = fg_strdup(dir);
    for (size_t i = 0; i < BUCKETS; i++)
        fg_list_init(&logs->buckets[i]);
    return logs;
}

static void file_free(struct fg_log_file *f)
{
    fg_link_leave(&f->link);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

void fg_logs_destroy(struct fg_logs *logs)
{
    if (!logs)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        fg_list_each(l, &logs->buckets[i])
            file_free(fg_link_of(l, struct fg_log_file, link));
    free(logs->dir);
    free(logs);
}

char *fg_log_path(const struct fg_logs *logs, fg_id task, uint32_t attempt)
{
    char id[FG_ID_TEXT];
    return fg_asprintf("%s/%s.%u.log", logs->dir, fg_id_format(id, "tsk", task), attempt);
}

static struct fg_link *bucket(struct fg_logs *logs, fg_id task)
{
    return &logs->buckets[fg_id_hash(task) % BUCKETS];
}

static struct fg_log_file *find(struct fg_logs *logs, fg_id task, uint32_t attempt)
{
    fg_list_each(l, bucket(logs, task)) {
        struct fg_log_file *f = fg_link_of(l, struct fg_log_file, link);
        if (f->attempt == attempt && fg_id_eq(f->task, task))
            return f;
    }
    return NULL;
}

uint64_t fg_log_size(struct fg_logs *logs, fg_id task, uint32_t attempt)
{
    struct fg_log_file *f = find(logs, task, attempt);
    if (f)
        return f->size;
    FG_AUTO_FREE char *path = fg_log_path(logs, task, attempt);
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* fd is -1 when the file could not be opened: the disk may be full of inodes, and the piece is refused. */
static struct fg_log_file *open_file(struct fg_logs *logs, fg_id task, uint32_t attempt)
{
    struct fg_log_file *f = find(logs, task, attempt);
    if (!f) {
        f = fg_alloc(sizeof *f);
        f->task = task;
        f->attempt = attempt;
        f->fd = -1;
        fg_list_push(bucket(logs, task), &f->link);
    }
    if (f->fd >= 0)
        return f;
    FG_AUTO_FREE char *path = fg_log_path(logs, task, attempt);
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (f->fd >= 0 && fstat(f->fd, &st) == 0)
        f->size = (uint64_t)st.st_size;
    return f;
}

/* A piece that was written in part is cut off again: what the file holds is whole pieces, and the sender repeats. */
static bool write_at(struct fg_log_file *f, const char *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = pwrite(f->fd, data + done, n - done, (off_t)(f->size + done));
        if (w > 0) {
            done += (size_t)w;
        } else if (errno != EINTR) {
            if (ftruncate(f->fd, (off_t)f->size))
                fg_log_warn("log: cut after a failed write: %m");
            return false;
        }
    }
    f->size += n;
    return true;
}

enum fg_log_append fg_log_append(struct fg_logs *logs, fg_id task, uint32_t attempt, uint64_t offset, const void *data, size_t n,
                                 int64_t now_ns, uint64_t *ret_size, bool *ret_ask)
{
    struct fg_log_file *f = open_file(logs, task, attempt);
    f->used_ns = now_ns;
    *ret_ask = false;
    *ret_size = f->size;
    if (f->fd >= 0 && offset + n <= f->size)
        return FG_LOG_HAVE;
    if (f->fd >= 0 && offset > f->size) {
        *ret_ask = !f->asked && !f->refused;
        f->asked = true;
        return FG_LOG_GAP;
    }
    size_t known = f->fd >= 0 ? (size_t)(f->size - offset) : 0;
    if (f->fd < 0 || !write_at(f, (const char *)data + known, n - known)) {
        f->refused = true;               /* asked for again by fg_logs_retry, not at once: the disk needs time */
        return FG_LOG_REFUSED;
    }
    f->asked = f->refused = false;
    *ret_size = f->size;
    return FG_LOG_APPENDED;
}

void fg_logs_retry(struct fg_logs *logs, int64_t now_ns, void (*ask)(void *arg, fg_id task, uint32_t attempt, uint64_t offset), void *arg)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        fg_list_each(l, &logs->buckets[i]) {
            struct fg_log_file *f = fg_link_of(l, struct fg_log_file, link);
            if (!f->refused || now_ns - f->used_ns < FG_NS_PER_S)
                continue;
            f->asked = true;
            ask(arg, f->task, f->attempt, f->size);
        }
    }
}

bool fg_log_incomplete(struct fg_logs *logs, fg_id task, uint32_t attempt)
{
    const struct fg_log_file *f = find(logs, task, attempt);
    return f && f->refused;
}

void fg_logs_reconnected(struct fg_logs *logs)
{
    for (size_t i = 0; i < BUCKETS; i++)
        fg_list_each(l, &logs->buckets[i])
            fg_link_of(l, struct fg_log_file, link)->asked = false;
}

void fg_logs_sweep(struct fg_logs *logs, int64_t now_ns)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        fg_list_each(l, &logs->buckets[i]) {
            struct fg_log_file *f = fg_link_of(l, struct fg_log_file, link);
            if (!f->refused && now_ns - f->used_ns > IDLE_NS)
                file_free(f);
        }
    }
}

void fg_log_close(struct fg_logs *logs, fg_id task, uint32_t attempt)
{
    struct fg_log_file *f = find(logs, task, attempt);
    if (f)
        file_free(f);
}
