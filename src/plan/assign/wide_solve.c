/* wide_solve.c - a first plan and a bound for a wide table, from few passes. */
#include <math.h>
#include <string.h>

#include "plan/assign/search.h"
#include "plan/assign/wide.h"

#define CELLS_WANTED 24u
#define WIDE_CELLS 2000000u
#define PUSH 10.0                       /* bands of price, in the cost of a mean need, for an agent that is full before its turn */
#define HOLD 0.01                       /* by how much prices rise for a task's time of being ahead by the whole */
#define SETTLED 1e-4                    /* a rise of the bound, of itself, that another pass is not worth */
enum { SIZES = 3, ROUNDS = 4 };

bool fg_assign_is_wide(const struct fg_assign_problem *p, uint64_t most)
{
    uint32_t kinds = p->agent_kind ? p->kinds : p->agents, classes = p->task_class ? p->classes : p->tasks;
    if (p->resources != 1 || (uint64_t)kinds * classes <= (most ? most : WIDE_CELLS))
        return false;
    for (uint32_t i = 0; i < p->agents; i++)
        if (p->capacity[i] > (INT64_C(1) << 50))
            return false;
    return true;
}

/* L at the prices over the lists; what is used of each kind then. */
static double value(const struct wide *d, double *used)
{
    const struct work *w = d->w;
    double sum = 0;
    memset(used, 0, d->kinds * sizeof *used);
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct cell *e = &d->cells[d->first[c]], *end = &d->cells[d->first[c + 1]], *least = NULL;
        double min = (double)w->nobody[c];
        for (; e < end; e++) {
            double v = e->cost + d->price[e->kind] * e->need;
            if (v < min)
                min = v, least = e;
        }
        sum += min * w->class_count[c];
        if (least)
            used[least->kind] += least->need * w->class_count[c];
    }
    for (uint32_t k = 0; k < d->kinds; k++)
        sum -= d->price[k] * d->capacity[k];
    return sum;
}

void wide_ascend(struct wide *d, uint32_t steps)
{
    uint32_t K = d->kinds, stale = 0;
    FG_AUTO_FREE double *used = fg_realloc(NULL, 3 * (size_t)K, sizeof *used);
    double *dir = used + K, *top = dir + K, theta = 1;
    memset(dir, 0, K * sizeof *dir);
    memcpy(top, d->price, K * sizeof *top);
    double at = value(d, used), best = at, target = best + fabs(best) * 0.01 + 1;
    for (uint32_t s = 0; s < steps && !work_done(d->w); s++) {
        double norm = 0, dot = 0, old = 0;
        for (uint32_t k = 0; k < K; k++) {
            double g = (used[k] - d->capacity[k]) / d->capacity[k];
            used[k] = d->price[k] <= 0 && g < 0 ? 0 : g;
            dot += used[k] * dir[k], old += dir[k] * dir[k];
        }
        double beta = old > 0 ? (dot < 0 ? -1.5 * dot / old : 0.3) : 0;
        for (uint32_t k = 0; k < K; k++) {
            dir[k] = used[k] + beta * dir[k];
            norm += dir[k] * dir[k];
        }
        if (norm < 1e-18)
            break;
        for (uint32_t k = 0; k < K; k++)
            d->price[k] = FG_MAX(0, d->price[k] + theta * (target - at) / norm * dir[k] / d->capacity[k]);
        at = value(d, used);
        if (at > best) {
            stale = 0, best = at;
            memcpy(top, d->price, K * sizeof *top);
            target = FG_MAX(target, best + fabs(best) * 0.002 + 1);
        } else if (++stale >= 6) {
            theta *= 0.6, stale = 0;
            memcpy(d->price, top, K * sizeof *top);
            at = value(d, used);
            memset(dir, 0, K * sizeof *dir);
        }
    }
    memcpy(d->price, top, K * sizeof *top);
}

/* What a class takes of an agent: on average of its list, and at least. */
struct part { float mean, least; };

/* Tasks of half an agent and more first; the others in an order by chance, so that no agent gets a run of neighbours, nor all its large ones
 * before the small ones that its price is for. Returns the sum of mean parts. */
