/* submit.c - one job: wait for the vGPU's turn, give it to the driver with an event, remember it until it has ended (settle.c).
 *
 * The program need not ask for events or profiling: queues profile always (queue.c hides it), and a job without an event
 * gets one of ours. */
#include "layer.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ b) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16 ...: within a quarter, so jobs of a class differ by less than that. */
static uint64_t size_class(uint64_t size)
{
    if (size < 8)
        return size;
    unsigned shift = 61 - (unsigned)__builtin_clzll(size);
    return size >> shift | (uint64_t)shift << 8;
}

uint64_t fgcl_key(uint32_t function, uintptr_t handle, uint64_t size)
{
    uint64_t key = mix(mix(function + 1, handle), size_class(size));
    return key ? key : 1;
}

uint64_t fgcl_items(cl_uint dimensions, const size_t *sizes)
{
    uint64_t items = 1;
    if (!sizes || dimensions > 3)
        return 0; /* the driver will say what is wrong */
    for (cl_uint i = 0; i < dimensions; i++)
        items *= sizes[i];
    return items;
}

uint64_t fgcl_volume(const size_t *region) { return fgcl_items(3, region); }

cl_int fgcl_submit_begin(struct fgcl_submit *submit, cl_command_queue queue, uint64_t key, cl_event *theirs)
{
    unsigned how = fg_get(&fgcl.open_user_events) ? FG_GATE_UNBOUND : 0;
    enum fg_gate_status status = fg_gate_enter(&fgcl.gate, key, how | FG_GATE_NOWAIT, &submit->ticket);
    if (status == FG_GATE_BUSY) {
        fgcl_flush_all(); /* what we are about to wait for may still lie in a queue that the program has not flushed */
        fgcl_settle(FGCL_ALL);
        status = fg_gate_enter(&fgcl.gate, key, how, &submit->ticket);
    }
    if (status != FG_GATE_PASS)
        return CL_OUT_OF_RESOURCES;
    submit->own = submit->before = NULL;
    submit->event = theirs || fg_get(&fgcl.lease.limits->flags) & FG_LIMIT_UNGATED ? theirs : &submit->own;
    return CL_SUCCESS;
}

static void release(cl_event event)
{
    if (event)
        fgcl.next.clReleaseEvent(event);
}

cl_int fgcl_submit_end(struct fgcl_submit *submit, cl_int status, cl_bool blocking)
{
    int gated = !(fg_get(&fgcl.lease.limits->flags) & FG_LIMIT_UNGATED);
    if (status == CL_SUCCESS && gated && submit->event && fgcl_follow(submit)) {
        if (blocking)
            fgcl_settle(FGCL_IN_ORDER);
        return CL_SUCCESS;
    }
    release(submit->before);
    release(submit->own);
    if (status == CL_SUCCESS)
        fg_gate_settle(&fgcl.gate, &submit->ticket, 0, 0);
    else
        fg_gate_cancel(&fgcl.gate, &submit->ticket);
    return status;
}

/* --- events that the program sets by hand --- */

cl_event CL_API_CALL fgcl_clCreateUserEvent(cl_context context, cl_int *errcode_ret)
{
    cl_event made = fgcl.next.clCreateUserEvent(context, errcode_ret);
    if (made)
        fg_add(&fgcl.open_user_events, 1);
    return made;
}

cl_int CL_API_CALL fgcl_clSetUserEventStatus(cl_event event, cl_int status)
{
    cl_int answer = fgcl.next.clSetUserEventStatus(event, status);
    uint32_t open = fg_get(&fgcl.open_user_events);
    while (answer == CL_SUCCESS && open && !fg_cas(&fgcl.open_user_events, &open, open - 1))
        ;
    return answer;
}
