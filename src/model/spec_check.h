/* spec_check.h - the checks of task_spec.c that look inside a value. Private to model.
 * Each returns 0, or -1 with *err filled: FG_E_INVALID, a JSON pointer, mostly a hint. */
#pragma once
#include <jansson.h>
#include "model/task_spec.h"

#define FG_SPEC_ARGS_MAX_BYTES (128u << 10) /* what one exec takes for a single argument; ample for all together */
#define FG_SPEC_ENV_MAX_BYTES (128u << 10)
#define FG_SPEC_LABELS_MAX_BYTES (16u << 10)

/* Where in the input: parts of an RFC 6901 pointer from the root, ended by NULL. */
struct fg_where { const char *part[4]; };

/* Fill *err with "place: text" and pointer; return -1. */
int fg_spec_fail(struct fg_error *err, const struct fg_where *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Add place and pointer to an error that is already filled; return -1. */
int fg_spec_at(struct fg_error *err, const struct fg_where *at);
int fg_spec_missing(struct fg_error *err, const char *key, const char *why);
/* "an object", "a string", ... for messages. */
const char *fg_spec_kind(const json_t *value);
/* Unknown key in an object whose allowed keys are given. */
int fg_spec_unknown(struct fg_error *err, const struct fg_where *at, const char *const *known, size_t n);

int fg_spec_check_strings(const json_t *value, const struct fg_task_field *field, const struct fg_where *at, struct fg_error *err);
int fg_spec_check_map(const json_t *value, const struct fg_task_field *field, const struct fg_where *at, struct fg_error *err);
/* "blob:SHA256"; for input_data also {"image": "blob:SHA256"}. */
int fg_spec_check_input(const json_t *value, const struct fg_task_field *field, const struct fg_where *at, struct fg_error *err);

/* What a command is known by in history: "train", "python3 train.py", "sh -c". The caller's to free. */
char *fg_spec_program(const json_t *command);
