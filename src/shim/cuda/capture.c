/* capture.c - what is captured into a graph is not submitted: it is not gated, and nothing of ours may be recorded with it.
 * While any stream of the process is captured, nothing is measured (an event of ours in the wrong stream would end the
 * capture): what is submitted beside it counts as expected. */
#include "shim/cuda/shim.h"

int fgcu_capturing(CUstream stream)
{
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    CUresult result = fgcu_call(cuStreamIsCapturing)(stream, &status);
    /* IMPLICIT: the legacy stream, while another is captured; what the program does there is the driver's to refuse */
    return result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || (result == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE);
}

CUstreamCaptureMode fgcu_relax(void)
{
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    fgcu_call(cuThreadExchangeStreamCaptureMode)(&mode);
    return mode;
}

void fgcu_strict(CUstreamCaptureMode mode) { fgcu_call(cuThreadExchangeStreamCaptureMode)(&mode); }

/* Nothing of ours is open when a capture begins, and nothing is opened until it ends. */
static void before(void)
{
    if (!fgcu_attached())
        return;
    fg_add(&fgcu.captures, 1);
    fgcu_close_all();
}

static CUresult begun(CUresult result)
{
    if (result != CUDA_SUCCESS && fgcu_attached())
        fg_add(&fgcu.captures, -1u);
    return result;
}

CUresult fgcu_do_cuStreamBeginCapture_v1(unsigned which, CUstream stream)
{
    before();
    return begun(FGCU_WHICH(cuStreamBeginCapture_v1)(stream));
}

CUresult fgcu_do_cuStreamBeginCapture(unsigned which, CUstream stream, CUstreamCaptureMode mode)
{
    before();
    return begun(FGCU_WHICH(cuStreamBeginCapture)(stream, mode));
}

CUresult fgcu_do_cuStreamBeginCaptureToGraph(unsigned which, CUstream stream, CUgraph graph, const CUgraphNode *nodes,
                                             const CUgraphEdgeData *edges, size_t count, CUstreamCaptureMode mode)
{
    before();
    return begun(FGCU_WHICH(cuStreamBeginCaptureToGraph)(stream, graph, nodes, edges, count, mode));
}

CUresult fgcu_do_cuStreamBeginRecaptureToGraph(unsigned which, CUstream stream, CUstreamCaptureMode mode, CUgraph graph,
                                               void *callback, void *data)
{
    before();
    return begun(FGCU_WHICH(cuStreamBeginRecaptureToGraph)(stream, mode, graph, callback, data));
}

CUresult fgcu_do_cuStreamBeginCaptureToCig(unsigned which, CUstream stream, void *params)
{
    before();
    return begun(FGCU_WHICH(cuStreamBeginCaptureToCig)(stream, params));
}

static void ended(void)
{
    uint32_t captures = fg_get(&fgcu.captures);
    while (captures && !fg_cas(&fgcu.captures, &captures, captures - 1))
        ;
}

CUresult fgcu_do_cuStreamEndCaptureToCig(unsigned which, CUstream stream)
{
    CUresult result = FGCU_WHICH(cuStreamEndCaptureToCig)(stream);
    if (result == CUDA_SUCCESS && fgcu_attached())
        ended();
    return result;
}

CUresult fgcu_do_cuStreamEndCapture(unsigned which, CUstream stream, CUgraph *graph)
{
    int was = fgcu_attached() && fgcu_capturing(stream);
    CUresult result = FGCU_WHICH(cuStreamEndCapture)(stream, graph);
    if (was && !fgcu_capturing(stream)) /* an invalid capture ends, too; only a stream that was not captured ends none */
        ended();
    return result;
}
