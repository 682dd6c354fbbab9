/* cover.c - the fluid problem of sharing by the revised simplex method, with an explicit inverse: few rows, many columns.
 *
 * Rows are classes with work > 0. The first basis is each class's cheapest single; Bland's rule after a while, so that it ends. */
#include <string.h>

#include "plan/jobs/private.h"

struct cover {
    const struct fg_cover_column *columns;
    size_t count;
    uint32_t rows;
    uint32_t *row_of;                    /* by class; UINT32_MAX: no work */
    double *inverse, *level, *dual, *enter; /* rows x rows; y of the basis; V by row; B^-1 a */
    size_t *basis;                       /* a column, or count + the row whose surplus it is (more done than asked, for nothing) */
};

static double price_of(const struct cover *c, size_t column) { return column < c->count ? c->columns[column].price : 0; }

static double price_out(const struct cover *c, const struct fg_cover_column *col)
{
    double v = col->price;
    if (c->row_of[col->a] != UINT32_MAX)
        v -= c->dual[c->row_of[col->a]] * col->rate_a;
    if (col->b != FG_JOBS_ALONE && c->row_of[col->b] != UINT32_MAX)
        v -= c->dual[c->row_of[col->b]] * col->rate_b;
    return v;
}

static void direction(const struct cover *c, size_t column)
{
    if (column >= c->count) {
        for (uint32_t i = 0; i < c->rows; i++)
            c->enter[i] = -c->inverse[i * c->rows + (column - c->count)];
        return;
    }
    const struct fg_cover_column *col = &c->columns[column];
    uint32_t a = c->row_of[col->a], b = col->b == FG_JOBS_ALONE ? UINT32_MAX : c->row_of[col->b];
    for (uint32_t i = 0; i < c->rows; i++) {
        c->enter[i] = 0;
        if (a != UINT32_MAX)
            c->enter[i] += c->inverse[i * c->rows + a] * col->rate_a;
        if (b != UINT32_MAX)
            c->enter[i] += c->inverse[i * c->rows + b] * col->rate_b;
    }
}

static void pivot(struct cover *c, uint32_t out, size_t column)
{
    uint32_t n = c->rows;
    double step = c->level[out] / c->enter[out];
    for (uint32_t i = 0; i < n; i++)
        if (i != out)
            c->level[i] = FG_MAX(0, c->level[i] - step * c->enter[i]);
    c->level[out] = step;
    for (uint32_t k = 0; k < n; k++)
        c->inverse[out * n + k] /= c->enter[out];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; i != out && c->enter[i] != 0 && k < n; k++)
            c->inverse[i * n + k] -= c->enter[i] * c->inverse[out * n + k];
    c->basis[out] = column;
    memset(c->dual, 0, n * sizeof *c->dual);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++)
            c->dual[k] += price_of(c, c->basis[i]) * c->inverse[i * n + k];
}

/* One step; false: optimal. */
static bool improve(struct cover *c, bool bland)
{
    size_t none = c->count + c->rows, best = none;
    double least = -1e-10;
    for (uint32_t i = 0; i < c->rows && best == none; i++)
        if (c->dual[i] < -1e-12)                         /* a step worth less than nothing */
            best = c->count + i, least = -INFINITY;
    for (size_t x = 0; x < c->count; x++) {
        double v = price_out(c, &c->columns[x]) / c->columns[x].price;
        if (v < least) {
            best = x, least = v;
            if (bland)
                break;
        }
    }
    if (best == none)
        return false;
    direction(c, best);
    uint32_t out = c->rows;
    double step = INFINITY;
    for (uint32_t i = 0; i < c->rows; i++)
        if (c->enter[i] > 1e-12 && c->level[i] / c->enter[i] < step)
            step = c->level[i] / c->enter[i], out = i;
    if (out == c->rows)
        return false;
    pivot(c, out, best);
    return true;
}

static void start(struct cover *c, const double *work, uint32_t classes)
{
    for (uint32_t a = 0; a < classes; a++) {
        uint32_t i = c->row_of[a];
        if (i == UINT32_MAX)
            continue;
        size_t best = c->count;
        for (size_t x = 0; x < c->count; x++) {
            const struct fg_cover_column *col = &c->columns[x];
            if (col->a == a && col->b == FG_JOBS_ALONE && col->rate_a > 0 &&
                (best == c->count || col->price * c->columns[best].rate_a < c->columns[best].price * col->rate_a))
                best = x;
        }
        c->basis[i] = best;
        c->inverse[i * c->rows + i] = 1 / c->columns[best].rate_a;
        c->level[i] = work[a] / c->columns[best].rate_a;
        c->dual[i] = c->columns[best].price / c->columns[best].rate_a;
    }
}

/* How much more than its price the best column earns, at least 1: what rounding, or an early end, leaves to correct. */
static double excess(const struct cover *c)
{
    double most = 1;
    for (uint32_t i = 0; i < c->rows; i++)
        c->dual[i] = FG_MAX(0, c->dual[i]);
    for (size_t x = 0; x < c->count; x++) {
        double price = c->columns[x].price, earns = price - price_out(c, &c->columns[x]);
        if (price > 0)
            most = FG_MAX(most, earns / price);
    }
    return most;
}

double fg_cover_solve(const double *work, uint32_t classes, const struct fg_cover_column *columns, size_t count, double *value)
{
    struct cover c = {.columns = columns, .count = count};
    c.row_of = fg_realloc(NULL, classes + 1, sizeof *c.row_of);
    for (uint32_t a = 0; a < classes; a++) {
        bool can = false;
        for (size_t x = 0; x < count && !can; x++)
            can = columns[x].a == a && columns[x].b == FG_JOBS_ALONE && columns[x].rate_a > 0;
        c.row_of[a] = can && work[a] > 0 ? c.rows++ : UINT32_MAX;
    }
    size_t n = FG_MAX(c.rows, 1u);
    c.inverse = fg_alloc((n * n + 3 * n) * sizeof *c.inverse);
    c.level = c.inverse + n * n, c.dual = c.level + n, c.enter = c.dual + n;
    c.basis = fg_alloc(n * sizeof *c.basis);
    start(&c, work, classes);
    for (uint32_t x = 0; x < 200 * n && improve(&c, x > 100 * n); x++)
        ;
    double sum = 0, most = excess(&c);
    for (uint32_t a = 0; a < classes; a++) {
        value[a] = c.row_of[a] == UINT32_MAX ? 0 : FG_MAX(0, c.dual[c.row_of[a]]) / most;
        sum += value[a] * work[a];
    }
    free(c.row_of), free(c.inverse), free(c.basis);
    return sum;
}
