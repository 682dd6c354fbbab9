/* driver.c - find the real library's functions, and make of HIP what the shared files expect of CUDA. */
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "shim/beside.h"
#include "shim/hip/shim.h"

struct fgcu fgcu;

static CUresult missing(void) { return CUDA_ERROR_NOT_SUPPORTED; }
static CUresult no_device(void) { return CUDA_ERROR_NO_DEVICE; }

static const char *const names[FGCU_ALL] = {
#define NAME(export, base, since, own) [FGCU_##export] = #export,
    FGCU_WRAPPED_LIST(NAME)
#undef NAME
#define NAME(used) [FGCU_##used] = #used,
    FGCU_USED_LIST(NAME)
#undef NAME
};

static void *exports[FGCU_WRAPPED];
void *fghip_export(unsigned function) { return exports[function]; }

const char *fgcu_name(unsigned function) { return names[function]; }
int fgcu_has(unsigned function) { return fgcu.next[function] != (void *)missing; }

/* ---- devices as contexts: device + 1 is the "context" ---- */

static __thread struct { int before[4]; unsigned depth; } pushed;

static CUresult current(CUcontext *context)
{
    int device;
    CUresult result = fgcu_call(cuCtxGetDevice)(&device);
    *context = result == CUDA_SUCCESS ? (CUcontext)(uintptr_t)(device + 1) : NULL;
    return result;
}

static CUresult enter(int device)
{
    int now;
    CUresult result = fgcu_call(cuCtxGetDevice)(&now);
    return result != CUDA_SUCCESS || now == device ? result : FGCU_NEXT(hipSetDevice, hipSetDevice)(device);
}

static CUresult push(CUcontext context)
{
    int before;
    if (pushed.depth == 4 || fgcu_call(cuCtxGetDevice)(&before) != CUDA_SUCCESS)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUresult result = enter((int)(uintptr_t)context - 1);
    if (result == CUDA_SUCCESS)
        pushed.before[pushed.depth++] = before;
    return result;
}

static CUresult pop(CUcontext *context) { return pushed.depth ? enter(pushed.before[--pushed.depth]) : CUDA_ERROR_INVALID_CONTEXT; }

static CUresult context_of_stream(CUstream stream, CUcontext *context)
{
    int device;
    CUresult result = fgcu_call(hipStreamGetDevice)(stream, &device);
    if (result == CUDA_SUCCESS)
        *context = (CUcontext)(uintptr_t)(device + 1);
    return result;
}

/* ---- the default stream is 0; up to ROCm 5 it has no other name ---- */

static struct {
    fgcu_fn_cuEventRecord record;
    fgcu_fn_cuStreamIsCapturing capturing;
    fgcu_fn_cuMemFreeAsync release;
    fgcu_fn_cuStreamQuery query;
} real;

static CUstream by_0(CUstream stream) { return stream == CU_STREAM_LEGACY ? NULL : stream; }
static CUresult record(CUevent event, CUstream stream) { return real.record(event, by_0(stream)); }
static CUresult capturing(CUstream stream, CUstreamCaptureStatus *status) { return real.capturing(by_0(stream), status); }
static CUresult query(CUstream stream) { return real.query(by_0(stream)); }
static CUresult release(CUdeviceptr pointer, CUstream stream) { return real.release(pointer, by_0(stream)); }

static void make_alike(void)
{
    real.record = fgcu_call(cuEventRecord);
    real.capturing = fgcu_call(cuStreamIsCapturing);
    real.release = FGCU_NEXT(hipFreeAsync, cuMemFreeAsync);
    real.query = FGCU_NEXT(hipStreamQuery, cuStreamQuery);
    fgcu.next[FGCU_cuEventRecord] = (void *)record;
    fgcu.next[FGCU_cuStreamIsCapturing] = (void *)capturing;
    if (fgcu_has(FGCU_hipFreeAsync))
        fgcu.next[FGCU_hipFreeAsync] = (void *)release;
    fgcu.next[FGCU_hipStreamQuery] = (void *)query;
    fgcu.next[FGCU_cuCtxGetCurrent] = (void *)current;
    fgcu.next[FGCU_cuCtxPushCurrent_v2] = (void *)push;
    fgcu.next[FGCU_cuCtxPopCurrent_v2] = (void *)pop;
    fgcu.next[FGCU_cuStreamGetCtx] = (void *)context_of_stream;
    if (!fgcu_has(FGCU_hipGraphMemAllocNodeGetParams)) /* before ROCm 5.5: other numbers of kinds, and no kind has memory */
        fgcu.next[FGCU_cuGraphNodeGetType] = (void *)missing;
}

