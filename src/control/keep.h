/* keep.h - what is not kept for ever: the output of tasks that ended long ago (keep_logs_days). Tasks, results, events, usage and
 * blobs stay. */
#pragma once
#include "control/server.h"

struct fg_keep;
struct fg_keep *fg_keep_create(const struct fg_config *config);
void fg_keep_destroy(struct fg_keep *keep);      /* NULL is fine */
/* Once a second: look at a few files. A round over all of them begins at the start and each hour. */
void fg_keep_tick(struct fg_server *s, int64_t now_ns);
/* Whether the task ended so long ago that its output is deleted or about to be. */
bool fg_keep_is_over(struct fg_server *s, const struct fg_task *task);
int64_t fg_keep_days(const struct fg_server *s); /* 0: for ever */
