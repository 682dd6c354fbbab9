/* graph.c - capture, graphs and their memory in the stand-in driver. */
#include "fake_test.h"

#define STILL "devices=1 virtual=1 context=0 graph_chunk=2M "
static CUstream s;

static void begin_with_stream(int mode)
{
    use_device();
    use_kernels();
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamBeginCapture_v2(s, mode));
}

FAKE_TEST(captured_work_runs_at_the_launch_and_takes_its_longest_path, STILL)
{
    begin_with_stream(CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUstream other;
    CUevent fork, join;
    CUgraph graph;
    CUgraphExec exec;
    size_t nodes;
    uint64_t start = fake.fake_now();
    OK(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&fork, 0));
    OK(cu.cuEventCreate(&join, 0));
    OK(launch_us(s, 1, 1000));
    OK(cu.cuEventRecord(fork, s));
    OK(cu.cuStreamWaitEvent(other, fork, 0));
    OK(launch_us(other, 1, 3000));
    OK(launch_us(s, 1, 500));
    OK(cu.cuEventRecord(join, other));
    OK(cu.cuStreamWaitEvent(s, join, 0));
    OK(launch_us(s, 1, 100));
    OK(cu.cuStreamEndCapture(s, &graph));
    OK(cu.cuGraphGetNodes(graph, NULL, &nodes));
    IS(nodes, 4);
    IS(fake.fake_jobs_done(0, 0), 0);
    OK(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuStreamSynchronize(s));
    IS(fake.fake_now() - start, 4100000); /* 1000 + 3000 + 100 */
}

FAKE_TEST(a_forbidden_call_fails_and_ends_the_capture, STILL)
{
    begin_with_stream(CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUgraph graph;
    CUdeviceptr p;
    CUevent e;
    CUstreamCaptureStatus status;
    OK(cu.cuEventCreate(&e, 0));
    IS(cu.cuStreamSynchronize(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cu.cuStreamIsCapturing(s, &status));
    IS(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    IS(launch_us(s, 1, 1), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    IS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(!graph);
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    IS(cu.cuEventQuery(e), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    IS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    IS(cu.cuMemAlloc_v2(&p, 1), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    IS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuMemAlloc_v2(&p, 1)); /* relaxed: allowed */
    OK(cu.cuEventRecord(e, s));
    IS(cu.cuEventQuery(e), CUDA_ERROR_CAPTURED_EVENT);
    OK(cu.cuStreamEndCapture(s, &graph));
}

FAKE_TEST(captures_end_where_they_began_with_all_joined, STILL)
{
    begin_with_stream(CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUstream other, blocking;
    CUevent fork;
    CUgraph graph;
    OK(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(cu.cuEventCreate(&fork, 0));
    OK(cu.cuEventRecord(fork, s));
    OK(cu.cuStreamWaitEvent(other, fork, 0));
    OK(launch_us(other, 1, 1));
    IS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    IS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_ILLEGAL_STATE);
    IS(cu.cuStreamBeginCapture_v2(NULL, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cu.cuStreamBeginCapture_v2(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    IS(launch_us(NULL, 1, 1), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT); /* the legacy stream would wait for it */
    IS(cu.cuStreamEndCapture(blocking, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

FAKE_TEST(graph_memory_is_reserved_at_the_launch_and_kept_until_trimmed, STILL)
{
    begin_with_stream(CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUdeviceptr a, b;
    CUgraph graph;
    CUgraphExec exec;
    cuuint64_t value;
    uint64_t before = fake.fake_live(0, 0, FAKE_ALL);
    OK(cu.cuMemAllocAsync(&a, 3 * MIB, s));
    OK(cu.cuMemsetD32Async(a, 7, 100, s));
    OK(cu.cuMemAllocAsync(&b, 4 * MIB, s));
    OK(cu.cuMemFreeAsync(a, s));
    OK(cu.cuStreamEndCapture(s, &graph));
    OK(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    IS(fake.fake_live(0, 0, FAKE_ALL), before);
    OK(cu.cuGraphLaunch(exec, s));
    IS(fake.fake_live(0, 0, FAKE_GRAPH), 8 * MIB); /* 7 at the most, in chunks of 2 */
    OK(cu.cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &value));
    IS(value, 4 * MIB);
    IS(cu.cuGraphLaunch(exec, s), CUDA_ERROR_INVALID_VALUE); /* b is allocated still */
    OK(cu.cuDeviceGraphMemTrim(0));
    IS(fake.fake_live(0, 0, FAKE_GRAPH), 4 * MIB);
    OK(cu.cuMemFreeAsync(b, s));
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuMemFree_v2(b));
    IS(cu.cuMemFree_v2(b), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuDeviceGraphMemTrim(0));
    IS(fake.fake_live(0, 0, FAKE_ALL), before);
}

FAKE_TEST(an_executable_graph_takes_other_lengths_but_no_other_shape, STILL)
{
    begin_with_stream(CU_STREAM_CAPTURE_MODE_GLOBAL);
    CUgraph one, two, three;
    CUgraphExec exec;
    CUgraphExecUpdateResultInfo info;
    OK(launch_us(s, 1, 1000));
    OK(cu.cuStreamEndCapture(s, &one));
    OK(cu.cuStreamBeginCapture_v2(s, 0));
    OK(launch_us(s, 1, 2000));
    OK(cu.cuStreamEndCapture(s, &two));
    OK(cu.cuStreamBeginCapture_v2(s, 0));
    OK(launch_us(s, 1, 2000));
    OK(launch_us(s, 1, 2000));
    OK(cu.cuStreamEndCapture(s, &three));
    OK(cu.cuGraphInstantiateWithFlags(&exec, one, 0));
    OK(cu.cuGraphDestroy(one)); /* the executable one is its own */
    OK(cu.cuGraphExecUpdate_v2(exec, two, &info));
    IS(cu.cuGraphExecUpdate_v2(exec, three, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    uint64_t start = fake.fake_now();
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuStreamSynchronize(s));
    IS(fake.fake_now() - start, 2000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captured_work_runs_at_the_launch_and_takes_its_longest_path), cmocka_unit_test(a_forbidden_call_fails_and_ends_the_capture),
        cmocka_unit_test(captures_end_where_they_began_with_all_joined), cmocka_unit_test(graph_memory_is_reserved_at_the_launch_and_kept_until_trimmed),
        cmocka_unit_test(an_executable_graph_takes_other_lengths_but_no_other_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
