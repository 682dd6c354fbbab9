/* device.c - a vGPU is of one device: the program sees that one and no other.
 *
 * A lease of "openclN" is of the N-th device, counted over all platforms in the loader's order, as the machine's own list counts
 * them (src/device/opencl.c). A lease with another name is of whatever there is: all devices together are one vGPU. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

#define PLATFORMS_MAX 32
#define DEVICES_MAX   64

/* Filled once, under the lock; read without it after `known`. */
static struct {
    uint32_t lock, known;
    int one;              /* the lease names a device */
    cl_device_id leased;  /* NULL: it names one that is not here */
    unsigned count;
    cl_device_id all[DEVICES_MAX];
} devices;

static void list_platform(cl_platform_id platform)
{
    cl_uint count = 0, room = DEVICES_MAX - devices.count;
    if (room && fgcl.next.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, room, devices.all + devices.count, &count) == CL_SUCCESS)
        devices.count += count < room ? count : room;
}

/* "opencl12" -> 12; -1 for other names. */
static long number_of(const char *name)
{
    char *end;
    if (strncmp(name, "opencl", 6) != 0 || name[6] < '0' || name[6] > '9')
        return -1;
    long number = strtol(name + 6, &end, 10);
    return *end ? -1 : number;
}

static void learn(void)
{
    cl_platform_id platforms[PLATFORMS_MAX];
    cl_uint count = 0;
    long number = number_of(fgcl.lease.limits->device);
    devices.one = number >= 0;
    if (!devices.one || fgcl.next.clGetPlatformIDs(PLATFORMS_MAX, platforms, &count) != CL_SUCCESS)
        return;
    for (cl_uint i = 0; i < count && i < PLATFORMS_MAX; i++)
        list_platform(platforms[i]);
    devices.leased = number < (long)devices.count ? devices.all[number] : NULL;
}

static int only_one(void)
{
    if (!fg_get(&devices.known)) {
        fg_lock(&devices.lock);
        if (!devices.known)
            learn();
        fg_put(&devices.known, 1);
        fg_unlock(&devices.lock);
    }
    return devices.one;
}

/* A device of this machine that the lease is not of. Sub-devices and the like are not in the list and pass. */
static int foreign(cl_device_id device)
{
    for (unsigned i = 0; i < devices.count; i++)
        if (devices.all[i] == device)
            return device != devices.leased;
    return 0;
}

cl_int CL_API_CALL fgcl_clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint entries, cl_device_id *ret,
                                       cl_uint *count_ret)
{
    cl_device_id found[DEVICES_MAX];
    cl_uint count = 0;
    if (fgcl.as_gpu && type & CL_DEVICE_TYPE_GPU)
        type = CL_DEVICE_TYPE_ALL;
    if (!only_one())
        return fgcl.next.clGetDeviceIDs(platform, type, entries, ret, count_ret);
    if ((ret && !entries) || (!ret && !count_ret))
        return CL_INVALID_VALUE;
    if (type == CL_DEVICE_TYPE_DEFAULT)
        type = CL_DEVICE_TYPE_ALL; /* the only one is the default */
    cl_int status = fgcl.next.clGetDeviceIDs(platform, type, DEVICES_MAX, found, &count);
    for (cl_uint i = 0; status == CL_SUCCESS && i < count && i < DEVICES_MAX; i++)
        if (found[i] == devices.leased) {
            if (ret)
                ret[0] = devices.leased;
            if (count_ret)
                *count_ret = 1;
            return CL_SUCCESS;
        }
    if (count_ret)
        *count_ret = 0;
    return status == CL_SUCCESS ? CL_DEVICE_NOT_FOUND : status;
}

/* --- contexts --- */

typedef void(CL_CALLBACK *notify_fn)(const char *, const void *, size_t, void *);

static cl_context fail(cl_int code, cl_int *errcode_ret)
{
    if (errcode_ret)
        *errcode_ret = code;
    return NULL;
}

