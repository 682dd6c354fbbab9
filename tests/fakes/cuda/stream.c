/* stream.c - streams: making, asking, waiting, host functions and memory operations in them. */
#include "driver.h"

static CUresult make(CUstream *ret, unsigned flags, int priority)
{
    FK_CTX(ctx);
    if (!ret || flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    CUstream stream = malloc(sizeof *stream);
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&fk_big);
    fk_stream_init(stream, ctx, flags, priority);
    pthread_mutex_unlock(&fk_big);
    *ret = stream;
    return CUDA_SUCCESS;
}

FK_API(cuStreamCreate, (CUstream *ret, unsigned flags)) { FK_ENTER(cuStreamCreate); return make(ret, flags, 0); }
FK_API(cuStreamCreateWithPriority, (CUstream *ret, unsigned flags, int priority)) { FK_ENTER(cuStreamCreateWithPriority); return make(ret, flags, priority); }

static CUresult destroy(CUstream stream)
{
    if (!fk_stream_ok(stream) || stream->legacy)
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&fk_big);
    fk_stream_fini(stream); /* its jobs go on */
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}
FK_API(cuStreamDestroy_v2, (CUstream stream)) { FK_ENTER(cuStreamDestroy_v2); return destroy(stream); }
FK_API(cuStreamDestroy, (CUstream stream)) { FK_ENTER(cuStreamDestroy); return destroy(stream); }

#define FK_STREAM() do { if (!hStream) return CUDA_ERROR_INVALID_CONTEXT; if (!fk_stream_ok(hStream)) return CUDA_ERROR_INVALID_HANDLE; } while (0)

