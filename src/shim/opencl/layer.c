/* layer.c - what the loader calls: attach to the lease, and hand back a table with our functions in it. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

struct fgcl fgcl;

#define EXPORT __attribute__((visibility("default")))

EXPORT cl_int CL_API_CALL clGetLayerInfo(cl_layer_info name, size_t size, void *value, size_t *size_ret)
{
    static const char title[] = "FastGPU vGPU";
    cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    const void *from = name == CL_LAYER_API_VERSION ? (const void *)&version : name == CL_LAYER_NAME ? title : NULL;
    size_t length = name == CL_LAYER_API_VERSION ? sizeof version : sizeof title;
    if (!from || (value && size < length))
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, length);
    if (size_ret)
        *size_ret = length;
    return CL_SUCCESS;
}

/* A lease that cannot be used: nothing can be made, so nothing gets past it. */
static int make_refused(enum fg_lease_status status)
{
    fgcl.refused = status;
    return 1;
}

/* Returns whether the layer has anything to do. */
static int attach(void)
{
    if (fgcl.lease.limits || fgcl.refused)
        return 1; /* a second platform's table: ocl-icd asks once, others may ask again */
    enum fg_lease_status status = fg_lease_attach(&fgcl.lease, NULL);
    if (status == FG_LEASE_NONE)
        return 0;
    if (status != FG_LEASE_OK)
        return make_refused(status);
    fg_ledger_init(&fgcl.ledger, &fgcl.lease);
    fg_gate_init(&fgcl.gate, &fgcl.lease);
    return 1;
}

EXPORT cl_int CL_API_CALL clInitLayer(cl_uint entries, const cl_icd_dispatch *target, cl_uint *entries_ret,
                                      const cl_icd_dispatch **layer_ret)
{
    static cl_icd_dispatch table;
    if (!target || !entries_ret || !layer_ret)
        return CL_INVALID_VALUE;
    cl_uint ours = sizeof table / sizeof(void *), known = entries < ours ? entries : ours;
    memcpy(&fgcl.next, target, known * sizeof(void *)); /* an older loader's table is shorter; the rest stays NULL */
    fgcl.as_gpu = getenv(FGCL_AS_GPU_ENV) != NULL;
    table = fgcl.next;
    if (attach())
        fgcl_override(&table);
    *entries_ret = known;
    *layer_ret = &table;
    return CL_SUCCESS;
}
