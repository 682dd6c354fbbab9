/* cli.h - the `fgpu` command: one verb, one file, one table of options. Single-threaded; a client of the HTTP API. */
#pragma once
#include <stdio.h>
#include "base/config.h"
#include "base/io.h"
#include "base/json.h"
#include "cli/options.h"
#include "cli/text.h"

#define CLI_INTERRUPTED 130

struct cli_api;
struct cli {
    bool json, quiet, color;             /* color: stdout is a terminal that may be coloured */
    const char *config_file;             /* NULL: the usual one */
    const struct cli_args *args;
    struct cli_api *api;                 /* made by the first request */
};

struct cli_verb {
    const char *name;                    /* "ps"; of a family "models import": its first verb is what the bare word means */
    const char *usage;                   /* what follows the name; further forms after '\n' */
    const char *summary;                 /* half a sentence, no full stop */
    const char *text;                    /* more for --help and the manual; paragraphs split by '\n'; may be NULL */
    const struct cli_option *options;    /* ended by a row without name */
    int min, max;                        /* names it takes; max -1: any number */
    bool command;                        /* takes "-- CMD ARGS" */
    /* The exit status; or -1 with *err, whose code has one. */
    int (*run)(struct cli *cli, const struct cli_args *args, struct fg_error *err);
};
struct cli_group { const char *title; const struct cli_verb *const *verbs; };   /* verbs ended by NULL */
extern const struct cli_group cli_groups[];      /* ended by a row without title */
/* Every verb in turn, NULL after the last. */
const struct cli_verb *cli_verb_at(size_t i);
/* The verb that words name; *ret_used: how many of them. NULL with *err, which names the nearest. */
const struct cli_verb *cli_verb_find(char **words, size_t *ret_used, struct fg_error *err);

/* --- print.c --- */
void cli_print_error(const struct fg_error *err);
void cli_note(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* stderr; nothing with --quiet */
int cli_put(const struct fg_str *text, struct fg_error *err);                  /* to stdout; a closed pipe ends the program */
int cli_put_line(struct fg_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_put_json(const json_t *j, struct fg_error *err);                       /* one line */
/* The members of obj[list], one a line, as --json prints lists. */
int cli_put_json_list(const json_t *obj, const char *list, struct fg_error *err);
int cli_put_table(const struct cli *cli, struct cli_table *t, struct fg_error *err);   /* and finish it */
/* A member as text that is safe to print; fallback when it is absent or null. The caller's to free. */
char *cli_member(const json_t *obj, const char *key, const char *fallback);

/* --- settings.c --- */
/* Settings with the verb's --listen, --data-dir and --set on top. */
int cli_settings(const struct cli *cli, const struct cli_args *args, struct fg_config **ret, struct fg_error *err);
char *cli_data_dir(const struct fg_config *config);                            /* absolute; the caller's to free */
/* "key=value" flags as the verb's options gave them, for a child that takes --set. */
struct cli_flags { FG_VEC(char *) items; };
int cli_flags(const struct cli_args *args, struct cli_flags *ret, struct fg_error *err);
void cli_flags_fini(struct cli_flags *flags);
#define CLI_SETTING_OPTIONS                                                                                                   \
    {"listen", 0, CLI_TEXT, "ADDRESS:PORT", "Address of the HTTP API; port 0 takes a free one."},                              \
    {"data-dir", 0, CLI_PATH, "DIR", "Folder of database, logs and caches."},                                                  \
    {"set", 0, CLI_LIST, "KEY=VALUE", "Any setting of the settings file; may be repeated."}

/* --- help.c, man.c, completion.c: all from the tables --- */
void cli_help_all(struct fg_str *out);
void cli_help_verb(const struct cli_verb *verb, struct fg_str *out);
void cli_man(struct fg_str *out);
void cli_completion_bash(struct fg_str *out);
