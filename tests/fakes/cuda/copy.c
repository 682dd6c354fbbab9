/* copy.c - copies and fills. Bytes move when the call is made, which no correct program can tell from when their turn comes;
 * the time they take on a copy engine is the device's. */
#include "driver.h"

static uint64_t copy_ns(uint64_t bytes)
{
    return fk_world->copy_latency_ns + bytes * 1000 / fk_world->copy_bytes_per_us;
}

void fk_data_copy(struct fk_op *op)
{
    for (size_t z = 0; z < op->data.depth; z++)
        for (size_t y = 0; y < op->data.height; y++)
            memmove(op->data.to + z * op->data.to_slice + y * op->data.to_pitch, op->data.from + z * op->data.from_slice + y * op->data.from_pitch,
                    op->data.width);
}

void fk_data_set(struct fk_op *op)
{
    for (size_t y = 0; y < op->data.height; y++) {
        char *row = op->data.to + y * op->data.to_pitch;
        if (op->set.element == 1 || !op->set.value) {
            memset(row, (int)op->set.value, op->data.width * op->set.element);
            continue;
        }
        for (size_t x = 0; x < op->data.width; x++)
            memcpy(row + x * op->set.element, &op->set.value, op->set.element);
    }
}

/* Device memory of this address that has so many bytes? Pinned memory is, too. */
static bool is_device(uint64_t address, size_t bytes)
{
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(address);
    if (!alloc)
        alloc = fk_host_find((const void *)(uintptr_t)address);
    bool ok = alloc && (alloc->reservation ? fk_mapped(alloc, address, bytes) : address + bytes <= alloc->base + alloc->bytes);
    pthread_mutex_unlock(&fk_big);
    return ok;
}

struct side { char *at; size_t pitch, slice; bool device; };

