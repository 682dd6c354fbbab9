/* submit.c - from a stream's operation to a job of the device: order within a stream, between blocking streams and the legacy
 * default stream, and a thread that runs host functions and watches for values that streams wait for. */
#include <unistd.h>

#include "driver.h"

static struct { void (*done)(void *arg, uint64_t end_ns); void *arg; } hooks[FK_DEVICES][FK_JOBS];
static uint64_t lanes[FK_DEVICES][FK_LANES / 64];
static uint64_t next_stream = 1;

static struct fk_queue *queue_of(unsigned device)
{
    return &fk_world->queue[fk_self()][device];
}

/* --- streams --- */

void fk_stream_init(CUstream stream, CUcontext ctx, unsigned flags, int priority)
{
    *stream = (struct CUstream_st){.magic = FK_IS_STREAM, .flags = flags, .priority = priority, .ctx = ctx, .id = next_stream++};
    uint64_t *used = lanes[ctx->device];
    unsigned lane = 0;
    while (lane < FK_LANES && used[lane / 64] >> lane % 64 & 1)
        lane++;
    if (lane == FK_LANES) /* more streams than the device has queues: they share one, as on the real one */
        lane = (unsigned)(stream->id % FK_LANES);
    used[lane / 64] |= 1ull << lane % 64;
    stream->lane = lane;
    if (stream != &ctx->legacy)
        fk_list_add(&ctx->streams, &stream->link);
}

void fk_stream_fini(CUstream stream)
{
    fk_capture_left(stream);
    lanes[stream->ctx->device][stream->lane / 64] &= ~(1ull << stream->lane % 64);
    fk_list_remove(&stream->link);
    stream->magic = 0;
    free(stream);
}

static __thread struct { uint64_t ctx; CUstream stream; } own[FK_DEVICES];

static CUstream thread_stream(CUcontext ctx)
{
    unsigned at = (unsigned)(ctx->id % FK_DEVICES);
    if (own[at].ctx == ctx->id)
        return own[at].stream;
    CUstream stream = malloc(sizeof *stream);
    if (!stream)
        return &ctx->legacy;
    pthread_mutex_lock(&fk_big);
    fk_stream_init(stream, ctx, 0, 0);
    pthread_mutex_unlock(&fk_big);
    own[at].ctx = ctx->id;
    own[at].stream = stream;
    return stream;
}

CUstream fk_default_stream(CUstream given, bool per_thread)
{
    CUcontext ctx = fk_current();
    if (!given)
        given = per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
    if (given == CU_STREAM_LEGACY)
        return ctx ? &ctx->legacy : NULL;
    if (given == CU_STREAM_PER_THREAD)
        return ctx ? thread_stream(ctx) : NULL;
    return given;
}

bool fk_stream_ok(CUstream stream)
{
    return FK_IS(stream, FK_IS_STREAM) && FK_IS(stream->ctx, FK_IS_CTX);
}

/* --- jobs; both locks --- */

static void collect(unsigned device)
{
    struct fk_queue *queue = queue_of(device);
    while (queue->tail < queue->head) {
        unsigned at = (unsigned)(queue->tail % FK_JOBS);
        const struct fk_job *job = &queue->queue_jobs[at];
        if (job->state != FK_DONE)
            return;
        if (hooks[device][at].done)
            hooks[device][at].done(hooks[device][at].arg, job->end_ns);
        hooks[device][at].done = NULL;
        queue->tail++;
    }
}

static bool others_work(unsigned device)
{
    const uint64_t *active = fk_world->device[device].engine.active;
    unsigned self = (unsigned)fk_self();
    return (active[self / 64] & ~(1ull << self % 64)) || active[1 - self / 64];
}

static void bring_up(unsigned device)
{
    fk_lock();
    uint64_t now = fk_now();
    if (now - fk_world->checked_ns > 5000000u && others_work(device)) {
        fk_world->checked_ns = now;
        fk_reap(); /* the work of the dead ends */
    }
    fk_advance(fk_world, device, now);
    collect(device);
}

void fk_forget_arg(unsigned device, void *arg)
{
    for (unsigned i = 0; i < FK_JOBS; i++)
        if (hooks[device][i].done && hooks[device][i].arg == arg)
            hooks[device][i].done = NULL;
}

static uint64_t push(unsigned device, unsigned lane, const struct fk_op *op, const uint64_t after[FK_AFTER])
{
    struct fk_job job = {.lane = (uint16_t)lane, .unit = (uint8_t)op->unit, .slots = (uint8_t)op->slots, .left_ns = op->ns};
    memcpy(job.after, after, sizeof job.after);
    return fk_push(fk_world, (unsigned)fk_self(), device, &job);
}

