/* generated.c - the wrappers that api/opencl.toml describes, and the table of all of ours. */
#include <string.h>

#include "layer.h"
#include "opencl_functions.h"

void fgcl_override(cl_icd_dispatch *table)
{
#define OVERRIDE(name) \
    if (table->name) \
        table->name = fgcl_##name;
    if (fgcl.refused) { /* nothing else may be called without a lease, and nothing else can do anything without a context */
        OVERRIDE(clCreateContext)
        OVERRIDE(clCreateContextFromType)
        OVERRIDE(clGetDeviceInfo)
    } else {
        FGCL_DISPATCH_LIST(OVERRIDE)
    }
#undef OVERRIDE
}

void *fgcl_function(const char *name, uint32_t *ret)
{
#define ROW(name) {#name, (void *)fgcl_##name, FGCL_##name},
    static const struct { const char *name; void *function; uint32_t number; } ours[] = {
        FGCL_EXTENSION_LIST(ROW) FGCL_DISPATCH_LIST(ROW)
    };
#undef ROW
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(ours[i].name, name)) {
            *ret = ours[i].number;
            return ours[i].function;
        }
    return NULL;
}
