/* slice_devices.h - the devices that slices are made of: NVIDIA's GPUs by their management library, named by UUID, then the
 * OpenCL devices. A GPU that both know is NVIDIA's alone, since two names would give its memory out twice: its slices keep OpenCL
 * programs within the same lease. One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "device/nvml.h"
#include "device/opencl.h"

struct slice_device {
    char name[64];                       /* "GPU-...", "MIG-..." or "opencl0": of the lease, too */
    char kind[64];
    enum fg_opencl_type type;
    uint64_t memory_bytes;
    char key[128];                       /* the same for all users and for agents of this machine (vgpu/claims.h) */
};
struct slice_devices { size_t count; struct slice_device items[FG_OPENCL_MAX + FG_NVML_GPUS]; };

/* FG_E_UNSUPPORTED: there is none; the hint says what to install. */
int slice_devices_list(struct slice_devices *ret, struct fg_error *err);
/* Which one a user means: its number in this list, its name, the beginning of its UUID, or a part of its kind that only one has. NULL
 * with *err: FG_E_NOT_FOUND, or FG_E_INVALID when several have it; the hint lists what there is. */
const struct slice_device *slice_device_find(const struct slice_devices *list, const char *word, struct fg_error *err);
/* Kept by CUDA's front end. */
bool slice_device_is_nvidia(const char *name);
