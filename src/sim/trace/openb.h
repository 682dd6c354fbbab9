/* openb.h - the node list and the task lists of the Alibaba GPU trace 2023 (openb), and any table with the same columns.
 *
 *     nodes: sn, cpu_milli, memory_mib, gpu, model        tasks: name, cpu_milli, memory_mib, num_gpu, gpu_milli[, gpu_spec]
 *
 * gpu_milli is per GPU, below 1000 only with one GPU; gpu_spec lists the models a task may run on ("A|B"), empty: all. Further
 * columns are not read. Bytes in, tables out. */
#pragma once
#include "plan/pack.h"
#include "sim/trace/csv.h"

struct fg_openb {
    struct fg_csv node_table, task_table;
    FG_VEC(struct fg_openb_node { const char *name; struct fg_pack_node is; }) nodes;    /* by name, as FGD's authors break ties */
    FG_VEC(struct fg_openb_task { const char *name; struct fg_pack_type need; }) tasks;  /* in the order of the file */
    FG_VEC(const char *) models;         /* bit and kind numbers */
};
/* -1 with *err (FG_E_MALFORMED "NAME:LINE: ..."); *ret is to be finished in either case. The names are borrowed. */
int fg_openb_parse(const char *nodes_name, const char *nodes, size_t nodes_length, const char *tasks_name, const char *tasks,
                   size_t tasks_length, struct fg_openb *ret, struct fg_error *err);
void fg_openb_fini(struct fg_openb *openb);
