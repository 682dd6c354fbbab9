/* cpu.h - what only tests and the backend itself see of the cpu backend. */
#pragma once
#include "device/cgroup.h"
#include "fgpu/device.h"

/* CFS bandwidth for a share of all cores; quota -1: none, the whole device. */
void fg_cpu_bandwidth(unsigned cores, uint32_t share_permille, int64_t *ret_quota_us, int64_t *ret_period_us);
/* fg_cpu_backend.open over given texts instead of the kernel's, so that v2 is tested where there is none. */
int fg_cpu_open_at(const struct fg_backend_options *options, const struct fg_cgroup_source *source, void **ret, struct fg_error *err);
/* quota = period x thousandths of a core, at most all of them. */
void fg_cpu_bandwidth_milli(unsigned cores, uint64_t milli, int64_t *ret_quota_us, int64_t *ret_period_us);
/* For backends of other devices: the cgroup of a task's processes on the host, as cpu create makes it, but with a weight in the place of
 * a quota of the processor, unless limits ask for cores: then those are quota and weight. Entry, kill, destroy and names of the cpu backend (device "cpu0") go with it. */
int fg_cpu_host_part(void *state, const char *name, uint64_t memory_bytes, const struct fg_vgpu_limits *limits, struct fg_error *err);
/* The v2 cgroup of a task's processes as the kernel names it (/proc/PID/cgroup), the caller's to free; NULL: there is no v2
 * hierarchy. name "": of all. */
char *fg_cpu_v2_group(void *state, const char *name);
/* The folder of the same; *ret_mount, the caller's too: where the hierarchy is mounted. */
char *fg_cpu_v2_folder(void *state, const char *name, char **ret_mount);
