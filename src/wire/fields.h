/* fields.h - structs to JSON and back by tables: one row per member says where it lies and what it may be; the encoder and
 * the decoder walk the same rows, so that they cannot differ. For trusted but possibly broken peers. Any thread.
 *
 * Members are required unless OPTIONAL; null counts as absent there, and an absent one keeps its zero. Unknown members are
 * ignored. Numbers of 2^63 and more do not occur in bytes or ns; the encoder cuts them to 2^63-1. */
#pragma once
#include <stddef.h>
#include "base/json.h"
#include "base/str.h"

enum fg_field_kind {
    F_ID, F_U32, F_I64, F_U64, F_INT, F_BOOL, F_REAL,
    F_TEXT,                                      /* char[size] in place */
    F_STRING,                                    /* char *, owned */
    F_NAME,                                      /* an enum, by its name: its numbers may shift between versions */
    F_JSON,                                      /* json_t *, an object, owned */
    F_OBJECT, F_ARRAY                            /* a struct; an FG_VEC of structs */
};
enum { OPTIONAL = 1 };

struct fg_names { const char *(*name)(int value); int (*by_name)(const char *name); };
struct fg_field {
    const char *name;
    enum fg_field_kind kind;
    int flags;
    size_t offset, size;                         /* size: of the text, or of one item of an array */
    const void *info;                            /* F_ID: prefix; F_NAME: struct fg_names; F_OBJECT, F_ARRAY: struct fg_fields */
};
struct fg_fields { const struct fg_field *at; size_t count; };

/* Append the members of base to out, which ends in an open object or after a member of it. */
void fg_fields_encode(const struct fg_fields *fields, const void *base, struct fg_str *out);
/* Fill the zeroed base. -1 FG_E_MALFORMED naming the member; base then holds what was decoded so far: fini it. */
int fg_fields_decode(const struct fg_fields *fields, const json_t *obj, void *base, struct fg_error *err);
