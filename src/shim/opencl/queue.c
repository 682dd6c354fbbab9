/* queue.c - queues profile always, and the program sees them as it asked for them. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

#define BUCKETS 64
#define PROPERTIES_MAX 32 /* words of a properties array, its 0 included; the API knows two pairs */

/* What the program asked for. Few live at a time, so a list per bucket; the lock is held for no driver call. */
struct asked {
    struct asked *next;
    cl_command_queue queue;
    cl_command_queue_properties properties;
    size_t array_words; /* 0: not made by an array */
    cl_queue_properties array[PROPERTIES_MAX];
};
static struct { uint32_t lock; struct asked *buckets[BUCKETS]; } queues;

static struct asked **bucket_of(cl_command_queue queue)
{
    return &queues.buckets[(uintptr_t)queue * 0x9e3779b97f4a7c15u >> 58];
}

/* Locked. NULL: a queue we have not seen made. */
static struct asked *find(cl_command_queue queue)
{
    struct asked *asked = *bucket_of(queue);
    while (asked && asked->queue != queue)
        asked = asked->next;
    return asked;
}

static void forget(cl_command_queue queue)
{
    fg_lock(&queues.lock);
    struct asked **place = bucket_of(queue), *asked;
    while (*place && (*place)->queue != queue)
        place = &(*place)->next;
    if ((asked = *place))
        *place = asked->next;
    fg_unlock(&queues.lock);
    free(asked);
}

static cl_command_queue remember(cl_command_queue queue, const struct asked *what)
{
    struct asked *asked = queue ? malloc(sizeof *asked) : NULL;
    if (!asked)
        return queue; /* no memory: the program sees that its queue profiles, no more */
    forget(queue);
    *asked = *what;
    asked->queue = queue;
    fg_lock(&queues.lock);
    struct asked **bucket = bucket_of(queue);
    asked->next = *bucket;
    *bucket = asked;
    fg_unlock(&queues.lock);
    return queue;
}

/* Queues are flushed in batches outside of the lock; each is kept alive meanwhile. */
void fgcl_flush_all(void)
{
    cl_command_queue batch[16];
    for (unsigned b = 0; b < BUCKETS; b++) {
        unsigned count = 0;
        fg_lock(&queues.lock);
        for (struct asked *a = queues.buckets[b]; a && count < 16; a = a->next)
            if (fgcl.next.clRetainCommandQueue(a->queue) == CL_SUCCESS)
                batch[count++] = a->queue;
        fg_unlock(&queues.lock);
        for (unsigned i = 0; i < count; i++) {
            fgcl.next.clFlush(batch[i]);
            fgcl.next.clReleaseCommandQueue(batch[i]);
        }
    }
}

cl_command_queue CL_API_CALL fgcl_clCreateCommandQueue(cl_context context, cl_device_id device, cl_command_queue_properties properties,
                                                       cl_int *errcode_ret)
{
    struct asked asked = {.properties = properties};
    return remember(fgcl.next.clCreateCommandQueue(context, device, properties | CL_QUEUE_PROFILING_ENABLE, errcode_ret), &asked);
}

/* Copy the program's array with profiling switched on. Returns 0 when it cannot be: too long, or on the device. */
static int with_profiling(const cl_queue_properties *given, struct asked *asked, cl_queue_properties *ret)
{
    size_t n = 0, at = PROPERTIES_MAX;
    for (; given && given[n]; n += 2) {
        if (n + 2 > PROPERTIES_MAX - 3)
            return 0;
        memcpy(&ret[n], &given[n], 2 * sizeof *ret);
        if (given[n] == CL_QUEUE_PROPERTIES) {
            asked->properties = given[n + 1];
            at = n + 1;
        }
    }
    memcpy(asked->array, ret, n * sizeof *ret);
    asked->array[n] = 0;
    asked->array_words = given ? n + 1 : 0;
    if (at == PROPERTIES_MAX) {
        ret[n] = CL_QUEUE_PROPERTIES;
        ret[at = n + 1] = 0;
        n += 2;
    }
    ret[at] |= CL_QUEUE_PROFILING_ENABLE;
    ret[n] = 0;
    return !(asked->properties & (CL_QUEUE_ON_DEVICE | CL_QUEUE_ON_DEVICE_DEFAULT));
}

