/* dual.h - the prices of capacity being searched for: what bound.c and soft.c share. */
#pragma once
#include "plan/assign/private.h"

/* A kind that a class may use. */
struct entry { double cost, need[RMAX]; uint32_t kind; };
struct slim { float cost, need; uint32_t kind; };     /* of one resource; prices need no more, and the bound is certified apart */
struct dual {
    struct work *w;
    uint32_t dim;                   /* (kinds - 1) x resources */
    struct entry *list;
    struct slim *slim;              /* the same for evaluate, or NULL */
    uint32_t *first;                /* [classes + 1] */
    double *capacity, *u, *best_u, *used, *dir;
    double value;                   /* L(u) over the lists */
};

/* Set best_u: from whole rows of a sample of the classes, and then from everybody's lists. rough: from best_u as it is, not
 * far, and only if that is better for the sample. */
void dual_soft_sample(struct dual *d, bool rough);
void dual_soft_lists(struct dual *d);
