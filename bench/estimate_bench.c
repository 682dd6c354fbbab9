/* estimate_bench.c - how well times on device kinds never seen are completed: hides part of a table of throughputs (Gavel's
 * format), learns the rest as finished attempts, and compares. Prints one line a seed and one for all.
 * usage: estimate_bench TABLE.json [SEEDS] [PERCENT HIDDEN] */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "plan/estimate.h"

enum { KINDS = 3, ROWS_MOST = 4096, STEPS = 1000 };
static const char *const kinds[KINDS] = {"v100", "p100", "k80"};
struct row { const char *name; double rate[KINDS]; bool hidden[KINDS]; };
struct score { double error[ROWS_MOST * KINDS]; size_t count, covered; };

static double uniform(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static size_t read_rows(const json_t *root, struct row *rows)
{
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(json_object_get(root, kinds[0]), name, value) {
        if (n == ROWS_MOST)
            break;
        rows[n] = (struct row){.name = name};
        for (int k = 0; k < KINDS; k++)
            rows[n].rate[k] = json_number_value(json_object_get(json_object_get(json_object_get(root, kinds[k]), name), "null"));
        n++;
    }
    return n;
}

/* Every row keeps one kind at least. */
static void hide(struct row *rows, size_t n, uint64_t *seed, double share)
{
    for (size_t x = 0; x < n; x++) {
        int seen = 0, first = (int)(uniform(seed) * KINDS);
        for (int k = 0; k < KINDS; k++) {
            rows[x].hidden[k] = uniform(seed) < share;
            seen += rows[x].rate[k] > 0 && !rows[x].hidden[k];
        }
        for (int k = 0; k < KINDS && !seen; k++) {
            int at = (first + k) % KINDS;
            if (rows[x].rate[at] > 0)
                rows[x].hidden[at] = false, seen = 1;
        }
    }
}

static int64_t time_of(const struct row *r, int k) { return llround(STEPS / r->rate[k] * 1e9); }

static void score(struct row *rows, size_t n, struct score *s)
{
    struct fg_history *h = fg_history_create();
    struct fg_outcome done = {.state = FG_STATE_SUCCEEDED};
    for (size_t x = 0; x < n; x++)
        for (int k = 0; k < KINDS; k++) {
            struct fg_spec spec = {.type = FG_TASK_COMMAND, .program = (char *)rows[x].name};
            if (rows[x].hidden[k] || rows[x].rate[k] <= 0)
                continue;
            done.run_ns = time_of(&rows[x], k);
            fg_history_observe(h, &spec, kinds[k], 1000, &done);
        }
    for (size_t x = 0; x < n; x++)
        for (int k = 0; k < KINDS; k++) {
            struct fg_spec spec = {.type = FG_TASK_COMMAND, .program = (char *)rows[x].name};
            struct fg_estimate e;
            if (!rows[x].hidden[k] || rows[x].rate[k] <= 0)
                continue;
            fg_estimate(h, &spec, kinds[k], 1000, &e);
            double truth = (double)time_of(&rows[x], k), off = log(truth / (double)e.p50_ns);
            double sigma = log((double)e.p95_ns / (double)e.p50_ns) / 1.645;
            s->error[s->count++] = fabs((double)e.p50_ns / truth - 1);
            s->covered += fabs(off) <= 1.2816 * sigma;
        }
    fg_history_destroy(h);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static void show(const char *what, struct score *s)
{
    qsort(s->error, s->count, sizeof *s->error, by_size);
    if (s->count)
        printf("%s hidden %zu median %.4f p90 %.4f band80 %.4f\n", what, s->count, s->error[s->count / 2],
               s->error[(size_t)((double)s->count * 0.9)], (double)s->covered / (double)s->count);
}

int main(int argc, char **argv)
{
    FG_AUTO_STR struct fg_str text = {0};
    struct fg_error err = {0};
    static struct row rows[ROWS_MOST];
    static struct score all, one;
    int seeds = argc > 2 ? atoi(argv[2]) : 10;
    double share = argc > 3 ? atof(argv[3]) / 100 : 0.2;
    FG_AUTO_JSON json_t *root = NULL;
    if (argc < 2 || fg_read_file(argv[1], (size_t)1 << 28, &text, &err) < 0 || !(root = fg_json_parse(text.data, text.len, &err))) {
        fprintf(stderr, "estimate_bench: %s\n", argc < 2 ? "usage: estimate_bench TABLE.json [SEEDS] [PERCENT HIDDEN]" : err.text);
        return 2;
    }
    size_t n = read_rows(root, rows);
    for (int seed = 1; seed <= seeds; seed++) {
        char what[32];
        uint64_t state = (uint64_t)seed;
        one.count = one.covered = 0;
        hide(rows, n, &state, share);
        score(rows, n, &one);
        memcpy(&all.error[all.count], one.error, one.count * sizeof *one.error);
        all.count += one.count, all.covered += one.covered;
        snprintf(what, sizeof what, "seed %d", seed);
        show(what, &one);
        if (all.count + ROWS_MOST > FG_COUNT(all.error))
            break;
    }
    show("all", &all);
    return 0;
}
