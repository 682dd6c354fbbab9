/* graph_memory.c - memory of allocation nodes: addresses are fixed when the node is made, memory is reserved by device when a
 * graph is uploaded or launched, kept for the next launch, and goes back by cuDeviceGraphMemTrim.
 *
 *     reserved >= what launches left allocated + the peak within the launch at hand */
#include "driver.h"

static struct { uint64_t used, used_high, reserved, reserved_high; } memory[FK_DEVICES]; /* by the world's device */

CUresult fk_graph_alloc(CUcontext ctx, CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
    if (!params->bytesize || params->poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE || !fk_device_ok(params->poolProps.location.id))
        return CUDA_ERROR_INVALID_VALUE;
    struct fk_alloc *alloc = fk_alloc_new(ctx, (unsigned)fk_visible[params->poolProps.location.id], FK_GRAPH, params->bytesize, 0);
    if (!alloc)
        return CUDA_ERROR_OUT_OF_MEMORY;
    alloc->graph = true;
    params->dptr = alloc->base;
    return CUDA_SUCCESS;
}

void fk_graph_alloc_gone(struct fk_alloc *alloc)
{
    if (alloc->live)
        memory[alloc->device].used -= fk_round(alloc->bytes, fk_world->granule);
    alloc->live = false;
}

void fk_graph_live(uint64_t pointer, bool live)
{
    struct fk_alloc *alloc = fk_va_find(pointer);
    if (!alloc || !alloc->graph || alloc->live == live)
        return;
    unsigned d = alloc->device;
    if (live) {
        alloc->live = true;
        memory[d].used += fk_round(alloc->bytes, fk_world->granule);
        if (memory[d].used > memory[d].used_high)
            memory[d].used_high = memory[d].used;
    } else {
        fk_graph_alloc_gone(alloc);
    }
}

bool fk_graph_is_live(uint64_t pointer)
{
    struct fk_alloc *alloc = fk_va_find(pointer);
    return alloc && alloc->graph && alloc->live;
}

CUresult fk_graph_reserve(unsigned device, uint64_t need)
{
    uint64_t want = fk_round(memory[device].used + need, fk_world->graph_chunk), have = memory[device].reserved;
    if (want <= have)
        return CUDA_SUCCESS;
    if (!fk_take(device, FK_GRAPH, want - have))
        return CUDA_ERROR_OUT_OF_MEMORY;
    memory[device].reserved = want;
    if (want > memory[device].reserved_high)
        memory[device].reserved_high = want;
    return CUDA_SUCCESS;
}

static void trim(unsigned device)
{
    uint64_t keep = fk_round(memory[device].used, fk_world->graph_chunk);
    if (memory[device].reserved > keep)
        fk_give(device, FK_GRAPH, memory[device].reserved - keep);
    memory[device].reserved = keep;
}

void fk_graph_memory_end(unsigned device)
{
    memory[device].used = 0;
    trim(device);
}

FK_API(cuDeviceGraphMemTrim, (CUdevice dev))
{
    FK_ENTER(cuDeviceGraphMemTrim);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    fk_sync_device((unsigned)fk_visible[dev]);
    pthread_mutex_lock(&fk_big);
    trim((unsigned)fk_visible[dev]);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuDeviceGetGraphMemAttribute, (CUdevice dev, CUgraphMem_attribute attribute, void *value))
{
    FK_ENTER(cuDeviceGetGraphMemAttribute);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    unsigned d = (unsigned)fk_visible[dev];
    if (!value || (unsigned)attribute > CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    const uint64_t all[] = {memory[d].used, memory[d].used_high, memory[d].reserved, memory[d].reserved_high};
    pthread_mutex_unlock(&fk_big);
    *(cuuint64_t *)value = all[attribute];
    return CUDA_SUCCESS;
}

FK_API(cuDeviceSetGraphMemAttribute, (CUdevice dev, CUgraphMem_attribute attribute, void *value))
{
    FK_ENTER(cuDeviceSetGraphMemAttribute);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    unsigned d = (unsigned)fk_visible[dev];
    if (!value || *(cuuint64_t *)value || (attribute != CU_GRAPH_MEM_ATTR_USED_MEM_HIGH && attribute != CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH))
        return CUDA_ERROR_INVALID_VALUE;
    if (attribute == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH)
        memory[d].used_high = memory[d].used;
    else
        memory[d].reserved_high = memory[d].reserved;
    return CUDA_SUCCESS;
}
