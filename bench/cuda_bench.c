/* cuda_bench.c - what the CUDA shim adds to a call, over a driver that does nothing.
 * usage: cuda_bench                    all figures
 *        cuda_bench WHAT N [LIVE]      N calls and nothing else, to be counted by callgrind: launch, copy, pair (cuMemAlloc and
 *                                      cuMemFree with LIVE others); with the prefix direct_ without the shim; none */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shim/cuda/cuda_abi.h"
#include "vgpu/page.h"
#include "vgpu/server.h"

#define GIB (UINT64_C(1) << 30)

static struct fg_vgpu_server *server;
static char folder[64];

static struct {
    CUresult (*init)(unsigned int);
    CUresult (*retain)(CUcontext *, CUdevice);
    CUresult (*alloc)(CUdeviceptr *, size_t);
    CUresult (*free)(CUdeviceptr);
    CUresult (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **);
    CUresult (*copy)(CUdeviceptr, const void *, size_t, CUstream);
    CUresult (*sync)(CUstream);
} cu;

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "cuda_bench: %s failed\n", what);
    exit(1);
}

/* FOLDER/libcuda.so.1 -> the shim, FOLDER/driver/libcuda.so.1 -> the driver. */
static void make_folder(void)
{
    char path[128];
    snprintf(folder, sizeof folder, "/tmp/fastgpu-bench-XXXXXX");
    must(mkdtemp(folder) != NULL, "mkdtemp");
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    must(symlink(SHIM, path) == 0, "symlink");
    snprintf(path, sizeof path, "%s/driver", folder);
    must(mkdir(path, 0700) == 0, "mkdir");
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    must(symlink(NULL_DRIVER, path) == 0, "symlink");
}

static void remove_folder(void)
{
    static const char *const names[] = {"driver/libcuda.so.1", "driver", "libcuda.so.1", ""};
    char path[128];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
}

static void find(const char *name)
{
    char path[128];
    CUcontext context;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    must(library != NULL, "dlopen");
    *(void **)&cu.init = dlsym(library, "cuInit");
    *(void **)&cu.retain = dlsym(library, "cuDevicePrimaryCtxRetain");
    *(void **)&cu.alloc = dlsym(library, "cuMemAlloc_v2");
    *(void **)&cu.free = dlsym(library, "cuMemFree_v2");
    *(void **)&cu.launch = dlsym(library, "cuLaunchKernel");
    *(void **)&cu.copy = dlsym(library, "cuMemcpyHtoDAsync_v2");
    *(void **)&cu.sync = dlsym(library, "cuStreamSynchronize");
    must(cu.init(0) == CUDA_SUCCESS && cu.retain(&context, 0) == CUDA_SUCCESS, "cuInit");
}

static void start(void)
{
    struct fg_error err;
    struct fg_lease_spec spec = {.id = "bench", .device = "gpu0", .memory_bytes = 64 * GIB, .share_permille = 1000};
    char where[256];
    must(fg_vgpu_server_create(&server, NULL, &err) == 0 && fg_vgpu_server_device(server, "gpu0", 64 * GIB, &err) == 0 &&
             fg_vgpu_server_open(server, &spec, NULL, &err) == 0 && fg_vgpu_server_env(server, "bench", where, sizeof where, &err) == 0,
         "the server");
    setenv("FGPU_LEASE", where, 1);
    setenv("FGPU_CUDA_CONTEXT_BYTES", "0", 1);
    make_folder();
}

/* ---- the calls ---- */

static CUstream const stream = (CUstream)(uintptr_t)0x7f0000001000;

static void launches(long n)
{
    for (long i = 0; i < n; i++)
        cu.launch((CUfunction)(uintptr_t)(0x7f0000002000 + i % 7 * 64), 128, 1, 1, 256, 1, 1, 0, stream, NULL, NULL);
}
static void copies(long n)
{
    for (long i = 0; i < n; i++)
        cu.copy(0x700000000000, NULL, 4096, stream);
}
static void pairs(long n)
{
    CUdeviceptr pointer;
    for (long i = 0; i < n; i++) {
        cu.alloc(&pointer, 4096);
        cu.free(pointer);
    }
}
static void live(long n)
{
    CUdeviceptr pointer;
    for (long i = 0; i < n; i++)
        must(cu.alloc(&pointer, 512) == CUDA_SUCCESS, "cuMemAlloc");
}

static double best(void (*run)(long), long n)
{
    double least = 1e9;
    for (int round = 0; round < 7; round++) {
        int64_t began = fg_boot_ns();
        run(n);
        double ns = (double)(fg_boot_ns() - began) / (double)n;
        least = ns < least ? ns : least;
    }
    return least;
}

static void figures(void)
{
    static const long counts[] = {0, 1000, 99000};
    find("driver/libcuda.so.1");
    double launch = best(launches, 1000000), copy = best(copies, 1000000), pair = best(pairs, 300000);
    find("libcuda.so.1");
    launches(10000);
    copies(10000);
    cu.sync(stream);
    double gated = best(launches, 1000000), copied = best(copies, 1000000);
    printf("cuLaunchKernel, added %.1f ns (direct %.1f, gated %.1f)\n", gated - launch, launch, gated);
    printf("cuMemcpyHtoDAsync, added %.1f ns (direct %.1f, gated %.1f)\n", copied - copy, copy, copied);
    long all = 0;
    for (size_t i = 0; i < 3; i++) {
        live(counts[i]);
        all += counts[i];
        printf("cuMemAlloc + cuMemFree at %ld live, added %.1f ns\n", all, best(pairs, 300000) - pair);
    }
}

int main(int argc, char **argv)
{
    start();
    if (argc < 3) {
        figures();
    } else {
        const char *what = argv[1];
        int direct = !strncmp(what, "direct_", 7);
        find(direct ? "driver/libcuda.so.1" : "libcuda.so.1");
        what += direct ? 7 : 0;
        live(argc > 3 ? atol(argv[3]) : 0);
        if (!strcmp(what, "launch"))
            launches(atol(argv[2]));
        else if (!strcmp(what, "copy"))
            copies(atol(argv[2]));
        else if (!strcmp(what, "pair"))
            pairs(atol(argv[2]));
    }
    remove_folder();
    fg_vgpu_server_destroy(server);
    return 0;
}
