/* The HIP front end's submits over the stand-in: each entry point is one job that is counted once, measured by the device's clock;
 * what is captured is none. */
#include "in_slice.h"

static hipStream_t stream;

#include "hip_calls.h"

static int set_up(void **state)
{
    if (open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("libamdhip64.so.6", SHIM_6, FAKE_HIP))
        return -1;
    return ((CUresult (*)(hipStream_t *))symbol("hipStreamCreate"))(&stream);
}

static CUresult synchronise(void) { return HIP(hipDeviceSynchronize, cuCtxSynchronize)(); }

static const struct { const char *name; CUresult (*call)(void *); } submits[] = {
#define ROW(export) {#export, call_##export},
    SUBMITS(ROW)
#undef ROW
};

static void check_counted(const char *name, CUresult result, uint64_t before, uint64_t jobs)
{
    if (result != CUDA_SUCCESS)
        fail_msg("%s: %d", name, result);
    assert_hip(synchronise());
    if (stats().submitted != before + jobs || stats().inflight)
        fail_msg("%s: %d jobs, %d in flight", name, (int)(stats().submitted - before), (int)stats().inflight);
}

static void every_submitting_entry_point_is_one_job(void **state)
{
    for (size_t i = 0; i < sizeof submits / sizeof *submits; i++)
        for (unsigned again = 0; again < 2; again++) { /* the second time it is known what it costs */
            uint64_t before = stats().submitted;
            check_counted(submits[i].name, submits[i].call(symbol(submits[i].name)), before, 1);
        }
}

static void what_the_library_refuses_is_no_job(void **state)
{
    for (size_t i = 0; i < sizeof submits / sizeof *submits; i++) {
        uint64_t before = stats().submitted;
        FAKE(fake_hip_fail)(submits[i].name, CUDA_ERROR_UNKNOWN);
        assert_int_equal(submits[i].call(symbol(submits[i].name)), CUDA_ERROR_UNKNOWN);
        check_counted(submits[i].name, CUDA_SUCCESS, before, 0);
    }
    HIP(hipGetLastError, hipGetLastError)();
}

static void launches_with_streams_told_elsewhere_are_counted(void **state)
{
    uint64_t before = stats().submitted;
    hipLaunchParams parts[2] = {{.stream = stream}, {.stream = NULL}};
    CUDA_LAUNCH_PARAMS modules[2] = {{.hStream = stream}, {.hStream = NULL}};
    assert_hip(HIP(hipConfigureCall, hipConfigureCall)((dim3){1, 1, 1}, (dim3){1, 1, 1}, 0, stream));
    check_counted("hipLaunchByPtr", HIP(hipLaunchByPtr, hipLaunchByPtr)("f"), before, 1);
    check_counted("hipExtLaunchMultiKernelMultiDevice", HIP(hipExtLaunchMultiKernelMultiDevice, hipLaunchMultiDevice)(parts, 2, 0), before, 3);
    check_counted("hipLaunchCooperativeKernelMultiDevice", HIP(hipLaunchCooperativeKernelMultiDevice, hipLaunchMultiDevice)(parts, 2, 0),
                  before, 5);
    check_counted("hipModuleLaunchCooperativeKernelMultiDevice",
                  HIP(hipModuleLaunchCooperativeKernelMultiDevice, cuLaunchCooperativeKernelMultiDevice)(modules, 2, 0), before, 7);
}

static CUresult launch(hipStream_t where, const char *kernel)
{
    return HIP(hipLaunchKernel, hipLaunchKernel)(kernel, (dim3){64, 1, 1}, (dim3){64, 1, 1}, NULL, 0, where);
}

/* What the library calls in itself comes by us, since its exported names are ours; its caller has been counted, or is not wrapped. */
static void what_the_library_submits_in_itself_is_not_counted_again(void **state)
{
    uint64_t before = stats().submitted, ran = FAKE(fake_hip_jobs)();
    check_counted("inside", (CUresult)FAKE(fake_hip_launch_inside)(stream), before, 0);
    assert_int_equal(FAKE(fake_hip_jobs)(), ran + 2);
}

/* 20 kernels of 1 ms, each waited for: 20 ms of the device's clock, whatever the machine's says. */
static void device_time_is_what_the_device_says(void **state)
{
    static const char kernel[] = "one millisecond";
    hipStream_t where[] = {stream, NULL, CU_STREAM_PER_THREAD};
    for (unsigned s = 0; s < 3; s++) {
        assert_hip(synchronise());
        uint64_t before = stats().device_ns;
        FAKE(fake_hip_cost)(1000000);
        for (unsigned i = 0; i < 20; i++) {
            assert_hip(launch(where[s], kernel + s));
            assert_hip(HIP(hipStreamSynchronize, cuStreamSynchronize)(where[s]));
        }
        FAKE(fake_hip_cost)(0);
        assert_hip(synchronise());
        assert_in_range(stats().device_ns - before, 19900000, 20100000);
    }
}

