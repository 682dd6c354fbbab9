/* engine.c - the stand-in device's time: by its own clock, which stands still but for waits (virtual=1), so exact. */
#include "fake_test.h"

#define STILL "devices=1 virtual=1 slots=4 sms=132 slice_ns=2000000 "

static double ms_between(CUevent a, CUevent b)
{
    float ms;
    OK(cu.cuEventElapsedTime(&ms, a, b));
    return (double)ms;
}

static void expect_ms(double got, double want)
{
    if (got < want - 0.0005 || got > want + 0.0005) {
        fprintf(stderr, "%f ms, not %f\n", got, want);
        _exit(1);
    }
}

FAKE_TEST(kernels_of_a_stream_follow_each_other_and_take_what_they_say, STILL)
{
    use_device();
    use_kernels();
    CUstream s;
    CUevent a, b;
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&a, 0));
    OK(cu.cuEventCreate(&b, 0));
    OK(cu.cuEventRecord(a, s));
    for (int i = 0; i < 10; i++)
        OK(launch_us(s, 132, 200));
    OK(cu.cuEventRecord(b, s));
    IS(cu.cuEventQuery(b), CUDA_ERROR_NOT_READY);
    IS(cu.cuStreamQuery(s), CUDA_ERROR_NOT_READY);
    OK(cu.cuEventSynchronize(b));
    expect_ms(ms_between(a, b), 2.0);
    IS(fake.fake_busy_ns(0, 0), 2000000);
}

FAKE_TEST(small_kernels_of_many_streams_overlap_and_large_ones_do_not, STILL)
{
    use_device();
    use_kernels();
    CUstream s[8];
    uint64_t start = fake.fake_now();
    for (int i = 0; i < 8; i++) {
        OK(cu.cuStreamCreate(&s[i], CU_STREAM_NON_BLOCKING));
        OK(launch_us(s[i], 1, 1000)); /* one block: one of 4 slots */
    }
    OK(cu.cuCtxSynchronize());
    IS(fake.fake_now() - start, 2000000); /* 8 of 1 ms, 4 at a time */
    IS(fake.fake_busy_ns(0, 0), 2000000);
    start = fake.fake_now();
    for (int i = 0; i < 8; i++)
        OK(launch_us(s[i], 132, 1000));
    OK(cu.cuCtxSynchronize());
    IS(fake.fake_now() - start, 8000000);
}

FAKE_TEST(the_legacy_stream_waits_for_blocking_streams_and_they_for_it, STILL)
{
    use_device();
    use_kernels();
    CUstream blocking, free_one;
    OK(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(cu.cuStreamCreate(&free_one, CU_STREAM_NON_BLOCKING));
    uint64_t start = fake.fake_now();
    OK(launch_us(blocking, 1, 1000));
    OK(launch_us(NULL, 1, 1000));
    OK(launch_us(blocking, 1, 1000));
    OK(launch_us(free_one, 1, 500));
    OK(cu.cuStreamSynchronize(free_one));
    IS(fake.fake_now() - start, 500000);
    OK(cu.cuStreamSynchronize(NULL));
    IS(fake.fake_now() - start, 3000000);
    start = fake.fake_now(); /* threads' own default streams do not wait for streams that do not block */
    OK(launch_us(free_one, 1, 1000));
    OK(launch_us(CU_STREAM_PER_THREAD, 1, 1000));
    OK(cu.cuCtxSynchronize());
    IS(fake.fake_now() - start, 1000000);
}

FAKE_TEST(a_stream_waits_for_another_streams_event, STILL)
{
    use_device();
    use_kernels();
    CUstream a, b;
    CUevent e;
    OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
    uint64_t start = fake.fake_now();
    OK(launch_us(a, 1, 3000));
    OK(cu.cuEventRecord(e, a));
    OK(cu.cuStreamWaitEvent(b, e, 0));
    OK(launch_us(b, 1, 1000));
    OK(cu.cuStreamSynchronize(b));
    IS(fake.fake_now() - start, 4000000);
}

static volatile uint32_t order;
static void first(void *arg) { order = order * 10 + 1; }
static void second(void *arg) { order = order * 10 + 2; }

FAKE_TEST(host_functions_run_in_the_streams_order_and_hold_it, "devices=1")
{
    use_device();
    use_kernels();
    CUstream s;
    uint32_t *flag;
    OK(cu.cuStreamCreate(&s, 0));
    OK(cu.cuMemHostAlloc((void **)&flag, 4096, 0));
    *flag = 0;
    OK(cu.cuStreamWaitValue32_v2(s, (CUdeviceptr)(uintptr_t)flag, 5, CU_STREAM_WAIT_VALUE_GEQ));
    OK(cu.cuLaunchHostFunc(s, first, NULL));
    OK(launch_us(s, 1, 100));
    OK(cu.cuLaunchHostFunc(s, second, NULL));
    OK(cu.cuStreamWriteValue32_v2(s, (CUdeviceptr)(uintptr_t)flag + 8, 77, 0));
    usleep(20000);
    IS(order, 0);
    IS(cu.cuStreamQuery(s), CUDA_ERROR_NOT_READY);
    __atomic_store_n(flag, 5, __ATOMIC_SEQ_CST);
    OK(cu.cuStreamSynchronize(s));
    IS(order, 12);
    IS(flag[2], 77);
}

FAKE_TEST(more_kernels_than_the_queue_holds_wait_for_room, STILL)
{
    use_device();
    use_kernels();
    uint64_t start = fake.fake_now();
    for (int i = 0; i < 5000; i++)
        OK(launch_us(NULL, 132, 10));
    OK(cu.cuCtxSynchronize());
    IS(fake.fake_now() - start, 50000000);
    IS(fake.fake_jobs_done(0, 0), 5000);
}

FAKE_TEST(a_cooperative_launch_that_cannot_be_resident_is_refused, STILL)
{
    use_device();
    use_kernels();
    unsigned us = 5;
    void *params[] = {&us};
    OK(cu.cuLaunchCooperativeKernel(spin, 132, 1, 1, 1024, 1, 1, 0, NULL, params));
    IS(cu.cuLaunchCooperativeKernel(spin, 1000, 1, 1, 1024, 1, 1, 0, NULL, params), 720);
    IS(cu.cuLaunchKernel(spin, 0, 1, 1, 128, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_of_a_stream_follow_each_other_and_take_what_they_say),
        cmocka_unit_test(small_kernels_of_many_streams_overlap_and_large_ones_do_not),
        cmocka_unit_test(the_legacy_stream_waits_for_blocking_streams_and_they_for_it), cmocka_unit_test(a_stream_waits_for_another_streams_event),
        cmocka_unit_test(host_functions_run_in_the_streams_order_and_hold_it), cmocka_unit_test(more_kernels_than_the_queue_holds_wait_for_room),
        cmocka_unit_test(a_cooperative_launch_that_cannot_be_resident_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
