/* log_files.h - attempts' logs as files, DATA/logs/TASK.ATTEMPT.log, appended to as agents send them (wire/logfile.h). */
#pragma once
#include "control/server.h"

struct fg_log_file;
struct fg_logs *fg_logs_create(const char *dir);
void fg_logs_destroy(struct fg_logs *logs);
char *fg_log_path(const struct fg_logs *logs, fg_id task, uint32_t attempt);     /* the caller's to free */
uint64_t fg_log_size(struct fg_logs *logs, fg_id task, uint32_t attempt);        /* 0 when there is none */

enum fg_log_append { FG_LOG_APPENDED, FG_LOG_HAVE, FG_LOG_GAP, FG_LOG_REFUSED };
/* Append a piece that belongs at offset. HAVE: nothing new in it; GAP: it belongs further on than the file goes, or
 * REFUSED: the disk took it not. After GAP and REFUSED the agent must be told where to go on: *ret_ask is set when it
 * has not been told already. *ret_size is the file's size now. */
enum fg_log_append fg_log_append(struct fg_logs *logs, fg_id task, uint32_t attempt, uint64_t offset, const void *data, size_t n,
                                 int64_t now_ns, uint64_t *ret_size, bool *ret_ask);
/* Logs whose last piece was refused, once a second each: ask is called with where to go on. */
void fg_logs_retry(struct fg_logs *logs, int64_t now_ns, void (*ask)(void *arg, fg_id task, uint32_t attempt, uint64_t offset), void *arg);
bool fg_log_incomplete(struct fg_logs *logs, fg_id task, uint32_t attempt);      /* a piece was refused and has not come since */
/* Forget that agents were asked: their connections are new. */
void fg_logs_reconnected(struct fg_logs *logs);
/* Close descriptors that were not used for a while. */
void fg_logs_sweep(struct fg_logs *logs, int64_t now_ns);
void fg_log_close(struct fg_logs *logs, fg_id task, uint32_t attempt);
