/* The OpenCL layer over a stand-in driver: what PoCL lacks (USM, GL) or never does (fail, take more than asked). */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl_layer.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "vgpu/ledger.h"
#include "vgpu/server.h"

#define MIB   (UINT64_C(1) << 20)
#define QUOTA (64 * MIB)

/* --- a driver whose objects are this, and whose answers are these --- */

struct object { const void *dispatch; void(CL_CALLBACK *gone)(cl_mem, void *); void *data; };
static struct { size_t size; cl_int answer; unsigned made, released, usm_freed; } driver;
static const struct object context_object = {&driver, NULL, NULL};
static const cl_context context = (cl_context)(uintptr_t)&context_object;

static cl_mem make(cl_int *status)
{
    *status = driver.answer;
    if (driver.answer != CL_SUCCESS)
        return NULL;
    struct object *object = calloc(1, sizeof *object);
    object->dispatch = &driver;
    driver.made++;
    return (cl_mem)object;
}
static cl_mem CL_API_CALL create_buffer(cl_context c, cl_mem_flags f, size_t size, void *h, cl_int *status) { return make(status); }
static cl_mem CL_API_CALL create_image(cl_context c, cl_mem_flags f, const cl_image_format *format, const cl_image_desc *desc, void *h,
                                       cl_int *status)
{
    return make(status);
}
static cl_mem CL_API_CALL from_gl(cl_context c, cl_mem_flags f, cl_GLuint buffer, int *status) { return make(status); }
static cl_int CL_API_CALL release(cl_mem memory)
{
    struct object *object = (struct object *)memory;
    if (object->gone)
        object->gone(memory, object->data);
    free(object);
    driver.released++;
    return CL_SUCCESS;
}
static cl_int CL_API_CALL on_gone(cl_mem memory, void(CL_CALLBACK *gone)(cl_mem, void *), void *data)
{
    struct object *object = (struct object *)memory;
    object->gone = gone;
    object->data = data;
    return CL_SUCCESS;
}
static cl_int CL_API_CALL memory_info(cl_mem m, cl_mem_info name, size_t size, void *value, size_t *ret)
{
    memcpy(value, &driver.size, sizeof driver.size);
    return CL_SUCCESS;
}
static cl_int CL_API_CALL enqueue_task(cl_command_queue q, cl_kernel k, cl_uint n, const cl_event *list, cl_event *event)
{
    return driver.answer;
}
static void *CL_API_CALL usm_alloc(cl_context c, cl_device_id d, const cl_mem_properties_intel *p, size_t size, cl_uint a, cl_int *status)
{
    return make(status);
}
static cl_int CL_API_CALL usm_free(cl_context c, void *pointer)
{
    if (driver.answer == CL_SUCCESS) {
        free(pointer);
        driver.usm_freed++;
    }
    return driver.answer;
}
static void *CL_API_CALL address(cl_platform_id platform, const char *name)
{
    return !strcmp(name, "clDeviceMemAllocINTEL") ? (void *)usm_alloc : !strcmp(name, "clMemFreeINTEL") ? (void *)usm_free :
           !strcmp(name, "clEnqueueTask") ? (void *)enqueue_task : !strncmp(name, "absent", 6) ? NULL : (void *)abort;
}

static struct { const char *version; unsigned asked_for_end, released; } of_context;
static cl_context CL_API_CALL create_context(const cl_context_properties *p, cl_uint n, const cl_device_id *d,
                                             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *u, cl_int *status)
{
    return context;
}
static cl_int CL_API_CALL context_info(cl_context c, cl_context_info name, size_t size, void *value, size_t *ret)
{
    *ret = sizeof(cl_device_id);
    memset(value, 0, *ret);
    return CL_SUCCESS;
}
static cl_int CL_API_CALL device_info(cl_device_id d, cl_device_info name, size_t size, void *value, size_t *ret)
{
    snprintf(value, size, "%s", of_context.version);
    return CL_SUCCESS;
}
static cl_int CL_API_CALL on_context_end(cl_context c, void(CL_CALLBACK *gone)(cl_context, void *), void *data)
{
    of_context.asked_for_end++;
    return CL_SUCCESS;
}
static cl_int CL_API_CALL release_context(cl_context c)
{
    of_context.released++;
    return CL_SUCCESS;
}

/* --- the layer over it, in a lease --- */