static void what_is_captured_is_no_job_and_nothing_is_added_to_it(void **state)
{
    CUgraph graph;
    CUgraphExec exec;
    assert_hip(launch(stream, "known"));
    assert_hip(synchronise());
    uint64_t before = stats().submitted;
    assert_hip(HIP(hipStreamBeginCapture, cuStreamBeginCapture)(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    for (unsigned i = 0; i < 100; i++)
        assert_hip(launch(stream, "known"));
    assert_hip(launch(NULL, "beside")); /* counts, and is not measured */
    assert_hip(HIP(hipStreamEndCapture, cuStreamEndCapture)(stream, &graph));
    assert_int_equal(FAKE(fake_hip_graph_nodes)(graph), 100);
    check_counted("beside a capture", CUDA_SUCCESS, before, 1);
    assert_hip(HIP(hipGraphInstantiate, cuGraphInstantiate_v1)(&exec, graph, NULL, NULL, 0));
    check_counted("hipGraphLaunch", HIP(hipGraphLaunch, cuGraphLaunch)(exec, stream), before, 2);
    check_counted("hipGraphLaunch_spt", HIP(hipGraphLaunch_spt, cuGraphLaunch)(exec, NULL), before, 3);
    assert_hip(HIP(hipGraphExecDestroy, cuGraphExecDestroy)(exec));
    ((CUresult (*)(CUgraph))symbol("hipGraphDestroy"))(graph);
}

/* No wait in between: they go in batches, and none is lost. */
static void a_thousand_launches_are_a_thousand_jobs(void **state)
{
    uint64_t before = stats().submitted, ran = FAKE(fake_hip_jobs)();
    for (unsigned i = 0; i < 1000; i++)
        assert_hip(launch(i % 3 ? stream : NULL, "many"));
    check_counted("a thousand", CUDA_SUCCESS, before, 1000);
    assert_int_equal(FAKE(fake_hip_jobs)(), ran + 1000);
}

/* While work goes on in it the helper looks whether the stream has any: the default stream under the one name it has in ROCm 5. */
static void the_default_stream_is_looked_at_by_the_name_it_has(void **state)
{
    uint64_t before = FAKE(fake_hip_calls)("hipStreamQuery");
    for (int64_t until = fg_boot_ns() + INT64_C(60000000000);
         FAKE(fake_hip_calls)("hipStreamQuery") == before && !FAKE(fake_hip_calls)("hipStreamQuery of 1") && fg_boot_ns() < until;)
        assert_hip(launch(NULL, "looked at"));
    assert_true(FAKE(fake_hip_calls)("hipStreamQuery") > before);
    assert_int_equal(FAKE(fake_hip_calls)("hipStreamQuery of 1"), 0);
    assert_hip(synchronise());
}

/* Last: the lease is over. What is refused here is what a launch written as a statement learns by hipGetLastError. */
static void an_ended_lease_submits_and_allocates_nothing(void **state)
{
    struct fg_error err;
    CUdeviceptr pointer;
    uint64_t ran = FAKE(fake_hip_jobs)();
    assert_ok(fg_vgpu_server_close(server, "unit", &err), err);
    assert_int_equal(launch(stream, "after"), CUDA_ERROR_LAUNCH_FAILED);
    assert_int_equal(HIP(hipGetLastError, hipGetLastError)(), CUDA_ERROR_LAUNCH_FAILED);
    assert_int_equal(HIP(hipMalloc, cuMemAlloc)(&pointer, 1), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(FAKE(fake_hip_jobs)(), ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_submitting_entry_point_is_one_job),
        cmocka_unit_test(what_the_library_refuses_is_no_job),
        cmocka_unit_test(launches_with_streams_told_elsewhere_are_counted),
        cmocka_unit_test(what_the_library_submits_in_itself_is_not_counted_again),
        cmocka_unit_test(device_time_is_what_the_device_says),
        cmocka_unit_test(what_is_captured_is_no_job_and_nothing_is_added_to_it),
        cmocka_unit_test(a_thousand_launches_are_a_thousand_jobs),
        cmocka_unit_test(the_default_stream_is_looked_at_by_the_name_it_has),
        cmocka_unit_test(an_ended_lease_submits_and_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