/* The legacy stream comes after all work of the context's blocking streams: markers in its lane, three streams each. */
static unsigned wait_for_blocking(CUstream stream, uint64_t after[FK_AFTER])
{
    struct fk_queue *queue = queue_of(stream->ctx->device);
    unsigned n = 0;
    for (struct fk_list *i = stream->ctx->streams.next; i != &stream->ctx->streams; i = i->next) {
        CUstream other = FK_OF(i, struct CUstream_st, link);
        if (other->flags & CU_STREAM_NON_BLOCKING || !other->last || fk_job_done(queue, other->last))
            continue;
        if (n == FK_AFTER) {
            if (!fk_room(queue))
                break;
            push(stream->ctx->device, stream->lane, &(struct fk_op){.unit = FK_NONE}, after);
            memset(after, 0, FK_AFTER * sizeof *after);
            n = 0;
        }
        after[n++] = other->last;
    }
    return n;
}

static bool try_submit(CUstream stream, const struct fk_op *op, uint64_t first, void (*done)(void *, uint64_t), void *arg, uint64_t *ret)
{
    unsigned device = stream->ctx->device;
    struct fk_queue *queue = queue_of(device);
    if (queue->head - queue->tail > FK_JOBS - 64)
        return false;
    uint64_t after[FK_AFTER] = {0};
    if (stream->legacy)
        wait_for_blocking(stream, after);
    else if (!(stream->flags & CU_STREAM_NON_BLOCKING) && stream->ctx->legacy_last && !fk_job_done(queue, stream->ctx->legacy_last))
        after[0] = stream->ctx->legacy_last;
    if (first && !fk_job_done(queue, first)) {
        if (after[FK_AFTER - 1]) { /* full: one more marker */
            push(device, stream->lane, &(struct fk_op){.unit = FK_NONE}, after);
            memset(after, 0, sizeof after);
        }
        after[FK_AFTER - 1] = first;
    }
    uint64_t number = push(device, stream->lane, op, after);
    hooks[device][number % FK_JOBS].done = done;
    hooks[device][number % FK_JOBS].arg = arg;
    __atomic_store_n(&stream->last, number, __ATOMIC_RELEASE);
    if (stream->legacy)
        stream->ctx->legacy_last = number;
    fk_advance(fk_world, device, fk_world->device[device].engine.clock_ns);
    *ret = fk_job_done(queue, number) ? 0 : number;
    collect(device);
    return true;
}

static CUresult submit(CUstream stream, const struct fk_op *op, uint64_t first, void (*done)(void *, uint64_t), void *arg, uint64_t *ret)
{
    unsigned device = stream->ctx->device;
    for (;;) {
        uint32_t seen = __atomic_load_n(&fk_world->changes, __ATOMIC_ACQUIRE);
        pthread_mutex_lock(&fk_big);
        struct fk_queue *queue = queue_of(device);
        if (!op->ns && op->unit != FK_HELD && queue->head == queue->tail) { /* nothing to wait for, nothing to do */
            if (done)
                done(arg, fk_now());
            *ret = 0;
            pthread_mutex_unlock(&fk_big);
            return CUDA_SUCCESS;
        }
        bring_up(device);
        bool ok = try_submit(stream, op, first, done, arg, ret);
        uint64_t until = ok ? 0 : fk_next_change(fk_world, device);
        fk_unlock();
        pthread_mutex_unlock(&fk_big);
        if (ok)
            return CUDA_SUCCESS;
        fk_wait(seen, until != UINT64_MAX ? until : 0);
    }
}

CUresult fk_submit(CUstream stream, const struct fk_op *op, void (*done)(void *, uint64_t), void *arg, uint64_t *ret_job)
{
    return submit(stream, op, 0, done, arg, ret_job);
}

CUresult fk_submit_after(CUstream stream, uint64_t job)
{
    uint64_t unused;
    return submit(stream, &(struct fk_op){.unit = FK_NONE}, job, NULL, NULL, &unused);
}

/* --- waiting; no lock --- */

bool fk_idle(unsigned device, uint64_t job)
{
    pthread_mutex_lock(&fk_big);
    struct fk_queue *queue = queue_of(device);
    bool done = queue->head == queue->tail || !job;
    if (!done) {
        bring_up(device);
        done = fk_job_done(queue, job);
        fk_unlock();
    }
    pthread_mutex_unlock(&fk_big);
    return done;
}

CUresult fk_sync_job(unsigned device, uint64_t job)
{
    struct fk_queue *queue = queue_of(device);
    for (;;) {
        uint32_t seen = __atomic_load_n(&fk_world->changes, __ATOMIC_ACQUIRE);
        if (fk_idle(device, job))
            return CUDA_SUCCESS;
        fk_lock();
        uint64_t now = fk_now(), until = fk_job_bound(queue, job, now);
        if (until <= now) /* it waits for something else */
            until = fk_next_change(fk_world, device);
        fk_unlock();
        fk_wait(seen, until != UINT64_MAX ? until : 0);
    }
}

CUresult fk_sync_device(unsigned device)
{
    struct fk_queue *queue = queue_of(device);
    fk_lock();
    uint64_t job = queue->tail, end = queue->head;
    fk_unlock();
    for (; job < end; job++) /* none: nothing to wait for */
        fk_sync_job(device, job);
    return CUDA_SUCCESS;
}

