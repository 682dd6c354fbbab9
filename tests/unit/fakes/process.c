/* process.c - several processes on one stand-in machine: truth, time slices, death, checkpoints, NVML. */
#include <poll.h>
#include <signal.h>

#include "fake_test.h"
#include "fgpu/nvml_abi.h"

static char world[64];

/* A world in a file, of this test alone. */
static void shared_world(const char *setup)
{
    snprintf(world, sizeof world, "/tmp/fake-cuda-test-%d", (int)getpid());
    unlink(world);
    setenv("FGPU_FAKE_CUDA", world, 1);
    setenv("FGPU_FAKE_CUDA_SETUP", setup, 1);
}

static int ready[2], go[2];
static pid_t child(void (*body)(void))
{
    CHECK(!pipe(ready) && !pipe(go));
    pid_t pid = fork();
    if (!pid) {
        close(ready[0]);
        close(go[1]);
        body();
        _exit(0);
    }
    close(ready[1]);
    close(go[0]);
    char c;
    CHECK(read(ready[0], &c, 1) == 1);
    return pid;
}

static void say_ready_and_wait(void)
{
    char c = 'r';
    CHECK(write(ready[1], &c, 1) == 1);
    CHECK(read(go[0], &c, 1) >= 0);
}

static void reap(pid_t pid, int want)
{
    int status;
    waitpid(pid, &status, 0);
    IS(status, want);
}

static void *nvml;

static void open_nvml(void)
{
    nvml = dlopen(getenv("FAKE_NVML_PATH") ? getenv("FAKE_NVML_PATH") : FAKE_NVML, RTLD_NOW);
    CHECK(nvml);
    IS(((NVML_FN_void *)dlsym(nvml, "nvmlInit_v2"))(), NVML_SUCCESS);
}
#define NVML(type, name) ((NVML_FN_##type *)dlsym(nvml, #name))

static nvmlDevice_t nvml_device(unsigned i)
{
    nvmlDevice_t device;
    IS(NVML(by_index, nvmlDeviceGetHandleByIndex_v2)(i, &device), NVML_SUCCESS);
    return device;
}

static void take_100_mib(void)
{
    use_device();
    CUdeviceptr p;
    OK(cu.cuMemAlloc_v2(&p, 100 * MIB));
    say_ready_and_wait();
}

static void spin_for_ever(void)
{
    use_device();
    use_kernels();
    for (int i = 0; i < 1000; i++)
        OK(launch_us(NULL, 132, 1000));
    say_ready_and_wait();
}

FAKE_TEST(memory_of_a_killed_process_is_free_again, "")
{
    shared_world("devices=1 total=256M context=8M");
    pid_t pid = child(take_100_mib);
    use_device();
    open_nvml();
    CUdeviceptr p;
    IS(fake.fake_live((uint32_t)pid, 0, FAKE_LINEAR), 100 * MIB);
    IS(cu.cuMemAlloc_v2(&p, 200 * MIB), CUDA_ERROR_OUT_OF_MEMORY);
    nvmlProcessInfo_t infos[8];
    unsigned n = 8;
    IS(NVML(processes, nvmlDeviceGetComputeRunningProcesses_v3)(nvml_device(0), &n, infos), NVML_SUCCESS);
    IS(n, 2);
    CHECK(infos[0].pid == (unsigned)pid && infos[0].usedGpuMemory == 108 * MIB);
    kill(pid, SIGKILL);
    reap(pid, SIGKILL);
    OK(cu.cuMemAlloc_v2(&p, 200 * MIB));
    IS(fake.fake_live((uint32_t)pid, 0, FAKE_ALL), 0);
    nvmlMemory_v2_t memory = {.version = nvmlMemory_v2};
    nvmlMemory_t v1;
    size_t free_bytes, total;
    IS(NVML(memory_v2, nvmlDeviceGetMemoryInfo_v2)(nvml_device(0), &memory), NVML_SUCCESS);
    IS(NVML(memory, nvmlDeviceGetMemoryInfo)(nvml_device(0), &v1), NVML_SUCCESS);
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    IS(memory.used, 208 * MIB);
    IS(v1.free, free_bytes);
    IS(memory.free, free_bytes);
    unlink(world);
}

FAKE_TEST(work_of_a_killed_process_ends, "")
{
    shared_world("devices=1");
    pid_t pid = child(spin_for_ever); /* a second of work */
    kill(pid, SIGKILL);
    reap(pid, SIGKILL);
    use_device();
    use_kernels();
    uint64_t start = fake.fake_now();
    OK(launch_us(NULL, 132, 20000));
    OK(cu.cuCtxSynchronize());
    CHECK(fake.fake_now() - start < 500000000u); /* not after the second of the dead */
    unlink(world);
}

