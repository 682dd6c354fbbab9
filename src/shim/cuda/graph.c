/* graph.c - executable graphs: each a job of its own kind, whose cost is learnt from its runs; and the memory that its
 * allocation nodes need, which the driver reserves when it is uploaded or launched. */
#include <stdlib.h>

#include "shim/cuda/map.h"
#include "shim/cuda/shim.h"

#define DEPTH 8 /* graphs within graphs */

static struct fgcu_map execs;   /* executable graphs with allocation nodes -> a: bytes, b: 1 */
static uint32_t with_memory;    /* there was one */

static uint64_t bytes_of(CUgraph graph, unsigned depth);

static uint64_t bytes_of_node(CUgraphNode node, unsigned depth)
{
    CUgraphNodeType type;
    CUDA_MEM_ALLOC_NODE_PARAMS memory;
    CUgraph child;
    if (fgcu_call(cuGraphNodeGetType)(node, &type) != CUDA_SUCCESS)
        return 0;
    if (type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && fgcu_call(cuGraphMemAllocNodeGetParams)(node, &memory) == CUDA_SUCCESS)
        return memory.bytesize;
    if (type == CU_GRAPH_NODE_TYPE_GRAPH && depth && fgcu_call(cuGraphChildGraphNodeGetGraph)(node, &child) == CUDA_SUCCESS)
        return bytes_of(child, depth - 1);
    return 0;
}

/* What the allocation nodes ask for, all together: more than the driver needs where one comes after another's end. */
static uint64_t bytes_of(CUgraph graph, unsigned depth)
{
    size_t count = 0;
    uint64_t sum = 0;
    if (fgcu_call(cuGraphGetNodes)(graph, NULL, &count) != CUDA_SUCCESS || !count)
        return 0;
    CUgraphNode *nodes = calloc(count, sizeof(CUgraphNode));
    if (nodes && fgcu_call(cuGraphGetNodes)(graph, nodes, &count) == CUDA_SUCCESS)
        for (size_t i = 0; i < count; i++)
            sum += bytes_of_node(nodes[i], depth);
    free(nodes);
    return sum;
}

static CUdevice current_device(void)
{
    CUdevice device = 0;
    return fgcu_call(cuCtxGetDevice)(&device) == CUDA_SUCCESS ? device : 0;
}

