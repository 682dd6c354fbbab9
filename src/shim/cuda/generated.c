/* generated.c - the exported functions: those of api/cuda.toml, each in the driver's name. */
#include "shim/cuda/shim.h"

/* Where parameters after the sixth lie on the stack as a structure of them would, and the compiler knows that it is the same place. */
#if defined(__x86_64__) && defined(__LP64__) && !defined(__clang__)
#define FGCU_STACK_KEPT 1
#else
#define FGCU_STACK_KEPT 0
#endif

#include "cuda_functions.h"

static void *const hooks[FGCU_WRAPPED] = {
#define HOOK(export, base, since, own) [FGCU_##export] = (void *)export,
    FGCU_WRAPPED_LIST(HOOK)
#undef HOOK
};

void *fgcu_hook(unsigned function) { return hooks[function]; }
