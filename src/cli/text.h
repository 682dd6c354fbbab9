/* text.h - what came from tasks, made safe for a terminal; and tables. */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include "base/str.h"
#include "base/vec.h"

/* Append s with control characters (C0, DEL, C1) and bytes that are no UTF-8 as \n, \t or \xNN: one line, no tricks. */
void cli_clean(struct fg_str *out, const char *s, size_t n);

/* Output of a task on its way to a terminal. Newline, tab and carriage return pass, and colours (SGR) if allowed; other
 * control sequences are dropped, stray control bytes are escaped. Works on pieces cut anywhere. Zero-initialised, then set color. */
struct cli_filter {
    bool color;
    bool tinted;                         /* a colour is on: cli_filter_end resets it */
    enum { CLI_PLAIN, CLI_ESC, CLI_CSI, CLI_STRING, CLI_STRING_ESC } state;
    char held[64];                       /* an unfinished sequence or character */
    size_t held_len;
};
void cli_filter(struct cli_filter *f, const char *s, size_t n, struct fg_str *out);
void cli_filter_end(struct cli_filter *f, struct fg_str *out);

/* A table: cells are cleaned; columns as wide as their widest cell, two spaces between, none at line ends. */
enum cli_tint { CLI_NO_TINT, CLI_BOLD, CLI_RED, CLI_GREEN, CLI_YELLOW, CLI_DIM };
struct cli_cell { char *text; enum cli_tint tint; };
struct cli_table {
    const char *heads;                   /* "ID|NAME|>COST": '>' aligns right; "" prints no head line */
    size_t columns;
    FG_VEC(struct cli_cell) cells;
};
/* heads is borrowed; its '|' say how many columns there are. */
void cli_table_init(struct cli_table *t, const char *heads);
void cli_table_cell(struct cli_table *t, enum cli_tint tint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cli_table_print(const struct cli_table *t, bool color, struct fg_str *out);
void cli_table_fini(struct cli_table *t);
