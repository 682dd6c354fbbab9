/* A submit on what is prepaid takes no locked instruction, so another thread that closes the batch at that moment is not seen by
 * it at once: nothing may get lost by that. And a lease that ends while batches are open. */
#include <pthread.h>

#include "in_slice.h"

#define LAUNCHES 30000u

static CUstream stream, other;
static CUfunction spin;
static uint32_t done;

static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry spin_us(.param .u32 us)\n{\n ret;\n}\n";

static CUresult sync_context(void) { return CU(cuCtxSynchronize, cuCtxSynchronize)(); }

static int set_up(void **state)
{
    CUmodule module;
    if (open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("devices=1 total=16G kernel_ns=20000") || start() ||
        CU(cuModuleLoadData, cuModuleLoadData)(&module, ptx))
        return -1;
    CUresult (*function)(CUfunction *, CUmodule, const char *) = symbol("cuModuleGetFunction");
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    return function(&spin, module, "spin_us") || create(&stream, CU_STREAM_NON_BLOCKING) || create(&other, CU_STREAM_NON_BLOCKING);
}

static fgcu_fn_cuLaunchKernel launch;
static CUresult spin_once(void)
{
    uint32_t us = 1;
    void *params[] = {&us};
    return launch(spin, 1000, 1, 1, 64, 1, 1, 0, stream, params, NULL);
}

/* Captures of another stream: each closes what is open in all lanes. */
static void *close_batches(void *unused)
{
    fgcu_fn_cuStreamBeginCapture begin = CU(cuStreamBeginCapture_v2, cuStreamBeginCapture);
    fgcu_fn_cuStreamEndCapture capture_end = CU(cuStreamEndCapture, cuStreamEndCapture);
    CUresult (*destroy)(CUgraph) = (CUresult (*)(CUgraph))symbol("cuGraphDestroy");
    CUresult (*set)(CUcontext) = (CUresult (*)(CUcontext))symbol("cuCtxSetCurrent");
    set(context);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        CUgraph graph = NULL;
        if (begin(other, CU_STREAM_CAPTURE_MODE_RELAXED) || capture_end(other, &graph) || destroy(graph))
            return (void *)1;
        sched_yield();
    }
    return NULL;
}

static void no_submit_is_lost_when_other_threads_close_batches(void **state)
{
    pthread_t closer;
    void *failed;
    uint64_t before = stats().submitted;
    launch = CU(cuLaunchKernel, cuLaunchKernel);
    assert_int_equal(pthread_create(&closer, NULL, close_batches, NULL), 0);
    for (unsigned i = 0; i < LAUNCHES; i++)
        assert_cu(spin_once());
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    pthread_join(closer, &failed);
    assert_null(failed);
    for (unsigned i = 0; i < 200; i++) /* several batches, the first of which takes what came late */
        assert_cu(spin_once());
    assert_cu(sync_context());
    assert_int_equal(stats().submitted - before, LAUNCHES + 200);
    assert_int_equal(stats().inflight, 0);
}

/* The last. */
static void a_lease_that_ends_while_batches_are_open_lets_them_end(void **state)
{
    CUdeviceptr pointer, more;
    struct fg_error err;
    assert_cu(CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, MIB));
    for (unsigned i = 0; i < 100; i++)
        assert_cu(spin_once());
    assert_ok(fg_vgpu_server_close(server, "unit", &err), err);
    assert_int_equal(CU(cuMemAlloc_v2, cuMemAlloc)(&more, MIB), CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = CUDA_SUCCESS; /* what is prepaid goes on */
    for (unsigned i = 0; i < 1000 && result == CUDA_SUCCESS; i++)
        result = spin_once();
    assert_int_equal(result, CUDA_ERROR_DEVICE_UNAVAILABLE);
    assert_cu(sync_context());
    assert_cu(CU(cuMemFree_v2, cuMemFree)(pointer));
    CUresult (*destroy)(CUstream) = (CUresult (*)(CUstream))symbol("cuStreamDestroy_v2");
    assert_cu(destroy(stream));
    assert_cu(CU(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease)(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_submit_is_lost_when_other_threads_close_batches),
        cmocka_unit_test(a_lease_that_ends_while_batches_are_open_lets_them_end),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
