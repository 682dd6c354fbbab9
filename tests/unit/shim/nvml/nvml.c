/* The management library's front end over a stand-in driver with two devices: a task sees its slice, and nothing else.
 * A task is this program started anew with the name of what it does: the arbiter has threads here, so that a process that is only
 * forked could find the allocator's locks taken by one of them, for ever. */
#include "unit.h"

#include <dlfcn.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fgpu/nvml_abi.h"
#include "vgpu/ledger.h"
#include "vgpu/server.h"

#define MIB   (UINT64_C(1) << 20)
#define QUOTA (256 * MIB)

#define CALLS(X) \
    X(nvmlInit_v2, void) X(nvmlShutdown, void) X(nvmlDeviceGetCount_v2, count) X(nvmlDeviceGetCount, count) \
    X(nvmlDeviceGetHandleByIndex_v2, by_index) X(nvmlDeviceGetHandleByUUID, by_text) X(nvmlDeviceGetHandleByPciBusId_v2, by_text) \
    X(nvmlDeviceGetHandleBySerial, by_text) X(nvmlDeviceGetUUID, device_text) X(nvmlDeviceGetIndex, device_uint) \
    X(nvmlDeviceGetSerial, device_text) X(nvmlDeviceGetPciInfo_v3, pci) X(nvmlDeviceGetMemoryInfo, memory) \
    X(nvmlDeviceGetMemoryInfo_v2, memory_v2) X(nvmlDeviceGetComputeRunningProcesses_v3, processes) \
    X(nvmlDeviceGetComputeRunningProcesses, processes_v1) X(nvmlDeviceGetGraphicsRunningProcesses_v3, processes) \
    X(nvmlDeviceGetUtilizationRates, utilization) X(nvmlDeviceGetProcessUtilization, process_samples) X(nvmlDeviceGetName, device_text)
static struct {
    void *library;
#define MEMBER(name, type) NVML_FN_##type *name;
    CALLS(MEMBER)
} nvml;

static char folder[200], uuids[2][96], pci[2][32];
static struct fg_vgpu_server *server;

static void load(const char *path)
{
    nvml.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!nvml.library)
        fail_msg("%s", dlerror());
