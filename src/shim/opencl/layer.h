/* layer.h - the OpenCL front end of a vGPU: a layer of the standard loader (OPENCL_LAYERS), inside the task's process.
 *
 *     program -> loader -> layer  --memory-->  ledger (reserve, call, settle)   memory.c, pointer.c
 *                                 --enqueue->  gate   (enter, call, settle)     submit.c, settle.c, generated.c
 *                                 --queries->  the lease's limits               info.c, queue.c
 *                                 --devices->  the lease's device, no other     device.c
 *                                 --the rest-> the driver, untouched            api/opencl.toml [pass]
 *
 * One copy per loaded loader; attached once, at the loader's first call; any thread. Three states: no lease (the driver's
 * own table is handed back), attached, and refused: a lease that cannot be used makes no context, and says why to the
 * context's own error callback. Nothing here prints, exits, takes a signal or registers an exit handler; memory of its own
 * comes in chunks that are reused. A limit of this level: a program that does not ask the loader is not seen. */
#pragma once
#define CL_TARGET_OPENCL_VERSION 300
#define CL_ENABLE_BETA_EXTENSIONS /* newer headers: command buffers */
#define CL_USE_DEPRECATED_OPENCL_1_0_APIS
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_2_0_APIS
#define CL_USE_DEPRECATED_OPENCL_2_1_APIS
#define CL_USE_DEPRECATED_OPENCL_2_2_APIS
#include <CL/cl_layer.h>

#include "opencl_table.h"
#include "vgpu/gate.h"
#include "vgpu/ledger.h"

#define FGCL_AS_GPU_ENV "FGPU_TEST_AS_GPU" /* tests only: devices of any type say that they are GPUs */

struct fgcl {
    cl_icd_dispatch next;             /* the driver's, or the next layer's */
    struct fg_lease lease;
    struct fg_ledger ledger;
    struct fg_gate gate;
    enum fg_lease_status refused;     /* not OK: why no context can be made */
    int as_gpu;
    uint32_t open_user_events;        /* made by the program and not yet set */
};
extern struct fgcl fgcl;

/* --- memory.c --- */
/* Charge a memory object that exists already by its true size; over the quota it is released. */
cl_mem fgcl_borrowed(cl_context context, cl_mem made, uint32_t kind, cl_int *errcode_ret);
/* The context is gone: what it owned is, too. */
void CL_CALLBACK fgcl_context_gone(cl_context context, void *unused);

/* --- submit.c --- */
struct fgcl_submit {
    struct fg_ticket ticket;
    cl_event own;    /* when the program wants none */
    cl_event *event; /* what the driver gets */
    /* Work whose event does not know when it began (a command buffer: some drivers give the time of a last, empty command)
     * began when this marker before it was reached. NULL: the event knows. */
    cl_event before;
};
/* Waits for the vGPU's turn. Not CL_SUCCESS: answer that. */
cl_int fgcl_submit_begin(struct fgcl_submit *submit, cl_command_queue queue, uint64_t key, cl_event *theirs);
/* After the driver's call. Returns its status. blocking: it has ended already. */
cl_int fgcl_submit_end(struct fgcl_submit *submit, cl_int status, cl_bool blocking);
/* Jobs of one key are expected to cost the same: the function, its kernel, and its size to a quarter of a power of two. */
uint64_t fgcl_key(uint32_t function, uintptr_t handle, uint64_t size);
uint64_t fgcl_volume(const size_t *region);
uint64_t fgcl_items(cl_uint dimensions, const size_t *sizes);

/* --- settle.c --- */
/* The job's event is to be watched. Returns 0 when that cannot be. Takes over our references. */
int fgcl_follow(const struct fgcl_submit *submit);
enum fgcl_settle { FGCL_IN_ORDER, FGCL_ALL }; /* up to the first that still runs; or each one */
/* Settle what has ended, and make sure that the end of the rest will be noticed. */
void fgcl_settle(enum fgcl_settle which);
/* The program may not come back: if nobody watches, the end of its last job is. */
void fgcl_turned_away(void);

/* --- queue.c --- */
void fgcl_flush_all(void);
/* Did the program ask for profiling on the queue of this event? */
int fgcl_asked_profiling(cl_event event);
cl_command_queue fgcl_queue_create(cl_api_clCreateCommandQueueWithProperties create, cl_context context, cl_device_id device,
                                   const cl_queue_properties *properties, cl_int *errcode_ret);

/* --- extension.c --- */
/* The driver's extension function for the driver that made this object. NULL never: it was handed out. */
void *fgcl_ext_next(uint32_t function, const void *object);
/* --- generated.c --- */
/* Put the layer's functions over the driver's, where it has them. */
void fgcl_override(cl_icd_dispatch *table);
/* The layer's function of this name, or NULL. *ret: its number; below FGCL_EXTENSIONS for extension functions. */
void *fgcl_function(const char *name, uint32_t *ret);

/* What is written by hand, under the names of the table. */
#define FGCL_HAND(name) __typeof__(*(cl_api_##name)0) fgcl_##name
FGCL_HAND(clCreateBuffer);
FGCL_HAND(clCreateBufferWithProperties);
FGCL_HAND(clCreateImage);
FGCL_HAND(clCreateImageWithProperties);
FGCL_HAND(clCreateImage2D);
FGCL_HAND(clCreateImage3D);
FGCL_HAND(clCreatePipe);
FGCL_HAND(clSVMAlloc);
FGCL_HAND(clSVMFree);
FGCL_HAND(clEnqueueSVMFree);
FGCL_HAND(clCreateContext);
FGCL_HAND(clCreateContextFromType);
FGCL_HAND(clCreateCommandQueue);
FGCL_HAND(clCreateCommandQueueWithProperties);
FGCL_HAND(clReleaseCommandQueue);
FGCL_HAND(clGetCommandQueueInfo);
FGCL_HAND(clSetCommandQueueProperty);
FGCL_HAND(clGetEventProfilingInfo);
FGCL_HAND(clFlush);
FGCL_HAND(clFinish);
FGCL_HAND(clWaitForEvents);
FGCL_HAND(clGetEventInfo);
FGCL_HAND(clSetEventCallback);
FGCL_HAND(clCreateUserEvent);
FGCL_HAND(clSetUserEventStatus);
FGCL_HAND(clGetDeviceInfo);
FGCL_HAND(clGetDeviceIDs);
FGCL_HAND(clGetExtensionFunctionAddress);
FGCL_HAND(clGetExtensionFunctionAddressForPlatform);
#define FGCL_HAND_EXT(name) __typeof__(*(name##_fn)0) fgcl_##name
FGCL_HAND_EXT(clCreateCommandQueueWithPropertiesKHR);
FGCL_HAND_EXT(clCreateBufferWithPropertiesINTEL);
FGCL_HAND_EXT(clHostMemAllocINTEL);
FGCL_HAND_EXT(clDeviceMemAllocINTEL);
FGCL_HAND_EXT(clSharedMemAllocINTEL);
FGCL_HAND_EXT(clMemFreeINTEL);
FGCL_HAND_EXT(clMemBlockingFreeINTEL);
FGCL_HAND_EXT(clEnqueueCommandBufferKHR);
FGCL_HAND_EXT(clCreateCommandBufferKHR);
