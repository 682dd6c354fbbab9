/* in_slice.h - a test's process in a vGPU: a lease, the stand-in driver, and the shim before it in a folder as `fgpu slice` makes it.
 *
 *     FOLDER/libcuda.so.1          -> the shim
 *     FOLDER/driver/libcuda.so.1   -> the stand-in driver
 *
 * The driver's functions are called through what dlsym finds in the shim, as a program would. */
#pragma once
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shim/cuda/cuda_abi.h"
#include "cuda_table.h"
#include "fake_cuda.h"
#include "../in_lease.h"

#define QUOTA (512 * MIB)

#ifdef __SANITIZE_ADDRESS__
/* The stand-in keeps what handles point to, so that a use after the end is an error and no crash. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:/driver/libcuda.so.1\n"; }
#endif

static CUcontext context;

/* A driver function by its exported name; type: the row of api/cuda.toml. */
#define CU(export, type)  ((fgcu_fn_##type)symbol(#export))
#define assert_cu(call)   assert_int_equal((call), CUDA_SUCCESS)

static inline unsigned device_index(void) { return (unsigned)FAKE(fake_device_of)(0); }
static inline uint64_t truth(void) { return FAKE(fake_live)((uint32_t)getpid(), device_index(), FAKE_ALL); }

/* The vGPU's books say what the driver took. */
#define assert_true_books() assert_int_equal(used(), truth())

static inline void make_folder(const char *driver)
{
    unit_folder(folder, sizeof folder);
    link_to("driver", NULL);
    link_to("libcuda.so.1", SHIM);
    link_to("driver/libcuda.so.1", driver);
}

static inline void remove_folder(void)
{
    static const char *const names[] = {"driver/libcuda.so.1", "driver", "libcuda.so.1", "world", ""};
    char path[600];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
}

/* Load the shim in a folder that is there; setup: of the stand-in machine. */
static inline int load_folder(const char *setup)
{
    char path[600];
    snprintf(path, sizeof path, "%s/world", folder);
    setenv("FGPU_FAKE_CUDA", path, 1);
    setenv("FGPU_FAKE_CUDA_SETUP", setup, 1);
    setenv("FGPU_CUDA_CONTEXT_BYTES", "67108864", 0); /* as the stand-in has it; there is no NVML beside it here */
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    shim = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!shim)
        print_error("%s\n", dlerror());
    return shim ? 0 : -1;
}

static inline int load(const char *setup)
{
    make_folder(DRIVER);
    return load_folder(setup);
}

static inline int start(void)
{
    return CU(cuInit, cuInit)(0) || CU(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)(&context, 0) ||
           ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
}

static inline int end(void **state)
{
    fg_vgpu_server_destroy(server);
    remove_folder();
    return 0;
}