static cl_context refuse(notify_fn notify, void *user_data, cl_int *errcode_ret)
{
    if (notify)
        notify(fg_lease_text(fgcl.refused), NULL, 0, user_data);
    return fail(CL_OUT_OF_RESOURCES, errcode_ret);
}

/* 10 x major + minor of the driver behind a context; 0: unknown. The loader's table has functions that an older driver
 * lacks, and calling them would crash the program. */
static int version_of(cl_context context)
{
    cl_device_id list[DEVICES_MAX];
    char text[128] = "";
    size_t length = 0;
    if (fgcl.next.clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof list, list, &length) != CL_SUCCESS || !length ||
        fgcl.next.clGetDeviceInfo(list[0], CL_DEVICE_VERSION, sizeof text, text, NULL) != CL_SUCCESS)
        return 0;
    if (strncmp(text, "OpenCL ", 7) != 0 || text[7] < '1' || text[7] > '9' || text[8] != '.')
        return 0;
    return (text[7] - '0') * 10 + (text[9] - '0');
}

/* A fresh context, kept only if what is made in it can be counted and measured: events and objects have callbacks since 1.1. */
static cl_context adopt(cl_context context, notify_fn notify, void *user_data, cl_int *errcode_ret)
{
    int version = context ? version_of(context) : 0;
    if (context && version < 11) {
        fgcl.next.clReleaseContext(context);
        if (notify)
            notify("a vGPU needs a driver of OpenCL 1.1 or later", NULL, 0, user_data);
        return fail(CL_OUT_OF_RESOURCES, errcode_ret);
    }
    /* Objects keep their context alive, so only what is freed without a callback of its own (SVM) is left by then. */
    if (version >= 30)
        fgcl.next.clSetContextDestructorCallback(context, fgcl_context_gone, NULL);
    return context;
}

cl_context CL_API_CALL fgcl_clCreateContext(const cl_context_properties *properties, cl_uint count, const cl_device_id *list,
                                            notify_fn notify, void *user_data, cl_int *errcode_ret)
{
    if (fgcl.refused)
        return refuse(notify, user_data, errcode_ret);
    for (cl_uint i = 0; only_one() && list && i < count; i++)
        if (foreign(list[i]))
            return fail(CL_INVALID_DEVICE, errcode_ret);
    cl_context made = fgcl.next.clCreateContext(properties, count, list, notify, user_data, errcode_ret);
    return adopt(made, notify, user_data, errcode_ret);
}

static cl_platform_id platform_of(const cl_context_properties *properties)
{
    cl_platform_id platform = NULL;
    for (; properties && properties[0]; properties += 2)
        if (properties[0] == CL_CONTEXT_PLATFORM)
            return (cl_platform_id)properties[1];
    if (devices.leased)
        fgcl.next.clGetDeviceInfo(devices.leased, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL);
    return platform;
}

cl_context CL_API_CALL fgcl_clCreateContextFromType(const cl_context_properties *properties, cl_device_type type, notify_fn notify,
                                                    void *user_data, cl_int *errcode_ret)
{
    cl_device_id device;
    if (fgcl.refused)
        return refuse(notify, user_data, errcode_ret);
    if (fgcl.as_gpu && type & CL_DEVICE_TYPE_GPU)
        type = CL_DEVICE_TYPE_ALL;
    if (!only_one()) {
        cl_context made = fgcl.next.clCreateContextFromType(properties, type, notify, user_data, errcode_ret);
        return adopt(made, notify, user_data, errcode_ret);
    }
    cl_int status = fgcl_clGetDeviceIDs(platform_of(properties), type, 1, &device, NULL);
    if (status != CL_SUCCESS)
        return fail(status, errcode_ret);
    cl_context made = fgcl.next.clCreateContext(properties, 1, &device, notify, user_data, errcode_ret);
    return adopt(made, notify, user_data, errcode_ret);
}
