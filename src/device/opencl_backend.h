/* opencl_backend.h - what only tests and the backend itself see of the opencl backend. */
#pragma once
#include "device/opencl.h"
#include "fgpu/device.h"

/* What a list of devices becomes: which are offered and at which level. mode: "none", "gpu", "all". can_look: the agent sees into
 * the tasks' processes. *ret_why: what keeps the device from being offered, "" when it is. */
bool fg_opencl_offer(const struct fg_opencl_device *found, const char *mode, bool layer, bool can_look, uint64_t host_bytes,
                     struct fg_device *ret, char ret_why[200]);
/* The part of the host's memory that a task on the device may have: its part of the device, one GiB at least; on a device that is
 * the processor its quota on top. */
uint64_t fg_opencl_host_bytes(const struct fg_opencl_device *device, const struct fg_vgpu_limits *limits, uint64_t host_bytes);
/* Why an open backend has not all devices, "" when it has; *ret_hint what to do about it. Borrowed. */
const char *fg_opencl_why(const void *state, const char **ret_hint);
