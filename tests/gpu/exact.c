/* exact.c - does every way to get device memory stop where memory ends?
 *
 * Each way takes chunks until the driver says out of memory. What was granted must not exceed what cuMemGetInfo called free
 * before, and must come within one chunk (and what the driver rounds) of it; after all is freed, all is free again. In a vGPU
 * "free" is the quota's rest; on a bare device the device's. Prints a row for each way; exits 1 if any is wrong.
 * With --nvml, at the most that each way took, what is used in the vGPU is compared with what the driver's NVML counts for this process.
 * usage: exact [--driver PATH] [--device N] [--chunk MIB] [--slack MIB] [--quota MIB: expected total] [--nvml PATH] */
#define CU_TABLE
#include <unistd.h>

#include "common.h"
#include "fgpu/nvml_abi.h"

#define MIB ((size_t)1 << 20)
enum { MOST = 4096 };
static size_t chunk, slack;
static int device;
static const char *nvml_path;
static uint64_t things[MOST];
static CUmemoryPool pool;
static CUgraphExec execs[MOST];

static CUresult take_linear(uint64_t *ret) { return cu.cuMemAlloc_v2((CUdeviceptr *)ret, chunk); }
static CUresult give_linear(uint64_t thing) { return cu.cuMemFree_v2(thing); }
static CUresult take_pitch(uint64_t *ret) { size_t pitch; return cu.cuMemAllocPitch_v2((CUdeviceptr *)ret, &pitch, MIB, chunk / MIB, 4); }
static CUresult take_managed(uint64_t *ret) { return cu.cuMemAllocManaged((CUdeviceptr *)ret, chunk, CU_MEM_ATTACH_GLOBAL); }
static CUresult take_async(uint64_t *ret) { return cu.cuMemAllocAsync((CUdeviceptr *)ret, chunk, NULL); }
static CUresult give_async(uint64_t thing) { return cu.cuMemFreeAsync(thing, NULL); }

static CUresult take_pool(uint64_t *ret)
{
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
    CUresult r = pool ? CUDA_SUCCESS : cu.cuMemPoolCreate(&pool, &props);
    return r ? r : cu.cuMemAllocFromPoolAsync((CUdeviceptr *)ret, chunk, pool, NULL);
}

static CUresult take_created(uint64_t *ret)
{
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
    return cu.cuMemCreate((CUmemGenericAllocationHandle *)ret, chunk, &prop, 0);
}
static CUresult give_created(uint64_t thing) { return cu.cuMemRelease(thing); }

/* layers of 2 MiB */
static CUDA_ARRAY3D_DESCRIPTOR box(void) { return (CUDA_ARRAY3D_DESCRIPTOR){1024, 512, chunk / (2 * MIB), CU_AD_FORMAT_FLOAT, 1, 0}; }
static CUresult take_array(uint64_t *ret)
{
    CUDA_ARRAY_DESCRIPTOR flat = {16384, chunk / (64 << 10), CU_AD_FORMAT_FLOAT, 1};
    return cu.cuArrayCreate_v2((CUarray *)ret, &flat);
}
static CUresult take_array3d(uint64_t *ret) { CUDA_ARRAY3D_DESCRIPTOR desc = box(); return cu.cuArray3DCreate_v2((CUarray *)ret, &desc); }
static CUresult give_array(uint64_t thing) { return cu.cuArrayDestroy((CUarray)(uintptr_t)thing); }
static CUresult take_mipmap(uint64_t *ret) { CUDA_ARRAY3D_DESCRIPTOR desc = box(); return cu.cuMipmappedArrayCreate((CUmipmappedArray *)ret, &desc, 1); }
static CUresult give_mipmap(uint64_t thing) { return cu.cuMipmappedArrayDestroy((CUmipmappedArray)(uintptr_t)thing); }

