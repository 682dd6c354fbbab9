/* submit.c - one job: wait for the vGPU's turn, give it to the driver with an event, settle by the event's own clock.
 *
 * The program need not ask for events or profiling: queues profile always (queue.c hides it), and a job without an event
 * gets one of ours. The driver's own thread settles, in a callback; nothing here waits for the device. */
#include <stdlib.h>

#include "layer.h"

#define CHUNK 256

/* A job in flight: what its callback needs. Taken from and returned to a list, so that a submit mallocs nothing. */
struct job { struct fg_ticket ticket; struct job *next; cl_event before; };
static struct { uint32_t lock; struct job *free; } jobs;

static struct job *take_job(void)
{
    fg_lock(&jobs.lock);
    if (!jobs.free) {
        struct job *chunk = calloc(CHUNK, sizeof *chunk);
        for (unsigned i = 0; chunk && i < CHUNK; i++) {
            chunk[i].next = jobs.free;
            jobs.free = &chunk[i];
        }
    }
    struct job *job = jobs.free;
    if (job)
        jobs.free = job->next;
    fg_unlock(&jobs.lock);
    return job;
}

static void give_job(struct job *job)
{
    fg_lock(&jobs.lock);
    job->next = jobs.free;
    jobs.free = job;
    fg_unlock(&jobs.lock);
}

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
    for (cl_uint i = 0; sizes && i < dimensions && i < 3; i++)
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
        status = fg_gate_enter(&fgcl.gate, key, how, &submit->ticket);
    }
    if (status != FG_GATE_PASS)
        return CL_OUT_OF_RESOURCES;
    submit->own = submit->before = NULL;
    submit->event = theirs || fg_get(&fgcl.lease.limits->flags) & FG_LIMIT_UNGATED ? theirs : &submit->own;
    return CL_SUCCESS;
}

static cl_ulong clock_of(cl_event event, cl_profiling_info name)
{
    cl_ulong value = 0;
    return fgcl.next.clGetEventProfilingInfo(event, name, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static void settle(cl_event event, cl_int status, const struct job *job)
{
    if (status != CL_COMPLETE) {
        fg_gate_cancel(&fgcl.gate, &job->ticket); /* it failed, or what it waited for did */
        return;
    }
    cl_ulong start = job->before ? clock_of(job->before, CL_PROFILING_COMMAND_END) : clock_of(event, CL_PROFILING_COMMAND_START);
    cl_ulong end = clock_of(event, CL_PROFILING_COMMAND_END);
    if (start && end <= start)
        end = start + 1; /* measured as nothing: a map of memory that the host has already */
    fg_gate_settle(&fgcl.gate, &job->ticket, start, start ? end : 0); /* no clock: the prediction stands */
}

static void release(cl_event event)
{
    if (event)
        fgcl.next.clReleaseEvent(event);
}

static void CL_CALLBACK completed(cl_event event, cl_int status, void *data)
{
    struct job *job = data;
    settle(event, status, job);
    release(job->before);
    release(event);
    give_job(job);
}

/* Give the job to its event's callback. Returns 0 when that cannot be. Takes over our references. */
static int follow(struct fgcl_submit *submit, cl_event event)
{
    struct job *job = take_job();
    if (!job)
        return 0;
    *job = (struct job){.ticket = submit->ticket, .before = submit->before};
    if (!submit->own)
        fgcl.next.clRetainEvent(event); /* the program may release its reference before the callback */
    if (fgcl.next.clSetEventCallback(event, CL_COMPLETE, completed, job) == CL_SUCCESS)
        return 1;
    if (!submit->own)
        release(event);
    give_job(job);
    return 0;
}

cl_int fgcl_submit_end(struct fgcl_submit *submit, cl_int status)
{
    int gated = !(fg_get(&fgcl.lease.limits->flags) & FG_LIMIT_UNGATED);
    if (status == CL_SUCCESS && gated && submit->event && follow(submit, *submit->event))
        return CL_SUCCESS;
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
