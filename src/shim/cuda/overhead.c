/* overhead.c - contexts, modules and limits: what they take is known only by looking at the device before and after.
 *
 * The look is cuMemGetInfo in a context that exists, for a process's first context NVML, if the machine's library lies beside the
 * driver; or it is told (FGPU_CUDA_CONTEXT_BYTES, from who measured it once for all tasks). What this vGPU's own other
 * threads and processes took meanwhile is taken off again; what other tenants took cannot be, so the result is an estimate
 * where a device is shared, and bounded. */
#include <dlfcn.h>
#include <stdlib.h>

#include "shim/cuda/map.h"
#include "shim/cuda/shim.h"

#define CONTEXT_ENV   "FGPU_CUDA_CONTEXT_BYTES"
#define CONTEXT_MOST  (INT64_C(4) << 30)
#define UNKNOWN       INT64_C(-1)

static struct fgcu_map contexts;  /* context -> a: device + 1, b: 1 made by cuCtxCreate, 2 primary */
static struct { uint32_t lock, probed; int64_t context_bytes; } known = {.context_bytes = UNKNOWN};
static uint64_t small_step = 512, large_step = 512; /* cuMemAlloc takes multiples of these, powers of two; see probe() */

#define LARGE  (UINT64_C(1) << 20)
#define BLOCK  (2 << 20)
#define PROBES 5u

uint64_t fgcu_linear_bytes(uint64_t bytes)
{
    uint64_t step = bytes > LARGE ? __atomic_load_n(&large_step, __ATOMIC_RELAXED) : __atomic_load_n(&small_step, __ATOMIC_RELAXED);
    return bytes > FG_MEMORY_MAX ? FG_MEMORY_MAX + 1 : (bytes + step - 1) & -step;
}

/* ---- looking at the device ---- */

static int64_t used_here(void)
{
    size_t free_bytes = 0, total = 0;
    return FGCU_NEXT(cuMemGetInfo_v2, cuMemGetInfo)(&free_bytes, &total) == CUDA_SUCCESS ? (int64_t)(total - free_bytes) : UNKNOWN;
}

/* In any context of the device that we know. */
static int64_t used_in_context(CUdevice device)
{
    struct fgcu_entry entry;
    CUcontext popped;
    for (uint32_t i = 0; fgcu_map_at(&contexts, i, &entry); i++) {
        if (entry.a != (uint64_t)device + 1 || fgcu_call(cuCtxPushCurrent_v2)((CUcontext)(uintptr_t)entry.key) != CUDA_SUCCESS)
            continue;
        int64_t used = used_here();
        fgcu_call(cuCtxPopCurrent_v2)(&popped);
        return used;
    }
    return UNKNOWN;
}

int64_t fgcu_device_used(void)
{
    struct fgcu_entry entry;
    int64_t used = used_here();
    return used >= 0 || !fgcu_map_at(&contexts, 0, &entry) ? used : used_in_context((CUdevice)entry.a - 1);
}

