/* device.c - devices: which there are, in CUDA's order, and what they say of themselves. */
#include <stdio.h>

#include "driver.h"

#define FK_DEV(dev) if (!fk_device_ok(dev)) return CUDA_ERROR_INVALID_DEVICE; const struct fk_device *device = &fk_world->device[fk_visible[dev]]

FK_API(cuDeviceGetCount, (int *count))
{
    FK_ENTER(cuDeviceGetCount);
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = fk_visible_count;
    return CUDA_SUCCESS;
}

FK_API(cuDeviceGet, (CUdevice *ret, int ordinal))
{
    FK_ENTER(cuDeviceGet);
    if (!ret)
        return CUDA_ERROR_INVALID_VALUE;
    if (!fk_device_ok(ordinal))
        return CUDA_ERROR_INVALID_DEVICE;
    *ret = ordinal;
    return CUDA_SUCCESS;
}

FK_API(cuDeviceGetName, (char *name, int n, CUdevice dev))
{
    FK_ENTER(cuDeviceGetName);
    FK_DEV(dev);
    if (!name || n <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)n, "%s", device->name);
    return CUDA_SUCCESS;
}

static CUresult uuid(CUuuid *ret, CUdevice dev)
{
    FK_DEV(dev);
    if (!ret)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(ret->bytes, device->uuid, 16);
    return CUDA_SUCCESS;
}
FK_API(cuDeviceGetUuid, (CUuuid *ret, CUdevice dev)) { FK_ENTER(cuDeviceGetUuid); return uuid(ret, dev); }
FK_API(cuDeviceGetUuid_v2, (CUuuid *ret, CUdevice dev)) { FK_ENTER(cuDeviceGetUuid_v2); return uuid(ret, dev); }

FK_API(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice dev))
{
    FK_ENTER(cuDeviceTotalMem_v2);
    FK_DEV(dev);
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = device->total_bytes;
    return CUDA_SUCCESS;
}

FK_API(cuDeviceComputeCapability, (int *major, int *minor, CUdevice dev))
{
    FK_ENTER(cuDeviceComputeCapability);
    FK_DEV(dev);
    *major = (int)device->major;
    *minor = (int)device->minor;
    return CUDA_SUCCESS;
}

FK_API(cuDeviceGetPCIBusId, (char *text, int n, CUdevice dev))
{
    FK_ENTER(cuDeviceGetPCIBusId);
    FK_DEV(dev);
    if (!text || n < 13)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(text, (size_t)n, "%04x:%02x:%02x.0", device->pci_domain, device->pci_bus, device->pci_device);
    return CUDA_SUCCESS;
}

FK_API(cuDeviceGetByPCIBusId, (CUdevice *ret, const char *text))
{
    FK_ENTER(cuDeviceGetByPCIBusId);
    unsigned domain = 0, bus, slot;
    if (!ret || !text || (sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3 && (domain = 0, sscanf(text, "%x:%x", &bus, &slot)) != 2))
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < fk_visible_count; i++) {
        const struct fk_device *device = &fk_world->device[fk_visible[i]];
        if (device->pci_domain == domain && device->pci_bus == bus && device->pci_device == slot) {
            *ret = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

/* Those that programs ask first; a limit of the H100 class, or no. */
static const struct { int attribute, value; } known[] = {
    {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, 49152}, {9, 65536}, {10, 32}, {11, 2147483647},
    {12, 65536}, {13, 1755000}, {14, 512}, {15, 1}, {17, 0}, {18, 0}, {19, 1}, {20, 0}, {31, 1}, {32, 1}, {35, 0}, {36, 2619000},
    {37, 5120}, {38, 52428800}, {39, 2048}, {40, 2}, {41, 1}, {50, 0}, {51, 32}, {78, 1}, {79, 1}, {80, 1}, {81, 233472}, {82, 65536}, {83, 1},
    {84, 0}, {85, 0}, {86, 1}, {87, 2}, {88, 1}, {89, 1}, {90, 1}, {91, 1}, {92, 1}, {93, 1}, {94, 1}, {95, 1}, {96, 1}, {97, 232448}, {98, 1},
    {99, 1}, {100, 1}, {101, 0}, {102, 1}, {103, 1}, {106, 32}, {107, 0}, {109, 134213632}, {110, 0}, {111, 1024}, {112, 1}, {113, 1}, {114, 0},
    {115, 1}, {119, 1}, {120, 1}, {121, 1}, {122, 1}, {124, 1}, {125, 0}, {127, 0}, {128, 1}, {132, 1}, {133, 0},
};

FK_API(cuDeviceGetAttribute, (int *value, CUdevice_attribute attribute, CUdevice dev))
{
    FK_ENTER(cuDeviceGetAttribute);
    FK_DEV(dev);
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    switch ((int)attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = (int)device->sms; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: *value = (int)device->pci_bus; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: *value = (int)device->pci_device; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: *value = (int)device->pci_domain; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = (int)device->major; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = (int)device->minor; return CUDA_SUCCESS;
    default: break;
    }
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].attribute == (int)attribute) {
            *value = known[i].value;
            return CUDA_SUCCESS;
        }
    *value = 0;
    return (int)attribute > 0 && (int)attribute < 150 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuDeviceCanAccessPeer, (int *can, CUdevice dev, CUdevice peer))
{
    FK_ENTER(cuDeviceCanAccessPeer);
    if (!fk_device_ok(dev) || !fk_device_ok(peer))
        return CUDA_ERROR_INVALID_DEVICE;
    *can = dev != peer;
    return CUDA_SUCCESS;
}
FK_API(cuDeviceGetP2PAttribute, (int *value, int attribute, CUdevice from, CUdevice to)) { FK_ENTER(cuDeviceGetP2PAttribute); *value = from != to; return CUDA_SUCCESS; }
FK_API(cuCtxEnablePeerAccess, (CUcontext peer, unsigned flags)) { FK_ENTER(cuCtxEnablePeerAccess); return FK_IS(peer, FK_IS_CTX) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT; }
FK_API(cuCtxDisablePeerAccess, (CUcontext peer)) { FK_ENTER(cuCtxDisablePeerAccess); return FK_IS(peer, FK_IS_CTX) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT; }
FK_API(cuProfilerStart, (void)) { FK_ENTER(cuProfilerStart); return CUDA_SUCCESS; }
FK_API(cuProfilerStop, (void)) { FK_ENTER(cuProfilerStop); return CUDA_SUCCESS; }
