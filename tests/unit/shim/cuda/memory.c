/* The CUDA shim's memory over the stand-in driver: each entry point is granted to the quota and not beyond, with the size that the
 * driver took, and credited on every way that the memory goes. The stand-in takes 64 MiB for a context, 2 MiB for a module,
 * 512-byte granules for linear memory, 2 MiB for physical memory, and grows pools by 32 MiB. */
#include <pthread.h>

#include "ways.h"

static int set_up(void **state) { return open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("devices=2 total=16G") || start() ? -1 : 0; }

static CUdevice other_device;

static void check_way(const struct way *way)
{
    struct thing all = {0}, more = {0};
    uint64_t before = used();
    assert_true_books();
    set_quota(before + 96 * MIB); /* a multiple of every step */
    assert_int_equal(way->make(97 * MIB, &more), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(used(), before);
    assert_cu(way->make(96 * MIB, &all));
    assert_int_equal(used(), before + 96 * MIB);
    assert_true_books();
    assert_int_equal(way->make(way->step, &more), CUDA_ERROR_OUT_OF_MEMORY);
    assert_true_books();
    assert_cu(way->end(&all));
    assert_int_equal(used(), before);
    assert_true_books();
    assert_cu(way->make(96 * MIB - way->step, &all)); /* and one step smaller leaves one step */
    assert_int_equal(used(), before + 96 * MIB - way->step);
    assert_cu(way->make(way->step, &more));
    assert_int_equal(used(), before + 96 * MIB);
    assert_true_books();
    assert_cu(way->end(&more));
    assert_cu(way->end(&all));
    assert_int_equal(used(), before);
    set_quota(QUOTA);
}

static void every_way_is_granted_to_the_quota_and_not_beyond(void **state)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        print_message("    %s\n", ways[i].name);
        check_way(&ways[i]);
    }
}

static void a_failed_call_of_the_driver_costs_nothing(void **state)
{
    static const char *const names[] = {"cuMemAlloc_v2", "cuMemAllocPitch_v2", "cuMemAllocManaged", "cuMemCreate", "cuArrayCreate_v2",
                                        "cuArray3DCreate_v2", "cuMipmappedArrayCreate"};
    static make_fn *const calls[] = {alloc_linear, alloc_pitched, alloc_managed, create_physical, create_array, create_array_3d,
                                     create_mipmap};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct thing thing;
        uint64_t before = used();
        unsigned nth = i < 5 ? 1 : 2; /* the first call asks what it would take */
        assert_int_equal(FAKE(fake_fail)(names[i], nth, 1, 999), 0);
        assert_int_equal(calls[i](4 * MIB, &thing), 999);
        assert_int_equal(used(), before);
    }
}

static void a_free_that_the_driver_refuses_stays_charged(void **state)
{
    struct thing thing;
    uint64_t before = used();
    assert_cu(alloc_linear(MIB, &thing));
    assert_int_equal(FAKE(fake_fail)("cuMemFree_v2", 1, 1, 700), 0);
    assert_int_equal(free_linear(&thing), 700);
    assert_int_equal(used(), before + MIB);
    assert_cu(free_linear(&thing));
    assert_int_equal(used(), before);
    assert_int_equal(free_linear(&thing), CUDA_ERROR_INVALID_VALUE); /* the driver's own answer */
    assert_int_equal(used(), before);
}

static void linear_memory_freed_in_stream_order_is_credited_when_the_stream_got_there(void **state)
{
    struct thing thing;
    uint64_t before = used();
    assert_cu(alloc_linear(8 * MIB, &thing));
    assert_cu(CU(cuMemFreeAsync, cuMemFreeAsync)(thing.pointer, NULL));
    assert_cu(sync_context());
    assert_int_equal(used(), before);
    assert_true_books();
}

