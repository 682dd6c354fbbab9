/* view.c - memory and processes of the vGPU, from the lease page. */
#include <time.h>

#include "shim.h"

/* Of a device that is not ours only its existence may be known. */
#define GUARD(device, whole) \
    do { \
        enum fgml_scope scope = fgml_scope(device); \
        if (scope == FGML_WHOLE) \
            return (whole); \
        if (scope == FGML_FOREIGN) \
            return NVML_ERROR_NO_PERMISSION; \
    } while (0)

/* total = used + free always holds, also where a quota was lowered below what is used. */
static void look(unsigned long long *total, unsigned long long *free, unsigned long long *used)
{
    struct fg_memory_view view;
    fg_ledger_view(&fgml()->lease, &view);
    *total = view.quota_bytes;
    *used = view.used_bytes < view.quota_bytes ? view.used_bytes : view.quota_bytes;
    *free = *total - *used;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    GUARD(device, FGML_PASS(nvmlDeviceGetMemoryInfo, memory, device, memory));
    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    look(&memory->total, &memory->free, &memory->used);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    GUARD(device, FGML_PASS(nvmlDeviceGetMemoryInfo_v2, memory_v2, device, memory));
    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != nvmlMemory_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    look(&memory->total, &memory->free, &memory->used);
    memory->reserved = 0;
    return NVML_SUCCESS;
}

/* --- processes --- */

unsigned fgml_processes(struct fgml_process *out)
{
    const struct fg_lease *lease = &fgml()->lease;
    uint32_t high = fg_get(&lease->counters->slots_high);
    unsigned n = 0;
    for (uint32_t i = 0; i < high && i < FG_SLOTS; i++) {
        struct fg_slot *slot = &lease->counters->slots[i];
        uint64_t owner = fg_get(&slot->owner), used = fg_ledger_slot_used(lease->counters, i);
        if (fg_owner_state(owner) != FG_SLOT_LIVE || fg_get(&slot->pid_ns) != lease->slot->pid_ns ||
            (!used && !fg_get(&slot->settled)))
            continue; /* not one that this process could name, or one that only looks */
        uint32_t pid = (uint32_t)fg_owner_pid(owner);
        unsigned at = 0;
        while (at < n && out[at].pid != pid)
            at++;
        if (at == n)
            out[n++] = (struct fgml_process){.pid = pid};
        out[at].used_bytes += used; /* one process may be there once per front end */
        out[at].device_ns += fg_get(&slot->device_ns);
    }
    return n;
}

/* The rule of all lists: *count is the room, then the number there is. */
static nvmlReturn_t fits(unsigned *count, const void *infos, unsigned have)
{
    unsigned room = *count;
    *count = have;
    return have > room ? NVML_ERROR_INSUFFICIENT_SIZE : have && !infos ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

static nvmlReturn_t list_v1(unsigned have, const struct fgml_process *list, unsigned *count, nvmlProcessInfo_v1_t *infos)
{
    nvmlReturn_t status = fits(count, infos, have);
    for (unsigned i = 0; status == NVML_SUCCESS && i < have; i++)
        infos[i] = (nvmlProcessInfo_v1_t){.pid = list[i].pid, .usedGpuMemory = list[i].used_bytes};
    return status;
}

static nvmlReturn_t list_v2(unsigned have, const struct fgml_process *list, unsigned *count, nvmlProcessInfo_t *infos)
{
    nvmlReturn_t status = fits(count, infos, have);
    for (unsigned i = 0; status == NVML_SUCCESS && i < have; i++)
        infos[i] = (nvmlProcessInfo_t){.pid = list[i].pid, .usedGpuMemory = list[i].used_bytes,
                                       .gpuInstanceId = NVML_NO_INSTANCE, .computeInstanceId = NVML_NO_INSTANCE};
    return status;
}

#define LIST(name, version, type, info) \
    nvmlReturn_t name(nvmlDevice_t device, unsigned *count, info *infos) \
    { \
        struct fgml_process list[FG_SLOTS]; \
        GUARD(device, FGML_PASS(name, type, device, count, infos)); \
        return count ? list_##version(fgml_processes(list), list, count, infos) : NVML_ERROR_INVALID_ARGUMENT; \
    }
LIST(nvmlDeviceGetComputeRunningProcesses, v1, processes_v1, nvmlProcessInfo_v1_t)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, v2, processes, nvmlProcessInfo_t)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, v2, processes, nvmlProcessInfo_t)

/* All of the vGPU's processes compute: the lists of other kinds are empty. */
#define LIST_EMPTY(name, type, info) \
    nvmlReturn_t name(nvmlDevice_t device, unsigned *count, info *infos) \
    { \
        GUARD(device, FGML_PASS(name, type, device, count, infos)); \
        return count ? fits(count, infos, 0) : NVML_ERROR_INVALID_ARGUMENT; \
    }
LIST_EMPTY(nvmlDeviceGetGraphicsRunningProcesses, processes_v1, nvmlProcessInfo_v1_t)
LIST_EMPTY(nvmlDeviceGetMPSComputeRunningProcesses, processes_v1, nvmlProcessInfo_v1_t)
LIST_EMPTY(nvmlDeviceGetGraphicsRunningProcesses_v2, processes, nvmlProcessInfo_t)
LIST_EMPTY(nvmlDeviceGetMPSComputeRunningProcesses_v2, processes, nvmlProcessInfo_t)
LIST_EMPTY(nvmlDeviceGetGraphicsRunningProcesses_v3, processes, nvmlProcessInfo_t)
LIST_EMPTY(nvmlDeviceGetMPSComputeRunningProcesses_v3, processes, nvmlProcessInfo_t)

nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list)
{
    struct fgml_process found[FG_SLOTS] = {0};
    GUARD(device, FGML_PASS(nvmlDeviceGetRunningProcessDetailList, process_list, device, list));
    if (!list)
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned have = list->mode == 0 ? fgml_processes(found) : 0;
    nvmlReturn_t status = fits(&list->numProcArrayEntries, list->procArray, have);
    for (unsigned i = 0; status == NVML_SUCCESS && i < have; i++)
        list->procArray[i] = (nvmlProcessDetail_v1_t){.pid = found[i].pid, .usedGpuMemory = found[i].used_bytes,
                                                      .gpuInstanceId = NVML_NO_INSTANCE, .computeInstanceId = NVML_NO_INSTANCE};
    return status;
}

/* --- time ---
 *
 * Device time since the last look, over the time since then; 100 % is the vGPU's share:
 *     percent = 100 x d(device_ns) / (d(t) x share)      at most 100: idle share of others may be lent */

static struct seen { uint64_t owner, device_ns, at_ns; unsigned percent; } seen[FG_SLOTS + 1]; /* the last: all together */
static uint32_t seen_lock;
#define LOOK_NS 50000000u /* a shorter span says little: the last answer holds */

static unsigned percent_since(struct seen *last, uint64_t owner, uint64_t device_ns, uint64_t from_ns, uint64_t now_ns)
{
    uint32_t share = fg_get(&fgml()->lease.limits->share_permille);
    fg_lock(&seen_lock);
    if (last->owner != owner || !last->at_ns)
        *last = (struct seen){.owner = owner, .at_ns = from_ns};
    uint64_t span = now_ns - last->at_ns;
    if (now_ns > last->at_ns && span >= LOOK_NS && share) {
        double percent = 100.0 * 1000 * (double)(device_ns - last->device_ns) / ((double)span * share);
        *last = (struct seen){.owner = owner, .device_ns = device_ns, .at_ns = now_ns,
                              .percent = percent > 100 ? 100 : (unsigned)(percent + 0.5)};
    }
    unsigned percent = last->percent;
    fg_unlock(&seen_lock);
    return percent;
}

static unsigned busy_percent(void)
{
    const struct fg_lease *lease = &fgml()->lease;
    struct fgml_process list[FG_SLOTS];
    uint64_t device_ns = fg_get(&lease->counters->gone_device_ns);
    for (unsigned i = 0, n = fgml_processes(list); i < n; i++)
        device_ns += list[i].device_ns;
    return percent_since(&seen[FG_SLOTS], 1, device_ns, lease->slot->attached_ns, (uint64_t)fg_boot_ns());
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *use)
{
    GUARD(device, FGML_PASS(nvmlDeviceGetUtilizationRates, utilization, device, use));
    if (!use)
        return NVML_ERROR_INVALID_ARGUMENT;
    *use = (nvmlUtilization_t){.gpu = busy_percent()};
    return NVML_SUCCESS;
}

/* One sample per process: from its attach, or our last look, to now. */
static unsigned sample(nvmlProcessUtilizationInfo_v1_t *out, uint64_t now_us)
{
    struct fgml_process list[FG_SLOTS];
    const struct fg_lease *lease = &fgml()->lease;
    unsigned n = fgml_processes(list);
    for (unsigned i = 0; i < n; i++)
        out[i] = (nvmlProcessUtilizationInfo_v1_t){.timeStamp = now_us, .pid = list[i].pid,
            .smUtil = percent_since(&seen[i], list[i].pid, list[i].device_ns, lease->slot->attached_ns, (uint64_t)fg_boot_ns())};
    return n;
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples, unsigned *count,
                                             unsigned long long since_us)
{
    nvmlProcessUtilizationInfo_v1_t list[FG_SLOTS];
    GUARD(device, FGML_PASS(nvmlDeviceGetProcessUtilization, process_samples, device, samples, count, since_us));
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned have = sample(list, now_us());
    if (!have)
        return NVML_ERROR_NOT_FOUND;
    nvmlReturn_t status = samples ? fits(count, samples, have) : (*count = have, NVML_ERROR_INSUFFICIENT_SIZE);
    for (unsigned i = 0; status == NVML_SUCCESS && i < have; i++)
        samples[i] = (nvmlProcessUtilizationSample_t){.pid = list[i].pid, .timeStamp = list[i].timeStamp, .smUtil = list[i].smUtil};
    return status;
}

nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *info)
{
    nvmlProcessUtilizationInfo_v1_t list[FG_SLOTS];
    GUARD(device, FGML_PASS(nvmlDeviceGetProcessesUtilizationInfo, processes_samples, device, info));
    if (!info)
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned have = sample(list, now_us());
    if (!have)
        return NVML_ERROR_NOT_FOUND;
    nvmlReturn_t status = info->procUtilArray ? fits(&info->processSamplesCount, info->procUtilArray, have)
                                              : (info->processSamplesCount = have, NVML_ERROR_INSUFFICIENT_SIZE);
    for (unsigned i = 0; status == NVML_SUCCESS && i < have; i++)
        info->procUtilArray[i] = list[i];
    return status;
}
