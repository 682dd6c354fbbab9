/* pidfile.h - DATA/up.pid: who watches serve and agent of a data folder. Its holder keeps it locked, so that a pid that
 * was left behind, or that another program got since, is never mistaken for ours. */
#pragma once
#include <sys/types.h>
#include "base/error.h"

/* Take it for this process until it ends: 0 with *ret_fd, or 1 when another process has it. */
int cli_pid_take(const char *data_dir, int *ret_fd, struct fg_error *err);
/* Its holder, 0 when there is none. */
pid_t cli_pid_holder(const char *data_dir);
