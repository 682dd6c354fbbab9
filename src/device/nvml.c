/* nvml.c - the calls of NVML that an agent makes. Each is looked up by name, so that an older driver lacks only what it lacks. */
#include "device/nvml.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "fgpu/nvml_abi.h"

#define LIBRARY "libnvidia-ml.so.1"
#define LISTED 1024
#define LIMITS_SINCE 615

/* name, type, and whether nothing works without it */
#define NVML_CALLS(X) \
    X(nvmlInit_v2, void, 1) X(nvmlShutdown, void, 1) X(nvmlErrorString, error, 1) X(nvmlSystemGetDriverVersion, text, 1) \
    X(nvmlDeviceGetCount_v2, count, 1) X(nvmlDeviceGetHandleByIndex_v2, by_index, 1) X(nvmlDeviceGetHandleByUUID, by_text, 1) \
    X(nvmlDeviceGetUUID, device_text, 1) X(nvmlDeviceGetName, device_text, 1) X(nvmlDeviceGetPciInfo_v3, pci, 1) \
    X(nvmlDeviceGetMemoryInfo, memory, 1) X(nvmlDeviceGetMemoryInfo_v2, memory_v2, 0) X(nvmlDeviceGetMinorNumber, device_uint, 0) \
    X(nvmlDeviceGetMigMode, device_2uints, 0) X(nvmlDeviceGetMaxMigDeviceCount, device_uint, 0) \
    X(nvmlDeviceGetMigDeviceHandleByIndex, device_child, 0) X(nvmlDeviceGetAttributes_v2, attributes, 0) \
    X(nvmlDeviceGetCurrentClocksThrottleReasons, device_ull, 0) X(nvmlDeviceGetTotalEccErrors, ecc, 0) \
    X(nvmlDeviceGetComputeRunningProcesses_v3, processes, 0) X(nvmlDeviceGetComputeRunningProcesses_v2, processes, 0) \
    X(nvmlDeviceGetGraphicsRunningProcesses_v3, processes, 0) X(nvmlDeviceGetProcessUtilization, process_samples, 0) \
    X(nvmlEventSetCreate, event_create, 0) X(nvmlEventSetFree, event_free, 0) \
    X(nvmlDeviceRegisterEvents, event_register, 0) X(nvmlEventSetWait_v2, event_wait, 0) \
    X(nvmlDeviceSetMemoryLimits_v1, set_limits, 0)

struct fg_nvml {
    void *library;
    nvmlEventSet_t events;           /* NULL: none can be had */
    char driver[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE];
    unsigned long long busy_since_us;
#define MEMBER(name, type, needed) NVML_FN_##type *name;
    NVML_CALLS(MEMBER)
};

static const char *text_of(const struct fg_nvml *n, nvmlReturn_t status)
{
    const char *text = n->nvmlErrorString ? n->nvmlErrorString(status) : NULL;
    return text ? text : "an unknown error";
}

