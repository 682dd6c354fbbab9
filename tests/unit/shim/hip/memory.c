/* The HIP front end's memory over the stand-in: each entry point is granted to the quota and not a byte beyond, with the size that
 * the library took, and credited on every way that the memory goes. */
#include "in_slice.h"

static int set_up(void **state) { return open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || load("libamdhip64.so.6", SHIM_6, FAKE_HIP) ? -1 : 0; }

/* ---- one row per way to get memory ---- */

union thing { void *pointer; CUdeviceptr address; CUmemoryPool pool; CUmemGenericAllocationHandle handle; CUexternalMemory external; };
typedef CUresult make_fn(uint64_t bytes, union thing *ret);
typedef CUresult end_fn(union thing *thing);

static const hipChannelFormatDesc floats = {.x = 32, .f = 2};

static CUresult alloc(uint64_t bytes, union thing *ret) { return HIP(hipMalloc, cuMemAlloc)(&ret->address, bytes); }
static CUresult release(union thing *t) { return HIP(hipFree, cuMemFree)(t->address); }
static CUresult alloc_flags(uint64_t bytes, union thing *ret)
{
    return HIP(hipExtMallocWithFlags, hipExtMallocWithFlags)(&ret->pointer, bytes, 1);
}
static CUresult alloc_managed(uint64_t bytes, union thing *ret) { return HIP(hipMallocManaged, cuMemAllocManaged)(&ret->address, bytes, 1); }
/* 100 bytes of each row are asked for, 256 are taken */
static CUresult alloc_pitch(uint64_t bytes, union thing *ret)
{
    size_t pitch;
    return HIP(hipMallocPitch, hipMallocPitch)(&ret->pointer, &pitch, 100, (bytes + 255) / 256);
}
static CUresult mem_alloc_pitch(uint64_t bytes, union thing *ret)
{
    size_t pitch;
    return HIP(hipMemAllocPitch, hipMemAllocPitch)(&ret->pointer, &pitch, 100, (bytes + 255) / 256, 4);
}
static CUresult alloc_3d(uint64_t bytes, union thing *ret)
{
    hipPitchedPtr made = {0};
    CUresult result = HIP(hipMalloc3D, hipMalloc3D)(&made, (hipExtent){100, 2, (bytes + 511) / 512});
    ret->pointer = made.ptr;
    return result;
}
/* rows of 1024 floats */
static size_t rows(uint64_t bytes) { return (bytes + 4095) / 4096; }
static CUresult alloc_array(uint64_t bytes, union thing *ret)
{
    return HIP(hipMallocArray, hipMallocArray)(&ret->pointer, &floats, 1024, rows(bytes), 0);
}
static CUresult alloc_3d_array(uint64_t bytes, union thing *ret)
{
    return HIP(hipMalloc3DArray, hipMalloc3DArray)(&ret->pointer, &floats, (hipExtent){1024, rows(bytes), 0}, 0);
}
static CUresult create_array(uint64_t bytes, union thing *ret)
{
    CUDA_ARRAY_DESCRIPTOR d = {1024, rows(bytes), CU_AD_FORMAT_FLOAT, 1};
    return HIP(hipArrayCreate, hipArrayCreate)(&ret->pointer, &d);
}
static CUresult create_3d_array(uint64_t bytes, union thing *ret)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {1024, 1, rows(bytes), CU_AD_FORMAT_FLOAT, 1, 0};
    return HIP(hipArray3DCreate, hipArray3DCreate)(&ret->pointer, &d);
}
static CUresult free_array(union thing *t) { return HIP(hipFreeArray, hipArrayFree)(t->pointer); }
static CUresult destroy_array(union thing *t) { return HIP(hipArrayDestroy, hipArrayFree)(t->pointer); }
static CUresult alloc_mipmap(uint64_t bytes, union thing *ret)
{
    return HIP(hipMallocMipmappedArray, hipMallocMipmappedArray)(&ret->pointer, &floats, (hipExtent){1024, rows(bytes), 0}, 1, 0);
}
static CUresult create_mipmap(uint64_t bytes, union thing *ret)
{
    CUDA_ARRAY3D_DESCRIPTOR d = {1024, rows(bytes), 0, CU_AD_FORMAT_FLOAT, 1, 0};
    return HIP(hipMipmappedArrayCreate, hipMipmappedArrayCreate)(&ret->pointer, &d, 1);
}
static CUresult free_mipmap(union thing *t) { return HIP(hipFreeMipmappedArray, hipMipmapFree)(t->pointer); }
static CUresult destroy_mipmap(union thing *t) { return HIP(hipMipmappedArrayDestroy, hipMipmapFree)(t->pointer); }
static CUresult import(uint64_t bytes, union thing *ret)
{
    CUDA_EXTERNAL_MEMORY_HANDLE_DESC d = {.type = 1, .size = bytes};
    return HIP(hipImportExternalMemory, cuImportExternalMemory)(&ret->external, &d);
}
static CUresult let_go(union thing *t) { return HIP(hipDestroyExternalMemory, cuDestroyExternalMemory)(t->external); }

