/* csv.c - split once, in place. */
#include "sim/trace/csv.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

#define COLUMNS_MOST 256u

static int fail_line(const struct fg_csv *csv, uint32_t line, struct fg_error *err) { return fg_fail_prefix(err, "%s:%u", csv->name, line); }

/* Cut the line at its commas into at most COLUMNS_MOST fields, added to the cells or heads. */
static size_t cut(char *line, const char **fields)
{
    size_t n = 0;
    for (char *p = line; n < COLUMNS_MOST; p++) {
        fields[n++] = p;
        p = strchr(p, ',');
        if (!p)
            return n;
        *p = 0;
    }
    return n + 1;
}

static int take_heads(struct fg_csv *csv, char *line, struct fg_error *err)
{
    const char *fields[COLUMNS_MOST];
    size_t n = cut(line, fields);
    if (n > COLUMNS_MOST)
        return fg_fail(err, FG_E_MALFORMED, "more than %u columns", COLUMNS_MOST);
    for (size_t i = 0; i < n; i++) {
        if (!*fields[i])
            return fg_fail(err, FG_E_MALFORMED, "column %zu has no name", i + 1);
        for (size_t j = 0; j < i; j++)
            if (strcmp(fields[i], fields[j]) == 0)
                return fg_fail(err, FG_E_MALFORMED, "column '%.60s' is there twice", fields[i]);
        fg_vec_push(&csv->heads, fields[i]);
    }
    return 0;
}

static int take_row(struct fg_csv *csv, char *line, uint32_t number, struct fg_error *err)
{
    const char *fields[COLUMNS_MOST];
    size_t n = cut(line, fields);
    if (n != csv->heads.count)
        return fg_fail(err, FG_E_MALFORMED, "%zu fields where the head line has %zu", n, csv->heads.count);
    for (size_t i = 0; i < n; i++)
        fg_vec_push(&csv->cells, fields[i]);
    fg_vec_push(&csv->lines, number);
    return 0;
}

static int take_line(struct fg_csv *csv, char *line, uint32_t number, struct fg_error *err)
{
    size_t n = strlen(line);
    if (n > 0 && line[n - 1] == '\r')
        line[n - 1] = 0;
    if (strchr(line, '"'))
        return fg_fail(err, FG_E_MALFORMED, "a quoted field, which is not read here");
    if (csv->heads.count == 0)
        return take_heads(csv, line, err);
    return *line ? take_row(csv, line, number, err) : 0;
}

int fg_csv_parse(const char *name, const char *text, size_t length, struct fg_csv *ret, struct fg_error *err)
{
    *ret = (struct fg_csv){.name = name};
    if (length > 0 && memchr(text, 0, length))
        return fg_fail(err, FG_E_MALFORMED, "%s: has a NUL byte: not a text", name);
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {   /* a byte order mark */
        text += 3;
        length -= 3;
    }
    ret->text = fg_strndup(length ? text : "", length);
    uint32_t number = 0;
    for (char *line = ret->text, *end; *line; line = end) {
        end = strchr(line, '\n');
        end = end ? (*end = 0, end + 1) : line + strlen(line);
        number++;
        if (take_line(ret, line, number, err) < 0)
            return fail_line(ret, number, err);
    }
    return ret->heads.count > 0 ? 0 : fg_fail(err, FG_E_MALFORMED, "%s:1: there is no head line", name);
}

void fg_csv_fini(struct fg_csv *csv)
{
    fg_vec_fini(&csv->cells);
    fg_vec_fini(&csv->lines);
    fg_vec_fini(&csv->heads);
    free(csv->text);
    csv->text = NULL;
}

int fg_csv_column(const struct fg_csv *csv, const char *head, struct fg_error *err)
{
    for (size_t i = 0; i < csv->heads.count; i++)
        if (strcmp(csv->heads.items[i], head) == 0)
            return (int)i;
    return fg_fail(err, FG_E_MALFORMED, "%s:1: column '%s' is missing", csv->name, head);
}

const char *fg_csv_cell(const struct fg_csv *csv, size_t row, int column) { return csv->cells.items[row * csv->heads.count + (size_t)column]; }

int fg_csv_integer(const struct fg_csv *csv, size_t row, int column, int64_t min, int64_t max, int64_t *ret, struct fg_error *err)
{
    struct fg_error why;
    const char *cell = fg_csv_cell(csv, row, column);
    if (fg_parse_int(cell, min, max, ret, &why) == 0)
        return 0;
    return fg_fail(err, FG_E_MALFORMED, "%s:%u: %s is '%.40s', not a whole number within %lld..%lld", csv->name, csv->lines.items[row],
                   csv->heads.items[column], cell, (long long)min, (long long)max);
}

struct named { const char *text; uint32_t line; };

static int by_text(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : x->line < y->line ? -1 : 1;
}

int fg_csv_unique(const struct fg_csv *csv, int column, struct fg_error *err)
{
    size_t n = csv->lines.count;
    FG_AUTO_FREE struct named *v = fg_alloc(FG_MAX(n, (size_t)1) * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        v[i] = (struct named){fg_csv_cell(csv, i, column), csv->lines.items[i]};
        if (!*v[i].text)
            return fg_fail(err, FG_E_MALFORMED, "%s:%u: %s is empty", csv->name, v[i].line, csv->heads.items[column]);
    }
    qsort(v, n, sizeof *v, by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp(v[i - 1].text, v[i].text) == 0)
            return fg_fail(err, FG_E_MALFORMED, "%s:%u: %s '%.60s' is already on line %u", csv->name, v[i].line, csv->heads.items[column],
                           v[i].text, v[i - 1].line);
    return 0;
}
