/* The CUDA shim's submits over the stand-in driver: each is counted once, measured by the device's clock, and waits its turn. */
#include <pthread.h>

#include "in_slice.h"

static CUstream stream;
static CUmodule module;
static CUfunction spin;
static CUdeviceptr from, to;
static CUarray array;
static char host[1 << 16];

static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry spin_us(.param .u32 us)\n{\n ret;\n}\n";

static CUresult sync_context(void) { return CU(cuCtxSynchronize, cuCtxSynchronize)(); }

static CUresult spin_on(CUstream where, uint32_t us, unsigned blocks)
{
    void *params[] = {&us};
    return CU(cuLaunchKernel, cuLaunchKernel)(spin, blocks, 1, 1, 64, 1, 1, 0, where, params, NULL);
}
static CUresult spin_for(CUstream where, uint32_t us) { return spin_on(where, us, 1000); }

static int set_up(void **state)
{
    CUDA_ARRAY_DESCRIPTOR d = {.Width = 64, .Height = 64, .Format = CU_AD_FORMAT_UNSIGNED_INT8, .NumChannels = 1};
    if (open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("devices=1 total=16G kernel_ns=20000") || start() ||
        CU(cuModuleLoadData, cuModuleLoadData)(&module, ptx))
        return -1;
    CUresult (*function)(CUfunction *, CUmodule, const char *) = symbol("cuModuleGetFunction");
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    return function(&spin, module, "spin_us") || create(&stream, CU_STREAM_NON_BLOCKING) || CU(cuMemAlloc_v2, cuMemAlloc)(&from, MIB) ||
           CU(cuMemAlloc_v2, cuMemAlloc)(&to, MIB) || CU(cuArrayCreate_v2, cuArrayCreate)(&array, &d);
}

