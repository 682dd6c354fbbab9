/* submit.h - from a JSON object to a task of the core: what a submit, an item of a batch and a retry have in common. */
#pragma once
#include "control/server.h"

#define FG_IDEMPOTENCY_MAX 255

/* Check a spec: its fields, that its blobs are the tenant's, its model is known, and some device could ever take it. */
int fg_submit_check(struct fg_server *s, fg_id tenant, const json_t *object, struct fg_spec *ret_spec, struct fg_error *err);
/* Enter it into the core under a new id. key NULL: not idempotent. */
int fg_submit_enter(struct fg_server *s, fg_id tenant, struct fg_spec *spec, const char *key, const char body_hash[65],
                    fg_id *ret_task, struct fg_error *err);
/* Enter all tasks of an array (spec->array_size of them), under one key. ret_tasks has room for all. */
int fg_submit_array(struct fg_server *s, fg_id tenant, const struct fg_spec *spec, const char *key, const char body_hash[65],
                    fg_id *ret_tasks, struct fg_error *err);
/* Whether key was used before: 1 with the first task, 0 not, -1 FG_E_IDEMPOTENCY_MISMATCH: with another body. */
int fg_submit_repeated(struct fg_server *s, fg_id tenant, const char *key, const char body_hash[65], fg_id *ret_task, struct fg_error *err);
/* The request's Idempotency-Key: NULL in *ret when there is none. */
int fg_submit_key(struct fg_http_request *req, const char **ret, struct fg_error *err);
/* What the spec would be given now, as JSON. */
int fg_submit_quote(struct fg_server *s, const struct fg_spec *spec, struct fg_str *out, struct fg_error *err);