static CUresult synchronise(void) { return HIP(hipDeviceSynchronize, cuCtxSynchronize)(); }
static CUresult alloc_async(uint64_t bytes, union thing *ret) { return HIP(hipMallocAsync, cuMemAllocAsync)(&ret->address, bytes, NULL); }
static CUresult free_async(union thing *t)
{
    CUresult result = HIP(hipFreeAsync, cuMemFreeAsync)(t->address, NULL);
    return result ? result : synchronise();
}
static CUmemoryPool pool;
static CUresult alloc_from_pool(uint64_t bytes, union thing *ret)
{
    CUmemPoolProps props = {.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    if (!pool)
        assert_hip(HIP(hipMemPoolCreate, cuMemPoolCreate)(&pool, &props));
    return HIP(hipMallocFromPoolAsync, cuMemAllocFromPoolAsync)(&ret->address, bytes, pool, NULL);
}

static uint64_t granules(uint64_t bytes) { return (bytes + 2 * MIB - 1) / (2 * MIB) * (2 * MIB); }
static CUresult create_physical(uint64_t bytes, union thing *ret)
{
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    return HIP(hipMemCreate, hipMemCreate)(&ret->handle, granules(bytes), &prop, 0);
}
/* As it was laid out up to ROCm 5.2. */
static CUresult create_physical_then(uint64_t bytes, union thing *ret)
{
    struct { unsigned char compression; int location_type, location_id, handle_type, type; unsigned short usage; void *data; } prop =
        {0, 1, 0, 0, 1, 0, NULL};
    return HIP(hipMemCreate, hipMemCreate)(&ret->handle, granules(bytes), &prop, 0);
}
static CUresult release_physical(union thing *t) { return HIP(hipMemRelease, cuMemRelease)(t->handle); }

static const struct way { const char *name; make_fn *make; end_fn *end; } ways[] = {
    {"hipMalloc", alloc, release},
    {"hipExtMallocWithFlags", alloc_flags, release},
    {"hipMallocManaged", alloc_managed, release},
    {"hipMallocPitch", alloc_pitch, release},
    {"hipMemAllocPitch", mem_alloc_pitch, release},
    {"hipMalloc3D", alloc_3d, release},
    {"hipMallocArray", alloc_array, free_array},
    {"hipMalloc3DArray", alloc_3d_array, free_array},
    {"hipArrayCreate", create_array, destroy_array},
    {"hipArray3DCreate", create_3d_array, destroy_array},
    {"hipMallocMipmappedArray", alloc_mipmap, free_mipmap},
    {"hipMipmappedArrayCreate", create_mipmap, destroy_mipmap},
    {"hipImportExternalMemory", import, let_go},
    {"hipMallocAsync", alloc_async, free_async},
    {"hipMallocAsync, freed by hipFree", alloc_async, release},
    {"hipMalloc, freed by hipFreeAsync", alloc, free_async},
    {"hipMallocFromPoolAsync", alloc_from_pool, free_async},
    {"hipMemCreate", create_physical, release_physical},
    {"hipMemCreate, ROCm 5.2", create_physical_then, release_physical},
};

/* 96 MiB is a multiple of every step: all of it fits and not one byte more, neither at once nor after. */
static void check_way(const struct way *way)
{
    union thing all = {0}, more = {0};
    uint64_t before = used();
    assert_true_books();
    set_quota(before + 96 * MIB);
    assert_int_equal(way->make(96 * MIB + 1, &more), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(used(), before);
    assert_hip(way->make(96 * MIB, &all));
    assert_int_equal(used(), before + 96 * MIB);
    assert_true_books();
    assert_int_equal(way->make(1, &more), CUDA_ERROR_OUT_OF_MEMORY);
    assert_true_books();
    assert_hip(way->end(&all));
    assert_hip(synchronise());
    assert_int_equal(used(), before);
    assert_true_books();
}

static void every_way_is_granted_to_the_quota_and_not_a_byte_beyond(void **state)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        print_message("%s\n", ways[i].name);
        check_way(&ways[i]);
    }
    set_quota(QUOTA);
}

