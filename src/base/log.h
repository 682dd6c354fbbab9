/* log.h - one line per call to stderr: time, level, area, text. Control bytes in the text are escaped,
 * anything that looks like a key (fgpu_...) is redacted. Programs log, libraries return errors. Any thread. */
#pragma once
enum fg_log_level { FG_LOG_ERROR, FG_LOG_WARN, FG_LOG_INFO, FG_LOG_DEBUG };
void fg_log_setup(const char *area, enum fg_log_level level);
int fg_log_level_by_name(const char *name);      /* -1 when unknown */
void fg_log_at(enum fg_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define fg_log_error(...) fg_log_at(FG_LOG_ERROR, __VA_ARGS__)
#define fg_log_warn(...) fg_log_at(FG_LOG_WARN, __VA_ARGS__)
#define fg_log_info(...) fg_log_at(FG_LOG_INFO, __VA_ARGS__)
#define fg_log_debug(...) fg_log_at(FG_LOG_DEBUG, __VA_ARGS__)
