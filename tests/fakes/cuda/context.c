/* context.c - contexts, the stack of current ones of each thread, limits. A context holds memory of its own, and what is
 * allocated in it ends with it. */
#include <stdio.h>

#include "driver.h"

#define DEPTH 32
static __thread CUcontext stack[DEPTH];
static __thread int depth;
static CUcontext primaries[FK_DEVICES]; /* by ordinal */
static unsigned primary_flags[FK_DEVICES];
static uint64_t next_id = 1;
static const size_t default_limits[FK_LIMITS] = {1024, 1u << 20, 8u << 20, 2, 2048, 64, 0, 0, 0};

CUcontext fk_current(void)
{
    CUcontext ctx = depth ? stack[depth - 1] : NULL;
    return FK_IS(ctx, FK_IS_CTX) ? ctx : NULL;
}

CUcontext fk_primary(int ordinal)
{
    return primaries[ordinal] && primaries[ordinal]->retained ? primaries[ordinal] : NULL;
}

/* --- making and ending; under fk_big --- */

static CUresult fill(CUcontext ctx)
{
    if (!fk_take(ctx->device, FK_CONTEXT, fk_world->context_bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    ctx->context_bytes = fk_world->context_bytes;
    ctx->limit_bytes = 0;
    ctx->legacy_last = 0;
    ctx->id = next_id++;
    memcpy(ctx->limits, default_limits, sizeof ctx->limits);
    fk_list_init(&ctx->streams);
    fk_list_init(&ctx->allocs);
    fk_list_init(&ctx->modules);
    fk_list_init(&ctx->arrays);
    ctx->magic = FK_IS_CTX;
    fk_stream_init(&ctx->legacy, ctx, 0, 0);
    ctx->legacy.legacy = true;
    return CUDA_SUCCESS;
}

/* All that it holds goes; the struct stays for handles that point here, without its magic word if it is gone for good. */
static void end(CUcontext ctx)
{
    while (ctx->allocs.next != &ctx->allocs)
        fk_alloc_end(FK_OF(ctx->allocs.next, struct fk_alloc, link));
    fk_arrays_end(ctx);
    fk_modules_end(ctx);
    while (ctx->streams.next != &ctx->streams)
        fk_stream_fini(FK_OF(ctx->streams.next, struct CUstream_st, link));
    fk_give(ctx->device, FK_CONTEXT, ctx->context_bytes);
    if (ctx->limit_bytes)
        fk_give(ctx->device, FK_LIMIT, ctx->limit_bytes);
    ctx->limit_bytes = 0;
    if (ctx->primary) {
        fk_pools_end(ctx->device);
        fk_graph_memory_end(ctx->device);
    }
    ctx->magic = 0;
}

static CUresult make(int ordinal, unsigned flags, bool primary, CUcontext *ret)
{
    CUcontext ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return CUDA_ERROR_OUT_OF_MEMORY;
    ctx->ordinal = ordinal;
    ctx->device = (unsigned)fk_visible[ordinal];
    ctx->flags = flags;
    ctx->primary = primary;
    ctx->api_version = 3020;
    CUresult r = fill(ctx);
    if (r)
        free(ctx);
    else
        *ret = ctx;
    return r;
}

/* --- primary contexts --- */

FK_API(cuDevicePrimaryCtxRetain, (CUcontext *ret, CUdevice dev))
{
    FK_ENTER(cuDevicePrimaryCtxRetain);
    if (!ret)
        return CUDA_ERROR_INVALID_VALUE;
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&fk_big);
    CUresult r = CUDA_SUCCESS;
    if (!primaries[dev])
        r = make(dev, primary_flags[dev], true, &primaries[dev]);
    else if (primaries[dev]->magic != FK_IS_CTX)
        r = fill(primaries[dev]);
    if (!r) {
        primaries[dev]->retained++;
        *ret = primaries[dev];
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

static CUresult release(CUdevice dev, bool all)
{
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    fk_sync_device((unsigned)fk_visible[dev]);
    pthread_mutex_lock(&fk_big);
    CUcontext ctx = fk_primary(dev);
    CUresult r = ctx || all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    if (ctx && (all || !--ctx->retained)) {
        ctx->retained = 0;
        end(ctx);
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

FK_API(cuDevicePrimaryCtxRelease_v2, (CUdevice dev)) { FK_ENTER(cuDevicePrimaryCtxRelease_v2); return release(dev, false); }
FK_API(cuDevicePrimaryCtxRelease, (CUdevice dev)) { FK_ENTER(cuDevicePrimaryCtxRelease); return release(dev, false); }
FK_API(cuDevicePrimaryCtxReset_v2, (CUdevice dev)) { FK_ENTER(cuDevicePrimaryCtxReset_v2); return release(dev, true); }
FK_API(cuDevicePrimaryCtxReset, (CUdevice dev)) { FK_ENTER(cuDevicePrimaryCtxReset); return release(dev, true); }

static CUresult set_flags(CUdevice dev, unsigned flags)
{
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    primary_flags[dev] = flags;
    if (primaries[dev])
        primaries[dev]->flags = flags;
    return CUDA_SUCCESS;
}
FK_API(cuDevicePrimaryCtxSetFlags_v2, (CUdevice dev, unsigned flags)) { FK_ENTER(cuDevicePrimaryCtxSetFlags_v2); return set_flags(dev, flags); }
FK_API(cuDevicePrimaryCtxSetFlags, (CUdevice dev, unsigned flags)) { FK_ENTER(cuDevicePrimaryCtxSetFlags); return set_flags(dev, flags); }

FK_API(cuDevicePrimaryCtxGetState, (CUdevice dev, unsigned *flags, int *active))
{
    FK_ENTER(cuDevicePrimaryCtxGetState);
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!flags || !active)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = primary_flags[dev];
    *active = fk_primary(dev) != NULL;
    return CUDA_SUCCESS;
}

/* --- contexts of the program's own --- */

static CUresult push(CUcontext ctx)
{
    if (depth == DEPTH)
        return CUDA_ERROR_INVALID_VALUE;
    stack[depth++] = ctx;
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *ret, unsigned flags, CUdevice dev)
{
    if (!ret)
        return CUDA_ERROR_INVALID_VALUE;
    if (!fk_device_ok(dev))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&fk_big);
    CUresult r = make(dev, flags, false, ret);
    pthread_mutex_unlock(&fk_big);
    return r ? r : push(*ret);
}
FK_API(cuCtxCreate_v2, (CUcontext *ret, unsigned flags, CUdevice dev)) { FK_ENTER(cuCtxCreate_v2); return create(ret, flags, dev); }
FK_API(cuCtxCreate_v3, (CUcontext *ret, void *affinity, int n, unsigned flags, CUdevice dev)) { FK_ENTER(cuCtxCreate_v3); return create(ret, flags, dev); }
FK_API(cuCtxCreate_v4, (CUcontext *ret, void *params, unsigned flags, CUdevice dev)) { FK_ENTER(cuCtxCreate_v4); return create(ret, flags, dev); }

static CUresult destroy(CUcontext ctx)
{
    if (!FK_IS(ctx, FK_IS_CTX) || ctx->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    fk_sync_device(ctx->device);
    pthread_mutex_lock(&fk_big);
    end(ctx); /* the struct is left to handles that name it still */
    pthread_mutex_unlock(&fk_big);
    if (depth && stack[depth - 1] == ctx)
        depth--;
    return CUDA_SUCCESS;
}
FK_API(cuCtxDestroy_v2, (CUcontext ctx)) { FK_ENTER(cuCtxDestroy_v2); return destroy(ctx); }
FK_API(cuCtxDestroy, (CUcontext ctx)) { FK_ENTER(cuCtxDestroy); return destroy(ctx); }

FK_API(cuCtxPushCurrent_v2, (CUcontext ctx)) { FK_ENTER(cuCtxPushCurrent_v2); return FK_IS(ctx, FK_IS_CTX) ? push(ctx) : CUDA_ERROR_INVALID_CONTEXT; }

FK_API(cuCtxPopCurrent_v2, (CUcontext *ret))
{
    FK_ENTER(cuCtxPopCurrent_v2);
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (ret)
        *ret = stack[depth];
    return CUDA_SUCCESS;
}

FK_API(cuCtxSetCurrent, (CUcontext ctx))
{
    FK_ENTER(cuCtxSetCurrent);
    if (ctx && !FK_IS(ctx, FK_IS_CTX))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!ctx) {
        depth = depth ? depth - 1 : 0;
        return CUDA_SUCCESS;
    }
    if (!depth)
        return push(ctx);
    stack[depth - 1] = ctx;
    return CUDA_SUCCESS;
}

FK_API(cuCtxGetCurrent, (CUcontext *ret))
{
    FK_ENTER(cuCtxGetCurrent);
    if (!ret)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = depth ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

FK_API(cuCtxGetDevice, (CUdevice *ret)) { FK_ENTER(cuCtxGetDevice); FK_CTX(ctx); *ret = ctx->ordinal; return CUDA_SUCCESS; }
FK_API(cuCtxGetFlags, (unsigned *ret)) { FK_ENTER(cuCtxGetFlags); FK_CTX(ctx); *ret = ctx->flags; return CUDA_SUCCESS; }
FK_API(cuCtxSetFlags, (unsigned flags)) { FK_ENTER(cuCtxSetFlags); FK_CTX(ctx); ctx->flags = flags; return CUDA_SUCCESS; }

FK_API(cuCtxGetId, (CUcontext ctx, unsigned long long *ret))
{
    FK_ENTER(cuCtxGetId);
    ctx = ctx ? ctx : fk_current();
    if (!FK_IS(ctx, FK_IS_CTX))
        return CUDA_ERROR_INVALID_CONTEXT;
    *ret = ctx->id;
    return CUDA_SUCCESS;
}

FK_API(cuCtxGetApiVersion, (CUcontext ctx, unsigned *ret))
{
    FK_ENTER(cuCtxGetApiVersion);
    ctx = ctx ? ctx : fk_current();
    if (!FK_IS(ctx, FK_IS_CTX))
        return CUDA_ERROR_INVALID_CONTEXT;
    *ret = ctx->api_version;
    return CUDA_SUCCESS;
}

FK_API(cuCtxGetStreamPriorityRange, (int *least, int *greatest))
{
    FK_ENTER(cuCtxGetStreamPriorityRange);
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return CUDA_SUCCESS;
}

FK_API(cuCtxSynchronize, (void))
{
    FK_ENTER(cuCtxSynchronize);
    FK_CTX(ctx);
    FK_UNSAFE();
    CUresult r = fk_sync_device(ctx->device);
    pthread_mutex_lock(&fk_big);
    fk_pools_synced(ctx->device);
    pthread_mutex_unlock(&fk_big);
    return r;
}

/* --- limits: what goes beyond the default is taken from the device --- */

static uint64_t limit_need(const struct fk_device *device, const size_t limits[FK_LIMITS])
{
    uint64_t threads = (uint64_t)device->sms * 2048, need = 0;
    if (limits[CU_LIMIT_STACK_SIZE] > default_limits[CU_LIMIT_STACK_SIZE])
        need += (limits[CU_LIMIT_STACK_SIZE] - default_limits[CU_LIMIT_STACK_SIZE]) * threads;
    for (int i = CU_LIMIT_PRINTF_FIFO_SIZE; i <= CU_LIMIT_MALLOC_HEAP_SIZE; i++)
        if (limits[i] > default_limits[i])
            need += limits[i] - default_limits[i];
    return fk_round(need, fk_world->limit_step);
}

FK_API(cuCtxSetLimit, (CUlimit limit, size_t value))
{
    FK_ENTER(cuCtxSetLimit);
    FK_CTX(ctx);
    if ((unsigned)limit >= FK_LIMITS)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fk_big);
    size_t limits[FK_LIMITS];
    memcpy(limits, ctx->limits, sizeof limits);
    limits[limit] = value;
    uint64_t need = limit_need(&fk_world->device[ctx->device], limits), old = ctx->limit_bytes;
    if (old)
        fk_give(ctx->device, FK_LIMIT, old);
    CUresult r = need && !fk_take(ctx->device, FK_LIMIT, need) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
    if (r && old)
        fk_take(ctx->device, FK_LIMIT, old);
    if (!r) {
        ctx->limit_bytes = need;
        memcpy(ctx->limits, limits, sizeof limits);
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

FK_API(cuCtxGetLimit, (size_t *value, CUlimit limit))
{
    FK_ENTER(cuCtxGetLimit);
    FK_CTX(ctx);
    if (!value || (unsigned)limit >= FK_LIMITS)
        return CUDA_ERROR_INVALID_VALUE;
    *value = ctx->limits[limit];
    return CUDA_SUCCESS;
}

/* --- green contexts: part of a device's processors; here a context like another --- */

struct CUgreenCtx_st { CUcontext ctx; };

FK_API(cuGreenCtxCreate, (CUgreenCtx *ret, CUdevResourceDesc desc, CUdevice dev, unsigned flags))
{
    FK_ENTER(cuGreenCtxCreate);
    CUgreenCtx green = calloc(1, sizeof *green);
    if (!ret || !green || !fk_device_ok(dev)) {
        free(green);
        return CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_lock(&fk_big);
    CUresult r = make(dev, flags, false, &green->ctx);
    pthread_mutex_unlock(&fk_big);
    if (r)
        free(green);
    else
        *ret = green;
    return r;
}

FK_API(cuGreenCtxDestroy, (CUgreenCtx green))
{
    FK_ENTER(cuGreenCtxDestroy);
    CUresult r = green ? destroy(green->ctx) : CUDA_ERROR_INVALID_VALUE;
    if (!r)
        free(green);
    return r;
}

FK_API(cuCtxFromGreenCtx, (CUcontext *ret, CUgreenCtx green))
{
    FK_ENTER(cuCtxFromGreenCtx);
    if (!ret || !green)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = green->ctx;
    return CUDA_SUCCESS;
}
