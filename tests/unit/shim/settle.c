/* When the OpenCL layer settles jobs, and how few callbacks it asks a driver for. The driver is a stand-in whose jobs end when a
 * test says so. */
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_layer.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "vgpu/gate.h"
#include "vgpu/server.h"

#define EVENTS 16384 /* no event is used twice in a test: a settler may sleep on one */
#define MS     1000000u
typedef void(CL_CALLBACK *notify_fn)(cl_event, cl_int, void *);

/* Each job takes length_ns, from the end of the one before. */
struct event { int status, references; cl_ulong start_ns, end_ns; notify_fn notify; void *data; };
static struct {
    struct event events[EVENTS];
    unsigned made, callbacks, length_ns;
    cl_ulong clock_ns;
    int at_once;
    pthread_mutex_t lock;
} driver = {.clock_ns = 1};

static struct event *of(cl_event event) { return (struct event *)event; }

static cl_int CL_API_CALL enqueue(cl_command_queue q, cl_kernel k, cl_uint d, const size_t *o, const size_t *g, const size_t *l, cl_uint n,
                                  const cl_event *list, cl_event *event)
{
    pthread_mutex_lock(&driver.lock);
    struct event *made = &driver.events[driver.made++ % EVENTS];
    *made = (struct event){.status = CL_SUBMITTED, .references = 1, .start_ns = driver.clock_ns};
    made->end_ns = driver.clock_ns += driver.length_ns;
    pthread_mutex_unlock(&driver.lock);
    if (driver.at_once)
        made->status = CL_COMPLETE;
    *event = (cl_event)made;
    return CL_SUCCESS;
}

static cl_int CL_API_CALL retain(cl_event event) { return __atomic_add_fetch(&of(event)->references, 1, __ATOMIC_SEQ_CST), CL_SUCCESS; }
static cl_int CL_API_CALL release(cl_event event) { return __atomic_sub_fetch(&of(event)->references, 1, __ATOMIC_SEQ_CST), CL_SUCCESS; }
static cl_int CL_API_CALL flush(cl_command_queue q) { return CL_SUCCESS; }
static cl_int CL_API_CALL queue_info(cl_command_queue q, cl_command_queue_info n, size_t s, void *v, size_t *r) { return CL_INVALID_VALUE; }
static cl_int CL_API_CALL wait_for(cl_uint n, const cl_event *list) { return CL_SUCCESS; }