static void use_all_for_ever(void)
{
    use_device();
    use_kernels();
    CUstream s;
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    char c = 'r';
    CHECK(write(ready[1], &c, 1) == 1);
    for (;;) {
        CUdeviceptr p = 0, q = 0;
        cu.cuMemAlloc_v2(&p, 3 * MIB);
        cu.cuMemAllocAsync(&q, MIB, s);
        launch_us(s, 132, 50);
        cu.cuMemsetD32Async(p, 1, 100, s);
        cu.cuMemFreeAsync(q, s);
        cu.cuStreamSynchronize(s);
        cu.cuMemFree_v2(p);
    }
}

static void neighbour(void)
{
    use_device();
    use_kernels();
    char c = 'r';
    CHECK(write(ready[1], &c, 1) == 1);
    struct pollfd asked = {.fd = go[0]};
    while (poll(&asked, 1, 0) == 0) {
        OK(launch_us(NULL, 132, 100));
        OK(cu.cuCtxSynchronize());
    }
    CUdeviceptr p;
    OK(cu.cuMemAlloc_v2(&p, 1016 * MIB)); /* all that there is */
    IS(cu.cuMemAlloc_v2(&p, 1), CUDA_ERROR_OUT_OF_MEMORY);
}

FAKE_TEST(a_hundred_kills_at_any_moment_leave_the_truth_and_the_neighbour_whole, "")
{
    shared_world("devices=1 total=1G context=8M module=0");
    pid_t other = child(neighbour);
    int end = go[1];
    for (unsigned i = 0; i < 100; i++) {
        pid_t pid = child(use_all_for_ever);
        usleep(i * 7919 % 3000);
        kill(pid, SIGKILL);
        reap(pid, SIGKILL);
        close(ready[0]);
        close(go[1]);
        IS(fake.fake_live(0, 0, FAKE_ALL), 8 * MIB);
    }
    close(end);
    reap(other, 0);
    unlink(world);
}

static void launch_100_ms(void)
{
    use_device();
    use_kernels();
    say_ready_and_wait();
    for (int i = 0; i < 10; i++)
        OK(launch_us(NULL, 132, 10000));
    say_ready_and_wait();
}

FAKE_TEST(two_processes_hold_the_device_in_turns_of_a_slice, "")
{
    shared_world("devices=1 virtual=1 slice_ns=2000000");
    pid_t pid = child(launch_100_ms);
    use_device();
    use_kernels();
    uint64_t start = fake.fake_now();
    CUevent a, b;
    OK(cu.cuEventCreate(&a, 0));
    OK(cu.cuEventCreate(&b, 0));
    char c = 'g';
    CHECK(write(go[1], &c, 1) == 1 && read(ready[0], &c, 1) == 1); /* the other's 100 ms are submitted */
    OK(cu.cuEventRecord(a, NULL));
    for (int i = 0; i < 5; i++)
        OK(launch_us(NULL, 132, 10000));
    OK(cu.cuEventRecord(b, NULL));
    OK(cu.cuEventSynchronize(b));
    float ms;
    OK(cu.cuEventElapsedTime(&ms, a, b));
    CHECK(ms > 97 && ms < 103); /* own 50 between the other's 50 */
    uint64_t other = fake.fake_busy_ns((uint32_t)pid, 0);
    CHECK(other >= 48000000 && other <= 52000000);
    IS(fake.fake_busy_ns((uint32_t)getpid(), 0), 50000000);
    CHECK(fake.fake_now() - start >= 100000000);
    close(go[1]);
    reap(pid, 0);
    unlink(world);
}

static void hold_and_use_again(void)
{
    use_device();
    CUdeviceptr p;
    OK(cu.cuMemAlloc_v2(&p, 100 * MIB));
    say_ready_and_wait();
    OK(cu.cuMemFree_v2(p)); /* waits until unlocked */
    IS(fake.fake_live(0, 0, FAKE_LINEAR), 0);
}

FAKE_TEST(a_checkpointed_process_holds_nothing_and_comes_back, "")
{
    shared_world("devices=1 total=256M context=8M");
    pid_t pid = child(hold_and_use_again);
    use_device();
    CUprocessState state;
    CUdeviceptr p;
    IS(cu.cuCheckpointProcessCheckpoint(pid, NULL), CUDA_ERROR_ILLEGAL_STATE);
    OK(cu.cuCheckpointProcessLock(pid, NULL));
    OK(cu.cuCheckpointProcessCheckpoint(pid, NULL));
    OK(cu.cuCheckpointProcessGetState(pid, &state));
    IS(state, CU_PROCESS_STATE_CHECKPOINTED);
    IS(fake.fake_live((uint32_t)pid, 0, FAKE_ALL), 0);
    OK(cu.cuMemAlloc_v2(&p, 200 * MIB));
    IS(cu.cuCheckpointProcessRestore(pid, NULL), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemFree_v2(p));
    OK(cu.cuCheckpointProcessRestore(pid, NULL));
    IS(fake.fake_live((uint32_t)pid, 0, FAKE_ALL), 108 * MIB);
    close(go[1]);
    usleep(20000);
    IS(fake.fake_live((uint32_t)pid, 0, FAKE_LINEAR), 100 * MIB); /* still locked */
    OK(cu.cuCheckpointProcessUnlock(pid, NULL));
    reap(pid, 0);
    unlink(world);
}

