/* settings.c - what the stand-in machine is like: words of "key=value", read once when the world is made.
 *
 * Global: see the table. A device's own: "1.total=8G 1.sms=46 1.name=X 1.mig=2" (2 instances of half the device).
 * Failures: "fail=cuMemAlloc_v2:3:2[:times]": in each process the third call returns code 2. Sizes take K, M, G; times are in ns or as named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define GLOBAL(key, field, fallback) {key, offsetof(struct fk_world, field), sizeof(((struct fk_world *)0)->field), fallback}
static const struct { const char *key; size_t at, size; const char *fallback; } globals[] = {
    GLOBAL("driver", driver, "13000"),            /* API version the driver answers */
    GLOBAL("nvml", nvml, "0"),                    /* driver branch (570); 0: the one that brought the API version */
    GLOBAL("devices", devices, "2"),
    GLOBAL("granule", granule, "512"),            /* cuMemAlloc and what is rounded like it */
    GLOBAL("vmm_granule", vmm_granule, "2M"),
    GLOBAL("pool_chunk", pool_chunk, "32M"),      /* pools reserve in these */
    GLOBAL("graph_chunk", graph_chunk, "2M"),     /* graph memory is reserved in these */
    GLOBAL("pitch", pitch_align, "512"),
    GLOBAL("context", context_bytes, "64M"),      /* of a context at its creation */
    GLOBAL("module", module_bytes, "2M"),         /* of a module, besides its globals */
    GLOBAL("limit_step", limit_step, "2M"),
    GLOBAL("copy", copy_bytes_per_us, "20000"),
    GLOBAL("copy_latency", copy_latency_ns, "0"),
    GLOBAL("kernel_ns", kernel_ns, "0"),          /* length of kernels that do not say theirs */
    GLOBAL("slice_ns", slice_ns, "2000000"),
    GLOBAL("slots", slots, "4"),                  /* kernels of 1/slots of the device each that run at once */
    GLOBAL("mps", mps, "0"),
    GLOBAL("window_ns", util_window_ns, "167000000"),
    GLOBAL("virtual", is_virtual, "0"),
    GLOBAL("checkpoint_fails", checkpoint_fails, "0"),
};

#define OWN(key, field) {key, offsetof(struct fk_device, field), sizeof(((struct fk_device *)0)->field)}
static const struct { const char *key; size_t at, size; } owns[] = {
    OWN("total", total_bytes), OWN("hidden", hidden_bytes), OWN("sms", sms), OWN("major", major), OWN("minor", minor),
    OWN("bus", pci_bus), OWN("mig", migs), OWN("temperature", temperature_c), OWN("power", power_mw), OWN("throttle", throttle),
    OWN("ecc", ecc_uncorrected),
};

static bool number(const char *text, uint64_t *ret)
{
    char *end;
    *ret = strtoull(text, &end, 0);
    if (end == text)
        return false;
    switch (*end) {
    case 'K': *ret <<= 10; end++; break;
    case 'M': *ret <<= 20; end++; break;
    case 'G': *ret <<= 30; end++; break;
    default: break;
    }
    return !*end;
}

static bool store(void *at, size_t size, const char *text)
{
    uint64_t value;
    if (!number(text, &value))
        return false;
    if (size == 4)
        *(uint32_t *)at = (uint32_t)value;
    else
        *(uint64_t *)at = value;
    return true;
}

static bool order(uint32_t ret[FK_DEVICES], const char *text)
{
    for (unsigned i = 0; i < FK_DEVICES && *text; i++) {
        char *end;
        ret[i] = (uint32_t)strtoul(text, &end, 10) % FK_DEVICES;
        if (end == text)
            return false;
        text = *end == ',' ? end + 1 : end;
    }
    return true;
}

static bool failure(struct fk_world *world, const char *text)
{
    struct fk_failure f = {.times = 1};
    unsigned nth;
    if (world->failure_count == FK_FAILURES || sscanf(text, "%63[^:]:%u:%u:%u", f.symbol, &nth, &f.code, &f.times) < 3)
        return false;
    f.nth = nth;
    world->failures[world->failure_count++] = f;
    return true;
}

static void split_mig(struct fk_device *device)
{
    if (device->migs > FK_MIGS)
        device->migs = FK_MIGS;
    device->mig_mode = device->migs > 0;
    for (unsigned i = 0; i < device->migs; i++)
        device->mig[i] = (struct fk_mig){7 / device->migs, device->sms / device->migs, device->total_bytes / device->migs};
}