static cl_int CL_API_CALL event_info(cl_event event, cl_event_info name, size_t size, void *value, size_t *ret)
{
    if (of(event)->references < 1)
        abort(); /* any thread */
    cl_int status = __atomic_load_n(&of(event)->status, __ATOMIC_SEQ_CST);
    memcpy(value, &status, sizeof status);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL profile(cl_event event, cl_profiling_info name, size_t size, void *value, size_t *ret)
{
    memcpy(value, name == CL_PROFILING_COMMAND_END ? &of(event)->end_ns : &of(event)->start_ns, sizeof(cl_ulong));
    return CL_SUCCESS;
}

/* A driver may call back before it returns. */
static cl_int CL_API_CALL on_end(cl_event event, cl_int type, notify_fn notify, void *data)
{
    pthread_mutex_lock(&driver.lock);
    driver.callbacks++;
    of(event)->notify = notify;
    of(event)->data = data;
    pthread_mutex_unlock(&driver.lock);
    if (of(event)->status <= CL_COMPLETE)
        notify(event, of(event)->status, data);
    return CL_SUCCESS;
}

/* Job i ends; its callback comes if there is one. */
static void end(unsigned i, cl_int status)
{
    __atomic_store_n(&driver.events[i].status, status, __ATOMIC_SEQ_CST);
    if (driver.events[i].notify)
        driver.events[i].notify((cl_event)&driver.events[i], status, driver.events[i].data);
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
    struct fg_lease_spec spec = {.id = "unit", .device = "stand-in", .memory_bytes = MS, .share_permille = 1000};
    struct fg_error err;
    char lease[256];
    cl_uint entries = 0;
    pthread_mutex_init(&driver.lock, NULL);
    if (fg_vgpu_server_create(&server, &(struct fg_vgpu_server_config){0}, &err) < 0 ||
        fg_vgpu_server_device(server, "stand-in", MS, &err) < 0 || fg_vgpu_server_open(server, &spec, NULL, &err) < 0 ||
        fg_vgpu_server_env(server, "unit", lease, sizeof lease, &err) < 0)
        return -1;
    setenv(FG_LEASE_ENV, lease, 1);
    target.clEnqueueNDRangeKernel = enqueue;
    target.clFlush = target.clFinish = target.clReleaseCommandQueue = flush;
    target.clGetCommandQueueInfo = queue_info;
    target.clWaitForEvents = wait_for;
    target.clGetEventInfo = event_info;
    target.clGetEventProfilingInfo = profile;
    target.clSetEventCallback = on_end;
    target.clRetainEvent = retain;
    target.clReleaseEvent = release;
    void *library = dlopen(LAYER, RTLD_NOW | RTLD_LOCAL);
    pfn_clInitLayer init = library ? (pfn_clInitLayer)dlsym(library, "clInitLayer") : NULL;
    return init && init(sizeof target / sizeof(void *), &target, &entries, &layer) == CL_SUCCESS ? 0 : -1;
}

static int tear_down(void **state)
{
    fg_vgpu_server_destroy(server);
    return 0;
}

static uint64_t before_ns;

static void submit(unsigned size)
{
    size_t global = size;
    if (layer->clEnqueueNDRangeKernel(NULL, NULL, 1, NULL, &global, NULL, 0, NULL, NULL) != CL_SUCCESS)
        abort();
}

/* No job is left over; the job of this size is known to take length_ns. */
static void fresh(unsigned size, unsigned length_ns)
{
    driver.made = 0;
    driver.length_ns = length_ns;
    for (int i = 0; i < 8; i++) {
        submit(size);
        end(driver.made - 1, CL_COMPLETE);
        layer->clFinish(NULL);
    }
    assert_int_equal(stats().inflight, 0);
    memset(driver.events, 0, sizeof driver.events);
    driver.callbacks = driver.made = 0;
    before_ns = stats().device_ns;
}

static void expect(unsigned inflight, unsigned callbacks)
{
    assert_int_equal(stats().inflight, inflight);
    assert_int_equal(driver.callbacks, callbacks);
}

static void test_a_program_that_waits_for_each_job_costs_no_callback(void **state)
{
    fresh(1, 10000);
    for (unsigned i = 0; i < 100; i++) {
        submit(1);
        end(i, CL_COMPLETE);
        i % 2 ? layer->clFinish(NULL) : layer->clWaitForEvents(0, NULL);
        expect(0, 0);
        assert_int_equal(driver.events[i].references, 0);
    }
}

static void test_a_program_that_turns_away_has_its_last_job_watched(void **state)
{
    fresh(1, 10000);
    for (int i = 0; i < 5; i++)
        submit(1);
    expect(5, 0);
    layer->clFlush(NULL);
    layer->clFlush(NULL);
    expect(5, 1);
    for (unsigned i = 0; i < 4; i++)
        end(i, CL_COMPLETE);
    expect(5, 1); /* nobody has looked */
    end(4, CL_COMPLETE);
    expect(0, 1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(driver.events[i].references, 0);
}

/* 0.1 ms each, 2 ms (a quarter of what may be in flight) for each callback: 80 jobs have 4. */
static void test_a_long_line_of_short_jobs_is_settled_in_parts(void **state)
{
    fresh(3, 100000);
    for (int i = 0; i < 79; i++)
        submit(3);
    unsigned watched = driver.callbacks;
    assert_in_range(watched, 2, 4);
    for (unsigned i = 0; i < 79; i++)
        end(i, CL_COMPLETE);
    assert_in_range(driver.callbacks, watched, watched + 1); /* one more for what came last */
    layer->clFinish(NULL);
    assert_int_equal(stats().inflight, 0);
    assert_int_equal(stats().device_ns - before_ns, 79 * 100000);
}

static void test_every_way_to_turn_away_counts(void **state)
{
    for (unsigned way = 0; way < 3; way++) {
        cl_int status;
        fresh(1, 10000);
        submit(1);
        cl_event event = (cl_event)&driver.events[0];
        if (way == 0)
            layer->clReleaseCommandQueue(NULL);
        else if (way == 1)
            layer->clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
        else
            layer->clFlush(NULL);
        expect(1, 1);
        end(0, CL_COMPLETE);
        expect(0, 1);
    }
}

static void test_work_left_after_a_wait_is_watched(void **state)
{
    fresh(1, 10000);
    submit(1);
    submit(1);
    end(0, CL_COMPLETE);
    layer->clWaitForEvents(0, NULL);
    expect(1, 1);
    end(1, CL_COMPLETE);
    expect(0, 1);
}

static void test_a_job_that_failed_is_not_charged(void **state)
{
    fresh(1, 10000);
    uint64_t charged = stats().charged_ns;
    submit(1);
    layer->clFlush(NULL);
    end(0, CL_OUT_OF_RESOURCES);
    expect(0, 1);
    assert_int_equal(stats().charged_ns, charged);
    assert_int_equal(driver.events[0].references, 0);
}

static void test_jobs_that_end_out_of_order_are_all_settled(void **state)
{
    fresh(1, 10000);
    for (int i = 0; i < 6; i++)
        submit(1);
    layer->clFlush(NULL);
    end(5, CL_COMPLETE); /* the watched one; 0 to 4 run on, and the last of them is watched */
    expect(5, 2);
    for (unsigned i = 5; i-- > 0;)
        end(i, CL_COMPLETE);
    layer->clFinish(NULL);
    assert_int_equal(stats().inflight, 0);
}

static void test_a_driver_may_call_back_before_it_returns(void **state)
{
    fresh(1, 10000);
    driver.at_once = 1;
    for (int i = 0; i < 50; i++) {
        submit(1);
        layer->clFlush(NULL);
    }
    driver.at_once = 0;
    layer->clFinish(NULL);
    assert_int_equal(stats().inflight, 0);
}

static void *run_many(void *unused)
{
    for (int i = 0; i < 3000; i++) {
        submit(5);
        if (i % 3 == 0)
            layer->clFlush(NULL);
        if (i % 7 == 0)
            layer->clWaitForEvents(0, NULL);
    }
    return NULL;
}

static void test_threads_that_submit_and_settle_at_once_lose_no_job(void **state)
{
    pthread_t threads[4];
    fresh(5, 1000);
    driver.at_once = 1;
    uint64_t submitted = stats().submitted;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    driver.at_once = 0;
    layer->clFinish(NULL);
    assert_int_equal(stats().inflight, 0);
    assert_int_equal(stats().submitted - submitted, 12000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program_that_waits_for_each_job_costs_no_callback),
        cmocka_unit_test(test_a_program_that_turns_away_has_its_last_job_watched),
        cmocka_unit_test(test_a_long_line_of_short_jobs_is_settled_in_parts),
        cmocka_unit_test(test_every_way_to_turn_away_counts),
        cmocka_unit_test(test_work_left_after_a_wait_is_watched),
        cmocka_unit_test(test_a_job_that_failed_is_not_charged),
        cmocka_unit_test(test_jobs_that_end_out_of_order_are_all_settled),
        cmocka_unit_test(test_a_driver_may_call_back_before_it_returns),
        cmocka_unit_test(test_threads_that_submit_and_settle_at_once_lose_no_job),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
