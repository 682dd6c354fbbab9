/* pointer.c - device memory that is a pointer: shared virtual memory, and its extension cousin, USM. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

/* Charged already; the pointer takes the place of what was reserved. */
static void *settle(cl_context context, void *made, uint64_t bytes, uint32_t kind)
{
    if (!made) {
        fg_ledger_cancel(&fgcl.ledger, bytes);
        return NULL;
    }
    struct fg_record record = {.key = (uintptr_t)made, .bytes = bytes, .owner = (uintptr_t)context, .kind = kind};
    fg_ledger_settle(&fgcl.ledger, bytes, &record); /* exact: cannot be over. Without a record it stays charged */
    return made;
}

void *CL_API_CALL fgcl_clSVMAlloc(cl_context context, cl_svm_mem_flags flags, size_t size, cl_uint alignment)
{
    if (fg_ledger_reserve(&fgcl.ledger, size) != FG_LEDGER_OK)
        return NULL;
    return settle(context, fgcl.next.clSVMAlloc(context, flags, size, alignment), size, FGCL_clSVMAlloc);
}

void CL_API_CALL fgcl_clSVMFree(cl_context context, void *pointer)
{
    struct fg_record record;
    int ours = pointer && fg_ledger_take(&fgcl.ledger, (uintptr_t)pointer, &record) == FG_LEDGER_OK;
    fgcl.next.clSVMFree(context, pointer);
    if (ours)
        fg_ledger_credit(&fgcl.ledger, record.bytes);
}

/* --- freed by a command --- */

struct batch { cl_uint count; struct fg_record records[]; };

static void CL_CALLBACK freed(cl_event event, cl_int status, void *data)
{
    struct batch *batch = data;
    for (cl_uint i = 0; i < batch->count; i++)
        if (status == CL_COMPLETE)
            fg_ledger_credit(&fgcl.ledger, batch->records[i].bytes);
        else
            fg_ledger_restore(&fgcl.ledger, &batch->records[i]); /* the command failed: nothing was freed */
    free(batch);
    fgcl.next.clReleaseEvent(event);
}

static struct batch *take_all(cl_uint count, void **pointers)
{
    struct batch *batch = calloc(1, sizeof *batch + count * sizeof *batch->records);
    if (!batch)
        return NULL;
    for (cl_uint i = 0; i < count; i++)
        if (fg_ledger_take(&fgcl.ledger, (uintptr_t)pointers[i], &batch->records[batch->count]) == FG_LEDGER_OK)
            batch->count++;
    return batch;
}

static void give_back(struct batch *batch)
{
    for (cl_uint i = 0; i < batch->count; i++)
        fg_ledger_restore(&fgcl.ledger, &batch->records[i]);
    free(batch);
}

typedef void(CL_CALLBACK *free_fn)(cl_command_queue, cl_uint, void **, void *);

/* The records are taken before the command runs: after it, an allocation may have the address again. A program's own
 * function frees by calls that come here by themselves. */
cl_int CL_API_CALL fgcl_clEnqueueSVMFree(cl_command_queue queue, cl_uint count, void **pointers, free_fn function, void *user_data,
                                         cl_uint events, const cl_event *list, cl_event *event)
{
    struct fgcl_submit submit;
    cl_int status = fgcl_submit_begin(&submit, queue, fgcl_key(FGCL_clEnqueueSVMFree, 0, count), event);
    if (status != CL_SUCCESS)
        return status;
    struct batch *batch = function || !pointers ? NULL : take_all(count, pointers);
    if (!submit.event)
        submit.event = &submit.own; /* of a vGPU that is not gated: needed to know when it ran */
    status = fgcl.next.clEnqueueSVMFree(queue, count, pointers, function, user_data, events, list, submit.event);
    if (status != CL_SUCCESS) {
        if (batch)
            give_back(batch);
        return fgcl_submit_end(&submit, status, CL_FALSE);
    }
    if (batch) {
        fgcl.next.clRetainEvent(*submit.event);
        if (fgcl.next.clSetEventCallback(*submit.event, CL_COMPLETE, freed, batch) != CL_SUCCESS)
            freed(*submit.event, CL_COMPLETE, batch);
    }
    return fgcl_submit_end(&submit, status, CL_FALSE);
}

/* --- USM --- */

static cl_int usm_reserve(size_t size, cl_int *errcode_ret)
{
    if (fg_ledger_reserve(&fgcl.ledger, size) == FG_LEDGER_OK)
        return 1;
    if (errcode_ret)
        *errcode_ret = CL_OUT_OF_RESOURCES; /* what the extension says where memory is lacking */
    return 0;
}

#define USM_NEXT(name, context) ((name##_fn)fgcl_ext_next(FGCL_##name, context))

void *CL_API_CALL fgcl_clHostMemAllocINTEL(cl_context context, const cl_mem_properties_intel *properties, size_t size,
                                           cl_uint alignment, cl_int *errcode_ret)
{
    if (!usm_reserve(size, errcode_ret))
        return NULL;
    void *made = USM_NEXT(clHostMemAllocINTEL, context)(context, properties, size, alignment, errcode_ret);
    return settle(context, made, size, FGCL_clHostMemAllocINTEL);
}

void *CL_API_CALL fgcl_clDeviceMemAllocINTEL(cl_context context, cl_device_id device, const cl_mem_properties_intel *properties,
                                             size_t size, cl_uint alignment, cl_int *errcode_ret)
{
    if (!usm_reserve(size, errcode_ret))
        return NULL;
    void *made = USM_NEXT(clDeviceMemAllocINTEL, context)(context, device, properties, size, alignment, errcode_ret);
    return settle(context, made, size, FGCL_clDeviceMemAllocINTEL);
}

void *CL_API_CALL fgcl_clSharedMemAllocINTEL(cl_context context, cl_device_id device, const cl_mem_properties_intel *properties,
                                             size_t size, cl_uint alignment, cl_int *errcode_ret)
{
    if (!usm_reserve(size, errcode_ret))
        return NULL;
    void *made = USM_NEXT(clSharedMemAllocINTEL, context)(context, device, properties, size, alignment, errcode_ret);
    return settle(context, made, size, FGCL_clSharedMemAllocINTEL);
}

static cl_int usm_free(clMemFreeINTEL_fn next, cl_context context, void *pointer)
{
    struct fg_record record;
    int ours = pointer && fg_ledger_take(&fgcl.ledger, (uintptr_t)pointer, &record) == FG_LEDGER_OK;
    cl_int status = next(context, pointer);
    if (ours && status == CL_SUCCESS)
        fg_ledger_credit(&fgcl.ledger, record.bytes);
    else if (ours)
        fg_ledger_restore(&fgcl.ledger, &record);
    return status;
}

cl_int CL_API_CALL fgcl_clMemFreeINTEL(cl_context context, void *pointer)
{
    return usm_free(USM_NEXT(clMemFreeINTEL, context), context, pointer);
}

cl_int CL_API_CALL fgcl_clMemBlockingFreeINTEL(cl_context context, void *pointer)
{
    return usm_free(USM_NEXT(clMemBlockingFreeINTEL, context), context, pointer);
}
