/* fake_rsmi.c - a stand-in for ROCm SMI: two devices, told by FAKE_RSMI: "none" has no driver, "lost" lost the second. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is(const char *word) { const char *v = getenv("FAKE_RSMI"); return v && strcmp(v, word) == 0; }

int rsmi_init(uint64_t flags);
int rsmi_shut_down(void);
int rsmi_num_monitor_devices(uint32_t *count);
int rsmi_dev_name_get(uint32_t device, char *name, size_t size);
int rsmi_dev_unique_id_get(uint32_t device, uint64_t *id);
int rsmi_dev_pci_id_get(uint32_t device, uint64_t *id);
int rsmi_dev_memory_total_get(uint32_t device, int type, uint64_t *bytes);
int rsmi_dev_memory_usage_get(uint32_t device, int type, uint64_t *bytes);
int rsmi_dev_ecc_count_get(uint32_t device, int block, uint64_t *count);

int rsmi_init(uint64_t flags) { return is("none") ? 8 : 0; }
int rsmi_shut_down(void) { return 0; }
int rsmi_num_monitor_devices(uint32_t *count) { *count = 2; return 0; }
int rsmi_dev_name_get(uint32_t device, char *name, size_t size) { return snprintf(name, size, "AMD Instinct MI%u", 210 + device) < 0; }
int rsmi_dev_unique_id_get(uint32_t device, uint64_t *id) { *id = 0xabcd0000u + device; return device ? 2 : 0; }
int rsmi_dev_pci_id_get(uint32_t device, uint64_t *id) { *id = (uint64_t)1 << 32 | 0x83u << 8 | device << 3; return 0; }
int rsmi_dev_memory_total_get(uint32_t device, int type, uint64_t *bytes) { *bytes = UINT64_C(64) << 30; return type == 0 ? device && is("lost") : 1; }
int rsmi_dev_memory_usage_get(uint32_t device, int type, uint64_t *bytes) { *bytes = UINT64_C(1) << 20; return type != 0; }
int rsmi_dev_ecc_count_get(uint32_t device, int block, uint64_t *count) { count[0] = 5; count[1] = device; return block != 1; }
