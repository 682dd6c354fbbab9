/* What a program finds under which name: ours in the right variant and version where the front end wraps, the library's own pointer
 * everywhere else. Without a lease everything is the library's; with one that cannot be used there is no device. */
#include "in_slice.h"

static const struct { const char *export, *name; int since, own; } wrapped[] = {
#define ROW(export, name, since, own) {#export, #name, since, own},
    FGCU_WRAPPED_LIST(ROW)
#undef ROW
};
#define WRAPPED (sizeof wrapped / sizeof *wrapped)

static int set_up(void **state) { return open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("libamdhip64.so.6", SHIM_6, FAKE_HIP) ? -1 : 0; }

static void what_is_not_wrapped_is_the_librarys_own(void **state)
{
    static const char *const names[] = {"hipHostMalloc", "hipStreamCreate", "hipGraphDestroy", "fake_hip_newer"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_ptr_equal(symbol(names[i]), dlsym(behind, names[i]));
    assert_int_equal(FAKE(fake_hip_newer)(1), 2);
}

/* Programs that were linked with the real library ask for a version; those that use dlsym do not. */
static void every_wrapped_name_is_found_with_and_without_its_version(void **state)
{
    for (size_t i = 0; i < WRAPPED; i++) {
        char version[16];
        snprintf(version, sizeof version, "hip_%d.%d", wrapped[i].since / 1000, wrapped[i].since / 100 % 10);
        void *ours = symbol(wrapped[i].export);
        if (dlvsym(shim, wrapped[i].export, version) != ours)
            fail_msg("%s has not version %s", wrapped[i].export, version);
        assert_ptr_not_equal(ours, dlsym(behind, wrapped[i].export));
    }
}

static CUresult ask(const char *name, uint64_t flags, void **ret)
{
    *ret = NULL;
    return HIP(hipGetProcAddress, hipGetProcAddress)(name, ret, 60200000, flags, NULL);
}

static void check_look_up(void)
{
    void *found;
    CUdeviceptr pointer;
    const uint64_t own = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    assert_hip(ask("hipMalloc", 0, &found));
    assert_ptr_equal(found, symbol("hipMalloc"));
    assert_hip(((fgcu_fn_cuMemAlloc)found)(&pointer, 1)); /* and it does not call itself */
    assert_hip(HIP(hipFree, cuMemFree)(pointer));
    assert_hip(ask("hipLaunchKernel", 0, &found));
    assert_ptr_equal(found, symbol("hipLaunchKernel"));
    assert_hip(ask("hipLaunchKernel", own, &found));
    assert_ptr_equal(found, symbol("hipLaunchKernel_spt"));
    assert_hip(HIP(hipGetDriverEntryPoint, hipGetDriverEntryPoint)("hipFreeAsync", &found, 0, NULL));
    assert_ptr_equal(found, symbol("hipFreeAsync"));
    assert_hip(HIP(hipGetDriverEntryPoint_spt, hipGetDriverEntryPoint)("hipMemcpy", &found, 0, NULL));
    assert_ptr_equal(found, symbol("hipMemcpy_spt"));
    assert_hip(ask("fake_hip_newer", 0, &found));
    assert_ptr_equal(found, dlsym(behind, "fake_hip_newer"));
    assert_int_equal(ask("hipNoSuchFunction", 0, &found), CUDA_ERROR_NOT_FOUND);
    assert_null(found);
}

static void who_asks_for_a_function_gets_ours_in_the_variant_that_the_library_chose(void **state)
{
    check_look_up();
    FAKE(fake_hip_by_soname)(1);
    check_look_up();
    FAKE(fake_hip_by_soname)(0);
}

static void what_an_older_library_lacks_is_not_supported(void **state)
{
    assert_null(dlsym(behind, "hipGraphUpload"));
    assert_int_equal(HIP(hipGraphUpload, cuGraphUpload)(NULL, NULL), CUDA_ERROR_NOT_SUPPORTED);
}

/* One process, a library of each: each has its own front end and finds what lies behind that one. */
static void the_sonames_differ_and_so_does_what_lies_behind(void **state)
{
    link_to("libamdhip64.so.5", SHIM_5);
    link_to("driver/libamdhip64.so.5", FAKE_HIP);
    void *five = open_in("libamdhip64.so.5");
    assert_non_null(five);
    assert_ptr_not_equal(dlsym(five, "hipMalloc"), symbol("hipMalloc"));
    assert_int_equal(((fgcu_fn_hipGetDeviceCount)dlsym(five, "hipGetDeviceCount"))(&(int){0}), CUDA_SUCCESS);
}

/* lease: what env does to it; "": it is the test's own. Returns what the program ended with; 50 if the loader or anybody else had something to say. */
static int run(const char *program, const char *lease, uint64_t sees)
{
    char command[2000], said[600];
    struct stat about;
    snprintf(said, sizeof said, "%s/said", folder);
    snprintf(command, sizeof command, "LD_LIBRARY_PATH='%s' exec env %s '%s' %llu >'%s' 2>&1", folder, lease, program,
             (unsigned long long)sees, said);
    int status = system(command);
    int silent = stat(said, &about) == 0 && about.st_size == 0;
    remove(said);
    return !silent ? 50 : WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void linked_programs_meet_the_front_end_with_and_without_versions(void **state)
{
    assert_int_equal(run(LINKED, "", QUOTA), 0);
    assert_int_equal(run(LINKED_VERSIONED, "", QUOTA), 0);
}

static void without_a_lease_everything_is_the_librarys(void **state) { assert_int_equal(run(LINKED, "-u " FG_LEASE_ENV, FK_TOTAL), 0); }
static void a_lease_that_cannot_be_used_shows_no_device(void **state) { assert_int_equal(run(LINKED, FG_LEASE_ENV "=/nowhere:/nowhere", 0), 0); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_wrapped_is_the_librarys_own),
        cmocka_unit_test(every_wrapped_name_is_found_with_and_without_its_version),
        cmocka_unit_test(who_asks_for_a_function_gets_ours_in_the_variant_that_the_library_chose),
        cmocka_unit_test(what_an_older_library_lacks_is_not_supported),
        cmocka_unit_test(without_a_lease_everything_is_the_librarys),
        cmocka_unit_test(a_lease_that_cannot_be_used_shows_no_device),
        cmocka_unit_test(linked_programs_meet_the_front_end_with_and_without_versions),
        cmocka_unit_test(the_sonames_differ_and_so_does_what_lies_behind),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
