/* fake_cuda.h - what tests ask of the stand-in driver, beside the driver's own functions. Exported by its libcuda.so.1; with
 * a shim in front they are found through dlsym as any name that the shim does not have. Devices are counted in order of
 * their PCI bus ids here (fake_device_of gives the one behind a CUDA ordinal). The truth is the machine's, not the shim's. */
#pragma once
#include <stdint.h>

#define FAKE_API __attribute__((visibility("default")))

/* What takes memory: the first ten are device memory (world.h). */
enum fake_kind {
    FAKE_LINEAR, FAKE_MANAGED, FAKE_VMM, FAKE_POOL, FAKE_ARRAY, FAKE_GRAPH, FAKE_CONTEXT, FAKE_MODULE, FAKE_LIMIT, FAKE_MULTICAST,
    FAKE_HOST, FAKE_BORROWED,
    FAKE_ALL = -1, /* all device memory */
};

/* Bytes and things that a process holds now (pid 0: all living processes together). */
FAKE_API uint64_t fake_live(uint32_t pid, unsigned device, int kind);
FAKE_API uint64_t fake_count(uint32_t pid, unsigned device, int kind);
FAKE_API uint64_t fake_peak(uint32_t pid, unsigned device);
FAKE_API uint64_t fake_free(unsigned device);
/* Calls of a driver function by its exported name (pid 0: this process). */
FAKE_API uint64_t fake_calls(uint32_t pid, const char *name);
/* Of this process's next calls of the function, the nth (from 1) and times-1 after it return code. 0, or -1: no such name, no room. */
FAKE_API int fake_fail(const char *name, unsigned nth, unsigned times, int code);
/* Time by the world's clock; with virtual=1 it stands still but for fake_pass and for waits. */
FAKE_API uint64_t fake_now(void);
FAKE_API void fake_pass(uint64_t ns);
/* Device time a process used: a kernel on all slots for 1 ms is 1 ms. Copies are not in it. */
FAKE_API uint64_t fake_busy_ns(uint32_t pid, unsigned device);
FAKE_API uint64_t fake_jobs_done(uint32_t pid, unsigned device);
/* Kernels of this name take so long; without this spin_us and spin_ns say it in their first parameter. */
FAKE_API int fake_kernel(const char *name, uint64_t ns);
/* A setting of settings.c, now: "0.temperature=95". Not of what exists already (memory granules, counts). 0 or -1. */
FAKE_API int fake_set(const char *setting);
FAKE_API int fake_device_of(int ordinal);
/* An Xid event on a device, for NVML's event sets. */
FAKE_API void fake_xid(unsigned device, uint32_t xid);
/* Whether the stand-in models the function (1) or only exports it and answers NOT_SUPPORTED (0); -1 no such export. */
FAKE_API int fake_modelled(const char *name);
