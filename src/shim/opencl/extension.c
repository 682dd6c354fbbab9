/* extension.c - functions that a program asks for by name: ours instead of the driver's, or none that gets past us. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

#define VENDORS 8

/* An extension function belongs to one driver. Every object of a driver begins with a pointer to that driver's own
 * dispatch table (the loader's contract), which names the driver at the cost of one load. */
static struct { uint32_t lock; struct { const void *vendor; void *function; } of[FGCL_EXTENSIONS][VENDORS]; } next;

static const void *vendor_of(const void *object) { return object ? *(const void *const *)object : NULL; }

/* Returns 0 when there are more drivers than we can tell apart. */
static int remember(uint32_t function, const void *vendor, void *pointer)
{
    int done = 0;
    fg_lock(&next.lock);
    for (unsigned i = 0; i < VENDORS && !done; i++)
        if (!next.of[function][i].function || next.of[function][i].vendor == vendor) {
            next.of[function][i].vendor = vendor;
            fg_put(&next.of[function][i].function, pointer);
            done = 1;
        }
    fg_unlock(&next.lock);
    return done;
}

void *fgcl_ext_next(uint32_t function, const void *object)
{
    const void *vendor = vendor_of(object);
    for (unsigned i = 0; i < VENDORS && fg_get(&next.of[function][i].function); i++)
        if (next.of[function][i].vendor == vendor)
            return next.of[function][i].function;
    return next.of[function][0].function; /* asked for without naming a platform: there is one */
}

static int in_list(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(name, *list))
            return 1;
    return 0;
}

/* Does the name say that it allocates or submits, and do we not know it? */
static int gets_past_us(const char *name)
{
    static const char *const refused[] = {FGCL_REFUSED NULL}, *const harmless[] = {FGCL_HARMLESS NULL},
                      *const suspect[] = {FGCL_SUSPECT NULL};
    if (in_list(name, refused))
        return 1;
    if (in_list(name, harmless))
        return 0;
    for (unsigned i = 0; suspect[i]; i++)
        if (strstr(name, suspect[i]))
            return 1;
    return 0;
}

/* theirs: what the driver answers. */
static void *hand_out(const char *name, const void *vendor, void *theirs)
{
    uint32_t function;
    void *ours = fgcl_function(name, &function);
    if (!theirs || (!ours && gets_past_us(name)))
        return NULL;
    if (ours && function < FGCL_EXTENSIONS && !remember(function, vendor, theirs))
        return NULL;
    return ours ? ours : theirs;
}

void *CL_API_CALL fgcl_clGetExtensionFunctionAddress(const char *name)
{
    return name ? hand_out(name, NULL, fgcl.next.clGetExtensionFunctionAddress(name)) : NULL;
}

void *CL_API_CALL fgcl_clGetExtensionFunctionAddressForPlatform(cl_platform_id platform, const char *name)
{
    if (!name)
        return NULL;
    return hand_out(name, vendor_of(platform), fgcl.next.clGetExtensionFunctionAddressForPlatform(platform, name));
}

/* --- command buffers --- */

/* Which queue a command buffer runs on when none is named: the driver's own answer cannot be trusted (PoCL 3.1). One entry
 * per address that ever was a command buffer; a driver uses addresses again, so there are few. */
struct buffer { struct buffer *next; cl_command_buffer_khr buffer; cl_command_queue queue; };
static struct { uint32_t lock; struct buffer *first; } buffers;

static struct buffer *find(cl_command_buffer_khr buffer)
{
    struct buffer *known = buffers.first;
    while (known && known->buffer != buffer)
        known = known->next;
    return known;
}

static void remember_queue(cl_command_buffer_khr buffer, cl_command_queue queue)
{
    struct buffer *fresh = calloc(1, sizeof *fresh);
    fg_lock(&buffers.lock);
    struct buffer *known = find(buffer);
    if (!known && fresh) {
        *fresh = (struct buffer){buffers.first, buffer, queue};
        buffers.first = fresh;
        fresh = NULL;
    } else if (known) {
        known->queue = queue;
    }
    fg_unlock(&buffers.lock);
    free(fresh);
}

cl_command_buffer_khr CL_API_CALL fgcl_clCreateCommandBufferKHR(cl_uint queues_count, const cl_command_queue *queues,
                                                                const cl_command_buffer_properties_khr *properties,
                                                                cl_int *errcode_ret)
{
    const void *object = queues_count && queues ? queues[0] : NULL;
    clCreateCommandBufferKHR_fn create = (clCreateCommandBufferKHR_fn)fgcl_ext_next(FGCL_clCreateCommandBufferKHR, object);
    cl_command_buffer_khr made = create(queues_count, queues, properties, errcode_ret);
    if (made)
        remember_queue(made, queues[0]);
    return made;
}

static cl_command_queue queue_of(cl_uint queues_count, cl_command_queue *queues, cl_command_buffer_khr buffer)
{
    if (queues_count && queues)
        return queues[0];
    fg_lock(&buffers.lock);
    const struct buffer *known = find(buffer);
    cl_command_queue queue = known ? known->queue : NULL;
    fg_unlock(&buffers.lock);
    return queue;
}

static cl_event set_event(cl_command_queue queue)
{
    cl_context context = NULL;
    cl_int status;
    if (fgcl.next.clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL) != CL_SUCCESS)
        return NULL;
    cl_event event = fgcl.next.clCreateUserEvent(context, &status);
    if (event)
        fgcl.next.clSetUserEventStatus(event, CL_COMPLETE);
    return event;
}

/* A command that ends when the next one on this queue may begin: after what is before it in order, and what it waits for. On a
 * queue without order, a marker with nothing to wait for would wait for all; so it waits for what is done already. */
static cl_event mark(cl_command_queue queue, cl_uint events, const cl_event *list)
{
    cl_command_queue_properties properties = 0;
    cl_event marker = NULL, done = NULL;
    if (!queue || !fgcl.next.clEnqueueMarkerWithWaitList ||
        fgcl.next.clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL) != CL_SUCCESS)
        return NULL;
    if (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE && !events && (done = set_event(queue))) {
        events = 1;
        list = &done;
    }
    cl_int status = fgcl.next.clEnqueueMarkerWithWaitList(queue, events, list, &marker);
    if (done)
        fgcl.next.clReleaseEvent(done);
    return status == CL_SUCCESS ? marker : NULL;
}

/* A command buffer was recorded without us and runs as one job, whatever it holds. */
cl_int CL_API_CALL fgcl_clEnqueueCommandBufferKHR(cl_uint queues_count, cl_command_queue *queues, cl_command_buffer_khr buffer,
                                                  cl_uint events, const cl_event *list, cl_event *event)
{
    struct fgcl_submit submit;
    cl_command_queue queue = queue_of(queues_count, queues, buffer);
    cl_int status = fgcl_submit_begin(&submit, queue, fgcl_key(FGCL_clEnqueueCommandBufferKHR, (uintptr_t)buffer, 1), event);
    if (status != CL_SUCCESS)
        return status;
    submit.before = submit.event ? mark(queue, events, list) : NULL;
    clEnqueueCommandBufferKHR_fn enqueue = (clEnqueueCommandBufferKHR_fn)fgcl_ext_next(FGCL_clEnqueueCommandBufferKHR, buffer);
    return fgcl_submit_end(&submit, enqueue(queues_count, queues, buffer, events, list, submit.event), CL_FALSE);
}
