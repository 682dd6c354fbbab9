/* shim.h - the HIP front end of a vGPU: libamdhip64.so.5, .6 and .7 in the real one's place, inside the task's process.
 *
 *     program -> libamdhip64.so.N (this)  --memory---> ledger          linear.c, array.c and CUDA's memory.c, pool.c, vmm.c
 *                                         --submits--> gate, in batches launch.c and CUDA's submit.c, lane.c, graph.c, capture.c
 *                                         --queries--> the lease        device.c
 *          all else resolves to the real libamdhip64.so.N, which is this one's dependency (decision 0021)
 *
 * HIP's streams, events, pools, graphs and physical memory behave as CUDA's do, so the files of src/shim/cuda that count
 * them are compiled once more, with HIP's table in CUDA's place (tools/gen_hip.py): what they call cuEventQuery is
 * hipEventQuery here. Not so alike, and by hand here: HIP starts with any call, so the lease is attached when the library is
 * loaded; it has devices where CUDA has contexts (driver.c makes one of the other); it remembers errors. */
#pragma once
#include "shim/cuda/shim.h"

extern const char fghip_soname[];

/* ---- driver.c ---- */
/* The real library's export, whatever stands in fgcu.next. */
void *fghip_export(unsigned function);
/* The calling thread was answered `result` by a wrapped function. What the real library has not said, hipGetLastError will. */
FGCU_SLOW CUresult fghip_refused(CUresult result);
static inline CUresult fghip_said(CUresult result)
{
    return __builtin_expect(result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY, 1) ? result : fghip_refused(result);
}

/* Where code lies: ours, the real library's. */
struct fghip_range { uintptr_t start, size; };
extern struct fghip_range fghip_own, fghip_real __attribute__((visibility("hidden")));
/* Was a function of ours called by the library itself (some of its functions call others by their exported names, which are
 * ours now), or from us by way of it? Then the call from outside has been counted, and this one is passed on. */
static inline int fghip_nested(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    return __builtin_expect(at - fghip_real.start < fghip_real.size || at - fghip_own.start < fghip_own.size, 0);
}

/* ---- physical.c ---- */
void fghip_make_alike_physical(void);

/* ---- what the generated functions need ---- */
static inline uint64_t fghip_blocks(dim3 blocks) { return (uint64_t)blocks.x * blocks.y * blocks.z; }
static inline uint64_t fghip_config_blocks(const hipLaunchConfig_t *config) { return config ? fghip_blocks(config->gridDim) : 0; }
static inline hipStream_t fghip_config_stream(const hipLaunchConfig_t *config) { return config ? config->stream : NULL; }
static inline uint64_t fghip_extent(hipExtent extent) { return (uint64_t)extent.width * extent.height * extent.depth; }
static inline uint64_t fghip_volume(const hipMemcpy3DParms *copy) { return copy ? fghip_extent(copy->extent) : 0; }
