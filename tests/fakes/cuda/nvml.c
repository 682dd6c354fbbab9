/* nvml.c - the stand-in NVML: start and end, versions, which devices there are and what they are called. */
#include "nvml.h"

#include <stdlib.h>

int fkn_ready;
static struct nvmlDevice_st handles[FK_DEVICES][1 + FK_MIGS];

/* --- start and end --- */

static nvmlReturn_t start(void)
{
    if (fk_world_open())
        return NVML_ERROR_DRIVER_NOT_LOADED;
    for (unsigned d = 0; d < FK_DEVICES; d++)
        for (int m = -1; m < (int)FK_MIGS; m++)
            handles[d][1 + m] = (struct nvmlDevice_st){d, m};
    fkn_ready++;
    return NVML_SUCCESS;
}
NVML_API(nvmlInit_v2, (void)) { return start(); }
NVML_API(nvmlInit, (void)) { return start(); }
NVML_API(nvmlInitWithFlags, (unsigned flags)) { return start(); }

NVML_API(nvmlShutdown, (void))
{
    FKN_READY();
    fkn_ready--;
    return NVML_SUCCESS;
}

static const struct { int code; const char *text; } errors[] = {
    {0, "Success"}, {1, "Uninitialized"}, {2, "Invalid Argument"}, {3, "Not Supported"}, {4, "Insufficient Permissions"}, {6, "Not Found"},
    {7, "Insufficient Size"}, {9, "Driver Not Loaded"}, {10, "Timeout"}, {12, "NVML Shared Library Not Found"}, {13, "Function Not Found"},
    {15, "GPU is lost"}, {16, "GPU requires reset"}, {19, "In use by another client"}, {20, "Insufficient Memory"}, {25, "Argument version mismatch"},
};
__attribute__((visibility("default"))) const char *nvmlErrorString(nvmlReturn_t code);
const char *nvmlErrorString(nvmlReturn_t code)
{
    for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code)
            return errors[i].text;
    return "Unknown Error";
}

static nvmlReturn_t text(char *ret, unsigned n, const char *what)
{
    if (!ret)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(what) >= n)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    snprintf(ret, n, "%s", what);
    return NVML_SUCCESS;
}

NVML_API(nvmlSystemGetDriverVersion, (char *ret, unsigned n)) { FKN_READY(); return text(ret, n, fk_world->driver_text); }
NVML_API(nvmlSystemGetNVMLVersion, (char *ret, unsigned n))
{
    FKN_READY();
    char version[48];
    snprintf(version, sizeof version, "%u.%s", fk_world->driver / 1000, fk_world->driver_text);
    return text(ret, n, version);
}

static nvmlReturn_t cuda_version(int *ret)
{
    FKN_READY();
    if (!ret)
        return NVML_ERROR_INVALID_ARGUMENT;
    *ret = (int)fk_world->driver;
    return NVML_SUCCESS;
}
NVML_API(nvmlSystemGetCudaDriverVersion, (int *ret)) { return cuda_version(ret); }
NVML_API(nvmlSystemGetCudaDriverVersion_v2, (int *ret)) { return cuda_version(ret); }

NVML_API(nvmlSystemGetProcessName, (unsigned pid, char *name, unsigned n))
{
    FKN_READY();
    char path[40], buf[256] = "";
    snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return NVML_ERROR_NOT_FOUND;
    if (!fgets(buf, sizeof buf, file))
        buf[0] = 0;
    fclose(file);
    buf[strcspn(buf, "\n")] = 0;
    return text(name, n, buf);
}

/* --- devices, in NVML's order --- */

struct fk_device *fkn_device(nvmlDevice_t handle)
{
    const char *at = (const char *)handle, *first = (const char *)handles;
    if (at < first || at >= first + sizeof handles || (size_t)(at - first) % sizeof **handles || handle->device >= fk_world->devices)
        return NULL;
    return &fk_world->device[handle->device];
}

nvmlDevice_t fkn_handle(unsigned device, int mig)
{
    return &handles[device][1 + mig];
}

void fkn_look(unsigned device)
{
    fk_lock();
    fk_advance(fk_world, device, fk_now());
}

