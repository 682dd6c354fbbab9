/* logs.h - a task's output to ours: stdout to stdout, stderr to stderr; raw, unless it is a terminal that reads it. */
#pragma once
#include <signal.h>
#include "cli/cli.h"

struct cli_logs {
    struct cli *cli;
    const char *id;
    const char *source;                  /* stdout, stderr, system; NULL: all */
    long tail;                           /* records; -1: all */
    long attempt;                        /* 0: the last */
    bool follow;                         /* to its end, over cut connections */
    const volatile sig_atomic_t *stop;
    /* private */
    struct cli_filter filters[3];        /* by descriptor */
    bool tty[3];
};
int cli_logs(struct cli_logs *logs, struct fg_error *err);
