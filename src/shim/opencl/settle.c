/* settle.c - jobs in flight: when they have ended, and what they took.
 *
 *     submit --> first -> job -> job -> job -> last        in the order of submission
 *                                 ^watched                 the driver will call back when this one has ended
 *
 * A driver's callback costs a wake-up of one of its threads, more than a short kernel. So jobs are settled where the program
 * finds out that they have ended (it waits for an event or a queue, or a blocking command returns), and callbacks are few:
 * once half of what may be in flight is, one for each quarter of that, so that the gate hears of ends while there is still
 * work queued; and one, on the last job, when the program turns away from work that nobody watches (it flushes, asks for a state, or its
 * wait is over and work is left). A program that does none of these has not submitted its last job, by the API's own rules.
 *
 * The lock is held for no driver call. Whoever settles has the list to itself; others leave word in `again`. */
#include <stdlib.h>

#include "layer.h"

#define CHUNK 256
#define BATCH 64

struct job {
    struct job *next;
    struct fg_ticket ticket;
    cl_event event, before;
    uint32_t stretch;              /* its time is part of unwatched_ns while this is the present one */
};

static struct {
    uint32_t lock;
    uint32_t settling, again, all; /* somebody walks the list; shall look once more; at each job */
    uint32_t count;                /* jobs listed or being looked at */
    uint32_t watched;              /* callbacks to come */
    uint32_t stretch;              /* of jobs that follow one that is watched; 0: none */
    uint64_t unwatched_ns;         /* predicted time of those of the present stretch that are listed */
    struct job *first, *last, *free;
} jobs = {.stretch = 1};

static void CL_CALLBACK ended(cl_event event, cl_int status, void *unused);

static void release(cl_event event)
{
    if (event)
        fgcl.next.clReleaseEvent(event);
}

/* Locked. */
static struct job *take(void)
{
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
    return job;
}

/* Our reference to the event is the callback's. It counts as watched already. */
static void watch(cl_event event)
{
    if (fgcl.next.clSetEventCallback(event, CL_COMPLETE, ended, NULL) == CL_SUCCESS)
        return;
    fg_add(&jobs.watched, -1u);
    release(event);
}

static int to_be_watched(uint64_t predicted_ns)
{
    uint64_t bound = fg_get(&fgcl.lease.limits->inflight_ns);
    return __atomic_load_n(&jobs.unwatched_ns, __ATOMIC_RELAXED) + predicted_ns >= bound / 4 &&
           fg_inflight_ns(fg_get(&fgcl.lease.slot->inflight)) >= bound / 2;
}

/* Locked: a new stretch of unwatched jobs begins. */
static void new_stretch(void)
{
    jobs.stretch = jobs.stretch + 1 ? jobs.stretch + 1 : 1;
    __atomic_store_n(&jobs.unwatched_ns, 0, __ATOMIC_RELAXED);
    fg_add(&jobs.watched, 1);
}

/* Locked: the last of all. */
static void list(struct job *job)
{
    *(jobs.first ? &jobs.last->next : &jobs.first) = job;
    jobs.last = job;
    __atomic_store_n(&jobs.count, jobs.count + 1, __ATOMIC_RELAXED);
    if (job->stretch)
        __atomic_store_n(&jobs.unwatched_ns, jobs.unwatched_ns + job->ticket.predicted_ns, __ATOMIC_RELAXED);
}

int fgcl_follow(const struct fgcl_submit *submit)
{
    cl_event event = *submit->event;
    int watched = to_be_watched(submit->ticket.predicted_ns);
    if (!submit->own)
        fgcl.next.clRetainEvent(event); /* the program may release its reference any time */
    if (watched)
        fgcl.next.clRetainEvent(event);
    fg_lock(&jobs.lock);
    struct job *job = take();
    if (job) {
        if (watched)
            new_stretch();
        *job = (struct job){.ticket = submit->ticket, .event = event, .before = submit->before, .stretch = watched ? 0 : jobs.stretch};
        list(job);
    }
    fg_unlock(&jobs.lock);
    if (watched && job)
        watch(event);
    else if (watched)
        release(event);
    if (!job && !submit->own)
        release(event);
    return job != NULL;
}

/* --- what has ended --- */

