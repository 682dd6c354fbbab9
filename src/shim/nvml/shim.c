/* shim.c - attach, find the driver's functions, and say which device a lease is of. */
#include <dlfcn.h>
#include <string.h>

#include "shim.h"
#include "shim/beside.h"

#define LIBRARY     "libnvidia-ml.so.1"
#define UUID_PREFIX "GPU-"

static struct fgml state;
static const char *const names[] = {FGML_NAMES};

static void attach(struct fgml *s)
{
    void *driver = fg_beside(&state, LIBRARY, RTLD_LAZY | RTLD_NOLOAD); /* it is there: our dependency */
    for (unsigned i = 0; driver && i < FGML_FUNCTIONS; i++)
        s->next[i] = dlsym(driver, names[i]);
    enum fg_lease_status status = fg_lease_attach(&s->lease, NULL);
    if (status != FG_LEASE_OK && status != FG_LEASE_NONE)
        s->refused = status;
    fg_put(&s->ready, 1);
}

struct fgml *fgml(void)
{
    if (!fg_get(&state.ready)) {
        fg_lock(&state.lock);
        if (!state.ready)
            attach(&state);
        fg_unlock(&state.lock);
    }
    return &state;
}

void *fgml_next(enum fgml_function function) { return fgml()->next[function]; }

static int leased(const struct fgml *s)
{
    return s->lease.limits && strncmp(s->lease.limits->device, UUID_PREFIX, sizeof UUID_PREFIX - 1) == 0;
}

enum fgml_scope fgml_scope(nvmlDevice_t device)
{
    const struct fgml *s = fgml();
    static NVML_FN_device_text *get_uuid;
    char uuid[NVML_DEVICE_UUID_BUFFER_SIZE] = "";
    if (s->refused)
        return FGML_FOREIGN;
    if (!leased(s))
        return FGML_WHOLE;
    if (!get_uuid) {
        void *driver = fg_beside(&state, LIBRARY, RTLD_LAZY | RTLD_NOLOAD);
        get_uuid = driver ? (NVML_FN_device_text *)dlsym(driver, "nvmlDeviceGetUUID") : NULL;
    }
    if (!get_uuid || get_uuid(device, uuid, sizeof uuid) != NVML_SUCCESS)
        return FGML_WHOLE; /* not a device: the driver says so */
    return strcmp(uuid, s->lease.limits->device) == 0 ? FGML_OURS : FGML_FOREIGN;
}

int fgml_limited(nvmlDevice_t device) { return fgml_scope(device) != FGML_WHOLE; }

/* --- begin --- */

#define BEGIN(name, type, ...) (fgml()->refused ? NVML_ERROR_NO_PERMISSION : FGML_PASS(name, type, __VA_ARGS__))

nvmlReturn_t nvmlInit_v2(void) { return BEGIN(nvmlInit_v2, void, ); }
nvmlReturn_t nvmlInit(void) { return BEGIN(nvmlInit, void, ); }
nvmlReturn_t nvmlInitWithFlags(unsigned flags) { return BEGIN(nvmlInitWithFlags, flags, flags); }

/* --- the devices there are --- */

/* The lease's device by its UUID, as the driver has it. */
static nvmlReturn_t ours(nvmlDevice_t *device)
{
    return FGML_PASS(nvmlDeviceGetHandleByUUID, by_text, fgml()->lease.limits->device, device);
}

static nvmlReturn_t count_ours(unsigned *count, nvmlReturn_t status)
{
    nvmlDevice_t device;
    if (status == NVML_SUCCESS && leased(fgml()))
        *count = ours(&device) == NVML_SUCCESS;
    return status;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    return count_ours(count, FGML_PASS(nvmlDeviceGetCount_v2, count, count));
}

nvmlReturn_t nvmlDeviceGetCount(unsigned *count) { return count_ours(count, FGML_PASS(nvmlDeviceGetCount, count, count)); }

#define BY_INDEX(name) \
    nvmlReturn_t name(unsigned index, nvmlDevice_t *device) \
    { \
        if (!leased(fgml())) \
            return FGML_PASS(name, by_index, index, device); \
        return index || !device ? NVML_ERROR_INVALID_ARGUMENT : ours(device); \
    }
BY_INDEX(nvmlDeviceGetHandleByIndex_v2)
BY_INDEX(nvmlDeviceGetHandleByIndex)

/* A device that the lease is not of is not there. */
static nvmlReturn_t only_ours(nvmlReturn_t status, const nvmlDevice_t *device)
{
    return status == NVML_SUCCESS && fgml_scope(*device) == FGML_FOREIGN ? NVML_ERROR_NOT_FOUND : status;
}

#define BY_TEXT(name) \
    nvmlReturn_t name(const char *text, nvmlDevice_t *device) \
    { \
        return only_ours(FGML_PASS(name, by_text, text, device), device); \
    }
BY_TEXT(nvmlDeviceGetHandleByUUID)
BY_TEXT(nvmlDeviceGetHandleBySerial)
BY_TEXT(nvmlDeviceGetHandleByPciBusId_v2)
BY_TEXT(nvmlDeviceGetHandleByPciBusId)

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index)
{
    nvmlReturn_t status = FGML_PASS(nvmlDeviceGetIndex, device_uint, device, index);
    if (status == NVML_SUCCESS && fgml_scope(device) == FGML_OURS)
        *index = 0;
    return status;
}