/* --- held jobs: host functions, values waited for --- */

struct held { struct held *next; struct fk_op op; unsigned device; uint64_t job; };
static struct held *waiting;
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t held_more = PTHREAD_COND_INITIALIZER;
static pid_t helper_of;

static bool satisfied(const struct fk_op *op)
{
    if (!op->wait.bytes)
        return true;
    const volatile void *at = (const volatile void *)(uintptr_t)op->wait.address;
    uint64_t now = op->wait.bytes == 4 ? *(const volatile uint32_t *)at : *(const volatile uint64_t *)at, want = op->wait.value;
    switch (op->wait.flags & 3) {
    case CU_STREAM_WAIT_VALUE_GEQ: return op->wait.bytes == 4 ? (int32_t)((uint32_t)now - (uint32_t)want) >= 0 : (int64_t)(now - want) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ: return now == want;
    case CU_STREAM_WAIT_VALUE_AND: return (now & want) != 0;
    default: return op->wait.bytes == 4 ? (uint32_t)~(now | want) != 0 : ~(now | want) != 0;
    }
}

static void write_value(const struct fk_op *op)
{
    if (op->set.element == 4)
        __atomic_store_n((uint32_t *)(uintptr_t)op->wait.address, (uint32_t)op->wait.value, __ATOMIC_SEQ_CST);
    else
        __atomic_store_n((uint64_t *)(uintptr_t)op->wait.address, op->wait.value, __ATOMIC_SEQ_CST);
}

static bool run_held(struct held *held)
{
    fk_idle(held->device, held->job);
    fk_lock();
    bool turn = fk_job_held(queue_of(held->device), held->job);
    fk_unlock();
    if (!turn || !satisfied(&held->op))
        return false;
    if (held->op.set.element)
        write_value(&held->op);
    else if (held->op.host.callback)
        held->op.host.callback(held->op.host.stream, CUDA_SUCCESS, held->op.host.arg);
    else if (held->op.host.call)
        held->op.host.call(held->op.host.arg);
    fk_lock();
    fk_advance(fk_world, held->device, fk_now());
    fk_job_release(queue_of(held->device), held->job, fk_world->device[held->device].engine.clock_ns);
    fk_unlock();
    return true;
}

static void *helper(void *unused)
{
    for (;;) {
        pthread_mutex_lock(&held_lock);
        while (!waiting)
            pthread_cond_wait(&held_more, &held_lock);
        struct held *list = waiting;
        pthread_mutex_unlock(&held_lock);
        uint32_t seen = __atomic_load_n(&fk_world->changes, __ATOMIC_ACQUIRE);
        struct held *ran = NULL;
        for (struct held *h = list; h && !ran; h = h->next) /* only this thread takes out, others add in front */
            ran = run_held(h) ? h : NULL;
        if (!ran) {
            fk_wait(seen, fk_world->is_virtual ? 0 : fk_now() + 200000u);
            continue;
        }
        pthread_mutex_lock(&held_lock);
        struct held **at = &waiting;
        while (*at != ran)
            at = &(*at)->next;
        *at = ran->next;
        pthread_mutex_unlock(&held_lock);
        free(ran);
    }
    return NULL;
}

static bool start_helper(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, helper, NULL))
        return false;
    pthread_detach(thread);
    helper_of = getpid();
    return true;
}

static CUresult submit_held(CUstream stream, const struct fk_op *op)
{
    struct held *held = calloc(1, sizeof *held);
    if (!held)
        return CUDA_ERROR_OUT_OF_MEMORY;
    held->op = *op;
    held->device = stream->ctx->device;
    pthread_mutex_lock(&held_lock);
    bool ok = helper_of == getpid() || start_helper();
    pthread_mutex_unlock(&held_lock);
    if (!ok) {
        free(held);
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    fk_submit(stream, op, NULL, NULL, &held->job); /* may wait for the helper: not under its lock */
    pthread_mutex_lock(&held_lock);
    held->next = waiting;
    waiting = held;
    pthread_cond_signal(&held_more);
    pthread_mutex_unlock(&held_lock);
    return CUDA_SUCCESS;
}

bool fk_quiet(CUstream stream)
{
    if (!fk_stream_ok(stream) || !fk_no_captures())
        return false;
    const struct fk_queue *queue = queue_of(stream->ctx->device);
    return queue->head == queue->tail;
}

CUresult fk_run_now(CUstream stream, const struct fk_op *op)
{
    uint64_t job;
    return op->unit == FK_HELD ? submit_held(stream, op) : fk_submit(stream, op, NULL, NULL, &job);
}

CUresult fk_run(CUstream stream, struct fk_op *op)
{
    if (!stream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!fk_stream_ok(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture)
        return fk_capture_op(stream, op, NULL);
    CUresult r = stream->legacy ? fk_legacy_touched(stream) : CUDA_SUCCESS;
    if (r)
        return r;
    if (op->effect)
        op->effect(op);
    return fk_run_now(stream, op);
}
