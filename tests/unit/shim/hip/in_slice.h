/* in_slice.h - a test's process in a vGPU of an AMD device: a lease, and the front end before a libamdhip64 in a folder as the
 * backend makes it. Functions are called through what dlsym finds in the front end, as a program would.
 *
 *     FOLDER/libamdhip64.so.N          -> the front end
 *     FOLDER/driver/libamdhip64.so.N   -> the stand-in, or the real one */
#pragma once
#include <sys/stat.h>
#include <sys/wait.h>

#include "shim/hip/hip_abi.h"
#include "cuda_table.h"
#include "fake_hip.h"
#include "../in_lease.h"

#define QUOTA (256 * MIB)

#ifdef __SANITIZE_ADDRESS__
/* The real library keeps what it loads; the stand-in its streams. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libamdhip64\nleak:libhsa\nleak:/driver/\n"; }
#endif

static void *behind;              /* what dlopen gave for the library behind the front end */

/* A function by its exported name; type: the row of api/hip.toml. */
#define HIP(export, type) ((fgcu_fn_##type)symbol(#export))
#define assert_hip(call)  assert_int_equal((call), CUDA_SUCCESS)

/* The vGPU's books say what the library took. */
#define assert_true_books() assert_int_equal(used(), FAKE(fake_hip_live)())

static inline void *open_in(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    void *made = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!made)
        print_error("%s\n", dlerror());
    return made;
}

/* name: libamdhip64.so.N; with front_end NULL there is none. */
static inline int load(const char *name, const char *front_end, const char *library)
{
    char below[64];
    unit_folder(folder, sizeof folder);
    snprintf(below, sizeof below, "driver/%s", name);
    link_to("driver", NULL);
    link_to(name, front_end);
    link_to(below, library);
    shim = open_in(name);
    behind = open_in(below);
    return shim && behind ? 0 : -1;
}

static inline void remove_folder(void)
{
    static const char *const names[] = {"driver/libamdhip64.so.5", "driver/libamdhip64.so.6", "driver", "libamdhip64.so.5", "libamdhip64.so.6", ""};
    char path[600];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
}

static inline int end(void **state)
{
    fg_vgpu_server_destroy(server);
    remove_folder();
    return 0;
}
