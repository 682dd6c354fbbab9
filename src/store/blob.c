/* blob.c - see blob.h.
 *
 *   ROOT/tmp/PID.N      being written: held under flock, so that leftovers (nobody holds them) can be told and removed
 *   ROOT/ab/abcdef...   whole, on disk, named by its SHA-256; never changed again */
#include "store/blob.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <string.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/mem.h"

struct fg_blob_writer {
    char *root, *temp;                   /* temp NULL: gone */
    int fd;
    char expect[65];                     /* "" when anything goes */
    crypto_hash_sha256_state hash;
    uint64_t size;
    struct fg_error failed;              /* code set: an append failed, the file is gone */
};

static enum fg_error_code io_code(int error)
{
    return error == ENOSPC || error == EDQUOT ? FG_E_STORAGE_FULL : FG_E_IO;
}

static void drop_temp(struct fg_blob_writer *w)
{
    if (w->temp)
        unlink(w->temp);
    if (w->fd >= 0)
        close(w->fd);
    free(w->temp);
    w->temp = NULL;
    w->fd = -1;
}

void fg_blob_abort(struct fg_blob_writer *w)
{
    if (!w)
        return;
    drop_temp(w);
    free(w->root);
    free(w);
}

/* A cleaner may find the file between its making and its locking, and remove it: then it has no name left; try again. */
static int make_temp(struct fg_blob_writer *w, struct fg_error *err)
{
    static atomic_uint_fast64_t counter;
    for (;;) {
        FG_AUTO_FREE char *path = fg_asprintf("%s/tmp/%d.%llu", w->root, (int)getpid(), (unsigned long long)atomic_fetch_add(&counter, 1));
        FG_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && errno == EEXIST)
            continue;                    /* left by an earlier process of this number */
        struct stat st;
        if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &st) < 0)
            return fg_fail(err, io_code(errno), "make '%s': %m", path);
        if (st.st_nlink == 0)
            continue;
        w->temp = fg_take_ptr(path);
        w->fd = fg_take_fd(fd);
        return 0;
    }
}

int fg_blob_begin(const char *root, const char *expect, struct fg_blob_writer **ret, struct fg_error *err)
{
    if (expect && !fg_is_sha256(expect))
        return fg_fail(err, FG_E_INVALID, "'%.80s' is not a SHA-256 in lower-case hex", expect);
    struct fg_blob_writer *w = fg_alloc(sizeof *w);
    w->fd = -1;
    w->root = fg_strdup(root);
    if (expect)
        memcpy(w->expect, expect, sizeof w->expect);
    crypto_hash_sha256_init(&w->hash);
    FG_AUTO_FREE char *tmp = fg_path_join(root, "tmp");
    if (fg_mkdir_p(tmp, 0700, err) < 0 || make_temp(w, err) < 0) {
        fg_blob_abort(w);
        return -1;
    }
    *ret = w;
    return 0;
}

int fg_blob_append(struct fg_blob_writer *w, const void *data, size_t n, struct fg_error *err)
{
    if (!w->failed.code && fg_write_all(w->fd, data, n) < 0) {
        fg_fail(&w->failed, io_code(errno), "write '%s': %m", w->temp);
        drop_temp(w);                    /* now, not when the upload ends: the room is needed */
    }
    if (w->failed.code) {
        if (err)
            *err = w->failed;
        return -1;
    }
    crypto_hash_sha256_update(&w->hash, data, n);
    w->size += n;
    return 0;
}

static int sync_folder(const char *path, struct fg_error *err)
{
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return fg_fail(err, io_code(errno), "fsync '%s': %m", path);
    return 0;
}

/* Bytes first, then the name. One that is there already has the same bytes: replaced all the same, which also
 * makes good what a damaged disk did to it. */
static int publish(struct fg_blob_writer *w, const char *sha256, struct fg_error *err)
{
    FG_AUTO_FREE char *folder = fg_asprintf("%s/%.2s", w->root, sha256);
    FG_AUTO_FREE char *path = fg_path_join(folder, sha256);
    if (fsync(w->fd) < 0)
        return fg_fail(err, io_code(errno), "fsync '%s': %m", w->temp);
    if (mkdir(folder, 0700) == 0) {
        if (sync_folder(w->root, err) < 0)
            return -1;
    } else if (errno != EEXIST) {
        return fg_fail(err, io_code(errno), "mkdir '%s': %m", folder);
    }
    if (rename(w->temp, path) < 0)
        return fg_fail(err, io_code(errno), "rename '%s' to '%s': %m", w->temp, path);
    free(w->temp);
    w->temp = NULL;
    return sync_folder(folder, err);
}

int fg_blob_finish(struct fg_blob_writer *w, char ret_sha256[65], uint64_t *ret_size, struct fg_error *err)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    char sha256[65];
    crypto_hash_sha256_final(&w->hash, digest);
    sodium_bin2hex(sha256, sizeof sha256, digest, sizeof digest);
    int result = -1;
    if (w->failed.code) {
        if (err)
            *err = w->failed;
    } else if (w->expect[0] && strcmp(w->expect, sha256) != 0) {
        fg_fail(err, FG_E_INVALID, "the %llu bytes have SHA-256 %s, not %s", (unsigned long long)w->size, sha256, w->expect);
    } else if (publish(w, sha256, err) == 0) {
        memcpy(ret_sha256, sha256, sizeof sha256);
        if (ret_size)
            *ret_size = w->size;
        result = 0;
    }
    fg_blob_abort(w);
    return result;
}

int fg_blob_open(const char *root, const char *sha256, int *ret_fd, uint64_t *ret_size, struct fg_error *err)
{
    if (!fg_is_sha256(sha256))
        return fg_fail(err, FG_E_NOT_FOUND, "no blob '%.80s'", sha256);
    FG_AUTO_FREE char *path = fg_asprintf("%s/%.2s/%s", root, sha256, sha256);
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return fg_fail(err, FG_E_NOT_FOUND, "no blob %s", sha256);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fg_fail(err, FG_E_IO, "open '%s': %m", path);
    if (ret_size)
        *ret_size = (uint64_t)st.st_size;
    *ret_fd = fg_take_fd(fd);
    return 0;
}

/* Whether the file was left by a writer that is gone; then it is removed. */
static bool remove_leftover(int folder, const char *name)
{
    FG_AUTO_FD int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(folder, name, 0) == 0;
}

int fg_blob_clean(const char *root, size_t *ret_removed, struct fg_error *err)
{
    size_t removed = 0;
    FG_AUTO_FREE char *tmp = fg_path_join(root, "tmp");
    DIR *dir = opendir(tmp);
    if (!dir && errno != ENOENT)
        return fg_fail(err, FG_E_IO, "open '%s': %m", tmp);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && remove_leftover(dirfd(dir), entry->d_name))
            removed++;
    if (dir)
        closedir(dir);
    if (ret_removed)
        *ret_removed = removed;
    return 0;
}
