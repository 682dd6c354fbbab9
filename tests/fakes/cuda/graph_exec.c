/* graph_exec.c - executable graphs: instantiating, updating, launching.
 *
 * A launch is one job as long as the longest path through the graph, on as many slots as its widest kernel; where host
 * functions or event records are in it, the parts before, between and after are jobs of their own, one after the other. */
#include "graph.h"

struct CUgraphExec_st { uint32_t magic; CUgraph graph; uint64_t flags; unsigned device; };

CUgraph fk_exec_graph(CUgraphExec exec)
{
    return FK_IS(exec, FK_IS_EXEC) ? exec->graph : NULL;
}

/* The most that alloc nodes hold at once on a device, and what they leave, walking the sorted graph. */
static uint64_t memory_need(CUgraph graph, uint64_t *now, uint64_t peak)
{
    for (size_t i = 0; i < graph->count; i++) {
        const struct fk_op *op = &graph->nodes[i]->op;
        if (op->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
            *now += fk_round(op->memory.bytesize, fk_world->granule);
            peak = *now > peak ? *now : peak;
        } else if (op->type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
            struct fk_alloc *alloc = fk_va_find(op->memory.dptr);
            uint64_t bytes = alloc ? fk_round(alloc->bytes, fk_world->granule) : 0;
            *now -= bytes < *now ? bytes : *now;
        } else if (op->type == CU_GRAPH_NODE_TYPE_GRAPH) {
            peak = memory_need(op->child, now, peak);
        }
    }
    return peak;
}

static bool sort_all(CUgraph graph)
{
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i]->op.type == CU_GRAPH_NODE_TYPE_GRAPH && !sort_all(graph->nodes[i]->op.child))
            return false;
    return fk_graph_sort(graph);
}

static CUresult instantiate(CUgraphExec *ret, CUgraph graph, uint64_t flags)
{
    FK_CTX(ctx);
    if (!ret || !fk_graph_ok(graph))
        return CUDA_ERROR_INVALID_VALUE;
    CUgraphExec exec = calloc(1, sizeof *exec);
    if (!exec)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&fk_big);
    *exec = (struct CUgraphExec_st){FK_IS_EXEC, fk_graph_clone(graph), flags, ctx->device};
    CUresult r = !exec->graph ? CUDA_ERROR_OUT_OF_MEMORY : sort_all(exec->graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_unlock(&fk_big);
    if (r) {
        fk_graph_free(exec->graph);
        free(exec);
    } else {
        *ret = exec;
    }
    return r;
}

FK_API(cuGraphInstantiate, (CUgraphExec *ret, CUgraph graph, CUgraphNode *error, char *log, size_t n)) { FK_ENTER(cuGraphInstantiate); return instantiate(ret, graph, 0); }
FK_API(cuGraphInstantiate_v2, (CUgraphExec *ret, CUgraph graph, CUgraphNode *error, char *log, size_t n)) { FK_ENTER(cuGraphInstantiate_v2); return instantiate(ret, graph, 0); }
FK_API(cuGraphInstantiateWithFlags, (CUgraphExec *ret, CUgraph graph, unsigned long long flags)) { FK_ENTER(cuGraphInstantiateWithFlags); return instantiate(ret, graph, flags); }

/* --- launching --- */

struct launch { CUstream stream; CUgraphExec exec; uint64_t ns; unsigned slots; enum fk_unit unit; bool serial; };

static CUresult flush(struct launch *launch)
{
    if (!launch->ns)
        return CUDA_SUCCESS;
    struct fk_op op = {.unit = launch->unit, .slots = launch->slots, .ns = launch->ns};
    uint64_t job;
    launch->ns = 0;
    return fk_submit(launch->stream, &op, NULL, NULL, &job);
}

static bool has_breaks(CUgraph graph)
{
    for (size_t i = 0; i < graph->count; i++) {
        const struct fk_op *op = &graph->nodes[i]->op;
        if (op->unit == FK_HELD || op->type == CU_GRAPH_NODE_TYPE_EVENT_RECORD || op->type == CU_GRAPH_NODE_TYPE_WAIT_EVENT ||
            (op->type == CU_GRAPH_NODE_TYPE_GRAPH && has_breaks(op->child)))
            return true;
    }
    return false;
}

