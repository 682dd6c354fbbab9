/* market.c - see market.h. */
#include "plan/market.h"

#include <string.h>

#include "base/mem.h"
#include "model/price.h"
#include "plan/order.h"
#include "plan/pack/private.h"

#define TYPES_MOST 64u                   /* kept; the rarest gives way */
#define TYPES_BESIDE 256u                /* with cores and host memory there are more */
#define ONE 1024u                        /* a task, in counts that are halved again and again */
#define AGE_PARTS 16                     /* forgotten in so many steps a half-life */
#define QUANTUM 20                       /* thousandths: finer steps tell apart what is as good (decision 0023) */

struct wish { struct fg_need need; uint64_t count; };
struct fg_demand {
    FG_VEC(struct wish) wishes;
    int64_t half_life_ns, aged_ns;
    uint64_t arrived;
};

struct fg_demand *fg_demand_create(int64_t half_life_ns)
{
    struct fg_demand *d = fg_alloc(sizeof *d);
    d->half_life_ns = half_life_ns;
    return d;
}

void fg_demand_destroy(struct fg_demand *d)
{
    if (!d)
        return;
    fg_vec_fini(&d->wishes);
    free(d);
}

uint64_t fg_demand_arrived(const struct fg_demand *d) { return d->arrived; }

size_t fg_demand_count(const struct fg_demand *d) { return d->wishes.count; }

const struct fg_need *fg_demand_at(const struct fg_demand *d, size_t at, uint64_t *ret_count)
{
    *ret_count = d->wishes.items[at].count;
    return &d->wishes.items[at].need;
}

static void age(struct fg_demand *d, int64_t now_ns)
{
    if (d->half_life_ns <= 0 || now_ns - d->aged_ns < d->half_life_ns / AGE_PARTS)
        return;
    for (size_t i = 0; i < d->wishes.count; i++)
        d->wishes.items[i].count = fg_usage_decayed(d->wishes.items[i].count, now_ns - d->aged_ns, d->half_life_ns);
    d->aged_ns = now_ns;
}

static uint64_t leading(uint64_t v)
{
    uint64_t step = v ? (UINT64_C(1) << (63 - __builtin_clzll(v))) / 8 : 1;
    return step > 1 ? (v + step - 1) / step * step : v;
}

/* Four leading bits of memory and cores and steps of 1 % of the share: enough to tell needs apart, few enough to keep. */
static struct fg_need rounded(const struct fg_need *need)
{
    struct fg_need r = {.share_permille = (need->share_permille + 9) / 10 * 10};
    r.memory_bytes = leading(need->memory_bytes);
    r.cpus_milli = (uint32_t)leading(need->cpus_milli);
    r.host_bytes = leading(need->host_bytes);
    memcpy(r.device_kind, need->device_kind, sizeof r.device_kind);
    return r;
}

void fg_demand_add(struct fg_demand *d, const struct fg_need *need, int64_t now_ns)
{
    struct fg_need r = rounded(need);
    size_t rarest = 0;
    age(d, now_ns);
    d->arrived++;
    for (size_t i = 0; i < d->wishes.count; i++) {
        struct wish *w = &d->wishes.items[i];
        if (w->need.share_permille == r.share_permille && w->need.memory_bytes == r.memory_bytes && w->need.cpus_milli == r.cpus_milli &&
            w->need.host_bytes == r.host_bytes && strcmp(w->need.device_kind, r.device_kind) == 0) {
            w->count += ONE;
            return;
        }
        if (w->count < d->wishes.items[rarest].count)
            rarest = i;
    }
    if (d->wishes.count < (fg_asks_host(need) ? TYPES_BESIDE : TYPES_MOST))
        fg_vec_push(&d->wishes, (struct wish){r, ONE});
    else
        d->wishes.items[rarest] = (struct wish){r, ONE};
}

/* --- the market --- */

struct fg_market {
    struct fg_pack *pack;                /* types, typical needs and prices; no nodes but their shapes */
    size_t models;
    int32_t (*value)[FG_PACK_DEVICE + 1];        /* by model and what is free; UNKNOWN: to be worked out */
};
#define UNKNOWN INT32_MIN

/* By model: which may take it. 0: none. */
static uint64_t kinds_for(const struct fg_need *need, const struct fg_plan_device *const *like, size_t models)
{
    uint64_t kinds = 0;
    for (size_t m = 0; m < models; m++)
        if (fg_could_hold(like[m], need))
            kinds |= UINT64_C(1) << m;
    return kinds;
}

static void expect(struct fg_pack *p, const struct wish *w, uint64_t kinds)
{
    struct fg_pack_type type = {.gpus = 1, .gpu_milli = FG_MAX(w->need.share_permille, 1u), .gpu_memory_bytes = w->need.memory_bytes, .kinds = kinds};
    struct fg_error err;
    uint32_t at;
    if (kinds && w->count && fg_pack_type_of(p, &type, &at, &err) == 0)
        fg_pack_expect(p, at, w->count);
}

struct fg_market *fg_market_create(const struct fg_demand *d, const struct fg_plan_device *const *like, const size_t *count, size_t models)
{
    bool bound = false;
    if (models < 2 || models > FG_PACK_KINDS_MAX || !d->wishes.count)
        return NULL;
    struct fg_pack *p = fg_pack_create(&(struct fg_pack_options){.policy = FG_PACK_FASTGPU});
    for (size_t m = 0; m < models; m++)
        fg_vec_push(&p->shapes, ((struct pk_shape){.whole = {.gpus = 1, .kind = (uint32_t)m, .gpu_memory_bytes = like[m]->memory_bytes},
                                                   .nodes = (uint32_t)count[m]}));
    for (size_t i = 0; i < d->wishes.count; i++) {
        uint64_t kinds = kinds_for(&d->wishes.items[i].need, like, models);
        bound |= kinds && (uint32_t)__builtin_popcountll(kinds) < models;
        expect(p, &d->wishes.items[i], kinds);
    }
    if (!bound || !p->expected) {        /* whoever comes may go anywhere */
        fg_pack_destroy(p);
        return NULL;
    }
    pk_learn(p);
    struct fg_market *m = fg_alloc(sizeof *m);
    *m = (struct fg_market){.pack = p, .models = models, .value = fg_alloc(models * sizeof *m->value)};
    for (size_t i = 0; i < models; i++)
        for (size_t f = 0; f <= FG_PACK_DEVICE; f++)
            m->value[i][f] = UNKNOWN;
    return m;
}

void fg_market_destroy(struct fg_market *m)
{
    if (!m)
        return;
    fg_pack_destroy(m->pack);
    free(m->value);
    free(m);
}

static int64_t value_of(struct fg_market *m, size_t model, uint32_t usable)
{
    int32_t *v = &m->value[model][usable];
    if (*v == UNKNOWN) {
        struct pk_room room = {.gpus = 1, .kind = (uint32_t)model, .milli = {(uint16_t)usable}};
        *v = (int32_t)pk_value(&m->pack->value, &room);
    }
    return *v;
}

int64_t fg_market_lost(struct fg_market *m, size_t model, uint32_t usable, uint32_t taken)
{
    uint32_t after = usable > taken ? usable - taken : 0;
    int64_t lost = (value_of(m, model, usable) - value_of(m, model, after)) / PK_VALUE_UNIT + m->pack->shapes.items[model].price * taken / 1000;
    return lost / QUANTUM * QUANTUM;
}