/* By NVML, which needs no context. Its structures: total, free, used. */
static int64_t used_by_nvml(CUdevice device)
{
    unsigned char uuid[16];
    char text[48] = "GPU-";
    void *handle, *nvml = fgcu_beside("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
    int64_t used = UNKNOWN;
    if (!nvml)
        return UNKNOWN;
    int (*init)(void) = (int (*)(void))dlsym(nvml, "nvmlInit_v2"), (*end)(void) = (int (*)(void))dlsym(nvml, "nvmlShutdown");
    int (*find)(const char *, void **) = (int (*)(const char *, void **))dlsym(nvml, "nvmlDeviceGetHandleByUUID");
    int (*memory)(void *, unsigned long long *) = (int (*)(void *, unsigned long long *))dlsym(nvml, "nvmlDeviceGetMemoryInfo");
    if (init && end && find && memory && init() == 0) {
        unsigned long long numbers[3];
        unsigned at = 4;
        int ok = fgcu_call(cuDeviceGetUuid_v2)((CUuuid *)(void *)uuid, device) == CUDA_SUCCESS;
        for (unsigned i = 0; i < 16; i++) {
            if (i == 4 || i == 6 || i == 8 || i == 10)
                text[at++] = '-';
            text[at++] = "0123456789abcdef"[uuid[i] >> 4];
            text[at++] = "0123456789abcdef"[uuid[i] & 15];
        }
        if (ok && find(text, &handle) == 0 && memory(handle, numbers) == 0)
            used = (int64_t)numbers[2];
        end();
    }
    dlclose(nvml);
    return used;
}

struct around { int64_t used, ledger; CUdevice device; };

static struct around look(CUdevice device, int in_context)
{
    fg_lock(&known.lock);
    struct around around = {.device = device, .ledger = (int64_t)fg_ledger_used(fgcu.lease.counters)};
    around.used = in_context ? used_here() : used_in_context(device);
    if (around.used < 0 && !in_context && known.context_bytes < 0)
        around.used = used_by_nvml(device);
    return around;
}

/* What came to be since, from -most to most; 0 where it could not be seen. */
static int64_t grown(const struct around *before, int64_t used, int64_t most)
{
    int64_t ledger = (int64_t)fg_ledger_used(fgcu.lease.counters) - before->ledger;
    fg_unlock(&known.lock);
    if (before->used < 0 || used < 0)
        return 0;
    int64_t more = used - before->used - ledger;
    return more > most ? most : more < -most ? -most : more;
}

/* ---- cuMemAlloc's steps ---- */

/* Do so many allocations of this size take two whole blocks together? Others allocate on the device, too, and in their noise any
 * number may be seen once: it is looked at several times, and most must show exactly that. */
static int take_blocks(size_t bytes, unsigned count)
{
    unsigned blocks = 0;
    for (unsigned i = 0; i < PROBES && blocks <= PROBES / 2 && i - blocks <= PROBES / 2; i++) {
        CUdeviceptr made[2];
        unsigned n = 0;
        int64_t before = used_here();
        while (n < count && FGCU_NEXT(cuMemAlloc_v2, cuMemAlloc)(&made[n], bytes) == CUDA_SUCCESS)
            n++;
        blocks += n == count && used_here() - before == 2 * BLOCK;
        while (n)
            FGCU_NEXT(cuMemFree_v2, cuMemFree)(made[--n]);
    }
    return blocks > PROBES / 2;
}

/* Real drivers cut small requests from blocks of 2 MiB, and give larger ones whole blocks. A request just above 2 MiB shows it. */
static void probe(void)
{
    if (__atomic_exchange_n(&known.probed, 1, __ATOMIC_ACQ_REL))
        return;
    if (take_blocks(BLOCK + 512, 1))
        __atomic_store_n(&large_step, BLOCK, __ATOMIC_RELAXED);
    if (take_blocks(1, 2))
        __atomic_store_n(&small_step, BLOCK, __ATOMIC_RELAXED);
}

/* ---- contexts ---- */

static int64_t told(void)
{
    const char *text = getenv(CONTEXT_ENV);
    return text ? strtoll(text, NULL, 10) : UNKNOWN;
}

static struct around before_context(CUdevice device)
{
    if (known.context_bytes < 0)
        known.context_bytes = told();
    return look(device, 0);
}

/* A context has come to be; its handle is remembered, so that a later look can use it. */
static CUresult context_made(const struct around *before, CUcontext context, uint64_t kind)
{
    CUcontext popped;
    int64_t used = UNKNOWN;
    if (fgcu_call(cuCtxPushCurrent_v2)(context) == CUDA_SUCCESS) {
        used = used_here();
        int64_t bytes = grown(before, used, CONTEXT_MOST);
        if (bytes > 0)
            known.context_bytes = bytes;
        else
            bytes = known.context_bytes > 0 ? known.context_bytes : 0;
        fgcu_map_put(&contexts, &(struct fgcu_entry){.key = (uintptr_t)context, .a = (uint64_t)before->device + 1, .b = kind});
        CUresult result = fgcu_made(FGCU_CONTEXT, (uintptr_t)context, 0, (uint64_t)bytes, context);
        if (result == CUDA_SUCCESS)
            probe();
        fgcu_call(cuCtxPopCurrent_v2)(&popped);
        return result;
    }
    grown(before, UNKNOWN, 0);
    return CUDA_SUCCESS;
}

void fgcu_context_gone(CUcontext context)
{
    struct fgcu_entry entry;
    if (!context)
        return;
    fgcu_map_take(&contexts, (uintptr_t)context, &entry);
    fg_ledger_drop_owner(&fgcu.ledger, (uintptr_t)context);
    fgcu_pools_refresh();
}

static CUresult created(const struct around *before, CUresult result, CUcontext *context)
{
    if (result != CUDA_SUCCESS) {
        grown(before, UNKNOWN, 0);
        return result;
    }
    if (context_made(before, *context, 1) == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    fgcu_do_cuCtxDestroy(FGCU_cuCtxDestroy_v2, *context);
    *context = NULL;
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fgcu_do_cuCtxCreate(unsigned which, CUcontext *context, unsigned int flags, CUdevice device)
{
    if (!fgcu_attached() || !context)
        return FGCU_WHICH(cuCtxCreate)(context, flags, device);
    struct around before = before_context(device);
    return created(&before, FGCU_WHICH(cuCtxCreate)(context, flags, device), context);
}

CUresult fgcu_do_cuCtxCreate_v3(unsigned which, CUcontext *context, void *affinities, int count, unsigned int flags, CUdevice device)
{
    if (!fgcu_attached() || !context)
        return FGCU_WHICH(cuCtxCreate_v3)(context, affinities, count, flags, device);
    struct around before = before_context(device);
    return created(&before, FGCU_WHICH(cuCtxCreate_v3)(context, affinities, count, flags, device), context);
}

CUresult fgcu_do_cuCtxCreate_v4(unsigned which, CUcontext *context, void *params, unsigned int flags, CUdevice device)
{
    if (!fgcu_attached() || !context)
        return FGCU_WHICH(cuCtxCreate_v4)(context, params, flags, device);
    struct around before = before_context(device);
    return created(&before, FGCU_WHICH(cuCtxCreate_v4)(context, params, flags, device), context);
}

CUresult fgcu_do_cuCtxDestroy(unsigned which, CUcontext context)
{
    if (!fgcu_attached())
        return FGCU_WHICH(cuCtxDestroy)(context);
    fgcu_clock_gone(context, 0); /* our events in it, before the handles mean nothing */
    CUresult result = FGCU_WHICH(cuCtxDestroy)(context);
    if (result == CUDA_SUCCESS)
        fgcu_context_gone(context);
    return result;
}

/* Attach counts that nobody has used since 2011: it is gone when it cannot be entered any more. */
CUresult fgcu_do_cuCtxDetach(unsigned which, CUcontext context)
{
    CUcontext popped;
    CUresult result = FGCU_WHICH(cuCtxDetach)(context);
    if (result != CUDA_SUCCESS || !fgcu_attached())
        return result;
    if (fgcu_call(cuCtxPushCurrent_v2)(context) == CUDA_SUCCESS) {
        fgcu_call(cuCtxPopCurrent_v2)(&popped);
    } else {
        fgcu_clock_gone(context, 1);
        fgcu_context_gone(context);
    }
    return result;
}

/* ---- primary contexts ---- */

static int active(CUdevice device)
{
    unsigned flags;
    int is = 0;
    return fgcu_call(cuDevicePrimaryCtxGetState)(device, &flags, &is) == CUDA_SUCCESS && is;
}

CUresult fgcu_do_cuDevicePrimaryCtxRetain(unsigned which, CUcontext *context, CUdevice device)
{
    struct fgcu_entry entry;
    if (!fgcu_attached() || !context || active(device)) {
        CUresult result = FGCU_WHICH(cuDevicePrimaryCtxRetain)(context, device);
        if (result == CUDA_SUCCESS && fgcu_attached() && context && !fgcu_map_get(&contexts, (uintptr_t)*context, &entry))
            fgcu_map_put(&contexts, &(struct fgcu_entry){.key = (uintptr_t)*context, .a = (uint64_t)device + 1, .b = 2});
        return result;
    }
    struct around before = before_context(device);
    CUresult result = FGCU_WHICH(cuDevicePrimaryCtxRetain)(context, device);
    if (result != CUDA_SUCCESS) {
        grown(&before, UNKNOWN, 0);
        return result;
    }
    if (context_made(&before, *context, 2) == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    fgcu_do_cuDevicePrimaryCtxRelease(fgcu_has(FGCU_cuDevicePrimaryCtxRelease_v2) ? FGCU_cuDevicePrimaryCtxRelease_v2
                                                                                  : FGCU_cuDevicePrimaryCtxRelease, device);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* Its handle: remembered, or asked for where somebody made it behind our back. */
static CUcontext primary(CUdevice device)
{
    struct fgcu_entry entry;
    CUcontext context = NULL;
    for (uint32_t i = 0; fgcu_map_at(&contexts, i, &entry); i++)
        if (entry.a == (uint64_t)device + 1 && entry.b == 2)
            return (CUcontext)(uintptr_t)entry.key;
    if (active(device) && FGCU_NEXT(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)(&context, device) == CUDA_SUCCESS)
        FGCU_NEXT(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease)(device);
    return context;
}

CUresult fgcu_do_cuDevicePrimaryCtxRelease(unsigned which, CUdevice device)
{
    if (!fgcu_attached())
        return FGCU_WHICH(cuDevicePrimaryCtxRelease)(device);
    CUcontext context = primary(device);
    fgcu_settle_all(); /* it may be the last release */
    fgcu_visits_stop();
    CUresult result = FGCU_WHICH(cuDevicePrimaryCtxRelease)(device);
    if (result == CUDA_SUCCESS && !active(device)) {
        fgcu_clock_gone(context, 1);
        fgcu_context_gone(context);
    }
    fgcu_visits_go_on();
    return result;
}

CUresult fgcu_do_cuDevicePrimaryCtxReset(unsigned which, CUdevice device)
{
    if (!fgcu_attached())
        return FGCU_WHICH(cuDevicePrimaryCtxReset)(device);
    CUcontext context = primary(device);
    fgcu_clock_gone(context, 0);
    CUresult result = FGCU_WHICH(cuDevicePrimaryCtxReset)(device);
    if (result == CUDA_SUCCESS)
        fgcu_context_gone(context);
    return result;
}

/* ---- what is made in a context ---- */

static CUresult thing_made(const struct around *before, CUresult result, enum fgcu_kind kind, uint64_t value)
{
    int64_t bytes = grown(before, result == CUDA_SUCCESS ? used_here() : UNKNOWN, CONTEXT_MOST);
    return result != CUDA_SUCCESS ? result : fgcu_made(kind, value, 0, bytes > 0 ? (uint64_t)bytes : 0, fgcu_context());
}

static CUresult module_made(const struct around *before, CUresult result, CUmodule *module)
{
    int loaded = result == CUDA_SUCCESS;
    result = thing_made(before, result, FGCU_MODULE, loaded ? (uintptr_t)*module : 0);
    if (loaded && result != CUDA_SUCCESS) {
        FGCU_NEXT(cuModuleUnload, cuModuleUnload)(*module);
        fgcu_undone(FGCU_MODULE, (uintptr_t)*module);
    }
    return result;
}

CUresult fgcu_do_cuModuleLoad(unsigned which, CUmodule *module, const char *file)
{
    if (!fgcu_attached() || !module)
        return FGCU_WHICH(cuModuleLoad)(module, file);
    struct around before = look(0, 1);
    return module_made(&before, FGCU_WHICH(cuModuleLoad)(module, file), module);
}

CUresult fgcu_do_cuModuleLoadData(unsigned which, CUmodule *module, const void *image)
{
    if (!fgcu_attached() || !module)
        return FGCU_WHICH(cuModuleLoadData)(module, image);
    struct around before = look(0, 1);
    return module_made(&before, FGCU_WHICH(cuModuleLoadData)(module, image), module);
}

CUresult fgcu_do_cuModuleLoadDataEx(unsigned which, CUmodule *module, const void *image, unsigned int count, int *options, void **values)
{
    if (!fgcu_attached() || !module)
        return FGCU_WHICH(cuModuleLoadDataEx)(module, image, count, options, values);
    struct around before = look(0, 1);
    return module_made(&before, FGCU_WHICH(cuModuleLoadDataEx)(module, image, count, options, values), module);
}

CUresult fgcu_do_cuModuleLoadFatBinary(unsigned which, CUmodule *module, const void *image)
{
    if (!fgcu_attached() || !module)
        return FGCU_WHICH(cuModuleLoadFatBinary)(module, image);
    struct around before = look(0, 1);
    return module_made(&before, FGCU_WHICH(cuModuleLoadFatBinary)(module, image), module);
}

CUresult fgcu_do_cuModuleUnload(unsigned which, CUmodule module)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_MODULE, (uintptr_t)module, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuModuleUnload)(module));
}

/* A library may be loaded with no context: then it takes nothing yet. */
static CUresult library_made(const struct around *before, CUresult result, CUlibrary *library)
{
    int loaded = result == CUDA_SUCCESS;
    result = thing_made(before, result, FGCU_LIBRARY, loaded ? (uintptr_t)*library : 0);
    if (loaded && result != CUDA_SUCCESS) {
        FGCU_NEXT(cuLibraryUnload, cuLibraryUnload)(*library);
        fgcu_undone(FGCU_LIBRARY, (uintptr_t)*library);
    }
    return result;
}

CUresult fgcu_do_cuLibraryLoadData(unsigned which, CUlibrary *library, const void *code, int *jit, void **jit_values, unsigned int jits,
                                   int *options, void **values, unsigned int count)
{
    if (!fgcu_attached() || !library)
        return FGCU_WHICH(cuLibraryLoadData)(library, code, jit, jit_values, jits, options, values, count);
    struct around before = look(0, 1);
    return library_made(&before, FGCU_WHICH(cuLibraryLoadData)(library, code, jit, jit_values, jits, options, values, count), library);
}

CUresult fgcu_do_cuLibraryLoadFromFile(unsigned which, CUlibrary *library, const char *file, int *jit, void **jit_values,
                                       unsigned int jits, int *options, void **values, unsigned int count)
{
    if (!fgcu_attached() || !library)
        return FGCU_WHICH(cuLibraryLoadFromFile)(library, file, jit, jit_values, jits, options, values, count);
    struct around before = look(0, 1);
    return library_made(&before, FGCU_WHICH(cuLibraryLoadFromFile)(library, file, jit, jit_values, jits, options, values, count), library);
}

CUresult fgcu_do_cuLibraryUnload(unsigned which, CUlibrary library)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_LIBRARY, (uintptr_t)library, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuLibraryUnload)(library));
}

