/* graph_node.c - nodes by kind: adding them, reading and changing what they do. */
#include "graph.h"

CUresult fk_kernel_node_op(const CUDA_KERNEL_NODE_PARAMS *p, struct fk_op *ret)
{
    CUfunction func = p->func ? p->func : (CUfunction)(void *)p->kern;
    return fk_kernel_op(func, (unsigned[]){p->gridDimX, p->gridDimY, p->gridDimZ}, (unsigned[]){p->blockDimX, p->blockDimY, p->blockDimZ},
                        p->sharedMemBytes, p->kernelParams, p->extra, false, ret);
}

static CUresult memset_op(const CUDA_MEMSET_NODE_PARAMS *p, struct fk_op *ret)
{
    return fk_memset_op(p->dst, p->pitch, p->value, p->elementSize, p->width, p->height, ret);
}

CUresult fk_node_params_op(CUgraphNodeParams *p, struct fk_op *ret)
{
    FK_CTX(ctx);
    *ret = (struct fk_op){.type = p->type};
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: return fk_kernel_node_op(&p->kernel, ret);
    case CU_GRAPH_NODE_TYPE_MEMCPY: return fk_copy_op(&p->memcpy.copyParams, ret);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return memset_op(&(CUDA_MEMSET_NODE_PARAMS){p->memset.dst, p->memset.pitch, p->memset.value, p->memset.elementSize, p->memset.width, p->memset.height}, ret);
    case CU_GRAPH_NODE_TYPE_HOST:
        ret->unit = FK_HELD;
        ret->host.call = p->host.fn;
        ret->host.arg = p->host.userData;
        return p->host.fn ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_GRAPH_NODE_TYPE_EMPTY: return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_GRAPH:
        ret->child = fk_graph_ok(p->graph.graph) ? fk_graph_clone(p->graph.graph) : NULL;
        return ret->child ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT: case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        ret->event = p->eventWait;
        return fk_event_ok(ret->event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC: {
        pthread_mutex_lock(&fk_big);
        CUresult r = fk_graph_alloc(ctx, &p->alloc);
        pthread_mutex_unlock(&fk_big);
        ret->memory = p->alloc;
        return r;
    }
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
        ret->memory.dptr = p->free.dptr;
        return p->free.dptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

static CUresult add(CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t count, CUresult built, const struct fk_op *op)
{
    if (built)
        return built;
    if (!ret || !fk_graph_ok(graph) || (count && !after))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++)
        if (!fk_node_ok(after[i]) || after[i]->graph != graph)
            return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    *ret = fk_node_add(graph, after, count, op);
    pthread_mutex_unlock(&fk_big);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

#define NODE CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t count
static CUresult add_node(NODE, CUgraphNodeParams *params)
{
    struct fk_op op;
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = fk_node_params_op(params, &op);
    return add(ret, graph, after, count, r, &op);
}
FK_API(cuGraphAddNode, (NODE, CUgraphNodeParams *params)) { FK_ENTER(cuGraphAddNode); return add_node(ret, graph, after, count, params); }
FK_API(cuGraphAddNode_v2, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, const CUgraphEdgeData *data, size_t count, CUgraphNodeParams *params))
{
    FK_ENTER(cuGraphAddNode_v2);
    return add_node(ret, graph, after, count, params);
}

static CUDA_KERNEL_NODE_PARAMS of_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *p)
{
    return (CUDA_KERNEL_NODE_PARAMS){p->func, p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX, p->blockDimY, p->blockDimZ, p->sharedMemBytes, p->kernelParams, p->extra, NULL, NULL};
}

static CUresult add_kernel(NODE, const CUDA_KERNEL_NODE_PARAMS *params)
{
    struct fk_op op;
    CUresult r = fk_kernel_node_op(params, &op);
    return add(ret, graph, after, count, r, &op);
}
FK_API(cuGraphAddKernelNode, (NODE, const CUDA_KERNEL_NODE_PARAMS_v1 *params))
{
    FK_ENTER(cuGraphAddKernelNode);
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUDA_KERNEL_NODE_PARAMS now = of_v1(params);
    return add_kernel(ret, graph, after, count, &now);
}
FK_API(cuGraphAddKernelNode_v2, (NODE, const CUDA_KERNEL_NODE_PARAMS *params))
{
    FK_ENTER(cuGraphAddKernelNode_v2);
    return params ? add_kernel(ret, graph, after, count, params) : CUDA_ERROR_INVALID_VALUE;
}
FK_API(cuGraphAddMemcpyNode, (NODE, const CUDA_MEMCPY3D *copy, CUcontext ctx))
{
    FK_ENTER(cuGraphAddMemcpyNode);
    struct fk_op op;
    CUresult r = fk_copy_op(copy, &op);
    return add(ret, graph, after, count, r, &op);
}
FK_API(cuGraphAddMemsetNode, (NODE, const CUDA_MEMSET_NODE_PARAMS *params, CUcontext ctx))
{
    FK_ENTER(cuGraphAddMemsetNode);
    struct fk_op op;
    CUresult r = params ? memset_op(params, &op) : CUDA_ERROR_INVALID_VALUE;
    return add(ret, graph, after, count, r, &op);
}

