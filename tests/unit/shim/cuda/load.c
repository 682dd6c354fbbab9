/* However a program gets at the driver, it meets the shim: linked directly, dlopen and dlsym, RTLD_DEEPBIND, dlmopen, after exec.
 * And what happens when something is not there. Each way is this program again, in a fresh process: load WAY. */
#include "in_slice.h"

#define QUOTA_SMALL (128 * MIB)

/* ---- the program in the slice; exit status: 0 as it should be, else the line ---- */

#define CHECK(what) do { if (!(what)) return __LINE__ & 0xff; } while (0)

static int from_library(void *pointer, const char *part)
{
    Dl_info info;
    return dladdr(pointer, &info) && strstr(info.dli_fname, part) != NULL;
}

typedef void *find_fn(void *library, const char *name);
static void *by_dlsym(void *library, const char *name) { return dlsym(library, name); }

static int is_enforced(void *library, find_fn *find)
{
    CUcontext made;
    CUdeviceptr pointer;
    size_t free_bytes, total;
    CHECK(from_library(find(library, "cuMemAlloc_v2"), folder));
    CHECK(from_library(find(library, "cuCtxGetDevice"), "/driver/"));
    CHECK(((fgcu_fn_cuInit)find(library, "cuInit"))(0) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuDevicePrimaryCtxRetain)find(library, "cuDevicePrimaryCtxRetain"))(&made, 0) == CUDA_SUCCESS);
    CHECK(((CUresult (*)(CUcontext))find(library, "cuCtxSetCurrent"))(made) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuMemGetInfo)find(library, "cuMemGetInfo_v2"))(&free_bytes, &total) == CUDA_SUCCESS && total == QUOTA_SMALL);
    CHECK(((fgcu_fn_cuMemAlloc)find(library, "cuMemAlloc_v2"))(&pointer, free_bytes + 1) == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(((fgcu_fn_cuMemAlloc)find(library, "cuMemAlloc_v2"))(&pointer, free_bytes) == CUDA_SUCCESS);
    return 0;
}

static int way_dlopen(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
    return is_enforced(library, by_dlsym);
}
static int way_deepbind(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_DEEPBIND);
    CHECK(library);
    return is_enforced(library, by_dlsym);
}
static int way_dlmopen(void)
{
    void *library = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
    CHECK(library);
    return is_enforced(library, by_dlsym);
}
static int way_global(void)
{
    CHECK(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL));
    return is_enforced(RTLD_DEFAULT, by_dlsym);
}
/* dlopen again by the name that the driver has itself: still the shim. */
static int way_twice(void)
{
    void *first = dlopen("libcuda.so.1", RTLD_NOW), *second = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    CHECK(first && first == second);
    return is_enforced(second, by_dlsym);
}
/* What this level does not stop: the driver by its own path is the driver. The agent's audit sees it. */
static int way_own_path(void)
{
    char path[600];
    CUcontext made;
    CUdeviceptr pointer;
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library);
    CHECK(((fgcu_fn_cuInit)dlsym(library, "cuInit"))(0) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuDevicePrimaryCtxRetain)dlsym(library, "cuDevicePrimaryCtxRetain"))(&made, 0) == CUDA_SUCCESS);
    CHECK(((CUresult (*)(CUcontext))dlsym(library, "cuCtxSetCurrent"))(made) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuMemAlloc)dlsym(library, "cuMemAlloc_v2"))(&pointer, 2 * QUOTA_SMALL) == CUDA_SUCCESS);
    return 0;
}

static int way_missing(void) /* as if there were no driver: the loader says which file */
{
    CHECK(!dlopen("libcuda.so.1", RTLD_NOW));
    CHECK(strstr(dlerror(), "driver/libcuda.so.1"));
    return 0;
}

static int way_no_lease(void) /* every call goes on, and cuGetProcAddress hands out the driver's own */
{
    CUdeviceptr pointer;
    void *named = NULL, *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
    CHECK(((fgcu_fn_cuInit)dlsym(library, "cuInit"))(0) == CUDA_SUCCESS);
    CUcontext made;
    CHECK(((fgcu_fn_cuDevicePrimaryCtxRetain)dlsym(library, "cuDevicePrimaryCtxRetain"))(&made, 0) == CUDA_SUCCESS);
    CHECK(((CUresult (*)(CUcontext))dlsym(library, "cuCtxSetCurrent"))(made) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuMemAlloc)dlsym(library, "cuMemAlloc_v2"))(&pointer, 2 * QUOTA_SMALL) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuGetProcAddress_v2)dlsym(library, "cuGetProcAddress_v2"))("cuLaunchKernel", &named, 13000, 0, NULL) == CUDA_SUCCESS);
    CHECK(from_library(named, "/driver/"));
    return 0;
}

