/* memory.c - what the stand-in driver's memory really takes. */
#include "fake_test.h"

FAKE_TEST(linear_memory_takes_whole_granules_and_gives_them_back, "devices=1 context=64M")
{
    use_device();
    IS(fake.fake_live(0, 0, FAKE_ALL), 64 * MIB);
    CUdeviceptr a, b;
    OK(cu.cuMemAlloc_v2(&a, 1));
    OK(cu.cuMemAlloc_v2(&b, 1000));
    IS(fake.fake_live(0, 0, FAKE_LINEAR), 512 + 1024);
    size_t free_bytes, total, bytes;
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    IS(total, 16384 * MIB);
    IS(free_bytes, total - 64 * MIB - 1536);
    CUdeviceptr base;
    OK(cu.cuMemGetAddressRange_v2(&base, &bytes, b + 999));
    IS(base, b);
    IS(bytes, 1000);
    IS(cu.cuMemFree_v2(b + 1), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemFree_v2(a));
    OK(cu.cuMemFree_v2(b));
    IS(cu.cuMemFree_v2(b), CUDA_ERROR_INVALID_VALUE);
    IS(fake.fake_live(0, 0, FAKE_LINEAR), 0);
    IS(fake.fake_count(0, 0, FAKE_LINEAR), 0);
}

FAKE_TEST(the_last_byte_can_be_had_and_none_more, "devices=1 context=0 module=0 total=64M")
{
    use_device();
    CUdeviceptr a, b;
    OK(cu.cuMemAlloc_v2(&a, 64 * MIB - 512));
    IS(cu.cuMemAlloc_v2(&b, 513), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemAlloc_v2(&b, 512));
    IS(fake.fake_free(0), 0);
    IS(cu.cuMemAllocAsync(&b, 1, NULL), CUDA_ERROR_OUT_OF_MEMORY);
}

FAKE_TEST(pitches_are_rounded_and_bytes_arrive, "devices=1 context=0")
{
    use_device();
    CUdeviceptr p;
    size_t pitch;
    OK(cu.cuMemAllocPitch_v2(&p, &pitch, 100, 10, 4));
    IS(pitch, 512);
    IS(fake.fake_live(0, 0, FAKE_LINEAR), 5120);
    char text[32] = "there and back", back[32];
    OK(cu.cuMemcpyHtoD_v2(p + 64, text, sizeof text));
    OK(cu.cuMemcpyDtoH_v2(back, p + 64, sizeof back));
    CHECK(!strcmp(text, back));
    IS(cu.cuMemcpyHtoD_v2(p + 5110, text, sizeof text), CUDA_ERROR_INVALID_VALUE);
}

FAKE_TEST(pools_reserve_chunks_and_give_them_back_at_a_synchronisation, "devices=1 context=0 pool_chunk=32M")
{
    use_device();
    CUmemoryPool pool;
    CUdeviceptr a, b;
    cuuint64_t value, threshold = UINT64_MAX;
    OK(cu.cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cu.cuMemAllocAsync(&a, MIB, NULL));
    OK(cu.cuMemAllocAsync(&b, 40 * MIB, NULL));
    IS(fake.fake_live(0, 0, FAKE_POOL), 64 * MIB);
    OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &value));
    IS(value, 41 * MIB);
    OK(cu.cuMemFree_v2(b)); /* cross: it synchronises */
    IS(fake.fake_live(0, 0, FAKE_POOL), 32 * MIB);
    OK(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
    OK(cu.cuMemFreeAsync(a, NULL));
    OK(cu.cuStreamSynchronize(NULL));
    OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &value));
    IS(value, 32 * MIB);
    OK(cu.cuMemPoolTrimTo(pool, 0));
    IS(fake.fake_live(0, 0, FAKE_POOL), 0);
    OK(cu.cuMemAlloc_v2(&a, 1000)); /* and the other cross */
    OK(cu.cuMemFreeAsync(a, NULL));
    IS(fake.fake_live(0, 0, FAKE_ALL), 0);
}

