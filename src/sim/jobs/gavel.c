/* gavel.c - Gavel's measured throughputs, and jobs drawn as its generator draws them (OSDI'20, simulation):
 * the type uniform; the length on a V100 60 x 10^U(1.5,3) s, or with probability 0.2 60 x 10^U(3,4) s; the deadline 1.2, 2 or
 * 10 times that length; arrivals Poisson. One GPU each, since pairs are measured for single GPUs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "sim/jobs/jobs.h"

static const struct { const char *key, *name; int64_t nanousd_per_h; } kinds[3] = {
    {"v100", "V100", INT64_C(2850000000)}, {"p100", "P100", INT64_C(1680000000)}, {"k80", "K80", INT64_C(520000000)}};

static double single_rate(const json_t *root, uint32_t kind, const char *type)
{
    const json_t *v = json_object_get(json_object_get(json_object_get(root, kinds[kind].key), type), "null");
    return json_is_number(v) ? json_number_value(v) : 0;
}

static void pair_rate(const json_t *root, uint32_t kind, const char *a, const char *b, double ret[2])
{
    const json_t *v = json_object_get(json_object_get(json_object_get(root, kinds[kind].key), a), b);
    for (size_t x = 0; x < 2; x++)
        ret[x] = json_is_array(v) && json_is_number(json_array_get(v, x)) ? fmax(0, json_number_value(json_array_get(v, x))) : 0;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The single-GPU types, by name, and how each pair of them gets on. */
static int read_types(const json_t *root, struct fg_job_trace *t, struct fg_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(root, kinds[0].key), key, value)
        if (strlen(key) > 4 && fg_streq(key + strlen(key) - 4, ", 1)"))
            fg_vec_push(&t->types, fg_strdup(key));
    size_t n = t->types.count;
    if (n == 0)
        return fg_fail(err, FG_E_MALFORMED, "no job types for one GPU: this is not Gavel's table of throughputs");
    qsort(t->types.items, n, sizeof *t->types.items, by_text);
    t->pair_rates = fg_alloc(n * n * 3 * 2 * sizeof *t->pair_rates);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++)
            for (uint32_t k = 0; k < 3; k++)
                pair_rate(root, k, t->types.items[a], t->types.items[b], &t->pair_rates[((a * n + b) * 3 + k) * 2]);
    return 0;
}

/* splitmix64 */
static double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static int draw_job(const json_t *root, struct fg_job_trace *t, const struct fg_gavel_draw *d, uint64_t *state, double *ret_cheap, struct fg_error *err)
{
    static const double slack[3] = {1.2, 2, 10};
    uint32_t type = (uint32_t)(uniform(state) * (double)t->types.count);
    bool is_short = uniform(state) < 0.8;
    double u = uniform(state), length = 60 * pow(10, is_short ? 1.5 + 1.5 * u : 3 + u), limit = length * slack[(int)(uniform(state) * 3)];
    struct fg_job j = {.type = type, .gpus = 1, .kind = -1, .deadline_s = d->deadlines ? limit : INFINITY};
    double least = INFINITY;
    for (uint32_t k = 0; k < 3; k++)
        j.rate[k] = single_rate(root, k, t->types.items[type]);
    if (j.rate[0] <= 0)
        return fg_fail(err, FG_E_MALFORMED, "the type %s has no throughput on a V100", t->types.items[type]);
    j.work = j.left = length * j.rate[0];
    for (uint32_t k = 0; k < 3; k++) {
        double time = j.rate[k] > 0 ? j.work / j.rate[k] : INFINITY;
        if (time <= limit && time * t->kinds[k].price_per_s < least)
            least = time * t->kinds[k].price_per_s, *ret_cheap = time;
    }
    j.arrival_s = -log(1 - uniform(state));              /* in units that the load sets afterwards */
    fg_vec_push(&t->jobs, j);
    return 0;
}

int fg_read_gavel(const char *text, size_t length, const struct fg_gavel_draw *d, struct fg_job_trace *ret, struct fg_error *err)
{
    FG_AUTO_JSON json_t *root = fg_json_parse(text, length, err);
    struct fg_job_trace t = {.kind_count = 3, .round_s = 360};
    uint64_t state = d->seed * 0x9e3779b97f4a7c15u + 1;
    double busy = 0, units = 0, gpus = 0, cheap = 0, at = 0;
    if (!root)
        return -1;
    for (uint32_t k = 0; k < 3; k++) {
        t.kinds[k] = (struct fg_jobs_kind){d->gpus[k], (double)kinds[k].nanousd_per_h / 3600e9};
        t.price_nanousd_per_h[k] = kinds[k].nanousd_per_h;
        snprintf(t.kind_names[k], sizeof t.kind_names[k], "%s", kinds[k].name);
        gpus += d->gpus[k];
    }
    int rc = read_types(root, &t, err);
    for (uint32_t x = 0; rc == 0 && x < d->jobs; x++) {
        rc = draw_job(root, &t, d, &state, &cheap, err);
        busy += cheap;
    }
    for (size_t x = 0; x < t.jobs.count; x++)
        units += t.jobs.items[x].arrival_s;
    double unit = rc == 0 && units > 0 && gpus > 0 ? busy / (d->load * gpus) / units : 0;
    for (size_t x = 0; x < t.jobs.count; x++) {
        struct fg_job *j = &t.jobs.items[x];
        j->arrival_s = at += j->arrival_s * unit;
        j->deadline_s += j->arrival_s;
    }
    if (rc < 0)
        fg_job_trace_fini(&t);
    else
        *ret = t;
    return rc;
}