static int find_calls(struct fg_nvml *n, struct fg_error *err)
{
#define FIND(name, type, needed) \
    n->name = (NVML_FN_##type *)dlsym(n->library, #name); \
    if ((needed) && !n->name) \
        return fg_fail(err, FG_E_UNSUPPORTED, "the NVIDIA driver's management library has no " #name ": it is too old");
    NVML_CALLS(FIND)
    return 0;
}

/* Faults are told once, so they are collected from the start. */
static void watch_faults(struct fg_nvml *n)
{
    unsigned count = 0;
    if (!n->nvmlEventSetCreate || !n->nvmlDeviceRegisterEvents || !n->nvmlEventSetWait_v2 || n->nvmlEventSetCreate(&n->events) != NVML_SUCCESS) {
        n->events = NULL;
        return;
    }
    n->nvmlDeviceGetCount_v2(&count);
    for (unsigned i = 0; i < count; i++) {
        nvmlDevice_t device;
        if (n->nvmlDeviceGetHandleByIndex_v2(i, &device) == NVML_SUCCESS)
            n->nvmlDeviceRegisterEvents(device, nvmlEventTypeXidCriticalError, n->events);
    }
}

int fg_nvml_open(struct fg_nvml **ret, const char *library, struct fg_error *err)
{
    struct fg_nvml *n = fg_alloc(sizeof *n);
    nvmlReturn_t status;
    *n = (struct fg_nvml){0};
    n->library = dlopen(library ? library : LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!n->library) {
        fg_fail(err, FG_E_UNSUPPORTED, "no NVIDIA driver: %s", dlerror());
        goto failed;
    }
    if (find_calls(n, err) != 0)
        goto failed;
    status = n->nvmlInit_v2();
    if (status != NVML_SUCCESS) {
        fg_fail(err, FG_E_UNSUPPORTED, "the NVIDIA driver does not answer: %s", text_of(n, status));
        goto failed;
    }
    if (n->nvmlSystemGetDriverVersion(n->driver, sizeof n->driver) != NVML_SUCCESS)
        snprintf(n->driver, sizeof n->driver, "unknown");
    watch_faults(n);
    *ret = n;
    return 0;
failed:
    if (n->library)
        dlclose(n->library);
    free(n);
    return -1;
}

void fg_nvml_close(struct fg_nvml *n)
{
    if (!n)
        return;
    if (n->events && n->nvmlEventSetFree)
        n->nvmlEventSetFree(n->events);
    n->nvmlShutdown();
    dlclose(n->library);
    free(n);
}

char *fg_nvml_library(const struct fg_nvml *n, const char *name)
{
    struct link_map *map = NULL;
    if (dlinfo(n->library, RTLD_DI_LINKMAP, &map) != 0 || !strrchr(map->l_name, '/'))
        return NULL;
    char *path = fg_asprintf("%.*s/%s", (int)(strrchr(map->l_name, '/') - map->l_name), map->l_name, name);
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

const char *fg_nvml_driver(const struct fg_nvml *n) { return n->driver; }
unsigned fg_nvml_driver_major(const struct fg_nvml *n) { return (unsigned)strtoul(n->driver, NULL, 10); }

/* --- devices --- */

static bool is_lost(nvmlReturn_t status) { return status == NVML_ERROR_GPU_IS_LOST || status == NVML_ERROR_RESET_REQUIRED; }

static void read_memory(const struct fg_nvml *n, nvmlDevice_t device, struct fg_nvml_gpu *gpu)
{
    nvmlMemory_v2_t v2 = {.version = nvmlMemory_v2};
    nvmlMemory_t v1 = {0};
    if (n->nvmlDeviceGetMemoryInfo_v2 && n->nvmlDeviceGetMemoryInfo_v2(device, &v2) == NVML_SUCCESS) {
        gpu->total_bytes = v2.total;
        gpu->reserved_bytes = v2.reserved;
        gpu->used_bytes = v2.used;
        return;
    }
    nvmlReturn_t status = n->nvmlDeviceGetMemoryInfo(device, &v1);
    gpu->lost |= is_lost(status);
    gpu->total_bytes = v1.total;     /* what the driver keeps counts as used here */
    gpu->used_bytes = v1.used;
}

/* What an instance has of its own, and a GPU likewise. */
static void read_self(const struct fg_nvml *n, nvmlDevice_t device, struct fg_nvml_gpu *gpu)
{
    nvmlDeviceAttributes_t attributes = {0};
    gpu->lost |= is_lost(n->nvmlDeviceGetUUID(device, gpu->uuid, sizeof gpu->uuid));
    n->nvmlDeviceGetName(device, gpu->name, sizeof gpu->name);
    read_memory(n, device, gpu);
    if (n->nvmlDeviceGetAttributes_v2 && n->nvmlDeviceGetAttributes_v2(device, &attributes) == NVML_SUCCESS)
        gpu->units = attributes.multiprocessorCount;
}

static void read_state(const struct fg_nvml *n, nvmlDevice_t device, struct fg_nvml_gpu *gpu)
{
    nvmlPciInfo_t pci = {0};
    unsigned long long v = 0;
    unsigned w = 0, pending = 0;
    if (n->nvmlDeviceGetPciInfo_v3(device, &pci) == NVML_SUCCESS)
        snprintf(gpu->pci, sizeof gpu->pci, "%s", pci.busId);
    if (n->nvmlDeviceGetMinorNumber && n->nvmlDeviceGetMinorNumber(device, &w) == NVML_SUCCESS)
        gpu->minor = w;
    if (n->nvmlDeviceGetMigMode && n->nvmlDeviceGetMigMode(device, &w, &pending) == NVML_SUCCESS)
        gpu->cut = w == NVML_DEVICE_MIG_ENABLE;
    if (n->nvmlDeviceGetCurrentClocksThrottleReasons && n->nvmlDeviceGetCurrentClocksThrottleReasons(device, &v) == NVML_SUCCESS)
        gpu->throttle = v;
    if (n->nvmlDeviceGetTotalEccErrors &&
        n->nvmlDeviceGetTotalEccErrors(device, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC, &v) == NVML_SUCCESS)
        gpu->ecc_uncorrected = v;
}

/* The instances of a GPU in MIG mode follow it; they share its state. */
static size_t list_instances(const struct fg_nvml *n, nvmlDevice_t parent, const struct fg_nvml_gpu *gpu, struct fg_nvml_gpu *ret, size_t max)
{
    unsigned most = 0;
    size_t count = 0;
    if (!n->nvmlDeviceGetMaxMigDeviceCount || !n->nvmlDeviceGetMigDeviceHandleByIndex ||
        n->nvmlDeviceGetMaxMigDeviceCount(parent, &most) != NVML_SUCCESS)
        return 0;
    for (unsigned i = 0; i < most && count < max; i++) {
        nvmlDevice_t child;
        if (n->nvmlDeviceGetMigDeviceHandleByIndex(parent, i, &child) != NVML_SUCCESS)
            continue;
        struct fg_nvml_gpu *instance = &ret[count++];
        *instance = *gpu;
        instance->cut = false;
        instance->mig = true;
        read_self(n, child, instance);
    }
    return count;
}

int fg_nvml_gpus(struct fg_nvml *n, struct fg_nvml_gpu *ret, size_t max, size_t *ret_count, struct fg_error *err)
{
    unsigned have = 0;
    size_t count = 0;
    nvmlReturn_t status = n->nvmlDeviceGetCount_v2(&have);
    if (status != NVML_SUCCESS)
        return fg_fail(err, FG_E_UNSUPPORTED, "the NVIDIA driver does not list its devices: %s", text_of(n, status));
    for (unsigned i = 0; i < have && count < max; i++) {
        nvmlDevice_t device;
        struct fg_nvml_gpu *gpu = &ret[count];
        *gpu = (struct fg_nvml_gpu){0};
        status = n->nvmlDeviceGetHandleByIndex_v2(i, &device);
        if (status != NVML_SUCCESS)
            continue; /* lost before it could be named: who knew it misses it */
        read_self(n, device, gpu);
        read_state(n, device, gpu);
        count++;
        if (gpu->cut)
            count += list_instances(n, device, gpu, &ret[count], max - count);
    }
    *ret_count = count;
    return 0;
}

/* --- who uses them --- */

static int handle_of(const struct fg_nvml *n, const char *uuid, nvmlDevice_t *ret, struct fg_error *err)
{
    nvmlReturn_t status = n->nvmlDeviceGetHandleByUUID(uuid, ret);
    return status == NVML_SUCCESS ? 0 : fg_fail(err, FG_E_NOT_FOUND, "NVIDIA device %s: %s", uuid, text_of(n, status));
}

static size_t add_processes(NVML_FN_processes *call, nvmlDevice_t device, struct fg_nvml_process *ret, size_t at, size_t max, nvmlReturn_t *status)
{
    static nvmlProcessInfo_t infos[LISTED];
    unsigned count = LISTED;
    *status = call ? call(device, &count, infos) : NVML_ERROR_FUNCTION_NOT_FOUND;
    for (unsigned i = 0; *status == NVML_SUCCESS && i < count; i++) {
        size_t k = 0;
        while (k < at && ret[k].pid != infos[i].pid)
            k++;
        if (k == at && at < max)
            ret[at++] = (struct fg_nvml_process){infos[i].pid, infos[i].usedGpuMemory}; /* one that draws and computes is in both lists */
    }
    return at;
}

int fg_nvml_processes(struct fg_nvml *n, const char *uuid, struct fg_nvml_process *ret, size_t max, size_t *ret_count, struct fg_error *err)
{
    nvmlDevice_t device;
    nvmlReturn_t status, graphics;
    if (handle_of(n, uuid, &device, err) != 0)
        return -1;
    NVML_FN_processes *computing = n->nvmlDeviceGetComputeRunningProcesses_v3 ? n->nvmlDeviceGetComputeRunningProcesses_v3
                                                                              : n->nvmlDeviceGetComputeRunningProcesses_v2;
    size_t count = add_processes(computing, device, ret, 0, max, &status);
    if (status != NVML_SUCCESS)
        return fg_fail(err, FG_E_UNSUPPORTED, "the driver does not list the processes of %s: %s", uuid, text_of(n, status));
    *ret_count = add_processes(n->nvmlDeviceGetGraphicsRunningProcesses_v3, device, ret, count, max, &graphics);
    return 0;
}

size_t fg_nvml_busy(struct fg_nvml *n, const char *uuid, struct fg_nvml_busy *ret, size_t max)
{
    static nvmlProcessUtilizationSample_t samples[LISTED];
    struct timespec now;
    nvmlDevice_t device;
    struct fg_error ignored;
    unsigned count = LISTED;
    size_t found = 0;
    if (!n->nvmlDeviceGetProcessUtilization || handle_of(n, uuid, &device, &ignored) != 0 ||
        n->nvmlDeviceGetProcessUtilization(device, samples, &count, n->busy_since_us) != NVML_SUCCESS)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    n->busy_since_us = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000 - 1000000;
    for (unsigned i = 0; i < count && found < max; i++)
        if (samples[i].smUtil)
            ret[found++] = (struct fg_nvml_busy){samples[i].pid, samples[i].smUtil};
    return found;
}

bool fg_nvml_fault(struct fg_nvml *n, struct fg_nvml_fault *ret)
{
    nvmlEventData_t event = {0};
    if (!n->events || n->nvmlEventSetWait_v2(n->events, &event, 0) != NVML_SUCCESS || event.eventType != nvmlEventTypeXidCriticalError)
        return false;
    *ret = (struct fg_nvml_fault){.xid = event.eventData};
    n->nvmlDeviceGetUUID(event.device, ret->uuid, sizeof ret->uuid);
    return true;
}

int fg_nvml_free(const struct fg_nvml *n, const char *uuid, uint64_t *ret_bytes, struct fg_error *err)
{
    nvmlDevice_t device;
    nvmlMemory_t memory = {0};
    if (handle_of(n, uuid, &device, err) != 0)
        return -1;
    nvmlReturn_t status = n->nvmlDeviceGetMemoryInfo(device, &memory);
    if (status != NVML_SUCCESS)
        return fg_fail(err, FG_E_UNSUPPORTED, "the driver does not tell the memory of %s: %s", uuid, text_of(n, status));
    *ret_bytes = memory.free;
    return 0;
}

/* --- limits kept by the driver --- */

bool fg_nvml_can_limit(const struct fg_nvml *n)
{
    return n->nvmlDeviceSetMemoryLimits_v1 && fg_nvml_driver_major(n) >= LIMITS_SINCE;
}

int fg_nvml_limit(struct fg_nvml *n, const char *uuid, const char *cgroup, uint64_t hard_bytes, struct fg_error *err)
{
    nvmlDevice_t device;
    nvmlSetMemoryLimits_v1_t limits = {.nameSpace = cgroup, .hardLimit = hard_bytes};
    if (!fg_nvml_can_limit(n))
        return fg_fail(err, FG_E_UNSUPPORTED, "driver %s keeps no memory limits (615 and later do)", n->driver);
    if (handle_of(n, uuid, &device, err) != 0)
        return -1;
    nvmlReturn_t status = n->nvmlDeviceSetMemoryLimits_v1(device, &limits);
    return status == NVML_SUCCESS ? 0 : fg_fail(err, FG_E_UNSUPPORTED, "the driver sets no memory limit for %s: %s", cgroup, text_of(n, status));
}