#define FIND(name, type) \
    if (!(*(void **)&nvml.name = dlsym(nvml.library, #name))) \
        fail_msg("no %s in %s", #name, path);
    CALLS(FIND)
}

/* Run body in a process of its own, as a task's would be, with the front end loaded; lease NULL: without one. */
static void in_task(const char *lease, const char *body)
{
    char *argv[] = {"task", (char *)body, folder, NULL};
    pid_t pid;
    int status;
    if (lease)
        setenv("FGPU_LEASE", lease, 1);
    else
        unsetenv("FGPU_LEASE");
    fflush(NULL);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void learn(void)
{
    char path[300];
    snprintf(path, sizeof path, "%s/learnt", folder);
    FILE *out = fopen(path, "w");
    for (unsigned i = 0; i < 2; i++) {
        nvmlDevice_t device;
        nvmlPciInfo_t info;
        char uuid[96];
        assert_int_equal(nvml.nvmlDeviceGetHandleByIndex_v2(i, &device), NVML_SUCCESS);
        assert_int_equal(nvml.nvmlDeviceGetUUID(device, uuid, sizeof uuid), NVML_SUCCESS);
        assert_int_equal(nvml.nvmlDeviceGetPciInfo_v3(device, &info), NVML_SUCCESS);
        fprintf(out, "%s %s\n", uuid, info.busId);
    }
    fclose(out);
}

/* The devices' names, as a task without a lease wrote them. */
static void read_learnt(void)
{
    char path[300];
    snprintf(path, sizeof path, "%s/learnt", folder);
    FILE *in = fopen(path, "r");
    if (!in)
        return;                              /* it is about to learn them */
    assert_int_equal(fscanf(in, "%95s %31s %95s %31s", uuids[0], pci[0], uuids[1], pci[1]), 4);
    fclose(in);
}

static int set_up(void **state)
{
    char path[300], target[300];
    struct fg_error err = {0};
    unit_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/driver", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(target, sizeof target, "%s/driver/libnvidia-ml.so.1", folder);
    assert_int_equal(symlink(FAKE_NVML, target), 0);
    snprintf(target, sizeof target, "%s/libnvidia-ml.so.1", folder);
    assert_int_equal(symlink(NVML_SHIM, target), 0);
    snprintf(path, sizeof path, "%s/world", folder);
    setenv("FGPU_FAKE_CUDA", path, 1);
    setenv("FGPU_FAKE_CUDA_SETUP", "devices=2 0.total=8G 1.total=16G", 1);
    in_task(NULL, "learn");
    read_learnt();
    assert_true(*uuids[1]);
    assert_ok(fg_vgpu_server_create(&server, &(struct fg_vgpu_server_config){0}, &err), err);
    assert_ok(fg_vgpu_server_device(server, uuids[1], UINT64_C(16) << 30, &err), err);
    return 0;
}

static int tear_down(void **state)
{
    char command[300];
    fg_vgpu_server_destroy(server);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* With a lease of a quarter of the second device. */
static void in_slice(const char *body)
{
    struct fg_error err = {0};
    char env[256], id[64];
    struct fg_lease_spec spec = {.memory_bytes = QUOTA, .share_permille = 250};
    snprintf(spec.device, sizeof spec.device, "%.63s", uuids[1]);
    assert_ok(fg_vgpu_server_open(server, &spec, id, &err), err);
    assert_ok(fg_vgpu_server_env(server, id, env, sizeof env, &err), err);
    in_task(env, body);
    assert_ok(fg_vgpu_server_close(server, id, &err), err);
}

/* What a driver's front end in the same process would do. */
static struct fg_lease lease;
static struct fg_ledger ledger;
static void use(uint64_t bytes)
{
    assert_int_equal(fg_lease_attach(&lease, NULL), FG_LEASE_OK);
    fg_ledger_init(&ledger, &lease);
    assert_int_equal(fg_ledger_reserve(&ledger, bytes), FG_LEDGER_OK);
    assert_int_equal(fg_ledger_settle(&ledger, bytes, &(struct fg_record){.key = 1, .bytes = bytes}), FG_LEDGER_OK);
}

static nvmlDevice_t the_device(void)
{
    nvmlDevice_t device;
    assert_int_equal(nvml.nvmlDeviceGetHandleByIndex_v2(0, &device), NVML_SUCCESS);
    return device;
}

static void sees_all(void)
{
    unsigned count = 0;
    nvmlMemory_t memory;
    assert_int_equal(nvml.nvmlDeviceGetCount_v2(&count), NVML_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(nvml.nvmlDeviceGetMemoryInfo(the_device(), &memory), NVML_SUCCESS);
    assert_int_equal(memory.total, UINT64_C(8) << 30);
}
static void without_a_lease_all_is_the_drivers(void **state) { in_task(NULL, "sees_all"); }

static void finds_it(void)
{
    unsigned count = 0, index = 9;
    nvmlDevice_t device, other;
    char uuid[96], serial[40];
    assert_int_equal(nvml.nvmlDeviceGetCount_v2(&count), NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_int_equal(nvml.nvmlDeviceGetCount(&count), NVML_SUCCESS);
    assert_int_equal(count, 1);
    device = the_device();
    assert_int_equal(nvml.nvmlDeviceGetUUID(device, uuid, sizeof uuid), NVML_SUCCESS);
    assert_string_equal(uuid, uuids[1]);
    assert_int_equal(nvml.nvmlDeviceGetIndex(device, &index), NVML_SUCCESS);
    assert_int_equal(index, 0);
    assert_int_equal(nvml.nvmlDeviceGetHandleByIndex_v2(1, &other), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvml.nvmlDeviceGetHandleByUUID(uuids[1], &other), NVML_SUCCESS);
    assert_ptr_equal(other, device);
    assert_int_equal(nvml.nvmlDeviceGetHandleByUUID(uuids[0], &other), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvml.nvmlDeviceGetHandleByPciBusId_v2(pci[1], &other), NVML_SUCCESS);
    assert_ptr_equal(other, device);
    assert_int_equal(nvml.nvmlDeviceGetHandleByPciBusId_v2(pci[0], &other), NVML_ERROR_NOT_FOUND);
    if (nvml.nvmlDeviceGetSerial(device, serial, sizeof serial) == NVML_SUCCESS)
        assert_int_equal(nvml.nvmlDeviceGetHandleBySerial(serial, &other), NVML_SUCCESS);
}
static void the_leases_device_is_the_only_one_by_every_name(void **state) { in_slice("finds_it"); }

static void sees_quota(void)
{
    nvmlMemory_t v1;
    nvmlMemory_v2_t v2 = {.version = nvmlMemory_v2};
    nvmlDevice_t device = the_device();
    use(100 * MIB);
    assert_int_equal(nvml.nvmlDeviceGetMemoryInfo(device, &v1), NVML_SUCCESS);
    assert_int_equal(v1.total, QUOTA);
    assert_int_equal(v1.used, 100 * MIB);
    assert_int_equal(v1.free, 156 * MIB);
    assert_int_equal(nvml.nvmlDeviceGetMemoryInfo_v2(device, &v2), NVML_SUCCESS);
    assert_int_equal(v2.total, QUOTA);
    assert_int_equal(v2.used, v1.used);
    assert_int_equal(v2.free, v1.free);
    assert_int_equal(v2.reserved, 0);
    v2.version = 7;
    assert_int_equal(nvml.nvmlDeviceGetMemoryInfo_v2(device, &v2), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
}
static void memory_is_the_quota_and_its_use_in_both_versions(void **state) { in_slice("sees_quota"); }

static void sees_processes(void)
{
    nvmlProcessInfo_t infos[4];
    nvmlProcessInfo_v1_t old[4];
    nvmlDevice_t device = the_device();
    unsigned count = 4;
    assert_int_equal(nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos), NVML_SUCCESS);
    assert_int_equal(count, 0);              /* who only looks is none */
    int ready[2], go[2];
    assert_int_equal(pipe(ready) + pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        use(7 * MIB);
        assert_int_equal(write(ready[1], "x", 1), 1);
        _exit(read(go[0], &c, 1) != 1);
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    count = 0;
    assert_int_equal(nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, &count, NULL), NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 1);
    count = 4;
    assert_int_equal(nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos), NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_int_equal(infos[0].pid, child);
    assert_int_equal(infos[0].usedGpuMemory, 7 * MIB);
    assert_int_equal(infos[0].gpuInstanceId, NVML_NO_INSTANCE);
    use(100 * MIB);
    count = 4;
    assert_int_equal(nvml.nvmlDeviceGetComputeRunningProcesses(device, &count, old), NVML_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(old[0].usedGpuMemory + old[1].usedGpuMemory, 107 * MIB);
    count = 4;
    assert_int_equal(nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(device, &count, infos), NVML_SUCCESS);
    assert_int_equal(count, 0);
    assert_int_equal(write(go[1], "x", 1), 1);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}
static void processes_are_the_vgpus_own_with_what_each_holds(void **state) { in_slice("sees_processes"); }

/* 40 ms of device time in each 160 ms is all of a share of 25 %; half of that is half. */
static void sees_use(void)
{
    nvmlUtilization_t use_now;
    nvmlProcessUtilizationSample_t samples[4];
    unsigned count = 4;
    nvmlDevice_t device = the_device();
    assert_int_equal(nvml.nvmlDeviceGetProcessUtilization(device, samples, &count, 0), NVML_ERROR_NOT_FOUND);
    use(MIB);
    assert_int_equal(nvml.nvmlDeviceGetUtilizationRates(device, &use_now), NVML_SUCCESS);
    uint64_t before = (uint64_t)fg_boot_ns();
    usleep(200000);
    uint64_t span = (uint64_t)fg_boot_ns() - before;
    fg_add(&lease.slot->device_ns, span / 8);
    fg_add(&lease.slot->settled, 1);
    assert_int_equal(nvml.nvmlDeviceGetUtilizationRates(device, &use_now), NVML_SUCCESS);
    assert_in_range(use_now.gpu, 1, 60);     /* below a half when the machine dawdled between the two clocks */
    count = 4;
    assert_int_equal(nvml.nvmlDeviceGetProcessUtilization(device, samples, &count, 0), NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_int_equal(samples[0].pid, getpid());
    fg_add(&lease.slot->device_ns, UINT64_C(1000000000000));
    usleep(100000);
    assert_int_equal(nvml.nvmlDeviceGetUtilizationRates(device, &use_now), NVML_SUCCESS);
    assert_int_equal(use_now.gpu, 100);      /* more than its share: it was lent */
}
static void use_is_of_the_share_and_never_above_it(void **state) { in_slice("sees_use"); }

static void passes(void)
{
    char name[96];
    nvmlReturn_t (*accounting)(nvmlDevice_t, unsigned *, unsigned *);
    unsigned count = 0, pids[4];
    assert_int_equal(nvml.nvmlDeviceGetName(the_device(), name, sizeof name), NVML_SUCCESS);
    Dl_info info;
    assert_true(dladdr((void *)nvml.nvmlDeviceGetName, &info) != 0);
    assert_has(info.dli_fname, "driver/");   /* the driver's own, nothing of ours in between */
    *(void **)&accounting = dlsym(nvml.library, "nvmlDeviceGetAccountingPids");
    assert_int_equal(accounting(the_device(), &count, pids), NVML_ERROR_NOT_SUPPORTED);
}
static void what_is_not_wrapped_is_the_drivers_and_others_are_not_told_of(void **state) { in_slice("passes"); }

static void is_refused(void) { assert_int_equal(nvml.nvmlInit_v2(), NVML_ERROR_NO_PERMISSION); }
static void a_spoilt_lease_begins_nothing(void **state) { in_task("/dev/null:/dev/null", "is_refused"); }

/* The task: argv[1] is a body's name, argv[2] the folder. */
static int be_task(char **argv)
{
    static const struct { const char *name; void (*body)(void); } bodies[] = {
#define BODY(name) {#name, name}
        BODY(learn), BODY(sees_all), BODY(finds_it), BODY(sees_quota), BODY(sees_processes), BODY(sees_use), BODY(passes), BODY(is_refused),
    };
    char path[300];
    snprintf(folder, sizeof folder, "%s", argv[2]);
    read_learnt();
    snprintf(path, sizeof path, "%s/libnvidia-ml.so.1", folder);
    load(path);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        if (strcmp(bodies[i].name, argv[1]) != 0)
            continue;
        if (bodies[i].body != is_refused)
            assert_int_equal(nvml.nvmlInit_v2(), NVML_SUCCESS);
        bodies[i].body();
        _exit(0);                            /* the library and what it holds go with the process */
    }
    fprintf(stderr, "there is no task '%s'\n", argv[1]);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return be_task(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_lease_all_is_the_drivers),
        cmocka_unit_test(the_leases_device_is_the_only_one_by_every_name),
        cmocka_unit_test(memory_is_the_quota_and_its_use_in_both_versions),
        cmocka_unit_test(processes_are_the_vgpus_own_with_what_each_holds),
        cmocka_unit_test(use_is_of_the_share_and_never_above_it),
        cmocka_unit_test(what_is_not_wrapped_is_the_drivers_and_others_are_not_told_of),
        cmocka_unit_test(a_spoilt_lease_begins_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
