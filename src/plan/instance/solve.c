/* solve.c - a plan for an instance: what can never run is set aside with its reason, the rest becomes an assignment
 * problem of classes and kinds; its answer is made true on the real schedule (board.c), and its bound holds for it:
 * every constraint of the problem below holds in every valid plan, and beside others a task only takes longer. */
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "plan/instance/private.h"

#define MS INT64_C(1000000)

struct class_key { uint64_t memory; int64_t time, end, budget; double work; uint32_t times, kinds, share, flags; };
struct kind_key { uint64_t memory; double gflops, interruptions; int64_t price, spot; uint32_t kind, capacity; };
struct model {
    const struct fg_instance *in;
    struct fg_assign_problem p;
    FG_VEC(uint32_t) tasks;              /* of the problem, to those of the instance */
    uint32_t *class_of, *kind_of;        /* by problem task, by vGPU */
    uint32_t *class_task, *kind_vgpu;    /* one of each */
    int64_t *cost, *need, *capacity;
    uint32_t *group;
    int64_t unit;                        /* nano-dollars to one of the problem's */
    int64_t ends[FG_ASSIGN_RESOURCES_MAX];
};

/* --- classes and kinds --- */

struct keyed { const void *keys; size_t size; };
static int by_key(const void *a, const void *b, void *arg)
{
    const struct keyed *k = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int c = memcmp((const char *)k->keys + x * k->size, (const char *)k->keys + y * k->size, k->size);
    return c ? c : (x > y) - (x < y);
}

/* Number equal keys alike, in order of first appearance. Returns how many there are; one member of each in first[]. */
static uint32_t number(const void *keys, size_t size, uint32_t n, uint32_t *out, uint32_t *first)
{
    FG_AUTO_FREE uint32_t *order = fg_realloc(NULL, n, sizeof *order);
    FG_AUTO_FREE uint32_t *leader = fg_realloc(NULL, n, sizeof *leader);
    for (uint32_t x = 0; x < n; x++)
        order[x] = x;
    qsort_r(order, n, sizeof *order, by_key, &(struct keyed){keys, size});
    for (uint32_t x = 0; x < n; x++) {
        bool same = x > 0 && memcmp((const char *)keys + order[x] * size, (const char *)keys + order[x - 1] * size, size) == 0;
        leader[order[x]] = same ? leader[order[x - 1]] : order[x];
    }
    uint32_t count = 0;
    for (uint32_t x = 0; x < n; x++) {
        if (leader[x] == x)
            first[count] = x, out[x] = count++;
        else
            out[x] = out[leader[x]];
    }
    return count;
}

/* Whether any task tells this kind from others: kinds that none does are one, and their vGPUs alike. */
static bool kind_matters(const struct fg_instance *in, uint32_t kind)
{
    for (size_t x = 0; x < in->times.count; x++)
        if (in->times.items[x][kind])
            return true;
    for (size_t x = 0; x < in->kind_sets.count; x++)
        if (in->kind_sets.items[x][kind])
            return true;
    return false;
}

