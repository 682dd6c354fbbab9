/* complete.h - how long a program takes on a device kind that it was never seen on, from others that were: completion of
 * the matrix of names x kinds. Pure. Any thread.
 *
 * ln(work) of name i on kind k is a Gaussian field: the same mean for all, plus parts that are shared by kind, by family of
 * names, by closeness of names, and the meetings of these with the kind. Names are of one family when they differ in
 * numbers only ("ResNet-50 (batch size 64)"), and the closer the nearer those numbers are by halvings. From the cells
 * nearest to the one asked for, the mean and its uncertainty follow (docs/decisions/0042-completion.md). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_POINT_NUMBERS 4
/* A cell of the matrix by what it is compared with. */
struct fg_point {
    uint64_t name, family, kind;         /* hashes */
    float numbers[FG_POINT_NUMBERS];     /* log2 of the numbers in the name */
    uint32_t number_count;
    double value, noise;                 /* ln(work), and its variance */
};
/* The part of a point that its name and kind give. */
struct fg_point fg_point_of(const char *name, size_t length, const char *kind);
/* Mean and variance of the value at `at`, from points[]. false: there are no points. */
bool fg_complete(const struct fg_point *at, const struct fg_point *points, size_t count, double *ret_mean, double *ret_variance);