/* After an instantiation: remember what it needs, and charge what the driver took for it already. */
static CUresult made(CUresult result, CUgraphExec *exec, CUgraph graph)
{
    if (result != CUDA_SUCCESS || !fgcu_attached() || !exec)
        return result;
    uint64_t bytes = bytes_of(graph, DEPTH);
    if (!bytes)
        return result;
    fg_put(&with_memory, 1);
    fgcu_map_put(&execs, &(struct fgcu_entry){.key = (uintptr_t)*exec, .a = bytes, .b = 1});
    if (fgcu_graphs_settle(current_device(), 0) == CUDA_SUCCESS)
        return result;
    fgcu_do_cuGraphExecDestroy(FGCU_cuGraphExecDestroy, *exec);
    FGCU_NEXT(cuDeviceGraphMemTrim, cuDeviceGraphMemTrim)(current_device());
    fgcu_graphs_settle(current_device(), 0);
    *exec = NULL;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fgcu_do_cuGraphInstantiate_v1(unsigned which, CUgraphExec *exec, CUgraph graph, CUgraphNode *error, char *log, size_t size)
{
    return made(FGCU_WHICH(cuGraphInstantiate_v1)(exec, graph, error, log, size), exec, graph);
}

CUresult fgcu_do_cuGraphInstantiateWithFlags(unsigned which, CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    return made(FGCU_WHICH(cuGraphInstantiateWithFlags)(exec, graph, flags), exec, graph);
}

CUresult fgcu_do_cuGraphInstantiateWithParams(unsigned which, CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    return made(FGCU_WHICH(cuGraphInstantiateWithParams)(exec, graph, params), exec, graph);
}

CUresult fgcu_do_cuGraphExecDestroy(unsigned which, CUgraphExec exec)
{
    struct fgcu_entry entry;
    CUresult result = FGCU_WHICH(cuGraphExecDestroy)(exec);
    if (result == CUDA_SUCCESS && fgcu_attached() && fg_get(&with_memory) && fgcu_map_take(&execs, (uintptr_t)exec, &entry))
        fgcu_pools_dirty();
    return result;
}

/* ---- launch and upload ---- */

struct around { CUdevice device; uint64_t reserved; int memory; };

/* Refused before the driver is asked, if what the graph needs beyond what is reserved does not fit. */
static CUresult reserve(struct around *around, CUgraphExec exec)
{
    struct fgcu_entry entry;
    *around = (struct around){0};
    if (!fgcu_attached() || !fg_get(&with_memory) || !fgcu_map_get(&execs, (uintptr_t)exec, &entry))
        return CUDA_SUCCESS;
    around->memory = 1;
    around->device = current_device();
    return fgcu_reserve_for(fgcu_graphs_growth, (uint64_t)around->device, entry.a, &around->reserved);
}

static void settle(const struct around *around)
{
    if (around->memory)
        fgcu_graphs_settle(around->device, around->reserved);
}

static CUresult with(unsigned which, CUgraphExec exec, CUstream stream, CUstream named)
{
    struct around around;
    struct fgcu_submit submit;
    if (reserve(&around, exec) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    unsigned kind = which == FGCU_cuGraphUpload || which == FGCU_cuGraphUpload_ptsz ? FGCU_cuGraphUpload : FGCU_cuGraphLaunch;
    CUresult result = fgcu_begin(&submit, named, fgcu_key(kind, (uintptr_t)exec ^ (uint64_t)(kind == FGCU_cuGraphUpload) << 1, 1), 0);
    if (result == CUDA_SUCCESS)
        result = fgcu_end(&submit, FGCU_WHICH(cuGraphLaunch)(exec, stream));
    settle(&around);
    return result;
}

CUresult fgcu_do_cuGraphLaunch(unsigned which, CUgraphExec exec, CUstream stream)
{
    CUstream named = fgcu_stream(stream, which == FGCU_cuGraphLaunch_ptsz);
    if (!fg_get(&with_memory) && fgcu_fast(stream, which == FGCU_cuGraphLaunch_ptsz, fgcu_key(FGCU_cuGraphLaunch, (uintptr_t)exec, 1)))
        return FGCU_WHICH(cuGraphLaunch)(exec, stream);
    return with(which, exec, stream, named);
}

CUresult fgcu_do_cuGraphUpload(unsigned which, CUgraphExec exec, CUstream stream)
{
    return with(which, exec, stream, fgcu_stream(stream, which == FGCU_cuGraphUpload_ptsz));
}

CUresult fgcu_do_cuLaunchCooperativeKernelMultiDevice(unsigned which, CUDA_LAUNCH_PARAMS *list, unsigned int count, unsigned int flags)
{
    struct fgcu_submit parts[16];
    if (!list || count > 16)
        return FGCU_WHICH(cuLaunchCooperativeKernelMultiDevice)(list, count, flags);
    CUresult refused = CUDA_SUCCESS;
    unsigned begun = 0;
    for (; begun < count && !refused; begun += !refused) {
        const CUDA_LAUNCH_PARAMS *p = &list[begun];
        uint64_t key = fgcu_key(which, (uintptr_t)p->function, (uint64_t)p->gridDimX * p->gridDimY * p->gridDimZ);
        refused = fgcu_begin(&parts[begun], fgcu_stream(p->hStream, 0), key, FGCU_ALONE);
    }
    CUresult result = refused ? refused : FGCU_WHICH(cuLaunchCooperativeKernelMultiDevice)(list, count, flags);
    for (unsigned i = 0; i < begun; i++)
        fgcu_end(&parts[i], result);
    return result;
}
