/* json_out.h - hand-written JSON answers: members are appended to a string, commas placed by what stands before. A NULL or
 * zero value that means "not yet" is written as null, so that every object of a kind has the same members. */
#pragma once
#include "base/id.h"
#include "base/json.h"
#include "base/str.h"

/* key NULL: an element of an array, or the outermost value. */
void fg_out_open(struct fg_str *out, const char *key, char bracket);
void fg_out_close(struct fg_str *out, char bracket);
void fg_out_text(struct fg_str *out, const char *key, const char *text);         /* NULL: null */
void fg_out_int(struct fg_str *out, const char *key, int64_t value);
void fg_out_bool(struct fg_str *out, const char *key, bool value);
void fg_out_null(struct fg_str *out, const char *key);
void fg_out_id(struct fg_str *out, const char *key, const char *prefix, fg_id id);   /* NONE: null */
void fg_out_time(struct fg_str *out, const char *key, int64_t utc_ns);           /* RFC 3339; 0: null */
void fg_out_seconds(struct fg_str *out, const char *key, int64_t ns);            /* < 0: null */
void fg_out_percent(struct fg_str *out, const char *key, uint32_t permille);     /* 0: null */
void fg_out_tenths(struct fg_str *out, const char *key, uint32_t permille);      /* percent, 0: 0.0 */
void fg_out_cores(struct fg_str *out, const char *key, uint32_t milli);          /* 0: null */
void fg_out_money(struct fg_str *out, const char *key, int64_t nanousd);         /* decimal string */
void fg_out_raw(struct fg_str *out, const char *key, const char *json);          /* JSON text as it is; NULL: null */
void fg_out_json(struct fg_str *out, const char *key, const json_t *value);      /* NULL: null */
/* The object has no members but those of "a|b|c": else -1 FG_E_INVALID with pointer, naming the nearest. Not an object: too. */
int fg_json_known(const json_t *object, const char *names, struct fg_error *err);
