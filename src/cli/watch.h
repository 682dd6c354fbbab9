/* watch.h - the process that `fgpu up` leaves behind: starts serve and agent, starts again what dies, stops both. */
#pragma once
#include "cli/cli.h"

struct cli_watch {
    const char *data_dir;
    const char *config_file;             /* NULL: the usual one */
    const struct cli_flags *flags;
    bool detached;                       /* in a session of its own; else it ends with the process that started it */
};
#define CLI_WATCH_TAKEN 75               /* another watcher has the data folder */
/* Fork it. Returns its pid; -1 with *err. Its exit status: 0 stopped by a signal, CLI_WATCH_TAKEN, 1 gave up (up.log says why). */
int cli_watch_start(const struct cli_watch *watch, struct fg_error *err);
/* The url that a ready server of data_dir wrote down; NULL while there is none. The caller's to free. */
char *cli_watch_url(const char *data_dir);