CUresult fgcu_do_cuGreenCtxCreate(unsigned which, CUgreenCtx *context, CUdevResourceDesc resources, CUdevice device, unsigned int flags)
{
    if (!fgcu_attached() || !context)
        return FGCU_WHICH(cuGreenCtxCreate)(context, resources, device, flags);
    struct around before = before_context(device);
    CUresult result = FGCU_WHICH(cuGreenCtxCreate)(context, resources, device, flags);
    int64_t bytes = grown(&before, result == CUDA_SUCCESS ? used_in_context(device) : UNKNOWN, CONTEXT_MOST);
    if (result != CUDA_SUCCESS || fgcu_made(FGCU_CONTEXT, (uintptr_t)*context, 0, bytes > 0 ? (uint64_t)bytes : 0, NULL) == CUDA_SUCCESS)
        return result;
    fgcu_do_cuGreenCtxDestroy(FGCU_cuGreenCtxDestroy, *context);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fgcu_do_cuGreenCtxDestroy(unsigned which, CUgreenCtx context)
{
    struct fg_record record;
    fgcu_free_begin(FGCU_CONTEXT, (uintptr_t)context, &record);
    return fgcu_free_end(&record, FGCU_WHICH(cuGreenCtxDestroy)(context));
}

/* The record of a limit says what all settings of it so far took together; lowering it gives back. */
CUresult fgcu_do_cuCtxSetLimit(unsigned which, int limit, size_t value)
{
    CUcontext context = fgcu_attached() && limit <= CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT ? fgcu_context() : NULL;
    if (!context)
        return FGCU_WHICH(cuCtxSetLimit)(limit, value);
    struct around before = look(0, 1);
    CUresult result = FGCU_WHICH(cuCtxSetLimit)(limit, value);
    int64_t more = grown(&before, result == CUDA_SUCCESS ? used_here() : UNKNOWN, CONTEXT_MOST);
    struct fg_record record = {0};
    uint64_t key = (uintptr_t)context ^ (uint64_t)(limit + 1) << 50;
    if (result != CUDA_SUCCESS || !more)
        return result;
    if (fg_ledger_take(&fgcu.ledger, fgcu_record_key(FGCU_LIMIT, key), &record) != FG_LEDGER_OK)
        record.bytes = 0;
    int64_t bytes = (int64_t)record.bytes + more;
    return fgcu_made(FGCU_LIMIT, key, record.bytes, bytes > 0 ? (uint64_t)bytes : 0, context);
}
