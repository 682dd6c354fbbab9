/* slice_devices.c - see slice_devices.h. */
#include "cli/slice_devices.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define NVIDIA_PLATFORM "NVIDIA" /* "NVIDIA CUDA", its OpenCL */

bool slice_device_is_nvidia(const char *name) { return strncmp(name, "GPU-", 4) == 0 || strncmp(name, "MIG-", 4) == 0; }

/* A machine without the driver has none: that is no error. */
static void add_nvidia(struct slice_devices *list)
{
    static struct fg_nvml_gpu gpus[FG_NVML_GPUS];
    struct fg_error ignored;
    struct fg_nvml *nvml;
    size_t count = 0;
    if (fg_nvml_open(&nvml, NULL, &ignored) < 0)
        return;
    if (fg_nvml_gpus(nvml, gpus, FG_NVML_GPUS, &count, &ignored) < 0)
        count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct fg_nvml_gpu *gpu = &gpus[i];
        if (gpu->cut || gpu->lost || !slice_device_is_nvidia(gpu->uuid)) /* of a GPU that is cut, its instances are the devices */
            continue;
        struct slice_device *d = &list->items[list->count++];
        *d = (struct slice_device){.type = FG_OPENCL_GPU, .memory_bytes = gpu->total_bytes - FG_MIN(gpu->reserved_bytes, gpu->total_bytes)};
        snprintf(d->name, sizeof d->name, "%.63s", gpu->uuid);
        snprintf(d->kind, sizeof d->kind, "%.63s", gpu->name);
        snprintf(d->key, sizeof d->key, "%.63s", gpu->uuid);
    }
    fg_nvml_close(nvml);
}

static int add_opencl(struct slice_devices *list, struct fg_error *err)
{
    static struct fg_opencl_list found;
    bool nvidia = list->count > 0;
    if (fg_opencl_list(NULL, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < found.count; i++) {
        const struct fg_opencl_device *from = &found.devices[i];
        if (nvidia && strncmp(from->platform, NVIDIA_PLATFORM, strlen(NVIDIA_PLATFORM)) == 0)
            continue;
        struct slice_device *d = &list->items[list->count++];
        *d = (struct slice_device){.type = from->type, .memory_bytes = from->memory_bytes};
        snprintf(d->name, sizeof d->name, "%s", from->name);
        snprintf(d->kind, sizeof d->kind, "%s", from->kind);
        fg_opencl_key(&found, from, d->key, sizeof d->key);
    }
    return 0;
}

int slice_devices_list(struct slice_devices *ret, struct fg_error *err)
{
    *ret = (struct slice_devices){.count = 0};
    add_nvidia(ret);
    return add_opencl(ret, err) < 0 && ret->count == 0 ? -1 : 0;
}

static void hint_devices(const struct slice_devices *list, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    for (size_t i = 0; i < list->count; i++)
        fg_str_addf(&text, "%s%s (%s)", i ? ", " : "", list->items[i].name, list->items[i].kind);
    fg_fail_hint(err, "There is %s.", text.len ? fg_str_cstr(&text) : "none");
}

static bool is_like(const struct slice_device *device, const char *word)
{
    return strcasestr(device->kind, word) || (slice_device_is_nvidia(device->name) && strncasecmp(device->name, word, strlen(word)) == 0);
}

const struct slice_device *slice_device_find(const struct slice_devices *list, const char *word, struct fg_error *err)
{
    const struct slice_device *like = NULL;
    bool several = false;
    size_t digits = strspn(word, "0123456789");
    if (digits && digits < 4 && !word[digits] && strtoul(word, NULL, 10) < list->count)
        return &list->items[strtoul(word, NULL, 10)];
    for (size_t i = 0; i < list->count; i++) {
        const struct slice_device *device = &list->items[i];
        if (fg_streq(device->name, word) || fg_streq(device->kind, word))
            return device;
        if (*word && is_like(device, word)) {
            several = like != NULL;
            like = device;
        }
    }
    if (like && !several)
        return like;
    if (several)
        fg_fail(err, FG_E_INVALID, "more than one device is like '%s'", word);
    else
        fg_fail(err, FG_E_NOT_FOUND, "there is no device '%s'", word);
    hint_devices(list, err);
    return NULL;
}
