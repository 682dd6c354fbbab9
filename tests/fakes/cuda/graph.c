/* graph.c - graphs: nodes, what comes after what, copies. */
#include "graph.h"

static uint64_t next_id = 1;

bool fk_graph_ok(CUgraph graph) { return FK_IS(graph, FK_IS_GRAPH); }
bool fk_node_ok(CUgraphNode node) { return FK_IS(node, FK_IS_NODE); }

CUgraph fk_graph_new(void)
{
    CUgraph graph = calloc(1, sizeof *graph);
    if (graph)
        graph->magic = FK_IS_GRAPH;
    return graph;
}

static void node_free(CUgraphNode node)
{
    if (node->op.type == CU_GRAPH_NODE_TYPE_GRAPH)
        fk_graph_free(node->op.child);
    node->magic = 0;
    free(node->after);
    free(node->params);
    free(node->block);
    free(node);
}

void fk_graph_free(CUgraph graph)
{
    if (!graph)
        return;
    for (size_t i = 0; i < graph->count; i++)
        node_free(graph->nodes[i]);
    free(graph->nodes);
    graph->magic = 0;
    free(graph);
}

bool fk_node_depend(CUgraphNode node, CUgraphNode on)
{
    for (size_t i = 0; i < node->count; i++)
        if (node->after[i] == on)
            return true;
    if (node->count == node->room) {
        size_t room = node->room ? node->room * 2 : 4;
        CUgraphNode *after = realloc(node->after, room * sizeof *after);
        if (!after)
            return false;
        node->after = after;
        node->room = room;
    }
    node->after[node->count++] = on;
    return true;
}

CUresult fk_node_keep_params(CUgraphNode node)
{
    CUDA_KERNEL_NODE_PARAMS *p = &node->op.kernel;
    size_t offsets[64], count, bytes = fk_function_params(p->func, offsets, &count);
    if (!count || !p->kernelParams) {
        p->extra = NULL;
        return CUDA_SUCCESS;
    }
    char *block = calloc(1, bytes);
    void **params = calloc(count, sizeof *params);
    if (!block || !params) {
        free(block);
        free(params);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        params[i] = block + offsets[i];
        memcpy(params[i], p->kernelParams[i], (i + 1 < count ? offsets[i + 1] : bytes) - offsets[i]);
    }
    free(node->block);
    free(node->params);
    node->block = block;
    node->params = p->kernelParams = params;
    p->extra = NULL;
    return CUDA_SUCCESS;
}

CUgraphNode fk_node_add(CUgraph graph, const CUgraphNode *after, size_t count, const struct fk_op *op)
{
    if (graph->count == graph->room) {
        size_t room = graph->room ? graph->room * 2 : 16;
        CUgraphNode *nodes = realloc(graph->nodes, room * sizeof *nodes);
        if (!nodes)
            return NULL;
        graph->nodes = nodes;
        graph->room = room;
    }
    CUgraphNode node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    *node = (struct CUgraphNode_st){.magic = FK_IS_NODE, .graph = graph, .id = next_id++, .op = *op};
    bool ok = op->type != CU_GRAPH_NODE_TYPE_KERNEL || fk_node_keep_params(node) == CUDA_SUCCESS;
    for (size_t i = 0; i < count && ok; i++)
        ok = fk_node_depend(node, after[i]);
    if (!ok) {
        node_free(node);
        return NULL;
    }
    graph->nodes[graph->count++] = node;
    return node;
}

CUgraph fk_graph_clone(CUgraph graph)
{
    CUgraph copy = fk_graph_new();
    if (!copy)
        return NULL;
    copy->clone_of = graph;
    for (size_t i = 0; i < graph->count; i++) {
        CUgraphNode from = graph->nodes[i];
        struct fk_op op = from->op;
        if (op.type == CU_GRAPH_NODE_TYPE_GRAPH)
            op.child = fk_graph_clone(op.child);
        CUgraphNode to = fk_node_add(copy, NULL, 0, &op);
        if (!to) {
            fk_graph_free(copy);
            return NULL;
        }
        to->id = from->id;
        to->disabled = from->disabled;
    }
    for (size_t i = 0; i < graph->count; i++)
        for (size_t k = 0; k < graph->nodes[i]->count; k++)
            fk_node_depend(copy->nodes[i], fk_graph_find(copy, graph->nodes[i]->after[k]));
    return copy;
}

