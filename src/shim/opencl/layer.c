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

typedef void(CL_CALLBACK *notify_fn)(const char *, const void *, size_t, void *);

/* Returns 1 after it has answered for a lease that cannot be used. */
static int refuse_context(notify_fn notify, void *user_data, cl_int *errcode_ret)
{
    if (!fgcl.refused)
        return 0;
    if (notify)
        notify(fg_lease_text(fgcl.refused), NULL, 0, user_data);
    if (errcode_ret)
        *errcode_ret = CL_OUT_OF_RESOURCES;
    return 1;
}

static cl_context adopt_context(cl_context context)
{
    /* Objects keep their context alive, so only what is freed without a callback of its own (SVM) is left by then. */
    if (context && fgcl.next.clSetContextDestructorCallback)
        fgcl.next.clSetContextDestructorCallback(context, fgcl_context_gone, NULL);
    return context;
}

cl_context CL_API_CALL fgcl_clCreateContext(const cl_context_properties *properties, cl_uint devices_count, const cl_device_id *devices,
                                            notify_fn notify, void *user_data, cl_int *errcode_ret)
{
    if (refuse_context(notify, user_data, errcode_ret))
        return NULL;
    return adopt_context(fgcl.next.clCreateContext(properties, devices_count, devices, notify, user_data, errcode_ret));
}

cl_context CL_API_CALL fgcl_clCreateContextFromType(const cl_context_properties *properties, cl_device_type type, notify_fn notify,
                                                    void *user_data, cl_int *errcode_ret)
{
    if (refuse_context(notify, user_data, errcode_ret))
        return NULL;
    if (fgcl.as_gpu && type & CL_DEVICE_TYPE_GPU)
        type = CL_DEVICE_TYPE_ALL;
    return adopt_context(fgcl.next.clCreateContextFromType(properties, type, notify, user_data, errcode_ret));
}
