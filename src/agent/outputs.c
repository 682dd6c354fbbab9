/* outputs.c - what an attempt leaves: all regular files below out/, and those below work/ that its patterns name. Listed
 * and hashed on the pool, then uploaded one by one. The tree is the tenant's: no link is followed, nothing but regular
 * files is read. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "agent/job.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"

#define MAX_FILES 4096
#define MAX_LIST_BYTES (600u << 10)      /* of the JSON list: a report is at most 1 MiB */
#define MAX_DEPTH 64
#define MAX_RETRIES 12                   /* 5 s apart */

struct collect {
    struct attempt *t;
    const json_t *patterns;
    bool model;
    FG_VEC(struct output) found;
    size_t list_bytes, left_out;
};

static void output_fini(struct output *o)
{
    free(o->path);
    free(o->file);
}

void outputs_drop(struct attempt *t)
{
    for (size_t i = 0; i < t->outputs.count; i++)
        output_fini(&t->outputs.items[i]);
    fg_vec_fini(&t->outputs);
    if (t->upload_fd >= 0)
        close(fg_take_fd(t->upload_fd));
}

static bool named(const struct collect *c, const char *path)
{
    size_t i;
    json_t *pattern;
    json_array_foreach(c->patterns, i, pattern) {
        const char *p = json_is_string(pattern) ? json_string_value(pattern) : "";
        if (fg_starts_with(p, "./"))
            p += 2;
        /* "**" crosses folders, "*" does not; a name without a slash means the top folder. */
        if (fnmatch(p, path, strstr(p, "**") ? 0 : FNM_PATHNAME) == 0)
            return true;
    }
    return false;
}

static void take(struct collect *c, int root, const char *folder, const char *path)
{
    struct output o = {0};
    for (size_t i = 0; i < c->found.count; i++)
        if (strcmp(c->found.items[i].path, path) == 0)
            return;
    FG_AUTO_FD int fd = fg_open_beneath(root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || c->found.count == MAX_FILES ||
        c->list_bytes + strlen(path) + 150 > MAX_LIST_BYTES || fg_sha256_fd(fd, o.sha256, &o.size, NULL) != 0) {
        c->left_out++;
        return;
    }
    c->list_bytes += strlen(path) + 150;
    o.path = fg_strdup(path);
    o.file = fg_path_join(folder, path);
    fg_vec_push(&c->found, o);
}

static void walk(struct collect *c, int root, const char *folder, const char *below, int depth)
{
    int fd = fg_open_beneath(root, *below ? below : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        c->left_out++;
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *d; (d = readdir(dir)) && c->left_out < MAX_FILES;) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 || fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        FG_AUTO_FREE char *path = *below ? fg_path_join(below, d->d_name) : fg_strdup(d->d_name);
        if (S_ISDIR(st.st_mode) && depth < MAX_DEPTH)
            walk(c, root, folder, path, depth + 1);
        else if (S_ISREG(st.st_mode) && (!c->patterns || named(c, path)) && !(c->model && strcmp(path, "result.json") == 0))
            take(c, root, folder, path);
    }
    closedir(dir);
}

static void collect_run(void *arg)
{
    struct collect *c = arg;
    const json_t *patterns = c->patterns;
    FG_AUTO_FREE char *out = attempt_path(c->t, "out"), *work = attempt_path(c->t, "work");
    FG_AUTO_FD int out_fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FG_AUTO_FD int work_fd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    c->patterns = NULL;
    if (out_fd >= 0)
        walk(c, out_fd, "out", "", 0);
    c->patterns = patterns;
    if (work_fd >= 0 && json_array_size(patterns) > 0)
        walk(c, work_fd, "work", "", 0);
}

static void collect_done(void *arg)
{
    struct collect *c = arg;
    struct attempt *t = c->t;
    t->busy = false;
    for (size_t i = 0; i < c->found.count; i++)
        fg_vec_push(&t->outputs, c->found.items[i]);
    if (c->left_out)
        fg_log_warn("%s: %zu output files were left out (not readable, or more than %d)", t->name, c->left_out, MAX_FILES);
    fg_vec_fini(&c->found);
    free(c);
    t->phase = PHASE_UPLOAD;
    if (!t->agent->stopping)
        outputs_next(t);
}

