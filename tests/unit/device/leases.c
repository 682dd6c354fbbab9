/* Leases that outlive who made them, and the backend's own arithmetic. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "device/leases.h"
#include "device/opencl_backend.h"

static struct fg_error err;
static char root[200], scope[40];
static struct fg_leases *leases;

static void again(void)
{
    fg_leases_close(leases);
    assert_ok(fg_leases_open(&leases, scope, root, false, &err), err);
}

static int setup(void **state)
{
    unit_folder(root, sizeof root);
    snprintf(scope, sizeof scope, "unit-%d", (int)getpid());
    assert_ok(fg_leases_open(&leases, scope, root, false, &err), err);
    assert_ok(fg_leases_device(leases, "opencl0", NULL, 1 << 20, &err), err);
    return 0;
}

static int teardown(void **state)
{
    fg_leases_close(leases);
    leases = NULL;
    return fg_remove_tree(root, NULL);
}

static struct fg_lease_use use_of(const char *name)
{
    struct fg_lease_use use;
    assert_true(fg_leases_use(leases, name, &use));
    return use;
}

static void limits_are_a_file_and_counters_cannot_be_cut(void **state)
{
    struct stat st;
    assert_ok(fg_leases_make(leases, "opencl0", "a.1", 1000, 250, false, &err), err);
    FG_AUTO_FREE char *path = fg_leases_limits(leases, "a.1");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4096);
    assert_int_equal(st.st_mode & 0777, 0444);
    FG_AUTO_FD int counters = fg_leases_counters(leases, "a.1");
    assert_true(counters >= 0);
    assert_int_equal(fstat(counters, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666); /* the task has a user of its own */
    assert_int_equal(ftruncate(counters, 0), -1);
    assert_int_equal(errno, EPERM);
    fg_leases_end(leases, "a.1");
    fg_leases_end(leases, "a.1");
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(fg_leases_counters(leases, "a.1"), -1);
}

static void made_twice_it_is_set_anew(void **state)
{
    assert_ok(fg_leases_make(leases, "opencl0", "a.1", 1000, 250, false, &err), err);
    assert_ok(fg_leases_make(leases, "opencl0", "a.1", 2000, 500, false, &err), err);
    assert_int_equal(use_of("a.1").memory_bytes, 2000);
    assert_int_equal(use_of("a.1").share_permille, 500);
    assert_fails(fg_leases_set(leases, "a.1", 2 << 20, 500, &err), err, FG_E_INVALID);
    assert_fails(fg_leases_make(leases, "opencl0", "b.1", 2 << 20, 1, false, &err), err, FG_E_INVALID);
    FG_AUTO_FREE char *path = fg_leases_limits(leases, "b.1");
    assert_int_equal(access(path, F_OK), -1); /* nothing stays of what was refused */
    fg_leases_end(leases, "a.1");
}

static void collect(void *arg, const char *name) { strcat(arg, name); }

static void the_next_agent_takes_them_over(void **state)
{
    char names[100] = "";
    assert_ok(fg_leases_make(leases, "opencl0", "a.1", 1000, 250, false, &err), err);
    FG_AUTO_FD int held = fg_leases_counters(leases, "a.1");
    again();
    struct fg_lease_use use;
    assert_false(fg_leases_use(leases, "a.1", &use));
    fg_leases_names(leases, collect, names);
    assert_string_equal(names, "a.1");
    FG_AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_fails(fg_leases_adopt(leases, "a.1", null, &err), err, FG_E_INVALID);
    assert_fails(fg_leases_adopt(leases, "b.1", held, &err), err, FG_E_IO);
    assert_ok(fg_leases_adopt(leases, "a.1", held, &err), err); /* though its device is not known this time */
    assert_ok(fg_leases_adopt(leases, "a.1", held, &err), err);
    assert_int_equal(use_of("a.1").memory_bytes, 1000);
    assert_ok(fg_leases_device(leases, "opencl0", NULL, 1 << 20, &err), err);
    assert_ok(fg_leases_set(leases, "a.1", 500, 900, &err), err);
    assert_fails(fg_leases_make(leases, "opencl0", "b.1", 500, 101, false, &err), err, FG_E_CONFLICT);
    fg_leases_end(leases, "a.1");
}

static void a_copy_of_the_counters_is_summed_and_nonsense_is_not(void **state)
{
    struct fg_lease_use use;
    FG_AUTO_STR struct fg_str bytes = {0};
    char path[40];
    assert_ok(fg_leases_make(leases, "opencl0", "a.1", 1000, 250, false, &err), err);
    FG_AUTO_FD int held = fg_leases_counters(leases, "a.1");
    snprintf(path, sizeof path, "/proc/self/fd/%d", held);
    assert_ok(fg_read_file(path, 1 << 20, &bytes, &err), err);
    assert_true(fg_leases_sum(bytes.data, bytes.len, &use));
    assert_int_equal(use.device_ns, 0);
    assert_false(fg_leases_sum(bytes.data, bytes.len - 1, &use));
    bytes.data[0] ^= 1;
    assert_false(fg_leases_sum(bytes.data, bytes.len, &use));
    fg_leases_end(leases, "a.1");
}

static void a_folder_of_somebody_else_is_not_used(void **state)
{
    struct stat st;
    FG_AUTO_FREE char *shm = fg_asprintf("/dev/shm/fgpu-%s", scope);
    fg_leases_close(leases);
    leases = NULL;
    assert_int_equal(mkdir(shm, 0700), 0);
    assert_int_equal(chmod(shm, 0777), 0);
    assert_ok(fg_leases_open(&leases, scope, root, false, &err), err);
    assert_ok(fg_leases_device(leases, "opencl0", NULL, 1 << 20, &err), err);
    assert_ok(fg_leases_make(leases, "opencl0", "a.1", 1000, 250, false, &err), err);
    FG_AUTO_FREE char *path = fg_leases_limits(leases, "a.1");
    assert_has(path, root);
    assert_int_equal(stat(path, &st), 0);
    fg_leases_end(leases, "a.1");
    rmdir(shm);
}

