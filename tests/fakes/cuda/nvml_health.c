/* nvml_health.c - the stand-in NVML: power, energy, temperature, clocks, errors and events. */
#include "nvml.h"

#include <stdlib.h>
#include <time.h>

#define BUSY_MW 400000u /* more than idle, at full load */

NVML_API(nvmlDeviceGetPowerUsage, (nvmlDevice_t handle, unsigned *ret))
{
    FKN_DEVICE(handle, ret);
    fkn_look(handle->device);
    *ret = device->power_mw + BUSY_MW * fkn_utilization(handle->device) / 100;
    fk_unlock();
    return NVML_SUCCESS;
}

/* Exactly the integral of idle power over time and of load over busy time: mJ. */
NVML_API(nvmlDeviceGetTotalEnergyConsumption, (nvmlDevice_t handle, unsigned long long *ret))
{
    FKN_DEVICE(handle, ret);
    fkn_look(handle->device);
    uint64_t now = fk_now();
    if (!device->energy_from_ns)
        device->energy_from_ns = now;
    *ret = ((now - device->energy_from_ns) / 1000 * device->power_mw + device->engine.busy_ns / 1000 * BUSY_MW) / 1000000u;
    fk_unlock();
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetTemperature, (nvmlDevice_t handle, unsigned sensor, unsigned *ret))
{
    FKN_DEVICE(handle, ret);
    if (sensor != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    *ret = device->temperature_c;
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetTemperatureThreshold, (nvmlDevice_t handle, unsigned which, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = which == 0 ? 95 : 90; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetPowerManagementLimit, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = 700000; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetEnforcedPowerLimit, (nvmlDevice_t handle, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = 700000; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetClockInfo, (nvmlDevice_t handle, unsigned clock, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = clock == NVML_CLOCK_MEM ? 2619 : device->throttle ? 900 : 1755; return NVML_SUCCESS; }
NVML_API(nvmlDeviceGetMaxClockInfo, (nvmlDevice_t handle, unsigned clock, unsigned *ret)) { FKN_DEVICE(handle, ret); *ret = clock == NVML_CLOCK_MEM ? 2619 : 1980; return NVML_SUCCESS; }

static nvmlReturn_t throttle(nvmlDevice_t handle, unsigned long long *ret)
{
    FKN_DEVICE(handle, ret);
    *ret = device->throttle;
    return NVML_SUCCESS;
}
NVML_API(nvmlDeviceGetCurrentClocksThrottleReasons, (nvmlDevice_t handle, unsigned long long *ret)) { return throttle(handle, ret); }
NVML_API(nvmlDeviceGetCurrentClocksEventReasons, (nvmlDevice_t handle, unsigned long long *ret)) { return throttle(handle, ret); }

NVML_API(nvmlDeviceGetEccMode, (nvmlDevice_t handle, unsigned *current, unsigned *pending))
{
    FKN_DEVICE(handle, current);
    *current = NVML_FEATURE_ENABLED;
    if (pending)
        *pending = NVML_FEATURE_ENABLED;
    return device ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

NVML_API(nvmlDeviceGetTotalEccErrors, (nvmlDevice_t handle, unsigned type, unsigned counter, unsigned long long *ret))
{
    FKN_DEVICE(handle, ret);
    *ret = type == NVML_MEMORY_ERROR_TYPE_CORRECTED ? device->ecc_corrected : device->ecc_uncorrected;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetRemappedRows, (nvmlDevice_t handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed))
{
    FKN_DEVICE(handle, corrected);
    *corrected = 0;
    *uncorrected = device->ecc_uncorrected > 0;
    *pending = *uncorrected;
    *failed = 0;
    return NVML_SUCCESS;
}

/* --- events --- */

struct nvmlEventSet_st { uint64_t seen; uint32_t devices; };

NVML_API(nvmlEventSetCreate, (nvmlEventSet_t *ret))
{
    FKN_READY();
    nvmlEventSet_t set = ret ? calloc(1, sizeof *set) : NULL;
    if (!set)
        return NVML_ERROR_INVALID_ARGUMENT;
    set->seen = fk_world->xids_seen;
    *ret = set;
    return NVML_SUCCESS;
}

NVML_API(nvmlEventSetFree, (nvmlEventSet_t set))
{
    free(set);
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetSupportedEventTypes, (nvmlDevice_t handle, unsigned long long *ret)) { FKN_DEVICE(handle, ret); *ret = nvmlEventTypeXidCriticalError; return device ? NVML_SUCCESS : NVML_ERROR_UNKNOWN; }

NVML_API(nvmlDeviceRegisterEvents, (nvmlDevice_t handle, unsigned long long types, nvmlEventSet_t set))
{
    FKN_DEVICE(handle, set);
    if (types & ~nvmlEventTypeXidCriticalError)
        return device ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
    set->devices |= 1u << handle->device;
    return NVML_SUCCESS;
}

static bool next_event(nvmlEventSet_t set, nvmlEventData_t *ret)
{
    while (set->seen < fk_world->xids_seen) {
        const struct fk_xid *x = &fk_world->xids[set->seen++ % FK_EVENTS];
        if (!(set->devices >> x->device & 1))
            continue;
        *ret = (nvmlEventData_t){fkn_handle(x->device, -1), x->type, x->xid, NVML_NO_INSTANCE, NVML_NO_INSTANCE};
        return true;
    }
    return false;
}

static nvmlReturn_t wait_event(nvmlEventSet_t set, nvmlEventData_t *ret, unsigned timeout_ms)
{
    FKN_READY();
    if (!set || !ret)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned waited = 0;; waited++) {
        uint32_t seen = __atomic_load_n(&fk_world->changes, __ATOMIC_ACQUIRE);
        fk_lock();
        bool found = next_event(set, ret);
        fk_unlock();
        if (found)
            return NVML_SUCCESS;
        if (waited >= timeout_ms)
            return NVML_ERROR_TIMEOUT;
        fk_wait(seen, 0); /* a millisecond */
    }
}
NVML_API(nvmlEventSetWait, (nvmlEventSet_t set, nvmlEventData_t *ret, unsigned timeout_ms)) { return wait_event(set, ret, timeout_ms); }
NVML_API(nvmlEventSetWait_v2, (nvmlEventSet_t set, nvmlEventData_t *ret, unsigned timeout_ms)) { return wait_event(set, ret, timeout_ms); }
