/* capture.c - recording streams into graphs, and what may not be called meanwhile.
 *
 * A capture belongs to the stream it began in; streams that wait for an event recorded in it join it, and must be joined
 * again before its end. A forbidden call returns its error and makes the capture invalid: its end says so and gives no graph. */
#include "graph.h"

struct fk_capture {
    CUgraph graph;
    CUstream origin;
    int mode;
    bool invalid, to_graph;
    pthread_t thread;
    uint64_t id;
    struct fk_capture *next;
};

static struct fk_capture *captures;
static uint64_t next_id = 1;
static __thread int thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

/* Asked without a lock by every call: whether there is any. */
bool fk_no_captures(void) { return !__atomic_load_n(&captures, __ATOMIC_ACQUIRE); }

CUresult fk_unsafe(void)
{
    if (__builtin_expect(fk_no_captures(), 1) || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_SUCCESS;
    CUresult r = CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    for (struct fk_capture *c = captures; c; c = c->next) {
        bool own = pthread_equal(c->thread, pthread_self()) && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
        if (own || (thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL)) {
            c->invalid = true;
            r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

CUresult fk_legacy_touched(CUstream stream)
{
    if (fk_no_captures())
        return CUDA_SUCCESS;
    CUresult r = CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    for (struct fk_list *i = stream->ctx->streams.next; i != &stream->ctx->streams; i = i->next) {
        CUstream other = FK_OF(i, struct CUstream_st, link);
        if (other->capture && !(other->flags & CU_STREAM_NON_BLOCKING)) {
            other->capture->invalid = true;
            r = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    }
    pthread_mutex_unlock(&fk_big);
    return r;
}

CUresult fk_capture_break(CUstream stream, CUresult code)
{
    stream->capture->invalid = true;
    return code;
}

CUresult fk_capture_op(CUstream stream, const struct fk_op *op, CUgraphNode *ret)
{
    if (stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    pthread_mutex_lock(&fk_big);
    CUgraphNode node = fk_node_add(stream->capture->graph, stream->tips, stream->tip_count, op);
    if (node) {
        stream->tips[0] = node;
        stream->tip_count = 1;
    }
    pthread_mutex_unlock(&fk_big);
    if (ret)
        *ret = node;
    return node ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUgraphNode fk_capture_join(CUstream stream)
{
    CUgraphNode node = NULL;
    if (stream->tip_count)
        fk_capture_op(stream, &(struct fk_op){.type = CU_GRAPH_NODE_TYPE_EMPTY}, &node);
    return node;
}

CUresult fk_capture_fork(CUstream stream, struct fk_capture *from, CUgraphNode tip)
{
    struct fk_capture *c = captures;
    while (c && c != from)
        c = c->next;
    if (!c)
        return CUDA_ERROR_CAPTURED_EVENT; /* that capture has ended */
    if (c->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->legacy || (stream->capture && stream->capture != c)) {
        c->invalid = true;
        return stream->legacy ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    pthread_mutex_lock(&fk_big);
    stream->capture = c;
    for (unsigned i = 0; i < stream->tip_count; i++)
        if (stream->tips[i] == tip)
            tip = NULL;
    if (tip && stream->tip_count < 16)
        stream->tips[stream->tip_count++] = tip;
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

/* --- beginning and ending --- */

static CUresult begin(CUstream stream, CUgraph into, const CUgraphNode *after, size_t count, int mode)
{
    if (!stream)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!fk_stream_ok(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (mode < 0 || mode > CU_STREAM_CAPTURE_MODE_RELAXED || count > 16)
        return CUDA_ERROR_INVALID_VALUE;
    struct fk_capture *c = calloc(1, sizeof *c);
    CUgraph graph = into ? into : fk_graph_new();
    if (!c || !graph) {
        free(c);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    pthread_mutex_lock(&fk_big);
    *c = (struct fk_capture){.graph = graph, .origin = stream, .mode = mode, .to_graph = into != NULL, .thread = pthread_self(), .id = next_id++, .next = captures};
    __atomic_store_n(&captures, c, __ATOMIC_RELEASE);
    stream->capture = c;
    memcpy(stream->tips, after, count * sizeof *after);
    stream->tip_count = (unsigned)count;
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

static const CUgraphNode none[1];
static CUresult run_cuStreamBeginCapture(CUstream hStream) { return begin(hStream, NULL, none, 0, CU_STREAM_CAPTURE_MODE_GLOBAL); }
FK_BOTH(cuStreamBeginCapture, _ptsz, (CUstream hStream), (hStream))
static CUresult run_cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) { return begin(hStream, NULL, none, 0, mode); }
FK_BOTH(cuStreamBeginCapture_v2, _ptsz, (CUstream hStream, CUstreamCaptureMode mode), (hStream, mode))
static CUresult run_cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph graph, const CUgraphNode *after, const CUgraphEdgeData *data, size_t count, CUstreamCaptureMode mode)
{
    return fk_graph_ok(graph) ? begin(hStream, graph, after ? after : none, count, mode) : CUDA_ERROR_INVALID_VALUE;
}
FK_BOTH(cuStreamBeginCaptureToGraph, _ptsz, (CUstream hStream, CUgraph graph, const CUgraphNode *after, const CUgraphEdgeData *data, size_t count, CUstreamCaptureMode mode),
        (hStream, graph, after, data, count, mode))

static bool comes_before(CUgraphNode node, CUgraphNode later)
{
    if (node == later)
        return true;
    for (size_t i = 0; i < later->count; i++)
        if (comes_before(node, later->after[i]))
            return true;
    return false;
}

/* Is all that other streams recorded joined into the origin's tips? */
static bool joined(const struct fk_capture *c, CUstream other)
{
    for (unsigned i = 0; i < other->tip_count; i++) {
        bool found = false;
        for (unsigned k = 0; k < c->origin->tip_count && !found; k++)
            found = comes_before(other->tips[i], c->origin->tips[k]);
        if (!found)
            return false;
    }
    return true;
}

/* Takes the capture out of its streams. Returns whether all were joined. */
static bool detach(struct fk_capture *c)
{
    bool all = true;
    struct fk_list *streams = &c->origin->ctx->streams;
    for (struct fk_list *i = streams->next; i != streams; i = i->next) {
        CUstream stream = FK_OF(i, struct CUstream_st, link);
        if (stream->capture != c || stream == c->origin)
            continue;
        all = all && joined(c, stream);
        stream->capture = NULL;
        stream->tip_count = 0;
    }
    c->origin->capture = NULL;
    c->origin->tip_count = 0;
    for (struct fk_capture **at = &captures; *at; at = &(*at)->next)
        if (*at == c) {
            __atomic_store_n(at, c->next, __ATOMIC_RELEASE);
            break;
        }
    return all;
}

static CUresult run_cuStreamEndCapture(CUstream hStream, CUgraph *ret)
{
    if (!fk_stream_ok(hStream) || !ret)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = NULL;
    struct fk_capture *c = hStream->capture;
    if (!c)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (c->origin != hStream)
        return fk_capture_break(hStream, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(c->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    pthread_mutex_lock(&fk_big);
    bool all = detach(c), invalid = c->invalid;
    if ((invalid || !all) && !c->to_graph)
        fk_graph_free(c->graph);
    else if (!invalid && all)
        *ret = c->graph;
    pthread_mutex_unlock(&fk_big);
    free(c);
    return invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : all ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
}
FK_BOTH(cuStreamEndCapture, _ptsz, (CUstream hStream, CUgraph *ret), (hStream, ret))

void fk_capture_left(CUstream stream) /* under fk_big */
{
    struct fk_capture *c = stream->capture;
    if (!c)
        return;
    c->invalid = true;
    if (c->origin == stream) {
        detach(c);
        if (!c->to_graph)
            fk_graph_free(c->graph);
        free(c);
    }
}

/* --- asking --- */

static CUresult info(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **tips, const CUgraphEdgeData **data, size_t *count)
{
    if (!fk_stream_ok(stream) || !status)
        return stream ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_CONTEXT;
    struct fk_capture *c = stream->capture;
    if (stream->legacy) {
        CUresult r = fk_legacy_touched(stream);
        if (r)
            return r;
    }
    *status = !c ? CU_STREAM_CAPTURE_STATUS_NONE : c->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return CUDA_SUCCESS;
    if (id)
        *id = c->id;
    if (graph)
        *graph = c->graph;
    if (tips)
        *tips = stream->tips;
    if (data)
        *data = NULL;
    if (count)
        *count = stream->tip_count;
    return CUDA_SUCCESS;
}
static CUresult run_cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *status) { return info(hStream, status, NULL, NULL, NULL, NULL, NULL); }
FK_BOTH(cuStreamIsCapturing, _ptsz, (CUstream hStream, CUstreamCaptureStatus *status), (hStream, status))
static CUresult run_cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id) { return info(hStream, status, id, NULL, NULL, NULL, NULL); }
FK_BOTH(cuStreamGetCaptureInfo, _ptsz, (CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id), (hStream, status, id))
#define INFO CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **tips
static CUresult run_cuStreamGetCaptureInfo_v2(INFO, size_t *count) { return info(hStream, status, id, graph, tips, NULL, count); }
FK_BOTH(cuStreamGetCaptureInfo_v2, _ptsz, (INFO, size_t *count), (hStream, status, id, graph, tips, count))
static CUresult run_cuStreamGetCaptureInfo_v3(INFO, const CUgraphEdgeData **data, size_t *count) { return info(hStream, status, id, graph, tips, data, count); }
FK_BOTH(cuStreamGetCaptureInfo_v3, _ptsz, (INFO, const CUgraphEdgeData **data, size_t *count), (hStream, status, id, graph, tips, data, count))

static CUresult set_tips(CUstream stream, CUgraphNode *nodes, size_t count, unsigned flags)
{
    if (!fk_stream_ok(stream) || !stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    unsigned have = flags & 1 ? 0 : stream->tip_count; /* 0 add, 1 set */
    if (have + count > 16)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++)
        stream->tips[have + i] = nodes[i];
    stream->tip_count = have + (unsigned)count;
    return CUDA_SUCCESS;
}
static CUresult run_cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode *nodes, size_t count, unsigned flags) { return set_tips(hStream, nodes, count, flags); }
FK_BOTH(cuStreamUpdateCaptureDependencies, _ptsz, (CUstream hStream, CUgraphNode *nodes, size_t count, unsigned flags), (hStream, nodes, count, flags))
static CUresult run_cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode *nodes, const CUgraphEdgeData *data, size_t count, unsigned flags) { return set_tips(hStream, nodes, count, flags); }
FK_BOTH(cuStreamUpdateCaptureDependencies_v2, _ptsz, (CUstream hStream, CUgraphNode *nodes, const CUgraphEdgeData *data, size_t count, unsigned flags), (hStream, nodes, data, count, flags))

FK_API(cuThreadExchangeStreamCaptureMode, (CUstreamCaptureMode *mode))
{
    FK_ENTER(cuThreadExchangeStreamCaptureMode);
    if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    int old = thread_mode;
    thread_mode = *mode;
    *mode = (CUstreamCaptureMode)old;
    return CUDA_SUCCESS;
}