static void count_in(struct launch *launch, const struct fk_op *op)
{
    if (op->slots > launch->slots)
        launch->slots = op->slots;
    if (op->unit == FK_COMPUTE || (launch->unit == FK_NONE && op->unit))
        launch->unit = op->unit;
}

/* Walk the nodes: do what they do to memory, and add up their time. Returns when the last ends, from 0. */
static CUresult walk(struct launch *launch, CUgraph graph, uint64_t *ret_ns)
{
    CUresult r = CUDA_SUCCESS;
    uint64_t end = 0;
    for (size_t i = 0; i < graph->count && !r; i++) {
        CUgraphNode node = graph->nodes[i];
        struct fk_op *op = &node->op;
        uint64_t start = 0, ns = node->disabled ? 0 : op->ns;
        for (size_t k = 0; k < node->count; k++)
            start = node->after[k]->finish_ns > start ? node->after[k]->finish_ns : start;
        if (op->effect && !node->disabled)
            op->effect(op);
        if (op->type == CU_GRAPH_NODE_TYPE_GRAPH) {
            r = walk(launch, op->child, &ns);
        } else if (op->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || op->type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
            pthread_mutex_lock(&fk_big);
            fk_graph_live(op->memory.dptr, op->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC);
            pthread_mutex_unlock(&fk_big);
        } else if (op->unit == FK_HELD) {
            r = flush(launch);
            r = r ? r : fk_run_now(launch->stream, op);
        } else if (op->type == CU_GRAPH_NODE_TYPE_EVENT_RECORD) {
            r = flush(launch);
            fk_event_record_now(op->event, launch->stream);
        } else if (op->type == CU_GRAPH_NODE_TYPE_WAIT_EVENT) {
            r = flush(launch);
            r = r || !fk_event_job(op->event) ? r : fk_submit_after(launch->stream, fk_event_job(op->event));
        } else {
            count_in(launch, op);
            if (launch->serial)
                launch->ns += ns;
        }
        node->finish_ns = start + ns;
        end = node->finish_ns > end ? node->finish_ns : end;
    }
    *ret_ns = end;
    return r;
}

/* Memory that an earlier launch left allocated: freed with the flag, an error without. */
static CUresult left_over(CUgraphExec exec, CUgraph graph)
{
    for (size_t i = 0; i < graph->count; i++) {
        const struct fk_op *op = &graph->nodes[i]->op;
        if (op->type == CU_GRAPH_NODE_TYPE_GRAPH && left_over(exec, op->child))
            return CUDA_ERROR_INVALID_VALUE;
        if (op->type != CU_GRAPH_NODE_TYPE_MEM_ALLOC || !fk_graph_is_live(op->memory.dptr))
            continue;
        if (!(exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH))
            return CUDA_ERROR_INVALID_VALUE;
        fk_graph_live(op->memory.dptr, false);
    }
    return CUDA_SUCCESS;
}

static CUresult reserve(CUgraphExec exec)
{
    uint64_t now = 0, peak = memory_need(exec->graph, &now, 0);
    return peak ? fk_graph_reserve(exec->device, peak) : CUDA_SUCCESS;
}

