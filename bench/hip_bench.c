/* hip_bench.c - what the HIP front end adds to a call, over a library that does nothing. usage: hip_bench */
#include "front.h"
#include "shim/cuda/cuda_abi.h"
#include "shim/hip/hip_abi.h"

struct calls {
    CUresult (*alloc)(void **, size_t);
    CUresult (*free)(void *);
    CUresult (*launch)(const void *, dim3, dim3, void **, size_t, hipStream_t);
    CUresult (*copy)(void *, const void *, size_t, int, hipStream_t);
    CUresult (*sync)(hipStream_t);
};

static void find(struct calls *hip, int direct)
{
    void *library = front_open(direct);
    *(void **)&hip->alloc = dlsym(library, "hipMalloc");
    *(void **)&hip->free = dlsym(library, "hipFree");
    *(void **)&hip->launch = dlsym(library, "hipLaunchKernel");
    *(void **)&hip->copy = dlsym(library, "hipMemcpyAsync");
    *(void **)&hip->sync = dlsym(library, "hipStreamSynchronize");
    must(hip->alloc && hip->free && hip->launch && hip->copy && hip->sync, "dlsym");
}

static void *const stream = (void *)(uintptr_t)0x7f0000001000;

static void launches(const void *how, long n)
{
    const struct calls *hip = how;
    for (long i = 0; i < n; i++)
        hip->launch((const void *)(uintptr_t)(0x7f0000002000 + i % 7 * 64), (dim3){128, 1, 1}, (dim3){256, 1, 1}, NULL, 0, stream);
}

static void copies(const void *how, long n)
{
    const struct calls *hip = how;
    for (long i = 0; i < n; i++)
        hip->copy((void *)(uintptr_t)0x700000000000, NULL, 4096, 1, stream);
}

static void pairs(const void *how, long n)
{
    const struct calls *hip = how;
    void *pointer;
    for (long i = 0; i < n; i++) {
        hip->alloc(&pointer, 4096);
        hip->free(pointer);
    }
}

int main(void)
{
    static const long counts[] = {0, 1000, 99000};
    struct calls direct, shim;
    char what[64];
    void *pointer;
    long all = 0;
    front_start("libamdhip64.so.6", SHIM, NULL_DRIVER);
    find(&shim, 0); /* its driver is the one that we find next */
    find(&direct, 1);
    pairs_pin();
    pairs_print("hipLaunchKernel", launches, &direct, &shim, 4000);
    pairs_print("hipMemcpyAsync", copies, &direct, &shim, 4000);
    shim.sync(stream);
    for (size_t i = 0; i < 3; i++) {
        for (long k = 0; k < counts[i]; k++)
            must(shim.alloc(&pointer, 512) == CUDA_SUCCESS, "hipMalloc");
        all += counts[i];
        snprintf(what, sizeof what, "hipMalloc + hipFree, %ld live", all);
        pairs_print(what, pairs, &direct, &shim, 500);
    }
    front_end();
    return 0;
}