static nvmlReturn_t count(unsigned *ret)
{
    FKN_READY();
    if (!ret)
        return NVML_ERROR_INVALID_ARGUMENT;
    *ret = fk_world->devices;
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetCount, (unsigned *ret)) { return count(ret); }
NVML_API(nvmlDeviceGetCount_v2, (unsigned *ret)) { return count(ret); }

static nvmlReturn_t by_index(unsigned index, nvmlDevice_t *ret)
{
    FKN_READY();
    if (!ret || index >= fk_world->devices)
        return NVML_ERROR_INVALID_ARGUMENT;
    *ret = fkn_handle(fk_world->nvml_order[index], -1);
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetHandleByIndex, (unsigned index, nvmlDevice_t *ret)) { return by_index(index, ret); }
NVML_API(nvmlDeviceGetHandleByIndex_v2, (unsigned index, nvmlDevice_t *ret)) { return by_index(index, ret); }

/* A MIG instance's UUID differs from its device's in the last byte. */
static void uuid_of(unsigned d, int mig, char *buf, size_t n)
{
    if (mig < 0) {
        fk_uuid_text(&fk_world->device[d], buf, n);
        return;
    }
    struct fk_device like = {.name = ""};
    memcpy(like.uuid, fk_world->device[d].uuid, 16);
    like.uuid[15] = (uint8_t)(like.uuid[15] + 1 + mig);
    fk_uuid_text(&like, buf, n);
    memcpy(buf, "MIG", 3);
}

NVML_API(nvmlDeviceGetHandleByUUID, (const char *uuid, nvmlDevice_t *ret))
{
    FKN_READY();
    if (!uuid || !ret)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned d = 0; d < fk_world->devices; d++)
        for (int m = -1; m < (int)fk_world->device[d].migs; m++) {
            char own[48];
            uuid_of(d, m, own, sizeof own);
            if (!strcmp(own, uuid)) {
                *ret = fkn_handle(d, m);
                return NVML_SUCCESS;
            }
        }
    return NVML_ERROR_NOT_FOUND;
}

static nvmlReturn_t by_pci(const char *id, nvmlDevice_t *ret)
{
    FKN_READY();
    unsigned domain = 0, bus, slot;
    if (!id || !ret || (sscanf(id, "%x:%x:%x", &domain, &bus, &slot) != 3 && (domain = 0, sscanf(id, "%x:%x", &bus, &slot)) != 2))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned d = 0; d < fk_world->devices; d++)
        if (fk_world->device[d].pci_domain == domain && fk_world->device[d].pci_bus == bus && fk_world->device[d].pci_device == slot) {
            *ret = fkn_handle(d, -1);
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}
NVML_API(nvmlDeviceGetHandleByPciBusId, (const char *id, nvmlDevice_t *ret)) { return by_pci(id, ret); }
NVML_API(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, nvmlDevice_t *ret)) { return by_pci(id, ret); }

NVML_API(nvmlDeviceGetHandleBySerial, (const char *serial, nvmlDevice_t *ret))
{
    FKN_READY();
    if (!serial || !ret)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned d = 0; d < fk_world->devices; d++)
        if (!strcmp(fk_world->device[d].serial, serial)) {
            *ret = fkn_handle(d, -1);
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}

NVML_API(nvmlDeviceGetIndex, (nvmlDevice_t handle, unsigned *ret))
{
    FKN_DEVICE(handle, ret);
    for (unsigned i = 0; i < fk_world->devices; i++)
        if (&fk_world->device[fk_world->nvml_order[i]] == device)
            *ret = handle->mig < 0 ? i : (unsigned)handle->mig;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetMinorNumber, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = handle->device; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetSerial, (nvmlDevice_t handle, char *ret, unsigned n)) { FKN_DEVICE(handle, ret); return text(ret, n, device->serial); }
