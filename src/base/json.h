/* json.h - strict reading over jansson, and the few getters everyone needs.
 * Strict: UTF-8, no duplicate keys, depth <= 64, one value and nothing after it, integers within int64. Any thread. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

#define FG_JSON_MAX_DEPTH 64
static inline void fg_cleanup_json(json_t **j) { json_decref(*j); }
#define FG_AUTO_JSON __attribute__((cleanup(fg_cleanup_json)))

/* A new reference, or NULL with *err (FG_E_MALFORMED; the text names line, column and what is wrong). */
json_t *fg_json_parse(const char *text, size_t len, struct fg_error *err);
/* Compact text appended to out. */
void fg_json_dump(const json_t *j, struct fg_str *out);
/* Append a JSON string literal, quotes included, to out; invalid UTF-8 becomes U+FFFD. For hand-rolled hot paths. */
void fg_json_quote(struct fg_str *out, const char *s, size_t n);

/* Member of an object or a default; wrong type counts as absent (for trusted peers; input from users goes through model/task_spec). */
const char *fg_json_str(const json_t *obj, const char *key, const char *fallback);
int64_t fg_json_int(const json_t *obj, const char *key, int64_t fallback);
bool fg_json_bool(const json_t *obj, const char *key, bool fallback);
