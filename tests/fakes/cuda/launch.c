/* launch.c - kernels: how long they take and what they leave in memory.
 *
 * A kernel is a span of device time. Its length: what a test said for its name (fake_kernel), else the first parameter of
 * spin_us and spin_ns, else the setting kernel_ns. It takes as many of the device's slots as its grid fills. Only
 * fill_u32(pointer, value, count) changes memory. */
#include "driver.h"

static uint64_t named_ns(const char *name, const void *first)
{
    for (unsigned i = 0; i < fk_world->kernel_count; i++)
        if (!strcmp(fk_world->kernels[i].name, name))
            return fk_world->kernels[i].ns;
    if (first && !strncmp(name, "spin_us", 7))
        return *(const uint32_t *)first * 1000ull;
    if (first && !strncmp(name, "spin_ns", 7))
        return *(const uint64_t *)first;
    return fk_world->kernel_ns;
}

static void fill(struct fk_op *op)
{
    for (size_t i = 0; i < op->data.width; i++)
        ((uint32_t *)(void *)op->data.to)[i] = op->set.value;
}

/* Parameters come as an array of pointers or, in extra, as one block. */
static const void *parameter(void **params, const char *block, size_t offset, unsigned index)
{
    return params ? params[index] : block ? block + offset : NULL;
}

static const char *block_of(void **extra)
{
    for (; extra && extra[0]; extra += 2)
        if ((uintptr_t)extra[0] == 1)
            return extra[1];
    return NULL;
}

CUresult fk_kernel_op(CUfunction func, const unsigned grid[3], const unsigned block[3], unsigned shared, void **params, void **extra,
                      bool cooperative, struct fk_op *ret)
{
    if (FK_IS(func, FK_IS_KERNEL))
        func = fk_kernel_function((CUkernel)(void *)func);
    if (!fk_function_ok(func))
        return CUDA_ERROR_INVALID_HANDLE;
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2], blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    if (!threads || threads > 1024 || !blocks || shared > 227u << 10)
        return CUDA_ERROR_INVALID_VALUE;
    const struct fk_device *device = &fk_world->device[fk_function_ctx(func)->device];
    if (cooperative && blocks * threads > (uint64_t)device->sms * 2048)
        return (CUresult)CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    size_t offsets[64], count;
    fk_function_params(func, offsets, &count);
    const char *packed = block_of(extra), *name = fk_function_name(func);
    const void *first = count || strncmp(name, "fill", 4) ? parameter(params, packed, 0, 0) : NULL;
    *ret = (struct fk_op){.type = CU_GRAPH_NODE_TYPE_KERNEL, .unit = FK_COMPUTE, .ns = named_ns(name, first)};
    uint64_t slots = (blocks * fk_world->slots + device->sms - 1) / device->sms;
    ret->slots = slots > fk_world->slots ? fk_world->slots : (unsigned)slots;
    ret->kernel = (CUDA_KERNEL_NODE_PARAMS){func, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, params, extra, NULL, NULL};
    if (!strcmp(name, "fill_u32") && count == 3 && (params || packed)) {
        ret->data.to = (char *)(uintptr_t)*(const uint64_t *)parameter(params, packed, offsets[0], 0);
        ret->set.value = *(const uint32_t *)parameter(params, packed, offsets[1], 1);
        ret->data.width = *(const uint32_t *)parameter(params, packed, offsets[2], 2);
        ret->effect = fill;
    }
    return CUDA_SUCCESS;
}

static CUresult launch(CUstream hStream, CUfunction func, const unsigned grid[3], const unsigned block[3], unsigned shared, void **params,
                       void **extra, bool cooperative)
{
    if (!cooperative && grid[0] && grid[1] && grid[2] && block[0] - 1 < 1024 && block[1] == 1 && block[2] == 1 && fk_function_ok(func) &&
        fk_function_plain(func) && !fk_world->kernel_ns && !fk_world->kernel_count && fk_quiet(hStream))
        return CUDA_SUCCESS; /* an empty kernel on an idle device: a few ns, so that what stands in front can be measured */
    struct fk_op op;
    CUresult r = fk_kernel_op(func, grid, block, shared, params, extra, cooperative, &op);
    return r ? r : fk_run(hStream, &op);
}

#define DIMS unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz
static CUresult run_cuLaunchKernel(CUfunction func, DIMS, unsigned shared, CUstream hStream, void **params, void **extra)
{
    return launch(hStream, func, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, params, extra, false);
}
FK_BOTH(cuLaunchKernel, _ptsz, (CUfunction func, DIMS, unsigned shared, CUstream hStream, void **params, void **extra),
        (func, gx, gy, gz, bx, by, bz, shared, hStream, params, extra))

static CUresult run_cuLaunchCooperativeKernel(CUfunction func, DIMS, unsigned shared, CUstream hStream, void **params)
{
    return launch(hStream, func, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, params, NULL, true);
}
FK_BOTH(cuLaunchCooperativeKernel, _ptsz, (CUfunction func, DIMS, unsigned shared, CUstream hStream, void **params),
        (func, gx, gy, gz, bx, by, bz, shared, hStream, params))

