/* nvml.h - NVIDIA's management library, opened at run time: what devices there are, how they are, who uses them.
 * One thread. Nothing is linked: a machine without the driver gets FG_E_UNSUPPORTED and goes on. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define FG_NVML_GPUS 64 /* of one machine, MIG instances counted each */

struct fg_nvml;

/* A GPU, or a MIG instance of one where its GPU is cut by the hardware. */
struct fg_nvml_gpu {
    char uuid[80];                   /* "GPU-...", "MIG-..." */
    char name[64];                   /* product, "NVIDIA H200"; with the profile for an instance */
    char pci[32];                    /* "00000000:3B:00.0" of the GPU */
    uint32_t minor;                  /* of /dev/nvidia<minor> */
    uint32_t units;                  /* SMs, 0: unknown */
    uint64_t total_bytes, reserved_bytes, used_bytes; /* reserved: kept by the driver, never free */
    bool mig;                        /* an instance */
    bool cut;                        /* a GPU in MIG mode: its instances are the devices */
    /* how it is */
    bool lost;                       /* fallen off the bus, or wants a reset */
    uint64_t throttle;               /* nvmlClocksEventReason* bits, of now */
    uint64_t ecc_uncorrected;        /* since the driver was loaded; 0 where there is no ECC */
};
struct fg_nvml_process { uint32_t pid; uint64_t used_bytes; /* UINT64_MAX: not told */ };
struct fg_nvml_busy { uint32_t pid; uint32_t percent; /* of SM time, over about a second */ };
struct fg_nvml_fault { char uuid[80]; uint64_t xid; };

/* library NULL: libnvidia-ml.so.1. FG_E_UNSUPPORTED: no library, no driver, or no permission; the message says which. */
int fg_nvml_open(struct fg_nvml **ret, const char *library, struct fg_error *err);
void fg_nvml_close(struct fg_nvml *nvml);
/* Where the driver's library of this name is: beside the management library. The caller's to free; NULL: not there. */
char *fg_nvml_library(const struct fg_nvml *nvml, const char *name);
/* "570.86.15" and its first number. */
const char *fg_nvml_driver(const struct fg_nvml *nvml);
unsigned fg_nvml_driver_major(const struct fg_nvml *nvml);

/* All of them, in the library's order. A GPU that cannot be asked is listed as lost. */
int fg_nvml_gpus(struct fg_nvml *nvml, struct fg_nvml_gpu *ret, size_t max, size_t *ret_count, struct fg_error *err);
/* What is free on it now. Any thread. */
int fg_nvml_free(const struct fg_nvml *nvml, const char *uuid, uint64_t *ret_bytes, struct fg_error *err);
/* Processes with memory on it, in the pids of this namespace. FG_E_UNSUPPORTED: the driver does not tell (some sandboxes). */
int fg_nvml_processes(struct fg_nvml *nvml, const char *uuid, struct fg_nvml_process *ret, size_t max, size_t *ret_count,
                      struct fg_error *err);
/* Who computed since the last call; empty where the driver does not tell. Returns how many. */
size_t fg_nvml_busy(struct fg_nvml *nvml, const char *uuid, struct fg_nvml_busy *ret, size_t max);
/* One fault that was reported since: critical Xid errors. False: none. Never waits. */
bool fg_nvml_fault(struct fg_nvml *nvml, struct fg_nvml_fault *ret);

/* Memory limits of a cgroup, kept by the driver (r615 and later; cgroup v2; root). */
bool fg_nvml_can_limit(const struct fg_nvml *nvml);
int fg_nvml_limit(struct fg_nvml *nvml, const char *uuid, const char *cgroup, uint64_t hard_bytes, struct fg_error *err);
