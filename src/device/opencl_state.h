/* opencl_state.h - what the opencl backend (opencl_backend.c) and its audits (opencl_audit.c) share. */
#pragma once
#include "base/vec.h"
#include "device/judge.h"
#include "device/leases.h"
#include "device/opencl_backend.h"

#define LAYER       "libfgpu_opencl.so"
#define DRIVERS_MAX 32

/* What audits remember of a vGPU. */
struct suspects { struct fg_suspect *items; size_t count, cap; };
struct watched {
    char name[64];
    struct suspects suspects;
    struct fg_truth truth;
    bool told;                           /* the last look found the kernel's count over the books */
};
struct opencl_state {
    struct fg_opencl_list found;
    struct fg_error none;                /* why there is no device; code NONE when there is */
    void *host;                          /* of the cpu backend */
    uint64_t host_bytes;
    struct fg_leases *leases;            /* NULL: doctor */
    char *mode, *shims, *vendors;
    bool layer, can_look;
    char *drivers[DRIVERS_MAX];
    size_t driver_count;
    FG_VEC(struct watched) watched;
};

/* NULL: it is not listed (any more). */
const struct fg_opencl_device *opencl_found(const struct opencl_state *s, const char *device);

/* --- opencl_audit.c --- */
int opencl_audit(void *state, const char *device, const char *name, const int32_t *pids, size_t count, struct fg_vgpu_offence *ret);
void opencl_audit_forget(struct opencl_state *s, const char *name);
void opencl_audit_fini(struct opencl_state *s);
