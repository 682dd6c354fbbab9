/* greedy.c - the first valid assignment, in one pass: the tasks that would lose most go first. */
#include <string.h>

#include "plan/assign/search.h"

struct turn { float regret; uint32_t task; };
static int by_regret(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    return x->regret != y->regret ? (x->regret > y->regret ? -1 : 1) : (x->task > y->task) - (x->task < y->task);
}

uint32_t assign_agent_with_room(const struct work *w, uint32_t kind, const int64_t *need, const int64_t *room, uint32_t *from)
{
    uint32_t R = w->resources, first = w->kind_first[kind], n = w->kind_first[kind + 1] - first;
    for (uint32_t x = 0; x < n; x++) {
        uint32_t turn = from[kind] + x < n ? from[kind] + x : from[kind] + x - n, i = w->kind_agents[first + turn], r = 0;
        while (r < R && need[r] <= room[(size_t)i * R + r])
            r++;
        if (r == R) {
            from[kind] = turn;
            return i;
        }
    }
    return UINT32_MAX;
}

uint32_t assign_any_kind(const struct work *w, uint32_t c, const int64_t *room, uint32_t *from, int64_t *refused, uint32_t *ret_agent)
{
    uint32_t R = w->resources, best = w->kinds - 1;
    double least = (double)w->nobody[c];
    for (uint32_t k = 0; k + 1 < w->kinds; k++) {
        if (!cell_open(w, c, k))
            continue;
        struct option o = {.kind = k};
        double v = (double)cell_cost(w, c, k);
        for (uint32_t r = 0; r < R; r++) {
            o.need[r] = cell_need(w, c, k, r);
            v += w->price[k * R + r] * (double)o.need[r];
        }
        if (v >= least || (refused && o.need[0] >= refused[k]))
            continue;
        uint32_t i = assign_agent_with_room(w, k, o.need, room, from);
        if (refused && i == UINT32_MAX)
            refused[k] = o.need[0];
        if (i != UINT32_MAX)
            least = v, best = k, *ret_agent = i;
    }
    return best;
}

void fg_assign_greedy(struct work *w, uint32_t *agent)
{
    uint32_t R = w->resources;
    FG_AUTO_FREE int64_t *room = fg_realloc(NULL, (size_t)w->agents * R, sizeof *room);
    FG_AUTO_FREE struct turn *turns = fg_realloc(NULL, w->tasks, sizeof *turns);
    FG_AUTO_FREE uint32_t *from = fg_alloc(w->kinds * sizeof *from);
    FG_AUTO_FREE bool *full = fg_alloc(w->option_first[w->classes] * sizeof *full); /* room only shrinks: once full, full */
    memcpy(room, w->capacity, (size_t)w->agents * R * sizeof *room);
    for (uint32_t j = 0; j < w->tasks; j++) {
        uint32_t first = w->option_first[w->class_of[j]], n = w->option_first[w->class_of[j] + 1] - first;
        turns[j] = (struct turn){n > 1 ? w->options[first + 1].reduced : 0, j};
    }
    qsort(turns, w->tasks, sizeof *turns, by_regret);
    for (uint32_t x = 0; x < w->tasks; x++) {
        uint32_t j = turns[x].task, c = w->class_of[j], i = UINT32_MAX, y = w->option_first[c];
        for (; i == UINT32_MAX; y++) {                    /* ends: nobody is an option and has room */
            if (full[y])
                continue;
            i = assign_agent_with_room(w, w->options[y].kind, w->options[y].need, room, from);
            full[y] = i == UINT32_MAX;
        }
        uint32_t kind = w->options[y - 1].kind;
        if (i + 1 == w->agents && w->kinds > w->option_first[c + 1] - w->option_first[c])
            kind = assign_any_kind(w, c, room, from, NULL, &i);
        agent[j] = i;
        for (uint32_t r = 0; r < R; r++)
            room[(size_t)i * R + r] -= cell_need(w, c, kind, r);
    }
}