static struct fg_vgpu_server *server;
static const cl_icd_dispatch *layer;

static struct fg_lease_stats stats(void)
{
    struct fg_lease_stats now;
    struct fg_error err;
    assert_int_equal(fg_vgpu_server_stats(server, "unit", &now, &err), 0);
    return now;
}

static int set_up(void **state)
{
    static cl_icd_dispatch target;
    struct fg_lease_spec spec = {.id = "unit", .device = "stand-in", .memory_bytes = QUOTA, .share_permille = 1000};
    struct fg_error err;
    char lease[256];
    cl_uint entries = 0;
    if (fg_vgpu_server_create(&server, &(struct fg_vgpu_server_config){0}, &err) < 0 ||
        fg_vgpu_server_device(server, "stand-in", 4 * QUOTA, &err) < 0 || fg_vgpu_server_open(server, &spec, NULL, &err) < 0 ||
        fg_vgpu_server_env(server, "unit", lease, sizeof lease, &err) < 0)
        return -1;
    setenv(FG_LEASE_ENV, lease, 1);
    target.clCreateBuffer = create_buffer;
    target.clCreateImage = create_image;
    target.clCreateFromGLBuffer = from_gl;
    target.clReleaseMemObject = release;
    target.clSetMemObjectDestructorCallback = on_gone;
    target.clGetMemObjectInfo = memory_info;
    target.clEnqueueTask = enqueue_task;
    target.clCreateContext = create_context;
    target.clGetContextInfo = context_info;
    target.clGetDeviceInfo = device_info;
    target.clSetContextDestructorCallback = on_context_end;
    target.clReleaseContext = release_context;
    target.clGetExtensionFunctionAddressForPlatform = address;
    void *library = dlopen(LAYER, RTLD_NOW | RTLD_LOCAL);
    pfn_clInitLayer init = library ? (pfn_clInitLayer)dlsym(library, "clInitLayer") : NULL;
    return init && init(sizeof target / sizeof(void *), &target, &entries, &layer) == CL_SUCCESS ? 0 : -1;
}

static int tear_down(void **state)
{
    fg_vgpu_server_destroy(server);
    return 0;
}

static int fresh(void **state)
{
    memset(&driver, 0, sizeof driver);
    return 0;
}

static void test_a_slot_that_the_driver_lacks_stays_empty(void **state)
{
    assert_null(layer->clSVMAlloc);
    assert_null(layer->clEnqueueNDRangeKernel);
    assert_ptr_equal(layer->clReleaseMemObject, release);
}

static void test_what_the_driver_refuses_is_not_charged(void **state)
{
    cl_int status = 0;
    driver.answer = CL_INVALID_VALUE;
    assert_null(layer->clCreateBuffer(context, 0, MIB, NULL, &status));
    assert_int_equal(status, CL_INVALID_VALUE);
    assert_int_equal(stats().used_bytes, 0);
    assert_int_equal(layer->clEnqueueTask(NULL, NULL, 0, NULL, NULL), CL_INVALID_VALUE);
    assert_int_equal(stats().submitted, 0);
}