FAKE_TEST(a_destroyed_pool_lives_as_long_as_its_memory, "devices=1 context=0")
{
    use_device();
    CUmemoryPool pool;
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUdeviceptr a;
    OK(cu.cuMemPoolCreate(&pool, &props));
    OK(cu.cuMemAllocFromPoolAsync(&a, MIB, pool, NULL));
    OK(cu.cuMemPoolDestroy(pool));
    IS(fake.fake_live(0, 0, FAKE_POOL), 32 * MIB);
    OK(cu.cuMemFreeAsync(a, NULL));
    IS(fake.fake_live(0, 0, FAKE_POOL), 0);
}

FAKE_TEST(created_memory_lives_until_its_last_handle_and_mapping, "devices=1 context=0")
{
    use_device();
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemAccessDesc access = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemGenericAllocationHandle handle;
    CUdeviceptr at;
    IS(cu.cuMemCreate(&handle, MIB, &prop, 0), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemCreate(&handle, 4 * MIB, &prop, 0));
    OK(cu.cuMemAddressReserve(&at, 8 * MIB, 0, 0, 0));
    IS(cu.cuMemsetD8_v2(at, 1, 16), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemMap(at + 2 * MIB, 4 * MIB, 0, handle, 0));
    OK(cu.cuMemSetAccess(at + 2 * MIB, 4 * MIB, &access, 1));
    OK(cu.cuMemsetD8_v2(at + 2 * MIB, 1, 4 * MIB));
    IS(fake.fake_live(0, 0, FAKE_VMM), 4 * MIB);
    OK(cu.cuMemRelease(handle));
    IS(fake.fake_live(0, 0, FAKE_VMM), 4 * MIB);
    IS(cu.cuMemAddressFree(at, 8 * MIB), CUDA_ERROR_INVALID_VALUE);
    IS(cu.cuMemUnmap(at + 2 * MIB, 2 * MIB), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemUnmap(at + 2 * MIB, 4 * MIB));
    IS(fake.fake_live(0, 0, FAKE_VMM), 0);
    OK(cu.cuMemAddressFree(at, 8 * MIB));
}

FAKE_TEST(arrays_need_tiles_and_deferred_ones_nothing, "devices=1 context=0")
{
    use_device();
    CUarray a, deferred;
    CUmipmappedArray mipmap;
    CUDA_ARRAY_MEMORY_REQUIREMENTS need;
    /* 1000 x 100 of 4 bytes: rows of 4032 (63 x 64), 104 rows: 419,328, in whole 64 KiB: 7 x 65,536 */
    CUDA_ARRAY3D_DESCRIPTOR desc = {1000, 100, 0, CU_AD_FORMAT_FLOAT, 1, 0}, late = desc;
    OK(cu.cuArray3DCreate_v2(&a, &desc));
    IS(fake.fake_live(0, 0, FAKE_ARRAY), 7 * 65536);
    IS(cu.cuArrayGetMemoryRequirements(&need, a, 0), CUDA_ERROR_INVALID_VALUE);
    late.Flags = CUDA_ARRAY3D_DEFERRED_MAPPING;
    OK(cu.cuArray3DCreate_v2(&deferred, &late));
    OK(cu.cuArrayGetMemoryRequirements(&need, deferred, 0));
    IS(need.size, 7 * 65536);
    IS(fake.fake_live(0, 0, FAKE_ARRAY), 7 * 65536);
    OK(cu.cuMipmappedArrayCreate(&mipmap, &desc, 3));
    CHECK(fake.fake_live(0, 0, FAKE_ARRAY) > 14 * 65536);
    OK(cu.cuMipmappedArrayDestroy(mipmap));
    OK(cu.cuArrayDestroy(deferred));
    OK(cu.cuArrayDestroy(a));
    IS(fake.fake_live(0, 0, FAKE_ARRAY), 0);
}

FAKE_TEST(memory_dies_with_its_context_and_by_a_reset, "devices=2 context=10M module=2M")
{
    use_device();
    CUcontext own;
    CUdeviceptr a;
    CUmodule module;
    OK(cu.cuCtxCreate_v2(&own, 0, 0));
    OK(cu.cuMemAlloc_v2(&a, MIB));
    OK(cu.cuModuleLoadData(&module, ".version 7.0\n.target sm_50\n.visible .global .align 4 .b8 table[4096];\n"));
    IS(fake.fake_live(0, 0, FAKE_ALL), 10 * MIB * 2 + MIB + 2 * MIB + 4096);
    OK(cu.cuCtxDestroy_v2(own));
    IS(fake.fake_live(0, 0, FAKE_ALL), 10 * MIB);
    OK(cu.cuCtxSetCurrent(ctx));
    OK(cu.cuMemAlloc_v2(&a, MIB));
    OK(cu.cuMemAllocAsync(&a, MIB, NULL));
    OK(cu.cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 100 * MIB));
    IS(fake.fake_live(0, 0, FAKE_LIMIT), 92 * MIB);
    OK(cu.cuDevicePrimaryCtxReset_v2(0));
    IS(fake.fake_live(0, 0, FAKE_ALL), 0);
}

