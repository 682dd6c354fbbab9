/* attempt.c - the list of attempts and their folders. attempt.json is on disk before anything runs: whatever happens to the
 * agent later, the next one knows that this attempt was taken and never starts it a second time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"

struct attempt *attempt_find(struct agent *a, fg_id task, uint32_t number)
{
    for (size_t i = 0; i < a->attempts.count; i++)
        if (fg_id_eq(a->attempts.items[i]->task, task) && a->attempts.items[i]->number == number)
            return a->attempts.items[i];
    return NULL;
}

/* The lowest user nobody has. */
static uint32_t free_slot(const struct agent *a)
{
    for (uint32_t slot = 0;; slot++) {
        bool taken = false;
        for (size_t i = 0; i < a->attempts.count && !taken; i++)
            taken = a->attempts.items[i]->slot == slot;
        if (!taken)
            return slot;
    }
}

struct attempt *attempt_create(struct agent *a, fg_id task, uint32_t number)
{
    char id[FG_ID_TEXT];
    struct attempt *t = fg_alloc(sizeof *t);
    *t = (struct attempt){.agent = a, .task = task, .number = number, .slot = free_slot(a), .phase = PHASE_MAKE, .pidfd = -1,
                          .watch = -1, .lease_fd = -1, .log_fd = -1, .upload_fd = -1};
    snprintf(t->name, sizeof t->name, "%s.%u", fg_id_format(id, "tsk", task), number);
    t->dir = fg_path_join(a->set.attempts, t->name);
    fg_vec_push(&a->attempts, t);
    return t;
}

void attempt_destroy(struct attempt *t)
{
    struct agent *a = t->agent;
    for (size_t i = 0; i < a->attempts.count; i++)
        if (a->attempts.items[i] == t) {
            a->attempts.items[i] = a->attempts.items[--a->attempts.count];
            break;
        }
    launch_release(t);
    pull_stop(t);
    outputs_drop(t);
    for (size_t i = 0; i < t->wants.count; i++)
        free(t->wants.items[i]);
    fg_vec_fini(&t->wants);
    if (t->log_fd >= 0)
        close(t->log_fd);
    if (t->lease_fd >= 0)
        close(t->lease_fd);
    ending_fini(&t->ending);
    fg_outcome_fini(&t->outcome);
    json_decref(t->manifest);
    json_decref(t->spec);
    free(t->weights);
    free(t->dir);
    free(t);
}

char *attempt_path(const struct attempt *t, const char *file) { return fg_path_join(t->dir, file); }

int attempt_lease_fd(struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "lease");
    if (t->lease_fd < 0)
        t->lease_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return t->lease_fd;
}

int attempt_write(const struct attempt *t, const char *file, const void *data, size_t n, struct fg_error *err)
{
    FG_AUTO_FREE char *path = attempt_path(t, file);
    FG_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fg_write_all(fd, data, n) != 0)
        return fg_fail(err, errno == ENOSPC ? FG_E_STORAGE_FULL : FG_E_IO, "write '%s': %m", path);
    return 0;
}

static void encode(const struct attempt *t, struct fg_str *out)
{
    char id[FG_ID_TEXT], tenant[FG_ID_TEXT];
    fg_str_addf(out, "{\"task\":\"%s\",\"tenant\":\"%s\",\"attempt\":%u,\"epoch\":%llu,\"device\":", fg_id_format(id, "tsk", t->task),
                fg_id_format(tenant, "ten", t->tenant), t->number, (unsigned long long)t->epoch);
    fg_json_quote(out, t->device, strlen(t->device));
    fg_str_addf(out, ",\"memory_bytes\":%llu,\"share_permille\":%u,\"own_permille\":%u,\"borrowed\":%s,\"cpus_milli\":%u,\"host_bytes\":%llu,\"moving_to\":\"%s\",\"slot\":%u,\"boot_id\":\"%s\",\"spec\":",
                (unsigned long long)t->limits.memory_bytes, t->limits.share_permille, t->limits.own_permille,
                t->limits.borrowed ? "true" : "false", t->limits.cpus_milli, (unsigned long long)t->limits.host_bytes, t->moving_to, t->slot, t->agent->set.boot_id);
    fg_json_dump(t->spec, out);
    fg_str_adds(out, "}\n");
}

static int make_owned(const struct attempt *t, const char *name, struct fg_error *err)
{
    FG_AUTO_FREE char *path = attempt_path(t, name);
    uid_t user = attempt_user(t, &t->agent->set);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fg_fail(err, FG_E_IO, "make '%s': %m", path);
    if (user != (uid_t)-1 && chown(path, user, user) != 0)
        return fg_fail(err, FG_E_IO, "give '%s' to user %u: %m", path, (unsigned)user);
    return 0;
}