static void make_classes(struct model *m)
{
    const struct fg_instance *in = m->in;
    uint32_t n = (uint32_t)m->tasks.count, v = (uint32_t)in->vgpus.count;
    FG_AUTO_FREE struct class_key *classes = fg_alloc(n * sizeof *classes);
    FG_AUTO_FREE struct kind_key *kinds = fg_alloc(v * sizeof *kinds);
    m->class_of = fg_alloc(n * sizeof *m->class_of), m->class_task = fg_alloc(n * sizeof *m->class_task);
    m->kind_of = fg_alloc(v * sizeof *m->kind_of), m->kind_vgpu = fg_alloc(v * sizeof *m->kind_vgpu);
    for (uint32_t x = 0; x < n; x++) {
        const struct fg_instance_task *t = &in->tasks.items[m->tasks.items[x]];
        struct class_key *c = &classes[x];
        c->memory = t->memory_bytes, c->time = t->time_ns, c->end = latest_end(in, m->tasks.items[x]), c->budget = t->budget_nanousd;
        c->work = t->work_gflop, c->times = t->times, c->kinds = t->kinds, c->share = t->share_permille;
        c->flags = (uint32_t)t->spot | (uint32_t)(t->isolation == FG_ALONE) << 1 | (uint32_t)(t->gang != 0) << 2;
    }
    for (uint32_t x = 0; x < v; x++) {
        const struct fg_instance_vgpu *g = &in->vgpus.items[x];
        struct kind_key *k = &kinds[x];
        k->memory = g->memory_bytes, k->gflops = g->gflops, k->interruptions = g->interruptions_per_h;
        k->price = g->price_nanousd_per_h, k->spot = g->spot_nanousd_per_h, k->kind = kind_matters(in, g->kind) ? g->kind : 0, k->capacity = g->capacity;
    }
    m->p.classes = number(classes, sizeof *classes, n, m->class_of, m->class_task);
    m->p.kinds = number(kinds, sizeof *kinds, v, m->kind_of, m->kind_vgpu);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Up to four latest ends, the last of all included: within each, what must end by it has only so much time. */
static uint32_t pick_ends(struct model *m)
{
    uint32_t n = 0, kept = 0, want = 0;
    FG_AUTO_FREE int64_t *all = fg_alloc((m->p.classes + 1) * sizeof *all);
    for (uint32_t c = 0; c < m->p.classes; c++) {
        int64_t end = latest_end(m->in, m->tasks.items[m->class_task[c]]);
        if (end != INT64_MAX)
            all[n++] = end;
    }
    qsort(all, n, sizeof *all, by_time);
    for (uint32_t x = 0; x < n; x++)
        if (x == 0 || all[x] != all[x - 1])
            all[kept++] = all[x];
    want = FG_MIN(kept, FG_ASSIGN_RESOURCES_MAX);
    for (uint32_t x = 0; x < want; x++)
        m->ends[x] = all[(uint64_t)(x + 1) * kept / want - 1];
    return want;
}

/* What a task holds of a vGPU, in the problem's terms. At once: memory in KiB, share, places. In turn: time by each end. */
static void fill_need(const struct model *m, uint32_t task, uint32_t vgpu, const struct fg_pair *p, int64_t *need)
{
    const struct fg_instance_task *t = &m->in->tasks.items[task];
    const struct fg_instance_vgpu *v = &m->in->vgpus.items[vgpu];
    if (m->in->at_once) {
        bool whole = v->capacity == 1 || t->isolation == FG_ALONE;
        need[0] = (int64_t)((whole ? v->memory_bytes : t->memory_bytes) >> 10);
        need[1] = whole ? 1000 : t->share_permille;
        need[2] = whole && v->capacity ? v->capacity : 1;
        return;
    }
    int64_t end = latest_end(m->in, task), weight = v->capacity == 0 ? t->share_permille : 1;
    for (uint32_t r = 0; r < m->p.resources; r++)
        need[r] = end <= m->ends[r] ? p->time_ns / MS * weight : 0;
}
static void fill_capacity(const struct model *m, uint32_t vgpu, int64_t *capacity)
{
    const struct fg_instance_vgpu *v = &m->in->vgpus.items[vgpu];
    if (m->in->at_once) {
        capacity[0] = (int64_t)(v->memory_bytes >> 10), capacity[1] = 1000, capacity[2] = v->capacity ? v->capacity : 1000;
        return;
    }
    for (uint32_t r = 0; r < m->p.resources; r++)
        capacity[r] = m->ends[r] ? (m->ends[r] / MS + 1) * (v->capacity ? FG_MIN(v->capacity, 1000u) : 1000) : 0;
}

static void make_problem(struct model *m)
{
    const struct fg_instance *in = m->in;
    struct fg_assign_problem *p = &m->p;
    uint32_t n = (uint32_t)m->tasks.count, v = (uint32_t)in->vgpus.count;
    make_classes(m);
    p->tasks = n, p->agents = v;
    p->resources = in->at_once ? 3 : FG_MAX(pick_ends(m), 1u);
    size_t cells = (size_t)p->classes * p->kinds;
    m->cost = fg_realloc(NULL, cells, sizeof *m->cost);
    m->need = fg_alloc(cells * p->resources * sizeof *m->need);
    m->capacity = fg_alloc((size_t)v * p->resources * sizeof *m->capacity);
    int64_t most = 0, limit = ((int64_t)1 << 58) / n;
    for (uint32_t c = 0; c < p->classes; c++)
        for (uint32_t k = 0; k < p->kinds; k++) {
            uint32_t task = m->tasks.items[m->class_task[c]], vgpu = m->kind_vgpu[k];
            struct fg_pair pair = fg_instance_pair(in, task, vgpu);
            size_t at = (size_t)c * p->kinds + k;
            m->cost[at] = pair.block == FG_PAIR_OK ? pair.cost_nanousd : FG_ASSIGN_NEVER;
            if (pair.block == FG_PAIR_OK)
                most = FG_MAX(most, pair.cost_nanousd), fill_need(m, task, vgpu, &pair, &m->need[at * p->resources]);
        }
    for (m->unit = 1; most / m->unit > limit; m->unit *= 1000)
        ;
    for (size_t x = 0; x < cells && m->unit > 1; x++)
        if (m->cost[x] != FG_ASSIGN_NEVER)
            m->cost[x] /= m->unit;                       /* down: the bound stays one */
    for (uint32_t x = 0; x < v; x++)
        fill_capacity(m, x, &m->capacity[(size_t)x * p->resources]);
    m->group = fg_alloc(n * sizeof *m->group);
    bool grouped = false;
    for (uint32_t x = 0; x < n; x++) {
        const struct fg_instance_task *t = &in->tasks.items[m->tasks.items[x]];
        m->group[x] = t->group ? t->group : t->gang ? (uint32_t)in->groups.names.count + t->gang : 0;
        grouped |= m->group[x] != 0;
    }
    p->cost = m->cost, p->need = m->need, p->capacity = m->capacity, p->group = grouped ? m->group : NULL;
    p->task_class = m->class_of, p->agent_kind = m->kind_of;
}

static void model_fini(struct model *m)
{
    free(m->class_of), free(m->kind_of), free(m->class_task), free(m->kind_vgpu), free(m->cost), free(m->need), free(m->capacity);
    free(m->group);
    fg_vec_fini(&m->tasks);
}

/* --- from the solver's answer to a plan --- */

struct dealt { int64_t end, time; uint32_t task; };
static int by_deal(const void *a, const void *b)
{
    const struct dealt *x = a, *y = b;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->time != y->time ? (x->time > y->time ? -1 : 1) : (x->task > y->task) - (x->task < y->task);
}

/* vGPUs of a kind are one to the solver, so all of a kind's tasks may lie on its first: deal them out, the next to the
 * least busy, so that what costs the same ends early. */
static void deal(const struct model *m, uint32_t *vgpu)
{
    const struct fg_instance *in = m->in;
    uint32_t n = (uint32_t)m->tasks.count, v = (uint32_t)in->vgpus.count;
    FG_AUTO_FREE struct dealt *all = fg_realloc(NULL, n, sizeof *all);
    FG_AUTO_FREE int64_t *busy = fg_alloc(v * sizeof *busy);
    FG_AUTO_FREE uint32_t *first = fg_alloc((m->p.kinds + 2) * sizeof *first);
    FG_AUTO_FREE uint32_t *members = fg_realloc(NULL, v, sizeof *members);
    for (uint32_t i = 0; i < v; i++)
        first[m->kind_of[i] + 2]++;
    for (uint32_t k = 0; k <= m->p.kinds; k++)
        first[k + 1] += first[k];
    for (uint32_t i = 0; i < v; i++)
        members[first[m->kind_of[i] + 1]++] = i;
    for (uint32_t x = 0; x < n; x++) {
        uint32_t j = m->tasks.items[x];
        int64_t time = vgpu[j] == FG_ASSIGN_NOBODY ? 0 : fg_instance_pair(in, j, vgpu[j]).time_ns;
        all[x] = (struct dealt){latest_end(in, j), time, j};
    }
    qsort(all, n, sizeof *all, by_deal);
    for (uint32_t x = 0; x < n; x++) {
        uint32_t *at = &vgpu[all[x].task];
        if (*at == FG_ASSIGN_NOBODY)
            continue;
        uint32_t k = m->kind_of[*at], best = members[first[k]];
        for (uint32_t y = first[k]; y < first[k + 1]; y++)
            if (busy[members[y]] < busy[best])
                best = members[y];
        *at = best;
        busy[best] += all[x].time / MS + 1;
    }
}

/* Out with a task and all of its group, or gang; returns what they cost alone. */
static int64_t drop(struct board *b, uint32_t task)
{
    const struct fg_instance_task *t = &b->in->tasks.items[task];
    bool single = !t->group && !t->gang;
    uint32_t first = single ? task : 0, end = single ? task + 1 : (uint32_t)b->in->tasks.count;
    int64_t sum = 0;
    for (uint32_t j = first; j < end; j++) {
        const struct fg_instance_task *o = &b->in->tasks.items[j];
        if (b->vgpu[j] == FG_ASSIGN_NOBODY || (j != task && (o->group != t->group || o->gang != t->gang)))
            continue;
        sum = add_cost(sum, fg_instance_pair(b->in, j, b->vgpu[j]).cost_nanousd);
        board_take(b, j);
        b->why[j] = LEFT_BUDGET;
    }
    return sum;
}

static int64_t board_cost(const struct board *b)
{
    int64_t sum = 0;
    for (uint32_t v = 0; v < b->in->vgpus.count; v++)
        sum = add_cost(sum, b->lanes[v].cost);
    return sum;
}

struct priced { int64_t cost; uint32_t task; };
static int by_price(const void *a, const void *b)
{
    const struct priced *x = a, *y = b;
    return x->cost != y->cost ? (x->cost > y->cost ? -1 : 1) : (x->task > y->task) - (x->task < y->task);
}

/* The whole plan's budget: the dearest go until what is left is within it. Where tasks slow each other down one that goes saves
 * more than it costs alone, so there the turns are worked out after each. */
static void keep_budget(struct board *b)
{
    const struct fg_instance *in = b->in;
    bool slow = in->slowdown > 1 || in->slowdowns.count > 0;
    int64_t over = in->budget_nanousd < 0 ? 0 : board_cost(b) - in->budget_nanousd;
    FG_VEC(struct priced) all = {0};
    for (uint32_t j = 0; over > 0 && j < in->tasks.count; j++)
        if (b->vgpu[j] != FG_ASSIGN_NOBODY)
            fg_vec_push(&all, (struct priced){fg_instance_pair(in, j, b->vgpu[j]).cost_nanousd, j});
    if (all.count)
        qsort(all.items, all.count, sizeof *all.items, by_price);
    for (size_t x = 0; x < all.count && over > 0; x++) {
        if (b->vgpu[all.items[x].task] == FG_ASSIGN_NOBODY)
            continue;                                    /* went with its group */
        over -= drop(b, all.items[x].task);
        if (!slow && over > 0)
            continue;
        for (uint32_t v = 0; v < in->vgpus.count; v++)
            board_settle(b, v);
        over = board_cost(b) - in->budget_nanousd;
    }
    fg_vec_fini(&all);
}

static int fill_plan(struct board *b, struct fg_instance_plan *plan, struct fg_error *err)
{
    const struct fg_instance *in = b->in;
    if (board_cost(b) > FG_INSTANCE_COST_MOST) {
        fg_fail(err, FG_E_INVALID, "the plan would cost more than a billion dollars");
        return fg_fail_hint(err, "Check prices and times (a number without a unit is seconds); or give the plan a budget:, or its tasks.");
    }
    FG_AUTO_FREE uint32_t *blocker = board_blockers(b);
    size_t n = in->tasks.count;
    plan->start_ns = fg_alloc(n * sizeof *plan->start_ns), plan->end_ns = fg_alloc(n * sizeof *plan->end_ns);
    plan->cost_nanousd = 0;
    plan->task_cost_nanousd = fg_alloc(n * sizeof *plan->task_cost_nanousd), plan->spot = fg_alloc(n * sizeof *plan->spot);
    for (uint32_t v = 0; v < in->vgpus.count; v++) {
        FG_AUTO_FREE struct fg_turn *turns = fg_alloc((b->lanes[v].count + 1) * sizeof *turns);
        for (uint32_t x = 0; x < b->lanes[v].count; x++)
            turns[x].task = b->lanes[v].tasks[x];
        fg_instance_turns(in, v, turns, b->lanes[v].count);
        for (uint32_t x = 0; x < b->lanes[v].count; x++) {
            uint32_t j = turns[x].task;
            plan->start_ns[j] = turns[x].start_ns, plan->end_ns[j] = turns[x].end_ns, plan->task_cost_nanousd[j] = turns[x].cost_nanousd;
            plan->spot[j] = fg_instance_pair(in, j, v).spot;
            plan->cost_nanousd += turns[x].cost_nanousd;
            plan->makespan_ns = FG_MAX(plan->makespan_ns, turns[x].end_ns);
        }
    }
    for (uint32_t j = 0; j < n; j++)
        if (b->vgpu[j] == FG_ASSIGN_NOBODY) {
            struct fg_instance_left left = {.task = j};
            left_text(b, j, blocker, left.text, sizeof left.text);
            fg_vec_push(&plan->left, left);
        }
    plan->vgpu = fg_take_ptr(b->vgpu);
    return 0;
}

/* A bound for the tasks that were planned: the problem of them alone. Rounded up it would not be one. */
static int bound_planned(const struct fg_instance *in, const struct fg_assign_options *o, struct fg_instance_plan *plan, struct fg_error *err)
{
    struct model m = {.in = in};
    struct fg_assign_result r;
    struct fg_assign_options once = {.seed = o->seed, .max_iterations = 1};
    for (uint32_t j = 0; j < in->tasks.count; j++)
        if (plan->vgpu[j] != FG_ASSIGN_NOBODY)
            fg_vec_push(&m.tasks, j);
    plan->bound_nanousd = 0;
    if (m.tasks.count == 0)
        return 0;
    make_problem(&m);
    m.p.group = NULL;
    int rc = fg_assign_solve(&m.p, &once, &r, err);
    if (rc == 0)
        plan->bound_nanousd = r.lower_bound * m.unit, fg_assign_result_fini(&r);
    model_fini(&m);
    return rc;
}

static int solve_problem(struct model *m, const struct fg_assign_options *o, uint32_t *vgpu, struct fg_instance_plan *plan, struct fg_error *err)
{
    struct fg_assign_result r;
    struct fg_assign_options own = *o;
    if (own.time_limit_ns)
        own.time_limit_ns = FG_MAX(own.time_limit_ns / 4 * 3, 1);   /* the rest is the schedule's */
    make_problem(m);
    if (fg_assign_solve(&m->p, &own, &r, err) < 0)
        return -1;
    for (uint32_t x = 0; x < m->p.tasks; x++)
        vgpu[m->tasks.items[x]] = r.agent[x];
    plan->bound_nanousd = r.lower_bound * m->unit;
    plan->iterations = r.iterations, plan->bound_ns = r.bound_ns, plan->first_ns = r.start_ns;
    fg_assign_result_fini(&r);
    if (!m->in->at_once)
        deal(m, vgpu);
    return 0;
}

/* Whether something may be better than the plan as it stands: a task is left that could run, or it costs more than the bound. */
static bool is_open(const struct model *m, const struct board *b, const struct fg_instance_plan *plan)
{
    for (size_t x = 0; x < m->tasks.count; x++)
        if (b->vgpu[m->tasks.items[x]] == FG_ASSIGN_NOBODY)
            return true;
    return m->tasks.count && board_cost(b) > plan->bound_nanousd;
}

int fg_instance_solve(const struct fg_instance *in, const struct fg_assign_options *o, struct fg_instance_plan *ret, struct fg_error *err)
{
    struct fg_instance_plan plan = {0};
    struct model m = {.in = in};
    struct board b;
    size_t n = in->tasks.count;
    int64_t until = o->time_limit_ns && o->now_ns ? o->now_ns(o->now_arg) + o->time_limit_ns : 0;
    FG_AUTO_FREE uint32_t *vgpu = fg_realloc(NULL, n, sizeof *vgpu);
    FG_AUTO_FREE bool *never = fg_alloc(n * sizeof *never);
    char text[8];
    memset(vgpu, 0xff, n * sizeof *vgpu);                /* FG_ASSIGN_NOBODY */
    for (uint32_t j = 0; j < n; j++)
        if (!(never[j] = never_text(in, j, text, sizeof text)))
            fg_vec_push(&m.tasks, j);
    int rc = m.tasks.count ? solve_problem(&m, o, vgpu, &plan, err) : 0;
    if (rc == 0) {
        board_init(&b, in, vgpu, never, o, until ? until - plan.bound_ns : 0);  /* the bound of what is planned takes as long again */
        board_repair(&b);
        keep_budget(&b);
        board_improve(&b);
        bool proven = is_open(&m, &b, &plan) && board_exact(&b, m.kind_of, m.p.kinds);
        plan.iterations += b.evaluations;
        rc = fill_plan(&b, &plan, err);
        board_fini(&b);
        if (proven)
            plan.bound_nanousd = plan.cost_nanousd;
        else if (rc == 0 && plan.left.count)
            rc = bound_planned(in, o, &plan, err);
        double above = (double)(plan.cost_nanousd - plan.bound_nanousd);
        plan.gap = above > 0 ? above / FG_MAX((double)plan.bound_nanousd, 1.0) : 0;
    }
    model_fini(&m);
    if (rc < 0)
        fg_instance_plan_fini(&plan);
    else
        *ret = plan;
    return rc;
}

void fg_instance_plan_fini(struct fg_instance_plan *p)
{
    if (!p)
        return;
    free(p->vgpu), free(p->start_ns), free(p->end_ns), free(p->task_cost_nanousd), free(p->spot);
    fg_vec_fini(&p->left);
    *p = (struct fg_instance_plan){0};
}
