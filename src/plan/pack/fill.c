/* fill.c - how much of a node's free GPUs tasks will still take: arrivals at random, until none fits or none comes any more.
 *
 *     fill(h, g) = sum of rate(t) x (gpus(t) + fill(h - host(t), g - gpus(t)))  /  (sum of rate(t)  +  END x all rates)
 *
 * over the types t with host(t) <= h and gpus(t) <= g, those without GPU among them: what they take of the host is gone. h is processor
 * or memory, whichever is asked for more; g are free GPUs, as if they were one. END is the chance that nobody comes after an arrival,
 * fitting or not. rate(t) is how often a node that can take a t sees one: all tasks t, over the part of the cluster that can.
 *
 * Where processor or memory run out before the GPUs do, this is the whole value of a node; where GPUs do, value.c knows better which of
 * them can still be used together, and fill counts less. Decision 0060. */
#include "plan/pack/private.h"

#include <string.h>

#define HOST_STEPS 256u                  /* of the largest node's processor or memory */
#define GPU_STEPS  10u                   /* of one GPU */
#define END        0.05f
#define GPU_SHORT  1.0                   /* at such a pressure of the host on the GPUs, or less, the GPUs are what is short */
#define HOST_SHORT 1.8                   /* at such a one, or more, the host is */
#define BESIDE_ONE 0.5                   /* how much fill counts where GPUs are short and nodes have one, which it sees as it is; */
#define BESIDE_MANY 0.1                  /* and where they have many, of which it does not know which are free together */
#define WIDTH      (FG_PACK_GPUS_MAX * GPU_STEPS + 1)

struct filler { uint32_t host, gpu; float milli, rate; uint64_t kinds; };
struct fillers { struct filler *items; size_t count; double rate, gpu_rate; };

void pk_fill_fini(struct pk_fill *f)
{
    fg_vec_fini(&f->at);
    *f = (struct pk_fill){0};
}

static double class_host(const struct pk_class *c, bool memory) { return memory ? (double)c->memory : (double)c->cpu; }
static double shape_host(const struct fg_pack_node *n, bool memory) { return memory ? (double)n->memory_bytes : (double)n->cpu_milli; }

static bool fits_shape(const struct pk_shape *s, const struct pk_class *c)
{
    return c->cpu <= s->whole.cpu_milli && c->memory <= (int64_t)s->whole.memory_bytes && c->gpus <= s->whole.gpus &&
           c->kinds >> s->whole.kind & 1;
}

/* The part of the cluster that can take it: of the GPUs, and for who needs none of the processor beside GPUs over all there is for it. */
static double reach(const struct fg_pack *p, const struct pk_class *c)
{
    double all = 0, fit = 0;
    for (size_t i = 0; i < p->shapes.count; i++) {
        const struct pk_shape *s = &p->shapes.items[i];
        double amount = s->nodes * (c->gpus ? (double)s->whole.gpus : (double)s->whole.cpu_milli + 1);
        all += s->whole.gpus ? amount : 0;
        fit += fits_shape(s, c) ? amount : 0;
    }
    return all > 0 ? fit / all : 0;
}

/* How many times the part of the host that is asked for is the part of the GPUs that is. Nodes without GPUs serve who needs none. */
static double pressure(const struct fg_pack *p, const struct pk_class *c, size_t n, bool memory)
{
    double gpus = 0, host = 0, apart = 0, ask_gpus = 0, ask = 0, ask_alone = 0;
    for (size_t i = 0; i < p->shapes.count; i++) {
        const struct pk_shape *s = &p->shapes.items[i];
        gpus += (double)s->nodes * s->whole.gpus;
        *(s->whole.gpus ? &host : &apart) += s->nodes * shape_host(&s->whole, memory);
    }
    for (size_t i = 0; i < n; i++) {
        if (reach(p, &c[i]) <= 0)
            continue;
        ask_gpus += c[i].weight * c[i].gpus * c[i].milli / FG_PACK_DEVICE;
        *(c[i].gpus ? &ask : &ask_alone) += c[i].weight * class_host(&c[i], memory);
    }
    ask += FG_MAX(0.0, ask_alone - apart);   /* counted for demand that fills the cluster: the bar is where both run out together */
    return host > 0 && ask_gpus > 0 ? ask / host / (ask_gpus / gpus) : 0;
}