/* --- the backend --- */

static void the_processor_is_offered_only_when_asked_for(void **state)
{
    static const struct { enum fg_opencl_type type; const char *mode; bool layer, want; const char *why; } rows[] = {
        {FG_OPENCL_GPU, "gpu", true, true, ""}, {FG_OPENCL_ACCELERATOR, "gpu", true, true, ""}, {FG_OPENCL_CPU, "gpu", true, false, "cpu0"},
        {FG_OPENCL_OTHER, "gpu", true, false, "opencl=all"}, {FG_OPENCL_CPU, "all", true, true, ""}, {FG_OPENCL_GPU, "none", true, false, "none"},
        {FG_OPENCL_GPU, "all", false, false, "not installed"}};
    for (size_t i = 0; i < FG_COUNT(rows); i++) {
        struct fg_opencl_device found = {.name = "opencl0", .kind = "Card", .type = rows[i].type, .memory_bytes = 1000, .units = 4};
        struct fg_device d;
        char why[200];
        assert_int_equal(fg_opencl_offer(&found, rows[i].mode, rows[i].layer, true, 800, &d, why), rows[i].want);
        assert_has(why, rows[i].why);
        assert_int_equal(d.memory_bytes, rows[i].type == FG_OPENCL_CPU ? 800 : 1000);
    }
}

static void the_level_is_audited_only_where_the_agent_can_look(void **state)
{
    struct fg_opencl_device found = {.name = "opencl0", .kind = "Card", .type = FG_OPENCL_GPU, .memory_bytes = 1000};
    struct fg_device d;
    char why[200];
    assert_true(fg_opencl_offer(&found, "gpu", true, true, 800, &d, why));
    assert_int_equal(d.memory_level, FG_LEVEL_AUDITED);
    assert_true(fg_opencl_offer(&found, "gpu", true, false, 800, &d, why));
    assert_int_equal(d.memory_level, FG_LEVEL_COOPERATIVE);
    assert_int_equal(d.share_level, FG_LEVEL_COOPERATIVE);
    assert_has(d.level_why, "CAP_SYS_PTRACE");
}

static void host_memory_goes_by_the_part_of_the_device(void **state)
{
    const uint64_t gib = UINT64_C(1) << 30;
    struct fg_opencl_device gpu = {.type = FG_OPENCL_GPU, .memory_bytes = 40 * gib}, cpu = {.type = FG_OPENCL_CPU, .memory_bytes = 40 * gib};
    assert_int_equal(fg_opencl_host_bytes(&gpu, &(struct fg_vgpu_limits){10 * gib, 100}, 100 * gib), 25 * gib); /* a quarter of the memory */
    assert_int_equal(fg_opencl_host_bytes(&gpu, &(struct fg_vgpu_limits){gib, 500}, 100 * gib), 50 * gib);      /* half of the time */
    assert_int_equal(fg_opencl_host_bytes(&gpu, &(struct fg_vgpu_limits){gib, 900, 500}, 100 * gib), 50 * gib); /* lent share brings none */
    assert_int_equal(fg_opencl_host_bytes(&gpu, &(struct fg_vgpu_limits){1, 1}, 100 * gib), gib);
    assert_int_equal(fg_opencl_host_bytes(&cpu, &(struct fg_vgpu_limits){10 * gib, 100}, 100 * gib), 35 * gib);
    assert_int_equal(fg_opencl_host_bytes(&cpu, &(struct fg_vgpu_limits){40 * gib, 1000}, 100 * gib), 100 * gib);
    assert_int_equal(fg_opencl_host_bytes(&gpu, &(struct fg_vgpu_limits){80 * gib, 1000}, 100 * gib), 100 * gib);
}

static void drivers_are_what_the_icd_files_name(void **state)
{
    char *names[4];
    static const char *const files[][2] = {{"a.icd", "libpocl.so.2.10.0\n"}, {"b.icd", "/opt/x/libcard.so"}, {"c.icd", "nothing"}, {"d.txt", "liba.so"}};
    for (size_t i = 0; i < FG_COUNT(files); i++) {
        FG_AUTO_FREE char *path = fg_path_join(root, files[i][0]);
        assert_ok(fg_write_file_atomic(path, files[i][1], strlen(files[i][1]), 0600, &err), err);
    }
    size_t n = fg_opencl_drivers(root, names, 4);
    assert_int_equal(n, 2);
    bool pocl = !strcmp(names[0], "libpocl.so") || !strcmp(names[1], "libpocl.so"), card = !strcmp(names[0], "libcard.so") || !strcmp(names[1], "libcard.so");
    assert_true(pocl && card);
    free(names[0]);
    free(names[1]);
    assert_int_equal(fg_opencl_drivers("/nowhere", names, 4), 0);
}

int main(void)
{
#define F(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        F(limits_are_a_file_and_counters_cannot_be_cut),
        F(made_twice_it_is_set_anew),
        F(the_next_agent_takes_them_over),
        F(a_copy_of_the_counters_is_summed_and_nonsense_is_not),
        F(a_folder_of_somebody_else_is_not_used),
        cmocka_unit_test(the_processor_is_offered_only_when_asked_for),
        cmocka_unit_test(the_level_is_audited_only_where_the_agent_can_look),
        cmocka_unit_test(host_memory_goes_by_the_part_of_the_device),
        F(drivers_are_what_the_icd_files_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
