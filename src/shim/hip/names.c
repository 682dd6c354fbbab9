/* names.c - who asks the library for a function gets ours, of exactly the variant that the library chose. It looks names up in a
 * handle that it opened by its soname, so it may find ours by itself; else its answer is one of its exports; else the name
 * decides. fgcu.next is left as it is: ours put there would call itself. */
#include <stdio.h>
#include <string.h>

#include "shim/hip/shim.h"

static int by_pointer(const void *pointer)
{
    for (unsigned i = 0; i < FGCU_WRAPPED; i++)
        if (pointer == fghip_export(i))
            return (int)i;
    return -1;
}

static int by_name(const char *name)
{
    for (unsigned i = 0; i < FGCU_WRAPPED; i++)
        if (strcmp(fgcu_name(i), name) == 0)
            return (int)i;
    return -1;
}

static int is_ours(const void *pointer)
{
    for (unsigned i = 0; i < FGCU_WRAPPED; i++)
        if (pointer == fgcu_hook(i))
            return 1;
    return 0;
}

static CUresult substitute(CUresult result, const char *symbol, void **pointer, int own_thread)
{
    char own[128];
    if (result != CUDA_SUCCESS || !symbol || !pointer || !*pointer || (!fgcu_attached() && fgcu.refused == FG_LEASE_OK) || is_ours(*pointer))
        return result;
    int function = by_pointer(*pointer);
    if (function < 0 && own_thread && snprintf(own, sizeof own, "%s_spt", symbol) < (int)sizeof own)
        function = by_name(own);
    if (function < 0)
        function = by_name(symbol);
    if (function >= 0)
        *pointer = fgcu_hook((unsigned)function);
    return result;
}

CUresult fgcu_do_hipGetProcAddress(unsigned which, const char *symbol, void **pointer, int version, cuuint64_t flags, void *status)
{
    int own = which == FGCU_hipGetProcAddress_spt || flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    return substitute(FGCU_WHICH(hipGetProcAddress)(symbol, pointer, version, flags, status), symbol, pointer, own);
}

CUresult fgcu_do_hipGetDriverEntryPoint(unsigned which, const char *symbol, void **pointer, unsigned long long flags, void *status)
{
    int own = which == FGCU_hipGetDriverEntryPoint_spt || flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    return substitute(FGCU_WHICH(hipGetDriverEntryPoint)(symbol, pointer, flags, status), symbol, pointer, own);
}