static bool own(struct fk_world *world, unsigned d, const char *key, const char *value)
{
    struct fk_device *device = &world->device[d];
    if (!strcmp(key, "name")) {
        snprintf(device->name, sizeof device->name, "%s", value);
        return true;
    }
    for (unsigned i = 0; i < sizeof owns / sizeof *owns; i++)
        if (!strcmp(key, owns[i].key)) {
            bool ok = store((char *)device + owns[i].at, owns[i].size, value);
            split_mig(device);
            return ok;
        }
    return false;
}

static bool word(struct fk_world *world, char *text)
{
    char *value = strchr(text, '=');
    if (!value)
        return false;
    *value++ = 0;
    if (text[0] >= '0' && text[0] < '0' + (int)FK_DEVICES && text[1] == '.')
        return own(world, (unsigned)(text[0] - '0'), text + 2, value);
    if (!strcmp(text, "cuda"))
        return order(world->cuda_order, value);
    if (!strcmp(text, "nvml_order"))
        return order(world->nvml_order, value);
    if (!strcmp(text, "fail"))
        return failure(world, value);
    for (unsigned i = 0; i < sizeof globals / sizeof *globals; i++)
        if (!strcmp(text, globals[i].key))
            return store((char *)world + globals[i].at, globals[i].size, value);
    bool all = false; /* a device's key without a number: of all devices */
    for (unsigned d = 0; d < FK_DEVICES; d++)
        all = own(world, d, text, value);
    return all;
}

static void defaults(struct fk_world *world)
{
    for (unsigned i = 0; i < sizeof globals / sizeof *globals; i++)
        store((char *)world + globals[i].at, globals[i].size, globals[i].fallback);
    world->virtual_ns = 1000000000u;
    for (unsigned d = 0; d < FK_DEVICES; d++) {
        struct fk_device *device = &world->device[d];
        world->cuda_order[d] = world->nvml_order[d] = d;
        *device = (struct fk_device){.pci_bus = 0x10 + 0x21 * d, .pci_id = 0x233010deu, .major = 9, .sms = 132, .total_bytes = 16ull << 30,
                                     .temperature_c = 40 + d, .power_mw = 70000};
        snprintf(device->name, sizeof device->name, "FastGPU stand-in %u", d);
        snprintf(device->serial, sizeof device->serial, "16530%08u", d * 7919);
        for (unsigned i = 0; i < 16; i++)
            device->uuid[i] = (uint8_t)((d + 1) * 0x3b + i * 0x11);
        device->engine.slice_end_ns = UINT64_MAX;
    }
}

/* The driver branch that brought an API version. */
static uint32_t branch_of(uint32_t version)
{
    static const struct { uint32_t version, branch; } known[] = {{11080, 520}, {12000, 525}, {12010, 530}, {12020, 535}, {12030, 545},
        {12040, 550}, {12050, 555}, {12060, 560}, {12080, 570}, {12090, 575}, {13000, 580}, {13010, 590}, {13020, 595}, {13030, 605}, {13040, 615}};
    uint32_t branch = 470;
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].version <= version)
            branch = known[i].branch;
    return branch;
}

bool fk_settings_word(struct fk_world *world, const char *text)
{
    char copy[128];
    snprintf(copy, sizeof copy, "%s", text);
    return word(world, copy);
}

const char *fk_settings_apply(struct fk_world *world, const char *text)
{
    static char wrong[128];
    defaults(world);
    while (text && *text) {
        size_t n = strcspn(text, " \t\n;");
        char copy[128];
        if (n >= sizeof copy)
            return text;
        memcpy(copy, text, n);
        copy[n] = 0;
        snprintf(wrong, sizeof wrong, "%s", copy);
        if (n && !word(world, copy))
            return wrong;
        text += n + (text[n] != 0);
    }
    if (!world->nvml)
        world->nvml = branch_of(world->driver);
    if (!world->slots || world->slots > 32)
        world->slots = 1;
    if (world->devices > FK_DEVICES)
        world->devices = FK_DEVICES;
    snprintf(world->driver_text, sizeof world->driver_text, "%u.54.15", world->nvml);
    return NULL;
}