static void physical_memory_lives_while_a_handle_or_a_mapping_does(void **state)
{
    CUmemGenericAllocationHandle handle, again;
    CUdeviceptr at;
    uint64_t before = used();
    CUresult (*reserve)(CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long) = symbol("cuMemAddressReserve");
    CUresult (*unreserve)(CUdeviceptr, size_t) = symbol("cuMemAddressFree");
    assert_cu(CU(cuMemCreate, cuMemCreate)(&handle, 4 * MIB, &physical, 0));
    assert_cu(reserve(&at, 4 * MIB, 0, 0, 0));
    assert_cu(CU(cuMemMap, cuMemMap)(at, 4 * MIB, 0, handle, 0));
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before + 4 * MIB); /* mapped still */
    assert_true_books();
    assert_cu(CU(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle)(&again, (void *)(uintptr_t)at));
    assert_cu(CU(cuMemUnmap, cuMemUnmap)(at, 4 * MIB));
    assert_int_equal(used(), before + 4 * MIB); /* retained still */
    assert_true_books();
    assert_cu(CU(cuMemRelease, cuMemRelease)(again));
    assert_int_equal(used(), before);
    assert_true_books();
    assert_cu(unreserve(at, 4 * MIB));
}

static void imported_memory_is_charged_to_its_creator_once(void **state)
{
    CUmemGenericAllocationHandle handle;
    uint64_t before = used();
    int fd = -1, status;
    CUresult (*export)(void *, CUmemGenericAllocationHandle, int, unsigned long long) = symbol("cuMemExportToShareableHandle");
    assert_cu(CU(cuMemCreate, cuMemCreate)(&handle, 8 * MIB, &physical, 0));
    assert_cu(export(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    CUmemGenericAllocationHandle same = 0;
    assert_cu(CU(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle)(&same, (void *)(intptr_t)fd, 1));
    assert_int_equal(used(), before + 8 * MIB);
    assert_cu(CU(cuMemRelease, cuMemRelease)(same));
    assert_int_equal(used(), before + 8 * MIB);
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before);
    (void)status;
    close(fd);
}

static void a_multicast_object_holds_no_memory_that_is_not_charged(void **state)
{
    CUmemGenericAllocationHandle multicast = 0;
    CUmulticastObjectProp prop = {.numDevices = 1, .size = 2 * MIB};
    CUresult (*create)(CUmemGenericAllocationHandle *, const CUmulticastObjectProp *) = symbol("cuMulticastCreate");
    uint64_t before = used();
    if (create(&multicast, &prop) != CUDA_SUCCESS)
        skip();
    assert_int_equal(used(), before);
    CU(cuMemRelease, cuMemRelease)(multicast);
    assert_int_equal(used(), before);
}

static void arrays_without_memory_of_their_own_cost_nothing(void **state)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {.Width = 4096, .Height = 4096, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 4,
                                 .Flags = CUDA_ARRAY3D_SPARSE};
    CUarray array;
    uint64_t before = used();
    assert_cu(CU(cuArray3DCreate_v2, cuArray3DCreate)(&array, &d));
    assert_int_equal(used(), before);
    assert_true_books();
    assert_cu(CU(cuArrayDestroy, cuArrayDestroy)(array));
    assert_int_equal(used(), before);
}

static void a_destroyed_pool_is_charged_until_its_last_allocation_is_freed(void **state)
{
    CUmemoryPool own;
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    struct thing thing;
    uint64_t before = used();
    assert_cu(CU(cuMemPoolCreate, cuMemPoolCreate)(&own, &props));
    assert_cu(CU(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync)(&thing.pointer, MIB, own, NULL));
    assert_int_equal(used(), before + 32 * MIB);
    assert_cu(CU(cuMemPoolDestroy, cuMemPoolDestroy)(own));
    assert_true_books();
    assert_cu(free_async(&thing));
    assert_int_equal(used(), before);
    assert_true_books();
}

