/* nvml_use.c - the stand-in NVML: memory, processes, utilisation, limits per cgroup. All from the world that the driver
 * writes, so that what one process takes every other sees. */
#include "nvml.h"

/* --- memory --- */

static nvmlReturn_t memory(nvmlDevice_t handle, nvmlMemory_v2_t *ret)
{
    FKN_DEVICE(handle, ret);
    fkn_look(handle->device);
    fk_reap();
    uint64_t used = fk_device_used(handle->device) - device->hidden_bytes, total = device->total_bytes;
    fk_unlock();
    if (handle->mig >= 0) { /* nothing runs in instances here */
        total = device->mig[handle->mig].memory_bytes;
        used = 0;
    }
    ret->total = total;
    ret->reserved = handle->mig < 0 ? device->hidden_bytes : 0;
    ret->used = used;
    ret->free = total - used - ret->reserved;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetMemoryInfo, (nvmlDevice_t handle, nvmlMemory_t *ret))
{
    nvmlMemory_v2_t all;
    nvmlReturn_t r = memory(handle, ret ? &all : NULL);
    if (!r)
        *ret = (nvmlMemory_t){all.total, all.free, all.used + all.reserved}; /* v1 counts what is reserved as used */
    return r;
}

NVML_API(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t handle, nvmlMemory_v2_t *ret))
{
    if (ret && ret->version != nvmlMemory_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return memory(handle, ret);
}

NVML_API(nvmlDeviceGetBAR1MemoryInfo, (nvmlDevice_t handle, nvmlBAR1Memory_t *ret))
{
    FKN_DEVICE(handle, ret);
    *ret = (nvmlBAR1Memory_t){device->total_bytes, device->total_bytes, 0};
    return NVML_SUCCESS;
}

/* --- processes --- */

/* Those with a context on the device. */
static unsigned list(unsigned d, nvmlProcessInfo_t ret[FK_PROCESSES])
{
    unsigned n = 0;
    fk_lock();
    fk_reap();
    for (unsigned i = 0; i < fk_world->processes; i++) {
        struct fk_process *p = &fk_world->process[i];
        if (p->pid && p->live[d][FK_CONTEXT] && fk_pid_here(p))
            ret[n++] = (nvmlProcessInfo_t){fk_pid_here(p), fk_process_used(p, d), NVML_NO_INSTANCE, NVML_NO_INSTANCE};
    }
    fk_unlock();
    return n;
}

static nvmlReturn_t processes(nvmlDevice_t handle, unsigned *count, void *infos, bool v1, bool wanted)
{
    FKN_DEVICE(handle, count);
    nvmlProcessInfo_t all[FK_PROCESSES];
    unsigned n = wanted && device && handle->mig < 0 ? list(handle->device, all) : 0, room = *count;
    *count = n;
    if (n > room || (n && !infos))
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        if (v1)
            ((nvmlProcessInfo_v1_t *)infos)[i] = (nvmlProcessInfo_v1_t){all[i].pid, all[i].usedGpuMemory};
        else
            ((nvmlProcessInfo_t *)infos)[i] = all[i];
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetComputeRunningProcesses, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_v1_t *infos)) { return processes(handle, count, infos, true, true); }
NVML_API(nvmlDeviceGetComputeRunningProcesses_v2, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_t *infos)) { return processes(handle, count, infos, false, true); }
NVML_API(nvmlDeviceGetComputeRunningProcesses_v3, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_t *infos)) { return processes(handle, count, infos, false, true); }
NVML_API(nvmlDeviceGetGraphicsRunningProcesses, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_v1_t *infos)) { return processes(handle, count, infos, true, false); }
NVML_API(nvmlDeviceGetGraphicsRunningProcesses_v2, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_t *infos)) { return processes(handle, count, infos, false, false); }
NVML_API(nvmlDeviceGetGraphicsRunningProcesses_v3, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_t *infos)) { return processes(handle, count, infos, false, false); }
NVML_API(nvmlDeviceGetMPSComputeRunningProcesses_v2, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_t *infos)) { return processes(handle, count, infos, false, fk_world && fk_world->mps); }
NVML_API(nvmlDeviceGetMPSComputeRunningProcesses_v3, (nvmlDevice_t handle, unsigned *count, nvmlProcessInfo_t *infos)) { return processes(handle, count, infos, false, fk_world && fk_world->mps); }

NVML_API(nvmlDeviceGetRunningProcessDetailList, (nvmlDevice_t handle, nvmlProcessDetailList_v1_t *ret))
{
    FKN_DEVICE(handle, ret);
    nvmlProcessInfo_t all[FK_PROCESSES];
    unsigned n = device && ret->mode == 0 ? list(handle->device, all) : 0, room = ret->numProcArrayEntries;
    ret->numProcArrayEntries = n;
    if (n > room || (n && !ret->procArray))
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        ret->procArray[i] = (nvmlProcessDetail_v1_t){all[i].pid, all[i].usedGpuMemory, NVML_NO_INSTANCE, NVML_NO_INSTANCE, 0};
    return NVML_SUCCESS;
}

/* --- utilisation: what share of the last window at least one kernel was resident --- */

uint32_t fkn_utilization(unsigned d)
{
    struct fk_device *device = &fk_world->device[d];
    uint64_t now = fk_now(), span = now - device->seen_ns;
    if (!device->seen_ns || span >= fk_world->util_window_ns) {
        if (device->seen_ns)
            device->utilization = (uint32_t)((device->engine.busy_ns - device->seen_busy_ns) * 100 / span);
        device->seen_ns = now;
        device->seen_busy_ns = device->engine.busy_ns;
    }
    return device->utilization;
}

