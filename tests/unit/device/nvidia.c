/* NVIDIA's devices by a stand-in of their management library: what is there, how it is, who uses it. */
#include "unit.h"

#include <dlfcn.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "device/nvml.h"
#include "fgpu/device.h"

static char folder[200];

/* Each in a process of its own with a fresh stand-in machine. */
static void on_machine(const char *setup, void (*body)(void))
{
    char world[260];
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(world, sizeof world, "%s/world-%d", folder, (int)getpid());
        setenv("FGPU_FAKE_CUDA", world, 1);
        setenv("FGPU_FAKE_CUDA_SETUP", setup, 1);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static struct fg_nvml *nvml;
static struct fg_nvml_gpu gpus[FG_NVML_GPUS];
static size_t count;

static void look(void)
{
    struct fg_error err = {0};
    if (!nvml)
        assert_ok(fg_nvml_open(&nvml, FAKE_NVML, &err), err);
    assert_ok(fg_nvml_gpus(nvml, gpus, FG_NVML_GPUS, &count, &err), err);
}

/* Of the stand-in driver beside it, in the same machine. */
static void *driver_function(const char *name)
{
    void *driver = dlopen(FAKE_CUDA, RTLD_NOW), *f = driver ? dlsym(driver, name) : NULL;
    if (!f)
        fail_msg("no %s: %s", name, dlerror());
    return f;
}

static void set(const char *setting)
{
    int (*fake_set)(const char *);
    *(void **)&fake_set = driver_function("fake_set");
    assert_int_equal(fake_set(setting), 0);
}

static void lists(void)
{
    look();
    assert_int_equal(count, 2);
    assert_has(gpus[0].uuid, "GPU-");
    assert_true(strcmp(gpus[0].uuid, gpus[1].uuid) != 0);
    assert_int_equal(gpus[0].total_bytes, UINT64_C(8) << 30);
    assert_int_equal(gpus[1].total_bytes, UINT64_C(16) << 30);
    assert_false(gpus[0].lost || gpus[0].mig || gpus[0].cut);
    assert_true(fg_nvml_driver_major(nvml) >= 570);
    FG_AUTO_FREE char *beside = fg_nvml_library(nvml, "libnvidia-ml.so.1"), *nowhere = fg_nvml_library(nvml, "libnothing.so.1");
    assert_non_null(beside);
    assert_null(nowhere);
}
static void devices_are_listed_with_their_memory(void **state) { on_machine("devices=2 0.total=8G 1.total=16G driver=13000", lists); }

static void is_cut(void)
{
    look();
    assert_int_equal(count, 3);              /* the GPU and its two instances */
    assert_true(gpus[0].cut);
    assert_true(gpus[1].mig && gpus[2].mig);
    assert_has(gpus[1].uuid, "MIG-");
    assert_true(gpus[1].total_bytes < gpus[0].total_bytes);
    assert_string_equal(gpus[1].pci, gpus[0].pci);
}
static void instances_of_a_cut_device_follow_it(void **state) { on_machine("devices=1 0.total=16G 0.mig=2", is_cut); }

static void health(void)
{
    struct fg_nvml_fault fault;
    void (*fake_xid)(unsigned, uint32_t);
    look();
    assert_int_equal(gpus[0].throttle & 0x40, 0);
    set("0.throttle=64");
    set("0.ecc=3");
    look();
    assert_int_equal(gpus[0].throttle, 64);
    assert_int_equal(gpus[0].ecc_uncorrected, 3);
    assert_false(fg_nvml_fault(nvml, &fault));
    *(void **)&fake_xid = driver_function("fake_xid");
    fake_xid(0, 79);
    assert_true(fg_nvml_fault(nvml, &fault));
    assert_int_equal(fault.xid, 79);
    assert_string_equal(fault.uuid, gpus[0].uuid);
    assert_false(fg_nvml_fault(nvml, &fault));
}
static void heat_memory_errors_and_faults_are_seen(void **state) { on_machine("devices=1 0.total=8G", health); }

static void sees_who(void)
{
    struct fg_nvml_process list[8];
    struct fg_error err = {0};
    size_t n = 9;
    look();
    assert_ok(fg_nvml_processes(nvml, gpus[0].uuid, list, 8, &n, &err), err);
    assert_int_equal(n, 0);
    int (*init)(unsigned), (*retain)(void **, int), (*current)(void *), (*alloc)(unsigned long long *, size_t);
    *(void **)&init = driver_function("cuInit");
    *(void **)&retain = driver_function("cuDevicePrimaryCtxRetain");
    *(void **)&current = driver_function("cuCtxSetCurrent");
    *(void **)&alloc = driver_function("cuMemAlloc_v2");
    void *context;
    unsigned long long pointer;
    assert_int_equal(init(0) + retain(&context, 0) + current(context) + alloc(&pointer, 32 << 20), 0);
    assert_ok(fg_nvml_processes(nvml, gpus[0].uuid, list, 8, &n, &err), err);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].pid, getpid());
    assert_int_equal(list[0].used_bytes, (32 + 64) << 20); /* what it asked for, and its context */
    assert_fails(fg_nvml_processes(nvml, "GPU-nobody", list, 8, &n, &err), err, FG_E_NOT_FOUND);
}
static void who_holds_memory_is_told_with_the_contexts_own(void **state) { on_machine("devices=1 0.total=8G context=64M", sees_who); }

static void limits(void)
{
    struct fg_error err = {0};
    look();
    assert_true(fg_nvml_can_limit(nvml));
    assert_ok(fg_nvml_limit(nvml, gpus[0].uuid, "/fgpu/t1", 1 << 30, &err), err);
}
static void a_new_driver_keeps_limits(void **state) { on_machine("devices=1 driver=13000 nvml=615", limits); }

static void no_limits(void)
{
    struct fg_error err = {0};
    look();
    assert_fails(fg_nvml_limit(nvml, gpus[0].uuid, "/fgpu/t1", 1 << 30, &err), err, FG_E_UNSUPPORTED);
}
static void an_older_driver_says_that_it_keeps_none(void **state) { on_machine("devices=1 driver=12040 nvml=550", no_limits); }

static void a_machine_without_the_driver_says_so(void **state)
{
    struct fg_nvml *none;
    struct fg_error err = {0};
    assert_fails(fg_nvml_open(&none, "/nowhere/libnvidia-ml.so.1", &err), err, FG_E_UNSUPPORTED);
    assert_has(err.text, "no NVIDIA driver");
}

static int set_up(void **state)
{
    unit_folder(folder, sizeof folder);
    return 0;
}

static int tear_down(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_listed_with_their_memory),
        cmocka_unit_test(instances_of_a_cut_device_follow_it),
        cmocka_unit_test(heat_memory_errors_and_faults_are_seen),
        cmocka_unit_test(who_holds_memory_is_told_with_the_contexts_own),
        cmocka_unit_test(a_new_driver_keeps_limits),
        cmocka_unit_test(an_older_driver_says_that_it_keeps_none),
        cmocka_unit_test(a_machine_without_the_driver_says_so),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
