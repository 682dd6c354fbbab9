/* common.h - what the programs of this folder begin with. */
#pragma once
#include <string.h>
#include <time.h>

#include "driver.h"

#define DO(call) do { CUresult r_ = (call); if (r_) { fprintf(stderr, "%s:%d: %s: %s (%d)\n", __FILE__, __LINE__, #call, cu_name(r_), r_); exit(1); } } while (0)

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The value of `--name value`, or fallback. */
static inline const char *option(int argc, char **argv, const char *name, const char *fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name))
            return argv[i + 1];
    return fallback;
}

/* Driver (--driver PATH), device (--device N) and its primary context. Returns the number of its processors. */
static inline int begin(int argc, char **argv)
{
    if (cu_load(option(argc, argv, "--driver", NULL)))
        exit(77); /* no driver: nothing was checked */
    int device = atoi(option(argc, argv, "--device", "0")), sms;
    CUcontext ctx;
    CUresult r = cu.cuInit(0);
    if (r == CUDA_ERROR_NO_DEVICE)
        exit(77);
    DO(r);
    DO(cu.cuDevicePrimaryCtxRetain(&ctx, device));
    DO(cu.cuCtxSetCurrent(ctx));
    DO(cu.cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device));
    return sms;
}
