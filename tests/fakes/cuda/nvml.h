/* nvml.h - the inside of the stand-in NVML: handles are places in one table. */
#pragma once
#include <stdio.h>
#include <string.h>

#include "fgpu/nvml_abi.h"
#include "world.h"

#define NVML_API(name, params) __attribute__((visibility("default"))) nvmlReturn_t name params; __attribute__((visibility("default"))) nvmlReturn_t name params

struct nvmlDevice_st { unsigned device; int mig; }; /* mig: instance, or -1 for the whole device */

extern int fkn_ready; /* nvmlInit calls not yet undone */
struct fk_device *fkn_device(nvmlDevice_t handle); /* NULL: no handle */
nvmlDevice_t fkn_handle(unsigned device, int mig);
/* Brings the device's engines up to now; its lock is held until fk_unlock(). */
void fkn_look(unsigned device);
/* How busy it was in the last window: percent. Under the lock. */
uint32_t fkn_utilization(unsigned device);

#define FKN_READY() do { if (!fkn_ready) return NVML_ERROR_UNINITIALIZED; } while (0)
#define FKN_DEVICE(handle, out) \
    FKN_READY(); \
    struct fk_device *device = fkn_device(handle); \
    if (!device || !(out)) return NVML_ERROR_INVALID_ARGUMENT
