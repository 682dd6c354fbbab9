/* Debian's libamdhip64 on a machine without an AMD GPU: with our front end before it every call has the same result as without,
 * nothing crashes, nothing stays charged, and each symbol of ours has the version of theirs. Skipped where it is not installed. */
#include "in_slice.h"

static hipStream_t stream; /* stays the default one: there is no device to make another on */

#include "hip_calls.h"

static int set_up(void **state)
{
    void *real = dlopen("libamdhip64.so.5", RTLD_NOW | RTLD_LOCAL);
    if (!real) {
        print_message("skipped: no libamdhip64.so.5 (tools/deps hip installs it)\n");
        exit(77);
    }
    int devices = 0;
    CUresult (*count)(int *) = (CUresult (*)(int *))dlsym(real, "hipGetDeviceCount");
    if (count && count(&devices) == CUDA_SUCCESS && devices) {
        print_message("skipped: there is an AMD device\n");
        exit(77);
    }
    Dl_info info;
    return dladdr(dlsym(real, "hipMalloc"), &info) && !open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) && !load("libamdhip64.so.5", SHIM_5, info.dli_fname) ? 0 : -1;
}

static const struct { const char *name; CUresult (*call)(void *); } submits[] = {
#define ROW(export) {#export, call_##export},
    SUBMITS(ROW)
#undef ROW
};

static void every_symbol_has_the_version_of_theirs(void **state)
{
    static const struct { const char *export; int since; } wrapped[] = {
#define ROW(export, name, since, own) {#export, since},
        FGCU_WRAPPED_LIST(ROW)
#undef ROW
    };
    unsigned compared = 0;
    for (size_t i = 0; i < sizeof wrapped / sizeof *wrapped; i++) {
        char version[16];
        snprintf(version, sizeof version, "hip_%d.%d", wrapped[i].since / 1000, wrapped[i].since / 100 % 10);
        if (!dlsym(behind, wrapped[i].export))
            continue;
        compared++;
        if (!dlvsym(behind, wrapped[i].export, version) || !dlvsym(shim, wrapped[i].export, version))
            fail_msg("%s is not %s", wrapped[i].export, version);
    }
    assert_true(compared > 100);
}

static void every_submit_fails_as_without_us(void **state)
{
    for (size_t i = 0; i < sizeof submits / sizeof *submits; i++) {
        void *theirs = dlsym(behind, submits[i].name);
        if (!theirs || strncmp(submits[i].name, "_ZN8hip_impl", 12) == 0) /* takes references, which are never empty */
            continue;
        CUresult without = submits[i].call(theirs), with = submits[i].call(symbol(submits[i].name));
        if (with != without)
            fail_msg("%s: %d, without us %d", submits[i].name, with, without);
    }
    assert_int_equal(stats().inflight, 0);
}

#define SAME(export, type, ...)                                                                                       \
    do {                                                                                                              \
        CUresult without_ = ((fgcu_fn_##type)dlsym(behind, #export))(__VA_ARGS__), with_ = HIP(export, type)(__VA_ARGS__); \
        if (with_ != without_)                                                                                        \
            fail_msg("%s: %d, without us %d", #export, with_, without_);                                              \
    } while (0)

static void everything_else_fails_as_without_us(void **state)
{
    CUdeviceptr address = 0;
    void *pointer = NULL;
    size_t a = 0, b = 0;
    int number = 0;
    char properties[4096];
    hipPitchedPtr pitched;
    hipChannelFormatDesc floats = {.x = 32, .f = 2};
    CUmemoryPool pool = NULL;
    SAME(hipInit, hipInit, 0);
    SAME(hipGetDeviceCount, hipGetDeviceCount, &number);
    SAME(hipSetDevice, hipSetDevice, 0);
    SAME(hipMalloc, cuMemAlloc, &address, 100);
    SAME(hipMalloc, cuMemAlloc, NULL, 100);
    SAME(hipExtMallocWithFlags, hipExtMallocWithFlags, &pointer, 100, 0);
    SAME(hipMallocManaged, cuMemAllocManaged, &address, 100, 1);
    SAME(hipMallocPitch, hipMallocPitch, &pointer, &a, 100, 100);
    SAME(hipMemAllocPitch, hipMemAllocPitch, &pointer, &a, 100, 100, 4);
    SAME(hipMalloc3D, hipMalloc3D, &pitched, (hipExtent){1, 1, 1});
    SAME(hipMallocArray, hipMallocArray, &pointer, &floats, 10, 10, 0);
    SAME(hipMallocAsync, cuMemAllocAsync, &address, 100, NULL);
    SAME(hipMemPoolCreate, cuMemPoolCreate, &pool, &(CUmemPoolProps){.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}});
    SAME(hipFree, cuMemFree, 0);
    SAME(hipFree, cuMemFree, 4096);
    SAME(hipMemGetInfo, hipMemGetInfo, &a, &b);
    SAME(hipDeviceTotalMem, cuDeviceTotalMem, &a, 0);
    SAME(hipGetDeviceProperties, hipProperties, properties, 0);
    SAME(hipDeviceSynchronize, cuCtxSynchronize);
    SAME(hipDeviceReset, hipDeviceReset);
    SAME(hipStreamSynchronize, cuStreamSynchronize, NULL);
    SAME(hipStreamQuery, cuStreamQuery, NULL);
    SAME(hipStreamBeginCapture, cuStreamBeginCapture, NULL, CU_STREAM_CAPTURE_MODE_GLOBAL);
    SAME(hipGetLastError, hipGetLastError);
    assert_int_equal(used(), 0);
}

int main(int argc, char **argv)
{
    if (getenv("LD_LIBRARY_PATH")) { /* the build's own folders, where libamdhip64 is ours */
        unsetenv("LD_LIBRARY_PATH");
        execv("/proc/self/exe", argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_symbol_has_the_version_of_theirs),
        cmocka_unit_test(every_submit_fails_as_without_us),
        cmocka_unit_test(everything_else_fails_as_without_us),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
