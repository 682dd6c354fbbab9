/* queue.c - streams, events, jobs, capture and graphs on the stand-in's clock. */
#include "fake.h"

#include "fake_submits.h"

pthread_mutex_t fk_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fk_stream null_stream, own_stream, *streams[64] = {&null_stream, &own_stream};
static struct { int64_t now_ns, cost_ns; uint64_t jobs; } device;
struct event { int64_t at_ns; int recorded; };

static struct { char name[128]; uint64_t calls; CUresult fails; } names[256];

static unsigned named(const char *name)
{
    unsigned i = 0;
    while (i < 255 && *names[i].name && strcmp(names[i].name, name) != 0)
        i++;
    strncpy(names[i].name, name, sizeof names[i].name - 1);
    return i;
}

CUresult fk_enter(const char *name)
{
    unsigned i = named(name);
    CUresult fails = names[i].fails;
    names[i].calls++;
    names[i].fails = CUDA_SUCCESS;
    return fails;
}

FK_EXPORT uint64_t fake_hip_calls(const char *name)
{
    pthread_mutex_lock(&fk_lock);
    uint64_t calls = names[named(name)].calls;
    pthread_mutex_unlock(&fk_lock);
    return calls;
}

FK_EXPORT void fake_hip_fail(const char *name, int error)
{
    pthread_mutex_lock(&fk_lock);
    names[named(name)].fails = (CUresult)error;
    pthread_mutex_unlock(&fk_lock);
}

FK_EXPORT void fake_hip_cost(int64_t cost_ns)
{
    pthread_mutex_lock(&fk_lock);
    device.cost_ns = cost_ns;
    pthread_mutex_unlock(&fk_lock);
}

FK_EXPORT uint64_t fake_hip_jobs(void)
{
    pthread_mutex_lock(&fk_lock);
    uint64_t jobs = device.jobs;
    pthread_mutex_unlock(&fk_lock);
    return jobs;
}

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

void fk_drain(void)
{
    for (unsigned i = 0; i < 64; i++)
        if (streams[i])
            device.now_ns = later(device.now_ns, streams[i]->end_ns);
    fk_trim_pools();
}

struct fk_stream *fk_stream(hipStream_t stream, int own)
{
    if (!stream)
        return own ? &own_stream : &null_stream;
    return stream == CU_STREAM_PER_THREAD ? &own_stream : (struct fk_stream *)(void *)stream;
}

/* Locked. */
static void run(struct fk_stream *stream, int64_t jobs)
{
    stream->end_ns = later(stream->end_ns, device.now_ns) + jobs * device.cost_ns;
    device.jobs++;
}

CUresult fk_submit(const char *name, struct fk_stream *stream, int waits)
{
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter(name);
    if (!result && stream->captures)
        stream->graph->nodes++;
    else if (!result)
        run(stream, 1);
    if (!result && waits)
        device.now_ns = later(device.now_ns, stream->end_ns);
    pthread_mutex_unlock(&fk_lock);
    return fk_error(result);
}

/* ---- launches that are told otherwise ---- */

static __thread hipStream_t configured;
FK_API(hipConfigureCall, (dim3 blocks, dim3 threads, size_t shared, hipStream_t stream))
{
    configured = stream;
    return CUDA_SUCCESS;
}
FK_API(hipLaunchByPtr, (const void *function)) { return fk_submit("hipLaunchByPtr", fk_stream(configured, 0), 0); }
FK_API(hipExtLaunchMultiKernelMultiDevice, (hipLaunchParams *list, int count, unsigned flags))
{
    for (int i = 0; i < count; i++)
        fk_submit("hipExtLaunchMultiKernelMultiDevice", fk_stream(list[i].stream, 0), 0);
    return CUDA_SUCCESS;
}
FK_API(hipLaunchCooperativeKernelMultiDevice, (hipLaunchParams *list, int count, unsigned flags))
{
    return hipExtLaunchMultiKernelMultiDevice(list, count, flags);
}
FK_API(hipModuleLaunchCooperativeKernelMultiDevice, (CUDA_LAUNCH_PARAMS *list, unsigned count, unsigned flags))
{
    for (unsigned i = 0; i < count; i++)
        fk_submit("hipModuleLaunchCooperativeKernelMultiDevice", fk_stream(list[i].hStream, 0), 0);
    return CUDA_SUCCESS;
}

/* As the real library launches for older programs. */
FK_EXPORT int fake_hip_launch_inside(void *stream)
{
    int result = (int)hipModuleLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
    return result + (int)hipMemcpyAsync(NULL, NULL, 1, 0, stream);
}

/* ---- streams and events ---- */