NVML_API(nvmlDeviceGetName, (nvmlDevice_t handle, char *ret, unsigned n))
{
    FKN_DEVICE(handle, ret);
    char name[96];
    snprintf(name, sizeof name, handle->mig < 0 ? "%s" : "%s MIG %ug", device->name, handle->mig < 0 ? 0 : device->mig[handle->mig].profile_gpcs);
    return text(ret, n, name);
}
NVML_API(nvmlDeviceGetUUID, (nvmlDevice_t handle, char *ret, unsigned n))
{
    FKN_DEVICE(handle, ret);
    char uuid[48];
    uuid_of(handle->device, handle->mig, uuid, sizeof uuid);
    return device ? text(ret, n, uuid) : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t pci(nvmlDevice_t handle, nvmlPciInfo_t *ret)
{
    FKN_DEVICE(handle, ret);
    *ret = (nvmlPciInfo_t){.domain = device->pci_domain, .bus = device->pci_bus, .device = device->pci_device, .pciDeviceId = device->pci_id, .pciSubSystemId = 0x16c110de};
    snprintf(ret->busIdLegacy, sizeof ret->busIdLegacy, "%04X:%02X:%02X.0", device->pci_domain & 0xffff, device->pci_bus & 0xff, device->pci_device & 0xff);
    snprintf(ret->busId, sizeof ret->busId, "%08X:%02X:%02X.0", device->pci_domain, device->pci_bus, device->pci_device);
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetPciInfo, (nvmlDevice_t handle, nvmlPciInfo_t *ret)) { return pci(handle, ret); }
NVML_API(nvmlDeviceGetPciInfo_v2, (nvmlDevice_t handle, nvmlPciInfo_t *ret)) { return pci(handle, ret); }
NVML_API(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t handle, nvmlPciInfo_t *ret)) { return pci(handle, ret); }

NVML_API(nvmlDeviceGetCudaComputeCapability, (nvmlDevice_t handle, int *major, int *minor))
{
    FKN_DEVICE(handle, major);
    *major = (int)device->major;
    if (minor)
        *minor = (int)device->minor;
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetNumGpuCores, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = device->sms * 128; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetComputeMode, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = NVML_COMPUTEMODE_DEFAULT; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetPersistenceMode, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = NVML_FEATURE_ENABLED; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetArchitecture, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = device->major; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetBrand, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = 2; return NVML_SUCCESS; }

/* --- MIG --- */

NVML_API(nvmlDeviceGetMigMode, (nvmlDevice_t handle, unsigned *current, unsigned *pending))
{
    FKN_DEVICE(handle, current);
    if (device->major < 8)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = device->mig_mode;
    if (pending)
        *pending = device->mig_mode;
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetMaxMigDeviceCount, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = device->major < 8 ? 0 : FK_MIGS; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetMigDeviceHandleByIndex, (nvmlDevice_t handle, unsigned index, nvmlDevice_t *ret))
{
    FKN_DEVICE(handle, ret);
    if (!device->mig_mode || index >= device->migs)
        return NVML_ERROR_NOT_FOUND;
    *ret = fkn_handle(handle->device, (int)index);
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, (nvmlDevice_t handle, nvmlDevice_t *ret))
{
    FKN_DEVICE(handle, ret);
    if (handle->mig < 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    *ret = fkn_handle(handle->device, -1);
    return device ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}
NVML_API(nvmlDeviceIsMigDeviceHandle, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = handle->mig >= 0; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetGpuInstanceId, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = (unsigned)handle->mig + 1; return handle->mig >= 0 ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT; }
NVML_API(nvmlDeviceGetComputeInstanceId, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = 0; return handle->mig >= 0 ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT; }
NVML_API(nvmlDeviceGetAttributes_v2, (nvmlDevice_t handle, nvmlDeviceAttributes_t *ret))
{
    FKN_DEVICE(handle, ret);
    if (handle->mig < 0)
        return NVML_ERROR_NOT_SUPPORTED;
    const struct fk_mig *mig = &device->mig[handle->mig];
    *ret = (nvmlDeviceAttributes_t){.multiprocessorCount = mig->sms, .gpuInstanceSliceCount = mig->profile_gpcs, .computeInstanceSliceCount = mig->profile_gpcs,
                                    .memorySizeMB = mig->memory_bytes >> 20};
    return NVML_SUCCESS;
}
