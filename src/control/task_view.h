/* task_view.h - a task as JSON, the same in every answer; the members are told in tools/gen_openapi.py, schema Task. */
#pragma once
#include "control/server.h"

void fg_out_task(struct fg_str *out, const char *key, struct fg_server *s, struct fg_found *f);
/* {"id", "state", "result" | "error", "outputs", "cost", "timings", ...} of an ended task. */
void fg_out_result(struct fg_str *out, struct fg_server *s, struct fg_found *f);
/* {"code", "title", "detail", "pointer", "hint"}: an error of one item within an answer. */
void fg_out_error(struct fg_str *out, const char *key, const struct fg_error *err);
void fg_out_need(struct fg_str *out, const char *key, const struct fg_need *need);
void fg_out_cost(struct fg_str *out, const char *key, int64_t nanousd, const char *lines);
void fg_labels_destroy(struct label_slot *slots);