static void hold_managed(void)
{
    use_device();
    CUdeviceptr p;
    OK(cu.cuMemAllocManaged(&p, MIB, CU_MEM_ATTACH_GLOBAL));
    say_ready_and_wait();
}

FAKE_TEST(managed_memory_refuses_a_checkpoint, "")
{
    shared_world("devices=1");
    pid_t pid = child(hold_managed);
    OK(cu.cuInit(0));
    OK(cu.cuCheckpointProcessLock(pid, NULL));
    IS(cu.cuCheckpointProcessCheckpoint(pid, NULL), CUDA_ERROR_NOT_SUPPORTED);
    OK(cu.cuCheckpointProcessUnlock(pid, NULL));
    close(go[1]);
    reap(pid, 0);
    unlink(world);
}

FAKE_TEST(a_checkpoint_that_fails_ends_the_process, "")
{
    shared_world("devices=1");
    pid_t pid = child(hold_and_use_again);
    CUprocessState state;
    OK(cu.cuInit(0));
    IS(fake.fake_set("checkpoint_fails=1"), 0);
    OK(cu.cuCheckpointProcessLock(pid, NULL));
    IS(cu.cuCheckpointProcessCheckpoint(pid, NULL), CUDA_ERROR_UNKNOWN);
    OK(cu.cuCheckpointProcessGetState(pid, &state));
    IS(state, CU_PROCESS_STATE_FAILED);
    close(go[1]);
    reap(pid, 1 << 8); /* its next call says so */
    unlink(world);
}

FAKE_TEST(orders_of_devices_differ_and_names_find_them, "")
{
    shared_world("devices=3 cuda=2,0,1 0.total=8G 1.total=16G 2.total=24G 2.mig=2");
    OK(cu.cuInit(0));
    open_nvml();
    size_t total;
    char bus[32], uuid[64];
    CUuuid id;
    nvmlDevice_t device, instance;
    nvmlMemory_t memory;
    OK(cu.cuDeviceTotalMem_v2(&total, 0));
    IS(total, 24576 * MIB);
    IS(fake.fake_device_of(0), 2);
    OK(cu.cuDeviceGetPCIBusId(bus, sizeof bus, 0));
    IS(NVML(by_text, nvmlDeviceGetHandleByPciBusId_v2)(bus, &device), NVML_SUCCESS);
    IS(NVML(memory, nvmlDeviceGetMemoryInfo)(device, &memory), NVML_SUCCESS);
    IS(memory.total, 24576 * MIB);
    CHECK(device == nvml_device(2));
    OK(cu.cuDeviceGetUuid_v2(&id, 0));
    IS(NVML(device_text, nvmlDeviceGetUUID)(device, uuid, sizeof uuid), NVML_SUCCESS);
    CHECK((unsigned char)id.bytes[0] == strtoul((char[3]){uuid[4], uuid[5]}, NULL, 16));
    IS(NVML(by_text, nvmlDeviceGetHandleByUUID)(uuid, &instance), NVML_SUCCESS);
    CHECK(instance == device);
    unsigned mode, pending;
    IS(NVML(device_2uints, nvmlDeviceGetMigMode)(device, &mode, &pending), NVML_SUCCESS);
    IS(mode, 1);
    IS(NVML(device_child, nvmlDeviceGetMigDeviceHandleByIndex)(device, 1, &instance), NVML_SUCCESS);
    IS(NVML(memory, nvmlDeviceGetMemoryInfo)(instance, &memory), NVML_SUCCESS);
    IS(memory.total, 12288 * MIB);
    IS(NVML(device_child, nvmlDeviceGetMigDeviceHandleByIndex)(device, 2, &instance), NVML_ERROR_NOT_FOUND);
    unlink(world);
}

FAKE_TEST(visible_devices_are_those_named_up_to_the_first_unknown, "devices=4 cuda=3,2,1,0")
{
    setenv("CUDA_VISIBLE_DEVICES", "2,GPU-ec,9,0", 1); /* ordinal 2: device 1; the UUID that begins so: device 3 */
    int n;
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&n));
    IS(n, 2);
    IS(fake.fake_device_of(0), 1);
    IS(fake.fake_device_of(1), 3);
    CUdevice dev;
    IS(cu.cuDeviceGet(&dev, 2), CUDA_ERROR_INVALID_DEVICE);
}