static double turns(struct wide *d, struct part *part, uint32_t *order)
{
    struct work *w = d->w;
    uint32_t count[SIZES + 1] = {0}, first[SIZES + 1];
    FG_AUTO_FREE uint8_t *size = fg_alloc(w->classes);
    FG_AUTO_FREE double *agents = fg_realloc(NULL, d->kinds, sizeof *agents);
    double all = 0;
    for (uint32_t k = 0; k < d->kinds; k++)
        agents[k] = 1 / d->capacity[k];
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct cell *e = &d->cells[d->first[c]], *end = &d->cells[d->first[c + 1]];
        double least = 1, sum = 0;
        for (; e < end; e++) {
            double of = e->need * agents[e->kind];
            least = of < least ? of : least, sum += of;
        }
        part[c] = (struct part){(float)(sum / FG_MAX(d->first[c + 1] - d->first[c], 1u)), (float)least};
        all += (double)part[c].mean * w->class_count[c];
    }
    for (uint32_t c = 0; c < w->classes; c++)
        size[c] = (uint8_t)FG_MIN(SIZES - 1, -ilogbf(FG_MAX(part[c].least, 1e-9f)));
    for (uint32_t j = 0; j < w->tasks; j++)
        count[size[w->class_of[j]] + 1]++;
    for (int x = 0; x < SIZES; x++)
        count[x + 1] += count[x];
    memcpy(first, count, sizeof first);
    for (uint32_t j = 0; j < w->tasks; j++)
        order[count[size[w->class_of[j]]]++] = j;
    for (int x = 0; x < SIZES; x++)
        for (uint32_t n = first[x + 1] - first[x]; n > 1; n--) {
            uint32_t y = random_scale((uint32_t)(random_next(w->random) >> 32), n), *a = &order[first[x] + n - 1], *b = &order[first[x] + y], t = *a;
            *a = *b, *b = t;
        }
    return all;
}

/* The row will be read soon, from where no prefetcher expects it. */
static void fetch(const struct wide *d, uint32_t c)
{
    const char *at = (const char *)&d->cells[d->first[c]], *end = (const char *)&d->cells[d->first[c + 1]];
    for (; at < end; at += 64)
        __builtin_prefetch(at);
}

void wide_greedy(struct wide *d, uint32_t *agent)
{
    struct work *w = d->w;
    FG_AUTO_FREE int64_t *room = fg_realloc(NULL, w->agents, sizeof *room);
    FG_AUTO_FREE int64_t *refused = fg_realloc(NULL, d->kinds, sizeof *refused);  /* by kind: the least need without room, since room only shrinks */
    FG_AUTO_FREE uint32_t *from = fg_alloc(w->kinds * sizeof *from), *order = fg_realloc(NULL, w->tasks, sizeof *order);
    FG_AUTO_FREE double *fill = fg_alloc(d->kinds * sizeof *fill);
    FG_AUTO_FREE struct part *part = fg_realloc(NULL, w->classes, sizeof *part);
    double priced = 0, used = 0, push = PUSH * d->band / d->need_mean, due = 0, common = 0, all = turns(d, part, order);
    memcpy(room, w->capacity, w->agents * sizeof *room);
    for (uint32_t k = 0; k < d->kinds; k++)
        priced += d->price[k] > 0, refused[k] = INT64_MAX;
    for (uint32_t x = 0; x < w->tasks; x++) {
        uint32_t j = order[x], c = w->class_of[j], best = w->kinds - 1, i = w->agents - 1;
        fetch(d, w->class_of[order[FG_MIN(x + 4, w->tasks - 1)]]);
        double least = (double)w->nobody[c], turn = all > 0 ? due / all : 1, ahead = priced > 0 ? used / priced - turn : 0;
        common += HOLD * ahead;
        for (const struct cell *e = &d->cells[d->first[c]], *end = &d->cells[d->first[c + 1]]; e < end; e++) {
            double more = fill[e->kind] - turn, price = d->price[e->kind];
            price += price * (common + ahead) + (more > 0 || price > 0 ? push * more : 0);
            double v = e->cost + price * e->need;
            if (v >= least)
                continue;
            uint32_t one = w->kind_first[e->kind], found = w->kind_agents[one];
            int64_t need = (int64_t)e->need;
            if (w->kind_first[e->kind + 1] == one + 1)
                found = need <= room[found] ? found : UINT32_MAX;
            else
                found = need < refused[e->kind] ? assign_agent_with_room(w, e->kind, &need, room, from) : UINT32_MAX;
            if (found != UINT32_MAX)
                least = v, best = e->kind, i = found;
            else
                refused[e->kind] = FG_MIN(refused[e->kind], need);
        }
        due += (double)part[c].mean;
        if (best + 1 == w->kinds)
            best = assign_any_kind(w, c, room, from, refused, &i);
        if (best + 1 == w->kinds) {
            agent[j] = w->agents - 1;
            continue;
        }
        int64_t need = cell_need(w, c, best, 0);
        double more = (double)need / d->capacity[best];
        agent[j] = i;
        room[i] -= need;
        fill[best] += more;
        used += d->price[best] > 0 ? more : 0;
    }
}