static CUresult side(struct side *ret, CUmemorytype type, const void *host, CUdeviceptr pointer, CUarray array, size_t x, size_t y, size_t z,
                     size_t pitch, size_t height, const CUDA_MEMCPY3D *copy)
{
    struct fk_array_view view;
    size_t row = pitch ? pitch : copy->WidthInBytes, slice = row * (height ? height : copy->Height);
    switch (type) {
    case CU_MEMORYTYPE_HOST:
        *ret = (struct side){(char *)(uintptr_t)host, row, slice, false};
        break;
    case CU_MEMORYTYPE_DEVICE: case CU_MEMORYTYPE_UNIFIED:
        *ret = (struct side){(char *)(uintptr_t)pointer, row, slice, true};
        break;
    case CU_MEMORYTYPE_ARRAY:
        if (!fk_array_view(array, &view))
            return CUDA_ERROR_INVALID_HANDLE;
        *ret = (struct side){view.base, view.pitch, view.slice, true};
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    ret->at += z * ret->slice + y * ret->pitch + x;
    size_t bytes = (copy->Depth - 1) * ret->slice + (copy->Height - 1) * ret->pitch + copy->WidthInBytes;
    if (type == CU_MEMORYTYPE_UNIFIED)
        ret->device = is_device((uintptr_t)ret->at, bytes);
    else if (type == CU_MEMORYTYPE_DEVICE && !is_device((uintptr_t)ret->at, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    return ret->at ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult fk_copy_op(const CUDA_MEMCPY3D *copy, struct fk_op *ret)
{
    struct side from, to;
    if (!copy)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = (struct fk_op){.type = CU_GRAPH_NODE_TYPE_MEMCPY, .copy = *copy};
    if (!copy->WidthInBytes || !copy->Height || !copy->Depth)
        return CUDA_SUCCESS;
    CUresult r = side(&from, copy->srcMemoryType, copy->srcHost, copy->srcDevice, copy->srcArray, copy->srcXInBytes, copy->srcY, copy->srcZ,
                      copy->srcPitch, copy->srcHeight, copy);
    r = r ? r : side(&to, copy->dstMemoryType, copy->dstHost, copy->dstDevice, copy->dstArray, copy->dstXInBytes, copy->dstY, copy->dstZ,
                     copy->dstPitch, copy->dstHeight, copy);
    if (r)
        return r;
    ret->unit = !to.device ? FK_COPY_OUT : FK_COPY_IN;
    ret->ns = copy_ns((uint64_t)copy->WidthInBytes * copy->Height * copy->Depth);
    ret->effect = fk_data_copy;
    ret->data.to = to.at;
    ret->data.to_pitch = to.pitch;
    ret->data.to_slice = to.slice;
    ret->data.from = from.at;
    ret->data.from_pitch = from.pitch;
    ret->data.from_slice = from.slice;
    ret->data.width = copy->WidthInBytes;
    ret->data.height = copy->Height;
    ret->data.depth = copy->Depth;
    return CUDA_SUCCESS;
}

CUresult fk_memset_op(uint64_t to, size_t pitch, uint32_t value, uint32_t element, size_t width, size_t height, struct fk_op *ret)
{
    *ret = (struct fk_op){.type = CU_GRAPH_NODE_TYPE_MEMSET, .memset = {to, pitch, value, element, width, height}};
    if (!width || !height)
        return CUDA_SUCCESS;
    if ((element != 1 && element != 2 && element != 4) || to % element || !is_device(to, (height - 1) * pitch + width * element))
        return CUDA_ERROR_INVALID_VALUE;
    ret->unit = FK_COPY_IN;
    ret->ns = copy_ns((uint64_t)width * height * element);
    ret->effect = fk_data_set;
    ret->set.value = value;
    ret->set.element = element;
    ret->data.to = (char *)(uintptr_t)to;
    ret->data.to_pitch = pitch;
    ret->data.width = width;
    ret->data.height = height;
    return CUDA_SUCCESS;
}

static CUresult copy(CUstream hStream, const CUDA_MEMCPY3D *what, bool wait)
{
    struct fk_op op;
    if (!hStream)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUresult r = fk_copy_op(what, &op);
    r = r ? r : wait && fk_stream_ok(hStream) && hStream->capture ? fk_capture_break(hStream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) : fk_run(hStream, &op);
    return r || !wait ? r : fk_sync_job(hStream->ctx->device, fk_last(hStream));
}

#define FK_LINE(bytes) .WidthInBytes = bytes, .Height = 1, .Depth = 1
#define FROM_HOST(at) .srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = at
#define FROM_DEVICE(at) .srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = at
#define FROM_ARRAY(a, offset) .srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = a, .srcXInBytes = offset
#define FROM_ANY(at) .srcMemoryType = CU_MEMORYTYPE_UNIFIED, .srcDevice = at
#define TO_HOST(at) .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = at
#define TO_DEVICE(at) .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = at
#define TO_ARRAY(a, offset) .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = a, .dstXInBytes = offset
#define TO_ANY(at) .dstMemoryType = CU_MEMORYTYPE_UNIFIED, .dstDevice = at

/* A copy of n bytes: NAME waits, ASYNC does not; both with their variants. */
#define LINE(name, params, ...) \
    static CUresult run_##name params { return copy(hStream, &(CUDA_MEMCPY3D){FK_LINE(n), __VA_ARGS__}, true); }
#define LINE_ASYNC(name, params, args, ...) \
    static CUresult run_##name params { return copy(hStream, &(CUDA_MEMCPY3D){FK_LINE(n), __VA_ARGS__}, false); } \
    FK_BOTH(name, _ptsz, params, args)

LINE(cuMemcpyHtoD_v2, (CUstream hStream, CUdeviceptr to, const void *from, size_t n), FROM_HOST(from), TO_DEVICE(to))
FK_BOTH_SYNC(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t n), (hStream, to, from, n))
LINE(cuMemcpyDtoH_v2, (CUstream hStream, void *to, CUdeviceptr from, size_t n), FROM_DEVICE(from), TO_HOST(to))
FK_BOTH_SYNC(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t n), (hStream, to, from, n))
LINE(cuMemcpyDtoD_v2, (CUstream hStream, CUdeviceptr to, CUdeviceptr from, size_t n), FROM_DEVICE(from), TO_DEVICE(to))
FK_BOTH_SYNC(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t n), (hStream, to, from, n))
LINE(cuMemcpy, (CUstream hStream, CUdeviceptr to, CUdeviceptr from, size_t n), FROM_ANY(from), TO_ANY(to))
FK_BOTH_SYNC(cuMemcpy, (CUdeviceptr to, CUdeviceptr from, size_t n), (hStream, to, from, n))
LINE(cuMemcpyHtoA_v2, (CUstream hStream, CUarray to, size_t at, const void *from, size_t n), FROM_HOST(from), TO_ARRAY(to, at))
FK_BOTH_SYNC(cuMemcpyHtoA_v2, (CUarray to, size_t at, const void *from, size_t n), (hStream, to, at, from, n))
LINE(cuMemcpyAtoH_v2, (CUstream hStream, void *to, CUarray from, size_t at, size_t n), FROM_ARRAY(from, at), TO_HOST(to))
FK_BOTH_SYNC(cuMemcpyAtoH_v2, (void *to, CUarray from, size_t at, size_t n), (hStream, to, from, at, n))
LINE(cuMemcpyDtoA_v2, (CUstream hStream, CUarray to, size_t at, CUdeviceptr from, size_t n), FROM_DEVICE(from), TO_ARRAY(to, at))
FK_BOTH_SYNC(cuMemcpyDtoA_v2, (CUarray to, size_t at, CUdeviceptr from, size_t n), (hStream, to, at, from, n))
LINE(cuMemcpyAtoD_v2, (CUstream hStream, CUdeviceptr to, CUarray from, size_t at, size_t n), FROM_ARRAY(from, at), TO_DEVICE(to))
FK_BOTH_SYNC(cuMemcpyAtoD_v2, (CUdeviceptr to, CUarray from, size_t at, size_t n), (hStream, to, from, at, n))
LINE(cuMemcpyAtoA_v2, (CUstream hStream, CUarray to, size_t at, CUarray from, size_t from_at, size_t n), FROM_ARRAY(from, from_at), TO_ARRAY(to, at))
FK_BOTH_SYNC(cuMemcpyAtoA_v2, (CUarray to, size_t at, CUarray from, size_t from_at, size_t n), (hStream, to, at, from, from_at, n))
LINE(cuMemcpyPeer, (CUstream hStream, CUdeviceptr to, CUcontext a, CUdeviceptr from, CUcontext b, size_t n), FROM_DEVICE(from), TO_DEVICE(to))
FK_BOTH_SYNC(cuMemcpyPeer, (CUdeviceptr to, CUcontext a, CUdeviceptr from, CUcontext b, size_t n), (hStream, to, a, from, b, n))

LINE_ASYNC(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t n, CUstream hStream), (to, from, n, hStream), FROM_HOST(from), TO_DEVICE(to))
LINE_ASYNC(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t n, CUstream hStream), (to, from, n, hStream), FROM_DEVICE(from), TO_HOST(to))
LINE_ASYNC(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream hStream), (to, from, n, hStream), FROM_DEVICE(from), TO_DEVICE(to))
LINE_ASYNC(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream hStream), (to, from, n, hStream), FROM_ANY(from), TO_ANY(to))
LINE_ASYNC(cuMemcpyHtoAAsync_v2, (CUarray to, size_t at, const void *from, size_t n, CUstream hStream), (to, at, from, n, hStream), FROM_HOST(from), TO_ARRAY(to, at))
LINE_ASYNC(cuMemcpyAtoHAsync_v2, (void *to, CUarray from, size_t at, size_t n, CUstream hStream), (to, from, at, n, hStream), FROM_ARRAY(from, at), TO_HOST(to))
LINE_ASYNC(cuMemcpyPeerAsync, (CUdeviceptr to, CUcontext a, CUdeviceptr from, CUcontext b, size_t n, CUstream hStream), (to, a, from, b, n, hStream), FROM_DEVICE(from), TO_DEVICE(to))