static void what_the_library_refuses_is_not_charged(void **state)
{
    union thing thing;
    static const char *const names[] = {"hipMalloc", "hipExtMallocWithFlags", "hipMallocManaged", "hipMallocPitch", "hipMemAllocPitch",
        "hipMalloc3D", "hipMallocArray", "hipMalloc3DArray", "hipArrayCreate", "hipArray3DCreate", "hipMallocMipmappedArray",
        "hipMipmappedArrayCreate", "hipImportExternalMemory", "hipMallocAsync"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        FAKE(fake_hip_fail)(names[i], CUDA_ERROR_UNKNOWN);
        assert_int_equal(ways[i].make(MIB, &thing), CUDA_ERROR_UNKNOWN);
        assert_true_books();
    }
}

static void what_the_library_does_not_free_stays_charged(void **state)
{
    union thing thing;
    uint64_t before = used();
    assert_hip(alloc(MIB, &thing));
    FAKE(fake_hip_fail)("hipFree", CUDA_ERROR_UNKNOWN);
    assert_int_equal(release(&thing), CUDA_ERROR_UNKNOWN);
    assert_int_equal(used(), before + MIB);
    assert_hip(release(&thing));
    assert_int_equal(used(), before);
    assert_int_equal(release(&thing), CUDA_ERROR_INVALID_VALUE); /* twice: credited once */
    assert_int_equal(used(), before);
}

static void host_memory_is_not_charged(void **state)
{
    void *pointer;
    uint64_t before = used();
    CUresult (*host)(void **, size_t, unsigned) = symbol("hipHostMalloc"), (*host_free)(void *) = symbol("hipHostFree");
    assert_hip(host(&pointer, MIB, 0));
    assert_int_equal(used(), before);
    assert_hip(host_free(pointer));
}

static void all_levels_of_a_mipmap_are_charged(void **state)
{
    union thing thing;
    uint64_t before = used();
    /* 1024 x 64 floats: 256 KiB, then 64, 16, and 512 / 4 = 128 floats in 8 rows: 4 KiB */
    assert_hip(HIP(hipMallocMipmappedArray, hipMallocMipmappedArray)(&thing.pointer, &floats, (hipExtent){1024, 64, 0}, 4, 0));
    assert_int_equal(used(), before + (256 + 64 + 16 + 4) * 1024);
    assert_true_books();
    assert_hip(free_mipmap(&thing));
}

static void physical_memory_is_free_with_its_last_mapping(void **state)
{
    union thing thing;
    uint64_t before = used(), address = UINT64_C(0x600000000000);
    assert_hip(create_physical(4 * MIB, &thing));
    assert_hip(HIP(hipMemMap, cuMemMap)(address, 4 * MIB, 0, thing.handle, 0));
    assert_hip(release_physical(&thing));
    assert_int_equal(used(), before + 4 * MIB);
    assert_true_books();
    assert_hip(HIP(hipMemUnmap, cuMemUnmap)(address, 4 * MIB));
    assert_int_equal(used(), before);
    assert_true_books();
}

static void a_resize_holds_from_the_next_allocation_on(void **state)
{
    union thing a, b;
    uint64_t before = used();
    assert_hip(alloc(8 * MIB, &a));
    set_quota(before + 4 * MIB);
    assert_int_equal(alloc(1, &b), CUDA_ERROR_OUT_OF_MEMORY);
    set_quota(before + 12 * MIB);
    assert_hip(alloc(4 * MIB, &b));
    assert_hip(release(&a));
    assert_hip(release(&b));
    set_quota(QUOTA);
}