static int way_refused(void) /* a lease that cannot be used: cuInit fails, and the error's text says why */
{
    const char *text = NULL;
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
    CHECK(((fgcu_fn_cuInit)dlsym(library, "cuInit"))(0) == CUDA_ERROR_SYSTEM_NOT_READY);
    CHECK(((fgcu_fn_cuGetErrorString)dlsym(library, "cuGetErrorString"))(CUDA_ERROR_SYSTEM_NOT_READY, &text) == CUDA_SUCCESS);
    CHECK(text && strstr(text, "lease"));
    return 0;
}

static int way_older(void) /* a driver of before some entry points: they say that they are not there, the rest works */
{
    void *pointer = NULL, *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
    CHECK(((fgcu_fn_cuInit)dlsym(library, "cuInit"))(0) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuGetProcAddress)dlsym(library, "cuGetProcAddress"))("cuMemAlloc", &pointer, 11030, 0) == CUDA_SUCCESS);
    CHECK(pointer == dlsym(library, "cuMemAlloc_v2"));
    CHECK(((fgcu_fn_cuGetProcAddress)dlsym(library, "cuGetProcAddress"))("cuLibraryLoadData", &pointer, 12000, 0) != CUDA_SUCCESS);
    return 0;
}

static int way_nvml(void) /* the first context is charged what NVML, beside the driver, saw it take */
{
    CUcontext made;
    size_t free_bytes, total;
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
    CHECK(((fgcu_fn_cuInit)dlsym(library, "cuInit"))(0) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuDevicePrimaryCtxRetain)dlsym(library, "cuDevicePrimaryCtxRetain"))(&made, 0) == CUDA_SUCCESS);
    CHECK(((CUresult (*)(CUcontext))dlsym(library, "cuCtxSetCurrent"))(made) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuMemGetInfo)dlsym(library, "cuMemGetInfo_v2"))(&free_bytes, &total) == CUDA_SUCCESS);
    CHECK(total == QUOTA_SMALL && free_bytes == QUOTA_SMALL - 64 * MIB);
    return 0;
}

static int way_lacking(void) /* a driver that does not export what came later */
{
    CUlibrary loaded;
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(library);
    CHECK(((fgcu_fn_cuInit)dlsym(library, "cuInit"))(0) == CUDA_SUCCESS);
    CHECK(((fgcu_fn_cuLibraryLoadData)dlsym(library, "cuLibraryLoadData"))(&loaded, "", NULL, NULL, 0, NULL, NULL, 0) == CUDA_ERROR_NOT_FOUND);
    return is_enforced(library, by_dlsym);
}

static const struct { const char *name; int (*run)(void); } ways[] = {
    {"dlopen", way_dlopen}, {"deepbind", way_deepbind}, {"dlmopen", way_dlmopen}, {"global", way_global},
    {"twice", way_twice}, {"own_path", way_own_path}, {"missing", way_missing}, {"no_lease", way_no_lease}, {"refused", way_refused},
    {"older", way_older}, {"nvml", way_nvml}, {"lacking", way_lacking},
};

/* ---- the test ---- */