static void what_a_pool_keeps_is_charged_and_let_go_for_a_request_that_needs_it(void **state)
{
    CUmemoryPool current;
    uint64_t most = UINT64_C(1) << 40, before = used();
    struct thing thing;
    CUresult (*get)(CUmemoryPool *, CUdevice) = symbol("cuDeviceGetMemPool");
    CUresult (*set)(CUmemoryPool, CUmemPool_attribute, void *) = symbol("cuMemPoolSetAttribute");
    assert_cu(get(&current, 0));
    assert_cu(set(current, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &most));
    assert_cu(alloc_async(64 * MIB, &thing));
    assert_cu(free_async(&thing));
    assert_int_equal(used(), before + 64 * MIB);
    assert_true_books();
    set_quota(before + 96 * MIB);
    assert_cu(alloc_linear(80 * MIB, &thing)); /* fits only without what the pool kept */
    assert_int_equal(used(), before + 80 * MIB);
    assert_true_books();
    assert_cu(free_linear(&thing));
    most = 0;
    assert_cu(set(current, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &most));
    set_quota(QUOTA);
}

static CUresult graph_with_memory(uint64_t bytes, CUgraph *graph, CUgraphExec *exec)
{
    CUresult (*create)(CUgraph *, unsigned) = symbol("cuGraphCreate");
    CUresult (*add)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUDA_MEM_ALLOC_NODE_PARAMS *) = symbol("cuGraphAddMemAllocNode");
    CUresult (*release)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUdeviceptr) = symbol("cuGraphAddMemFreeNode");
    CUDA_MEM_ALLOC_NODE_PARAMS params = {.bytesize = bytes};
    params.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    params.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    CUgraphNode made, freed;
    assert_cu(create(graph, 0));
    assert_cu(add(&made, *graph, NULL, 0, &params));
    assert_cu(release(&freed, *graph, &made, 1, params.dptr));
    return CU(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags)(exec, *graph, 0);
}

static void graph_memory_is_charged_when_the_driver_reserves_it(void **state)
{
    CUgraph graph, large;
    CUgraphExec exec, too_large = NULL;
    CUresult (*destroy)(CUgraph) = symbol("cuGraphDestroy");
    uint64_t before = used();
    set_quota(before + 96 * MIB);
    assert_cu(graph_with_memory(64 * MIB, &graph, &exec));
    assert_true_books();
    assert_cu(CU(cuGraphLaunch, cuGraphLaunch)(exec, NULL));
    assert_cu(sync_context());
    assert_int_equal(used(), before + 64 * MIB);
    assert_true_books();
    CUresult result = graph_with_memory(128 * MIB, &large, &too_large);
    if (result == CUDA_SUCCESS)
        result = CU(cuGraphLaunch, cuGraphLaunch)(too_large, NULL);
    assert_int_equal(result, CUDA_ERROR_OUT_OF_MEMORY);
    assert_true_books();
    if (too_large)
        assert_cu(CU(cuGraphExecDestroy, cuGraphExecDestroy)(too_large));
    assert_cu(CU(cuGraphExecDestroy, cuGraphExecDestroy)(exec));
    assert_cu(destroy(graph));
    assert_cu(destroy(large));
    assert_cu(CU(cuDeviceGraphMemTrim, cuDeviceGraphMemTrim)(0));
    assert_int_equal(used(), before);
    assert_true_books();
    set_quota(QUOTA);
}

static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry spin_us(.param .u32 us)\n{\n ret;\n}\n";

