/* io.h - files without surprises. Paths are the program's own; what tenants name goes through fg_open_beneath. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"
#include "base/str.h"

/* Whole file into out (appended), at most max bytes, else FG_E_TOO_LARGE; FG_E_NOT_FOUND when it is not there. */
int fg_read_file(const char *path, size_t max, struct fg_str *out, struct fg_error *err);
/* Write, fsync, rename over path, fsync the folder: after 0 the file is whole and on disk. */
int fg_write_file_atomic(const char *path, const void *data, size_t n, mode_t mode, struct fg_error *err);
/* Write bytes to an existing file (cgroup and sysctl style), one write call. */
int fg_write_existing(const char *path, const char *text, struct fg_error *err);
int fg_write_all(int fd, const void *data, size_t n);    /* 0, or -1 with errno */
int fg_mkdir_p(const char *path, mode_t mode, struct fg_error *err);
/* Remove a tree without following links; a missing one is fine. */
int fg_remove_tree(const char *path, struct fg_error *err);
/* Open relative to dirfd, never leaving it, never through a symbolic or magic link (openat2). -1 with errno. */
int fg_open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/* mkdir -p of path, its last component included, beneath dirfd, same rules. -1 with errno. */
int fg_mkdir_beneath(int dirfd, const char *path, mode_t mode);
char *fg_path_join(const char *a, const char *b);        /* a/b with one slash, even when b starts with one; the caller's to free */
/* SHA-256 as 64 lower-case hex digits + NUL. */
void fg_sha256_hex(const void *data, size_t n, char ret_hex[65]);
/* From the descriptor's position to the end. */
int fg_sha256_fd(int fd, char ret_hex[65], uint64_t *ret_size, struct fg_error *err);
bool fg_is_sha256(const char *text);                     /* exactly 64 lower-case hex digits */
