/* What programs do by mistake or on purpose at the edge: sizes near 2^64, frees of nothing and of what is freed already, no place
 * for the answer, no context, many threads with one pointer. The driver's answers, and books that are true after each. */
#include <pthread.h>

#include "ways.h"

static int set_up(void **state)
{
    return open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("devices=1 total=16G") || start() ? -1 : 0;
}

/* The driver's own function. */
static void *theirs(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    void *driver = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(driver);
    return dlsym(driver, name);
}
#define THEIRS(export, type) ((fgcu_fn_##type)theirs(#export))

static void sizes_near_the_end_of_the_numbers_are_refused_and_cost_nothing(void **state)
{
    static const uint64_t sizes[] = {UINT64_C(1) << 40, (UINT64_C(1) << 62) + 1, INT64_MAX, UINT64_C(1) << 63, -UINT64_C(1) << 21,
                                     -UINT64_C(512), -UINT64_C(1)};
    uint64_t before = used();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            struct thing thing;
            if (!strncmp(ways[w].name, "cuMemAllocPitch", 15) || strstr(ways[w].name, "Array"))
                continue; /* below */
            if (ways[w].make(sizes[i], &thing) == CUDA_SUCCESS)
                fail_msg("%s: %lu bytes", ways[w].name, (unsigned long)sizes[i]);
            assert_int_equal(used(), before);
        }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CUdeviceptr pointer;
        CUarray array;
        size_t pitch;
        CUDA_ARRAY3D_DESCRIPTOR d = {.Width = sizes[i], .Height = sizes[i], .Depth = sizes[i], .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 4};
        assert_int_not_equal(CU(cuMemAllocPitch_v2, cuMemAllocPitch)(&pointer, &pitch, sizes[i], 1, 4), CUDA_SUCCESS);
        assert_int_not_equal(CU(cuMemAllocPitch_v2, cuMemAllocPitch)(&pointer, &pitch, 1, sizes[i], 4), CUDA_SUCCESS);
        assert_int_not_equal(CU(cuMemAllocPitch_v2, cuMemAllocPitch)(&pointer, &pitch, sizes[i], sizes[i], 4), CUDA_SUCCESS);
        assert_int_not_equal(CU(cuArray3DCreate_v2, cuArray3DCreate)(&array, &d), CUDA_SUCCESS);
        assert_int_equal(used(), before);
    }
    assert_true_books();
}

static void nothing_and_what_is_freed_already_credit_nothing(void **state)
{
    struct thing thing, other;
    uint64_t before = used();
    assert_cu(alloc_linear(MIB, &thing));
    assert_cu(alloc_linear(MIB, &other));
    CUdeviceptr gone = thing.pointer;
    assert_cu(free_linear(&thing));
    assert_int_not_equal(CU(cuMemFree_v2, cuMemFree)(gone), CUDA_SUCCESS);
    assert_int_not_equal(CU(cuMemFreeAsync, cuMemFreeAsync)(gone, NULL), CUDA_SUCCESS);
    assert_int_equal(CU(cuMemFree_v2, cuMemFree)(0), THEIRS(cuMemFree_v2, cuMemFree)(0));
    assert_int_not_equal(CU(cuMemFree_v2, cuMemFree)(other.pointer + 512), CUDA_SUCCESS); /* the inside of one */
    assert_int_equal(used(), before + MIB);
    assert_true_books();
    assert_cu(free_linear(&other));
    assert_int_equal(used(), before);
}

