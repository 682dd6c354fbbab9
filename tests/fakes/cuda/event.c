/* event.c - events: the time at which a stream reached them, to the nanosecond of the device's clock. */
#include "driver.h"

struct CUevent_st {
    uint32_t magic, flags;
    unsigned device;
    uint64_t job;           /* of the last record; 0: done or never recorded */
    uint64_t end_ns;
    uint64_t records;
    struct fk_capture *captured; /* last recorded in a capture */
    CUgraphNode tip;
};

/* A query takes no lock: who reads 0 reads the time, too. */
static uint64_t job_of(CUevent event) { return __atomic_load_n(&event->job, __ATOMIC_ACQUIRE); }
static void set_job(CUevent event, uint64_t job) { __atomic_store_n(&event->job, job, __ATOMIC_RELEASE); }

static void reached(void *arg, uint64_t end_ns)
{
    CUevent event = arg;
    event->end_ns = end_ns;
    set_job(event, 0);
}

void fk_event_record_now(CUevent event, CUstream stream)
{
    pthread_mutex_lock(&fk_big);
    fk_forget_arg(event->device, event); /* recorded again: the first time no longer counts */
    event->device = stream->ctx->device;
    event->records++;
    event->captured = NULL;
    set_job(event, 0);
    pthread_mutex_unlock(&fk_big);
    uint64_t job = 0;
    fk_submit(stream, &(struct fk_op){.unit = FK_NONE}, reached, event, &job);
    pthread_mutex_lock(&fk_big);
    if (job && !fk_job_done(&fk_world->queue[fk_self()][event->device], job))
        set_job(event, job);
    pthread_mutex_unlock(&fk_big);
}

bool fk_event_ok(CUevent event) { return FK_IS(event, FK_IS_EVENT); }
uint64_t fk_event_job(CUevent event) { return job_of(event); }

FK_API(cuEventCreate, (CUevent *ret, unsigned flags))
{
    FK_ENTER(cuEventCreate);
    FK_CTX(ctx);
    if (!ret || flags & ~7u)
        return CUDA_ERROR_INVALID_VALUE;
    CUevent event = calloc(1, sizeof *event);
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *event = (struct CUevent_st){.magic = FK_IS_EVENT, .flags = flags, .device = ctx->device};
    *ret = event;
    return CUDA_SUCCESS;
}

static CUresult destroy(CUevent event)
{
    if (!fk_event_ok(event))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&fk_big);
    fk_forget_arg(event->device, event);
    event->magic = 0;
    free(event);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}
FK_API(cuEventDestroy_v2, (CUevent event)) { FK_ENTER(cuEventDestroy_v2); return destroy(event); }
FK_API(cuEventDestroy, (CUevent event)) { FK_ENTER(cuEventDestroy); return destroy(event); }

static CUresult record(CUevent event, CUstream stream)
{
    if (!stream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!fk_event_ok(event) || !fk_stream_ok(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
        event->captured = stream->capture;
        event->tip = stream->tip_count == 1 ? stream->tips[0] : fk_capture_join(stream);
        return CUDA_SUCCESS;
    }
    CUresult r = stream->legacy ? fk_legacy_touched(stream) : CUDA_SUCCESS;
    if (!r)
        fk_event_record_now(event, stream);
    return r;
}
static CUresult run_cuEventRecord(CUevent event, CUstream hStream) { return record(event, hStream); }
FK_BOTH(cuEventRecord, _ptsz, (CUevent event, CUstream hStream), (event, hStream))

static CUresult run_cuEventRecordWithFlags(CUevent event, CUstream hStream, unsigned flags)
{
    if (flags == 1 && fk_stream_ok(hStream) && hStream->capture && fk_event_ok(event)) /* external: a node that records */
        return fk_capture_op(hStream, &(struct fk_op){.type = CU_GRAPH_NODE_TYPE_EVENT_RECORD, .event = event}, NULL);
    return record(event, hStream);
}
FK_BOTH(cuEventRecordWithFlags, _ptsz, (CUevent event, CUstream hStream, unsigned flags), (event, hStream, flags))

static CUresult state(CUevent event)
{
    if (!fk_event_ok(event))
        return CUDA_ERROR_INVALID_HANDLE;
    FK_UNSAFE();
    return event->captured ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}

FK_API(cuEventQuery, (CUevent event))
{
    FK_ENTER(cuEventQuery);
    CUresult r = state(event);
    return r ? r : fk_idle(event->device, job_of(event)) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

FK_API(cuEventSynchronize, (CUevent event))
{
    FK_ENTER(cuEventSynchronize);
    CUresult r = state(event);
    if (r)
        return r;
    uint64_t job = job_of(event);
    fk_sync_job(event->device, job);
    pthread_mutex_lock(&fk_big);
    fk_pools_synced(event->device);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

static CUresult elapsed(float *ms, CUevent from, CUevent to)
{
    if (!ms)
        return CUDA_ERROR_INVALID_VALUE;
    if (!fk_event_ok(from) || !fk_event_ok(to) || (from->flags | to->flags) & CU_EVENT_DISABLE_TIMING || !from->records || !to->records ||
        from->captured || to->captured)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!fk_idle(from->device, job_of(from)) || !fk_idle(to->device, job_of(to)))
        return CUDA_ERROR_NOT_READY;
    *ms = (float)((double)(int64_t)(to->end_ns - from->end_ns) / 1e6);
    return CUDA_SUCCESS;
}
FK_API(cuEventElapsedTime, (float *ms, CUevent from, CUevent to)) { FK_ENTER(cuEventElapsedTime); return elapsed(ms, from, to); }
FK_API(cuEventElapsedTime_v2, (float *ms, CUevent from, CUevent to)) { FK_ENTER(cuEventElapsedTime_v2); return elapsed(ms, from, to); }

static CUresult run_cuStreamWaitEvent(CUstream hStream, CUevent event, unsigned flags)
{
    if (!hStream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!fk_stream_ok(hStream) || !fk_event_ok(event))
        return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured)
        return fk_capture_fork(hStream, event->captured, event->tip);
    if (hStream->capture)
        return flags == 1 ? fk_capture_op(hStream, &(struct fk_op){.type = CU_GRAPH_NODE_TYPE_WAIT_EVENT, .event = event}, NULL)
                          : fk_capture_break(hStream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    CUresult r = hStream->legacy ? fk_legacy_touched(hStream) : CUDA_SUCCESS;
    uint64_t job = r ? 0 : job_of(event);
    return job ? fk_submit_after(hStream, job) : r;
}
FK_BOTH(cuStreamWaitEvent, _ptsz, (CUstream hStream, CUevent event, unsigned flags), (hStream, event, flags))
