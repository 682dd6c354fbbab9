/* shim.h - the management library's front end: a task in a vGPU sees its slice as the device.
 *
 *     nvidia-smi, PyTorch -> our libnvidia-ml.so.1 --what api/nvml.toml names--> the lease page (quota, use, processes)
 *                                                  --all else, by the loader---> the driver's library
 *
 * The driver's library is a dependency of ours, named by a path beside us ($ORIGIN/driver), so that what we do not export
 * is found there. Without a lease, or with one of another vendor's device, every call is the driver's. Attached at the
 * first call; any thread; libc alone; nothing is printed. Answers come from the lease page: no view can disagree with
 * the driver front end's, and no other tenant is seen. */
#pragma once
#include "fgpu/nvml_abi.h"
#include "nvml_table.h"
#include "vgpu/ledger.h"

#define FGML_EXPORT __attribute__((visibility("default")))

struct fgml {
    uint32_t lock, ready;
    struct fg_lease lease;           /* lease.limits NULL: none */
    enum fg_lease_status refused;    /* not OK: why nothing begins */
    void *next[FGML_FUNCTIONS];      /* the driver's; NULL: it has none */
};
/* The one of this process, attached. */
struct fgml *fgml(void);
void *fgml_next(enum fgml_function function);
/* Whether a lease limits this device's view: a lease that is of an NVIDIA device. What it is not of is shown to nobody. */
int fgml_limited(nvmlDevice_t device);
/* How a call about the device is answered. */
enum fgml_scope { FGML_WHOLE, FGML_OURS, FGML_FOREIGN };
enum fgml_scope fgml_scope(nvmlDevice_t device);

/* A process of the vGPU that uses the device. */
struct fgml_process { uint32_t pid; uint64_t used_bytes, device_ns; };
/* Those of our pid namespace, each once. out: FG_SLOTS. Returns how many. */
unsigned fgml_processes(struct fgml_process *out);

/* The driver's function of the same name; FGML_PASS calls it or says that there is none. */
#define FGML_NEXT(name, type) ((NVML_FN_##type *)fgml_next(FGML_##name))
#define FGML_PASS(name, type, ...) \
    (FGML_NEXT(name, type) ? FGML_NEXT(name, type)(__VA_ARGS__) : NVML_ERROR_FUNCTION_NOT_FOUND)

#define FGML_DECLARE(name, type) FGML_EXPORT type name;
FGML_HAND_LIST(FGML_DECLARE)
