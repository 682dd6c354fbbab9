/* rsmi.c - see rsmi.h. */
#include "device/rsmi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

#define SUCCESS     0
#define MEMORY_VRAM 0
#define BLOCK_UMC   1

struct error_count { uint64_t correctable, uncorrectable; };
#define RSMI_CALLS(X) \
    X(rsmi_init, (uint64_t flags), 1) X(rsmi_shut_down, (void), 1) X(rsmi_num_monitor_devices, (uint32_t * count), 1) \
    X(rsmi_dev_name_get, (uint32_t device, char *name, size_t size), 1) X(rsmi_dev_unique_id_get, (uint32_t device, uint64_t *id), 0) \
    X(rsmi_dev_pci_id_get, (uint32_t device, uint64_t *id), 1) \
    X(rsmi_dev_memory_total_get, (uint32_t device, int type, uint64_t *bytes), 1) \
    X(rsmi_dev_memory_usage_get, (uint32_t device, int type, uint64_t *bytes), 0) \
    X(rsmi_dev_ecc_count_get, (uint32_t device, int block, struct error_count *count), 0)

struct fg_rsmi {
    void *library;
#define MEMBER(name, parameters, needed) int (*name) parameters;
    RSMI_CALLS(MEMBER)
};

int fg_rsmi_open(struct fg_rsmi **ret, const char *library, struct fg_error *err)
{
    static const char *const names[] = {"librocm_smi64.so.7", "librocm_smi64.so.6", "librocm_smi64.so.5", "librocm_smi64.so.1", "librocm_smi64.so"};
    if (!library && access("/dev/kfd", F_OK) != 0 && access("/sys/module/amdgpu", F_OK) != 0)
        return fg_fail(err, FG_E_UNSUPPORTED, "no AMD driver (amdgpu) is loaded"); /* the library would print so, too */
    struct fg_rsmi *r = fg_alloc(sizeof *r);
    const char *lacks = NULL;
    *r = (struct fg_rsmi){0};
    if (library)
        r->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; !library && !r->library && i < FG_COUNT(names); i++)
        r->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!r->library) {
        free(r);
        return fg_fail(err, FG_E_UNSUPPORTED, "no ROCm SMI library");
    }
#define FIND(name, parameters, needed) \
    *(void **)&r->name = dlsym(r->library, #name); \
    if ((needed) && !r->name) \
        lacks = #name;
    RSMI_CALLS(FIND)
    int status = lacks ? 0 : r->rsmi_init(0);
    if (!lacks && status == SUCCESS) {
        *ret = r;
        return 0;
    }
    dlclose(r->library);
    free(r);
    if (lacks)
        return fg_fail(err, FG_E_UNSUPPORTED, "the ROCm SMI library has no %s: it is too old", lacks);
    return fg_fail(err, FG_E_UNSUPPORTED, "the AMD driver does not answer (ROCm SMI status %d)", status);
}

void fg_rsmi_close(struct fg_rsmi *r)
{
    if (!r)
        return;
    r->rsmi_shut_down();
    dlclose(r->library);
    free(r);
}

/* domain:32 .. bus:8 device:5 function:3 */
static void pci_text(uint64_t id, char *ret, size_t size)
{
    snprintf(ret, size, "%04x:%02x:%02x.%u", (unsigned)(id >> 32) & 0xffff, (unsigned)(id >> 8) & 0xff, (unsigned)(id >> 3) & 0x1f,
             (unsigned)id & 7);
}

int fg_rsmi_gpus(struct fg_rsmi *r, struct fg_rsmi_gpu *ret, size_t max, size_t *ret_count, struct fg_error *err)
{
    uint32_t count = 0;
    int status = r->rsmi_num_monitor_devices(&count);
    if (status != SUCCESS)
        return fg_fail(err, FG_E_UNSUPPORTED, "the AMD driver does not list its devices (ROCm SMI status %d)", status);
    *ret_count = 0;
    for (uint32_t i = 0; i < count && *ret_count < max; i++) {
        struct fg_rsmi_gpu gpu = {.lost = false};
        uint64_t id = 0, pci = 0;
        struct error_count errors = {0};
        gpu.lost = r->rsmi_dev_pci_id_get(i, &pci) != SUCCESS || r->rsmi_dev_memory_total_get(i, MEMORY_VRAM, &gpu.total_bytes) != SUCCESS;
        pci_text(pci, gpu.pci, sizeof gpu.pci);
        if (!r->rsmi_dev_unique_id_get || r->rsmi_dev_unique_id_get(i, &id) != SUCCESS)
            id = pci;                    /* older devices have none: their place names them */
        snprintf(gpu.id, sizeof gpu.id, "GPU-%016llx", (unsigned long long)id);
        if (r->rsmi_dev_name_get(i, gpu.name, sizeof gpu.name) != SUCCESS)
            snprintf(gpu.name, sizeof gpu.name, "AMD GPU");
        if (r->rsmi_dev_memory_usage_get && r->rsmi_dev_memory_usage_get(i, MEMORY_VRAM, &gpu.used_bytes) != SUCCESS)
            gpu.used_bytes = 0;
        if (r->rsmi_dev_ecc_count_get && r->rsmi_dev_ecc_count_get(i, BLOCK_UMC, &errors) == SUCCESS)
            gpu.ecc_uncorrected = errors.uncorrectable;
        ret[(*ret_count)++] = gpu;
    }
    return 0;
}