static int by_place(const void *pa, const void *pb)
{
    const struct filler *a = pa, *b = pb;
    if (a->host != b->host)
        return a->host < b->host ? -1 : 1;
    if (a->gpu != b->gpu)
        return a->gpu < b->gpu ? -1 : 1;
    return a->kinds < b->kinds ? -1 : a->kinds > b->kinds;
}

/* Needs in steps, rounded up on the host, to the nearest on the GPUs; equal ones become one. */
static struct fillers fillers_of(const struct fg_pack *p, const struct pk_class *c, size_t n, const struct pk_fill *f)
{
    struct fillers v = {.items = fg_alloc(FG_MAX(n, (size_t)1) * sizeof *v.items)};
    for (size_t i = 0; i < n; i++) {
        double part = reach(p, &c[i]), milli = (double)c[i].gpus * c[i].milli;
        uint32_t gpu = (uint32_t)(milli * GPU_STEPS / FG_PACK_DEVICE + 0.5);
        if (part > 0)
            v.items[v.count++] = (struct filler){(uint32_t)(class_host(&c[i], f->by_memory) / f->step + 0.999),
                                                 milli > 0 ? FG_MAX(gpu, 1u) : 0, (float)milli, (float)(c[i].weight / part), c[i].kinds};
    }
    size_t kept = 0;
    qsort(v.items, v.count, sizeof *v.items, by_place);
    for (size_t i = 0; i < v.count; i++) {
        struct filler *last = kept ? &v.items[kept - 1] : NULL, *t = &v.items[i];
        v.rate += t->rate;
        v.gpu_rate += t->gpu ? t->rate : 0;
        if (last && by_place(last, t) == 0) {
            last->milli = (last->milli * last->rate + t->milli * t->rate) / (last->rate + t->rate);
            last->rate += t->rate;
        } else {
            v.items[kept++] = *t;
        }
    }
    v.count = kept;
    return v;
}

static void add_filler(float *restrict sum, float *restrict rate, const float *restrict from, const struct filler *t, uint32_t gpus)
{
    for (uint32_t g = 0; g + t->gpu <= gpus; g++) {
        sum[g + t->gpu] += t->rate * (t->milli + from[g]);
        rate[g + t->gpu] += t->rate;
    }
}

/* One line of the table: h steps of the host are free. Those that need none of it lead to places of the line itself, so they come last. */
static void fill_line(struct pk_fill *f, const struct pk_fill_table *t, const struct fillers *v, uint32_t kind, uint32_t h)
{
    float sum[WIDTH] = {0}, rate[WIDTH] = {0}, *line = &f->at.items[t->first + h * (t->gpus + 1)];
    size_t free_riders = 0;
    for (; free_riders < v->count && v->items[free_riders].host == 0; free_riders++) {}
    for (size_t i = free_riders; i < v->count && v->items[i].host <= h; i++)
        if (v->items[i].kinds >> kind & 1)
            add_filler(sum, rate, line - v->items[i].host * (t->gpus + 1), &v->items[i], t->gpus);
    for (uint32_t g = 1; g <= t->gpus; g++) {
        for (size_t i = 0; i < free_riders; i++) {
            const struct filler *r = &v->items[i];
            if (r->gpu == 0 || r->gpu > g || !(r->kinds >> kind & 1))
                continue;
            sum[g] += r->rate * (r->milli + line[g - r->gpu]);
            rate[g] += r->rate;
        }
        line[g] = rate[g] > 0 ? sum[g] / (rate[g] + END * (float)v->rate) : 0;
    }
}

static bool same_types(const struct fillers *v, uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < v->count; i++)
        if ((v->items[i].kinds >> a & 1) != (v->items[i].kinds >> b & 1))
            return false;
    return true;
}

