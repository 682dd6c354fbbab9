/* rsmi.h - AMD's management library (ROCm SMI), opened at run time: what devices there are and how they are. One thread.
 * Its ABI as of ROCm 5 to 7, declared in rsmi.c; a test compares that with the installed header. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct fg_rsmi;
struct fg_rsmi_gpu {
    char id[24];                         /* "GPU-0123456789abcdef", as ROCR_VISIBLE_DEVICES takes it */
    char name[64];
    char pci[16];                        /* "0000:03:00.0" */
    uint64_t total_bytes, used_bytes;
    uint64_t ecc_uncorrected;            /* of its memory; 0 where it has none */
    bool lost;
};
/* library NULL: librocm_smi64.so of any ABI. FG_E_UNSUPPORTED: no library or no driver. */
int fg_rsmi_open(struct fg_rsmi **ret, const char *library, struct fg_error *err);
void fg_rsmi_close(struct fg_rsmi *rsmi);
int fg_rsmi_gpus(struct fg_rsmi *rsmi, struct fg_rsmi_gpu *ret, size_t max, size_t *ret_count, struct fg_error *err);