/* 1 MiB of pixels; the driver says it took 5, then 61: 5 + 61 > 64. */
static void test_the_drivers_own_size_is_charged_and_given_back_when_it_is_over(void **state)
{
    const cl_image_format format = {CL_RGBA, CL_UNORM_INT8};
    const cl_image_desc desc = {.image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = 512, .image_height = 512};
    cl_int status = 0;
    driver.size = 5 * MIB;
    cl_mem first = layer->clCreateImage(context, 0, &format, &desc, NULL, &status);
    assert_non_null(first);
    assert_int_equal(stats().used_bytes, 5 * MIB);
    driver.size = 61 * MIB;
    assert_null(layer->clCreateImage(context, 0, &format, &desc, NULL, &status));
    assert_int_equal(status, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    assert_int_equal(driver.released, 1);
    assert_int_equal(stats().used_bytes, 5 * MIB);
    release(first);
    assert_int_equal(stats().used_bytes, 0);
}

static void test_memory_of_gl_is_charged_by_its_size(void **state)
{
    cl_int status = 0;
    driver.size = 48 * MIB;
    cl_mem first = layer->clCreateFromGLBuffer(context, 0, 1, &status);
    assert_int_equal(stats().used_bytes, 48 * MIB);
    assert_null(layer->clCreateFromGLBuffer(context, 0, 2, &status));
    assert_int_equal(status, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    assert_int_equal(driver.released, 1);
    release(first);
    assert_int_equal(stats().used_bytes, 0);
}

static void test_usm_is_charged_and_credited_only_when_the_driver_frees_it(void **state)
{
    cl_platform_id platform = (cl_platform_id)(uintptr_t)&context_object;
    clDeviceMemAllocINTEL_fn alloc =
        (clDeviceMemAllocINTEL_fn)layer->clGetExtensionFunctionAddressForPlatform(platform, "clDeviceMemAllocINTEL");
    clMemFreeINTEL_fn drop = (clMemFreeINTEL_fn)layer->clGetExtensionFunctionAddressForPlatform(platform, "clMemFreeINTEL");
    cl_int status = 0;
    assert_ptr_not_equal(alloc, usm_alloc);
    void *pointer = alloc(context, NULL, NULL, QUOTA, 0, &status);
    assert_int_equal(stats().used_bytes, QUOTA);
    assert_null(alloc(context, NULL, NULL, 1, 0, &status));
    assert_int_equal(status, CL_OUT_OF_RESOURCES);
    driver.answer = CL_INVALID_VALUE;
    assert_int_equal(drop(context, pointer), CL_INVALID_VALUE);
    assert_int_equal(stats().used_bytes, QUOTA);
    driver.answer = CL_SUCCESS;
    assert_int_equal(drop(context, pointer), CL_SUCCESS);
    assert_int_equal(driver.usm_freed, 1);
    assert_int_equal(stats().used_bytes, 0);
}

static void test_functions_that_get_past_the_layer_are_not_handed_out(void **state)
{
    static const char *const refused[] = {"clImportMemoryARM", "clSVMAllocARM", "clEnqueueSomethingNewXYZ", "clSomethingAllocXYZ",
                                          "clCreateSomethingXYZ", "clCreateFromD3D11BufferKHR"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_null(layer->clGetExtensionFunctionAddressForPlatform(NULL, refused[i]));
    assert_ptr_equal(layer->clGetExtensionFunctionAddressForPlatform(NULL, "clGetSomethingNewXYZ"), abort);
    assert_ptr_equal(layer->clGetExtensionFunctionAddressForPlatform(NULL, "clEnqueueTask"), layer->clEnqueueTask);
    assert_null(layer->clGetExtensionFunctionAddressForPlatform(NULL, "absentXYZ"));
    assert_null(layer->clGetExtensionFunctionAddressForPlatform(NULL, NULL));
}

/* The loader has stubs for all functions; an older driver has nothing behind some of them. */
static void test_a_driver_is_asked_only_for_what_its_version_has(void **state)
{
    static const struct { const char *version; unsigned made, asked; } cases[] = {
        {"OpenCL 3.0 x", 1, 1}, {"OpenCL 2.0 x", 1, 0}, {"OpenCL 1.1 x", 1, 0}, {"OpenCL 1.0 x", 0, 0}, {"nonsense", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cl_int status = 0;
        of_context.version = cases[i].version;
        of_context.asked_for_end = of_context.released = 0;
        assert_int_equal(layer->clCreateContext(NULL, 1, NULL, NULL, NULL, &status) != NULL, cases[i].made);
        assert_int_equal(of_context.asked_for_end, cases[i].asked);
        assert_int_equal(of_context.released, !cases[i].made);
        assert_int_equal(status, cases[i].made ? CL_SUCCESS : CL_OUT_OF_RESOURCES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_slot_that_the_driver_lacks_stays_empty, fresh),
        cmocka_unit_test_setup(test_what_the_driver_refuses_is_not_charged, fresh),
        cmocka_unit_test_setup(test_the_drivers_own_size_is_charged_and_given_back_when_it_is_over, fresh),
        cmocka_unit_test_setup(test_memory_of_gl_is_charged_by_its_size, fresh),
        cmocka_unit_test_setup(test_usm_is_charged_and_credited_only_when_the_driver_frees_it, fresh),
        cmocka_unit_test_setup(test_functions_that_get_past_the_layer_are_not_handed_out, fresh),
        cmocka_unit_test_setup(test_a_driver_is_asked_only_for_what_its_version_has, fresh),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
