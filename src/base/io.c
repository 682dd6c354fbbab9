/* io.c - files: whole reads, atomic writes, trees removed, and paths that tenants name. */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/mem.h"

/* A full disk has its own code: the caller may try again later. */
static enum fg_error_code code_of_errno(void)
{
    return errno == ENOSPC || errno == EDQUOT ? FG_E_STORAGE_FULL : FG_E_IO;
}

static ssize_t read_some(int fd, void *buf, size_t n)
{
    ssize_t got;
    do
        got = read(fd, buf, n);
    while (got < 0 && errno == EINTR);
    return got;
}

/* The size is not asked for beforehand: files below /proc and /sys say 0. One byte more than max tells "too large". */
static int read_rest(int fd, const char *path, size_t max, struct fg_str *out, struct fg_error *err)
{
    size_t total = 0;
    for (;;) {
        size_t want = FG_MIN(FG_MAX(total, 4096), max - total + 1);
        ssize_t got = read_some(fd, fg_str_reserve(out, want), want);
        if (got < 0)
            return fg_fail(err, FG_E_IO, "read '%s': %m", path);
        if (got == 0)
            return 0;
        total += (size_t)got;
        if (total > max)
            return fg_fail(err, FG_E_TOO_LARGE, "'%s' is larger than %zu bytes", path, max);
        out->len += (size_t)got;
        out->data[out->len] = 0;
    }
}

int fg_read_file(const char *path, size_t max, struct fg_str *out, struct fg_error *err)
{
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fg_fail(err, errno == ENOENT || errno == ENOTDIR ? FG_E_NOT_FOUND : FG_E_IO, "open '%s': %m", path);
    size_t before = out->len;
    if (read_rest(fd, path, FG_MIN(max, SIZE_MAX - 1), out, err) == 0)
        return 0;
    out->len = before; /* nothing half read is left behind */
    out->data[before] = 0;
    return -1;
}

int fg_write_all(int fd, const void *data, size_t n)
{
    for (const char *p = data; n > 0;) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static int sync_folder_of(const char *path, struct fg_error *err)
{
    const char *slash = strrchr(path, '/');
    FG_AUTO_FREE char *folder = !slash          ? fg_strdup(".")
                                : slash == path ? fg_strdup("/")
                                                : fg_strndup(path, (size_t)(slash - path));
    FG_AUTO_FD int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return fg_fail(err, code_of_errno(), "sync folder '%s': %m", folder);
    return 0;
}

/* The new file lies beside path, not in /tmp: rename works only within a file system. */
int fg_write_file_atomic(const char *path, const void *data, size_t n, mode_t mode, struct fg_error *err)
{
    FG_AUTO_FREE char *fresh = fg_asprintf("%s.XXXXXX", path);
    FG_AUTO_FD int fd = mkostemp(fresh, O_CLOEXEC);
    if (fd < 0)
        return fg_fail(err, code_of_errno(), "create '%s': %m", fresh);
    if (fchmod(fd, mode) < 0 || fg_write_all(fd, data, n) < 0 || fsync(fd) < 0 || rename(fresh, path) < 0) {
        fg_fail(err, code_of_errno(), "write '%s': %m", path);
        unlink(fresh);
        return -1;
    }
    return sync_folder_of(path, err);
}

int fg_write_existing(const char *path, const char *text, struct fg_error *err)
{
    FG_AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fg_fail(err, errno == ENOENT ? FG_E_NOT_FOUND : FG_E_IO, "open '%s': %m", path);
    size_t n = strlen(text);
    ssize_t put;
    do
        put = write(fd, text, n);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return fg_fail(err, code_of_errno(), "write '%s' to '%s': %m", text, path);
    if ((size_t)put != n) /* a second call would be a second order to the kernel */
        return fg_fail(err, FG_E_IO, "'%s' took only %zd of %zu bytes", path, put, n);
    return 0;
}

int fg_mkdir_p(const char *path, mode_t mode, struct fg_error *err)
{
    FG_AUTO_FREE char *copy = fg_strdup(path);
    for (char *p = copy; *p; p++) {
        if (p == copy || *p != '/' || p[-1] == '/')
            continue;
        *p = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return fg_fail(err, code_of_errno(), "create folder '%s': %m", copy);
        *p = '/';
    }
    if (mkdir(copy, mode) == 0)
        return 0;
    struct stat st;
    if (errno != EEXIST)
        return fg_fail(err, code_of_errno(), "create folder '%s': %m", path);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return fg_fail(err, FG_E_IO, "create folder '%s': a file of that name is there", path);
    return 0;
}

/* Removing a tree that a tenant made. It may be deep enough to exhaust descriptors, and its folders may forbid us to
 * read them. So at MAX_DEPTH a folder is moved up to the top and taken from there in the next round, and
 * each folder is made ours before it is entered. */
#define MAX_DEPTH 32

struct removal {
    int top;        /* the folder being emptied */
    unsigned moved; /* folders moved to the top so far */
};

/* O_PATH needs no permission and follows no link; the way back through /proc/self/fd cannot be exchanged under us. */
static int open_folder(int at, const char *name)
{
    FG_AUTO_FD int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if ((st.st_mode & 0700) != 0700) {
        char self[40];
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        if (chmod(self, (st.st_mode & 07777) | 0700) < 0)
            return -1;
    }
    return openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The tenant may have used our name for something of his: then the next number. */
static int move_to_top(struct removal *r, int at, const char *name)
{
    for (;;) {
        char fresh[40];
        snprintf(fresh, sizeof fresh, ".fastgpu-removing-%u", r->moved++);
        if (renameat(at, name, r->top, fresh) == 0 || errno == ENOENT)
            return 0;
        if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
            return -1;
    }
}

static int empty_folder(struct removal *r, int fd, int depth);

static int remove_entry(struct removal *r, int at, const char *name, int depth)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM) /* POSIX says EPERM for a folder, Linux EISDIR */
        return -1;
    int fd = open_folder(at, name);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (depth == MAX_DEPTH) {
        close(fd);
        return move_to_top(r, at, name);
    }
    if (empty_folder(r, fd, depth + 1) < 0)
        return -1;
    return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

/* Closes fd. */
static int empty_folder(struct removal *r, int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -1;
    }
    struct dirent *entry;
    int rc = 0;
    while (rc == 0 && (errno = 0, entry = readdir(dir)))
        if (!fg_streq(entry->d_name, ".") && !fg_streq(entry->d_name, ".."))
            rc = remove_entry(r, fd, entry->d_name, depth);
    if (rc == 0 && errno != 0)
        rc = -1;
    int saved = errno;
    closedir(dir);
    errno = saved;
    return rc;
}

