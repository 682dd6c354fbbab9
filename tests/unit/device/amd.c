/* AMD's devices by a stand-in of their management library, and device memory limited by a made-up kernel. */
#include "unit.h"

#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "device/dmem.h"
#include "device/rsmi.h"
#if __has_include(<rocm_smi/rocm_smi.h>)
#include <rocm_smi/rocm_smi.h>
#define HEADER 1
#endif

static void devices_are_named_by_what_the_runtime_takes(void **state)
{
    struct fg_rsmi *rsmi;
    struct fg_rsmi_gpu gpus[4];
    struct fg_error err = {0};
    size_t n = 0;
    unsetenv("FAKE_RSMI");
    assert_ok(fg_rsmi_open(&rsmi, FAKE_RSMI_PATH, &err), err);
    assert_ok(fg_rsmi_gpus(rsmi, gpus, 4, &n, &err), err);
    assert_int_equal(n, 2);
    assert_string_equal(gpus[0].id, "GPU-00000000abcd0000");
    assert_string_equal(gpus[0].name, "AMD Instinct MI210");
    assert_string_equal(gpus[0].pci, "0001:83:00.0");
    assert_int_equal(gpus[0].total_bytes, UINT64_C(64) << 30);
    assert_int_equal(gpus[0].ecc_uncorrected, 0);
    assert_string_equal(gpus[1].pci, "0001:83:01.0");
    assert_string_equal(gpus[1].id, "GPU-0000000100008308"); /* it has no id: its place names it */
    assert_int_equal(gpus[1].ecc_uncorrected, 1);
    assert_false(gpus[1].lost);
    fg_rsmi_close(rsmi);
}

static void a_device_that_does_not_answer_is_lost_and_a_driver_that_does_not_is_told(void **state)
{
    struct fg_rsmi *rsmi;
    struct fg_rsmi_gpu gpus[4];
    struct fg_error err = {0};
    size_t n = 0;
    setenv("FAKE_RSMI", "lost", 1);
    assert_ok(fg_rsmi_open(&rsmi, FAKE_RSMI_PATH, &err), err);
    assert_ok(fg_rsmi_gpus(rsmi, gpus, 4, &n, &err), err);
    assert_false(gpus[0].lost);
    assert_true(gpus[1].lost);
    fg_rsmi_close(rsmi);
    setenv("FAKE_RSMI", "none", 1);
    assert_fails(fg_rsmi_open(&rsmi, FAKE_RSMI_PATH, &err), err, FG_E_UNSUPPORTED);
    assert_has(err.text, "status 8");
    assert_fails(fg_rsmi_open(&rsmi, "/nowhere/librocm_smi64.so", &err), err, FG_E_UNSUPPORTED);
    unsetenv("FAKE_RSMI");
}

static void what_we_declare_of_the_library_is_what_its_header_says(void **state)
{
#ifdef HEADER
    assert_int_equal(RSMI_STATUS_SUCCESS, 0);
    assert_int_equal(RSMI_MEM_TYPE_VRAM, 0);
    assert_int_equal(RSMI_GPU_BLOCK_UMC, 1);
    assert_int_equal(sizeof(rsmi_error_count_t), 16);
    assert_int_equal(offsetof(rsmi_error_count_t, uncorrectable_err), 8);
    rsmi_status_t (*memory)(uint32_t, rsmi_memory_type_t, uint64_t *) = rsmi_dev_memory_total_get;
    rsmi_status_t (*id)(uint32_t, uint64_t *) = rsmi_dev_pci_id_get;
    assert_non_null(memory);
    assert_non_null(id);
#else
    print_message("skip: no rocm_smi.h here (librocm-smi-dev)\n");
    skip();
#endif
}

/* --- dmem --- */

static void put(const char *folder, const char *file, const char *text)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void has(const char *folder, const char *file, const char *text)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, file);
    FG_AUTO_STR struct fg_str got = {0};
    assert_int_equal(fg_read_file(path, 4096, &got, NULL), 0);
    assert_string_equal(fg_str_cstr(&got), text);
}

static void the_kernels_limit_is_set_for_the_devices_own_memory(void **state)
{
    char root[200], group[256], region[96], why[160];
    struct fg_error err = {0};
    unit_folder(root, sizeof root);
    snprintf(group, sizeof group, "%s/fgpu-x", root);
    assert_int_equal(mkdir(group, 0755), 0);
    assert_false(fg_dmem_open(root, group, "0000:03:00.0", region, why));
    assert_has(why, "Linux 6.14");
    put(root, "dmem.capacity", "drm/0000:83:00.0/vram0 68702699520\ndrm/0000:03:00.0/stolen 67108864\ndrm/0000:03:00.0/vram0 8514437120\n");
    put(root, "cgroup.subtree_control", "");
    put(group, "cgroup.subtree_control", "");
    assert_false(fg_dmem_open(root, group, "0000:04:00.0", region, why));
    assert_true(fg_dmem_open(root, group, "0000:03:00.0", region, why));
    assert_string_equal(region, "drm/0000:03:00.0/vram0");
    has(root, "cgroup.subtree_control", "+dmem");
    has(group, "cgroup.subtree_control", "+dmem");
    put(group, "dmem.max", "");
    assert_ok(fg_dmem_set(group, region, 1 << 30, &err), err);
    has(group, "dmem.max", "drm/0000:03:00.0/vram0 1073741824");
    assert_fails(fg_dmem_set(root, region, 1, &err), err, FG_E_NOT_FOUND);
    FG_AUTO_FREE char *remove = fg_asprintf("rm -r '%s'", root);
    assert_int_equal(system(remove), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_named_by_what_the_runtime_takes),
        cmocka_unit_test(a_device_that_does_not_answer_is_lost_and_a_driver_that_does_not_is_told),
        cmocka_unit_test(what_we_declare_of_the_library_is_what_its_header_says),
        cmocka_unit_test(the_kernels_limit_is_set_for_the_devices_own_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