cl_command_queue fgcl_queue_create(cl_api_clCreateCommandQueueWithProperties create, cl_context context, cl_device_id device,
                                   const cl_queue_properties *properties, cl_int *errcode_ret)
{
    struct asked asked = {0};
    cl_queue_properties array[PROPERTIES_MAX];
    if (!with_profiling(properties, &asked, array)) {
        if (errcode_ret)
            *errcode_ret = CL_INVALID_QUEUE_PROPERTIES;
        return NULL;
    }
    return remember(create(context, device, array, errcode_ret), &asked);
}

cl_command_queue CL_API_CALL fgcl_clCreateCommandQueueWithProperties(cl_context context, cl_device_id device,
                                                                     const cl_queue_properties *properties, cl_int *errcode_ret)
{
    return fgcl_queue_create(fgcl.next.clCreateCommandQueueWithProperties, context, device, properties, errcode_ret);
}

cl_command_queue CL_API_CALL fgcl_clCreateCommandQueueWithPropertiesKHR(cl_context context, cl_device_id device,
                                                                        const cl_queue_properties_khr *properties, cl_int *errcode_ret)
{
    void *create = fgcl_ext_next(FGCL_clCreateCommandQueueWithPropertiesKHR, context);
    return fgcl_queue_create((cl_api_clCreateCommandQueueWithProperties)create, context, device, properties, errcode_ret);
}

cl_int CL_API_CALL fgcl_clReleaseCommandQueue(cl_command_queue queue)
{
    cl_uint references = 0;
    if (fgcl.next.clGetCommandQueueInfo(queue, CL_QUEUE_REFERENCE_COUNT, sizeof references, &references, NULL) == CL_SUCCESS &&
        references == 1)
        forget(queue);
    cl_int status = fgcl.next.clReleaseCommandQueue(queue); /* a flush, too */
    fgcl_turned_away();
    return status;
}

cl_int CL_API_CALL fgcl_clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info name, size_t size, void *value,
                                              size_t *size_ret)
{
    size_t length = 0;
    cl_int status = fgcl.next.clGetCommandQueueInfo(queue, name, size, value, &length);
    int ours = status == CL_SUCCESS || status == CL_INVALID_VALUE; /* our array is longer than the program's: it may fit */
    if (ours && (name == CL_QUEUE_PROPERTIES || name == CL_QUEUE_PROPERTIES_ARRAY)) {
        fg_lock(&queues.lock);
        const struct asked *asked = find(queue);
        if (asked) {
            int array = name == CL_QUEUE_PROPERTIES_ARRAY;
            const void *from = array ? (const void *)asked->array : &asked->properties;
            length = array ? asked->array_words * sizeof *asked->array : sizeof asked->properties;
            status = value && size < length ? CL_INVALID_VALUE : CL_SUCCESS;
            if (value && status == CL_SUCCESS)
                memcpy(value, from, length);
        }
        fg_unlock(&queues.lock);
    }
    if (size_ret && status == CL_SUCCESS)
        *size_ret = length;
    return status;
}

cl_int CL_API_CALL fgcl_clSetCommandQueueProperty(cl_command_queue queue, cl_command_queue_properties properties, cl_bool enable,
                                                  cl_command_queue_properties *old)
{
    cl_command_queue_properties before = 0;
    cl_int status = fgcl.next.clSetCommandQueueProperty(queue, properties & ~(cl_command_queue_properties)CL_QUEUE_PROFILING_ENABLE,
                                                        enable, &before);
    if (status != CL_SUCCESS)
        return status;
    fg_lock(&queues.lock);
    struct asked *asked = find(queue);
    if (asked) {
        before = asked->properties;
        asked->properties = enable ? before | properties : before & ~properties;
    }
    fg_unlock(&queues.lock);
    if (old)
        *old = before;
    return status;
}

int fgcl_asked_profiling(cl_event event)
{
    cl_command_queue queue = NULL;
    if (fgcl.next.clGetEventInfo(event, CL_EVENT_COMMAND_QUEUE, sizeof queue, &queue, NULL) != CL_SUCCESS || !queue)
        return 1; /* a user event: the driver answers */
    fg_lock(&queues.lock);
    const struct asked *asked = find(queue);
    int yes = !asked || asked->properties & CL_QUEUE_PROFILING_ENABLE;
    fg_unlock(&queues.lock);
    return yes;
}

cl_int CL_API_CALL fgcl_clGetEventProfilingInfo(cl_event event, cl_profiling_info name, size_t size, void *value, size_t *size_ret)
{
    if (!fgcl_asked_profiling(event))
        return CL_PROFILING_INFO_NOT_AVAILABLE;
    return fgcl.next.clGetEventProfilingInfo(event, name, size, value, size_ret);
}