static CUresult launch(CUgraphExec exec, CUstream hStream)
{
    if (!hStream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!FK_IS(exec, FK_IS_EXEC) || !fk_stream_ok(hStream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (hStream->capture) { /* becomes a child graph */
        struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = fk_graph_clone(exec->graph)};
        return fk_capture_op(hStream, &op, NULL);
    }
    CUresult r = hStream->legacy ? fk_legacy_touched(hStream) : CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    r = r ? r : left_over(exec, exec->graph);
    r = r ? r : reserve(exec);
    pthread_mutex_unlock(&fk_big);
    if (r)
        return r;
    struct launch l = {.stream = hStream, .exec = exec, .slots = 1, .serial = has_breaks(exec->graph)};
    uint64_t ns;
    r = walk(&l, exec->graph, &ns);
    if (!l.serial)
        l.ns = ns;
    return r ? r : flush(&l);
}

static CUresult run_cuGraphLaunch(CUgraphExec exec, CUstream hStream) { return launch(exec, hStream); }
FK_BOTH(cuGraphLaunch, _ptsz, (CUgraphExec exec, CUstream hStream), (exec, hStream))

static CUresult run_cuGraphUpload(CUgraphExec exec, CUstream hStream)
{
    if (!FK_IS(exec, FK_IS_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    CUresult r = reserve(exec);
    pthread_mutex_unlock(&fk_big);
    return r;
}
FK_BOTH(cuGraphUpload, _ptsz, (CUgraphExec exec, CUstream hStream), (exec, hStream))

static CUresult with_params(CUgraphExec *ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = instantiate(ret, graph, params->flags);
    if (!r && params->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD)
        r = run_cuGraphUpload(*ret, params->hUploadStream);
    params->result_out = r ? 1 : 0;
    return r;
}
FK_API(cuGraphInstantiateWithParams, (CUgraphExec *ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)) { FK_ENTER(cuGraphInstantiateWithParams); return with_params(ret, graph, params); }
FK_API(cuGraphInstantiateWithParams_ptsz, (CUgraphExec *ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)) { FK_ENTER(cuGraphInstantiateWithParams_ptsz); return with_params(ret, graph, params); }

FK_API(cuGraphExecDestroy, (CUgraphExec exec))
{
    FK_ENTER(cuGraphExecDestroy);
    if (!FK_IS(exec, FK_IS_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    fk_graph_free(exec->graph);
    exec->magic = 0;
    free(exec);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuGraphExecGetFlags, (CUgraphExec exec, cuuint64_t *flags))
{
    FK_ENTER(cuGraphExecGetFlags);
    if (!FK_IS(exec, FK_IS_EXEC) || !flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = exec->flags;
    return CUDA_SUCCESS;
}

/* --- updating: the same shape with other contents --- */

/* 0 same; else CUgraphExecUpdateResult: 3 topology, 4 node type. */
static int compare(CUgraph old, CUgraph new)
{
    if (old->count != new->count)
        return 3;
    for (size_t i = 0; i < old->count; i++) {
        if (old->nodes[i]->op.type != new->nodes[i]->op.type)
            return 4;
        if (old->nodes[i]->count != new->nodes[i]->count)
            return 3;
        if (old->nodes[i]->op.type == CU_GRAPH_NODE_TYPE_GRAPH && compare(old->nodes[i]->op.child, new->nodes[i]->op.child))
            return 3;
    }
    return 0;
}

static CUresult update(CUgraphExec exec, CUgraph graph, int *result)
{
    if (!FK_IS(exec, FK_IS_EXEC) || !fk_graph_ok(graph))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    CUgraph copy = fk_graph_clone(graph);
    *result = !copy || !sort_all(copy) ? 1 : compare(exec->graph, copy);
    CUgraph drop = copy;
    if (!*result) {
        for (size_t i = 0; i < copy->count; i++) /* nodes keep the names they had at instantiation */
            copy->nodes[i]->id = exec->graph->nodes[i]->id;
        drop = exec->graph;
        exec->graph = copy;
    }
    fk_graph_free(drop);
    pthread_mutex_unlock(&fk_big);
    return *result ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE : CUDA_SUCCESS;
}

FK_API(cuGraphExecUpdate, (CUgraphExec exec, CUgraph graph, CUgraphNode *error, int *result))
{
    FK_ENTER(cuGraphExecUpdate);
    int how = 0;
    CUresult r = update(exec, graph, &how);
    if (error)
        *error = NULL;
    if (result)
        *result = how;
    return r;
}

FK_API(cuGraphExecUpdate_v2, (CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info))
{
    FK_ENTER(cuGraphExecUpdate_v2);
    int how = 0;
    CUresult r = update(exec, graph, &how);
    if (info)
        *info = (CUgraphExecUpdateResultInfo){.result = how};
    return r;
}
