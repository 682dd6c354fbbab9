/* table.c - aligned columns. Width is counted in characters: good for all but double-width scripts. */
#include <stdarg.h>
#include <string.h>

#include "cli/text.h"

static const char *const tints[] = {"", "\033[1m", "\033[31m", "\033[32m", "\033[33m", "\033[2m"};

static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void cli_table_init(struct cli_table *t, const char *heads)
{
    *t = (struct cli_table){.heads = heads, .columns = 1};
    for (const char *p = heads; *p; p++)
        t->columns += *p == '|';
}

void cli_table_cell(struct cli_table *t, enum cli_tint tint, const char *fmt, ...)
{
    FG_AUTO_STR struct fg_str raw = {0}, clean = {0};
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(&raw, fmt, ap);
    va_end(ap);
    cli_clean(&clean, fg_str_cstr(&raw), raw.len);
    fg_vec_push(&t->cells, ((struct cli_cell){fg_str_take(&clean), tint}));
}

/* Name of column i of heads into buf, and whether it is aligned right. */
static bool head_of(const char *heads, size_t i, char *buf, size_t n)
{
    const char *p = heads;
    for (; i > 0; i--)
        p = strchr(p, '|') + 1;
    bool right = *p == '>';
    p += right;
    snprintf(buf, n, "%.*s", (int)strcspn(p, "|"), p);
    return right;
}

static void add_cell(struct fg_str *out, const char *text, const char *tint, size_t pad, bool right)
{
    if (right)
        fg_str_addf(out, "%*s", (int)pad, "");
    fg_str_addf(out, "%s%s%s", tint, text, *tint ? "\033[0m" : "");
    if (!right)
        fg_str_addf(out, "%*s", (int)pad, "");
}

static void trim_line(struct fg_str *out)
{
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = 0;
    fg_str_adds(out, "\n");
}

void cli_table_print(const struct cli_table *t, bool color, struct fg_str *out)
{
    size_t rows = t->cells.count / t->columns, widths[32] = {0};
    bool right[32] = {0}, headed = t->heads[strspn(t->heads, "|>")] != 0;
    char head[64];
    for (size_t c = 0; c < t->columns && c < FG_COUNT(widths); c++) {
        right[c] = head_of(t->heads, c, head, sizeof head);
        widths[c] = width_of(head);
        for (size_t r = 0; r < rows; r++)
            widths[c] = FG_MAX(widths[c], width_of(t->cells.items[r * t->columns + c].text));
    }
    for (size_t c = 0; headed && c < t->columns; c++) {
        head_of(t->heads, c, head, sizeof head);
        add_cell(out, head, color ? tints[CLI_BOLD] : "", widths[c] - width_of(head), right[c]);
        fg_str_adds(out, c + 1 < t->columns ? "  " : "");
    }
    if (headed)
        trim_line(out);
    for (size_t i = 0; i < rows * t->columns; i++) {
        const struct cli_cell *cell = &t->cells.items[i];
        size_t c = i % t->columns;
        add_cell(out, cell->text, color ? tints[cell->tint] : "", widths[c] - width_of(cell->text), right[c]);
        if (c + 1 < t->columns)
            fg_str_adds(out, "  ");
        else
            trim_line(out);
    }
}

void cli_table_fini(struct cli_table *t)
{
    for (size_t i = 0; i < t->cells.count; i++)
        free(t->cells.items[i].text);
    fg_vec_fini(&t->cells);
}