#define ADD(name, kind, params, ...) \
    FK_API(name, params) { FK_ENTER(name); return add_node(ret, graph, after, count, &(CUgraphNodeParams){.type = kind, __VA_ARGS__}); }
ADD(cuGraphAddHostNode, CU_GRAPH_NODE_TYPE_HOST, (NODE, const CUDA_HOST_NODE_PARAMS *params), .host = *params)
ADD(cuGraphAddEmptyNode, CU_GRAPH_NODE_TYPE_EMPTY, (NODE), .reserved2 = 0)
ADD(cuGraphAddChildGraphNode, CU_GRAPH_NODE_TYPE_GRAPH, (NODE, CUgraph child), .graph = {child, 0})
ADD(cuGraphAddEventRecordNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, (NODE, CUevent event), .eventRecord = event)
ADD(cuGraphAddEventWaitNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, (NODE, CUevent event), .eventWait = event)
ADD(cuGraphAddMemFreeNode, CU_GRAPH_NODE_TYPE_MEM_FREE, (NODE, CUdeviceptr pointer), .free = {pointer})

FK_API(cuGraphAddMemAllocNode, (NODE, CUDA_MEM_ALLOC_NODE_PARAMS *params))
{
    FK_ENTER(cuGraphAddMemAllocNode);
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUgraphNodeParams all = {.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC, .alloc = *params};
    CUresult r = add_node(ret, graph, after, count, &all);
    params->dptr = all.alloc.dptr;
    return r;
}

/* --- reading --- */

