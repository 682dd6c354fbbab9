/* error.h - one fixed-size error that travels up by value.
 *
 * A function that can fail takes `struct fg_error *err` last and returns -1 (or NULL) with it filled.
 * The text says what failed and where; pointer names the place in the input (a JSON pointer, a flag or
 * a file:line); hint says what to do. Nothing is allocated. Any thread. NULL err is allowed everywhere. */
#pragma once
#include <stddef.h>
#include "api_errors.h"

enum fg_error_code {
    FG_E_NONE = 0,
#define X(NAME, ...) FG_E_##NAME,
    FG_ERROR_LIST(X)
#undef X
    FG_E_COUNT
};

struct fg_error {
    enum fg_error_code code;
    char text[400];
    char pointer[120];
    char hint[240];
};

struct fg_error_info {
    const char *name;    /* stable code on the wire, e.g. "not_found" */
    int http_status;
    int exit_code;       /* of the fgpu command */
    int retryable;
    const char *title;
};

/* The row of api/errors.toml for code; that of "internal" when it is out of range. Never NULL. */
const struct fg_error_info *fg_error_info(enum fg_error_code code);
/* The code with this wire name, or FG_E_INTERNAL. */
enum fg_error_code fg_error_code_by_name(const char *name);

/* Fill *err and return -1, so that a failure is one line. %m works. Clears pointer and hint. */
int fg_fail(struct fg_error *err, enum fg_error_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Set the pointer or hint of an error that is already filled; return -1. */
int fg_fail_at(struct fg_error *err, const char *pointer_fmt, ...) __attribute__((format(printf, 2, 3)));
int fg_fail_hint(struct fg_error *err, const char *hint_fmt, ...) __attribute__((format(printf, 2, 3)));
/* Put "prefix: " before the text, keeping code, pointer and hint; return -1. */
int fg_fail_prefix(struct fg_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