/* The call is one job, and nothing is left in flight when the device is done. */
#define assert_counted(jobs, call)                                                                                     \
    do {                                                                                                               \
        uint64_t before_ = stats().submitted;                                                                          \
        CUresult result_ = (call);                                                                                     \
        if (result_ != CUDA_SUCCESS)                                                                                   \
            fail_msg("%s: %d", #call, result_);                                                                        \
        assert_cu(sync_context());                                                                                     \
        if (stats().submitted != before_ + (jobs))                                                                     \
            fail_msg("%s: %d jobs", #call, (int)(stats().submitted - before_));                                        \
        assert_int_equal(stats().inflight, 0);                                                                         \
    } while (0)

static void every_copy_is_a_job(void **state)
{
    CUDA_MEMCPY2D flat = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = from, .srcPitch = 64, .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                          .dstDevice = to, .dstPitch = 64, .WidthInBytes = 64, .Height = 16};
    CUDA_MEMCPY3D deep = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = from, .srcPitch = 64, .srcHeight = 16,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = to, .dstPitch = 64, .dstHeight = 16, .WidthInBytes = 64,
                          .Height = 16, .Depth = 2};
    CUDA_MEMCPY3D_PEER peer = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = from, .srcPitch = 64, .srcHeight = 16,
                               .srcContext = context,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = to, .dstPitch = 64, .dstHeight = 16,
                               .dstContext = context, .WidthInBytes = 64, .Height = 16, .Depth = 2};
    assert_counted(1, CU(cuMemcpyHtoD_v2, cuMemcpyHtoD)(from, host, 100));
    assert_counted(1, CU(cuMemcpyHtoD_v2_ptds, cuMemcpyHtoD)(from, host, 100));
    assert_counted(1, CU(cuMemcpyDtoH_v2, cuMemcpyDtoH)(host, from, 100));
    assert_counted(1, CU(cuMemcpyDtoH_v2_ptds, cuMemcpyDtoH)(host, from, 100));
    assert_counted(1, CU(cuMemcpyDtoD_v2, cuMemcpyDtoD)(to, from, 100));
    assert_counted(1, CU(cuMemcpyDtoD_v2_ptds, cuMemcpyDtoD)(to, from, 100));
    assert_counted(1, CU(cuMemcpy, cuMemcpy)(to, from, 100));
    assert_counted(1, CU(cuMemcpy_ptds, cuMemcpy)(to, from, 100));
    assert_counted(1, CU(cuMemcpyPeer, cuMemcpyPeer)(to, context, from, context, 100));
    assert_counted(1, CU(cuMemcpyDtoA_v2, cuMemcpyDtoA)(array, 0, from, 64));
    assert_counted(1, CU(cuMemcpyAtoD_v2, cuMemcpyAtoD)(to, array, 0, 64));
    assert_counted(1, CU(cuMemcpyHtoA_v2, cuMemcpyHtoA)(array, 0, host, 64));
    assert_counted(1, CU(cuMemcpyAtoH_v2, cuMemcpyAtoH)(host, array, 0, 64));
    assert_counted(1, CU(cuMemcpyHtoAAsync_v2, cuMemcpyHtoAAsync)(array, 0, host, 64, stream));
    assert_counted(1, CU(cuMemcpyAtoHAsync_v2, cuMemcpyAtoHAsync)(host, array, 0, 64, stream));
    assert_counted(1, CU(cuMemcpy2D_v2, cuMemcpy2D)(&flat));
    assert_counted(1, CU(cuMemcpy2DUnaligned_v2, cuMemcpy2DUnaligned)(&flat));
    assert_counted(1, CU(cuMemcpy2DAsync_v2, cuMemcpy2DAsync)(&flat, stream));
    assert_counted(1, CU(cuMemcpy2DAsync_v2_ptsz, cuMemcpy2DAsync)(&flat, NULL));
    assert_counted(1, CU(cuMemcpy3D_v2, cuMemcpy3D)(&deep));
    assert_counted(1, CU(cuMemcpy3DAsync_v2, cuMemcpy3DAsync)(&deep, stream));
    assert_counted(1, CU(cuMemcpy3DPeer, cuMemcpy3DPeer)(&peer));
    assert_counted(1, CU(cuMemcpy3DPeerAsync, cuMemcpy3DPeerAsync)(&peer, stream));
    assert_counted(1, CU(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync)(from, host, 100, stream));
    assert_counted(1, CU(cuMemcpyHtoDAsync_v2_ptsz, cuMemcpyHtoDAsync)(from, host, 100, NULL));
    assert_counted(1, CU(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync)(host, from, 100, stream));
    assert_counted(1, CU(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync)(to, from, 100, stream));
    assert_counted(1, CU(cuMemcpyAsync, cuMemcpyAsync)(to, from, 100, stream));
    assert_counted(1, CU(cuMemcpyPeerAsync, cuMemcpyPeerAsync)(to, context, from, context, 100, stream));
}

static void every_fill_is_a_job(void **state)
{
    assert_counted(1, CU(cuMemsetD8_v2, cuMemsetD8)(from, 1, 100));
    assert_counted(1, CU(cuMemsetD16_v2, cuMemsetD16)(from, 1, 100));
    assert_counted(1, CU(cuMemsetD32_v2, cuMemsetD32)(from, 1, 100));
    assert_counted(1, CU(cuMemsetD32_v2_ptds, cuMemsetD32)(from, 1, 100));
    assert_counted(1, CU(cuMemsetD2D8_v2, cuMemsetD2D8)(from, 64, 1, 16, 16));
    assert_counted(1, CU(cuMemsetD2D16_v2, cuMemsetD2D16)(from, 64, 1, 16, 16));
    assert_counted(1, CU(cuMemsetD2D32_v2, cuMemsetD2D32)(from, 64, 1, 16, 16));
    assert_counted(1, CU(cuMemsetD8Async, cuMemsetD8Async)(from, 1, 100, stream));
    assert_counted(1, CU(cuMemsetD16Async, cuMemsetD16Async)(from, 1, 100, stream));
    assert_counted(1, CU(cuMemsetD32Async, cuMemsetD32Async)(from, 1, 100, stream));
    assert_counted(1, CU(cuMemsetD32Async_ptsz, cuMemsetD32Async)(from, 1, 100, NULL));
    assert_counted(1, CU(cuMemsetD2D8Async, cuMemsetD2D8Async)(from, 64, 1, 16, 16, stream));
    assert_counted(1, CU(cuMemsetD2D16Async, cuMemsetD2D16Async)(from, 64, 1, 16, 16, stream));
    assert_counted(1, CU(cuMemsetD2D32Async, cuMemsetD2D32Async)(from, 64, 1, 16, 16, stream));
}

