/* runtime.c - programs shaped like those of the runtime library reach the stand-in driver. Built twice: static and shared. */
#include "fake_test.h"
#include "../../fakes/cuda/cudart_mini.h"

static const char image[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry fill_u32(.param .u64 to, .param .u32 value, .param .u32 count) { ret; }\n"
    ".visible .entry spin_us(.param .u32 us) { ret; }\n";
static void fill_stub(void) {}
static void spin_stub(void) {}

static void registered(void)
{
    void **handle = __cudaRegisterFatBinary(image);
    __cudaRegisterFunction(handle, (const void *)fill_stub, "fill_u32");
    __cudaRegisterFunction(handle, (const void *)spin_stub, "spin_us");
}

static cudaError_t spin_for(unsigned us, cudaStream_t stream)
{
    void *params[] = {&us};
    return cudaLaunchKernel((const void *)spin_stub, (cuda_dim3){1, 1, 1}, (cuda_dim3){32, 1, 1}, params, 0, stream);
}

FAKE_TEST(kernels_fill_memory_that_copies_bring_back, "devices=2 context=16M module=2M")
{
    registered();
    uint32_t *at, value = 0xabcd, count = 100, host[100];
    OK(cudaMalloc((void **)&at, sizeof host));
    IS(fake.fake_live(0, 0, FAKE_ALL), 16 * MIB + 512);
    void *params[] = {&at, &value, &count};
    OK(cudaLaunchKernel((const void *)fill_stub, (cuda_dim3){1, 1, 1}, (cuda_dim3){128, 1, 1}, params, 0, NULL));
    OK(cudaMemcpy(host, at, sizeof host, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 100; i++)
        IS(host[i], 0xabcd);
    IS(fake.fake_live(0, 0, FAKE_MODULE), 2 * MIB);
    OK(cudaFree(at));
    OK(cudaSetDevice(1));
    OK(cudaMallocAsync((void **)&at, MIB, NULL));
    IS(fake.fake_live(0, 1, FAKE_POOL), 32 * MIB);
    OK(cudaDeviceReset());
    IS(fake.fake_live(0, 1, FAKE_ALL), 0);
    IS(cudaMalloc((void **)&at, 1ull << 50), CUDA_ERROR_OUT_OF_MEMORY);
    IS(cudaGetLastError(), CUDA_ERROR_OUT_OF_MEMORY);
    IS(cudaGetLastError(), 0);
}

static uint64_t two_default_stream_kernels(int per_thread)
{
    registered();
    cudart_mini_per_thread(per_thread);
    cudaStream_t blocking;
    OK(cudaStreamCreateWithFlags(&blocking, 0));
    OK(cudaStreamSynchronize(NULL));
    uint64_t start = fake.fake_now();
    OK(spin_for(1000, blocking));
    OK(spin_for(1000, NULL));
    OK(cudaDeviceSynchronize());
    return fake.fake_now() - start;
}

FAKE_TEST(the_default_stream_is_the_legacy_one, "devices=1 virtual=1")
{
    IS(two_default_stream_kernels(0), 2000000); /* it waits for blocking streams */
    IS(fake.fake_calls(0, "cuLaunchKernel"), 2);
}

FAKE_TEST(or_the_threads_own_where_the_program_is_compiled_so, "devices=1 virtual=1")
{
    IS(two_default_stream_kernels(1), 1000000);
    IS(fake.fake_calls(0, "cuLaunchKernel_ptsz"), 2);
    IS(fake.fake_calls(0, "cuLaunchKernel"), 0);
}

FAKE_TEST(graphs_and_events_work_through_it, "devices=1 virtual=1")
{
    registered();
    cudaStream_t s;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t a, b;
    float ms;
    OK(cudaStreamCreateWithFlags(&s, 1));
    OK(cudaEventCreate(&a));
    OK(cudaEventCreate(&b));
    OK(spin_for(1, s)); /* the module is loaded before the capture */
    OK(cudaStreamBeginCapture(s, 0));
    for (int i = 0; i < 20; i++)
        OK(spin_for(50, s));
    OK(cudaStreamEndCapture(s, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaStreamSynchronize(s));
    OK(cudaEventRecord(a, s));
    OK(cudaGraphLaunch(exec, s));
    OK(cudaEventRecord(b, s));
    OK(cudaEventSynchronize(b));
    OK(cudaEventElapsedTime(&ms, a, b));
    CHECK(ms > 0.999f && ms < 1.001f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_fill_memory_that_copies_bring_back), cmocka_unit_test(the_default_stream_is_the_legacy_one),
        cmocka_unit_test(or_the_threads_own_where_the_program_is_compiled_so), cmocka_unit_test(graphs_and_events_work_through_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