/* --- rectangles and boxes --- */

static CUresult copy_2d(CUstream hStream, const CUDA_MEMCPY2D *c, bool wait)
{
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    return copy(hStream, &(CUDA_MEMCPY3D){c->srcXInBytes, c->srcY, 0, 0, c->srcMemoryType, c->srcHost, c->srcDevice, c->srcArray, NULL, c->srcPitch, 0,
                                          c->dstXInBytes, c->dstY, 0, 0, c->dstMemoryType, c->dstHost, c->dstDevice, c->dstArray, NULL, c->dstPitch, 0,
                                          c->WidthInBytes, c->Height, 1}, wait);
}
static CUresult run_cuMemcpy2D_v2(CUstream hStream, const CUDA_MEMCPY2D *c) { return copy_2d(hStream, c, true); }
FK_BOTH_SYNC(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *c), (hStream, c))
static CUresult run_cuMemcpy2DUnaligned_v2(CUstream hStream, const CUDA_MEMCPY2D *c) { return copy_2d(hStream, c, true); }
FK_BOTH_SYNC(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *c), (hStream, c))
static CUresult run_cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *c, CUstream hStream) { return copy_2d(hStream, c, false); }
FK_BOTH(cuMemcpy2DAsync_v2, _ptsz, (const CUDA_MEMCPY2D *c, CUstream hStream), (c, hStream))
static CUresult run_cuMemcpy3D_v2(CUstream hStream, const CUDA_MEMCPY3D *c) { return copy(hStream, c, true); }
FK_BOTH_SYNC(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *c), (hStream, c))
static CUresult run_cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *c, CUstream hStream) { return copy(hStream, c, false); }
FK_BOTH(cuMemcpy3DAsync_v2, _ptsz, (const CUDA_MEMCPY3D *c, CUstream hStream), (c, hStream))
/* With contexts in the places that are reserved in the other. */
_Static_assert(sizeof(CUDA_MEMCPY3D) == sizeof(CUDA_MEMCPY3D_PEER), "one layout");
static CUresult run_cuMemcpy3DPeer(CUstream hStream, const CUDA_MEMCPY3D_PEER *c) { return copy(hStream, (const CUDA_MEMCPY3D *)(const void *)c, true); }
FK_BOTH_SYNC(cuMemcpy3DPeer, (const CUDA_MEMCPY3D_PEER *c), (hStream, c))
static CUresult run_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *c, CUstream hStream) { return copy(hStream, (const CUDA_MEMCPY3D *)(const void *)c, false); }
FK_BOTH(cuMemcpy3DPeerAsync, _ptsz, (const CUDA_MEMCPY3D_PEER *c, CUstream hStream), (c, hStream))