FK_API(hipStreamCreate, (hipStream_t *stream))
{
    struct fk_stream *made = calloc(1, sizeof *made);
    pthread_mutex_lock(&fk_lock);
    for (unsigned i = 0; i < 64; i++)
        if (!streams[i]) {
            streams[i] = made;
            break;
        }
    pthread_mutex_unlock(&fk_lock);
    *stream = (hipStream_t)(void *)made;
    return CUDA_SUCCESS;
}
FK_API(hipStreamDestroy, (hipStream_t stream))
{
    pthread_mutex_lock(&fk_lock);
    for (unsigned i = 2; i < 64; i++)
        if (streams[i] == (void *)stream)
            streams[i] = NULL;
    pthread_mutex_unlock(&fk_lock);
    free(stream);
    return CUDA_SUCCESS;
}
static CUresult ready(int64_t at_ns)
{
    pthread_mutex_lock(&fk_lock);
    int done = at_ns <= device.now_ns;
    pthread_mutex_unlock(&fk_lock);
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
static CUresult wait_until(int64_t at_ns)
{
    pthread_mutex_lock(&fk_lock);
    device.now_ns = later(device.now_ns, at_ns);
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}
static int64_t end_of(struct fk_stream *stream)
{
    pthread_mutex_lock(&fk_lock);
    int64_t end_ns = stream->end_ns;
    pthread_mutex_unlock(&fk_lock);
    return end_ns;
}
/* Stream 1 has no meaning in ROCm 5: a front end must not pass it on. */
static CUresult query(hipStream_t stream, int own)
{
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter(stream == CU_STREAM_LEGACY ? "hipStreamQuery of 1" : "hipStreamQuery");
    pthread_mutex_unlock(&fk_lock);
    return result ? fk_error(result) : stream == CU_STREAM_LEGACY ? CUDA_ERROR_INVALID_HANDLE : ready(end_of(fk_stream(stream, own)));
}
FK_API(hipStreamQuery, (hipStream_t stream)) { return query(stream, 0); }
FK_API(hipStreamQuery_spt, (hipStream_t stream)) { return query(stream, 1); }
FK_API(hipStreamSynchronize, (hipStream_t stream)) { return wait_until(end_of(fk_stream(stream, 0))); }
FK_API(hipStreamSynchronize_spt, (hipStream_t stream)) { return wait_until(end_of(fk_stream(stream, 1))); }
FK_API(hipDeviceSynchronize, (void))
{
    pthread_mutex_lock(&fk_lock);
    fk_drain();
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}
FK_API(hipEventCreateWithFlags, (struct event **event, unsigned flags)) { return (*event = calloc(1, sizeof **event)) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY; }
FK_API(hipEventDestroy, (struct event *event))
{
    free(event);
    return CUDA_SUCCESS;
}
/* Stream 1 has no meaning in ROCm 5: a front end must not pass it on. */
FK_API(hipEventRecord, (struct event *event, hipStream_t named_stream))
{
    if (named_stream == CU_STREAM_LEGACY)
        return CUDA_ERROR_INVALID_HANDLE;
    struct fk_stream *stream = fk_stream(named_stream, 0);
    pthread_mutex_lock(&fk_lock);
    if (stream->captures)
        stream->graph->nodes++;
    event->at_ns = later(stream->end_ns, device.now_ns);
    event->recorded = 1;
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}
FK_API(hipEventQuery, (struct event *event)) { return ready(event->at_ns); }
FK_API(hipEventSynchronize, (struct event *event)) { return wait_until(event->at_ns); }
FK_API(hipEventElapsedTime, (float *ms, struct event *start, struct event *end))
{
    *ms = (float)((double)(end->at_ns - start->at_ns) / 1e6);
    return start->recorded && end->recorded ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* ---- capture and graphs ---- */

FK_API(hipThreadExchangeStreamCaptureMode, (int *mode)) { return CUDA_SUCCESS; }
FK_API(hipStreamBeginCapture, (hipStream_t stream, int mode))
{
    struct fk_stream *s = fk_stream(stream, 0);
    s->graph = calloc(1, sizeof *s->graph);
    s->captures = 1;
    return CUDA_SUCCESS;
}
FK_API(hipStreamEndCapture, (hipStream_t stream, struct fk_graph **graph))
{
    struct fk_stream *s = fk_stream(stream, 0);
    *graph = s->graph;
    s->captures = 0;
    return CUDA_SUCCESS;
}
FK_API(hipStreamIsCapturing, (hipStream_t stream, CUstreamCaptureStatus *status))
{
    if (stream == CU_STREAM_LEGACY)
        return CUDA_ERROR_INVALID_HANDLE;
    *status = fk_stream(stream, 0)->captures ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
FK_EXPORT uint64_t fake_hip_graph_nodes(void *graph) { return ((struct fk_graph *)graph)->nodes; }
FK_API(hipGraphInstantiate, (struct fk_graph **exec, struct fk_graph *graph, void *node, char *log, size_t size))
{
    *exec = malloc(sizeof **exec);
    **exec = *graph;
    return CUDA_SUCCESS;
}
FK_API(hipGraphExecDestroy, (struct fk_graph *exec))
{
    free(exec);
    return CUDA_SUCCESS;
}
FK_API(hipGraphDestroy, (struct fk_graph *graph)) { return hipGraphExecDestroy(graph); }
FK_API(hipGraphLaunch, (struct fk_graph *exec, hipStream_t stream))
{
    pthread_mutex_lock(&fk_lock);
    run(fk_stream(stream, 0), (int64_t)exec->nodes);
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}
FK_API(hipGraphLaunch_spt, (struct fk_graph *exec, hipStream_t stream)) { return hipGraphLaunch(exec, stream ? stream : CU_STREAM_PER_THREAD); }
