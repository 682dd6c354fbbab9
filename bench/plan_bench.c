/* plan_bench.c - the assignment solver on re-planning: every task and vGPU its own ("dense"), or 151 classes x 15 kinds.
 * Prints for each instance when the first valid plan and the bound stood, and the gap at the end. Plans are checked here.
 * usage: plan_bench [TASKS AGENTS [SECONDS [SEEDS]]] */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "plan/assign.h"

struct instance { struct fg_assign_problem p; int64_t *cost, *need, *capacity; uint32_t *class_of, *kind_of; };

static uint64_t state;
static int64_t draw(int64_t least, int64_t most)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return least + (int64_t)((z ^ z >> 31) % (uint64_t)(most - least + 1));
}
static int64_t clock_now(void *arg)
{
    struct timespec t;
    clock_gettime(*(clockid_t *)arg, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The classical generators (Chu, Beasley 1997): A and B with loose and tight capacity, C free costs, D costs against needs, E needs and costs
 * by logarithm. V: vGPUs of speeds 1 to 8. G: ten kinds of vGPU, each with its price and memory, tasks of sizes from 1 to 64 that are
 * slow or quick, prices within 5 % of the kind's: a cluster whose cells are all told apart. */
struct side { int64_t speed, price, size; };
static void cell(char type, const struct side *task, const struct side *agent, int64_t *cost, int64_t *need)
{
    if (type == 'A' || type == 'B' || type == 'C')
        *need = draw(5, 25), *cost = draw(10, 50);
    else if (type == 'D')
        *need = draw(1, 100), *cost = 111 - *need + draw(-10, 10);
    else if (type == 'E') {
        *need = (int64_t)(1 - 10 * log((double)draw(1, 1000000) * 1e-6));
        *cost = (int64_t)(1000.0 / (double)*need - 10 * log((double)draw(1, 1000000) * 1e-6));
    } else if (type == 'V')
        *need = 800 / agent->speed + draw(0, 50), *cost = 1000 + 100 * agent->speed + draw(0, 400);
    else {
        *need = task->size;
        *cost = task->speed * agent->price * (100 + draw(0, 5)) / agent->speed;
    }
}

static int64_t capacity_of(char type, const struct side *agent, double mean, uint32_t tasks, uint32_t agents)
{
    double share = mean * tasks / agents;
    if (type == 'A')
        return (int64_t)(15.0 * tasks / agents * 0.6 + 0.4 * 25 * 6);
    if (type == 'B')
        return (int64_t)(0.7 * (15.0 * tasks / agents * 0.6 + 0.4 * 25 * 6));
    if (type == 'G')
        return agent->size * (int64_t)(share * 1.1 / 56 + 1);
    return (int64_t)((type == 'V' ? 1.1 : 0.8) * share) + 1;
}

static struct instance make(char type, uint32_t tasks, uint32_t agents, uint32_t classes, uint32_t kinds)
{
    struct instance x = {.cost = fg_realloc(NULL, (size_t)classes * kinds, 8), .need = fg_realloc(NULL, (size_t)classes * kinds, 8),
                         .capacity = fg_alloc(agents * sizeof *x.capacity)};
    struct side *kind = fg_alloc(kinds * sizeof *kind), task = {0};
    double total = 0;
    for (uint32_t k = 0; k < kinds; k++) {
        int64_t of = draw(1, 10);
        kind[k] = type == 'G' ? (struct side){of * of + 4, of * of + of * 3 + 20, 16 << of % 4} : (struct side){.speed = draw(1, 8)};
    }
    for (size_t at = 0; at < (size_t)classes * kinds; at++) {
        if (at % kinds == 0)
            task = (struct side){.speed = draw(20, 2000), .size = 1 << draw(0, 5)};
        cell(type, &task, &kind[at % kinds], &x.cost[at], &x.need[at]);
        total += (double)x.need[at];
    }
    double mean = total / ((double)classes * kinds);
    for (uint32_t i = 0; i < agents; i++)
        x.capacity[i] = capacity_of(type, &kind[i % kinds], mean, tasks, agents);
    x.p = (struct fg_assign_problem){.agents = agents, .tasks = tasks, .resources = 1, .cost = x.cost, .need = x.need, .capacity = x.capacity};
    if (classes < tasks) {
        x.class_of = fg_realloc(NULL, tasks, sizeof *x.class_of), x.kind_of = fg_realloc(NULL, agents, sizeof *x.kind_of);
        for (uint32_t j = 0; j < tasks; j++)
            x.class_of[j] = (uint32_t)draw(0, classes - 1);
        for (uint32_t i = 0; i < agents; i++)
            x.kind_of[i] = (uint32_t)draw(0, kinds - 1);
        x.p.classes = classes, x.p.kinds = kinds, x.p.task_class = x.class_of, x.p.agent_kind = x.kind_of;
    }
    free(kind);
    return x;
}

static bool valid(const struct fg_assign_problem *p, const struct fg_assign_result *r)
{
    int64_t *load = fg_alloc(p->agents * sizeof *load), cost = 0;
    bool ok = true;
    uint32_t kinds = p->agent_kind ? p->kinds : p->agents;
    for (uint32_t j = 0; j < p->tasks; j++) {
        uint32_t i = r->agent[j];
        if (i == FG_ASSIGN_NOBODY)
            continue;
        size_t at = (size_t)(p->task_class ? p->task_class[j] : j) * kinds + (p->agent_kind ? p->agent_kind[i] : i);
        load[i] += p->need[at], cost += p->cost[at];
        ok &= load[i] <= p->capacity[i];
    }
    free(load);
    return ok && cost == r->cost;
}

/* What was known when: the cost at each of these times. */
static const double marks[] = {0.05, 0.25, 1};
struct history { int64_t began_ns, first_ns, cost[FG_COUNT(marks)]; };
static void note(void *arg, int64_t cost, int64_t bound)
{
    struct history *h = arg;
    clockid_t cpu = CLOCK_PROCESS_CPUTIME_ID;
    int64_t since = clock_now(&cpu) - h->began_ns;
    double at = (double)since * 1e-9;
    (void)bound;
    h->first_ns = h->first_ns ? h->first_ns : since;
    for (size_t x = 0; x < FG_COUNT(marks); x++)
        if (at <= marks[x])
            h->cost[x] = cost;
}

/* What a plan known then was above the bound of the end; a plan that leaves tasks out costs as if they were dear. */
static char *gap_text(char out[24], int64_t cost, const struct fg_assign_result *r)
{
    if (cost == INT64_MAX)
        snprintf(out, 24, "none");
    else
        snprintf(out, 24, "%.4f", 100.0 * (double)(cost - r->lower_bound) / (double)FG_MAX(r->lower_bound, 1));
    return out;
}

static void run(const char *name, struct instance x, double seconds)
{
    clockid_t cpu = CLOCK_PROCESS_CPUTIME_ID;
    struct history h = {.began_ns = clock_now(&cpu), .cost = {INT64_MAX, INT64_MAX, INT64_MAX}};
    struct fg_assign_options o = {.seed = 1, .time_limit_ns = (int64_t)(seconds * 1e9), .now_ns = clock_now, .now_arg = &cpu,
                                  .progress = note, .progress_arg = &h};
    struct fg_assign_result r;
    struct fg_error err = {0};
    int64_t began = clock_now(&cpu);
    if (fg_assign_solve(&x.p, &o, &r, &err) < 0) {
        printf("%s %s\n", name, err.text);
        exit(1);
    }
    printf("%-14s first_ms %5.1f bound_ms %5.1f total_ms %4.0f gap_percent at_0.05s %s at_0.25s %s at_end %.4f cost %lld bound %lld left %u %s\n", name,
           (double)h.first_ns * 1e-6, (double)r.bound_ns * 1e-6, (double)(clock_now(&cpu) - began) * 1e-6, gap_text((char[24]){0}, h.cost[0], &r),
           gap_text((char[24]){0}, h.cost[1], &r), 100 * r.gap, (long long)r.cost, (long long)r.lower_bound, r.left_count, valid(&x.p, &r) ? "valid" : "INVALID");
    fflush(stdout);
    fg_assign_result_fini(&r);
    free(x.cost), free(x.need), free(x.capacity), free(x.class_of), free(x.kind_of);
}

int main(int argc, char **argv)
{
    uint32_t tasks = argc > 2 ? (uint32_t)atoi(argv[1]) : 10000, agents = argc > 2 ? (uint32_t)atoi(argv[2]) : 1000;
    double seconds = argc > 3 ? atof(argv[3]) : 1;
    uint64_t seeds = argc > 4 ? strtoull(argv[4], NULL, 0) : 1;
    for (uint64_t seed = 42; seed < 42 + seeds; seed++)
        for (const char *type = "ABCDEVG"; *type; type++) {
            char name[32];
            state = seed;
            snprintf(name, sizeof name, "dense %c %llu", *type, (unsigned long long)seed);
            run(name, make(*type, tasks, agents, tasks, agents), seconds);
        }
    state = 42;
    run("classes V", make('V', tasks, agents, 151, 15), seconds);
    state = 42;
    run("classes D", make('D', tasks, agents, 151, 15), seconds);
    return 0;
}
