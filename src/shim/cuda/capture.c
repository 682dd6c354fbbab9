/* capture.c - what is captured into a graph is not submitted: it is not gated, and nothing of ours may be recorded with it.
 * While any stream of the process is captured, what is submitted beside it is measured alone, each job for itself, and settled
 * by the helper, which may ask after events then: a capture that is never ended does not end the measuring. */
#include "shim/cuda/shim.h"

int fgcu_capturing(CUstream stream)
{
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    CUresult result = fgcu_call(cuStreamIsCapturing)(stream, &status);
    /* IMPLICIT: the legacy stream, while another is captured; what the program does there is the driver's to refuse */
    return result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || (result == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE);
}

void fgcu_relax(void)
{
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    fgcu_call(cuThreadExchangeStreamCaptureMode)(&mode);
}

/* Nothing of ours is open when a capture begins, nor between two calls until it ends. */
void fgcu_capture_begins(void)
{
    if (!fgcu_attached())
        return;
    fg_add(&fgcu.captures, 1);
    fgcu_close_all();
}

CUresult fgcu_capture_begun(CUresult result)
{
    if (result != CUDA_SUCCESS && fgcu_attached())
        fg_add(&fgcu.captures, -1u);
    return result;
}

CUresult fgcu_do_cuStreamBeginCapture_v1(unsigned which, CUstream stream)
{
    fgcu_capture_begins();
    return fgcu_capture_begun(FGCU_WHICH(cuStreamBeginCapture_v1)(stream));
}

CUresult fgcu_do_cuStreamBeginCapture(unsigned which, CUstream stream, CUstreamCaptureMode mode)
{
    fgcu_capture_begins();
    return fgcu_capture_begun(FGCU_WHICH(cuStreamBeginCapture)(stream, mode));
}

CUresult fgcu_do_cuStreamBeginCaptureToGraph(unsigned which, CUstream stream, CUgraph graph, const CUgraphNode *nodes,
                                             const CUgraphEdgeData *edges, size_t count, CUstreamCaptureMode mode)
{
    fgcu_capture_begins();
    return fgcu_capture_begun(FGCU_WHICH(cuStreamBeginCaptureToGraph)(stream, graph, nodes, edges, count, mode));
}

void fgcu_capture_ended(void)
{
    uint32_t captures = fg_get(&fgcu.captures);
    while (captures && !fg_cas(&fgcu.captures, &captures, captures - 1))
        ;
}

CUresult fgcu_do_cuStreamEndCapture(unsigned which, CUstream stream, CUgraph *graph)
{
    int was = fgcu_attached() && fgcu_capturing(stream);
    CUresult result = FGCU_WHICH(cuStreamEndCapture)(stream, graph);
    if (was && !fgcu_capturing(stream)) /* an invalid capture ends, too; only a stream that was not captured ends none */
        fgcu_capture_ended();
    return result;
}