static cl_ulong clock_of(cl_event event, cl_profiling_info name)
{
    cl_ulong value = 0;
    return fgcl.next.clGetEventProfilingInfo(event, name, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static struct fg_ended measure(const struct job *job, cl_int status)
{
    struct fg_ended ended = {.ticket = job->ticket, .failed = status != CL_COMPLETE}; /* it failed, or what it waited for did */
    if (ended.failed)
        return ended;
    cl_ulong start = job->before ? clock_of(job->before, CL_PROFILING_COMMAND_END) : clock_of(job->event, CL_PROFILING_COMMAND_START);
    cl_ulong end = clock_of(job->event, CL_PROFILING_COMMAND_END);
    if (start && end <= start)
        end = start + 1; /* measured as nothing: a map of memory that the host has already */
    ended.start_ns = start;
    ended.end_ns = start ? end : 0; /* no clock: the prediction stands */
    return ended;
}

static int has_ended(const struct job *job, cl_int *ret_status)
{
    cl_int status = CL_QUEUED;
    if (fgcl.next.clGetEventInfo(job->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL) != CL_SUCCESS)
        status = CL_INVALID_EVENT;
    *ret_status = status;
    return status <= CL_COMPLETE;
}

/* Settle those at the head of *list (all: anywhere in it) that have ended, and take them out. Returns them. */
static struct job *sweep(struct job **list, int all)
{
    struct fg_ended batch[BATCH];
    struct job *gone = NULL, *job;
    unsigned count = 0;
    while ((job = *list)) {
        cl_int status;
        if (!has_ended(job, &status)) {
            if (!all)
                break;
            list = &job->next;
            continue;
        }
        batch[count++] = measure(job, status);
        *list = job->next;
        job->next = gone;
        gone = job;
        if (count < BATCH)
            continue;
        fg_gate_settle_many(&fgcl.gate, batch, count);
        count = 0;
    }
    if (count)
        fg_gate_settle_many(&fgcl.gate, batch, count);
    for (job = gone; job; job = job->next) {
        release(job->before);
        release(job->event);
    }
    return gone;
}

/* Locked: what is left goes before what came meanwhile; what is gone can be used again. */
static void put_back(struct job *left, struct job *gone)
{
    if (left) {
        struct job *end = left;
        while (end->next)
            end = end->next;
        end->next = jobs.first;
        if (!jobs.first)
            jobs.last = end;
        jobs.first = left;
    }
    while (gone) {
        struct job *next = gone->next;
        gone->next = jobs.free;
        jobs.free = gone;
        __atomic_store_n(&jobs.count, jobs.count - 1, __ATOMIC_RELAXED);
        if (gone->stretch == jobs.stretch)
            __atomic_store_n(&jobs.unwatched_ns, jobs.unwatched_ns - gone->ticket.predicted_ns, __ATOMIC_RELAXED);
        gone = next;
    }
}

/* Locked; unlocks for the driver. Nobody else takes jobs off the list, so the last one stays. */
static void watch_last(void)
{
    cl_event event = jobs.last->event;
    new_stretch();
    fg_unlock(&jobs.lock);
    fgcl.next.clRetainEvent(event);
    watch(event); /* the driver may call back at once, in this thread */
    fg_lock(&jobs.lock);
}

void fgcl_settle(enum fgcl_settle which)
{
    if (!__atomic_load_n(&jobs.count, __ATOMIC_RELAXED))
        return;
    fg_lock(&jobs.lock);
    jobs.again = 1;
    jobs.all |= which == FGCL_ALL;
    if (!jobs.settling) {
        jobs.settling = 1;
        while (jobs.again) {
            struct job *list = jobs.first, *gone;
            int all = (int)jobs.all;
            jobs.again = jobs.all = 0;
            jobs.first = jobs.last = NULL;
            fg_unlock(&jobs.lock);
            gone = sweep(&list, all);
            fg_lock(&jobs.lock);
            put_back(list, gone);
            if (jobs.first && !fg_get(&jobs.watched))
                watch_last();
        }
        jobs.settling = 0;
    }
    fg_unlock(&jobs.lock);
}

static void CL_CALLBACK ended(cl_event event, cl_int status, void *unused)
{
    fg_add(&jobs.watched, -1u);
    fgcl_settle(FGCL_ALL);
    release(event);
}

/* --- where a program finds out, or turns away --- */

void fgcl_turned_away(void)
{
    if (__atomic_load_n(&jobs.count, __ATOMIC_RELAXED) && !fg_get(&jobs.watched))
        fgcl_settle(FGCL_IN_ORDER);
}

cl_int CL_API_CALL fgcl_clFlush(cl_command_queue queue)
{
    cl_int status = fgcl.next.clFlush(queue);
    fgcl_turned_away();
    return status;
}

cl_int CL_API_CALL fgcl_clFinish(cl_command_queue queue)
{
    cl_int status = fgcl.next.clFinish(queue);
    fgcl_settle(FGCL_ALL);
    return status;
}

cl_int CL_API_CALL fgcl_clWaitForEvents(cl_uint count, const cl_event *list)
{
    cl_int status = fgcl.next.clWaitForEvents(count, list);
    fgcl_settle(FGCL_IN_ORDER);
    return status;
}

cl_int CL_API_CALL fgcl_clGetEventInfo(cl_event event, cl_event_info name, size_t size, void *value, size_t *size_ret)
{
    cl_int status = fgcl.next.clGetEventInfo(event, name, size, value, size_ret);
    if (name == CL_EVENT_COMMAND_EXECUTION_STATUS)
        fgcl_turned_away();
    return status;
}

cl_int CL_API_CALL fgcl_clSetEventCallback(cl_event event, cl_int type, void(CL_CALLBACK *notify)(cl_event, cl_int, void *), void *data)
{
    cl_int status = fgcl.next.clSetEventCallback(event, type, notify, data);
    fgcl_turned_away();
    return status;
}