NVML_API(nvmlDeviceGetUtilizationRates, (nvmlDevice_t handle, nvmlUtilization_t *ret))
{
    FKN_DEVICE(handle, ret);
    if (handle->mig >= 0)
        return NVML_ERROR_NOT_SUPPORTED;
    fkn_look(handle->device);
    ret->gpu = fkn_utilization(handle->device);
    ret->memory = ret->gpu / 2;
    fk_unlock();
    return device ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

/* A process's share of the device's slots in its last window. Returns whether there is a sample after since_us. */
static bool sample(unsigned i, unsigned d, uint64_t since_us)
{
    struct fk_process *p = &fk_world->process[i];
    uint64_t now = fk_now(), span = now - p->seen_ns[d], used = fk_world->queue[i][d].slot_ns;
    if (!p->seen_ns[d] || span >= fk_world->util_window_ns) {
        if (p->seen_ns[d]) {
            p->utilization[d] = (uint32_t)((used - p->seen_slot_ns[d]) * 100 / fk_world->slots / span);
            p->sampled_ns[d] = now;
        }
        p->seen_ns[d] = now;
        p->seen_slot_ns[d] = used;
    }
    return p->sampled_ns[d] / 1000 > since_us;
}

NVML_API(nvmlDeviceGetProcessUtilization, (nvmlDevice_t handle, nvmlProcessUtilizationSample_t *ret, unsigned *count, unsigned long long since_us))
{
    FKN_DEVICE(handle, count);
    unsigned d = handle->device, n = 0, room = *count;
    fkn_look(d);
    fk_reap();
    for (unsigned i = 0; i < fk_world->processes; i++) {
        const struct fk_process *p = &fk_world->process[i];
        if (!p->pid || !p->live[d][FK_CONTEXT] || !sample(i, d, since_us))
            continue;
        if (ret && n < room)
            ret[n] = (nvmlProcessUtilizationSample_t){.pid = p->pid, .timeStamp = p->sampled_ns[d] / 1000, .smUtil = p->utilization[d], .memUtil = p->utilization[d] / 2};
        n++;
    }
    fk_unlock();
    *count = n ? n : device ? FK_PROCESSES : 0;
    return !n && ret ? NVML_ERROR_NOT_FOUND : !ret || n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetProcessesUtilizationInfo, (nvmlDevice_t handle, nvmlProcessesUtilizationInfo_v1_t *ret))
{
    FKN_DEVICE(handle, ret);
    nvmlProcessUtilizationSample_t all[FK_PROCESSES];
    unsigned n = FK_PROCESSES, room = ret->processSamplesCount;
    nvmlReturn_t r = nvmlDeviceGetProcessUtilization(handle, all, &n, ret->lastSeenTimeStamp);
    if (r)
        return device ? r : NVML_ERROR_INVALID_ARGUMENT;
    ret->processSamplesCount = n;
    if (n > room || !ret->procUtilArray)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        ret->procUtilArray[i] = (nvmlProcessUtilizationInfo_v1_t){.timeStamp = all[i].timeStamp, .pid = all[i].pid, .smUtil = all[i].smUtil, .memUtil = all[i].memUtil};
    return NVML_SUCCESS;
}

/* --- limits by the kernel, r615 and later --- */

static struct fk_limit *limit_of(unsigned d, const char *cgroup, bool make)
{
    struct fk_limit *free_one = NULL;
    for (unsigned i = 0; i < 32; i++) {
        struct fk_limit *l = &fk_world->limits[i];
        if (l->used && l->device == d && !strcmp(l->cgroup, cgroup))
            return l;
        if (!l->used && !free_one)
            free_one = l;
    }
    if (!make || !free_one)
        return NULL;
    *free_one = (struct fk_limit){.device = d, .used = 1};
    snprintf(free_one->cgroup, sizeof free_one->cgroup, "%s", cgroup);
    return free_one;
}

NVML_API(nvmlDeviceSetMemoryLimits_v1, (nvmlDevice_t handle, nvmlSetMemoryLimits_v1_t *limits))
{
    FKN_DEVICE(handle, limits);
    if (fk_world->nvml < 615)
        return NVML_ERROR_FUNCTION_NOT_FOUND; /* there an older library does not have it at all */
    if (device->mig_mode)
        return NVML_ERROR_NOT_SUPPORTED;
    if (!limits->nameSpace || !*limits->nameSpace || limits->softLimit > limits->hardLimit)
        return NVML_ERROR_INVALID_ARGUMENT;
    fk_lock();
    struct fk_limit *l = limit_of(handle->device, limits->nameSpace, true);
    if (l) {
        l->soft_bytes = limits->softLimit;
        l->hard_bytes = limits->hardLimit == NVML_DEVICE_MEMORY_LIMIT_MAX ? 0 : limits->hardLimit;
    }
    fk_unlock();
    return l ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

NVML_API(nvmlDeviceGetMemoryLimits_v1, (nvmlDevice_t handle, nvmlGetMemoryLimits_v1_t *limits))
{
    FKN_DEVICE(handle, limits);
    if (fk_world->nvml < 615)
        return NVML_ERROR_FUNCTION_NOT_FOUND;
    if (!limits->nameSpace || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    fk_lock();
    fk_reap();
    const struct fk_limit *l = limit_of(handle->device, limits->nameSpace, false);
    limits->softLimit = l ? l->soft_bytes : 0;
    limits->hardLimit = l && l->hard_bytes ? l->hard_bytes : NVML_DEVICE_MEMORY_LIMIT_MAX;
    limits->currentUsed = fk_cgroup_used(handle->device, limits->nameSpace);
    fk_unlock();
    return NVML_SUCCESS;
}