static void a_module_is_charged_what_it_takes(void **state)
{
    CUmodule module;
    uint64_t before = used();
    assert_cu(CU(cuModuleLoadData, cuModuleLoadData)(&module, ptx));
    assert_true(used() > before);
    assert_true_books();
    assert_cu(CU(cuModuleUnload, cuModuleUnload)(module));
    assert_int_equal(used(), before);
    assert_true_books();
    set_quota(before + MIB);
    assert_int_equal(CU(cuModuleLoadData, cuModuleLoadData)(&module, ptx), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(used(), before);
    assert_true_books();
    set_quota(QUOTA);
}

static void a_raised_limit_is_charged_and_a_lowered_one_credited(void **state)
{
    uint64_t before = used();
    assert_cu(CU(cuCtxSetLimit, cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, 64 * MIB));
    assert_true(used() > before);
    assert_true_books();
    assert_cu(CU(cuCtxSetLimit, cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, 8 * MIB));
    assert_int_equal(used(), before);
    assert_true_books();
}

static void what_a_context_holds_dies_with_it(void **state)
{
    CUcontext own;
    struct thing things[4];
    uint64_t before = used();
    assert_cu(CU(cuCtxCreate_v2, cuCtxCreate)(&own, 0, 0));
    assert_int_equal(used(), before + 64 * MIB);
    assert_cu(alloc_linear(MIB, &things[0]));
    assert_cu(alloc_pitched(MIB, &things[1]));
    assert_cu(alloc_managed(MIB, &things[2]));
    assert_cu(create_array(MIB, &things[3]));
    assert_true_books();
    assert_cu(CU(cuCtxDestroy_v2, cuCtxDestroy)(own));
    assert_int_equal(used(), before);
    assert_true_books();
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
}

static void the_second_device_is_of_the_same_lease(void **state)
{
    CUcontext second;
    struct thing thing;
    uint64_t before = used();
    other_device = 1;
    assert_cu(CU(cuCtxCreate_v2, cuCtxCreate)(&second, 0, other_device));
    assert_cu(alloc_linear(2 * MIB, &thing));
    assert_true(used() >= before + 2 * MIB);
    assert_cu(CU(cuCtxDestroy_v2, cuCtxDestroy)(second));
    assert_int_equal(used(), before);
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
}

static void every_view_is_the_quota(void **state)
{
    size_t free_bytes = 0, total = 0;
    unsigned old_free, old_total;
    struct thing thing;
    assert_cu(CU(cuDeviceTotalMem_v2, cuDeviceTotalMem)(&total, 0));
    assert_int_equal(total, QUOTA);
    if (FAKE(fake_modelled)("cuDeviceTotalMem")) {
        assert_cu(CU(cuDeviceTotalMem, cuDeviceTotalMem_v1)(&old_total, 0));
        assert_int_equal(old_total, QUOTA);
    }
    assert_cu(alloc_linear(3 * MIB, &thing));
    assert_cu(CU(cuMemGetInfo_v2, cuMemGetInfo)(&free_bytes, &total));
    assert_int_equal(total, QUOTA);
    assert_int_equal(free_bytes, QUOTA - used());
    assert_cu(CU(cuMemGetInfo, cuMemGetInfo_v1)(&old_free, &old_total));
    assert_int_equal(old_free, free_bytes);
    assert_cu(CU(cuMemGetInfo_v2, cuMemGetInfo)(NULL, NULL));
    assert_cu(free_linear(&thing));
}

static void memory_of_another_interface_is_charged_to_who_imports_it(void **state)
{
    CUDA_EXTERNAL_MEMORY_HANDLE_DESC d = {.type = 1, .handle.fd = open("/dev/null", O_RDWR), .size = 4 * MIB};
    CUexternalMemory memory;
    uint64_t before = used();
    if (CU(cuImportExternalMemory, cuImportExternalMemory)(&memory, &d) != CUDA_SUCCESS)
        skip();
    assert_int_equal(used(), before + 4 * MIB);
    assert_cu(CU(cuDestroyExternalMemory, cuDestroyExternalMemory)(memory));
    assert_int_equal(used(), before);
}

static void *busy_thread(void *seed)
{
    uint64_t state = (uintptr_t)seed * 0x9e3779b97f4a7c15u;
    struct thing held[16] = {0};
    const struct way *how[16] = {0};
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
    for (unsigned i = 0; i < 1500; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        unsigned place = state >> 60, way = (unsigned)(state >> 40) % (sizeof ways / sizeof *ways);
        if (how[place]) {
            how[place]->end(&held[place]);
            how[place] = NULL;
        } else if (ways[way].make(((state >> 20 & 7) + 1) * MIB * 2, &held[place]) == CUDA_SUCCESS) {
            how[place] = &ways[way];
        }
    }
    for (unsigned place = 0; place < 16; place++)
        if (how[place])
            how[place]->end(&held[place]);
    return NULL;
}

/* Four threads, every kind of memory, a quota that is often not enough. */
static void threads_together_neither_lose_nor_find_memory(void **state)
{
    pthread_t threads[4];
    uint64_t before = used();
    set_quota(before + 200 * MIB);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, busy_thread, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_cu(sync_context());
    assert_cu(CU(cuMemPoolTrimTo, cuMemPoolTrimTo)(pool, 0));
    assert_int_equal(used(), before);
    assert_true_books();
    set_quota(QUOTA);
}

/* After the reset: the process has no context any more. */
static void the_last_release_of_the_primary_context_gives_all_back(void **state)
{
    CUresult (*state_of)(CUdevice, unsigned *, int *) = symbol("cuDevicePrimaryCtxGetState");
    struct thing thing;
    unsigned flags;
    int active = 1;
    assert_cu(CU(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)(&context, 0));
    ((CUresult (*)(CUcontext))symbol("cuCtxSetCurrent"))(context);
    assert_cu(alloc_linear(MIB, &thing));
    assert_cu(CU(cuMemsetD8Async, cuMemsetD8Async)(thing.pointer, 0, MIB, NULL));
    assert_true_books();
    for (unsigned i = 0; i < 4 && active; i++) {
        assert_cu(CU(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease)(0));
        assert_true_books();
        assert_cu(state_of(0, &flags, &active));
    }
    assert_false(active);
    assert_int_equal(used(), 0);
    assert_int_equal(stats().inflight, 0);
}

/* The primary context is gone after it. */
static void a_reset_of_the_primary_context_gives_all_back(void **state)
{
    struct thing thing;
    assert_cu(alloc_linear(5 * MIB, &thing));
    assert_cu(create_array(MIB, &thing));
    assert_true(used() > 64 * MIB);
    assert_cu(CU(cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset)(0));
    assert_true_books();
}

static void the_context_is_charged_what_it_takes(void **state)
{
    assert_int_equal(used(), 64 * MIB);
    assert_true_books();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_context_is_charged_what_it_takes),
        cmocka_unit_test(every_way_is_granted_to_the_quota_and_not_beyond),
        cmocka_unit_test(a_failed_call_of_the_driver_costs_nothing),
        cmocka_unit_test(a_free_that_the_driver_refuses_stays_charged),
        cmocka_unit_test(linear_memory_freed_in_stream_order_is_credited_when_the_stream_got_there),
        cmocka_unit_test(physical_memory_lives_while_a_handle_or_a_mapping_does),
        cmocka_unit_test(imported_memory_is_charged_to_its_creator_once),
        cmocka_unit_test(a_multicast_object_holds_no_memory_that_is_not_charged),
        cmocka_unit_test(arrays_without_memory_of_their_own_cost_nothing),
        cmocka_unit_test(a_destroyed_pool_is_charged_until_its_last_allocation_is_freed),
        cmocka_unit_test(what_a_pool_keeps_is_charged_and_let_go_for_a_request_that_needs_it),
        cmocka_unit_test(graph_memory_is_charged_when_the_driver_reserves_it),
        cmocka_unit_test(a_module_is_charged_what_it_takes),
        cmocka_unit_test(a_raised_limit_is_charged_and_a_lowered_one_credited),
        cmocka_unit_test(what_a_context_holds_dies_with_it),
        cmocka_unit_test(the_second_device_is_of_the_same_lease),
        cmocka_unit_test(every_view_is_the_quota),
        cmocka_unit_test(memory_of_another_interface_is_charged_to_who_imports_it),
        cmocka_unit_test(threads_together_neither_lose_nor_find_memory),
        cmocka_unit_test(a_reset_of_the_primary_context_gives_all_back),
        cmocka_unit_test(the_last_release_of_the_primary_context_gives_all_back),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
