/* opencl.h - the OpenCL devices of this machine, found without linking OpenCL.
 *
 * The loader and the drivers it loads are other people's code: they are asked in a short-lived child process, so that
 * one that crashes, hangs or prints cannot harm the caller. Devices are numbered over all platforms in the loader's
 * order: opencl0 is the first device of the first platform that has one. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define FG_OPENCL_MAX      32
#define FG_OPENCL_PACKAGES "apt install ocl-icd-libopencl1 pocl-opencl-icd"

enum fg_opencl_type { FG_OPENCL_OTHER, FG_OPENCL_CPU, FG_OPENCL_ACCELERATOR, FG_OPENCL_GPU };
struct fg_opencl_device {
    char name[64]; /* "opencl0" */
    char kind[64]; /* as its driver calls it, one printable line */
    char platform[64], driver[64];
    enum fg_opencl_type type;
    uint32_t units;                       /* compute units */
    uint64_t memory_bytes, largest_bytes; /* of the device; of one allocation */
};
struct fg_opencl_list {
    size_t count;
    struct fg_opencl_device devices[FG_OPENCL_MAX];
    char why[200]; /* what kept the list from being whole; "" when nothing did */
};
struct fg_opencl_probe {
    const char *library; /* NULL: libOpenCL.so.1 */
    int timeout_ms;      /* 0: 20 s */
};

/* List what is there. probe may be NULL. A driver that crashes after some devices were told: 0, those, and why.
 * FG_E_UNSUPPORTED: no loader, no driver or no device; the hint names the packages. FG_E_TIMEOUT: a driver hangs.
 * Forks: the caller must not hold locks that a driver might want. */
int fg_opencl_list(const struct fg_opencl_probe *probe, struct fg_opencl_list *ret, struct fg_error *err);
/* File name stems of the drivers that a folder of .icd files names ("libpocl.so"), at most max, the caller's to free. */
size_t fg_opencl_drivers(const char *vendors, char **ret, size_t max);
/* The device in the words of its drivers, the same for every user of the machine: platform, kind, and which of those that are
 * alike. At most size bytes. */
void fg_opencl_key(const struct fg_opencl_list *list, const struct fg_opencl_device *device, char *buf, size_t size);
const char *fg_opencl_type_name(enum fg_opencl_type type); /* "gpu", "cpu", "accelerator", "other" */
