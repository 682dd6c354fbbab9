/* cuda_escape.h - what the ways of cuda_escape.c have in common: a driver, however it was found, and how much it gives. */
#pragma once
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim/cuda/cuda_abi.h"

enum { MOST = 24 };
static const size_t CHUNK = (size_t)64 << 20;
static char real[4096]; /* the machine's libcuda.so.1 */
extern char **environ;

/* --- a driver, however it was found --- */

struct cuda {
    CUresult (*init)(unsigned);
    CUresult (*retain)(CUcontext *, CUdevice);
    CUresult (*set)(CUcontext);
    CUresult (*alloc)(CUdeviceptr *, size_t);
};
typedef void *find_fn(void *library, const char *name);

static void die(const char *what)
{
    printf("%s\n", what);
    fflush(stdout);
    _exit(3);
}

static void *by_dlsym(void *library, const char *name) { return dlsym(library, name); }
static void *by_dlvsym(void *library, const char *name) { return dlvsym(library, name, "LIBCUDA_1"); }

static void *by_default(void *library, const char *name) { return dlsym(RTLD_DEFAULT, name); }

static struct cuda found(void *library, find_fn *find)
{
    if (!library)
        die("no driver");
    struct cuda cu = {(CUresult (*)(unsigned))find(library, "cuInit"), (CUresult (*)(CUcontext *, CUdevice))find(library, "cuDevicePrimaryCtxRetain"),
                      (CUresult (*)(CUcontext))find(library, "cuCtxSetCurrent"), (CUresult (*)(CUdeviceptr *, size_t))find(library, "cuMemAlloc_v2")};
    if (!cu.init || !cu.alloc)
        die("no function");
    return cu;
}

static void begin(const struct cuda *cu)
{
    CUcontext context;
    if (cu->init(0) != CUDA_SUCCESS)
        die("no device");
    if (cu->retain(&context, 0) != CUDA_SUCCESS || cu->set(context) != CUDA_SUCCESS)
        die("no context");
}

static int fill(const struct cuda *cu, int most)
{
    CUdeviceptr p;
    int got = 0;
    while (got < most && cu->alloc(&p, CHUNK) == CUDA_SUCCESS)
        got++;
    return got;
}

/* Holds what it has until the test has seen it, or until it is stopped. */
static int say(int got)
{
    char byte;
    printf("granted %d\n", got);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}

static int try(struct cuda cu)
{
    begin(&cu);
    return say(fill(&cu, MOST));
}

static int open_with(int flags) { return try(found(dlopen("libcuda.so.1", flags), by_dlsym)); }
static struct cuda ours(void) { return found(dlopen("libcuda.so.1", RTLD_NOW), by_dlsym); }
static struct cuda theirs(void) { return found(dlopen(real, RTLD_NOW | RTLD_LOCAL), by_dlsym); }
