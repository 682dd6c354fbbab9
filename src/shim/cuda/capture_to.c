/* capture_to.c - capture into what exists already (CUDA 13; HIP has no such calls). */
#include "shim/cuda/shim.h"

CUresult fgcu_do_cuStreamBeginRecaptureToGraph(unsigned which, CUstream stream, CUstreamCaptureMode mode, CUgraph graph,
                                               void *callback, void *data)
{
    fgcu_capture_begins();
    return fgcu_capture_begun(FGCU_WHICH(cuStreamBeginRecaptureToGraph)(stream, mode, graph, callback, data));
}

CUresult fgcu_do_cuStreamBeginCaptureToCig(unsigned which, CUstream stream, void *params)
{
    fgcu_capture_begins();
    return fgcu_capture_begun(FGCU_WHICH(cuStreamBeginCaptureToCig)(stream, params));
}

CUresult fgcu_do_cuStreamEndCaptureToCig(unsigned which, CUstream stream)
{
    CUresult result = FGCU_WHICH(cuStreamEndCaptureToCig)(stream);
    if (result == CUDA_SUCCESS && fgcu_attached())
        fgcu_capture_ended();
    return result;
}
