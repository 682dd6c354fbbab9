/* gap.c - OR-Library text to a problem. The file has its tables agent by agent; ours are task by task. */
#include "plan/gap.h"

#include <string.h>

#include "base/mem.h"

struct reader { const char *at, *end; size_t line; };

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static int next(struct reader *r, int64_t least, int64_t most, const char *what, int64_t *ret, struct fg_error *err)
{
    for (; r->at < r->end && is_space(*r->at); r->at++)
        r->line += *r->at == '\n';
    if (r->at == r->end) {
        fg_fail(err, FG_E_MALFORMED, "line %zu: the text ends where %s should stand", r->line, what);
        return fg_fail_hint(err, "A file has agents and tasks, then a row of costs for each agent, a row of needs for each, and the capacities.");
    }
    const char *begin = r->at, *word = begin;
    bool minus = *r->at == '-';
    uint64_t v = 0;
    while (word < r->end && !is_space(*word))
        word++;
    r->at += minus;
    const char *digits = r->at;
    for (; r->at < word && *r->at >= '0' && *r->at <= '9'; r->at++)
        v = v > (uint64_t)INT64_MAX / 10 - 1 ? (uint64_t)INT64_MAX : v * 10 + (uint64_t)(*r->at - '0');
    if (r->at == digits || r->at < word) {
        fg_fail(err, FG_E_MALFORMED, "line %zu: %s should be a whole number, not '%.*s'", r->line, what, (int)FG_MIN(word - begin, 20), begin);
        return fg_fail_hint(err, "Scale fractions to whole numbers, e.g. cents for dollars.");
    }
    if (v > (uint64_t)most || (minus && -(int64_t)v < least) || (!minus && (int64_t)v < least)) {
        fg_fail(err, FG_E_MALFORMED, "line %zu: %s is %.*s; allowed is %lld to %lld", r->line, what, (int)FG_MIN(word - begin, 20), begin,
                (long long)least, (long long)most);
        return fg_fail_hint(err, "Sums over all tasks must fit 64 bits; divide all costs, or needs and capacities, by the same number.");
    }
    *ret = minus ? -(int64_t)v : (int64_t)v;
    return 0;
}

static int table(struct reader *r, uint32_t m, uint32_t n, int64_t least, int64_t most, const char *what, int64_t *out, struct fg_error *err)
{
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++)
            if (next(r, least, most, what, &out[(size_t)j * m + i], err) < 0)
                return fg_fail_prefix(err, "agent %u, task %u", i + 1, j + 1);
    return 0;
}

int fg_gap_parse(const char *text, size_t length, struct fg_gap *ret, struct fg_error *err)
{
    size_t mark = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;     /* a byte order mark */
    struct reader r = {text + mark, text + length, 1};
    int64_t m, n, sum = INT64_C(1) << 60;                /* what sums may reach (assign.h) */
    if (next(&r, 1, INT32_MAX, "the number of agents", &m, err) < 0 || next(&r, 1, INT32_MAX, "the number of tasks", &n, err) < 0)
        return -1;
    /* Every number takes two bytes, so a file that claims more than it can hold costs no memory. */
    if ((uint64_t)m * (uint64_t)n > length / 4)
        return fg_fail(err, FG_E_MALFORMED, "line %zu: %lld agents x %lld tasks is more than a file of %zu bytes can tell",
                       r.line, (long long)m, (long long)n, length),
               fg_fail_hint(err, "The file may be cut off, or begin with something other than the numbers of agents and tasks.");
    struct fg_gap g = {.problem = {.agents = (uint32_t)m, .tasks = (uint32_t)n, .kinds = (uint32_t)m, .classes = (uint32_t)n,
                                   .resources = 1}};
    g.cost = fg_realloc(NULL, (size_t)(m * n), sizeof *g.cost);
    g.need = fg_realloc(NULL, (size_t)(m * n), sizeof *g.need);
    g.capacity = fg_realloc(NULL, (size_t)m, sizeof *g.capacity);
    if (table(&r, (uint32_t)m, (uint32_t)n, -sum / n, sum / n, "a cost", g.cost, err) < 0 ||
        table(&r, (uint32_t)m, (uint32_t)n, 0, sum / n, "a need", g.need, err) < 0)
        goto fail;
    for (int64_t i = 0; i < m; i++)
        if (next(&r, 0, sum / m, "a capacity", &g.capacity[i], err) < 0)
            goto fail;
    for (; r.at < r.end && is_space(*r.at); r.at++)
        r.line += *r.at == '\n';
    if (r.at < r.end) {
        fg_fail(err, FG_E_MALFORMED, "line %zu: something follows the last capacity", r.line);
        fg_fail_hint(err, "Give each instance a file of its own, and check the numbers of agents and tasks in the first line.");
        goto fail;
    }
    g.problem.cost = g.cost, g.problem.need = g.need, g.problem.capacity = g.capacity;
    *ret = g;
    return 0;
fail:
    fg_gap_fini(&g);
    return -1;
}

void fg_gap_fini(struct fg_gap *gap)
{
    if (!gap)
        return;
    free(gap->cost);
    free(gap->need);
    free(gap->capacity);
    *gap = (struct fg_gap){0};
}
