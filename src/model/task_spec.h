/* task_spec.h - check a submitted JSON object against api/task.toml and turn it into a spec. Pure. Any thread. */
#pragma once
#include <jansson.h>
#include "model/task.h"

/* Fill *ret_spec (the caller's; fg_spec_fini). Errors are FG_E_INVALID with a JSON pointer to the place and a hint:
 * unknown field (names the nearest), wrong type, out of range, missing, a path where a blob belongs, and what the
 * task type asks for (command: a command; others: model_name and input_data). Then *ret_spec is untouched. */
int fg_task_spec_parse(const json_t *object, struct fg_spec *ret_spec, struct fg_error *err);
/* The table, for help and the manual. */
enum fg_field_type {
    FG_FIELD_STRING, FG_FIELD_INTEGER, FG_FIELD_NUMBER, FG_FIELD_BOOLEAN, FG_FIELD_BYTES, FG_FIELD_PERCENT, FG_FIELD_CORES,
    FG_FIELD_SECONDS, FG_FIELD_MONEY, FG_FIELD_ENUM, FG_FIELD_STRINGS, FG_FIELD_MAP, FG_FIELD_INPUT, FG_FIELD_OBJECT
};
struct fg_task_field { const char *path; enum fg_field_type type; bool required; int64_t min, max; const char *choices, *fallback, *doc; };
extern const struct fg_task_field fg_task_fields[];
extern const size_t fg_task_field_count;