static int run(const char *program, const char *way)
{
    int status = -1;
    pid_t child = fork();
    if (!child) {
        execl(program, program, way, folder, (char *)NULL);
        _exit(255);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    for (unsigned i = 0; i < 3000 && used(); i++) /* the reaper gives back what it held */
        usleep(10000);
    return WEXITSTATUS(status);
}

static int set_up(void **state)
{
    char path[600];
    if (open_lease(QUOTA_SMALL, 1000, FG_SHARE_WEIGHTED))
        return -1;
    make_folder(DRIVER);
    snprintf(path, sizeof path, "%s/world", folder);
    setenv("FGPU_FAKE_CUDA", path, 1);
    setenv("FGPU_FAKE_CUDA_SETUP", "devices=1 total=16G", 1);
    setenv("FGPU_CUDA_CONTEXT_BYTES", "67108864", 1);
    setenv("LD_LIBRARY_PATH", folder, 1);
    return 0;
}

/* The line in this file where a way went wrong, or 0. */
static int way(const char *name) { return run("/proc/self/exe", name); }

static void dlopen_and_dlsym_meet_the_shim(void **state) { assert_int_equal(way("dlopen"), 0); }
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define NOT_HERE() do { print_message("    skipped: a sanitizer cannot\n"); skip(); } while (0)
#else
#define NOT_HERE() do { } while (0)
#endif
static void rtld_deepbind_meets_the_shim(void **state) { NOT_HERE(); assert_int_equal(way("deepbind"), 0); }
static void another_link_namespace_meets_the_shim(void **state) { NOT_HERE(); assert_int_equal(way("dlmopen"), 0); }
static void the_global_scope_has_the_shim_first(void **state) { assert_int_equal(way("global"), 0); }
static void the_drivers_name_is_the_shims(void **state) { assert_int_equal(way("twice"), 0); }
static void a_program_linked_with_the_driver_meets_the_shim(void **state) { assert_int_equal(run(LINKED, "linked"), 0); }
static void the_driver_by_its_own_path_is_not_seen(void **state) { assert_int_equal(way("own_path"), 0); }

static void without_a_driver_the_library_does_not_load(void **state)
{
    char path[600], away[700];
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    snprintf(away, sizeof away, "%s.away", path);
    assert_int_equal(rename(path, away), 0);
    int line = way("missing");
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(line, 0);
}

static void without_a_lease_everything_is_the_drivers(void **state)
{
    unsetenv(FG_LEASE_ENV);
    int line = way("no_lease");
    setenv(FG_LEASE_ENV, lease_env, 1);
    assert_int_equal(line, 0);
}

static void a_lease_that_cannot_be_used_says_why(void **state)
{
    setenv(FG_LEASE_ENV, "/dev/null:/dev/null", 1);
    int line = way("refused");
    setenv(FG_LEASE_ENV, lease_env, 1);
    assert_int_equal(line, 0);
}

static void an_older_driver_works_with_what_it_has(void **state)
{
    char world[600];
    snprintf(world, sizeof world, "%s/old", folder);
    setenv("FGPU_FAKE_CUDA", world, 1);
    setenv("FGPU_FAKE_CUDA_SETUP", "devices=1 total=16G driver=11080", 1);
    int line = way("older");
    remove(world);
    snprintf(world, sizeof world, "%s/world", folder);
    setenv("FGPU_FAKE_CUDA", world, 1);
    assert_int_equal(line, 0);
}

static void the_first_context_is_charged_what_nvml_saw(void **state)
{
    char path[600];
    snprintf(path, sizeof path, "%s/driver/libnvidia-ml.so.1", folder);
    assert_int_equal(symlink(FAKE_NVML, path), 0);
    unsetenv("FGPU_CUDA_CONTEXT_BYTES");
    int line = way("nvml");
    setenv("FGPU_CUDA_CONTEXT_BYTES", "67108864", 1);
    remove(path);
    assert_int_equal(line, 0);
}

static void a_driver_without_later_functions_is_enforced_all_the_same(void **state)
{
    char path[600];
    snprintf(path, sizeof path, "%s/driver/libcuda.so.1", folder);
    remove(path);
    assert_int_equal(symlink(OLD_DRIVER, path), 0);
    int line = way("lacking");
    remove(path);
    assert_int_equal(symlink(DRIVER, path), 0);
    assert_int_equal(line, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        snprintf(folder, sizeof folder, "%s", argv[2]);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
            if (!strcmp(ways[i].name, argv[1]))
                return ways[i].run();
        return 254;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_linked_with_the_driver_meets_the_shim),
        cmocka_unit_test(dlopen_and_dlsym_meet_the_shim),
        cmocka_unit_test(rtld_deepbind_meets_the_shim),
        cmocka_unit_test(another_link_namespace_meets_the_shim),
        cmocka_unit_test(the_global_scope_has_the_shim_first),
        cmocka_unit_test(the_drivers_name_is_the_shims),
        cmocka_unit_test(the_driver_by_its_own_path_is_not_seen),
        cmocka_unit_test(without_a_driver_the_library_does_not_load),
        cmocka_unit_test(without_a_lease_everything_is_the_drivers),
        cmocka_unit_test(a_lease_that_cannot_be_used_says_why),
        cmocka_unit_test(an_older_driver_works_with_what_it_has),
        cmocka_unit_test(the_first_context_is_charged_what_nvml_saw),
        cmocka_unit_test(a_driver_without_later_functions_is_enforced_all_the_same),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
