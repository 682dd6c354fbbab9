/* A lease that is capped from its first moment: a program cannot get its work done sooner, whatever shape it has. How exact the
 * share is, is measured elsewhere (docs/vgpu.md): a loaded machine makes it less, never more. */
#include "in_slice.h"

static CUfunction spin;
static CUstream stream;
static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry spin_us(.param .u32 us)\n{\n ret;\n}\n";

static int set_up(void **state)
{
    CUmodule module;
    if (open_lease(QUOTA, 200, FG_SHARE_CAPPED) || load("devices=1 total=16G") || start() ||
        CU(cuModuleLoadData, cuModuleLoadData)(&module, ptx))
        return -1;
    CUresult (*function)(CUfunction *, CUmodule, const char *) = symbol("cuModuleGetFunction");
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    return function(&spin, module, "spin_us") || create(&stream, CU_STREAM_NON_BLOCKING);
}

static CUresult spin_for(CUstream where, uint32_t us)
{
    void *params[] = {&us};
    return CU(cuLaunchKernel, cuLaunchKernel)(spin, 1000, 1, 1, 64, 1, 1, 0, where, params, NULL);
}

/* 20 %: 60 ms of device time take 300 ms, less a window of 8 ms at each end and what an in-flight bound lets through. */
static void work_takes(unsigned kernels, uint32_t us, int wait)
{
    int64_t began = fg_boot_ns();
    for (unsigned i = 0; i < kernels; i++) {
        assert_cu(spin_for(stream, us));
        if (wait)
            assert_cu(CU(cuStreamSynchronize, cuStreamSynchronize)(stream));
    }
    assert_cu(CU(cuCtxSynchronize, cuCtxSynchronize)());
    int64_t took = fg_boot_ns() - began;
    print_message("    %u kernels of %u us: %d ms\n", kernels, us, (int)(took / 1000000));
    assert_true(took > 150 * 1000 * 1000);
}

static void long_kernels_take_their_time(void **state) { work_takes(12, 5000, 0); }
static void short_kernels_take_their_time(void **state) { work_takes(3000, 20, 0); }
static void kernels_that_are_waited_for_take_their_time(void **state) { work_takes(60, 1000, 1); }

static void graphs_take_their_time(void **state)
{
    CUgraph graph;
    CUgraphExec exec;
    assert_cu(CU(cuStreamBeginCapture_v2, cuStreamBeginCapture)(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    for (unsigned i = 0; i < 10; i++)
        assert_cu(spin_for(stream, 100));
    assert_cu(CU(cuStreamEndCapture, cuStreamEndCapture)(stream, &graph));
    assert_cu(CU(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags)(&exec, graph, 0));
    int64_t began = fg_boot_ns();
    for (unsigned i = 0; i < 60; i++)
        assert_cu(CU(cuGraphLaunch, cuGraphLaunch)(exec, stream));
    assert_cu(CU(cuCtxSynchronize, cuCtxSynchronize)());
    assert_true(fg_boot_ns() - began > 150 * 1000 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_kernels_take_their_time),
        cmocka_unit_test(short_kernels_take_their_time),
        cmocka_unit_test(kernels_that_are_waited_for_take_their_time),
        cmocka_unit_test(graphs_take_their_time),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
