/* gap.c - OR-Library text to a problem. The file has its tables agent by agent; ours are task by task. */
#include "plan/gap.h"

#include <string.h>

#include "base/mem.h"

struct reader { const char *at, *end; size_t line; };

static int next(struct reader *r, int64_t least, const char *what, int64_t *ret, struct fg_error *err)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->line += *r->at++ == '\n';
    if (r->at == r->end)
        return fg_fail(err, FG_E_MALFORMED, "line %zu: the text ends where %s should stand", r->line, what);
    const char *begin = r->at;
    bool minus = *r->at == '-';
    uint64_t v = 0;
    r->at += minus;
    const char *digits = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (v > (uint64_t)INT64_MAX / 10 - 1)
            return fg_fail(err, FG_E_MALFORMED, "line %zu: %s is too large", r->line, what);
        v = v * 10 + (uint64_t)(*r->at - '0');
    }
    if (r->at == digits || (r->at < r->end && !strchr(" \n\t\r", *r->at)))
        return fg_fail(err, FG_E_MALFORMED, "line %zu: %s should be a whole number, not '%.*s'", r->line, what,
                       (int)FG_MIN((size_t)(r->end - begin), 12), begin);
    *ret = minus ? -(int64_t)v : (int64_t)v;
    if (*ret < least)
        return fg_fail(err, FG_E_MALFORMED, "line %zu: %s is %lld; the least allowed is %lld", r->line, what, (long long)*ret,
                       (long long)least);
    return 0;
}

static int table(struct reader *r, uint32_t m, uint32_t n, int64_t least, const char *what, int64_t *out, struct fg_error *err)
{
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++)
            if (next(r, least, what, &out[(size_t)j * m + i], err) < 0)
                return fg_fail_prefix(err, "agent %u, task %u", i + 1, j + 1);
    return 0;
}

int fg_gap_parse(const char *text, size_t length, struct fg_gap *ret, struct fg_error *err)
{
    size_t mark = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;     /* a byte order mark */
    struct reader r = {text + mark, text + length, 1};
    int64_t m, n;
    if (next(&r, 1, "the number of agents", &m, err) < 0 || next(&r, 1, "the number of tasks", &n, err) < 0)
        return -1;
    /* Every number takes two bytes, so a file that claims more than it can hold costs no memory. */
    if (m > INT32_MAX || n > INT32_MAX || (uint64_t)m * (uint64_t)n > length / 4)
        return fg_fail(err, FG_E_MALFORMED, "line %zu: %lld agents x %lld tasks is more than a file of %zu bytes can tell",
                       r.line, (long long)m, (long long)n, length);
    struct fg_gap g = {.problem = {.agents = (uint32_t)m, .tasks = (uint32_t)n, .kinds = (uint32_t)m, .classes = (uint32_t)n,
                                   .resources = 1}};
    g.cost = fg_realloc(NULL, (size_t)(m * n), sizeof *g.cost);
    g.need = fg_realloc(NULL, (size_t)(m * n), sizeof *g.need);
    g.capacity = fg_realloc(NULL, (size_t)m, sizeof *g.capacity);
    if (table(&r, (uint32_t)m, (uint32_t)n, INT64_MIN, "a cost", g.cost, err) < 0 ||
        table(&r, (uint32_t)m, (uint32_t)n, 0, "a need", g.need, err) < 0)
        goto fail;
    for (int64_t i = 0; i < m; i++)
        if (next(&r, 0, "a capacity", &g.capacity[i], err) < 0)
            goto fail;
    while (r.at < r.end && strchr(" \n\t\r", *r.at))
        r.at++;
    if (r.at < r.end) {
        fg_fail(err, FG_E_MALFORMED, "line %zu: something follows the last capacity", r.line);
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
