/* A driver of 13.1 to 13.5 behind the shim: what its table knows of it is gated and counted, the rest is the driver's own. */
#undef DRIVER
#define DRIVER NEW_DRIVER
#include "in_slice.h"

static CUdeviceptr from, to;

static int set_up(void **state)
{
    return open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("devices=1 total=16G driver=13050") || start() ||
           CU(cuMemAlloc_v2, cuMemAlloc)(&from, MIB) || CU(cuMemAlloc_v2, cuMemAlloc)(&to, MIB) ? -1 : 0;
}

static unsigned calls(void) { return ((unsigned (*)(void))symbol("fake_newer_calls"))(); }
static CUresult sync_context(void) { return CU(cuCtxSynchronize, cuCtxSynchronize)(); }

/* As a program finds it: by both ways, which are one. */
static void *ask(const char *name, int version)
{
    void *found = NULL;
    assert_cu(CU(cuGetProcAddress_v2, cuGetProcAddress_v2)(name, &found, version, 0, NULL));
    return found;
}

static int is_ours(const void *pointer)
{
    Dl_info info;
    return pointer && dladdr(pointer, &info) && !strstr(info.dli_fname, "/driver/");
}

#define assert_job(call)                                                                                               \
    do {                                                                                                               \
        uint64_t before_ = stats().submitted;                                                                          \
        unsigned calls_ = calls();                                                                                     \
        assert_cu(call);                                                                                               \
        assert_cu(sync_context());                                                                                     \
        assert_int_equal(calls(), calls_ + 1);                                                                         \
        assert_int_equal(stats().submitted, before_ + 1);                                                              \
        assert_int_equal(stats().inflight, 0);                                                                         \
    } while (0)

static unsigned ran;
static void host_function(void *data) { __atomic_fetch_add(&ran, 1, __ATOMIC_RELAXED); }

static void submits_of_newer_drivers_are_counted_whichever_way_they_were_found(void **state)
{
    static const char *const names[] = {"cuMemcpyWithAttributesAsync", "cuMemcpy3DWithAttributesAsync", "cuFabricCpyBatchAsync"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_ptr_equal(ask(names[i], 13050), symbol(names[i]));
        assert_true(is_ours(symbol(names[i])));
    }
    assert_job(CU(cuMemcpyWithAttributesAsync, cuMemcpyWithAttributesAsync)(to, from, 4096, NULL, NULL));
    assert_job(CU(cuMemcpy3DWithAttributesAsync, cuMemcpy3DWithAttributesAsync)(NULL, 0, NULL));
    assert_job(CU(cuFabricCpyBatchAsync, cuFabricCpyBatchAsync)(1, NULL, 0, NULL));
    fgcu_fn_cuLaunchHostFunc_v2 launch = (fgcu_fn_cuLaunchHostFunc_v2)ask("cuLaunchHostFunc", 13010);
    assert_ptr_equal(launch, symbol("cuLaunchHostFunc_v2"));
    assert_job(launch(NULL, host_function, NULL, 0));
    assert_int_equal(ran, 1);
    assert_ptr_equal(ask("cuLaunchHostFunc", 13000), symbol("cuLaunchHostFunc")); /* a program of before */
}

static void a_capture_of_the_newer_kind_is_not_submitted(void **state)
{
    CUstream stream;
    CUresult (*create)(CUstream *, unsigned) = symbol("cuStreamCreate");
    assert_cu(create(&stream, CU_STREAM_NON_BLOCKING));
    uint64_t before = stats().submitted;
    assert_cu(CU(cuStreamBeginCaptureToCig, cuStreamBeginCaptureToCig)(stream, NULL));
    assert_cu(CU(cuMemcpyAsync, cuMemcpyAsync)(to, from, 4096, stream));
    assert_cu(CU(cuMemcpyWithAttributesAsync, cuMemcpyWithAttributesAsync)(to, from, 4096, NULL, stream));
    assert_cu(CU(cuStreamEndCaptureToCig, cuStreamEndCaptureToCig)(stream));
    assert_cu(sync_context());
    assert_int_equal(stats().submitted, before);
    assert_job(CU(cuMemcpyWithAttributesAsync, cuMemcpyWithAttributesAsync)(to, from, 4096, NULL, stream)); /* and then it is again */
}

static void what_the_table_names_and_the_driver_lacks_says_so(void **state)
{
    uint64_t before = stats().submitted;
    assert_int_equal(CU(cuStreamBeginRecaptureToGraph, cuStreamBeginRecaptureToGraph)(NULL, CU_STREAM_CAPTURE_MODE_RELAXED, NULL, NULL, NULL),
                     CUDA_ERROR_NOT_FOUND);
    assert_int_equal(CU(cuFabricCpyBatchAsync_ptsz, cuFabricCpyBatchAsync)(1, NULL, 0, NULL), CUDA_ERROR_NOT_FOUND);
    assert_cu(sync_context());
    assert_int_equal(stats().submitted, before);
    assert_int_equal(stats().inflight, 0);
}

static void what_no_table_knows_is_the_drivers_own(void **state)
{
    int (*future)(int) = (int (*)(int))symbol("cuOfTheYear2030");
    assert_int_equal(future(41), 42);
    assert_false(is_ours((void *)future));
    assert_ptr_equal(ask("cuOfTheYear2030", 13050), future);
}

static void a_variant_that_no_table_knows_is_charged_as_the_newest_that_it_knows(void **state)
{
    CUdeviceptr pointer;
    uint64_t before = used();
    fgcu_fn_cuMemAlloc alloc = (fgcu_fn_cuMemAlloc)ask("cuMemAlloc", 20300);
    unsigned seen = calls();
    assert_true(is_ours((void *)alloc));
    assert_int_equal(alloc(&pointer, QUOTA), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(calls(), seen);
    assert_cu(alloc(&pointer, 4 * MIB));
    assert_int_equal(calls(), seen + 1); /* the driver's own newer one did it */
    assert_int_equal(used(), before + 4 * MIB);
    assert_true_books();
    assert_cu(CU(cuMemFree_v2, cuMemFree)(pointer));
    assert_int_equal(used(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submits_of_newer_drivers_are_counted_whichever_way_they_were_found),
        cmocka_unit_test(a_capture_of_the_newer_kind_is_not_submitted),
        cmocka_unit_test(what_the_table_names_and_the_driver_lacks_says_so),
        cmocka_unit_test(what_no_table_knows_is_the_drivers_own),
        cmocka_unit_test(a_variant_that_no_table_knows_is_charged_as_the_newest_that_it_knows),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