static void nothing(void *data) {}

static void every_launch_is_a_job(void **state)
{
    uint32_t us = 10;
    void *params[] = {&us};
    CUlaunchConfig config = {100, 1, 1, 64, 1, 1, 0, stream, NULL, 0};
    CUDA_LAUNCH_PARAMS part = {spin, 100, 1, 1, 64, 1, 1, 0, stream, params};
    assert_counted(1, CU(cuLaunchKernel, cuLaunchKernel)(spin, 100, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    assert_counted(1, CU(cuLaunchKernel, cuLaunchKernel)(spin, 100, 1, 1, 64, 1, 1, 0, stream, params, NULL));
    assert_counted(1, CU(cuLaunchKernel_ptsz, cuLaunchKernel)(spin, 100, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    assert_counted(1, CU(cuLaunchKernelEx, cuLaunchKernelEx)(&config, spin, params, NULL));
    assert_counted(1, CU(cuLaunchKernelEx_ptsz, cuLaunchKernelEx)(&config, spin, params, NULL));
    assert_counted(1, CU(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel)(spin, 100, 1, 1, 64, 1, 1, 0, stream, params));
    assert_counted(1, CU(cuLaunchCooperativeKernel_ptsz, cuLaunchCooperativeKernel)(spin, 100, 1, 1, 64, 1, 1, 0, NULL, params));
    if (FAKE(fake_modelled)("cuLaunchCooperativeKernelMultiDevice"))
        assert_counted(1, CU(cuLaunchCooperativeKernelMultiDevice, cuLaunchCooperativeKernelMultiDevice)(&part, 1, 0));
    assert_counted(1, CU(cuLaunchHostFunc, cuLaunchHostFunc)(stream, nothing, NULL));
    assert_counted(1, CU(cuLaunchHostFunc_ptsz, cuLaunchHostFunc)(NULL, nothing, NULL));
}

static void memory_operations_of_a_stream_are_jobs(void **state)
{
    CUstreamBatchMemOpParams both[2] = {{.writeValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32, .address = from, .value = 5}},
                                        {.waitValue = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32, .address = from, .value = 5}}};
    assert_counted(1, CU(cuStreamWriteValue32_v2, cuStreamWriteValue32)(stream, from, 7, 0));
    assert_counted(1, CU(cuStreamWaitValue32_v2, cuStreamWaitValue32)(stream, from, 7, CU_STREAM_WAIT_VALUE_GEQ));
    assert_counted(1, CU(cuStreamWriteValue64_v2, cuStreamWriteValue64)(stream, from, 7, 0));
    assert_counted(1, CU(cuStreamBatchMemOp_v2, cuStreamBatchMemOp)(stream, 2, both, 0));
}

static void a_job_that_the_driver_refuses_costs_nothing(void **state)
{
    uint64_t before = stats().submitted, charged = stats().charged_ns;
    assert_int_equal(FAKE(fake_fail)("cuLaunchCooperativeKernel", 1, 1, 719), 0);
    assert_int_equal(CU(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel)(spin, 300, 1, 1, 64, 1, 1, 0, stream, NULL), 719);
    assert_cu(sync_context());
    assert_int_equal(stats().submitted, before);
    assert_int_equal(stats().charged_ns, charged);
}

/* 40 kernels of 1 ms are 40 ms of device time, give or take what lies between them: much, where the program was kept from the
 * processor while it submitted; then it is tried again. */
static void device_time_is_measured_by_the_device(void **state)
{
    for (unsigned round = 0, tries = 0; round < 2; tries++) {
        uint64_t before = stats().device_ns, busy = FAKE(fake_busy_ns)(0, device_index());
        for (unsigned i = 0; i < 40; i++)
            assert_cu(spin_for(round ? NULL : stream, 1000));
        assert_cu(sync_context());
        uint64_t took = stats().device_ns - before, truly = FAKE(fake_busy_ns)(0, device_index()) - busy;
        assert_int_equal(truly, 40 * 1000 * 1000);
        assert_true(took >= truly - truly / 50);
        if (took <= truly + truly / 2)
            round++;
        assert_true(tries < 40);
    }
}

static void short_kernels_go_in_batches(void **state)
{
    for (unsigned i = 0; i < 100; i++) /* learn */
        assert_cu(spin_for(stream, 5));
    assert_cu(sync_context());
    uint64_t before = stats().submitted, events = FAKE(fake_calls)(0, "cuEventRecord");
    for (unsigned i = 0; i < 2000; i++)
        assert_cu(spin_for(stream, 5));
    assert_cu(sync_context());
    assert_int_equal(stats().submitted, before + 2000);
    assert_int_equal(stats().inflight, 0);
    uint64_t recorded = FAKE(fake_calls)(0, "cuEventRecord") - events;
    print_message("    %d events for 2000 kernels\n", (int)recorded);
    assert_true(recorded < 1000);
}

/* A thousand kinds of kernels in turn, as a training step has them: what is known of one is not lost to the others. */
static void many_kinds_of_kernels_are_all_remembered(void **state)
{
    enum { MODULES = 50, GRIDS = 20 };
    CUfunction functions[MODULES];
    CUmodule modules[MODULES];
    uint32_t us = 5;
    void *params[] = {&us};
    uint64_t events = 0;
    CUresult (*function)(CUfunction *, CUmodule, const char *) = symbol("cuModuleGetFunction");
    for (unsigned i = 0; i < MODULES; i++) {
        assert_cu(CU(cuModuleLoadData, cuModuleLoadData)(&modules[i], ptx));
        assert_cu(function(&functions[i], modules[i], "spin_us"));
    }
    for (unsigned round = 0; round < 3; round++) {
        events = FAKE(fake_calls)(0, "cuEventRecord");
        for (unsigned grid = 0; grid < GRIDS; grid++)
            for (unsigned i = 0; i < MODULES; i++)
                assert_cu(CU(cuLaunchKernel, cuLaunchKernel)(functions[i], 1u << grid, 1, 1, 64, 1, 1, 0, stream, params, NULL));
        assert_cu(sync_context());
    }
    events = FAKE(fake_calls)(0, "cuEventRecord") - events;
    print_message("    %d events for 1000 kinds\n", (int)events);
    assert_true(events < 700);
    for (unsigned i = 0; i < MODULES; i++)
        assert_cu(CU(cuModuleUnload, cuModuleUnload)(modules[i]));
}

static CUresult begin_capture(CUstream where)
{
    return CU(cuStreamBeginCapture_v2, cuStreamBeginCapture)(where, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

static void what_is_captured_is_not_submitted_and_is_left_as_it_is(void **state)
{
    CUgraph graph;
    CUgraphExec exec;
    size_t nodes = 0;
    CUresult (*get)(CUgraph, CUgraphNode *, size_t *) = symbol("cuGraphGetNodes");
    assert_cu(spin_for(stream, 5)); /* something of ours is open */
    assert_cu(spin_for(NULL, 5));
    uint64_t before = stats().submitted;
    assert_cu(begin_capture(stream));
    for (unsigned i = 0; i < 10; i++)
        assert_cu(spin_for(stream, 5));
    assert_cu(CU(cuMemsetD32Async, cuMemsetD32Async)(from, 1, 100, stream));
    assert_cu(CU(cuStreamEndCapture, cuStreamEndCapture)(stream, &graph));
    assert_cu(get(graph, NULL, &nodes));
    assert_int_equal(nodes, 11);
    assert_cu(sync_context());
    assert_in_range(stats().submitted, before, before + 2); /* the two before it, if they were still open */
    assert_cu(CU(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags)(&exec, graph, 0));
    for (unsigned i = 0; i < 5; i++)
        assert_counted(1, CU(cuGraphLaunch, cuGraphLaunch)(exec, stream));
    assert_counted(1, CU(cuGraphLaunch_ptsz, cuGraphLaunch)(exec, NULL));
    assert_counted(1, CU(cuGraphUpload, cuGraphUpload)(exec, stream));
    assert_cu(CU(cuGraphExecDestroy, cuGraphExecDestroy)(exec));
}

static void beside_a_capture_each_job_is_measured_alone(void **state)
{
    CUgraph graph;
    CUstream other;
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    assert_cu(create(&other, CU_STREAM_NON_BLOCKING));
    uint64_t before = stats().submitted;
    assert_cu(begin_capture(stream));
    assert_cu(spin_for(stream, 5));
    assert_cu(spin_for(other, 5));
    assert_cu(spin_for(stream, 5));
    assert_cu(CU(cuStreamEndCapture, cuStreamEndCapture)(stream, &graph));
    assert_cu(sync_context());
    assert_int_equal(stats().submitted, before + 1);
    assert_cu(CU(cuStreamDestroy_v2, cuStreamDestroy)(other));
    assert_counted(1, spin_for(stream, 5)); /* and measuring goes on */
}

/* A kernel known to be short; among many short launches, which keep the batch open, long ones that keep the device busy. */
static void long_kernels_among_short_ones_are_charged(void **state)
{
    for (unsigned i = 0; i < 40; i++) {
        assert_cu(spin_on(stream, 20, 99));
        assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    }
    uint64_t before = stats().device_ns, truth = 0;
    for (int64_t end = fg_boot_ns() + 600 * 1000 * 1000; fg_boot_ns() < end;) {
        assert_cu(spin_on(stream, 10000, 99));
        truth += 10000000;
        for (int64_t next = fg_boot_ns() + 9 * 1000 * 1000; fg_boot_ns() < next; truth += 20000) {
            assert_cu(spin_on(stream, 20, 99));
            usleep(400);
        }
    }
    assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    uint64_t counted = stats().device_ns - before;
    print_message("    %d of %d ms\n", (int)(counted / 1000000), (int)(truth / 1000000));
    assert_true(counted > truth / 2);
}

/* Short ones alone, far between: the device waits for the program, and that costs nothing. */
static void time_in_which_the_device_waits_is_not_charged(void **state)
{
    for (unsigned i = 0; i < 40; i++) {
        assert_cu(spin_on(stream, 20, 55));
        assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    }
    uint64_t before = stats().device_ns;
    int64_t began = fg_boot_ns();
    for (unsigned i = 0; i < 1000; i++) {
        assert_cu(spin_on(stream, 20, 55));
        usleep(400);
    }
    assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    uint64_t counted = stats().device_ns - before, took = (uint64_t)(fg_boot_ns() - began);
    print_message("    %d of 20 ms in %d\n", (int)(counted / 1000000), (int)(took / 1000000));
    assert_true(counted < took * 3 / 8);
}

/* A kernel known to be short, which is long from now on: a capture that stays open must not hide that. */
static void a_capture_left_open_does_not_end_the_measuring(void **state)
{
    CUstream other;
    CUgraph graph;
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    for (unsigned i = 0; i < 40; i++) {
        assert_cu(spin_on(stream, 20, 77));
        assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    }
    assert_cu(create(&other, CU_STREAM_NON_BLOCKING));
    assert_cu(begin_capture(other));
    uint64_t before = stats().device_ns;
    for (unsigned i = 0; i < 40; i++)
        assert_cu(spin_on(stream, 3000, 77));
    assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    for (unsigned i = 0; i < 2000 && stats().inflight; i++)
        usleep(10000);
    uint64_t counted = stats().device_ns - before;
    assert_cu(CU(cuStreamEndCapture, cuStreamEndCapture)(other, &graph));
    print_message("    %d of 120 ms\n", (int)(counted / 1000000));
    assert_true(counted > 100 * 1000 * 1000);
}

static void memory_captured_is_charged_when_its_graph_runs(void **state)
{
    CUgraph graph;
    CUgraphExec exec;
    CUdeviceptr pointer;
    uint64_t before = used();
    assert_cu(begin_capture(stream));
    assert_cu(CU(cuMemAllocAsync, cuMemAllocAsync)(&pointer, 8 * MIB, stream));
    assert_cu(CU(cuMemFreeAsync, cuMemFreeAsync)(pointer, stream));
    assert_cu(CU(cuStreamEndCapture, cuStreamEndCapture)(stream, &graph));
    assert_cu(CU(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags)(&exec, graph, 0));
    assert_cu(CU(cuGraphLaunch, cuGraphLaunch)(exec, stream));
    assert_cu(sync_context());
    assert_int_equal(used(), before + 8 * MIB);
    assert_true_books();
    assert_cu(CU(cuGraphExecDestroy, cuGraphExecDestroy)(exec));
    ((CUresult (*)(CUgraph))symbol("cuGraphDestroy"))(graph);
    assert_cu(CU(cuDeviceGraphMemTrim, cuDeviceGraphMemTrim)(0));
    assert_int_equal(used(), before);
}

static void nothing_stays_in_flight_when_a_stream_or_a_context_goes(void **state)
{
    CUstream short_lived;
    CUcontext own;
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    assert_cu(create(&short_lived, CU_STREAM_NON_BLOCKING));
    for (unsigned i = 0; i < 20; i++)
        assert_cu(spin_for(short_lived, 5));
    assert_cu(CU(cuStreamDestroy_v2, cuStreamDestroy)(short_lived));
    assert_cu(sync_context());
    assert_int_equal(stats().inflight, 0);
    assert_cu(CU(cuCtxCreate_v2, cuCtxCreate)(&own, 0, 0));
    CUdeviceptr pointer;
    assert_cu(CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, MIB));
    for (unsigned i = 0; i < 20; i++)
        assert_cu(CU(cuMemsetD8Async, cuMemsetD8Async)(pointer, 0, MIB, NULL));
    assert_cu(CU(cuCtxDestroy_v2, cuCtxDestroy)(own));
    assert_int_equal(stats().inflight, 0);
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
    assert_counted(1, spin_for(stream, 5));
}

static void *of_another_thread(void *unused)
{
    uint32_t us = 5;
    void *params[] = {&us};
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
    for (unsigned i = 0; i < 200; i++)
        CU(cuLaunchKernel_ptsz, cuLaunchKernel)(spin, 1000, 1, 1, 64, 1, 1, 0, NULL, params, NULL);
    CU(cuStreamSynchronize_ptsz, cuStreamSynchronize)(NULL);
    return NULL;
}

static void threads_with_streams_of_their_own_are_counted_together(void **state)
{
    pthread_t threads[4];
    uint64_t before = stats().submitted;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, of_another_thread, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_cu(sync_context());
    assert_int_equal(stats().submitted, before + 800);
    assert_int_equal(stats().inflight, 0);
}

/* The device waits for the host, the host submits more than may be in flight: it gets on. */
static void a_wait_for_the_host_does_not_block_later_submits(void **state)
{
    assert_cu(CU(cuMemsetD32_v2, cuMemsetD32)(to, 0, 1));
    assert_cu(CU(cuStreamWaitValue32_v2, cuStreamWaitValue32)(stream, to, 9, CU_STREAM_WAIT_VALUE_EQ));
    for (unsigned i = 0; i < 50; i++)
        assert_cu(spin_for(stream, 1000));
    CUstream other;
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    assert_cu(create(&other, CU_STREAM_NON_BLOCKING));
    assert_cu(CU(cuStreamWriteValue32_v2, cuStreamWriteValue32)(other, to, 9, 0));
    assert_cu(sync_context());
    assert_int_equal(stats().inflight, 0);
    assert_cu(CU(cuStreamDestroy_v2, cuStreamDestroy)(other));
}

static void work_in_flight_is_bounded(void **state)
{
    uint32_t most = 0;
    for (unsigned i = 0; i < 60; i++) { /* a kind of its own: what it costs is learnt from the first */
        assert_cu(spin_on(stream, 1000, 9000));
        uint32_t now = stats().inflight;
        most = now > most ? now : most;
    }
    assert_cu(sync_context());
    print_message("    %u jobs of 1 ms\n", most);
    assert_in_range(most, 1, 20); /* a window is 8 ms; some are let through when the machine is slow */
}

/* A child has its own slot and nothing of its parent's. */
static void a_forked_child_holds_nothing(void **state)
{
    uint64_t before = used();
    pid_t child = fork();
    if (!child) {
        CUdeviceptr pointer;
        CU(cuMemFree_v2, cuMemFree)(from);
        CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, MIB);
        spin_for(stream, 5);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    for (unsigned i = 0; i < 1000 && used() != before; i++) /* the reaper takes what it held */
        usleep(10000);
    assert_int_equal(used(), before);
}

/* Last. */
static void a_lease_that_is_over_refuses(void **state)
{
    CUdeviceptr pointer;
    struct fg_error err;
    assert_ok(fg_vgpu_server_close(server, "unit", &err), err);
    assert_int_equal(CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, MIB), CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = CUDA_SUCCESS;
    for (unsigned i = 0; i < 1000 && result == CUDA_SUCCESS; i++)
        result = spin_for(stream, 1000);
    assert_int_equal(result, CUDA_ERROR_DEVICE_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_copy_is_a_job),
        cmocka_unit_test(every_fill_is_a_job),
        cmocka_unit_test(every_launch_is_a_job),
        cmocka_unit_test(memory_operations_of_a_stream_are_jobs),
        cmocka_unit_test(a_job_that_the_driver_refuses_costs_nothing),
        cmocka_unit_test(device_time_is_measured_by_the_device),
        cmocka_unit_test(short_kernels_go_in_batches),
        cmocka_unit_test(many_kinds_of_kernels_are_all_remembered),
        cmocka_unit_test(what_is_captured_is_not_submitted_and_is_left_as_it_is),
        cmocka_unit_test(beside_a_capture_each_job_is_measured_alone),
        cmocka_unit_test(long_kernels_among_short_ones_are_charged),
        cmocka_unit_test(time_in_which_the_device_waits_is_not_charged),
        cmocka_unit_test(a_capture_left_open_does_not_end_the_measuring),
        cmocka_unit_test(memory_captured_is_charged_when_its_graph_runs),
        cmocka_unit_test(nothing_stays_in_flight_when_a_stream_or_a_context_goes),
        cmocka_unit_test(threads_with_streams_of_their_own_are_counted_together),
        cmocka_unit_test(a_wait_for_the_host_does_not_block_later_submits),
        cmocka_unit_test(work_in_flight_is_bounded),
        cmocka_unit_test(a_forked_child_holds_nothing),
        cmocka_unit_test(a_lease_that_is_over_refuses),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, set_up, end);
}
