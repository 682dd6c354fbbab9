/* foresee.c - see foresee.h: classes, the order that is played, and the percentiles of what the runs say. */
#include <stdlib.h>

#include "plan/foresee_private.h"

/* z with P(Z > z) = q, to 0.0005 (Abramowitz, Stegun 26.2.23). */
double foresee_beyond(double q)
{
    double t = sqrt(-2 * log(q < 0.5 ? q : 1 - q));
    double z = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    return q < 0.5 ? z : -z;
}

/* --- classes, order, sizes --- */

static void make_classes(struct play *p)
{
    const struct fg_foresee *in = p->in;
    p->classes = fg_alloc((in->line_count + 1) * sizeof *p->classes);
    p->class_of = fg_alloc((in->line_count + 1) * sizeof *p->class_of);
    p->open = fg_alloc((in->line_count + 1) * sizeof *p->open);
    p->times = fg_alloc((in->line_count + 1) * sizeof *p->times);
    p->shift = fg_alloc((in->line_count + 1) * sizeof *p->shift);
    for (uint32_t l = 0; l < in->line_count; l++) {
        const struct fg_foresee_line *line = &in->lines[l];
        struct class c = {.need = size_of(p, line->memory_bytes, line->share_permille), .kind = line->kind, .rank = line->rank, .tenant = line->tenant, .priority = line->priority,
                          .span = (int)(log((double)FG_MAX(line->p95_ns, 1)) * SPANS),
                          .together = (line->together + in->scale - 1) / in->scale};
        uint32_t at = 0;
        for (; at < p->class_count; at++) {
            const struct class *o = &p->classes[at];
            if (o->need.memory == c.need.memory && o->need.share == c.need.share && o->kind == c.kind && o->together == c.together && o->rank == c.rank && o->span == c.span &&
                o->tenant == c.tenant && o->priority == c.priority)
                break;
        }
        if (at == p->class_count)
            p->classes[p->class_count++] = c;
        p->class_of[l] = at;
        double sigma = line->p95_ns > line->p50_ns && line->p50_ns > 0 ? log((double)line->p95_ns / (double)line->p50_ns) / Z95 : 0;
        double shared = 1.0 / (line->samples + 1);
        p->times[l] = (struct time){log(FG_MAX((double)line->p50_ns, 1.0)), sigma * sqrt(1 - shared), sigma * sqrt(shared), (double)line->p95_ns};
    }
}

struct grouping { uint32_t seen, pushed, last; };        /* of a line: tasks seen, tasks in entries, its last entry + 1 */

static void push(struct play *p, uint32_t line, double count)
{
    p->order[p->order_count] = line;
    p->count[p->order_count++] = count;
}

/* The line's entries have as many tasks as were seen of it. */
static void settle_line(struct play *p, uint32_t line, struct grouping *g, double times)
{
    if (g->pushed < g->seen)
        push(p, line, (g->seen - g->pushed) * times);
    else if (g->pushed > g->seen)
        p->count[g->last - 1] -= (g->pushed - g->seen) * times;
    *g = (struct grouping){0};
}

/* Where all ask the same, no room is kept empty for a larger one. */
static bool of_many_sizes(const struct play *p)
{
    for (uint32_t x = 1; x < p->class_count; x++)
        if (p->classes[x].need.share != p->classes[0].need.share)
            return true;
    return false;
}

/* About ENTRIES entries of the order at most: so many tasks of a line, one after the other, are one, in the place of the one in their
 * middle. The target is one of its own. */
static void make_order(struct play *p)
{
    const struct fg_foresee *in = p->in;
    double times = (in->work_before > 0 && in->work_listed > 0 ? FG_MAX(in->work_before / in->work_listed, 1.0) : 1) / in->scale;
    uint32_t group = (uint32_t)FG_MAX((in->order_count + ENTRIES - 1) / ENTRIES, (size_t)in->scale);
    p->coarse = of_many_sizes(p) ? COARSE * fmin(log2((double)group / in->scale), 3) : 0;
    FG_AUTO_FREE struct grouping *lines = fg_alloc((in->line_count + 1) * sizeof *lines);
    p->order = fg_alloc((in->order_count + in->line_count + 2) * sizeof *p->order);
    p->count = fg_alloc((in->order_count + in->line_count + 2) * sizeof *p->count);
    p->next = fg_alloc((in->order_count + in->line_count + 2) * sizeof *p->next);
    for (size_t x = 0; x < in->order_count; x++) {
        uint32_t line = in->order[x];
        struct grouping *g = &lines[line];
        if (x == in->target) {
            settle_line(p, line, g, times);
            p->target = p->order_count;
            push(p, line, 1);
        } else if (g->seen++ % group == group / 2) {
            push(p, line, group * times);
            g->pushed += group, g->last = p->order_count;
        }
    }
    for (uint32_t l = 0; l < in->line_count; l++)
        settle_line(p, l, &lines[l], times);
}

static void make_devices(struct play *p)
{
    const struct fg_foresee *in = p->in;
    uint64_t largest = 1;
    for (size_t x = 0; x < in->device_count; x++)
        largest = FG_MAX(largest, in->devices[x].memory_bytes);
    p->unit = (double)largest / UNITS;
    p->whole = fg_alloc(FG_FORESEE_DEVICES * sizeof *p->whole), p->free_now = fg_alloc(FG_FORESEE_DEVICES * sizeof *p->free_now);
    p->room = fg_alloc(FG_FORESEE_DEVICES * sizeof *p->room), p->kind = fg_alloc(FG_FORESEE_DEVICES * sizeof *p->kind);
    p->first_run = fg_alloc(FG_FORESEE_DEVICES * sizeof *p->first_run);
    for (size_t x = 0; x < FG_MIN(in->device_count, (size_t)FG_FORESEE_DEVICES); x++, p->devices++) {
        const struct fg_foresee_device *d = &in->devices[x];
        p->whole[p->devices] = size_of(p, d->memory_bytes, 1000);
        p->free_now[p->devices] = (struct size){(int)((double)d->memory_free_bytes / p->unit + 1e-6), (int)d->share_free_permille};
        p->kind[p->devices] = d->kind;
    }
}

static int by_start(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

bool fg_foresee(const struct fg_foresee *ahead, int64_t ret_starts[FG_FORESEE_RUNS])
{
    struct play p = {.in = ahead};
    bool told = ahead->device_count > 0;
    make_devices(&p);
    make_classes(&p);
    make_order(&p);
    p.used = fg_alloc((ahead->tenant_count + 1) * sizeof *p.used);
    for (uint32_t x = 0; x < NORMALS; x++)
        p.normal[x] = (float)foresee_beyond((x + 0.5) / NORMALS);
    for (uint32_t x = 0; told && x < FG_FORESEE_RUNS; x++) {
        double start = foresee_play(&p, x);
        told = start >= 0;
        ret_starts[x] = (int64_t)FG_MIN(start, 3e18);    /* a hundred years: nothing is said beyond */
    }
    if (told)
        qsort(ret_starts, FG_FORESEE_RUNS, sizeof *ret_starts, by_start);
    free(p.whole), free(p.free_now), free(p.room), free(p.kind), free(p.first_run), free(p.classes), free(p.class_of), free(p.times), free(p.shift);
    free(p.order), free(p.next), free(p.runs), free(p.heap), free(p.used), free(p.open), free(p.count);
    return told;
}
