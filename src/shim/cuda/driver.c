/* driver.c - find the driver's functions; what a program without a lease it can use is told. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "shim/beside.h"
#include "shim/cuda/shim.h"

void *fgcu_beside(const char *name, int mode) { return fg_beside((const void *)fgcu_beside, name, mode); }

struct fgcu fgcu;

static CUresult missing(void) { return CUDA_ERROR_NOT_FOUND; }

static const char *const names[FGCU_ALL] = {
#define NAME(export, base, since, own) [FGCU_##export] = #export,
    FGCU_WRAPPED_LIST(NAME)
#undef NAME
#define NAME(used) [FGCU_##used] = #used,
    FGCU_USED_LIST(NAME)
#undef NAME
};

const char *fgcu_name(unsigned function) { return names[function]; }
int fgcu_has(unsigned function) { return fgcu.next[function] != (void *)missing; }

/* When the library is loaded, since a program may call anything first. Not one symbol is looked up later. */
static __attribute__((constructor)) void find_driver(void)
{
    fgcu.driver = fgcu_beside("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    for (unsigned i = 0; i < FGCU_ALL; i++) {
        void *found = fgcu.driver ? dlsym(fgcu.driver, names[i]) : NULL;
        fgcu.next[i] = found ? found : (void *)missing;
    }
}

/* The lease's device by its UUID, in the driver's own terms: then it is the only one that the program sees, whatever order
 * was asked for. A program that asked for none gets none. */
void fgcu_only_device(const char *device)
{
    const char *uuid = strstr(device, "GPU-"), *asked = getenv("CUDA_VISIBLE_DEVICES");
    if (!uuid)
        uuid = strstr(device, "MIG-");
    if (uuid && !(asked && (!*asked || *asked == '-')))
        setenv("CUDA_VISIBLE_DEVICES", uuid, 1);
}

CUresult fgcu_do_cuInit(unsigned which, unsigned int flags)
{
    fgcu_attach();
    if (fgcu.refused != FG_LEASE_OK)
        return CUDA_ERROR_SYSTEM_NOT_READY;
    return FGCU_WHICH(cuInit)(flags);
}

CUresult fgcu_do_cuGetErrorString(unsigned which, CUresult error, const char **text)
{
    if (error != CUDA_ERROR_SYSTEM_NOT_READY || fgcu.refused == FG_LEASE_OK || !text)
        return FGCU_WHICH(cuGetErrorString)(error, text);
    *text = fg_lease_text(fgcu.refused);
    return CUDA_SUCCESS;
}