static CUresult launch_ex(const CUlaunchConfig *config, bool per_thread, CUfunction func, void **params, void **extra)
{
    if (!config || (config->numAttrs && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    bool cooperative = false;
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            cooperative = config->attrs[i].value.cooperative != 0;
    return launch(fk_default_stream(config->hStream, per_thread), func, (unsigned[]){config->gridDimX, config->gridDimY, config->gridDimZ},
                  (unsigned[]){config->blockDimX, config->blockDimY, config->blockDimZ}, config->sharedMemBytes, params, extra, cooperative);
}
FK_API(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction func, void **params, void **extra))
{
    FK_ENTER(cuLaunchKernelEx);
    return launch_ex(config, false, func, params, extra);
}
FK_API(cuLaunchKernelEx_ptsz, (const CUlaunchConfig *config, CUfunction func, void **params, void **extra))
{
    FK_ENTER(cuLaunchKernelEx_ptsz);
    return launch_ex(config, true, func, params, extra);
}

FK_API(cuLaunchCooperativeKernelMultiDevice, (CUDA_LAUNCH_PARAMS *list, unsigned count, unsigned flags))
{
    FK_ENTER(cuLaunchCooperativeKernelMultiDevice);
    CUresult r = list && count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count && !r; i++) {
        const CUDA_LAUNCH_PARAMS *p = &list[i];
        r = launch(p->hStream, p->function, (unsigned[]){p->gridDimX, p->gridDimY, p->gridDimZ},
                   (unsigned[]){p->blockDimX, p->blockDimY, p->blockDimZ}, p->sharedMemBytes, p->kernelParams, NULL, true);
    }
    return r;
}

/* --- launches of the first API: state in the function --- */

static __thread struct { CUfunction func; unsigned block[3], shared; char params[4096]; } old;

static CUresult old_use(CUfunction func)
{
    if (!fk_function_ok(func))
        return CUDA_ERROR_INVALID_HANDLE;
    if (old.func != func)
        old.block[0] = old.block[1] = old.block[2] = 1;
    old.func = func;
    return CUDA_SUCCESS;
}
FK_API(cuFuncSetBlockShape, (CUfunction func, int x, int y, int z))
{
    FK_ENTER(cuFuncSetBlockShape);
    CUresult r = old_use(func);
    old.block[0] = (unsigned)x;
    old.block[1] = (unsigned)y;
    old.block[2] = (unsigned)z;
    return r;
}
FK_API(cuFuncSetSharedSize, (CUfunction func, unsigned bytes)) { FK_ENTER(cuFuncSetSharedSize); old.shared = bytes; return old_use(func); }
FK_API(cuParamSetSize, (CUfunction func, unsigned bytes)) { FK_ENTER(cuParamSetSize); return bytes <= sizeof old.params ? old_use(func) : CUDA_ERROR_INVALID_VALUE; }
FK_API(cuParamSetv, (CUfunction func, int offset, void *at, unsigned bytes))
{
    FK_ENTER(cuParamSetv);
    if (offset < 0 || bytes > sizeof old.params - (unsigned)offset)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(old.params + offset, at, bytes);
    return old_use(func);
}
FK_API(cuParamSeti, (CUfunction func, int offset, unsigned value)) { FK_ENTER(cuParamSeti); memcpy(old.params + offset, &value, sizeof value); return old_use(func); }
FK_API(cuParamSetf, (CUfunction func, int offset, float value)) { FK_ENTER(cuParamSetf); memcpy(old.params + offset, &value, sizeof value); return old_use(func); }

static CUresult old_launch(CUfunction func, unsigned x, unsigned y, CUstream stream)
{
    CUresult r = old_use(func);
    void *extra[] = {(void *)1, old.params, NULL};
    return r ? r : launch(fk_default_stream(stream, false), func, (unsigned[]){x, y, 1}, old.block, old.shared, NULL, extra, false);
}
FK_API(cuLaunch, (CUfunction func)) { FK_ENTER(cuLaunch); return old_launch(func, 1, 1, NULL); }
FK_API(cuLaunchGrid, (CUfunction func, int x, int y)) { FK_ENTER(cuLaunchGrid); return old_launch(func, (unsigned)x, (unsigned)y, NULL); }
FK_API(cuLaunchGridAsync, (CUfunction func, int x, int y, CUstream stream)) { FK_ENTER(cuLaunchGridAsync); return old_launch(func, (unsigned)x, (unsigned)y, stream); }

/* --- what can be asked of a function --- */

FK_API(cuFuncGetAttribute, (int *value, int attribute, CUfunction func))
{
    FK_ENTER(cuFuncGetAttribute);
    if (!fk_function_ok(func) || !value)
        return CUDA_ERROR_INVALID_VALUE;
    *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : attribute == 8 ? 48 << 10 : attribute == 5 || attribute == 6 ? 90 : 0;
    return CUDA_SUCCESS;
}
FK_API(cuFuncSetAttribute, (CUfunction func, int attribute, int value)) { FK_ENTER(cuFuncSetAttribute); return fk_function_ok(func) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }
FK_API(cuFuncSetCacheConfig, (CUfunction func, int config)) { FK_ENTER(cuFuncSetCacheConfig); return fk_function_ok(func) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }
FK_API(cuFuncGetName, (const char **name, CUfunction func))
{
    FK_ENTER(cuFuncGetName);
    if (!fk_function_ok(func) || !name)
        return CUDA_ERROR_INVALID_HANDLE;
    *name = fk_function_name(func);
    return CUDA_SUCCESS;
}
FK_API(cuFuncGetParamInfo, (CUfunction func, size_t index, size_t *offset, size_t *bytes))
{
    FK_ENTER(cuFuncGetParamInfo);
    size_t offsets[64], count;
    if (!fk_function_ok(func))
        return CUDA_ERROR_INVALID_HANDLE;
    size_t end = fk_function_params(func, offsets, &count);
    if (index >= count || !offset)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = offsets[index];
    if (bytes)
        *bytes = (index + 1 < count ? offsets[index + 1] : end) - offsets[index];
    return CUDA_SUCCESS;
}
FK_API(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *blocks, CUfunction func, int threads, size_t shared))
{
    FK_ENTER(cuOccupancyMaxActiveBlocksPerMultiprocessor);
    if (!blocks || threads <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    *blocks = 2048 / threads > 32 ? 32 : 2048 / threads;
    return CUDA_SUCCESS;
}
