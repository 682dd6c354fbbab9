/* memory.c - every way to get device memory, and every way to give it back.
 *
 * A memory object is credited by a destructor callback of ours on it: the driver calls it when the last reference, that of
 * sub-buffers and images made of it included, is gone and no command uses it any more. So sub-buffers need no code.
 * Pointers (SVM, USM) are credited by the call that frees them, or by the completion of the command that does. */
#include "layer.h"

static void answer(cl_int *errcode_ret, cl_int code)
{
    if (errcode_ret)
        *errcode_ret = code;
}

static void forget(uint64_t key)
{
    struct fg_record record;
    if (fg_ledger_take(&fgcl.ledger, key, &record) == FG_LEDGER_OK)
        fg_ledger_credit(&fgcl.ledger, record.bytes);
}

static void CL_CALLBACK memory_gone(cl_mem memory, void *unused)
{
    forget((uintptr_t)memory);
}

void CL_CALLBACK fgcl_context_gone(cl_context context, void *unused)
{
    fg_ledger_drop_owner(&fgcl.ledger, (uintptr_t)context);
}

/* Before the driver's call. */
static int reserve(uint64_t bytes, cl_int *errcode_ret)
{
    if (fg_ledger_reserve(&fgcl.ledger, bytes) == FG_LEDGER_OK)
        return 1;
    answer(errcode_ret, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    return 0;
}

static uint64_t size_of(cl_mem memory, uint64_t guess)
{
    size_t size = 0;
    if (fgcl.next.clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof size, &size, NULL) != CL_SUCCESS || !size)
        return guess;
    return size;
}

/* After the driver's call: what it made takes the place of what was reserved. */
static cl_mem settle(cl_context context, cl_mem made, uint64_t reserved, uint64_t bytes, uint32_t kind, cl_int *errcode_ret)
{
    if (!made) {
        fg_ledger_cancel(&fgcl.ledger, reserved);
        return NULL;
    }
    struct fg_record record = {.key = (uintptr_t)made, .bytes = bytes, .owner = (uintptr_t)context, .kind = kind};
    if (fg_ledger_settle(&fgcl.ledger, reserved, &record) == FG_LEDGER_OVER) {
        fgcl.next.clReleaseMemObject(made);
        forget(record.key);
        answer(errcode_ret, CL_MEM_OBJECT_ALLOCATION_FAILURE);
        return NULL;
    }
    /* Should it fail, the memory stays charged until the context or the process ends. */
    if (fgcl.next.clSetMemObjectDestructorCallback)
        fgcl.next.clSetMemObjectDestructorCallback(made, memory_gone, NULL);
    return made;
}

cl_mem fgcl_borrowed(cl_context context, cl_mem made, uint32_t kind, cl_int *errcode_ret)
{
    return made ? settle(context, made, 0, size_of(made, 0), kind, errcode_ret) : NULL;
}

/* --- buffers and pipes --- */

/* A buffer over memory that is charged already (SVM, USM) has no storage of its own. */
static uint64_t buffer_bytes(cl_mem_flags flags, size_t size, const void *host)
{
    struct fg_record known;
    if (host && flags & CL_MEM_USE_HOST_PTR && fg_ledger_find(&fgcl.ledger, (uintptr_t)host, &known) == FG_LEDGER_OK &&
        known.bytes >= size)
        return 0;
    return size;
}

cl_mem CL_API_CALL fgcl_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *errcode_ret)
{
    uint64_t bytes = buffer_bytes(flags, size, host);
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = fgcl.next.clCreateBuffer(context, flags, size, host, errcode_ret);
    return settle(context, made, bytes, bytes, FGCL_clCreateBuffer, errcode_ret);
}