static CUresult batch(CUstream hStream, CUdeviceptr *to, CUdeviceptr *from, size_t *sizes, size_t count, size_t *failed)
{
    CUresult r = to && from && sizes && count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count && !r; i++) {
        r = copy(hStream, &(CUDA_MEMCPY3D){FK_LINE(sizes[i]), FROM_ANY(from[i]), TO_ANY(to[i])}, false);
        if (r && failed)
            *failed = i;
    }
    return r;
}
static CUresult run_cuMemcpyBatchAsync(CUdeviceptr *to, CUdeviceptr *from, size_t *sizes, size_t count, void *attributes, size_t *indices, size_t n,
                                       size_t *failed, CUstream hStream) { return batch(hStream, to, from, sizes, count, failed); }
FK_BOTH(cuMemcpyBatchAsync, _ptsz, (CUdeviceptr *to, CUdeviceptr *from, size_t *sizes, size_t count, void *attributes, size_t *indices, size_t n,
                                    size_t *failed, CUstream hStream), (to, from, sizes, count, attributes, indices, n, failed, hStream))
static CUresult run_cuMemcpyBatchAsync_v2(CUdeviceptr *to, CUdeviceptr *from, size_t *sizes, size_t count, void *attributes, size_t *indices, size_t n,
                                          CUstream hStream) { return batch(hStream, to, from, sizes, count, NULL); }
FK_BOTH(cuMemcpyBatchAsync_v2, _ptsz, (CUdeviceptr *to, CUdeviceptr *from, size_t *sizes, size_t count, void *attributes, size_t *indices, size_t n,
                                       CUstream hStream), (to, from, sizes, count, attributes, indices, n, hStream))

/* --- fills --- */

static CUresult set(CUstream hStream, uint64_t to, size_t pitch, uint32_t value, uint32_t element, size_t width, size_t height)
{
    struct fk_op op;
    if (!hStream)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUresult r = fk_memset_op(to, pitch, value, element, width, height, &op);
    return r ? r : fk_run(hStream, &op);
}

#define SET(bits, type) \
    static CUresult run_cuMemsetD##bits##_v2(CUstream hStream, CUdeviceptr to, type value, size_t n) { return set(hStream, to, 0, value, bits / 8, n, 1); } \
    FK_BOTH_SYNC(cuMemsetD##bits##_v2, (CUdeviceptr to, type value, size_t n), (hStream, to, value, n)) \
    static CUresult run_cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t n, CUstream hStream) { return set(hStream, to, 0, value, bits / 8, n, 1); } \
    FK_BOTH(cuMemsetD##bits##Async, _ptsz, (CUdeviceptr to, type value, size_t n, CUstream hStream), (to, value, n, hStream)) \
    static CUresult run_cuMemsetD2D##bits##_v2(CUstream hStream, CUdeviceptr to, size_t pitch, type value, size_t w, size_t h) { return set(hStream, to, pitch, value, bits / 8, w, h); } \
    FK_BOTH_SYNC(cuMemsetD2D##bits##_v2, (CUdeviceptr to, size_t pitch, type value, size_t w, size_t h), (hStream, to, pitch, value, w, h)) \
    static CUresult run_cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, type value, size_t w, size_t h, CUstream hStream) { return set(hStream, to, pitch, value, bits / 8, w, h); } \
    FK_BOTH(cuMemsetD2D##bits##Async, _ptsz, (CUdeviceptr to, size_t pitch, type value, size_t w, size_t h, CUstream hStream), (to, pitch, value, w, h, hStream))
SET(8, unsigned char)
SET(16, unsigned short)
SET(32, unsigned)
