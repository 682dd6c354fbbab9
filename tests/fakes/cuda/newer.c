/* newer.c - what a driver of 13.1 to 13.5 has beyond exports.txt, and one function that no table knows. Each submits one job where the
 * real one does, and counts its calls. */
#include "driver.h"

#define NEWER(name, params) FAKE_API CUresult name params; FAKE_API CUresult name params
static unsigned calls;
FAKE_API unsigned fake_newer_calls(void);
FAKE_API unsigned fake_newer_calls(void) { return calls; }

static void nothing(void *unused) {}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *data);
CUresult cuMemAlloc_v2(CUdeviceptr *ret, size_t bytes);
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream);
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode);
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);

static CUresult job(CUstream stream)
{
    calls++;
    return cuLaunchHostFunc(stream, nothing, NULL);
}

NEWER(cuMemcpyWithAttributesAsync, (CUdeviceptr to, CUdeviceptr from, size_t n, void *attributes, CUstream stream))
{
    calls++;
    return cuMemcpyAsync(to, from, n, stream);
}
NEWER(cuMemcpy3DWithAttributesAsync, (void *op, unsigned long long flags, CUstream stream)) { return job(stream); }
NEWER(cuFabricCpyBatchAsync, (size_t count, void *list, unsigned long long flags, CUstream stream)) { return job(stream); }
NEWER(cuLaunchHostFunc_v2, (CUstream stream, CUhostFn fn, void *data, unsigned mode))
{
    calls++;
    return cuLaunchHostFunc(stream, fn, data);
}
NEWER(cuStreamBeginCaptureToCig, (CUstream stream, void *params))
{
    calls++;
    return cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
}
NEWER(cuStreamEndCaptureToCig, (CUstream stream))
{
    CUgraph graph;
    calls++;
    return cuStreamEndCapture(stream, &graph);
}
NEWER(cuOfTheYear2030, (int x)) { return x + 1; }

/* Not exported: what cuGetProcAddress answers for a version that no table knows. */
static CUresult alloc_2030(CUdeviceptr *ret, size_t bytes)
{
    calls++;
    return cuMemAlloc_v2(ret, bytes);
}

/* cuGetProcAddress asks here first. */
void *fk_newer(const char *name, int version);
void *fk_newer(const char *name, int version)
{
    static const struct { const char *name; void *at; int since; } table[] = {
        {"cuMemcpyWithAttributesAsync", (void *)cuMemcpyWithAttributesAsync, 13020},
        {"cuMemcpy3DWithAttributesAsync", (void *)cuMemcpy3DWithAttributesAsync, 13020},
        {"cuFabricCpyBatchAsync", (void *)cuFabricCpyBatchAsync, 13050},
        {"cuLaunchHostFunc", (void *)cuLaunchHostFunc_v2, 13010},
        {"cuStreamBeginCaptureToCig", (void *)cuStreamBeginCaptureToCig, 13010},
        {"cuStreamEndCaptureToCig", (void *)cuStreamEndCaptureToCig, 13010},
        {"cuOfTheYear2030", (void *)cuOfTheYear2030, 13050},
        {"cuMemAlloc", (void *)alloc_2030, 20300},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].name, name) && table[i].since <= version)
            return table[i].at;
    return NULL;
}
