/* solve.c - the whole: check, bound, search, result. */
#include <string.h>

#include "plan/assign/search.h"

int64_t work_now(const struct work *w) { return w->o->now_ns ? w->o->now_ns(w->o->now_arg) : 0; }

bool work_done(const struct work *w)
{
    if (w->o->interrupt && *w->o->interrupt)
        return true;
    if (w->o->max_iterations && w->iterations >= w->o->max_iterations)
        return true;
    if (w->have_best && w->best_cost <= w->good_enough)
        return true;
    return w->deadline_ns != INT64_MAX && work_now(w) >= w->deadline_ns;
}

void work_offer(struct work *w, const uint32_t *agent, int64_t cost)
{
    if (w->have_best && cost >= w->best_cost)
        return;
    memcpy(w->best, agent, w->tasks * sizeof *w->best);
    w->best_cost = cost;
    w->have_best = true;
    if (w->o->progress)
        w->o->progress(w->o->progress_arg, cost, w->bound);
}

void work_costs(struct work *w, int64_t low, int64_t high)
{
    const struct fg_assign_problem *p = w->p;
    if (low != INT64_MAX)
        w->cost_most = FG_MAX(high, -low), w->cost_span = high - low;
    __int128 span = ((__int128)high - low + 1) * w->tasks;
    int64_t most = ((int64_t)1 << 61) / w->tasks, dear = low == INT64_MAX ? most : high + (span < most ? (int64_t)span : most);
    for (uint32_t c = 0; c < w->classes; c++)
        w->nobody[c] = p->nobody_cost ? p->nobody_cost[c] : dear;
}

static void scan_costs(struct work *w)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (size_t x = 0; x < (size_t)w->classes * (w->kinds - 1); x++)
        if (w->p->cost[x] != FG_ASSIGN_NEVER)
            low = FG_MIN(low, w->p->cost[x]), high = FG_MAX(high, w->p->cost[x]);
    work_costs(w, low, high);
}

static void work_init(struct work *w, const struct fg_assign_problem *p, const struct fg_assign_options *o)
{
    *w = (struct work){.began_ns = o->now_ns ? o->now_ns(o->now_arg) : 0, .p = p, .o = o, .agents = p->agents + 1, .tasks = p->tasks, .resources = p->resources};
    w->kinds = (p->agent_kind ? p->kinds : p->agents) + 1;
    w->classes = p->task_class ? p->classes : p->tasks;
    uint32_t R = w->resources, K = w->kinds;
    w->kind_of = fg_realloc(NULL, w->agents, sizeof *w->kind_of);
    w->class_of = fg_realloc(NULL, w->tasks, sizeof *w->class_of);
    w->class_count = fg_alloc(w->classes * sizeof *w->class_count);
    w->kind_first = fg_alloc((K + 1) * sizeof *w->kind_first);
    w->kind_agents = fg_realloc(NULL, w->agents, sizeof *w->kind_agents);
    w->capacity = fg_realloc(NULL, (size_t)w->agents * R, sizeof *w->capacity);
    w->kind_capacity = fg_alloc(K * R * sizeof *w->kind_capacity);
    w->kind_largest = fg_alloc(K * R * sizeof *w->kind_largest);
    w->nobody = fg_alloc(w->classes * sizeof *w->nobody);
    w->best = fg_alloc(w->tasks * sizeof *w->best);
    for (uint32_t i = 0; i < w->agents; i++)
        w->kind_of[i] = i + 1 == w->agents ? K - 1 : p->agent_kind ? p->agent_kind[i] : i;
    for (uint32_t j = 0; j < w->tasks; j++)
        w->class_count[w->class_of[j] = p->task_class ? p->task_class[j] : j]++;
    for (uint32_t i = 0; i < w->agents; i++)
        w->kind_first[w->kind_of[i] + 1]++;
    for (uint32_t k = 0; k < K; k++)
        w->kind_first[k + 1] += w->kind_first[k];
    FG_AUTO_FREE uint32_t *fill = fg_alloc(K * sizeof *fill);
    for (uint32_t i = 0; i < w->agents; i++) {
        uint32_t k = w->kind_of[i];
        w->kind_agents[w->kind_first[k] + fill[k]++] = i;
        for (uint32_t r = 0; r < R; r++) {
            int64_t cap = i + 1 == w->agents ? INT64_MAX / 4 : p->capacity[(size_t)i * R + r];
            w->capacity[(size_t)i * R + r] = cap;
            w->kind_capacity[k * R + r] += cap;
            w->kind_largest[k * R + r] = FG_MAX(w->kind_largest[k * R + r], cap);
        }
    }
    w->random[0] = o->seed * 0x9e3779b97f4a7c15u + 0x243f6a8885a308d3u;
    w->random[1] = (o->seed ^ 0x13198a2e03707344u) * 0xbf58476d1ce4e5b9u + 1;
    for (int i = 0; i < 8; i++)
        random_next(w->random);
    w->deadline_ns = o->time_limit_ns > 0 ? w->began_ns + o->time_limit_ns : INT64_MAX;
}

static void work_fini(struct work *w)
{
    free(w->kind_of), free(w->class_of), free(w->class_count), free(w->kind_first), free(w->kind_agents), free(w->capacity);
    free(w->kind_capacity), free(w->kind_largest), free(w->nobody), free(w->best), free(w->price), free(w->options), free(w->option_first);
}