static CUresult is(CUgraphNode node, CUgraphNodeType type, const void *ret)
{
    return fk_node_ok(node) && node->op.type == (int)type && ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
#define GET(name, kind, type, value) \
    FK_API(name, (CUgraphNode node, type *ret)) { FK_ENTER(name); CUresult r = is(node, kind, ret); if (!r) *ret = value; return r; }
GET(cuGraphKernelNodeGetParams_v2, CU_GRAPH_NODE_TYPE_KERNEL, CUDA_KERNEL_NODE_PARAMS, node->op.kernel)
GET(cuGraphMemcpyNodeGetParams, CU_GRAPH_NODE_TYPE_MEMCPY, CUDA_MEMCPY3D, node->op.copy)
GET(cuGraphMemsetNodeGetParams, CU_GRAPH_NODE_TYPE_MEMSET, CUDA_MEMSET_NODE_PARAMS, node->op.memset)
GET(cuGraphHostNodeGetParams, CU_GRAPH_NODE_TYPE_HOST, CUDA_HOST_NODE_PARAMS, ((CUDA_HOST_NODE_PARAMS){node->op.host.call, node->op.host.arg}))
GET(cuGraphChildGraphNodeGetGraph, CU_GRAPH_NODE_TYPE_GRAPH, CUgraph, node->op.child)
GET(cuGraphMemAllocNodeGetParams, CU_GRAPH_NODE_TYPE_MEM_ALLOC, CUDA_MEM_ALLOC_NODE_PARAMS, node->op.memory)
GET(cuGraphMemFreeNodeGetParams, CU_GRAPH_NODE_TYPE_MEM_FREE, CUdeviceptr, node->op.memory.dptr)
GET(cuGraphEventRecordNodeGetEvent, CU_GRAPH_NODE_TYPE_EVENT_RECORD, CUevent, node->op.event)
GET(cuGraphEventWaitNodeGetEvent, CU_GRAPH_NODE_TYPE_WAIT_EVENT, CUevent, node->op.event)

FK_API(cuGraphKernelNodeGetParams, (CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v1 *ret))
{
    FK_ENTER(cuGraphKernelNodeGetParams);
    CUresult r = is(node, CU_GRAPH_NODE_TYPE_KERNEL, ret);
    if (!r) {
        const CUDA_KERNEL_NODE_PARAMS *p = &node->op.kernel;
        *ret = (CUDA_KERNEL_NODE_PARAMS_v1){p->func, p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX, p->blockDimY, p->blockDimZ, p->sharedMemBytes, p->kernelParams, p->extra};
    }
    return r;
}

/* --- changing: a node of a graph, or the same node in an executable graph --- */

CUresult fk_node_replace(CUgraphNode node, CUgraphNodeType type, CUresult built, const struct fk_op *op)
{
    if (built)
        return built;
    if (!fk_node_ok(node) || node->op.type != (int)type)
        return CUDA_ERROR_INVALID_VALUE;
    node->op = *op;
    return type == CU_GRAPH_NODE_TYPE_KERNEL ? fk_node_keep_params(node) : CUDA_SUCCESS;
}

static CUgraphNode in_exec(CUgraphExec exec, CUgraphNode node)
{
    CUgraph graph = fk_exec_graph(exec);
    return graph && fk_node_ok(node) ? fk_graph_find(graph, node) : NULL;
}

#define CHANGE(name, exec_name, kind, param, build) \
    FK_API(name, (CUgraphNode node, param)) { FK_ENTER(name); struct fk_op op; CUresult r = !p ? CUDA_ERROR_INVALID_VALUE : build; return fk_node_replace(node, kind, r, &op); } \
    CHANGE_EXEC(exec_name, kind, (CUgraphExec exec, CUgraphNode node, param), build)
#define CHANGE_EXEC(name, kind, params, build) \
    FK_API(name, params) { FK_ENTER(name); struct fk_op op; CUresult r = !p ? CUDA_ERROR_INVALID_VALUE : build; return fk_node_replace(in_exec(exec, node), kind, r, &op); }

static CUresult kernel_v1_op(const CUDA_KERNEL_NODE_PARAMS_v1 *p, struct fk_op *ret)
{
    CUDA_KERNEL_NODE_PARAMS now = of_v1(p);
    return fk_kernel_node_op(&now, ret);
}
static CUresult host_op(const CUDA_HOST_NODE_PARAMS *p, struct fk_op *ret)
{
    return fk_node_params_op(&(CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_HOST, .host = *p}, ret);
}
CHANGE(cuGraphKernelNodeSetParams, cuGraphExecKernelNodeSetParams, CU_GRAPH_NODE_TYPE_KERNEL, const CUDA_KERNEL_NODE_PARAMS_v1 *p, kernel_v1_op(p, &op))
CHANGE(cuGraphKernelNodeSetParams_v2, cuGraphExecKernelNodeSetParams_v2, CU_GRAPH_NODE_TYPE_KERNEL, const CUDA_KERNEL_NODE_PARAMS *p, fk_kernel_node_op(p, &op))
CHANGE(cuGraphHostNodeSetParams, cuGraphExecHostNodeSetParams, CU_GRAPH_NODE_TYPE_HOST, const CUDA_HOST_NODE_PARAMS *p, host_op(p, &op))

FK_API(cuGraphMemcpyNodeSetParams, (CUgraphNode node, const CUDA_MEMCPY3D *p)) { FK_ENTER(cuGraphMemcpyNodeSetParams); struct fk_op op; CUresult r = fk_copy_op(p, &op); return fk_node_replace(node, CU_GRAPH_NODE_TYPE_MEMCPY, r, &op); }
CHANGE_EXEC(cuGraphExecMemcpyNodeSetParams, CU_GRAPH_NODE_TYPE_MEMCPY, (CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D *p, CUcontext ctx), fk_copy_op(p, &op))
FK_API(cuGraphMemsetNodeSetParams, (CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *p)) { FK_ENTER(cuGraphMemsetNodeSetParams); struct fk_op op; CUresult r = memset_op(p, &op); return fk_node_replace(node, CU_GRAPH_NODE_TYPE_MEMSET, r, &op); }
CHANGE_EXEC(cuGraphExecMemsetNodeSetParams, CU_GRAPH_NODE_TYPE_MEMSET, (CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext ctx), memset_op(p, &op))

static CUresult set_params(CUgraphNode node, CUgraphNodeParams *p)
{
    struct fk_op op;
    if (!p || !fk_node_ok(node) || p->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || p->type == CU_GRAPH_NODE_TYPE_GRAPH)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = fk_node_params_op(p, &op);
    return fk_node_replace(node, p->type, r, &op);
}
FK_API(cuGraphNodeSetParams, (CUgraphNode node, CUgraphNodeParams *p)) { FK_ENTER(cuGraphNodeSetParams); return set_params(node, p); }
FK_API(cuGraphExecNodeSetParams, (CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *p)) { FK_ENTER(cuGraphExecNodeSetParams); return set_params(in_exec(exec, node), p); }

FK_API(cuGraphNodeSetEnabled, (CUgraphExec exec, CUgraphNode node, unsigned enabled))
{
    FK_ENTER(cuGraphNodeSetEnabled);
    CUgraphNode own = in_exec(exec, node);
    if (!own || own->op.type > CU_GRAPH_NODE_TYPE_MEMSET)
        return CUDA_ERROR_INVALID_VALUE;
    own->disabled = !enabled;
    return CUDA_SUCCESS;
}
FK_API(cuGraphNodeGetEnabled, (CUgraphExec exec, CUgraphNode node, unsigned *enabled))
{
    FK_ENTER(cuGraphNodeGetEnabled);
    CUgraphNode own = in_exec(exec, node);
    if (!own || !enabled)
        return CUDA_ERROR_INVALID_VALUE;
    *enabled = !own->disabled;
    return CUDA_SUCCESS;
}
