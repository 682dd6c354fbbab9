/* cudart_mini.c - see cudart_mini.h. */
#include "cudart_mini.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shim/cuda/cuda_abi.h"

#define API __attribute__((visibility("default")))

/* What is asked of the driver, and of which version. */
#define DIMS unsigned, unsigned, unsigned, unsigned, unsigned, unsigned
#define WANTED(F) \
    F(cuInit, 2000, (unsigned)) F(cuGetErrorName, 6000, (CUresult, const char **)) F(cuDeviceGetCount, 2000, (int *)) F(cuDeviceGet, 2000, (CUdevice *, int)) \
    F(cuDevicePrimaryCtxRetain, 7000, (CUcontext *, CUdevice)) F(cuDevicePrimaryCtxReset, 11000, (CUdevice)) F(cuCtxSetCurrent, 4000, (CUcontext)) \
    F(cuCtxSynchronize, 2000, (void)) F(cuMemGetInfo, 3020, (size_t *, size_t *)) F(cuMemAlloc, 3020, (CUdeviceptr *, size_t)) F(cuMemFree, 3020, (CUdeviceptr)) \
    F(cuMemAllocPitch, 3020, (CUdeviceptr *, size_t *, size_t, size_t, unsigned)) F(cuMemAllocManaged, 6000, (CUdeviceptr *, size_t, unsigned)) \
    F(cuMemHostAlloc, 2020, (void **, size_t, unsigned)) F(cuMemFreeHost, 2000, (void *)) F(cuMemAllocAsync, 11020, (CUdeviceptr *, size_t, CUstream)) \
    F(cuMemFreeAsync, 11020, (CUdeviceptr, CUstream)) F(cuMemcpyHtoD, 7000, (CUdeviceptr, const void *, size_t)) F(cuMemcpyDtoH, 7000, (void *, CUdeviceptr, size_t)) \
    F(cuMemcpyDtoD, 7000, (CUdeviceptr, CUdeviceptr, size_t)) F(cuMemcpy, 7000, (CUdeviceptr, CUdeviceptr, size_t)) \
    F(cuMemcpyHtoDAsync, 7000, (CUdeviceptr, const void *, size_t, CUstream)) F(cuMemcpyDtoHAsync, 7000, (void *, CUdeviceptr, size_t, CUstream)) \
    F(cuMemcpyDtoDAsync, 7000, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) F(cuMemcpyAsync, 7000, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) \
    F(cuMemsetD8, 7000, (CUdeviceptr, unsigned char, size_t)) F(cuStreamCreate, 2000, (CUstream *, unsigned)) F(cuStreamDestroy, 4000, (CUstream)) \
    F(cuStreamSynchronize, 7000, (CUstream)) F(cuStreamQuery, 7000, (CUstream)) F(cuStreamWaitEvent, 7000, (CUstream, CUevent, unsigned)) \
    F(cuEventCreate, 2000, (CUevent *, unsigned)) F(cuEventDestroy, 4000, (CUevent)) F(cuEventRecord, 7000, (CUevent, CUstream)) F(cuEventSynchronize, 2000, (CUevent)) \
    F(cuEventQuery, 2000, (CUevent)) F(cuEventElapsedTime, 2000, (float *, CUevent, CUevent)) F(cuModuleLoadData, 2000, (CUmodule *, const void *)) \
    F(cuModuleGetFunction, 2000, (CUfunction *, CUmodule, const char *)) F(cuLaunchKernel, 7000, (CUfunction, DIMS, unsigned, CUstream, void **, void **)) \
    F(cuLaunchCooperativeKernel, 9000, (CUfunction, DIMS, unsigned, CUstream, void **)) F(cuLaunchHostFunc, 10000, (CUstream, CUhostFn, void *)) \
    F(cuStreamBeginCapture, 10010, (CUstream, CUstreamCaptureMode)) F(cuStreamEndCapture, 10000, (CUstream, CUgraph *)) \
    F(cuGraphInstantiateWithFlags, 11040, (CUgraphExec *, CUgraph, unsigned long long)) F(cuGraphLaunch, 10000, (CUgraphExec, CUstream)) \
    F(cuGraphDestroy, 10000, (CUgraph)) F(cuGraphExecDestroy, 10000, (CUgraphExec))

#define MEMBER(name, version, params) CUresult (*name) params;
static struct { WANTED(MEMBER) } driver;

