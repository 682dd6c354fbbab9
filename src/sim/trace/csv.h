/* csv.h - a table in comma-separated text with a head line: bytes in, cells out. Fields are not quoted in the traces that are read
 * here; a quote is an error rather than a guess. Errors say "NAME:LINE: ...". */
#pragma once
#include <stdint.h>

#include "base/error.h"
#include "base/vec.h"

struct fg_csv {
    const char *name;                    /* of the file, for errors; borrowed */
    char *text;                          /* cells point into it */
    FG_VEC(const char *) cells;          /* [rows][columns] */
    FG_VEC(uint32_t) lines;              /* [rows] */
    FG_VEC(const char *) heads;
};
/* FG_E_MALFORMED: no head line, a column named twice, a row with more or fewer fields, a NUL, a quote. ret is to be finished. */
int fg_csv_parse(const char *name, const char *text, size_t length, struct fg_csv *ret, struct fg_error *err);
void fg_csv_fini(struct fg_csv *csv);
/* The column with this head; -1 with *err when it is missing. */
int fg_csv_column(const struct fg_csv *csv, const char *head, struct fg_error *err);
const char *fg_csv_cell(const struct fg_csv *csv, size_t row, int column);
/* A whole number within min..max. */
int fg_csv_integer(const struct fg_csv *csv, size_t row, int column, int64_t min, int64_t max, int64_t *ret, struct fg_error *err);
/* Every cell of the column is there and differs from all others. */
int fg_csv_unique(const struct fg_csv *csv, int column, struct fg_error *err);