static void no_place_for_the_answer_is_the_drivers_error(void **state)
{
    uint64_t before = used();
    assert_int_equal(CU(cuMemAlloc_v2, cuMemAlloc)(NULL, MIB), THEIRS(cuMemAlloc_v2, cuMemAlloc)(NULL, MIB));
    assert_int_equal(CU(cuMemAllocAsync, cuMemAllocAsync)(NULL, MIB, NULL), THEIRS(cuMemAllocAsync, cuMemAllocAsync)(NULL, MIB, NULL));
    assert_int_equal(CU(cuMemCreate, cuMemCreate)(NULL, 2 * MIB, &physical, 0), THEIRS(cuMemCreate, cuMemCreate)(NULL, 2 * MIB, &physical, 0));
    assert_int_equal(CU(cuMemCreate, cuMemCreate)(NULL, 2 * MIB, NULL, 0), THEIRS(cuMemCreate, cuMemCreate)(NULL, 2 * MIB, NULL, 0));
    CUdeviceptr pointer, other;
    assert_int_equal(CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, 0), THEIRS(cuMemAlloc_v2, cuMemAlloc)(&other, 0));
    assert_cu(CU(cuMemGetInfo_v2, cuMemGetInfo)(NULL, NULL));
    assert_int_equal(used(), before);
    assert_true_books();
}

static void without_a_context_the_driver_answers(void **state)
{
    CUresult (*set)(CUcontext) = symbol("cuCtxSetCurrent");
    struct thing thing;
    CUdeviceptr pointer;
    size_t a, b;
    uint64_t before = used();
    assert_cu(set(NULL));
    CUresult wanted = THEIRS(cuMemAlloc_v2, cuMemAlloc)(&pointer, MIB), asked = THEIRS(cuMemGetInfo_v2, cuMemGetInfo)(&a, &b);
    CUresult got = alloc_linear(MIB, &thing), told = CU(cuMemGetInfo_v2, cuMemGetInfo)(&a, &b);
    CUresult waited = CU(cuCtxSynchronize, cuCtxSynchronize)(), waits = THEIRS(cuCtxSynchronize, cuCtxSynchronize)();
    assert_cu(set(context));
    assert_int_equal(wanted, CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(got, wanted);
    assert_int_equal(told, asked);
    assert_int_equal(waited, waits);
    assert_int_equal(used(), before);
}

static CUdeviceptr contested;
static uint32_t freed;

static void *free_it(void *unused)
{
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
    if (CU(cuMemFree_v2, cuMemFree)(contested) == CUDA_SUCCESS)
        fg_add(&freed, 1);
    return NULL;
}

static void of_threads_that_free_one_pointer_one_does(void **state)
{
    uint64_t before = used();
    for (unsigned round = 0; round < 50; round++) {
        pthread_t threads[4];
        struct thing thing;
        assert_cu(alloc_linear(MIB, &thing));
        contested = thing.pointer;
        freed = 0;
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, free_it, NULL), 0);
        for (unsigned i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(freed, 1);
        assert_int_equal(used(), before);
    }
    assert_true_books();
}

static void a_pool_of_managed_memory_is_charged_and_the_hosts_is_not(void **state)
{
    static const struct { CUmemPoolProps props; uint64_t bytes; } pools[] = {
        {{.allocType = CU_MEM_ALLOCATION_TYPE_MANAGED, .location = {CU_MEM_LOCATION_TYPE_INVALID, 0}}, 32 * MIB},
        {{.allocType = CU_MEM_ALLOCATION_TYPE_MANAGED, .location = {CU_MEM_LOCATION_TYPE_HOST, 0}}, 32 * MIB},
        {{.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_HOST, 0}}, 0},
    };
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        CUmemoryPool made;
        struct thing thing;
        uint64_t before = used();
        assert_cu(CU(cuMemPoolCreate, cuMemPoolCreate)(&made, &pools[i].props));
        assert_cu(CU(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync)(&thing.pointer, MIB, made, NULL));
        assert_int_equal(used(), before + pools[i].bytes);
        assert_cu(free_async(&thing));
        assert_cu(CU(cuMemPoolDestroy, cuMemPoolDestroy)(made));
        assert_int_equal(used(), before);
        assert_true_books();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_near_the_end_of_the_numbers_are_refused_and_cost_nothing),
        cmocka_unit_test(nothing_and_what_is_freed_already_credit_nothing),
        cmocka_unit_test(no_place_for_the_answer_is_the_drivers_error),
        cmocka_unit_test(without_a_context_the_driver_answers),
        cmocka_unit_test(of_threads_that_free_one_pointer_one_does),
        cmocka_unit_test(a_pool_of_managed_memory_is_charged_and_the_hosts_is_not),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