CUgraphNode fk_graph_find(CUgraph clone, CUgraphNode original)
{
    for (size_t i = 0; i < clone->count; i++)
        if (clone->nodes[i]->id == original->id)
            return clone->nodes[i];
    return NULL;
}

bool fk_graph_sort(CUgraph graph)
{
    size_t done = 0;
    for (size_t i = 0; i < graph->count; i++)
        graph->nodes[i]->waits = 0; /* 1: placed */
    while (done < graph->count) {
        size_t before = done;
        for (size_t i = done; i < graph->count; i++) {
            CUgraphNode node = graph->nodes[i];
            bool ready = true;
            for (size_t k = 0; k < node->count && ready; k++)
                ready = node->after[k]->waits;
            if (!ready)
                continue;
            graph->nodes[i] = graph->nodes[done];
            graph->nodes[done++] = node;
            node->waits = 1;
        }
        if (done == before)
            return false;
    }
    return true;
}

/* --- the calls --- */

FK_API(cuGraphCreate, (CUgraph *ret, unsigned flags))
{
    FK_ENTER(cuGraphCreate);
    if (!ret || flags)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = fk_graph_new();
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

FK_API(cuGraphDestroy, (CUgraph graph))
{
    FK_ENTER(cuGraphDestroy);
    if (!fk_graph_ok(graph))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    fk_graph_free(graph);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuGraphClone, (CUgraph *ret, CUgraph graph))
{
    FK_ENTER(cuGraphClone);
    if (!ret || !fk_graph_ok(graph))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    *ret = fk_graph_clone(graph);
    pthread_mutex_unlock(&fk_big);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

FK_API(cuGraphNodeFindInClone, (CUgraphNode *ret, CUgraphNode original, CUgraph clone))
{
    FK_ENTER(cuGraphNodeFindInClone);
    if (!ret || !fk_node_ok(original) || !fk_graph_ok(clone))
        return CUDA_ERROR_INVALID_VALUE;
    *ret = fk_graph_find(clone, original);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* As all listings: NULL asks for the count only. */
static CUresult list(CUgraphNode *from, size_t n, CUgraphNode *ret, size_t *count)
{
    if (ret)
        for (size_t i = 0; i < n && i < *count; i++)
            ret[i] = from[i];
    *count = n;
    return CUDA_SUCCESS;
}

FK_API(cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count))
{
    FK_ENTER(cuGraphGetNodes);
    return fk_graph_ok(graph) && count ? list(graph->nodes, graph->count, nodes, count) : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuGraphGetRootNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count))
{
    FK_ENTER(cuGraphGetRootNodes);
    if (!fk_graph_ok(graph) || !count)
        return CUDA_ERROR_INVALID_VALUE;
    size_t n = 0;
    for (size_t i = 0; i < graph->count; i++)
        if (!graph->nodes[i]->count) {
            if (nodes && n < *count)
                nodes[n] = graph->nodes[i];
            n++;
        }
    *count = n;
    return CUDA_SUCCESS;
}

static CUresult edges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *count)
{
    if (!fk_graph_ok(graph) || !count)
        return CUDA_ERROR_INVALID_VALUE;
    size_t n = 0;
    for (size_t i = 0; i < graph->count; i++)
        for (size_t k = 0; k < graph->nodes[i]->count; k++, n++)
            if (from && to && n < *count) {
                from[n] = graph->nodes[i]->after[k];
                to[n] = graph->nodes[i];
                if (data)
                    data[n] = (CUgraphEdgeData){0};
            }
    *count = n;
    return CUDA_SUCCESS;
}
FK_API(cuGraphGetEdges, (CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *count)) { FK_ENTER(cuGraphGetEdges); return edges(graph, from, to, NULL, count); }
FK_API(cuGraphGetEdges_v2, (CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *count))
{
    FK_ENTER(cuGraphGetEdges_v2);
    return edges(graph, from, to, data, count);
}

