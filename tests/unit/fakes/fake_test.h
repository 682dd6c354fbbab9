/* fake_test.h - each test runs in a process of its own with a fresh stand-in machine: CUDA's state is the process's. */
#pragma once
#include <sys/wait.h>

#include "unit.h"

#define CU_TABLE
#include "../../gpu/driver.h"
#include "../../fakes/cuda/fake_cuda.h"

#define MIB ((size_t)1 << 20)
#define CHECK(what) do { if (!(what)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); _exit(1); } } while (0)
#define IS(got, want) do { long long got_ = (long long)(got), want_ = (long long)(want); if (got_ != want_) { \
    fprintf(stderr, "%s:%d: %s is %lld (%s), not %lld\n", __FILE__, __LINE__, #got, got_, cu_name((CUresult)got_), want_); _exit(1); } } while (0)
#define OK(call) IS(call, CUDA_SUCCESS)

#define FAKE_FUNCTIONS(F) \
    F(uint64_t, fake_live, (uint32_t pid, unsigned device, int kind)) F(uint64_t, fake_count, (uint32_t pid, unsigned device, int kind)) \
    F(uint64_t, fake_peak, (uint32_t pid, unsigned device)) F(uint64_t, fake_free, (unsigned device)) F(uint64_t, fake_calls, (uint32_t pid, const char *name)) \
    F(int, fake_fail, (const char *name, unsigned nth, unsigned times, int code)) F(uint64_t, fake_now, (void)) F(void, fake_pass, (uint64_t ns)) \
    F(uint64_t, fake_busy_ns, (uint32_t pid, unsigned device)) F(uint64_t, fake_jobs_done, (uint32_t pid, unsigned device)) F(int, fake_kernel, (const char *name, uint64_t ns)) \
    F(int, fake_set, (const char *setting)) F(int, fake_device_of, (int ordinal)) F(void, fake_xid, (unsigned device, uint32_t xid)) F(int, fake_modelled, (const char *name))
#define FAKE_MEMBER(type, name, params) type (*name) params;
static struct { FAKE_FUNCTIONS(FAKE_MEMBER) } fake;

/* One module of the kernels that tests use: an image that is no PTX has every function. */
static CUcontext ctx __attribute__((unused));
static CUfunction spin __attribute__((unused));

static void load_fake(void)
{
    CHECK(!cu_load(getenv("FAKE_PATH") ? getenv("FAKE_PATH") : FAKE_CUDA));
#define FAKE_FIND(type, name, params) *(void **)&fake.name = dlsym(cu.library, #name);
    FAKE_FUNCTIONS(FAKE_FIND)
}

/* Initialise and make device 0's primary context current. */
static inline void use_device(void)
{
    OK(cu.cuInit(0));
    OK(cu.cuDevicePrimaryCtxRetain(&ctx, 0));
    OK(cu.cuCtxSetCurrent(ctx));
}

static inline void use_kernels(void)
{
    CUmodule module;
    OK(cu.cuModuleLoadData(&module, "kernels"));
    OK(cu.cuModuleGetFunction(&spin, module, "spin_us"));
}

static inline CUresult launch_us(CUstream stream, unsigned grid, unsigned us)
{
    void *params[] = {&us};
    return cu.cuLaunchKernel(spin, grid, 1, 1, 128, 1, 1, 0, stream, params, NULL);
}

static inline void in_process(const char *setup, void (*body)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        setenv("FGPU_FAKE_CUDA_SETUP", setup, 1);
        alarm(100);
        load_fake();
        body();
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* A test: NAME is the claim, SETUP the machine. The body follows. */
#define FAKE_TEST(name, setup) \
    static void name##_body(void); \
    static void name(void **state) { in_process(setup, name##_body); } \
    static void name##_body(void)