const char *fg_assign_why_text(enum fg_assign_why why)
{
    switch (why) {
    case FG_ASSIGN_TOO_LARGE: return "it needs more than any agent it may run on has";
    case FG_ASSIGN_NOT_ALLOWED: return "it may run on no agent";
    case FG_ASSIGN_NO_ROOM: return "no room was found for it that is worth its price";
    case FG_ASSIGN_GROUP: return "its group has no room as a whole";
    }
    return "";
}

static enum fg_assign_why why_left(const struct work *w, uint32_t class, bool grouped)
{
    bool allowed = false;
    for (uint32_t k = 0; k + 1 < w->kinds; k++) {
        if (cell_open(w, class, k))
            return grouped ? FG_ASSIGN_GROUP : FG_ASSIGN_NO_ROOM;
        allowed |= cell_cost(w, class, k) != FG_ASSIGN_NEVER && w->kind_first[k + 1] > w->kind_first[k];
    }
    return allowed ? FG_ASSIGN_TOO_LARGE : FG_ASSIGN_NOT_ALLOWED;
}

static void fill(struct work *w, struct fg_assign_result *ret)
{
    struct fg_assign_result r = {.lower_bound = w->bound, .iterations = w->iterations, .bound_ns = w->bound_ns, .start_ns = w->start_ns};
    r.left = fg_alloc((w->tasks + 1) * sizeof *r.left);
    for (uint32_t j = 0; j < w->tasks; j++) {
        uint32_t c = w->class_of[j];
        if (w->best[j] + 1 < w->agents) {
            r.cost += cell_cost(w, c, w->kind_of[w->best[j]]);
            continue;
        }
        w->best[j] = FG_ASSIGN_NOBODY;
        r.cost_nobody += w->nobody[c];
        bool grouped = w->p->group && w->p->group[j];
        r.left[r.left_count++] = (struct fg_assign_left){j, why_left(w, c, grouped)};
    }
    double above = (double)(r.cost + r.cost_nobody - r.lower_bound), base = (double)(r.lower_bound < 0 ? -r.lower_bound : r.lower_bound);
    r.gap = above <= 0 ? 0 : above / FG_MAX(base, 1.0);
    r.agent = fg_take_ptr(w->best);
    *ret = r;
}

static int check_options(const struct fg_assign_problem *p, const struct fg_assign_options *o, struct fg_error *err)
{
    if (o->time_limit_ns < 0 || o->gap_ppm < 0)
        return fg_fail(err, FG_E_INVALID, "a limit of time or gap below 0");
    if (!o->time_limit_ns && !o->max_iterations)
        return fg_fail(err, FG_E_INVALID, "a search needs a limit of time or of iterations");
    if (o->time_limit_ns && !o->now_ns)
        return fg_fail(err, FG_E_INVALID, "a time limit needs a clock");
    for (uint32_t j = 0; o->start && j < p->tasks; j++)
        if (o->start[j] >= p->agents && o->start[j] != FG_ASSIGN_NOBODY)
            return fg_fail(err, FG_E_INVALID, "the start has task %u on agent %u; there are %u", j, o->start[j], p->agents);
    return 0;
}

/* Before anything that takes long: something valid to fall back to. */
static void first_assignment(struct work *w)
{
    FG_AUTO_FREE uint32_t *agent = fg_realloc(NULL, w->tasks, sizeof *agent);
    int64_t cost = 0;
    fg_assign_options_of_lists(w);
    fg_assign_greedy(w, agent);
    for (uint32_t j = 0; j < w->tasks; j++)
        cost += cell_cost(w, w->class_of[j], w->kind_of[agent[j]]);
    work_offer(w, agent, cost);
    w->start_ns = work_now(w) - w->began_ns;
}

int fg_assign_solve(const struct fg_assign_problem *p, const struct fg_assign_options *o, struct fg_assign_result *ret,
                    struct fg_error *err)
{
    if (fg_assign_check_head(p, err) < 0 || check_options(p, o, err) < 0)
        return -1;
    struct work w;
    work_init(&w, p, o);
    w.good_enough = INT64_MIN;                           /* nothing is proven yet */
    w.wide = fg_assign_is_wide(p, o->wide_cells) && fg_assign_wide(&w); /* that checks the tables in its one pass */
    if (!w.wide) {
        if (fg_assign_check(p, err) < 0) {
            work_fini(&w);
            return -1;
        }
        scan_costs(&w);
        fg_assign_prices(&w);
        first_assignment(&w);
        fg_assign_bound(&w);
    }
    w.good_enough = w.bound + (int64_t)((double)(w.bound < 0 ? -w.bound : w.bound) * (double)o->gap_ppm * 1e-6);
    w.bound_ns = work_now(&w) - w.began_ns;
    fg_assign_search(&w);
    if (p->group)
        fg_assign_groups(&w);
    fill(&w, ret);
    work_fini(&w);
    return 0;
}

void fg_assign_result_fini(struct fg_assign_result *r)
{
    if (!r)
        return;
    free(r->agent);
    free(r->left);
    *r = (struct fg_assign_result){0};
}
