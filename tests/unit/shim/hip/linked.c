/* linked.c - a program that was linked with libamdhip64, without or with versions of its symbols: does it meet the front end? It ends
 * with 0 if it sees the device of its slice, whose size is the argument; 0 for no device at all. */
#include <stdlib.h>

#include "shim/hip/hip_abi.h"

CUresult hipInit(unsigned flags);
CUresult hipGetDeviceCount(int *count);
CUresult hipMalloc(void **pointer, size_t bytes);
CUresult hipMemGetInfo(size_t *free_bytes, size_t *total);

static int sees_nothing(void)
{
    int count;
    void *pointer;
    const char *visible = getenv("ROCR_VISIBLE_DEVICES");
    return hipInit(0) == CUDA_ERROR_NO_DEVICE && hipGetDeviceCount(&count) == CUDA_ERROR_NO_DEVICE &&
           hipMalloc(&pointer, 1) == CUDA_ERROR_NO_DEVICE && visible && !*visible;
}

int main(int argc, char **argv)
{
    size_t free_bytes, total, expected = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    if (!expected)
        return sees_nothing() ? 0 : 1;
    return hipMemGetInfo(&free_bytes, &total) == CUDA_SUCCESS && total == expected ? 0 : 1;
}