static cl_mem create_buffer(cl_api_clCreateBufferWithProperties create, uint32_t kind, cl_context context,
                            const cl_mem_properties *properties, cl_mem_flags flags, size_t size, void *host, cl_int *errcode_ret)
{
    uint64_t bytes = buffer_bytes(flags, size, host);
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = create(context, properties, flags, size, host, errcode_ret);
    return settle(context, made, bytes, bytes, kind, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreateBufferWithProperties(cl_context context, const cl_mem_properties *properties, cl_mem_flags flags,
                                                     size_t size, void *host, cl_int *errcode_ret)
{
    return create_buffer(fgcl.next.clCreateBufferWithProperties, FGCL_clCreateBufferWithProperties, context, properties, flags,
                         size, host, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreateBufferWithPropertiesINTEL(cl_context context, const cl_mem_properties_intel *properties,
                                                          cl_mem_flags flags, size_t size, void *host, cl_int *errcode_ret)
{
    return create_buffer((cl_api_clCreateBufferWithProperties)fgcl_ext_next(FGCL_clCreateBufferWithPropertiesINTEL, context),
                         FGCL_clCreateBufferWithPropertiesINTEL, context, properties, flags, size, host, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreatePipe(cl_context context, cl_mem_flags flags, cl_uint packet_size, cl_uint packets,
                                     const cl_pipe_properties *properties, cl_int *errcode_ret)
{
    uint64_t bytes = (uint64_t)packet_size * packets;
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = fgcl.next.clCreatePipe(context, flags, packet_size, packets, properties, errcode_ret);
    return settle(context, made, bytes, made ? size_of(made, bytes) : 0, FGCL_clCreatePipe, errcode_ret);
}

/* --- images --- */

static uint64_t channel_bytes(cl_channel_type type)
{
    switch (type) {
    case CL_SNORM_INT8: case CL_UNORM_INT8: case CL_SIGNED_INT8: case CL_UNSIGNED_INT8: return 1;
    case CL_SNORM_INT16: case CL_UNORM_INT16: case CL_SIGNED_INT16: case CL_UNSIGNED_INT16: case CL_HALF_FLOAT: return 2;
    default: return 4;
    }
}

static uint64_t channels(cl_channel_order order)
{
    switch (order) {
    case CL_R: case CL_A: case CL_INTENSITY: case CL_LUMINANCE: case CL_DEPTH: return 1;
    case CL_RG: case CL_RA: case CL_Rx: return 2;
    case CL_RGB: case CL_RGx: case CL_sRGB: return 3;
    default: return 4;
    }
}

static uint64_t pixel_bytes(const cl_image_format *format)
{
    if (!format)
        return 0;
    switch (format->image_channel_data_type) { /* packed: all channels in one word */
    case CL_UNORM_SHORT_565: case CL_UNORM_SHORT_555: return 2;
    case CL_UNORM_INT_101010: case CL_UNORM_INT_101010_2: case CL_UNORM_INT24: return 4;
    default: return channel_bytes(format->image_channel_data_type) * channels(format->image_channel_order);
    }
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t at_least(uint64_t extent) { return extent ? extent : 1; }

/* What the pixels take: the least the driver can need; its own figure corrects this. */
static uint64_t image_bytes(const cl_image_format *format, const cl_image_desc *desc)
{
    if (!desc || desc->mem_object)
        return 0;
    uint64_t layers = 1, height = 1, depth = 1;
    switch (desc->image_type) {
    case CL_MEM_OBJECT_IMAGE1D_ARRAY: layers = desc->image_array_size; break;
    case CL_MEM_OBJECT_IMAGE2D: height = desc->image_height; break;
    case CL_MEM_OBJECT_IMAGE2D_ARRAY: height = desc->image_height, layers = desc->image_array_size; break;
    case CL_MEM_OBJECT_IMAGE3D: height = desc->image_height, depth = desc->image_depth; break;
    }
    uint64_t row = times(pixel_bytes(format), at_least(desc->image_width));
    return times(times(row, at_least(height)), times(at_least(depth), at_least(layers)));
}

static cl_mem settle_image(cl_context context, cl_mem made, uint64_t reserved, int has_storage, uint32_t kind, cl_int *errcode_ret)
{
    if (made && !has_storage)
        return made; /* its parent is charged, and kept alive by it */
    return settle(context, made, reserved, made ? size_of(made, reserved) : 0, kind, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreateImage(cl_context context, cl_mem_flags flags, const cl_image_format *format,
                                      const cl_image_desc *desc, void *host, cl_int *errcode_ret)
{
    uint64_t bytes = image_bytes(format, desc);
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = fgcl.next.clCreateImage(context, flags, format, desc, host, errcode_ret);
    return settle_image(context, made, bytes, desc && !desc->mem_object, FGCL_clCreateImage, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreateImageWithProperties(cl_context context, const cl_mem_properties *properties, cl_mem_flags flags,
                                                    const cl_image_format *format, const cl_image_desc *desc, void *host,
                                                    cl_int *errcode_ret)
{
    uint64_t bytes = image_bytes(format, desc);
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = fgcl.next.clCreateImageWithProperties(context, properties, flags, format, desc, host, errcode_ret);
    return settle_image(context, made, bytes, desc && !desc->mem_object, FGCL_clCreateImageWithProperties, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreateImage2D(cl_context context, cl_mem_flags flags, const cl_image_format *format, size_t width,
                                        size_t height, size_t row_pitch, void *host, cl_int *errcode_ret)
{
    cl_image_desc desc = {.image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = width, .image_height = height};
    uint64_t bytes = image_bytes(format, &desc);
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = fgcl.next.clCreateImage2D(context, flags, format, width, height, row_pitch, host, errcode_ret);
    return settle_image(context, made, bytes, 1, FGCL_clCreateImage2D, errcode_ret);
}

cl_mem CL_API_CALL fgcl_clCreateImage3D(cl_context context, cl_mem_flags flags, const cl_image_format *format, size_t width,
                                        size_t height, size_t depth, size_t row_pitch, size_t slice_pitch, void *host,
                                        cl_int *errcode_ret)
{
    cl_image_desc desc = {.image_type = CL_MEM_OBJECT_IMAGE3D, .image_width = width, .image_height = height, .image_depth = depth};
    uint64_t bytes = image_bytes(format, &desc);
    if (!reserve(bytes, errcode_ret))
        return NULL;
    cl_mem made = fgcl.next.clCreateImage3D(context, flags, format, width, height, depth, row_pitch, slice_pitch, host, errcode_ret);
    return settle_image(context, made, bytes, 1, FGCL_clCreateImage3D, errcode_ret);
}