static CUresult depend(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count, bool add)
{
    if (!fk_graph_ok(graph))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (!fk_node_ok(from[i]) || !fk_node_ok(to[i]) || from[i]->graph != graph || to[i]->graph != graph)
            return CUDA_ERROR_INVALID_VALUE;
        if (add && !fk_node_depend(to[i], from[i]))
            return CUDA_ERROR_OUT_OF_MEMORY;
        for (size_t k = 0; !add && k < to[i]->count; k++)
            if (to[i]->after[k] == from[i])
                to[i]->after[k--] = to[i]->after[--to[i]->count];
    }
    return CUDA_SUCCESS;
}
FK_API(cuGraphAddDependencies, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)) { FK_ENTER(cuGraphAddDependencies); return depend(graph, from, to, count, true); }
FK_API(cuGraphAddDependencies_v2, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data, size_t count)) { FK_ENTER(cuGraphAddDependencies_v2); return depend(graph, from, to, count, true); }
FK_API(cuGraphRemoveDependencies, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count)) { FK_ENTER(cuGraphRemoveDependencies); return depend(graph, from, to, count, false); }
FK_API(cuGraphRemoveDependencies_v2, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data, size_t count)) { FK_ENTER(cuGraphRemoveDependencies_v2); return depend(graph, from, to, count, false); }

FK_API(cuGraphNodeGetDependencies, (CUgraphNode node, CUgraphNode *nodes, size_t *count))
{
    FK_ENTER(cuGraphNodeGetDependencies);
    return fk_node_ok(node) && count ? list(node->after, node->count, nodes, count) : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuGraphNodeGetDependentNodes, (CUgraphNode node, CUgraphNode *nodes, size_t *count))
{
    FK_ENTER(cuGraphNodeGetDependentNodes);
    if (!fk_node_ok(node) || !count)
        return CUDA_ERROR_INVALID_VALUE;
    size_t n = 0;
    for (size_t i = 0; i < node->graph->count; i++)
        for (size_t k = 0; k < node->graph->nodes[i]->count; k++)
            if (node->graph->nodes[i]->after[k] == node) {
                if (nodes && n < *count)
                    nodes[n] = node->graph->nodes[i];
                n++;
            }
    *count = n;
    return CUDA_SUCCESS;
}

FK_API(cuGraphNodeGetType, (CUgraphNode node, CUgraphNodeType *type))
{
    FK_ENTER(cuGraphNodeGetType);
    if (!fk_node_ok(node) || !type)
        return CUDA_ERROR_INVALID_VALUE;
    *type = (CUgraphNodeType)node->op.type;
    return CUDA_SUCCESS;
}

FK_API(cuGraphDestroyNode, (CUgraphNode node))
{
    FK_ENTER(cuGraphDestroyNode);
    if (!fk_node_ok(node))
        return CUDA_ERROR_INVALID_VALUE;
    if (node->op.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || node->op.type == CU_GRAPH_NODE_TYPE_MEM_FREE)
        return CUDA_ERROR_NOT_SUPPORTED;
    CUgraph graph = node->graph;
    for (size_t i = 0; i < graph->count; i++)
        for (size_t k = 0; k < graph->nodes[i]->count; k++)
            if (graph->nodes[i]->after[k] == node)
                graph->nodes[i]->after[k--] = graph->nodes[i]->after[--graph->nodes[i]->count];
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i] == node) {
            memmove(&graph->nodes[i], &graph->nodes[i + 1], (graph->count - i - 1) * sizeof *graph->nodes);
            graph->count--;
            break;
        }
    node_free(node);
    return CUDA_SUCCESS;
}
