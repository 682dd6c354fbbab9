/* hip_abi.h - what of HIP's binary interface we speak, ROCm 5 to 7, so that building needs no HIP. Most of it is laid out as
 * CUDA's driver interface is, by design: cuda_abi.h serves for that (result codes, descriptors of arrays and pools, capture,
 * graphs). Here is what differs; physical.c has one structure more. tests/unit/shim/hip/abi.c compares both with the real headers. */
#pragma once
#include "shim/cuda/cuda_abi.h"

/* hipStreamPerThread is CU_STREAM_PER_THREAD; hipStreamLegacy came with ROCm 6, so 0 is passed on as 0 (driver.c). */
typedef CUstream hipStream_t;
typedef CUevent hipEvent_t;
typedef CUfunction hipFunction_t;

typedef struct { uint32_t x, y, z; } dim3;
typedef struct { size_t width, height, depth; } hipExtent;
typedef struct { void *ptr; size_t pitch, xsize, ysize; } hipPitchedPtr;
typedef struct { size_t x, y, z; } hipPos;
typedef struct { int x, y, z, w, f; } hipChannelFormatDesc;
typedef struct {
    void *srcArray;
    hipPos srcPos;
    hipPitchedPtr srcPtr;
    void *dstArray;
    hipPos dstPos;
    hipPitchedPtr dstPtr;
    hipExtent extent;
    int kind;
} hipMemcpy3DParms;
typedef struct {
    void *func;
    dim3 gridDim, blockDim;
    void **args;
    size_t sharedMem;
    hipStream_t stream;
} hipLaunchParams;
typedef struct { /* ROCm 7 */
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    hipStream_t stream;
    void *attrs;
    unsigned int numAttrs;
} hipLaunchConfig_t;

enum { HIP_ARRAY_LAYERED = 1, HIP_ARRAY_CUBEMAP = 4 };

/* Where totalGlobalMem is in hipDeviceProp_t: behind the name; since ROCm 6 behind name, UUID and LUID. */
#define HIP_PROPERTIES_TOTAL_R0000 256
#define HIP_PROPERTIES_TOTAL_R0600 288
