/* generated.c - the exported functions: those of api/cuda.toml, each in the driver's name. */
#include "shim/cuda/shim.h"

#include "cuda_functions.h"

static void *const hooks[FGCU_WRAPPED] = {
#define HOOK(export, base, since, own) [FGCU_##export] = (void *)export,
    FGCU_WRAPPED_LIST(HOOK)
#undef HOOK
};

void *fgcu_hook(unsigned function) { return hooks[function]; }
