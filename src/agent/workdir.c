/* workdir.c - the files an attempt starts with, from its manifest
 *   {"files": [{"path", "blob", "mode", "size"}], "dirs": [...]}
 * and its input. Paths are the tenant's: every one is resolved beneath work/ without following a link. Files are copied,
 * since the task may change them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "base/io.h"
#include "base/json.h"

static const char *digest_of(const json_t *file)
{
    const char *blob = fg_json_str(file, "blob", "");
    return fg_starts_with(blob, "blob:") ? blob + 5 : blob;
}

int workdir_wants(const json_t *manifest, struct attempt *t, struct fg_error *err)
{
    size_t i;
    json_t *file;
    if (!json_is_array(json_object_get(manifest, "files")))
        return fg_fail(err, FG_E_INVALID, "the workdir manifest has no list of files");
    json_array_foreach(json_object_get(manifest, "files"), i, file) {
        if (!fg_is_sha256(digest_of(file)) || !*fg_json_str(file, "path", ""))
            return fg_fail(err, FG_E_INVALID, "file %zu of the workdir manifest has no path or no blob", i);
        fg_vec_push(&t->wants, fg_strdup(digest_of(file)));
    }
    return 0;
}

static int refuse(struct fg_error *err, const char *path, int error)
{
    bool outside = error == EXDEV || error == ELOOP || error == EINVAL || error == ENOTDIR || error == ENAMETOOLONG;
    return fg_fail(err, outside || error == EEXIST ? FG_E_INVALID : FG_E_IO, "workdir path '%.200s'%s: %s", path,
                   outside ? " does not stay in the working directory" : "", strerror(error));
}

/* open beneath work/, its folders made, all of it the task user's. */
static int open_new(int work, const char *path, mode_t mode, struct fg_error *err)
{
    FG_AUTO_FREE char *folder = fg_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        *slash = '\0';
        if (*folder && fg_mkdir_beneath(work, folder, 0755) != 0)
            return refuse(err, path, errno);
    }
    int fd = fg_open_beneath(work, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    return fd < 0 ? refuse(err, path, errno) : fd;
}

static int copy_in(const struct agent *a, const char *sha256, int to, struct fg_error *err)
{
    FG_AUTO_FREE char *path = pull_cached(a, sha256);
    FG_AUTO_FD int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return fg_fail(err, FG_E_NOT_FOUND, "blob %.12s is gone from the cache: %m", sha256);
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return fg_fail(err, errno == ENOSPC ? FG_E_STORAGE_FULL : FG_E_IO, "copy blob %.12s: %m", sha256);
    }
}

static int place_file(const struct agent *a, int work, const char *path, const char *sha256, mode_t mode, uid_t user, struct fg_error *err)
{
    FG_AUTO_FD int fd = open_new(work, path, mode, err);
    if (fd < 0 || copy_in(a, sha256, fd, err) != 0)
        return -1;
    if (fchmod(fd, mode) != 0 || (user != (uid_t)-1 && fchown(fd, user, user) != 0))
        return fg_fail(err, FG_E_IO, "own '%s': %m", path);
    return 0;
}

/* Every folder below work/ becomes the task user's, as the files are. */
static int own_folders(int work, const char *path, uid_t user, struct fg_error *err)
{
    FG_AUTO_FREE char *part = fg_strdup(path);
    for (char *slash = strrchr(part, '/'); user != (uid_t)-1 && slash; slash = strrchr(part, '/')) {
        *slash = '\0';
        FG_AUTO_FD int fd = *part ? fg_open_beneath(work, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) : -1;
        if (fd >= 0 && fchown(fd, user, user) != 0)
            return fg_fail(err, FG_E_IO, "own '%s': %m", part);
    }
    return 0;
}

static int place_manifest(const struct agent *a, const json_t *manifest, int work, uid_t user, struct fg_error *err)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(manifest, "dirs"), i, item) {
        const char *path = json_is_string(item) ? json_string_value(item) : "";
        FG_AUTO_FREE char *marked = fg_asprintf("%s/", path);
        if (fg_mkdir_beneath(work, path, 0755) != 0)
            return refuse(err, path, errno);
        if (own_folders(work, marked, user, err) != 0)
            return -1;
    }
    json_array_foreach(json_object_get(manifest, "files"), i, item) {
        const char *path = fg_json_str(item, "path", "");
        mode_t mode = (mode_t)(fg_json_int(item, "mode", 0644) & 0777) | 0600;
        if (place_file(a, work, path, digest_of(item), mode, user, err) != 0 || own_folders(work, path, user, err) != 0)
            return -1;
    }
    return 0;
}

int workdir_place(const struct agent *a, const struct attempt *t, struct fg_error *err)
{
    FG_AUTO_FREE char *path = attempt_path(t, "work");
    FG_AUTO_FD int work = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uid_t user = attempt_user(t, &a->set);
    const char *input = pull_input(t->spec);
    if (work < 0)
        return fg_fail(err, FG_E_IO, "open '%s': %m", path);
    if (t->manifest && place_manifest(a, t->manifest, work, user, err) != 0)
        return -1;
    if (input && place_file(a, work, "input", input, 0644, user, err) != 0)
        return -1;
    if (fg_streq(fg_json_str(t->spec, "task_type", "command"), "command"))
        return 0;
    static const char request[] = "{\"id\":1,\"input\":\"input\",\"parameters\":{}}\n";
    FG_AUTO_FD int fd = open_new(work, "request.json", 0644, err);
    if (fd < 0)
        return -1;
    return fg_write_all(fd, request, sizeof request - 1) == 0 ? 0 : fg_fail(err, FG_E_IO, "write request.json: %m");
}
