/* value.c - what the free GPUs of a node are worth to the typical types.
 *
 *     value(node) = sum over types t of  part(t) x (once(t) + again(t)) / 2            [thousandths of a GPU]
 *     once(t)     = free thousandths on GPUs that can take a t, if the node can take one at all
 *     again(t)    = once(t) x min(copies by GPU, by processor, by memory) / copies by GPU
 *
 * part(t) is the type's part of all GPU tasks expected. once alone is what FGD calls not fragmented: it sees nothing wrong with a
 * node whose processor will be gone long before its GPUs; again does. Measured in decision 0023.
 *
 * It is asked for every type on every changed node, so it works on tables: per free thousandths of a GPU what each size of share can
 * use of it, added up over the GPUs; then four types at a time. */
#include "plan/pack/private.h"

#include <string.h>

#define FREE (FG_PACK_DEVICE + 1)        /* rows: 0..1000 free */
#define NO_NEED 1e9f                     /* copies a type that needs none of it can have of one unit */
#define MIB 1048576.0f

void pk_value_fini(struct pk_value *v)
{
    free(v->copies);
    free(v->usable);
    free(v->quads);
    free(v->weight);
    fg_vec_fini(&v->sizes);
    *v = (struct pk_value){0};
}

static void fill_size(struct pk_value *v, uint32_t at)
{
    for (uint32_t f = 0; f < FREE; f++) {
        uint32_t n = f / v->sizes.items[at].milli;
        v->copies[f * v->stride + at] = (uint16_t)n;
        v->usable[f * v->stride + at] = (uint16_t)(n ? f : 0);
    }
}

static void fill_type(struct pk_value *v, uint32_t quad, uint32_t lane, const struct pk_class *c)
{
    struct pk_quad *q = &v->quads[quad];
    q->per_cpu[lane] = c->cpu ? 1.0f / (float)c->cpu : NO_NEED;
    q->per_memory[lane] = c->memory ? MIB / (float)c->memory : NO_NEED;
    for (uint32_t k = 0; k < FG_PACK_KINDS_MAX; k++)
        v->weight[k * v->quad_count + quad][lane] = c->kinds >> k & 1 ? (float)c->weight : 0;
}

void pk_value_make(struct pk_value *v, const struct pk_class *classes, size_t n)
{
    pk_value_fini(v);
    for (size_t i = 0; i < n; i++) {
        const struct pk_class *c = &classes[i];
        if (i == 0 || c->gpus != c[-1].gpus || c->milli != c[-1].milli)
            fg_vec_push(&v->sizes, ((struct pk_size){c->gpus, c->milli, v->quad_count, 0}));
        struct pk_size *s = &v->sizes.items[v->sizes.count - 1];
        v->quad_count += s->count++ % 4 == 0;
    }
    v->stride = ((uint32_t)v->sizes.count + 7) / 8 * 8;
    v->copies = fg_alloc(FG_MAX(1u, v->stride) * FREE * sizeof *v->copies);
    v->usable = fg_alloc(FG_MAX(1u, v->stride) * FREE * sizeof *v->usable);
    v->quads = fg_alloc(FG_MAX(1u, v->quad_count) * sizeof *v->quads);
    v->weight = fg_alloc(FG_MAX(1u, v->quad_count) * FG_PACK_KINDS_MAX * sizeof *v->weight);
    for (uint32_t s = 0; s < v->sizes.count; s++) {
        const struct pk_size *size = &v->sizes.items[s];
        fill_size(v, s);
        for (uint32_t i = 0; i < size->count; i++)
            fill_type(v, size->first + i / 4, i % 4, classes++);
    }
}

typedef int32_t i4 __attribute__((vector_size(16)));

static pk_v4 least(pk_v4 a, pk_v4 b)
{
#ifdef __SSE__
    return __builtin_ia32_minps(a, b);   /* what stands below, in one instruction */
#else
    i4 less = a < b;
    return (pk_v4)((less & (i4)a) | (~less & (i4)b));
#endif
}

/* What the types of one size can use: n copies fit the GPUs, on which `most` thousandths are free. */
static float use_of(const struct pk_value *v, const struct pk_room *r, const struct pk_size *s, uint32_t n, uint32_t most)
{
    float cpu = (float)r->cpu + 0.5f, memory = (float)r->memory / MIB + 0.5f, whole = (float)n, part = 0.5f / (float)n;
    pk_v4 sum = {0};
    const pk_v4 *weight = &v->weight[r->kind * v->quad_count];
    for (uint32_t i = s->first; i < s->first + (s->count + 3) / 4; i++) {
        pk_v4 c = v->quads[i].per_cpu * cpu, m = v->quads[i].per_memory * memory, top = {whole, whole, whole, whole};
        if (c[0] < 1)
            break;                       /* by processor, the least first: nobody after this one fits */
        c = least(least(c, m), top);
        i4 fits = c >= 1;
        sum += (pk_v4)(fits & (i4)(weight[i] * (c * part + 0.5f)));
    }
    return (sum[0] + sum[1] + sum[2] + sum[3]) * (float)most;
}

int64_t pk_value(const struct pk_value *v, const struct pk_room *r)
{
    uint16_t copies[PK_TYPICAL_MOST + 8], usable[PK_TYPICAL_MOST + 8];
    bool any = false;
    memset(copies, 0, v->stride * sizeof *copies);
    memset(usable, 0, v->stride * sizeof *usable);
    for (uint32_t g = 0; g < r->gpus; g++) {
        const uint16_t *c = &v->copies[r->milli[g] * v->stride], *u = &v->usable[r->milli[g] * v->stride];
        if (r->milli[g] == 0)
            continue;
        any = true;
        for (uint32_t s = 0; s < v->stride; s += 8) {
            *(pk_h8 *)(void *)&copies[s] += *(const pk_h8 *)(const void *)&c[s];
            *(pk_h8 *)(void *)&usable[s] += *(const pk_h8 *)(const void *)&u[s];
        }
    }
    float use = 0;
    for (uint32_t s = 0; any && s < v->sizes.count; s++) {
        const struct pk_size *size = &v->sizes.items[s];
        uint32_t n = size->gpus == 1 ? copies[s] : copies[s] / size->gpus;
        if (n > 0)
            use += use_of(v, r, size, n, usable[s]);
    }
    return (int64_t)(use * PK_VALUE_UNIT);
}
