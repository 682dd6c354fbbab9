/* cuGetProcAddress and dlsym: what the shim wraps comes back as the shim's, in the right variant; everything else is the driver's
 * own pointer, at no cost. The recorded requests of a real runtime lie outside of the project: FGPU_DATA, or ../shared/data. */
#include "in_slice.h"

static int set_up(void **state) { return open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("total=16G") ? -1 : 0; }

static const struct { const char *export, *name; int since, own; } wrapped[] = {
#define ROW(export, name, since, own) {#export, #name, since, own},
    FGCU_WRAPPED_LIST(ROW)
#undef ROW
};
#define WRAPPED (sizeof wrapped / sizeof *wrapped)

static void *driver(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    void *found = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(found);
    return found;
}

static CUresult ask(const char *name, int version, uint64_t flags, void **ret)
{
    CUdriverProcAddressQueryResult status;
    *ret = NULL;
    return CU(cuGetProcAddress_v2, cuGetProcAddress_v2)(name, ret, version, flags, &status);
}

/* What the driver alone would answer. */
static CUresult ask_driver(const char *name, int version, uint64_t flags, void **ret)
{
    CUdriverProcAddressQueryResult status;
    *ret = NULL;
    return ((fgcu_fn_cuGetProcAddress_v2)dlsym(driver(), "cuGetProcAddress_v2"))(name, ret, version, flags, &status);
}

/* The export of the driver at this address, or NULL. */
static const char *export_at(void *pointer)
{
    Dl_info info;
    return dladdr(pointer, &info) && info.dli_saddr == pointer ? info.dli_sname : NULL;
}

static int is_wrapped(const char *export)
{
    for (size_t i = 0; i < WRAPPED; i++)
        if (!strcmp(wrapped[i].export, export))
            return 1;
    return 0;
}

static void check_answer(const char *name, int version, uint64_t flags)
{
    void *ours, *theirs;
    CUresult theirs_result = ask_driver(name, version, flags, &theirs);
    assert_int_equal(ask(name, version, flags, &ours), theirs_result);
    if (!theirs) {
        assert_null(ours);
        return;
    }
    const char *export = export_at(theirs);
    assert_non_null(export);
    if (is_wrapped(export) && ours != dlsym(shim, export))
        fail_msg("%s %d: not the hook of %s", name, version, export);
    if (!is_wrapped(export) && ours != theirs)
        fail_msg("%s %d: not the driver's own %s", name, version, export);
}

static void every_version_and_stream_mode_gets_the_right_hook(void **state)
{
    static const int versions[] = {2000, 3020, 4000, 7000, 10000, 11000, 11020, 11040, 12000, 12030, 12050, 12080, 13000};
    for (size_t i = 0; i < WRAPPED; i++)
        for (size_t v = 0; v < sizeof versions / sizeof *versions; v++)
            for (uint64_t flags = 0; flags <= 2; flags++)
                check_answer(wrapped[i].name, versions[v], flags);
}

static void what_is_not_wrapped_is_the_drivers_own_pointer(void **state)
{
    static const char *const names[] = {"cuDeviceGet", "cuCtxGetDevice", "cuDeviceGetCount", "cuDriverGetVersion", "cuEventCreate",
                                        "cuStreamCreate", "cuFuncGetAttribute", "cuPointerGetAttribute", "cuGetExportTable"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_false(is_wrapped(names[i]));
        assert_ptr_equal(dlsym(shim, names[i]), dlsym(driver(), names[i]));
        check_answer(names[i], 13000, 0);
    }
}

static const char *const passed[] = {
#define NAME(export) #export,
    FGCU_PASSED_LIST(NAME)
#undef NAME
};

static int is_passed(const char *export)
{
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (!strcmp(passed[i], export))
            return 1;
    return 0;
}

static void every_export_of_the_driver_is_wrapped_or_left_alone_for_a_reason(void **state)
{
    char line[256], name[128];
    unsigned since, count = 0;
    FILE *f = fopen(EXPORTS, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%127s %u", name, &since) != 2)
            continue; /* a comment */
        if (is_wrapped(name) == is_passed(name))
            fail_msg("%s: neither wrapped nor left alone, or both", name);
        count++;
    }
    fclose(f);
    assert_int_equal(count, 637);
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        assert_ptr_equal(symbol(passed[i]), dlsym(driver(), passed[i]));
}

static void what_is_wrapped_is_not_the_drivers(void **state)
{
    for (size_t i = 0; i < WRAPPED; i++)
        assert_ptr_not_equal(dlsym(shim, wrapped[i].export), dlsym(driver(), wrapped[i].export));
}

static void unknown_names_get_the_drivers_answer(void **state)
{
    void *pointer;
    CUresult result = ask("cuNobodyKnowsThis", 13000, 0, &pointer);
    assert_int_equal(result, ask_driver("cuNobodyKnowsThis", 13000, 0, &pointer));
    assert_int_not_equal(result, CUDA_SUCCESS);
    assert_int_equal(CU(cuGetProcAddress_v2, cuGetProcAddress_v2)(NULL, &pointer, 13000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(CU(cuGetProcAddress_v2, cuGetProcAddress_v2)("cuMemAlloc", NULL, 13000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
}

static void the_older_form_answers_alike(void **state)
{
    void *pointer = NULL;
    assert_cu(CU(cuGetProcAddress, cuGetProcAddress)("cuMemAlloc", &pointer, 11030, 0));
    assert_ptr_equal(pointer, dlsym(shim, "cuMemAlloc_v2"));
    assert_cu(CU(cuGetProcAddress, cuGetProcAddress)("cuGetProcAddress", &pointer, 11030, 0));
    assert_ptr_equal(pointer, dlsym(shim, "cuGetProcAddress"));
    assert_cu(CU(cuGetProcAddress, cuGetProcAddress)("cuGetProcAddress", &pointer, 12000, 0));
    assert_ptr_equal(pointer, dlsym(shim, "cuGetProcAddress_v2"));
}

/* NAME VERSION a line; a name that stands twice with one version or with a pair of them was asked with both stream modes. */
static void the_recorded_requests_of_a_runtime_get_their_hooks(void **state)
{
    const char *data = getenv("FGPU_DATA");
    char path[700], name[128];
    snprintf(path, sizeof path, "%s/cuda/cudart-13.0-getprocaddress.txt", data ? data : "../shared/data");
    FILE *f = fopen(path, "r");
    if (!f) {
        print_message("    skipped: %s is not there (FGPU_DATA)\n", path);
        skip();
    }
    int version, count = 0;
    while (fscanf(f, "%127s %d", name, &version) == 2) {
        check_answer(name, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
        check_answer(name, version, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
        check_answer(name, version, CU_GET_PROC_ADDRESS_DEFAULT);
        count++;
    }
    fclose(f);
    assert_true(count >= 430);
    print_message("    %d requests\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_and_stream_mode_gets_the_right_hook),
        cmocka_unit_test(what_is_not_wrapped_is_the_drivers_own_pointer),
        cmocka_unit_test(every_export_of_the_driver_is_wrapped_or_left_alone_for_a_reason),
        cmocka_unit_test(what_is_wrapped_is_not_the_drivers),
        cmocka_unit_test(unknown_names_get_the_drivers_answer),
        cmocka_unit_test(the_older_form_answers_alike),
        cmocka_unit_test(the_recorded_requests_of_a_runtime_get_their_hooks),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
