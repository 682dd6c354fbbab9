/* names.c - which function a name means to the stand-in driver, by version and by kind of default stream. */
#include "fake_test.h"

static void expect(const char *name, int version, int flags, const char *want)
{
    void *got = NULL;
    CUdriverProcAddressQueryResult status;
    CUresult r = cu.cuGetProcAddress_v2(name, &got, version, (cuuint64_t)flags, &status);
    void *exported = want ? dlsym(cu.library, want) : NULL;
    if (got != exported || (r == CUDA_SUCCESS) != (want != NULL) || (status == CU_GET_PROC_ADDRESS_SUCCESS) != (want != NULL)) {
        fprintf(stderr, "%s of %d with flags %d is not %s\n", name, version, flags, want ? want : "unknown");
        _exit(1);
    }
}

FAKE_TEST(a_name_means_its_newest_variant_of_the_version_asked_for, "driver=13000")
{
    expect("cuMemAlloc", 13000, 0, "cuMemAlloc_v2");
    expect("cuMemAlloc", 3010, 0, "cuMemAlloc");
    expect("cuMemAlloc", 1000, 0, NULL);
    expect("cuCtxCreate", 11040, 0, "cuCtxCreate_v3");
    expect("cuCtxCreate", 11030, 0, "cuCtxCreate_v2");
    expect("cuLaunchKernel", 12000, CU_GET_PROC_ADDRESS_DEFAULT, "cuLaunchKernel");
    expect("cuLaunchKernel", 12000, CU_GET_PROC_ADDRESS_LEGACY_STREAM, "cuLaunchKernel");
    expect("cuLaunchKernel", 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, "cuLaunchKernel_ptsz");
    expect("cuMemcpyHtoD", 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, "cuMemcpyHtoD_v2_ptds");
    expect("cuMemAlloc", 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, "cuMemAlloc_v2");
    expect("cuGetProcAddress", 11030, 0, "cuGetProcAddress");
    expect("cuGetProcAddress", 12000, 0, "cuGetProcAddress_v2");
    expect("", 12000, 0, NULL);
    expect("cuNoSuchThing", 12000, 0, NULL);
    const void *table;
    CUuuid id = {{1}};
    IS(cu.cuGetExportTable(&table, &id), CUDA_ERROR_NOT_FOUND);
}

FAKE_TEST(an_older_driver_does_not_know_newer_names, "driver=11080")
{
    int version;
    OK(cu.cuDriverGetVersion(&version));
    IS(version, 11080);
    expect("cuMemAllocAsync", 13000, 0, "cuMemAllocAsync");
    expect("cuGetProcAddress", 13000, 0, "cuGetProcAddress");
    expect("cuMulticastCreate", 13000, 0, NULL);
    IS(cu.cuCheckpointProcessLock(getpid(), NULL), CUDA_ERROR_NOT_SUPPORTED);
}

FAKE_TEST(what_is_not_modelled_is_exported_counts_and_says_not_supported, "driver=13000")
{
    IS(fake.fake_modelled("cuTensorMapEncodeTiled"), 0);
    IS(fake.fake_modelled("cuMemAlloc_v2"), 1);
    IS(fake.fake_modelled("cuNoSuchThing"), -1);
    OK(cu.cuInit(0));
    CUresult (*stub)(void) = (CUresult(*)(void))(uintptr_t)dlsym(cu.library, "cuTensorMapEncodeTiled");
    IS(stub(), CUDA_ERROR_NOT_SUPPORTED);
    IS(stub(), CUDA_ERROR_NOT_SUPPORTED);
    IS(fake.fake_calls(0, "cuTensorMapEncodeTiled"), 2);
}

/* The requests that a runtime of 13.0 makes at its start: all but those of graphics interfaces are answered. */
FAKE_TEST(a_runtimes_requests_are_answered, "driver=13000")
{
    char path[512], line[256], name[128];
    snprintf(path, sizeof path, "%s/cuda/cudart-13.0-getprocaddress.txt", getenv("FGPU_DATA") ? getenv("FGPU_DATA") : "../shared/data");
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("skipped: no '%s' (FGPU_DATA names the folder)\n", path);
        return;
    }
    int version, answered = 0, unknown = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%127s %d", name, &version) != 2)
            continue;
        void *got;
        CUdriverProcAddressQueryResult status;
        int graphics = !strncmp(name, "cuGL", 4) || strstr(name, "EGL") || strstr(name, "Egl") || strstr(name, "VDPAU") || strstr(name, "GraphicsGL");
        CUresult r = cu.cuGetProcAddress_v2(name, &got, version, version == 7000 ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : 0, &status);
        if (r && !graphics) {
            fprintf(stderr, "%s %d\n", name, version);
            _exit(1);
        }
        answered += r == CUDA_SUCCESS;
        unknown += r != CUDA_SUCCESS;
    }
    fclose(file);
    CHECK(answered > 400 && unknown < 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_means_its_newest_variant_of_the_version_asked_for), cmocka_unit_test(an_older_driver_does_not_know_newer_names),
        cmocka_unit_test(what_is_not_modelled_is_exported_counts_and_says_not_supported), cmocka_unit_test(a_runtimes_requests_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
