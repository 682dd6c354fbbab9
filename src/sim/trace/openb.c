/* openb.c - see openb.h. */
#include "sim/trace/openb.h"

#include <stdlib.h>
#include <string.h>

#define CPU_MOST (INT64_C(1) << 40)      /* milli-cores */
#define MIB_MOST (INT64_C(1) << 33)      /* 8 PiB */
#define GPUS_WANTED_MOST 1024

static int model_of(struct fg_openb *o, const struct fg_csv *csv, size_t row, const char *name, uint32_t *ret, struct fg_error *err)
{
    for (size_t i = 0; i < o->models.count; i++)
        if (strcmp(o->models.items[i], name) == 0) {
            *ret = (uint32_t)i;
            return 0;
        }
    if (o->models.count == FG_PACK_KINDS_MAX)
        return fg_fail(err, FG_E_MALFORMED, "%s:%u: more than %u GPU models", csv->name, csv->lines.items[row], FG_PACK_KINDS_MAX);
    *ret = (uint32_t)o->models.count;
    fg_vec_push(&o->models, name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct fg_openb_node *)a)->name, ((const struct fg_openb_node *)b)->name);
}

static int take_nodes(struct fg_openb *o, struct fg_error *err)
{
    const struct fg_csv *t = &o->node_table;
    int name, cpu, memory, gpu, model;
    if ((name = fg_csv_column(t, "sn", err)) < 0 || (cpu = fg_csv_column(t, "cpu_milli", err)) < 0 ||
        (memory = fg_csv_column(t, "memory_mib", err)) < 0 || (gpu = fg_csv_column(t, "gpu", err)) < 0 ||
        (model = fg_csv_column(t, "model", err)) < 0 || fg_csv_unique(t, name, err) < 0)
        return -1;
    for (size_t i = 0; i < t->lines.count; i++) {
        int64_t cores, mib, gpus;
        uint32_t kind;
        if (fg_csv_integer(t, i, cpu, 0, CPU_MOST, &cores, err) < 0 || fg_csv_integer(t, i, memory, 0, MIB_MOST, &mib, err) < 0 ||
            fg_csv_integer(t, i, gpu, 0, FG_PACK_GPUS_MAX, &gpus, err) < 0 || model_of(o, t, i, fg_csv_cell(t, i, model), &kind, err) < 0)
            return -1;
        fg_vec_push(&o->nodes, ((struct fg_openb_node){fg_csv_cell(t, i, name), {.cpu_milli = cores, .memory_bytes = (uint64_t)mib << 20,
                                                                                 .gpus = (uint32_t)gpus, .kind = kind}}));
    }
    if (o->nodes.count == 0)
        return fg_fail(err, FG_E_MALFORMED, "%s:1: there are no nodes", t->name);
    qsort(o->nodes.items, o->nodes.count, sizeof *o->nodes.items, by_name);
    return 0;
}

/* "A|B" as bits. A model that no node has gets a bit, too: a task that may only run there fits nowhere. */
static int take_models(struct fg_openb *o, size_t row, int column, uint64_t *ret, struct fg_error *err)
{
    const struct fg_csv *t = &o->task_table;
    *ret = 0;
    if (column < 0)
        return 0;
    /* The table is ours: its cells are cut in place at their bars. */
    for (char *p = (char *)fg_csv_cell(t, row, column), *bar; p && *p; p = bar) {
        uint32_t kind;
        bar = strchr(p, '|');
        if (bar)
            *bar++ = 0;
        if (!*p)
            return fg_fail(err, FG_E_MALFORMED, "%s:%u: an empty name in gpu_spec", t->name, t->lines.items[row]);
        if (model_of(o, t, row, p, &kind, err) < 0)
            return -1;
        *ret |= UINT64_C(1) << kind;
    }
    return 0;
}

static int check_share(const struct fg_csv *t, size_t row, int64_t gpus, int64_t milli, struct fg_error *err)
{
    const char *wrong = gpus > 0 && milli == 0                ? "gpu_milli is 0 with num_gpu above 0"
                        : gpus > 1 && milli != FG_PACK_DEVICE ? "gpu_milli is not 1000 with num_gpu above 1"
                        : gpus == 0 && milli != 0             ? "gpu_milli is not 0 without GPU"
                                                              : NULL;
    return wrong ? fg_fail(err, FG_E_MALFORMED, "%s:%u: %s", t->name, t->lines.items[row], wrong) : 0;
}

static int take_tasks(struct fg_openb *o, struct fg_error *err)
{
    const struct fg_csv *t = &o->task_table;
    int name, cpu, memory, gpu, milli, models;
    if ((name = fg_csv_column(t, "name", err)) < 0 || (cpu = fg_csv_column(t, "cpu_milli", err)) < 0 ||
        (memory = fg_csv_column(t, "memory_mib", err)) < 0 || (gpu = fg_csv_column(t, "num_gpu", err)) < 0 ||
        (milli = fg_csv_column(t, "gpu_milli", err)) < 0 || fg_csv_unique(t, name, err) < 0)
        return -1;
    models = fg_csv_column(t, "gpu_spec", NULL);
    for (size_t i = 0; i < t->lines.count; i++) {
        int64_t cores, mib, gpus, share;
        uint64_t kinds;
        if (fg_csv_integer(t, i, cpu, 0, CPU_MOST, &cores, err) < 0 || fg_csv_integer(t, i, memory, 0, MIB_MOST, &mib, err) < 0 ||
            fg_csv_integer(t, i, gpu, 0, GPUS_WANTED_MOST, &gpus, err) < 0 || fg_csv_integer(t, i, milli, 0, FG_PACK_DEVICE, &share, err) < 0 ||
            check_share(t, i, gpus, share, err) < 0 || take_models(o, i, models, &kinds, err) < 0)
            return -1;
        fg_vec_push(&o->tasks, ((struct fg_openb_task){fg_csv_cell(t, i, name), {.cpu_milli = cores, .memory_bytes = (uint64_t)mib << 20,
            .gpus = (uint32_t)gpus, .gpu_milli = (uint32_t)share, .kinds = kinds}}));
    }
    return o->tasks.count > 0 ? 0 : fg_fail(err, FG_E_MALFORMED, "%s:1: there are no tasks", t->name);
}

int fg_openb_parse(const char *nodes_name, const char *nodes, size_t nodes_length, const char *tasks_name, const char *tasks,
                   size_t tasks_length, struct fg_openb *ret, struct fg_error *err)
{
    *ret = (struct fg_openb){0};
    if (fg_csv_parse(nodes_name, nodes, nodes_length, &ret->node_table, err) < 0 || take_nodes(ret, err) < 0)
        return -1;
    return fg_csv_parse(tasks_name, tasks, tasks_length, &ret->task_table, err) < 0 ? -1 : take_tasks(ret, err);
}

void fg_openb_fini(struct fg_openb *o)
{
    fg_csv_fini(&o->node_table);
    fg_csv_fini(&o->task_table);
    fg_vec_fini(&o->nodes);
    fg_vec_fini(&o->tasks);
    fg_vec_fini(&o->models);
}