FAKE_TEST(the_kernels_limit_stops_a_cgroup_from_driver_615_on, "")
{
    shared_world("devices=1 nvml=615 context=0");
    setenv("FGPU_FAKE_CGROUP", "/fgpu/task1", 1);
    use_device();
    open_nvml();
    CUdeviceptr p;
    nvmlSetMemoryLimits_v1_t set = {"/fgpu/task1", 0, 10 * MIB};
    nvmlGetMemoryLimits_v1_t get = {.nameSpace = "/fgpu/task1"};
    IS(NVML(set_limits, nvmlDeviceSetMemoryLimits_v1)(nvml_device(0), &set), NVML_SUCCESS);
    OK(cu.cuMemAlloc_v2(&p, 10 * MIB));
    IS(cu.cuMemAlloc_v2(&p, 1), CUDA_ERROR_OUT_OF_MEMORY);
    IS(NVML(get_limits, nvmlDeviceGetMemoryLimits_v1)(nvml_device(0), &get), NVML_SUCCESS);
    IS(get.currentUsed, 10 * MIB);
    set.hardLimit = NVML_DEVICE_MEMORY_LIMIT_MAX;
    IS(NVML(set_limits, nvmlDeviceSetMemoryLimits_v1)(nvml_device(0), &set), NVML_SUCCESS);
    OK(cu.cuMemAlloc_v2(&p, 1));
    fake.fake_set("nvml=610");
    IS(NVML(set_limits, nvmlDeviceSetMemoryLimits_v1)(nvml_device(0), &set), NVML_ERROR_FUNCTION_NOT_FOUND);
    unlink(world);
}

FAKE_TEST(nvml_shows_load_energy_and_errors, "")
{
    shared_world("devices=1 virtual=1 window_ns=100000000");
    use_device();
    use_kernels();
    open_nvml();
    nvmlDevice_t device = nvml_device(0);
    nvmlUtilization_t use;
    nvmlProcessUtilizationSample_t samples[4];
    unsigned n = 4;
    unsigned long long before, after;
    IS(NVML(utilization, nvmlDeviceGetUtilizationRates)(device, &use), NVML_SUCCESS);
    NVML(process_samples, nvmlDeviceGetProcessUtilization)(device, samples, &n, 0);
    IS(NVML(device_ull, nvmlDeviceGetTotalEnergyConsumption)(device, &before), NVML_SUCCESS);
    OK(launch_us(NULL, 66, 300000)); /* 2 of 4 slots for 300 ms */
    OK(cu.cuCtxSynchronize());
    fake.fake_pass(100000000);
    IS(NVML(utilization, nvmlDeviceGetUtilizationRates)(device, &use), NVML_SUCCESS);
    IS(use.gpu, 75);
    n = 4;
    IS(NVML(process_samples, nvmlDeviceGetProcessUtilization)(device, samples, &n, 0), NVML_SUCCESS);
    IS(n, 1);
    IS(samples[0].smUtil, 37);
    IS(NVML(device_ull, nvmlDeviceGetTotalEnergyConsumption)(device, &after), NVML_SUCCESS);
    IS(after - before, 28000 + 120000); /* 70 W x 0.4 s + 400 W x 0.3 s, mJ */
    nvmlEventSet_t set;
    nvmlEventData_t event;
    IS(NVML(event_create, nvmlEventSetCreate)(&set), NVML_SUCCESS);
    IS(NVML(event_register, nvmlDeviceRegisterEvents)(device, nvmlEventTypeXidCriticalError, set), NVML_SUCCESS);
    IS(NVML(event_wait, nvmlEventSetWait_v2)(set, &event, 1), NVML_ERROR_TIMEOUT);
    fake.fake_xid(0, 79);
    IS(NVML(event_wait, nvmlEventSetWait_v2)(set, &event, 1), NVML_SUCCESS);
    IS(event.eventData, 79);
    unlink(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_a_killed_process_is_free_again), cmocka_unit_test(work_of_a_killed_process_ends),
        cmocka_unit_test(a_hundred_kills_at_any_moment_leave_the_truth_and_the_neighbour_whole),
        cmocka_unit_test(two_processes_hold_the_device_in_turns_of_a_slice), cmocka_unit_test(a_checkpointed_process_holds_nothing_and_comes_back),
        cmocka_unit_test(managed_memory_refuses_a_checkpoint), cmocka_unit_test(a_checkpoint_that_fails_ends_the_process),
        cmocka_unit_test(orders_of_devices_differ_and_names_find_them), cmocka_unit_test(visible_devices_are_those_named_up_to_the_first_unknown),
        cmocka_unit_test(the_kernels_limit_stops_a_cgroup_from_driver_615_on), cmocka_unit_test(nvml_shows_load_energy_and_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