/* A graph of one alloc node that nothing frees: each launch of a new one takes a chunk. */
static CUresult take_graph(uint64_t *ret)
{
    static unsigned n;
    CUgraph graph;
    CUgraphNode node;
    CUDA_MEM_ALLOC_NODE_PARAMS params = {.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}},
                                         .bytesize = chunk};
    CUresult r = cu.cuGraphCreate(&graph, 0);
    r = r ? r : cu.cuGraphAddMemAllocNode(&node, graph, NULL, 0, &params);
    r = r ? r : cu.cuGraphInstantiateWithFlags(&execs[n % MOST], graph, 0);
    r = r ? r : cu.cuGraphLaunch(execs[n++ % MOST], NULL);
    *ret = params.dptr;
    return r;
}

static const struct way { const char *name; CUresult (*take)(uint64_t *); CUresult (*give)(uint64_t); int bare_overcommits; } ways[] = {
    {"cuMemAlloc", take_linear, give_linear, 0},
    {"cuMemAllocPitch", take_pitch, give_linear, 0},
    {"cuMemAllocManaged", take_managed, give_linear, 1},
    {"cuMemAllocAsync", take_async, give_async, 0},
    {"cuMemAllocFromPoolAsync", take_pool, give_async, 0},
    {"cuMemCreate", take_created, give_created, 0},
    {"cuArrayCreate", take_array, give_array, 0},
    {"cuArray3DCreate", take_array3d, give_array, 0},
    {"cuMipmappedArrayCreate", take_mipmap, give_mipmap, 0},
    {"graph alloc node", take_graph, give_linear, 0},
};

static size_t free_now(void)
{
    size_t free_bytes = 0, total = 0;
    DO(cu.cuCtxSynchronize());
    DO(cu.cuMemGetInfo_v2(&free_bytes, &total));
    return free_bytes;
}

static void give_back_reserves(void)
{
    CUmemoryPool current;
    DO(cu.cuCtxSynchronize());
    if (cu.cuDeviceGetDefaultMemPool && !cu.cuDeviceGetDefaultMemPool(&current, device))
        cu.cuMemPoolTrimTo(current, 0);
    if (pool)
        cu.cuMemPoolDestroy(pool);
    pool = NULL;
    if (cu.cuDeviceGraphMemTrim)
        cu.cuDeviceGraphMemTrim(device);
}

