/* blob.h - content-addressed bytes as files: ROOT/ab/abcdef...; written beside, hashed while they come, fsynced, renamed. Any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct fg_blob_writer;
/* expect: the SHA-256 it must have, or NULL. */
int fg_blob_begin(const char *root, const char *expect, struct fg_blob_writer **ret, struct fg_error *err);
int fg_blob_append(struct fg_blob_writer *w, const void *data, size_t n, struct fg_error *err);   /* FG_E_STORAGE_FULL */
/* Finish: on disk under its digest. FG_E_INVALID when it is not the expected one. Frees w either way. */
int fg_blob_finish(struct fg_blob_writer *w, char ret_sha256[65], uint64_t *ret_size, struct fg_error *err);
void fg_blob_abort(struct fg_blob_writer *w);    /* NULL is fine */
/* A readable descriptor, the caller's to close; FG_E_NOT_FOUND. */
int fg_blob_open(const char *root, const char *sha256, int *ret_fd, uint64_t *ret_size, struct fg_error *err);
/* Remove what uploads cut short by a crash left under ROOT/tmp; running uploads, of any process, are spared. For the
 * start of a program. ret_removed may be NULL. */
int fg_blob_clean(const char *root, size_t *ret_removed, struct fg_error *err);
