/* left.c - why a task is not in the plan, in words. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "plan/instance/private.h"

static void format_time(char *buf, size_t n, int64_t ns) { fg_format_duration(buf, n, ns); }

bool never_text(const struct fg_instance *in, uint32_t task, char *text, size_t n)
{
    const struct fg_instance_task *t = &in->tasks.items[task];
    uint32_t best = 0;
    struct fg_pair shown = {0};
    char a[32], b[32];
    for (uint32_t v = 0; v < in->vgpus.count; v++) {
        struct fg_pair p = fg_instance_pair(in, task, v);
        if (p.block == FG_PAIR_OK)
            return false;
        bool nearer = p.block > shown.block || (p.block == shown.block &&
            (p.block == FG_PAIR_MEMORY ? in->vgpus.items[v].memory_bytes > in->vgpus.items[best].memory_bytes
             : p.block == FG_PAIR_BUDGET ? p.cost_nanousd < shown.cost_nanousd : p.time_ns < shown.time_ns));
        if (nearer)
            best = v, shown = p;
    }
    const char *id = in->vgpus.items[best].id;
    switch (shown.block) {
    case FG_PAIR_OK: break;
    case FG_PAIR_KIND: snprintf(text, n, "no vGPU is of a kind it may use"); break;
    case FG_PAIR_MEMORY:
        fg_format_bytes(a, sizeof a, t->memory_bytes), fg_format_bytes(b, sizeof b, in->vgpus.items[best].memory_bytes);
        if (fg_streq(a, b)) {                            /* rounded, they do not tell what is wrong */
            snprintf(a, sizeof a, "%llu bytes", (unsigned long long)t->memory_bytes);
            snprintf(b, sizeof b, "%llu", (unsigned long long)in->vgpus.items[best].memory_bytes);
        }
        snprintf(text, n, "it needs %s; the largest vGPU it may use (%s) has %s", a, id, b);
        break;
    case FG_PAIR_NO_TIME: snprintf(text, n, "its work cannot be timed: no vGPU it fits on tells its gflops"); break;
    case FG_PAIR_TOO_LONG: snprintf(text, n, "it would run for more than ten years on every vGPU it fits on"); break;
    case FG_PAIR_DEADLINE:
        format_time(a, sizeof a, latest_end(in, task)), format_time(b, sizeof b, shown.time_ns);
        snprintf(text, n, "it must end within %s and takes %s at least (on %s)", a, b, id);
        break;
    case FG_PAIR_BUDGET:
        snprintf(text, n, "its budget is %s USD and it costs %s USD at least (on %s)", fg_format_money(a, sizeof a, t->budget_nanousd),
                 fg_format_money(b, sizeof b, shown.cost_nanousd), id);
        break;
    }
    return true;
}

uint32_t *board_blockers(const struct board *b)
{
    const struct fg_instance *in = b->in;
    size_t groups = in->groups.names.count + 1, n = groups + in->gangs.names.count + 1;
    uint32_t *blocker = fg_realloc(NULL, n, sizeof *blocker);
    memset(blocker, 0xff, n * sizeof *blocker);
    for (uint32_t j = (uint32_t)in->tasks.count; j-- > 0;)
        if (b->never[j])
            blocker[in->tasks.items[j].group] = blocker[groups + in->tasks.items[j].gang] = j;
    return blocker;
}

static int64_t least_cost(const struct fg_instance *in, uint32_t j)
{
    int64_t least = INT64_MAX;
    for (uint32_t v = 0; v < in->vgpus.count; v++) {
        struct fg_pair p = fg_instance_pair(in, j, v);
        least = p.block == FG_PAIR_OK ? FG_MIN(least, p.cost_nanousd) : least;
    }
    return least;
}

void left_text(const struct board *b, uint32_t j, const uint32_t *blocker, char *text, size_t n)
{
    const struct fg_instance *in = b->in;
    const struct fg_instance_task *t = &in->tasks.items[j];
    uint32_t group = t->gang ? (uint32_t)in->groups.names.count + 1 + t->gang : t->group;
    const char *what = t->gang ? "gang" : "group", *name = t->gang ? in->gangs.names.items[t->gang] : t->group ? in->groups.names.items[t->group] : "";
    enum left_why why = (enum left_why)b->why[j];
    char a[32], c[32];
    if (b->never[j]) {
        never_text(in, j, text, n);
        return;
    }
    int64_t least = why == LEFT_BUDGET ? least_cost(in, j) : 0;
    if (why == LEFT_TIME)
        snprintf(text, n, "the time limit ended before a place was looked for: give --time-limit more");
    else if (group && blocker[group] != FG_ASSIGN_NOBODY)
        snprintf(text, n, "'%s' of its %s '%s' can run nowhere", in->tasks.items[blocker[group]].id, what, name);
    else if (why == LEFT_BUDGET && least > in->budget_nanousd)
        snprintf(text, n, "the plan's budget is %s USD and it costs %s USD at least", fg_format_money(a, sizeof a, in->budget_nanousd),
                 fg_format_money(c, sizeof c, least));
    else if (why == LEFT_BUDGET)
        snprintf(text, n, "the plan's budget of %s USD is spent on others", fg_format_money(a, sizeof a, in->budget_nanousd));
    else if (group)
        snprintf(text, n, "its %s '%s' has no room as a whole%s", what, name, t->gang ? " at the start" : "");
    else if (in->at_once)
        snprintf(text, n, "every vGPU it fits on is full: wait with run: in_turn, or add vGPUs");
    else
        snprintf(text, n, "no vGPU it fits on is free in time for it to end within %s", fg_format_duration(a, sizeof a, last_end(in, j)));
}
