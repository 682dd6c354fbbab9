/* dmem.h - device memory limited by the kernel: the cgroup v2 controller dmem (Linux 6.14 and later; amdgpu, xe). Files and
 * formats: the kernel's Documentation/admin-guide/cgroup-v2.rst, "DMEM". Regions are named "drm/0000:03:00.0/vram0". */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/* mount: of the v2 hierarchy; group: the folder below which vGPUs have theirs; pci: "0000:03:00.0" of the device. Hands the
 * controller down to group. False: why says what is missing. region: 96 bytes. */
bool fg_dmem_open(const char *mount, const char *group, const char *pci, char *region, char why[160]);
/* The limit of one vGPU's folder. */
int fg_dmem_set(const char *folder, const char *region, uint64_t bytes, struct fg_error *err);