static CUresult run_cuStreamQuery(CUstream hStream)
{
    FK_STREAM();
    if (hStream->capture)
        return fk_capture_break(hStream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUresult r = hStream->legacy ? fk_legacy_touched(hStream) : CUDA_SUCCESS;
    return r ? r : fk_idle(hStream->ctx->device, fk_last(hStream)) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
FK_BOTH(cuStreamQuery, _ptsz, (CUstream hStream), (hStream))

static CUresult run_cuStreamSynchronize(CUstream hStream)
{
    FK_STREAM();
    if (hStream->capture)
        return fk_capture_break(hStream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUresult r = hStream->legacy ? fk_legacy_touched(hStream) : CUDA_SUCCESS;
    if (r)
        return r;
    if (hStream->legacy) /* it comes after the blocking streams */
        fk_submit_after(hStream, 0);
    unsigned device = hStream->ctx->device;
    fk_sync_job(device, fk_last(hStream));
    pthread_mutex_lock(&fk_big);
    fk_pools_synced(device);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}
FK_BOTH(cuStreamSynchronize, _ptsz, (CUstream hStream), (hStream))

static CUresult run_cuStreamGetFlags(CUstream hStream, unsigned *ret) { FK_STREAM(); *ret = hStream->flags; return CUDA_SUCCESS; }
FK_BOTH(cuStreamGetFlags, _ptsz, (CUstream hStream, unsigned *ret), (hStream, ret))
static CUresult run_cuStreamGetPriority(CUstream hStream, int *ret) { FK_STREAM(); *ret = hStream->priority; return CUDA_SUCCESS; }
FK_BOTH(cuStreamGetPriority, _ptsz, (CUstream hStream, int *ret), (hStream, ret))
static CUresult run_cuStreamGetId(CUstream hStream, unsigned long long *ret) { FK_STREAM(); *ret = hStream->id; return CUDA_SUCCESS; }
FK_BOTH(cuStreamGetId, _ptsz, (CUstream hStream, unsigned long long *ret), (hStream, ret))
static CUresult run_cuStreamGetCtx(CUstream hStream, CUcontext *ret) { FK_STREAM(); *ret = hStream->ctx; return CUDA_SUCCESS; }
FK_BOTH(cuStreamGetCtx, _ptsz, (CUstream hStream, CUcontext *ret), (hStream, ret))
static CUresult run_cuStreamGetCtx_v2(CUstream hStream, CUcontext *ret, CUgreenCtx *green) { FK_STREAM(); *ret = hStream->ctx; *green = NULL; return CUDA_SUCCESS; }
FK_BOTH(cuStreamGetCtx_v2, _ptsz, (CUstream hStream, CUcontext *ret, CUgreenCtx *green), (hStream, ret, green))
static CUresult run_cuStreamGetDevice(CUstream hStream, CUdevice *ret) { FK_STREAM(); *ret = hStream->ctx->ordinal; return CUDA_SUCCESS; }
FK_BOTH(cuStreamGetDevice, _ptsz, (CUstream hStream, CUdevice *ret), (hStream, ret))
static CUresult run_cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr pointer, size_t length, unsigned flags)
{
    FK_STREAM();
    return pointer ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_BOTH(cuStreamAttachMemAsync, _ptsz, (CUstream hStream, CUdeviceptr pointer, size_t length, unsigned flags), (hStream, pointer, length, flags))

/* --- host functions --- */

static CUresult run_cuLaunchHostFunc(CUstream hStream, CUhostFn call, void *arg)
{
    if (!call)
        return CUDA_ERROR_INVALID_VALUE;
    struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_HOST, .unit = FK_HELD, .host = {.call = call, .arg = arg}};
    return fk_run(hStream, &op);
}
FK_BOTH(cuLaunchHostFunc, _ptsz, (CUstream hStream, CUhostFn call, void *arg), (hStream, call, arg))

static CUresult run_cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *arg, unsigned flags)
{
    if (!callback || flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (fk_stream_ok(hStream) && hStream->capture)
        return fk_capture_break(hStream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_HOST, .unit = FK_HELD, .host = {.callback = callback, .arg = arg, .stream = hStream}};
    return fk_run(hStream, &op);
}
FK_BOTH(cuStreamAddCallback, _ptsz, (CUstream hStream, CUstreamCallback callback, void *arg, unsigned flags), (hStream, callback, arg, flags))

/* --- values written and waited for --- */

static CUresult value_op(CUstream hStream, bool wait, unsigned bytes, CUdeviceptr address, uint64_t value, unsigned flags)
{
    if (!address || address % bytes)
        return CUDA_ERROR_INVALID_VALUE;
    struct fk_op op = {.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, .unit = FK_HELD};
    op.wait.address = address;
    op.wait.value = value;
    op.wait.flags = flags;
    op.wait.bytes = wait ? bytes : 0;
    op.set.element = wait ? 0 : bytes;
    return fk_run(hStream, &op);
}

#define VALUE(name, wait, bytes, type) \
    static CUresult run_##name(CUstream hStream, CUdeviceptr address, type value, unsigned flags) { return value_op(hStream, wait, bytes, address, value, flags); } \
    FK_BOTH(name, _ptsz, (CUstream hStream, CUdeviceptr address, type value, unsigned flags), (hStream, address, value, flags))
VALUE(cuStreamWaitValue32, true, 4, cuuint32_t)
VALUE(cuStreamWaitValue64, true, 8, cuuint64_t)
VALUE(cuStreamWriteValue32, false, 4, cuuint32_t)
VALUE(cuStreamWriteValue64, false, 8, cuuint64_t)
VALUE(cuStreamWaitValue32_v2, true, 4, cuuint32_t)
VALUE(cuStreamWaitValue64_v2, true, 8, cuuint64_t)
VALUE(cuStreamWriteValue32_v2, false, 4, cuuint32_t)
VALUE(cuStreamWriteValue64_v2, false, 8, cuuint64_t)

static CUresult batch(CUstream hStream, unsigned count, CUstreamBatchMemOpParams *ops, unsigned flags)
{
    if (!ops && count)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = CUDA_SUCCESS;
    for (unsigned i = 0; i < count && !r; i++)
        switch (ops[i].operation) {
        case CU_STREAM_MEM_OP_WAIT_VALUE_32: r = value_op(hStream, true, 4, ops[i].waitValue.address, ops[i].waitValue.value, ops[i].waitValue.flags); break;
        case CU_STREAM_MEM_OP_WAIT_VALUE_64: r = value_op(hStream, true, 8, ops[i].waitValue.address, ops[i].waitValue.value64, ops[i].waitValue.flags); break;
        case CU_STREAM_MEM_OP_WRITE_VALUE_32: r = value_op(hStream, false, 4, ops[i].writeValue.address, ops[i].writeValue.value, 0); break;
        case CU_STREAM_MEM_OP_WRITE_VALUE_64: r = value_op(hStream, false, 8, ops[i].writeValue.address, ops[i].writeValue.value64, 0); break;
        case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES: case CU_STREAM_MEM_OP_BARRIER: break;
        default: r = CUDA_ERROR_INVALID_VALUE;
        }
    return r;
}
static CUresult run_cuStreamBatchMemOp(CUstream hStream, unsigned count, CUstreamBatchMemOpParams *ops, unsigned flags) { return batch(hStream, count, ops, flags); }
FK_BOTH(cuStreamBatchMemOp, _ptsz, (CUstream hStream, unsigned count, CUstreamBatchMemOpParams *ops, unsigned flags), (hStream, count, ops, flags))
static CUresult run_cuStreamBatchMemOp_v2(CUstream hStream, unsigned count, CUstreamBatchMemOpParams *ops, unsigned flags) { return batch(hStream, count, ops, flags); }
FK_BOTH(cuStreamBatchMemOp_v2, _ptsz, (CUstream hStream, unsigned count, CUstreamBatchMemOpParams *ops, unsigned flags), (hStream, count, ops, flags))
