/* complete.c - the nearest cells, their covariance, and what they say of the one that was never seen. */
#include "plan/complete.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { NEAREST = 60 };
/* Variances of ln(work): measured on the public throughput table, see the decision. */
#define BY_ALL 1.0                       /* the level of everything */
#define BY_KIND 0.5                      /* one kind is faster than another */
#define BY_FAMILY 1.0
#define BY_NAME 0.5                      /* near names are near */
#define BY_NAME_KIND 0.07                /* ... and like the same kinds */
#define BY_FAMILY_KIND 0.2
#define BY_SELF 0.02
#define BY_SLOPE 0.05                    /* a number in the name times this per halving, squared */
#define BY_SLOPE_KIND 0.01
#define BY_CELL 0.003                    /* nothing explains this */
#define CALIBRATED 0.8                   /* so that a band of 80 % holds 80 % */
#define CENTER 5.0f                      /* of log2 of numbers */

static uint64_t mix(uint64_t hash, unsigned char c) { return (hash ^ c) * 1099511628211u; }

struct fg_point fg_point_of(const char *name, size_t length, const char *kind)
{
    struct fg_point p = {.name = 14695981039346656037u, .family = 14695981039346656037u, .kind = 14695981039346656037u};
    for (size_t x = 0; x < length; x++) {
        p.name = mix(p.name, (unsigned char)name[x]);
        if (name[x] < '0' || name[x] > '9') {
            p.family = mix(p.family, (unsigned char)name[x]);
            continue;
        }
        if (x > 0 && name[x - 1] >= '0' && name[x - 1] <= '9')
            continue;                                    /* counted with its first digit */
        double v = 0;
        for (size_t y = x; y < length && name[y] >= '0' && name[y] <= '9' && v < 1e15; y++)
            v = v * 10 + (name[y] - '0');
        p.family = mix(p.family, '#');
        if (p.number_count < FG_POINT_NUMBERS)
            p.numbers[p.number_count++] = (float)log2(v + (v < 1));
    }
    for (; *kind; kind++)
        p.kind = mix(p.kind, (unsigned char)*kind);
    return p;
}

static double covariance(const struct fg_point *a, const struct fg_point *b)
{
    double same_kind = a->kind == b->kind, v = BY_ALL + BY_KIND * same_kind, far = 0, slope = 0;
    if (a->family != b->family)
        return v;
    for (uint32_t x = 0; x < FG_MIN(a->number_count, b->number_count); x++) {
        double d = a->numbers[x] - b->numbers[x];
        far += d * d;
        slope += (double)(a->numbers[x] - CENTER) * (double)(b->numbers[x] - CENTER);
    }
    double near = exp(-far / 2);
    v += BY_FAMILY + BY_NAME * near + BY_SLOPE * slope + same_kind * (BY_NAME_KIND * near + BY_FAMILY_KIND + BY_SLOPE_KIND * slope);
    return v + BY_SELF * (a->name == b->name);
}

/* The points with the largest covariance with at, in the order they stand. */
static size_t pick_nearest(const struct fg_point *at, const struct fg_point *points, size_t count, const struct fg_point **out, double *with)
{
    size_t n = 0;
    for (size_t x = 0; x < count; x++) {
        double c = covariance(at, &points[x]);
        if (n < NEAREST) {
            out[n] = &points[x], with[n++] = c;
            continue;
        }
        size_t least = 0;
        for (size_t y = 1; y < n; y++)
            if (with[y] < with[least])
                least = y;
        if (c > with[least])
            out[least] = &points[x], with[least] = c;
    }
    return n;
}

bool fg_complete(const struct fg_point *at, const struct fg_point *points, size_t count, double *ret_mean, double *ret_variance)
{
    const struct fg_point *near[NEAREST];
    double with[NEAREST], y[NEAREST], l[NEAREST][NEAREST], mean = 0;
    size_t n = pick_nearest(at, points, count, near, with);
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        mean += near[i]->value / (double)n;
    *ret_mean = mean;
    *ret_variance = covariance(at, at) + BY_CELL;
    for (size_t i = 0; i < n; i++) {                     /* Cholesky, and both right sides as it goes */
        for (size_t j = 0; j <= i; j++) {
            double v = covariance(near[i], near[j]) + (i == j ? BY_CELL + near[i]->noise + 1e-6 : 0);
            for (size_t k = 0; k < j; k++)
                v -= l[i][k] * l[j][k];
            l[i][j] = i == j ? sqrt(FG_MAX(v, 1e-9)) : v / l[j][j];
        }
        y[i] = near[i]->value - mean;
        for (size_t k = 0; k < i; k++)
            y[i] -= l[i][k] * y[k], with[i] -= l[i][k] * with[k];
        y[i] /= l[i][i], with[i] /= l[i][i];
        *ret_mean += y[i] * with[i];
        *ret_variance -= with[i] * with[i];
    }
    *ret_variance = CALIBRATED * FG_MAX(*ret_variance, BY_CELL);
    return true;
}