/* Rounds until one of them moved nothing: then the folder is empty. */
static int empty_in_rounds(struct removal *r)
{
    unsigned before;
    do {
        before = r->moved;
        int fd = openat(r->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || empty_folder(r, fd, 0) < 0)
            return -1;
    } while (r->moved != before);
    return 0;
}

int fg_remove_tree(const char *path, struct fg_error *err)
{
    FG_AUTO_FD int top = open_folder(AT_FDCWD, path);
    if (top < 0 && errno == ENOENT)
        return 0;
    bool is_file = top < 0 && (errno == ENOTDIR || errno == ELOOP);
    struct removal r = {.top = top};
    if (is_file ? unlink(path) < 0 : top < 0 || empty_in_rounds(&r) < 0 || rmdir(path) < 0)
        return fg_fail(err, FG_E_IO, "remove '%s': %m", path);
    return 0;
}

/* EAGAIN: a rename elsewhere raced with the walk and the kernel could not be sure; it asks to be called again. */
int fg_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0, /* openat2 refuses a mode that nothing uses */
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd;
    int tries = 0;
    do
        fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN) && ++tries < 100);
    return (int)fd;
}

/* One component at a time from a descriptor: nothing made by one step can lead the next one elsewhere. */
int fg_mkdir_beneath(int dirfd, const char *path, mode_t mode)
{
    FG_AUTO_FREE char *copy = fg_strdup(path);
    FG_AUTO_FD int at = fg_open_beneath(dirfd, *path == '/' ? path : ".", O_PATH | O_DIRECTORY, 0);
    char *rest = copy;
    for (char *name; at >= 0 && (name = strsep(&rest, "/"));) {
        if (*name == 0)
            continue;
        if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
            return -1;
        int next = fg_open_beneath(at, name, O_PATH | O_DIRECTORY, 0);
        int saved = errno;
        close(at);
        errno = saved;
        at = next;
    }
    return at < 0 ? -1 : 0;
}

char *fg_path_join(const char *a, const char *b)
{
    size_t n = strlen(a);
    while (n > 1 && a[n - 1] == '/')
        n--;
    while (*b == '/')
        b++;
    return fg_asprintf("%.*s%s%s", (int)n, a, n == 0 || a[n - 1] == '/' ? "" : "/", b);
}

void fg_sha256_hex(const void *data, size_t n, char ret_hex[65])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, data, n);
    sodium_bin2hex(ret_hex, 65, hash, sizeof hash);
}

int fg_sha256_fd(int fd, char ret_hex[65], uint64_t *ret_size, struct fg_error *err)
{
    crypto_hash_sha256_state state;
    unsigned char buf[65536], hash[crypto_hash_sha256_BYTES];
    uint64_t size = 0;
    ssize_t got;
    crypto_hash_sha256_init(&state);
    while ((got = read_some(fd, buf, sizeof buf)) > 0) {
        crypto_hash_sha256_update(&state, buf, (size_t)got);
        size += (uint64_t)got;
    }
    if (got < 0)
        return fg_fail(err, FG_E_IO, "read for SHA-256: %m");
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(ret_hex, 65, hash, sizeof hash);
    if (ret_size)
        *ret_size = size;
    return 0;
}

bool fg_is_sha256(const char *text) { return text && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64; }