/* ---- load and attach ---- */

struct fghip_range fghip_own, fghip_real;

/* The object that this address is in: from its first to its last byte in memory. */
static int measure(struct dl_phdr_info *info, size_t size, void *to)
{
    struct fghip_range *range = to;
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr;
        if (part->p_type != PT_LOAD)
            continue;
        low = start < low ? start : low;
        high = start + part->p_memsz > high ? start + part->p_memsz : high;
    }
    if (range->start < low || range->start >= high)
        return 0;
    *range = (struct fghip_range){low, high - low};
    return 1;
}

static void find_range(struct fghip_range *range, const void *address)
{
    range->start = (uintptr_t)address;
    if (!address || !dl_iterate_phdr(measure, range))
        *range = (struct fghip_range){0, 0};
}

void *fgcu_beside(const char *name, int mode) { return fg_beside((const void *)fgcu_beside, name, mode); }

void fgcu_only_device(const char *device)
{
    const char *uuid = strstr(device, "GPU-"), *asked = getenv("ROCR_VISIBLE_DEVICES");
    if (uuid && !(asked && (!*asked || *asked == '-')))
        setenv("ROCR_VISIBLE_DEVICES", uuid, 1);
}

/* When the library is loaded: HIP has no first call, and it reads the environment at whichever comes first. With a lease that
 * cannot be used nothing that is wrapped reaches the device. */
static __attribute__((constructor)) void begin(void)
{
    fgcu.driver = fgcu_beside(fghip_soname, RTLD_LAZY | RTLD_NOLOAD);
    for (unsigned i = 0; i < FGCU_ALL; i++) {
        void *found = fgcu.driver ? dlsym(fgcu.driver, names[i]) : NULL;
        fgcu.next[i] = found ? found : (void *)missing;
        if (i < FGCU_WRAPPED)
            exports[i] = found;
    }
    find_range(&fghip_own, (void *)begin);
    find_range(&fghip_real, fgcu.driver ? dlsym(fgcu.driver, "hipMalloc") : NULL);
    make_alike();
    fghip_make_alike_physical();
    fgcu_attach();
    if (fgcu.refused == FG_LEASE_OK)
        return;
    setenv("ROCR_VISIBLE_DEVICES", "", 1);
    for (unsigned i = 0; i < FGCU_WRAPPED; i++)
        if (i != FGCU_hipGetLastError && i != FGCU_hipPeekAtLastError && i != FGCU_hipExtGetLastError)
            fgcu.next[i] = (void *)no_device;
}

CUresult fgcu_do_hipInit(unsigned which, unsigned int flags) { return FGCU_WHICH(hipInit)(flags); }
CUresult fgcu_do_hipGetDeviceCount(unsigned which, int *count) { return FGCU_WHICH(hipGetDeviceCount)(count); }
CUresult fgcu_do_hipSetDevice(unsigned which, int device) { return FGCU_WHICH(hipSetDevice)(device); }

/* ---- errors: a launch written as a statement tells its result only here ---- */

static __thread CUresult last;

CUresult fghip_refused(CUresult result)
{
    if (FGCU_NEXT(hipPeekAtLastError, hipPeekAtLastError)() == result)
        return result;
    return last = result == CUDA_ERROR_DEVICE_UNAVAILABLE ? CUDA_ERROR_LAUNCH_FAILED : result; /* HIP knows no such error */
}

CUresult fgcu_do_hipGetLastError(unsigned which)
{
    CUresult result = FGCU_WHICH(hipGetLastError)(), ours = last;
    last = CUDA_SUCCESS;
    return result != CUDA_SUCCESS ? result : ours;
}

CUresult fgcu_do_hipExtGetLastError(unsigned which)
{
    CUresult result = FGCU_WHICH(hipExtGetLastError)(), ours = last;
    last = CUDA_SUCCESS;
    return result != CUDA_SUCCESS ? result : ours;
}

CUresult fgcu_do_hipPeekAtLastError(unsigned which)
{
    CUresult result = FGCU_WHICH(hipPeekAtLastError)();
    return result != CUDA_SUCCESS ? result : last;
}
