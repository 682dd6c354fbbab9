/* linked.c - a program that was linked with libamdhip64, without or with versions of its symbols: does it meet the front end? It ends
 * with 0 if it sees the device of its slice, whose size is the argument. */
#include <stdio.h>
#include <stdlib.h>

#include "shim/hip/hip_abi.h"

CUresult hipMemGetInfo(size_t *free_bytes, size_t *total);

int main(int argc, char **argv)
{
    size_t free_bytes, total;
    if (argc != 2 || hipMemGetInfo(&free_bytes, &total) != CUDA_SUCCESS)
        return 2;
    return total == strtoull(argv[1], NULL, 10) ? 0 : 1;
}