FAKE_TEST(memory_that_others_opened_is_charged_to_its_maker_alone, "devices=1 context=0")
{
    use_device();
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemGenericAllocationHandle handle, again;
    int fd;
    OK(cu.cuMemCreate(&handle, 2 * MIB, &prop, 0));
    OK(cu.cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    OK(cu.cuMemImportFromShareableHandle(&again, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    IS(fake.fake_live(0, 0, FAKE_ALL), 2 * MIB);
    IS(fake.fake_live(0, 0, FAKE_BORROWED), 2 * MIB);
    OK(cu.cuMemRelease(again));
    IS(fake.fake_live(0, 0, FAKE_BORROWED), 0);
    OK(cu.cuMemRelease(handle));
    IS(fake.fake_live(0, 0, FAKE_ALL), 0);
}

FAKE_TEST(a_hundred_thousand_random_allocations_add_up, "devices=1 context=0 total=256G")
{
    use_device();
    enum { N = 20000 };
    static CUdeviceptr at[N];
    static uint32_t bytes[N];
    uint64_t want = 0, random = 42;
    for (int i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int k = (int)(random >> 33) % N;
        if (at[k]) {
            OK(cu.cuMemFree_v2(at[k]));
            want -= (bytes[k] + 511) / 512 * 512;
            at[k] = 0;
        } else {
            bytes[k] = 1 + (uint32_t)(random >> 40) % (random >> 20 & 7 ? 20000 : 6000000);
            OK(cu.cuMemAlloc_v2(&at[k], bytes[k]));
            want += (bytes[k] + 511) / 512 * 512;
        }
    }
    IS(fake.fake_live(0, 0, FAKE_LINEAR), want);
    for (int k = 0; k < N; k++) /* no two overlap: each still holds its own mark */
        if (at[k])
            OK(cu.cuMemcpyHtoD_v2(at[k], &k, bytes[k] < 4 ? bytes[k] : 4));
    for (int k = 0; k < N; k++) {
        int got = 0;
        if (at[k] && bytes[k] >= 4) {
            OK(cu.cuMemcpyDtoH_v2(&got, at[k], 4));
            IS(got, k);
        }
    }
}

FAKE_TEST(the_third_call_fails_as_asked_and_the_fourth_does_not, "devices=1 fail=cuMemAlloc_v2:3:2")
{
    use_device();
    CUdeviceptr p;
    OK(cu.cuMemAlloc_v2(&p, 1));
    OK(cu.cuMemAlloc_v2(&p, 1));
    IS(cu.cuMemAlloc_v2(&p, 1), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemAlloc_v2(&p, 1));
    IS(fake.fake_calls(0, "cuMemAlloc_v2"), 4);
    IS(fake.fake_fail("cuCtxSynchronize", 1, 2, 999), 0);
    IS(cu.cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
    IS(cu.cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
    OK(cu.cuCtxSynchronize());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_memory_takes_whole_granules_and_gives_them_back), cmocka_unit_test(the_last_byte_can_be_had_and_none_more),
        cmocka_unit_test(pitches_are_rounded_and_bytes_arrive), cmocka_unit_test(pools_reserve_chunks_and_give_them_back_at_a_synchronisation),
        cmocka_unit_test(a_destroyed_pool_lives_as_long_as_its_memory), cmocka_unit_test(created_memory_lives_until_its_last_handle_and_mapping),
        cmocka_unit_test(arrays_need_tiles_and_deferred_ones_nothing), cmocka_unit_test(memory_dies_with_its_context_and_by_a_reset),
        cmocka_unit_test(memory_that_others_opened_is_charged_to_its_maker_alone), cmocka_unit_test(a_hundred_thousand_random_allocations_add_up),
        cmocka_unit_test(the_third_call_fails_as_asked_and_the_fourth_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
