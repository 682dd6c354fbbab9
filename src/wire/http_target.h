/* http_target.h - the request target: path and query split, percent-decoded and matched against the patterns of the route
 * table. Pure; input is hostile. Any thread.
 *
 *   /v1/tasks/tsk_01J%39/logs?follow=1  ->  segments: v1 tasks tsk_01J9 logs   query: follow=1 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

enum { FG_TARGET_SEGMENTS = 12, FG_TARGET_QUERY = 24 };

struct fg_target {
    char *text;                          /* owned; what the rest points into */
    const char *segments[FG_TARGET_SEGMENTS];
    size_t segment_count;                /* "/" has none; one more than fits: no route matches */
    struct { const char *name, *value; } query[FG_TARGET_QUERY];
    size_t query_count;
};
/* Take apart "/path?query" or "http://host/path?query". Decoded text is UTF-8 without control bytes, segments hold no slash.
 * FG_E_MALFORMED otherwise; then *ret is empty. */
int fg_target_parse(const char *raw, struct fg_target *ret, struct fg_error *err);
void fg_target_fini(struct fg_target *target);

/* Whether the path fits pattern, e.g. "/v1/tasks/{id}". A parameter takes one segment that is not empty. */
bool fg_target_match(const struct fg_target *target, const char *pattern);
/* The value of {name} of the pattern that matched, or NULL. */
const char *fg_target_param(const struct fg_target *target, const char *pattern, const char *name);
const char *fg_target_query(const struct fg_target *target, const char *name);   /* NULL: not given; "" without "=" */
/* All names are among the '|' separated allowed ones and none comes twice, else FG_E_INVALID that names the nearest. */
int fg_target_check_query(const struct fg_target *target, const char *allowed, struct fg_error *err);
