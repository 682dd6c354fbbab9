/* options.h - what a verb takes: one table per verb, from which parsing, --help, the manual and the completion come.
 *
 * Options may stand before and after the names; "--" ends them, and what follows is a program and its arguments.
 * A value is checked when it is parsed, so a verb never sees "--mem lots". */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "base/vec.h"

enum cli_type { CLI_FLAG, CLI_TEXT, CLI_PATH, CLI_LIST, CLI_INTEGER, CLI_BYTES, CLI_DURATION, CLI_SHARE, CLI_MONEY, CLI_CHOICE };
struct cli_option {
    const char *name;                    /* without "--"; NULL ends a table */
    char letter;                         /* 0: none */
    enum cli_type type;
    const char *metavar;                 /* shown for the value; of CLI_CHOICE "low|normal|high": what is allowed */
    const char *doc;                     /* one sentence */
};
extern const struct cli_option cli_global_options[];   /* every verb takes these, too */

struct cli_given { const struct cli_option *option; const char *value; };
struct cli_args {
    const struct cli_option *own;
    FG_VEC(struct cli_given) given;      /* in the order they came */
    FG_VEC(const char *) names;
    bool dashes;                         /* "--" was there */
    char **command;                      /* what followed it, NULL at the end */
    size_t command_count;
};
/* argv: without program and verb, ended by NULL; the strings stay the caller's. -1 FG_E_INVALID with the option as
 * pointer and, for an unknown one, the nearest as hint; ret_args is to be finished in either case. */
int cli_parse(const struct cli_option *own, char **argv, struct cli_args *ret_args, struct fg_error *err);
void cli_args_fini(struct cli_args *args);

/* By name; one that is in no table aborts. The last one given wins. */
bool cli_flag(const struct cli_args *args, const char *name);
const char *cli_text(const struct cli_args *args, const char *name);            /* NULL: not given */
long cli_integer(const struct cli_args *args, const char *name, long fallback);
/* The values of an option that may be repeated: start with *at = 0; NULL after the last. */
const char *cli_each(const struct cli_args *args, const char *name, size_t *at);