enum { DEVICES = 16, IMAGES = 16, KERNELS = 256 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool opened, per_thread;
static CUcontext contexts[DEVICES];
static const void *images[IMAGES];
static CUmodule modules[IMAGES][DEVICES];
static unsigned image_count, kernel_count;
static struct { const void *host; const char *name; unsigned image; CUfunction func[DEVICES]; } kernels[KERNELS];
static __thread int device;
static __thread cudaError_t last;
static __thread CUcontext current;

static cudaError_t keep(CUresult r)
{
    if (r != CUDA_SUCCESS && r != CUDA_ERROR_NOT_READY)
        last = (cudaError_t)r;
    return (cudaError_t)r;
}

API void cudart_mini_per_thread(int on)
{
    per_thread = on != 0;
}

static CUresult find_all(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CUresult (*find)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *) = NULL;
    if (library)
        *(void **)&find = dlsym(library, "cuGetProcAddress_v2");
    if (!find)
        return CUDA_ERROR_STUB_LIBRARY;
    cuuint64_t flags = per_thread ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : CU_GET_PROC_ADDRESS_LEGACY_STREAM;
    CUdriverProcAddressQueryResult status;
#define FIND(name, version, params) \
    if (find(#name, (void **)&driver.name, version, flags, &status) != CUDA_SUCCESS) driver.name = NULL;
    WANTED(FIND)
    return driver.cuInit ? driver.cuInit(0) : CUDA_ERROR_NOT_FOUND;
}

/* The driver is open and the thread's device has its primary context current. */
static CUresult ready(void)
{
    if (opened && current)
        return CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    CUresult r = opened ? CUDA_SUCCESS : find_all();
    opened = r == CUDA_SUCCESS;
    if (!r && !contexts[device])
        r = driver.cuDevicePrimaryCtxRetain(&contexts[device], device);
    if (!r)
        r = driver.cuCtxSetCurrent(contexts[device]);
    if (!r)
        current = contexts[device];
    pthread_mutex_unlock(&lock);
    return r;
}

/* A runtime function that is one driver function. */
#define CALL(name, ...) do { CUresult r_ = ready(); return keep(r_ ? r_ : !driver.name ? CUDA_ERROR_NOT_SUPPORTED : driver.name(__VA_ARGS__)); } while (0)
#define AT(pointer) ((CUdeviceptr)(uintptr_t)(pointer))

API cudaError_t cudaGetLastError(void) { cudaError_t r = last; last = 0; return r; }
API const char *cudaGetErrorName(cudaError_t code)
{
    const char *text = NULL;
    if (!ready())
        driver.cuGetErrorName((CUresult)code, &text);
    return text ? text : "?";
}
API cudaError_t cudaGetDeviceCount(int *n) { CALL(cuDeviceGetCount, n); }
API cudaError_t cudaGetDevice(int *ret) { *ret = device; return 0; }
API cudaError_t cudaSetDevice(int to)
{
    if (to < 0 || to >= DEVICES)
        return keep(CUDA_ERROR_INVALID_DEVICE);
    int before = device;
    device = to;
    current = NULL;
    CUresult r = ready();
    if (r)
        device = before;
    return keep(r);
}
API cudaError_t cudaDeviceSynchronize(void) { CALL(cuCtxSynchronize); }
API cudaError_t cudaDeviceReset(void)
{
    CUresult r = ready();
    r = r ? r : driver.cuDevicePrimaryCtxReset(device);
    pthread_mutex_lock(&lock);
    contexts[device] = current = NULL;
    for (unsigned i = 0; i < image_count; i++)
        modules[i][device] = NULL;
    for (unsigned i = 0; i < kernel_count; i++)
        kernels[i].func[device] = NULL;
    pthread_mutex_unlock(&lock);
    return keep(r);
}

API cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) { CALL(cuMemGetInfo, free_bytes, total); }
API cudaError_t cudaMalloc(void **ret, size_t bytes) { CALL(cuMemAlloc, (CUdeviceptr *)ret, bytes); }
API cudaError_t cudaFree(void *pointer) { CALL(cuMemFree, AT(pointer)); }
API cudaError_t cudaMallocPitch(void **ret, size_t *pitch, size_t width, size_t height) { CALL(cuMemAllocPitch, (CUdeviceptr *)ret, pitch, width, height, 4); }
API cudaError_t cudaMallocManaged(void **ret, size_t bytes, unsigned flags) { CALL(cuMemAllocManaged, (CUdeviceptr *)ret, bytes, flags); }
API cudaError_t cudaMallocHost(void **ret, size_t bytes) { CALL(cuMemHostAlloc, ret, bytes, 0); }
API cudaError_t cudaFreeHost(void *pointer) { CALL(cuMemFreeHost, pointer); }
API cudaError_t cudaMallocAsync(void **ret, size_t bytes, cudaStream_t stream) { CALL(cuMemAllocAsync, (CUdeviceptr *)ret, bytes, stream); }
API cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream) { CALL(cuMemFreeAsync, AT(pointer), stream); }

API cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, int kind)
{
    switch (kind) {
    case cudaMemcpyHostToHost: memcpy(to, from, bytes); return 0;
    case cudaMemcpyHostToDevice: CALL(cuMemcpyHtoD, AT(to), from, bytes);
    case cudaMemcpyDeviceToHost: CALL(cuMemcpyDtoH, to, AT(from), bytes);
    case cudaMemcpyDeviceToDevice: CALL(cuMemcpyDtoD, AT(to), AT(from), bytes);
    default: CALL(cuMemcpy, AT(to), AT(from), bytes);
    }
}

API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, cudaStream_t stream)
{
    switch (kind) {
    case cudaMemcpyHostToDevice: CALL(cuMemcpyHtoDAsync, AT(to), from, bytes, stream);
    case cudaMemcpyDeviceToHost: CALL(cuMemcpyDtoHAsync, to, AT(from), bytes, stream);
    case cudaMemcpyDeviceToDevice: CALL(cuMemcpyDtoDAsync, AT(to), AT(from), bytes, stream);
    default: CALL(cuMemcpyAsync, AT(to), AT(from), bytes, stream);
    }
}
API cudaError_t cudaMemset(void *to, int value, size_t bytes) { CALL(cuMemsetD8, AT(to), (unsigned char)value, bytes); }

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, unsigned flags) { CALL(cuStreamCreate, ret, flags); }
API cudaError_t cudaStreamDestroy(cudaStream_t stream) { CALL(cuStreamDestroy, stream); }
API cudaError_t cudaStreamSynchronize(cudaStream_t stream) { CALL(cuStreamSynchronize, stream); }
API cudaError_t cudaStreamQuery(cudaStream_t stream) { CALL(cuStreamQuery, stream); }
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) { CALL(cuStreamWaitEvent, stream, event, flags); }
API cudaError_t cudaEventCreate(cudaEvent_t *ret) { CALL(cuEventCreate, ret, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t event) { CALL(cuEventDestroy, event); }
API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { CALL(cuEventRecord, event, stream); }
API cudaError_t cudaEventSynchronize(cudaEvent_t event) { CALL(cuEventSynchronize, event); }
API cudaError_t cudaEventQuery(cudaEvent_t event) { CALL(cuEventQuery, event); }
API cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) { CALL(cuEventElapsedTime, ms, from, to); }

API void **__cudaRegisterFatBinary(const void *image)
{
    if (image_count == IMAGES)
        return NULL;
    images[image_count++] = image;
    return (void **)(uintptr_t)image_count;
}

API void __cudaRegisterFunction(void **handle, const void *host_function, const char *name)
{
    if (handle && kernel_count < KERNELS) {
        kernels[kernel_count].host = host_function;
        kernels[kernel_count].name = name;
        kernels[kernel_count++].image = (unsigned)(uintptr_t)handle - 1;
    }
}

/* Modules are loaded by the first launch that needs them. */
static CUresult function(const void *host, CUfunction *ret)
{
    CUresult r = ready();
    unsigned i = 0;
    while (i < kernel_count && kernels[i].host != host)
        i++;
    if (r || i == kernel_count)
        return r ? r : (CUresult)98; /* cudaErrorInvalidDeviceFunction */
    pthread_mutex_lock(&lock);
    CUmodule *module = &modules[kernels[i].image][device];
    if (!*module)
        r = driver.cuModuleLoadData(module, images[kernels[i].image]);
    if (!r && !kernels[i].func[device])
        r = driver.cuModuleGetFunction(&kernels[i].func[device], *module, kernels[i].name);
    *ret = kernels[i].func[device];
    pthread_mutex_unlock(&lock);
    return r;
}

API cudaError_t cudaLaunchKernel(const void *host, cuda_dim3 grid, cuda_dim3 block, void **params, size_t shared, cudaStream_t stream)
{
    CUfunction func;
    CUresult r = function(host, &func);
    return keep(r ? r : driver.cuLaunchKernel(func, grid.x, grid.y, grid.z, block.x, block.y, block.z, (unsigned)shared, stream, params, NULL));
}

API cudaError_t cudaLaunchCooperativeKernel(const void *host, cuda_dim3 grid, cuda_dim3 block, void **params, size_t shared, cudaStream_t stream)
{
    CUfunction func;
    CUresult r = function(host, &func);
    return keep(r ? r : driver.cuLaunchCooperativeKernel(func, grid.x, grid.y, grid.z, block.x, block.y, block.z, (unsigned)shared, stream, params));
}

API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*call)(void *), void *arg) { CALL(cuLaunchHostFunc, stream, call, arg); }
API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int mode) { CALL(cuStreamBeginCapture, stream, (CUstreamCaptureMode)mode); }
API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *ret) { CALL(cuStreamEndCapture, stream, ret); }
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ret, cudaGraph_t graph, unsigned long long flags) { CALL(cuGraphInstantiateWithFlags, ret, graph, flags); }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) { CALL(cuGraphLaunch, exec, stream); }
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) { CALL(cuGraphDestroy, graph); }
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { CALL(cuGraphExecDestroy, exec); }