static void every_view_shows_the_slice(void **state)
{
    union thing thing;
    size_t free_bytes, total, all;
    uint64_t shown, before = used();
    char properties[4096] = "";
    assert_hip(alloc(MIB, &thing));
    assert_hip(HIP(hipMemGetInfo, hipMemGetInfo)(&free_bytes, &total));
    assert_int_equal(total, QUOTA);
    assert_int_equal(free_bytes, QUOTA - before - MIB);
    assert_hip(HIP(hipDeviceTotalMem, cuDeviceTotalMem)(&all, 0));
    assert_int_equal(all, QUOTA);
    assert_hip(HIP(hipGetDeviceProperties, hipProperties)(properties, 0));
    memcpy(&shown, properties + HIP_PROPERTIES_TOTAL_R0000, sizeof shown);
    assert_int_equal(shown, QUOTA);
    memset(properties, 0, sizeof properties);
    assert_hip(HIP(hipGetDevicePropertiesR0600, hipProperties)(properties, 0));
    memcpy(&shown, properties + HIP_PROPERTIES_TOTAL_R0600, sizeof shown);
    assert_int_equal(shown, QUOTA);
    assert_string_equal(properties, "stand-in");
    assert_hip(release(&thing));
}

static void what_the_slice_refuses_is_the_last_error_once(void **state)
{
    union thing thing;
    HIP(hipGetLastError, hipGetLastError)();
    assert_int_equal(alloc(QUOTA + 1, &thing), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(HIP(hipPeekAtLastError, hipPeekAtLastError)(), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(HIP(hipGetLastError, hipGetLastError)(), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(HIP(hipGetLastError, hipGetLastError)(), CUDA_SUCCESS);
    FAKE(fake_hip_fail)("hipMalloc", CUDA_ERROR_UNKNOWN); /* the library's own is not told twice */
    assert_int_equal(alloc(1, &thing), CUDA_ERROR_UNKNOWN);
    assert_int_equal(HIP(hipGetLastError, hipGetLastError)(), CUDA_ERROR_UNKNOWN);
    assert_int_equal(HIP(hipGetLastError, hipGetLastError)(), CUDA_SUCCESS);
}

static void a_reset_credits_everything(void **state)
{
    union thing things[3];
    assert_hip(alloc(MIB, &things[0]));
    assert_hip(alloc_array(MIB, &things[1]));
    assert_hip(alloc_async(MIB, &things[2]));
    assert_hip(HIP(hipDeviceReset, hipDeviceReset)());
    assert_int_equal(used(), 0);
    assert_true_books();
}

static void memory_that_another_process_holds_stays_charged_until_it_lets_go(void **state)
{
    CUmemGenericAllocationHandle handle;
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    uint64_t before = used();
    int fd;
    assert_hip(HIP(hipMemCreate, hipMemCreate)(&handle, 8 * MIB, &prop, 0));
    assert_hip(HIP(hipMemExportToShareableHandle, cuMemExportToShareableHandle)(&fd, handle, 1, 0));
    FAKE(fake_hip_hold)(1);
    assert_hip(HIP(hipMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before + 8 * MIB);
    assert_true_books();
    FAKE(fake_hip_hold)(0);
    size_t now, total;
    assert_hip(HIP(hipMemGetInfo, hipMemGetInfo)(&now, &total));
    assert_int_equal(now, QUOTA - before);
    assert_true_books();
    assert_hip(HIP(hipMemCreate, hipMemCreate)(&handle, 8 * MIB, &prop, 0));
    assert_hip(HIP(hipMemExportToShareableHandle, cuMemExportToShareableHandle)(&fd, handle, 1, 0));
    assert_hip(HIP(hipMemRelease, cuMemRelease)(handle)); /* nobody else has it */
    assert_int_equal(used(), before);
    assert_true_books();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_is_granted_to_the_quota_and_not_a_byte_beyond),
        cmocka_unit_test(what_the_library_refuses_is_not_charged),
        cmocka_unit_test(what_the_library_does_not_free_stays_charged),
        cmocka_unit_test(host_memory_is_not_charged),
        cmocka_unit_test(all_levels_of_a_mipmap_are_charged),
        cmocka_unit_test(physical_memory_is_free_with_its_last_mapping),
        cmocka_unit_test(a_resize_holds_from_the_next_allocation_on),
        cmocka_unit_test(every_view_shows_the_slice),
        cmocka_unit_test(what_the_slice_refuses_is_the_last_error_once),
        cmocka_unit_test(a_reset_credits_everything),
        cmocka_unit_test(memory_that_another_process_holds_stays_charged_until_it_lets_go),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
