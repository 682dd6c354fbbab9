/* cuda_bench.c - what the CUDA shim adds to a call, over a driver that does nothing.
 * usage: cuda_bench                    all figures
 *        cuda_bench WHAT N [LIVE]      N calls and nothing else, to be counted by callgrind: launch, copy, pair (cuMemAlloc and
 *                                      cuMemFree with LIVE others); with the prefix direct_ without the shim; none */
#include "front.h"
#include "shim/cuda/cuda_abi.h"

struct calls {
    CUresult (*init)(unsigned int);
    CUresult (*retain)(CUcontext *, CUdevice);
    CUresult (*alloc)(CUdeviceptr *, size_t);
    CUresult (*free)(CUdeviceptr);
    CUresult (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **);
    CUresult (*copy)(CUdeviceptr, const void *, size_t, CUstream);
    CUresult (*sync)(CUstream);
};

static void find(struct calls *cu, int direct)
{
    CUcontext context;
    void *library = front_open(direct);
    *(void **)&cu->init = dlsym(library, "cuInit");
    *(void **)&cu->retain = dlsym(library, "cuDevicePrimaryCtxRetain");
    *(void **)&cu->alloc = dlsym(library, "cuMemAlloc_v2");
    *(void **)&cu->free = dlsym(library, "cuMemFree_v2");
    *(void **)&cu->launch = dlsym(library, "cuLaunchKernel");
    *(void **)&cu->copy = dlsym(library, "cuMemcpyHtoDAsync_v2");
    *(void **)&cu->sync = dlsym(library, "cuStreamSynchronize");
    must(cu->init(0) == CUDA_SUCCESS && cu->retain(&context, 0) == CUDA_SUCCESS, "cuInit");
}

static CUstream const stream = (CUstream)(uintptr_t)0x7f0000001000;

static void launches(const void *how, long n)
{
    const struct calls *cu = how;
    for (long i = 0; i < n; i++)
        cu->launch((CUfunction)(uintptr_t)(0x7f0000002000 + i % 7 * 64), 128, 1, 1, 256, 1, 1, 0, stream, NULL, NULL);
}

static void copies(const void *how, long n)
{
    const struct calls *cu = how;
    for (long i = 0; i < n; i++)
        cu->copy(0x700000000000, NULL, 4096, stream);
}

static void pairs(const void *how, long n)
{
    const struct calls *cu = how;
    CUdeviceptr pointer;
    for (long i = 0; i < n; i++) {
        cu->alloc(&pointer, 4096);
        cu->free(pointer);
    }
}

static void live(const struct calls *cu, long n)
{
    CUdeviceptr pointer;
    for (long i = 0; i < n; i++)
        must(cu->alloc(&pointer, 512) == CUDA_SUCCESS, "cuMemAlloc");
}

static void figures(void)
{
    static const long counts[] = {0, 1000, 99000};
    struct calls direct, shim;
    char what[64];
    long all = 0;
    find(&direct, 1);
    find(&shim, 0);
    pairs_pin();
    pairs_print("cuLaunchKernel", launches, &direct, &shim, 4000);
    pairs_print("cuMemcpyHtoDAsync", copies, &direct, &shim, 4000);
    shim.sync(stream);
    for (size_t i = 0; i < 3; i++) {
        live(&shim, counts[i]);
        all += counts[i];
        snprintf(what, sizeof what, "cuMemAlloc + cuMemFree, %ld live", all);
        pairs_print(what, pairs, &direct, &shim, 500);
    }
}

int main(int argc, char **argv)
{
    front_start("libcuda.so.1", SHIM, NULL_DRIVER);
    if (argc < 3) {
        figures();
    } else {
        const char *what = argv[1];
        struct calls cu;
        int direct = !strncmp(what, "direct_", 7);
        find(&cu, direct);
        what += direct ? 7 : 0;
        live(&cu, argc > 3 ? atol(argv[3]) : 0);
        if (!strcmp(what, "launch"))
            launches(&cu, atol(argv[2]));
        else if (!strcmp(what, "copy"))
            copies(&cu, atol(argv[2]));
        else if (!strcmp(what, "pair"))
            pairs(&cu, atol(argv[2]));
    }
    front_end();
    return 0;
}