/* A table as large as the largest node of the kind needs; kinds that the same types may run on have one, if it is large enough. */
static void fill_kind(struct pk_fill *f, const struct fg_pack *p, const struct fillers *v, uint32_t kind)
{
    double host = 0, on = 0;
    uint32_t gpus = 0;
    for (size_t i = 0; i < p->shapes.count; i++) {
        const struct pk_shape *s = &p->shapes.items[i];
        if (s->whole.kind != kind)
            continue;
        host = FG_MAX(host, shape_host(&s->whole, f->by_memory));
        gpus = FG_MAX(gpus, s->whole.gpus * GPU_STEPS);
    }
    for (size_t i = 0; i < v->count; i++)
        on += v->items[i].gpu && v->items[i].kinds >> kind & 1 ? v->items[i].rate : 0;
    struct pk_fill_table *t = &f->table[kind];
    *t = (struct pk_fill_table){(uint32_t)f->at.count, FG_MIN(HOST_STEPS, (uint32_t)(host / f->step + 0.999)), gpus,
                                v->gpu_rate > 0 ? (float)(on / v->gpu_rate * (1 - f->gpu_bound * (1 - f->beside))) : 0};
    for (uint32_t k = 0; k < kind; k++)
        if (f->table[k].gpus >= gpus && f->table[k].hosts >= t->hosts && same_types(v, k, kind)) {
            *t = (struct pk_fill_table){f->table[k].first, f->table[k].hosts, f->table[k].gpus, t->weight};
            return;
        }
    size_t need = (size_t)(t->hosts + 1) * (t->gpus + 1);
    fg_vec_reserve(&f->at, f->at.count + need);
    memset(&f->at.items[t->first], 0, need * sizeof *f->at.items);
    f->at.count += need;
    for (uint32_t h = 0; gpus > 0 && h <= t->hosts; h++)
        fill_line(f, t, v, kind, h);
}

void pk_fill_make(struct pk_fill *f, const struct fg_pack *p, const struct pk_class *classes, size_t n)
{
    double by_cpu = pressure(p, classes, n, false), by_memory = pressure(p, classes, n, true), most = 0, nodes = 0, gpus = 0;
    uint64_t kinds = 0;
    pk_fill_fini(f);
    f->by_memory = by_memory > by_cpu;
    f->gpu_bound = FG_MIN(1.0, FG_MAX(0.0, (HOST_SHORT - FG_MAX(by_cpu, by_memory)) / (HOST_SHORT - GPU_SHORT)));
    for (size_t i = 0; i < p->shapes.count; i++) {
        const struct pk_shape *s = &p->shapes.items[i];
        if (s->whole.gpus == 0)
            continue;
        most = FG_MAX(most, shape_host(&s->whole, f->by_memory));
        kinds |= UINT64_C(1) << s->whole.kind;
        nodes += s->nodes;
        gpus += (double)s->nodes * s->whole.gpus;
    }
    f->beside = FG_MAX(BESIDE_MANY, BESIDE_ONE * nodes / FG_MAX(gpus, 1.0));
    f->step = most > 0 ? most / HOST_STEPS : 1;
    struct fillers v = fillers_of(p, classes, n, f);
    for (uint32_t k = 0; k < FG_PACK_KINDS_MAX; k++)
        if (kinds >> k & 1)
            fill_kind(f, p, &v, k);
    free(v.items);
}

/* Between the four places around it. */
float pk_fill_at(const struct pk_fill *f, const struct pk_room *r)
{
    const struct pk_fill_table *t = &f->table[r->kind];
    uint32_t free_milli = 0;
    for (uint32_t g = 0; g < r->gpus; g++)
        free_milli += r->milli[g];
    if (t->weight <= 0 || t->gpus == 0 || free_milli == 0)
        return 0;
    float h = FG_MIN((float)((double)(f->by_memory ? r->memory : r->cpu) / f->step), (float)t->hosts);
    float g = FG_MIN((float)free_milli * GPU_STEPS / FG_PACK_DEVICE, (float)t->gpus);
    uint32_t h0 = (uint32_t)h, g0 = (uint32_t)g, line = h0 < t->hosts ? t->gpus + 1 : 0, next = g0 < t->gpus;
    const float *at = &f->at.items[t->first + h0 * (t->gpus + 1) + g0];
    float x = h - (float)h0, y = g - (float)g0;
    return t->weight * ((1 - x) * ((1 - y) * at[0] + y * at[next]) + x * ((1 - y) * at[line] + y * at[line + next]));
}