/* What NVML counts for this process, by a library of this path. Negative: it does not tell, and *why says so. */
static long long counted_by_nvml(const char *path, const char **why)
{
    static void *library;
    static nvmlProcessInfo_t list[1024];
    char uuid[48];
    CUuuid id;
    nvmlDevice_t handle;
    unsigned n = sizeof list / sizeof *list;
    NVML_FN_void *init;
    NVML_FN_by_text *by_uuid;
    NVML_FN_processes *processes;
    library = library ? library : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    *(void **)&init = library ? dlsym(library, "nvmlInit_v2") : NULL;
    *(void **)&by_uuid = library ? dlsym(library, "nvmlDeviceGetHandleByUUID") : NULL;
    *(void **)&processes = library ? dlsym(library, "nvmlDeviceGetComputeRunningProcesses_v3") : NULL;
    *why = "there is no NVML of this driver that lists processes";
    if (!init || !by_uuid || !processes || init() != NVML_SUCCESS)
        return -1;
    DO((cu.cuDeviceGetUuid_v2 ? cu.cuDeviceGetUuid_v2 : cu.cuDeviceGetUuid)(&id, device));
    int at = snprintf(uuid, sizeof uuid, "GPU-");
    for (int i = 0; i < 16; i++)
        at += snprintf(uuid + at, sizeof uuid - (size_t)at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", (unsigned char)id.bytes[i]);
    *why = "NVML does not list this process (another pid namespace?)";
    if (by_uuid(uuid, &handle) != NVML_SUCCESS || processes(handle, &n, list) != NVML_SUCCESS)
        return -1;
    for (unsigned i = 0; i < n && i < sizeof list / sizeof *list; i++)
        if (list[i].pid == (unsigned)getpid() && list[i].usedGpuMemory != (unsigned long long)-1)
            return (long long)list[i].usedGpuMemory;
    return -1;
}

/* Compare at this moment. 1: more than the slack apart. */
static int compare(const struct way *way)
{
    const char *why;
    size_t free_bytes, total;
    DO(cu.cuMemGetInfo_v2(&free_bytes, &total));
    if (way->bare_overcommits) /* what is not on the device now is in nobody's count but ours */
        return 0;
    long long theirs = counted_by_nvml(nvml_path, &why), ours = (long long)(total - free_bytes), apart = ours - theirs;
    if (theirs < 0)
        return printf("NVML %-24s skipped: %s\n", way->name, why), 0;
    int wrong = apart > (long long)slack || -apart > (long long)slack;
    printf("NVML %-24s ours %lld MiB, the driver's %lld MiB%s\n", way->name, ours >> 20, theirs >> 20, wrong ? "  APART" : "");
    return wrong;
}

/* Returns 0 right, 1 wrong, 2 not there. */
static int try(const struct way *way, int in_slice)
{
    size_t before = free_now(), most = before / chunk + 8, n = 0;
    CUresult r = CUDA_SUCCESS;
    while (n < most && n < MOST && !(r = way->take(&things[n])))
        n++;
    size_t granted = n * chunk;
    const char *verdict = "exact";
    int wrong = 0;
    if (!n && r != CUDA_ERROR_OUT_OF_MEMORY) {
        printf("%-26s %10s %10s  %s\n", way->name, "-", "-", cu_name(r));
        return 2;
    }
    if (!r && way->bare_overcommits && !in_slice)
        verdict = "not limited (by design, outside a vGPU)";
    else if (r != CUDA_ERROR_OUT_OF_MEMORY)
        wrong = 1, verdict = r ? cu_name(r) : "NOT STOPPED";
    else if (granted > before)
        wrong = 1, verdict = "TOO MUCH";
    else if (granted + chunk + slack < before)
        wrong = 1, verdict = "TOO LITTLE";
    if (*nvml_path && n && compare(way))
        wrong = 1, verdict = "NOT WHAT NVML COUNTS";
    for (size_t i = 0; i < n; i++)
        DO(way->give(things[i]));
    give_back_reserves();
    size_t after = free_now();
    if (!wrong && after + slack < before)
        wrong = 1, verdict = "NOT ALL GIVEN BACK";
    printf("%-26s %10zu %10zu  %s\n", way->name, before / MIB, granted / MIB, verdict);
    return wrong;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    nvml_path = option(argc, argv, "--nvml", "");
    device = atoi(option(argc, argv, "--device", "0"));
    slack = strtoull(option(argc, argv, "--slack", "34"), NULL, 10) * MIB;
    size_t quota = strtoull(option(argc, argv, "--quota", "0"), NULL, 10) * MIB, free_bytes, total;
    DO(cu.cuMemGetInfo_v2(&free_bytes, &total));
    chunk = strtoull(option(argc, argv, "--chunk", "0"), NULL, 10) * MIB;
    if (!chunk)
        chunk = free_bytes / 64 / (2 * MIB) * (2 * MIB);
    if (chunk < 2 * MIB)
        chunk = 2 * MIB;
    int wrong = 0, right = 0;
    if (quota && total != quota) {
        printf("cuMemGetInfo says %zu MiB in all, not %zu\n", total / MIB, quota / MIB);
        wrong++;
    }
    printf("%-26s %10s %10s  (MiB, chunks of %zu)\n", "way", "free", "granted", chunk / MIB);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int r = try(&ways[i], quota != 0);
        wrong += r == 1;
        right += r == 0;
    }
    printf("%d exact, %d wrong, %d not in this driver\n", right, wrong, (int)(sizeof ways / sizeof *ways) - right - wrong);
    return wrong ? 1 : 0;
}
