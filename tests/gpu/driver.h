/* driver.h - the driver's functions for programs that run on a real driver, on the stand-in and through the shim alike: found
 * by name at run time, so that nothing of CUDA is needed to build them. `cu` is the table; a function that the driver lacks
 * is NULL. One translation unit defines CU_TABLE before including this. */
#pragma once
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "shim/cuda/cuda_abi.h"

#define CU_DIMS unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz
#define CU_FUNCTIONS(F) \
    F(cuInit, (unsigned flags)) F(cuDriverGetVersion, (int *version)) F(cuGetErrorName, (CUresult code, const char **text)) \
    F(cuGetProcAddress, (const char *name, void **ret, int version, cuuint64_t flags)) \
    F(cuGetProcAddress_v2, (const char *name, void **ret, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *status)) \
    F(cuGetExportTable, (const void **table, const CUuuid *id)) \
    F(cuDeviceGetCount, (int *n)) F(cuDeviceGet, (CUdevice *ret, int ordinal)) F(cuDeviceGetName, (char *name, int n, CUdevice dev)) \
    F(cuDeviceGetUuid_v2, (CUuuid *ret, CUdevice dev)) F(cuDeviceGetUuid, (CUuuid *ret, CUdevice dev)) F(cuDeviceTotalMem_v2, (size_t *ret, CUdevice dev)) \
    F(cuDeviceGetAttribute, (int *ret, int attribute, CUdevice dev)) F(cuDeviceGetPCIBusId, (char *ret, int n, CUdevice dev)) \
    F(cuDevicePrimaryCtxRetain, (CUcontext *ret, CUdevice dev)) F(cuDevicePrimaryCtxRelease_v2, (CUdevice dev)) F(cuDevicePrimaryCtxReset_v2, (CUdevice dev)) \
    F(cuCtxCreate_v2, (CUcontext *ret, unsigned flags, CUdevice dev)) F(cuCtxDestroy_v2, (CUcontext ctx)) F(cuCtxSetCurrent, (CUcontext ctx)) \
    F(cuCtxGetCurrent, (CUcontext *ret)) F(cuCtxSynchronize, (void)) F(cuCtxSetLimit, (CUlimit limit, size_t value)) F(cuCtxGetLimit, (size_t *ret, CUlimit limit)) \
    F(cuMemGetInfo_v2, (size_t *free_bytes, size_t *total)) F(cuMemAlloc_v2, (CUdeviceptr *ret, size_t bytes)) F(cuMemFree_v2, (CUdeviceptr pointer)) \
    F(cuMemAllocPitch_v2, (CUdeviceptr *ret, size_t *pitch, size_t width, size_t height, unsigned element)) \
    F(cuMemAllocManaged, (CUdeviceptr *ret, size_t bytes, unsigned flags)) F(cuMemHostAlloc, (void **ret, size_t bytes, unsigned flags)) \
    F(cuMemFreeHost, (void *pointer)) F(cuMemHostRegister_v2, (void *pointer, size_t bytes, unsigned flags)) F(cuMemHostUnregister, (void *pointer)) \
    F(cuMemGetAddressRange_v2, (CUdeviceptr *base, size_t *bytes, CUdeviceptr pointer)) F(cuPointerGetAttribute, (void *ret, int which, CUdeviceptr pointer)) \
    F(cuMemAllocAsync, (CUdeviceptr *ret, size_t bytes, CUstream stream)) F(cuMemFreeAsync, (CUdeviceptr pointer, CUstream stream)) \
    F(cuMemAllocFromPoolAsync, (CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream stream)) \
    F(cuMemPoolCreate, (CUmemoryPool *ret, const CUmemPoolProps *props)) F(cuMemPoolDestroy, (CUmemoryPool pool)) F(cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep)) \
    F(cuMemPoolSetAttribute, (CUmemoryPool pool, int which, void *value)) F(cuMemPoolGetAttribute, (CUmemoryPool pool, int which, void *value)) \
    F(cuDeviceGetDefaultMemPool, (CUmemoryPool *ret, CUdevice dev)) F(cuDeviceSetMemPool, (CUdevice dev, CUmemoryPool pool)) \
    F(cuMemGetAllocationGranularity, (size_t *ret, const CUmemAllocationProp *prop, int option)) \
    F(cuMemCreate, (CUmemGenericAllocationHandle *ret, size_t bytes, const CUmemAllocationProp *prop, unsigned long long flags)) \
    F(cuMemRelease, (CUmemGenericAllocationHandle handle)) \
    F(cuMemAddressReserve, (CUdeviceptr *ret, size_t bytes, size_t align, CUdeviceptr wanted, unsigned long long flags)) F(cuMemAddressFree, (CUdeviceptr pointer, size_t bytes)) \
    F(cuMemMap, (CUdeviceptr pointer, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags)) F(cuMemUnmap, (CUdeviceptr pointer, size_t bytes)) \
    F(cuMemSetAccess, (CUdeviceptr pointer, size_t bytes, const CUmemAccessDesc *desc, size_t n)) \
    F(cuMemExportToShareableHandle, (void *ret, CUmemGenericAllocationHandle handle, int type, unsigned long long flags)) \
    F(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle *ret, void *handle, int type)) \
    F(cuMulticastCreate, (CUmemGenericAllocationHandle *ret, const CUmulticastObjectProp *prop)) \
    F(cuIpcGetMemHandle, (CUipcMemHandle *ret, CUdeviceptr pointer)) F(cuIpcOpenMemHandle_v2, (CUdeviceptr *ret, CUipcMemHandle handle, unsigned flags)) F(cuIpcCloseMemHandle, (CUdeviceptr pointer)) \
    F(cuArrayCreate_v2, (CUarray *ret, const CUDA_ARRAY_DESCRIPTOR *desc)) F(cuArray3DCreate_v2, (CUarray *ret, const CUDA_ARRAY3D_DESCRIPTOR *desc)) F(cuArrayDestroy, (CUarray array)) \
    F(cuArrayGetMemoryRequirements, (CUDA_ARRAY_MEMORY_REQUIREMENTS *ret, CUarray array, CUdevice dev)) \
    F(cuMipmappedArrayCreate, (CUmipmappedArray *ret, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)) F(cuMipmappedArrayDestroy, (CUmipmappedArray mipmap)) \
    F(cuModuleLoadData, (CUmodule *ret, const void *image)) F(cuModuleUnload, (CUmodule module)) F(cuModuleGetFunction, (CUfunction *ret, CUmodule module, const char *name)) \
    F(cuModuleGetGlobal_v2, (CUdeviceptr *ret, size_t *bytes, CUmodule module, const char *name)) \
    F(cuLaunchKernel, (CUfunction f, CU_DIMS, unsigned shared, CUstream stream, void **params, void **extra)) \
    F(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **params, void **extra)) \
    F(cuLaunchCooperativeKernel, (CUfunction f, CU_DIMS, unsigned shared, CUstream stream, void **params)) F(cuLaunchHostFunc, (CUstream stream, CUhostFn call, void *arg)) \
    F(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t n)) F(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t n)) \
    F(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t n, CUstream stream)) F(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t n, CUstream stream)) \
    F(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t n)) F(cuMemsetD8_v2, (CUdeviceptr to, unsigned char value, size_t n)) F(cuMemsetD32Async, (CUdeviceptr to, unsigned value, size_t n, CUstream stream)) \
    F(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *copy)) \
    F(cuStreamCreate, (CUstream *ret, unsigned flags)) F(cuStreamDestroy_v2, (CUstream stream)) F(cuStreamSynchronize, (CUstream stream)) F(cuStreamQuery, (CUstream stream)) \
    F(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags)) F(cuStreamWaitValue32_v2, (CUstream stream, CUdeviceptr at, cuuint32_t value, unsigned flags)) \
    F(cuStreamWriteValue32_v2, (CUstream stream, CUdeviceptr at, cuuint32_t value, unsigned flags)) \
    F(cuStreamBeginCapture_v2, (CUstream stream, int mode)) F(cuStreamEndCapture, (CUstream stream, CUgraph *ret)) F(cuStreamIsCapturing, (CUstream stream, CUstreamCaptureStatus *ret)) \
    F(cuEventCreate, (CUevent *ret, unsigned flags)) F(cuEventDestroy_v2, (CUevent event)) F(cuEventRecord, (CUevent event, CUstream stream)) F(cuEventQuery, (CUevent event)) \
    F(cuEventSynchronize, (CUevent event)) F(cuEventElapsedTime, (float *ms, CUevent from, CUevent to)) \
    F(cuGraphCreate, (CUgraph *ret, unsigned flags)) F(cuGraphDestroy, (CUgraph graph)) F(cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *n)) \
    F(cuGraphAddKernelNode_v2, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t n, const CUDA_KERNEL_NODE_PARAMS *params)) \
    F(cuGraphAddMemAllocNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t n, CUDA_MEM_ALLOC_NODE_PARAMS *params)) \
    F(cuGraphAddMemFreeNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t n, CUdeviceptr pointer)) \
    F(cuGraphAddHostNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t n, const CUDA_HOST_NODE_PARAMS *params)) \
    F(cuGraphInstantiateWithFlags, (CUgraphExec *ret, CUgraph graph, unsigned long long flags)) F(cuGraphLaunch, (CUgraphExec exec, CUstream stream)) \
    F(cuGraphUpload, (CUgraphExec exec, CUstream stream)) F(cuGraphExecDestroy, (CUgraphExec exec)) \
    F(cuGraphExecUpdate_v2, (CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)) \
    F(cuDeviceGraphMemTrim, (CUdevice dev)) F(cuDeviceGetGraphMemAttribute, (CUdevice dev, int which, void *value)) \
    F(cuCheckpointProcessLock, (int pid, CUcheckpointLockArgs *args)) F(cuCheckpointProcessCheckpoint, (int pid, CUcheckpointCheckpointArgs *args)) \
    F(cuCheckpointProcessRestore, (int pid, CUcheckpointRestoreArgs *args)) F(cuCheckpointProcessUnlock, (int pid, CUcheckpointUnlockArgs *args)) \
    F(cuCheckpointProcessGetState, (int pid, CUprocessState *ret))

#define CU_MEMBER(name, params) CUresult (*name) params;
struct cu_functions { void *library; CU_FUNCTIONS(CU_MEMBER) };
extern struct cu_functions cu;

#ifdef CU_TABLE
struct cu_functions cu;

/* Load a driver: a path, or NULL for what the program would find. 0, or -1 with a line on stderr. */
static int cu_load(const char *path)
{
    cu.library = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!cu.library) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
#define CU_FIND(name, params) *(void **)&cu.name = dlsym(cu.library, #name);
    CU_FUNCTIONS(CU_FIND)
    return 0;
}
#endif

static inline const char *cu_name(CUresult code)
{
    const char *text = NULL;
    if (cu.cuGetErrorName)
        cu.cuGetErrorName(code, &text);
    return text ? text : "?";
}