/* Options from the lists: cheapest first, nobody among them. */
static void options_from_lists(struct wide *d)
{
    struct work *w = d->w;
    uint32_t at = 0;
    free(w->options), free(w->option_first);
    w->options = fg_realloc(NULL, (size_t)d->first[w->classes] + w->classes, sizeof *w->options);
    w->option_first = fg_realloc(NULL, w->classes + 1, sizeof *w->option_first);
    for (uint32_t c = 0; c < w->classes; c++) {
        const struct cell *e = &d->cells[d->first[c]], *end = &d->cells[d->first[c + 1]];
        struct option *o = &w->options[at];
        uint32_t n = 0;
        double least = (double)w->nobody[c];
        for (const struct cell *y = e; y < end; y++)
            least = FG_MIN(least, y->cost + d->price[y->kind] * y->need);
        w->option_first[c] = at;
        for (const struct cell *y = e; y <= end; y++) {
            struct option new = {.kind = w->kinds - 1, .cost = w->nobody[c], .reduced = (float)((double)w->nobody[c] - least)};
            if (y < end)
                new = (struct option){.kind = y->kind, .cost = (int64_t)y->cost, .need = {(int64_t)y->need},
                                      .reduced = (float)(y->cost + d->price[y->kind] * y->need - least)};
            uint32_t x = n++;
            for (; x > 0 && o[x - 1].reduced > new.reduced; x--)
                o[x] = o[x - 1];
            o[x] = new;
        }
        at += n;
    }
    w->option_first[w->classes] = at;
}

static void keep_best(struct wide *d, int64_t bound)
{
    if (d->w->bound >= bound && d->w->price)
        return;
    if (!d->w->price)
        d->w->price = fg_alloc(((size_t)d->kinds + 1) * sizeof *d->w->price);
    d->w->bound = bound;
    memcpy(d->w->price, d->price, d->kinds * sizeof *d->price);
}

static void first_plan(struct wide *d)
{
    struct work *w = d->w;
    FG_AUTO_FREE uint32_t *agent = fg_realloc(NULL, w->tasks, sizeof *agent);
    int64_t cost = 0;
    wide_greedy(d, agent);
    for (uint32_t j = 0; j < w->tasks; j++)
        cost += cell_cost(w, w->class_of[j], w->kind_of[agent[j]]);
    work_offer(w, agent, cost);
}

/* Let demand settle on the lists, and look at the whole table with those prices; again while the bound rises. Prices that the lists led
 * astray, since what they leave out looked dear before, are met half way. */
static void settle(struct wide *d, double t)
{
    struct work *w = d->w;
    int64_t bound = w->bound;
    for (int round = 0; round < ROUNDS && !work_done(w); round++, t *= 0.3) {
        int64_t before = w->bound;
        wide_soften(d, t, t * 0.2, 12);
        wide_ascend(d, 12);
        for (uint32_t k = 0; k < d->kinds && bound < before; k++)
            d->price[k] = (3 * w->price[k] + d->price[k]) / 4;
        wide_pass(d, CELLS_WANTED, false, &bound);
        if (bound > before)
            first_plan(d);
        keep_best(d, bound);
        if (bound >= before && (double)(bound - before) < SETTLED * fabs((double)bound))
            break;
    }
    if (bound < w->bound) {
        memcpy(d->price, w->price, d->kinds * sizeof *d->price);
        wide_pass(d, CELLS_WANTED, false, &bound);
    }
}

/* Prices from more rows, and the whole table at those. Returns the temperature to go on from. */
static double refine(struct wide *d, double t)
{
    struct work *w = d->w;
    int64_t bound;
    double band = d->band, far = d->far;
    if (work_done(w))
        return t;
    double cold = wide_refine(d, t);
    if (work_done(w)) {
        memcpy(d->price, w->price, d->kinds * sizeof *d->price);
        return t;
    }
    d->band = cold, d->far *= cold / band;
    wide_pass(d, CELLS_WANTED, false, &bound);
    if (bound > w->bound) {
        first_plan(d);
        keep_best(d, bound);
        return cold;
    }
    memcpy(d->price, w->price, d->kinds * sizeof *d->price);
    d->band = band, d->far = far;
    wide_pass(d, CELLS_WANTED, false, &bound);
    return t;
}

bool fg_assign_wide(struct work *w)
{
    struct wide d = {.w = w, .kinds = w->kinds - 1};
    uint32_t K = d.kinds;
    int64_t bound = 0;
    d.price = fg_alloc((2 * (size_t)K + w->classes) * sizeof *d.price);
    d.capacity = d.price + K, d.least = d.capacity + K;
    d.first = fg_realloc(NULL, w->classes + 1, sizeof *d.first);
    d.cells = fg_realloc(NULL, (size_t)w->classes * FG_MIN(CELLS_MOST, K), sizeof *d.cells);
    for (uint32_t k = 0; k < K; k++)
        d.capacity[k] = FG_MAX(1.0, (double)w->kind_capacity[k]);
    wide_sample(&d);
    double t = d.band;
    bool plain = wide_pass(&d, CELLS_WANTED, true, &bound);
    if (plain) {
        keep_best(&d, bound);
        first_plan(&d);
        w->start_ns = work_now(w) - w->began_ns;
        settle(&d, refine(&d, t));
        options_from_lists(&d);
    }
    free(d.price), free(d.cells), free(d.first);
    return plain;
}