/* The worker's answer, if it is a plain file of sane size. */
static void read_answer(struct attempt *t)
{
    FG_AUTO_FREE char *out = attempt_path(t, "out");
    FG_AUTO_FD int dir = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FG_AUTO_FD int fd = dir < 0 ? -1 : fg_open_beneath(dir, "result.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > 800 << 10)
        return;
    char *text = fg_alloc((size_t)st.st_size + 1);       /* zeroed: terminated whatever is read */
    if (read(fd, text, (size_t)st.st_size) < 0)
        *text = '\0';
    free(t->ending.answer);
    t->ending.answer = text;
}

static bool folder_empty(const struct attempt *t, const char *name)
{
    FG_AUTO_FREE char *path = attempt_path(t, name);
    DIR *dir = opendir(path);
    bool empty = true;
    for (struct dirent *d; dir && empty && (d = readdir(dir));)
        empty = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
    if (dir)
        closedir(dir);
    return empty;
}

void outputs_collect(struct attempt *t)
{
    const json_t *patterns = json_object_get(t->spec, "outputs");
    t->phase = PHASE_COLLECT;
    if (t->ending.model)
        read_answer(t);
    if (!t->ending.status || (json_array_size(patterns) == 0 && folder_empty(t, "out"))) {
        runner_uploaded(t);
        return;
    }
    struct collect *c = fg_alloc(sizeof *c);
    *c = (struct collect){.t = t, .patterns = patterns, .model = t->ending.model};
    t->busy = true;
    job_start(t->agent, collect_run, collect_done, c);
}

/* --- upload --- */

static void put_piece(struct attempt *t, const struct output *o)
{
    FG_AUTO_FREE char *piece = fg_alloc(BLOB_PIECE);
    size_t want = FG_MIN((uint64_t)BLOB_PIECE, o->size - t->upload_at);
    ssize_t n = pread(t->upload_fd, piece, want, (off_t)t->upload_at);
    if (n != (ssize_t)want) {
        fg_log_error("%s: output '%s' changed after its end", t->name, o->path);
        memset(piece + FG_MAX(n, 0), 0, want - (size_t)FG_MAX(n, 0));     /* the digest will not fit, and the server says so */
    }
    struct fg_msg msg = {.kind = FG_MSG_BLOB_PUT, .blob = {.offset = t->upload_at, .size = o->size}, .payload = piece, .payload_len = want};
    memcpy(msg.blob.sha256, o->sha256, sizeof msg.blob.sha256);
    link_send(t->agent, &msg);
    t->upload_at += want;
    t->upload_sent = t->upload_at == o->size;
}

void outputs_next(struct attempt *t)
{
    if (t->phase != PHASE_UPLOAD || t->busy)
        return;
    if (t->uploaded == t->outputs.count) {
        runner_uploaded(t);
        return;
    }
    const struct output *o = &t->outputs.items[t->uploaded];
    if (t->upload_fd < 0) {
        FG_AUTO_FD int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        t->upload_fd = fg_open_beneath(dir, o->file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
        t->upload_at = 0;
        t->upload_sent = false;
    }
    while (t->agent->link.welcomed && !t->upload_sent && link_pending(t->agent) < SEND_WINDOW)
        put_piece(t, o);
}

static void again(struct attempt *t)
{
    t->upload_at = 0;
    t->upload_sent = false;
}

void outputs_reconnected(struct agent *a)
{
    for (size_t i = 0; i < a->attempts.count; i++)
        if (a->attempts.items[i]->phase == PHASE_UPLOAD) {
            again(a->attempts.items[i]);
            outputs_next(a->attempts.items[i]);
        }
}

/* A server whose disk is full takes it later; one that never does costs the outputs, not the result. */
static void refused(struct attempt *t, const char *why)
{
    struct output *o = &t->outputs.items[t->uploaded];
    if (t->upload_retries++ < MAX_RETRIES) {
        t->upload_wait_ns = agent_now(t->agent) + 5 * INT64_C(1000000000);
        fg_log_warn("%s: output '%s' was not taken: %s; again in 5 s", t->name, o->path, why);
        return;
    }
    fg_log_error("%s: output '%s' was given up: %s", t->name, o->path, why);
    o->size = UINT64_MAX;                /* marked: not in the list */
    t->uploaded++;
    close(fg_take_fd(t->upload_fd));
    outputs_next(t);
}

void outputs_tick(struct attempt *t)
{
    if (t->phase != PHASE_UPLOAD || !t->upload_wait_ns || agent_now(t->agent) < t->upload_wait_ns)
        return;
    t->upload_wait_ns = 0;
    again(t);
    outputs_next(t);
}

void outputs_blob_ok(struct agent *a, const struct fg_msg_blob *msg)
{
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        if (t->phase != PHASE_UPLOAD || t->uploaded == t->outputs.count || t->upload_fd < 0 || t->upload_wait_ns ||
            strcmp(t->outputs.items[t->uploaded].sha256, msg->sha256) != 0)
            continue;
        if (*msg->error) {
            refused(t, msg->error);
        } else if (t->upload_sent) {
            t->uploaded++;
            close(fg_take_fd(t->upload_fd));
            outputs_next(t);
        }
        return;                          /* an answer for each upload, in order */
    }
}

char *outputs_json(const struct attempt *t)
{
    struct fg_str out = {0};
    for (size_t i = 0; i < t->outputs.count; i++) {
        const struct output *o = &t->outputs.items[i];
        if (o->size == UINT64_MAX)
            continue;
        fg_str_adds(&out, out.len ? ",{\"path\":" : "[{\"path\":");
        fg_json_quote(&out, o->path, strlen(o->path));
        fg_str_addf(&out, ",\"size\":%llu,\"blob\":\"%s\"}", (unsigned long long)o->size, o->sha256);
    }
    if (!out.len)
        return NULL;
    fg_str_adds(&out, "]");
    return fg_str_take(&out);
}