static int sync_folder(const char *path, struct fg_error *err)
{
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : fg_fail(err, FG_E_IO, "sync '%s': %m", path);
}

/* No rename: half a file is no JSON, and then the attempt counts as never taken. So one journal commit carries it all,
 * and the folders' syncs find nothing left to do (0.3 ms instead of 0.8). */
int attempt_make_folder(const struct attempt *t, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str json = {0};
    FG_AUTO_FREE char *path = attempt_path(t, "attempt.json");
    if (mkdir(t->dir, 0700) != 0 && errno != EEXIST)
        return fg_fail(err, FG_E_IO, "make '%s': %m", t->dir);
    if (make_owned(t, "work", err) != 0 || make_owned(t, "out", err) != 0)
        return -1;
    encode(t, &json);
    FG_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fg_write_all(fd, json.data, json.len) != 0 || fsync(fd) != 0)
        return fg_fail(err, FG_E_IO, "write '%s': %m", path);
    return sync_folder(t->dir, err) != 0 ? -1 : sync_folder(t->agent->set.attempts, err);
}

int attempt_record(const struct attempt *t, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str json = {0};
    FG_AUTO_FREE char *path = attempt_path(t, "attempt.json");
    encode(t, &json);
    return fg_write_file_atomic(path, json.data, json.len, 0600, err);
}

/* --- what an earlier agent left --- */

static json_t *read_json(const struct attempt *t, const char *file)
{
    FG_AUTO_FREE char *path = attempt_path(t, file);
    FG_AUTO_STR struct fg_str text = {0};
    return fg_read_file(path, 16 << 20, &text, NULL) == 0 ? fg_json_parse(fg_str_cstr(&text), text.len, NULL) : NULL;
}

static void remove_folder(const char *parent, const char *name)
{
    FG_AUTO_FREE char *path = fg_path_join(parent, name);
    struct fg_error err;
    if (fg_remove_tree(path, &err) != 0)
        fg_log_warn("%s", err.text);
}

/* Fill from attempt.json; false when it is not whole: then it was never acted upon. */
static bool load(struct attempt *t)
{
    FG_AUTO_JSON json_t *doc = read_json(t, "attempt.json");
    json_t *spec = json_object_get(doc, "spec");
    if (!json_is_object(spec))
        return false;
    fg_id_parse(fg_json_str(doc, "tenant", ""), "ten", &t->tenant);
    t->epoch = (uint64_t)fg_json_int(doc, "epoch", 0);
    t->limits.memory_bytes = (uint64_t)fg_json_int(doc, "memory_bytes", 0);
    t->limits.share_permille = (uint32_t)fg_json_int(doc, "share_permille", 0);
    t->limits.own_permille = (uint32_t)fg_json_int(doc, "own_permille", t->limits.share_permille);
    t->limits.borrowed = fg_json_bool(doc, "borrowed", false);
    t->limits.cpus_milli = (uint32_t)fg_json_int(doc, "cpus_milli", 0);
    t->limits.host_bytes = (uint64_t)fg_json_int(doc, "host_bytes", 0);
    snprintf(t->moving_to, sizeof t->moving_to, "%s", fg_json_str(doc, "moving_to", ""));
    t->slot = (uint32_t)fg_json_int(doc, "slot", 0);
    t->ending.rebooted = !fg_streq(fg_json_str(doc, "boot_id", ""), t->agent->set.boot_id);
    snprintf(t->device, sizeof t->device, "%s", fg_json_str(doc, "device", ""));
    t->spec = json_incref(spec);
    t->vgpu = true;
    return true;
}

static void scan_one(struct agent *a, const char *name)
{
    char id[FG_ID_TEXT] = "";
    const char *dot = strchr(name, '.');
    fg_id task;
    if (dot && (size_t)(dot - name) < sizeof id)
        memcpy(id, name, (size_t)(dot - name));
    if (!fg_id_parse(id, "tsk", &task)) {
        remove_folder(a->set.attempts, name);    /* half removed, or not ours */
        return;
    }
    struct attempt *t = attempt_create(a, task, (uint32_t)strtoul(dot + 1, NULL, 10));
    if (!load(t)) {
        attempt_destroy(t);
        remove_folder(a->set.attempts, name);
        return;
    }
    runner_adopt(t);
}

void attempt_scan(struct agent *a)
{
    DIR *dir = opendir(a->set.attempts);
    FG_VEC(char *) names = {0};
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            fg_vec_push(&names, fg_strdup(d->d_name));
    if (dir)
        closedir(dir);
    for (size_t i = 0; i < names.count; i++) {
        scan_one(a, names.items[i]);
        free(names.items[i]);
    }
    fg_vec_fini(&names);
}
