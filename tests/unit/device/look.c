/* What the kernel says about a process, on made-up texts and a made-up /proc. */
#include "unit.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/mem.h"
#include "device/look.h"

static const char *const drivers[] = {"libpocl.so", "libcard.so"};
static const struct fg_look_for wanted = {.drivers = drivers, .driver_count = 2, .layer = "libfgpu_opencl.so", .loader = "libOpenCL",
                                          .env_on = "OPENCL_LAYERS=", .counters_inode = 4711, .nodes = true};

#define LOADER "7f00-7f10 r-xp 00000000 fe:00 11 /usr/lib/libOpenCL.so.1.0.0\n"
#define DRIVER "7f20-7f30 r-xp 00000000 fe:00 12 /usr/lib/libpocl.so.2.10.0\n"
#define LAYER  "7f40-7f50 r-xp 00000000 fe:00 13 /run/fgpu/libfgpu_opencl.so\n"
#define BOOKS  "7f60-7f70 rw-s 00000000 00:01 4711 /memfd:fgpu-lease-counters (deleted)\n"

static struct fg_look maps(const char *text)
{
    struct fg_look look = {.hidden = false};
    fg_look_maps(&wanted, text, &look);
    return look;
}

static void drivers_count_where_they_are_mapped_to_be_run(void **state)
{
    struct fg_look look = maps("7f00-7f01 r--p 00000000 fe:00 12 /usr/lib/libpocl.so.2.10.0\n7f02-7f03 rw-p 0 00:00 0\n"
                               "7ffe-7fff r-xp 00000000 00:00 0 [vdso]\n" LOADER);
    assert_string_equal(look.driver, "");          /* a file that is only read (nm, a debugger) */
    assert_true(look.loader && !look.layer && !look.counters);
    look = maps(LOADER DRIVER LAYER BOOKS);
    assert_string_equal(look.driver, "libpocl.so.2.10.0");
    assert_true(look.loader && look.layer && look.counters);
    assert_true(maps("7f00-7f10 r-xp 00000000 fe:00 11 /work/pyopencl.libs/libOpenCL-1ef0e16e.so.1.0.0\n").loader);
    look = maps("7f20-7f30 r-xp 00000000 fe:00 12 /work/a folder/libcard.so (deleted)");
    assert_string_equal(look.driver, "libcard.so (deleted)");
    look = maps("7f20-7f30 r-xp 00000000 fe:00 12 /work/notlibcard.so\ngarbage\n\n");
    assert_string_equal(look.driver, "");
}

static void only_the_vgpus_own_counters_are_its_counters(void **state)
{
    assert_false(maps("7f60-7f70 rw-s 00000000 00:01 4712 /memfd:fgpu-lease-counters (deleted)\n").counters);
    assert_false(maps("7f60-7f70 rw-s 00000000 fe:00 4711 /tmp/c\n").counters);
    assert_true(maps(BOOKS).counters);
}

static void the_environment_says_whether_the_layer_was_wanted(void **state)
{
    static const char with[] = "A=b\0OPENCL_LAYERS=/run/fgpu/libfgpu_opencl.so\0HOME=/work";
    static const char without[] = "OPENCL_LAYERS=/mine.so\0FGPU_LEASE=/tmp/l:/tmp/c";
    struct fg_look look = {.hidden = false};
    fg_look_environ(&wanted, with, sizeof with, &look);
    assert_true(look.env_on && !look.env_lease);
    look = (struct fg_look){.hidden = false};
    fg_look_environ(&wanted, without, sizeof without, &look);
    assert_true(!look.env_on && look.env_lease);
}

static void drm_counters_are_read_in_every_unit(void **state)
{
    static const char amd[] = "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t521\ndrm-driver:\tamdgpu\ndrm-client-id:\t42\n"
                              "drm-pdev:\t0000:03:00.0\npasid:\t32771\ndrm-memory-vram:\t1024 KiB\ndrm-memory-gtt: \t900 KiB\n"
                              "drm-engine-gfx:\t5000 ns\ndrm-engine-compute:\t700 ns\ndrm-engine-capacity-gfx:\t2\n";
    static const char xe[] = "drm-driver:\txe\ndrm-client-id:\t7\ndrm-pdev:\t0000:00:02.0\ndrm-total-vram0:\t2 MiB\n"
                             "drm-resident-vram0:\t1 MiB\ndrm-total-system:\t9 MiB\ndrm-cycles-rcs:\t28257900\n";
    static const char i915[] = "drm-client-id:\t9\ndrm-total-local0:\t3 GiB\ndrm-engine-render:\t9288864723 ns\n";
    struct fg_drm_client c;
    assert_true(fg_look_fdinfo(amd, &c));
    assert_int_equal(c.memory_bytes, 1 << 20);
    assert_int_equal(c.id, 42);
    assert_string_equal(c.pdev, "0000:03:00.0");
    assert_int_equal(c.engine_count, 2);
    assert_int_equal(c.engines[0].ns, 5000);
    assert_true(fg_look_fdinfo(xe, &c));
    assert_int_equal(c.memory_bytes, 2 << 20);     /* not the resident part on top; not the host's */
    assert_true(fg_look_fdinfo(i915, &c));
    assert_int_equal(c.memory_bytes, UINT64_C(3) << 30);
    assert_int_equal(c.engines[0].ns, 9288864723);
    assert_false(fg_look_fdinfo("pos:\t0\nflags:\t02\n", &c));
    assert_false(fg_look_fdinfo("drm-driver:\tnouveau\ndrm-client-id:\t1\n", &c)); /* it counts nothing */
    assert_false(fg_look_fdinfo("", &c));
    assert_false(fg_look_fdinfo("drm-client-id", &c));
}

/* --- a made-up /proc --- */

static char root[200];

static void put(const char *pid, const char *file, const void *data, size_t n)
{
    struct fg_error err;
    FG_AUTO_FREE char *path = fg_asprintf("%s/%s/%s", root, pid, file);
    FG_AUTO_FREE char *folder = fg_strdup(path);
    *strrchr(folder, '/') = '\0';
    assert_ok(fg_mkdir_p(folder, 0700, &err), err);
    assert_ok(fg_write_file_atomic(path, data, n, 0600, &err), err);
}
#define PUT(pid, file, text) put(pid, file, text, sizeof(text) - 1)

static void put_fd(const char *pid, const char *number, const char *target, const char *info)
{
    struct fg_error err;
    FG_AUTO_FREE char *folder = fg_asprintf("%s/%s/fd", root, pid);
    FG_AUTO_FREE char *link = fg_asprintf("%s/%s", folder, number);
    FG_AUTO_FREE char *file = fg_asprintf("fdinfo/%s", number);
    assert_ok(fg_mkdir_p(folder, 0700, &err), err);
    assert_int_equal(symlink(target, link), 0);
    put(pid, file, info, strlen(info));
}

static int setup(void **state)
{
    unit_folder(root, sizeof root);
    return 0;
}

static int teardown(void **state) { return fg_remove_tree(root, NULL); }

static void a_process_is_its_maps_files_and_environment(void **state)
{
    struct fg_look_for f = wanted;
    struct fg_look look;
    f.proc = root;
    PUT("12", "comm", "python3\n");
    PUT("12", "maps", LOADER DRIVER);
    PUT("12", "stat", "12 (py (3) S 1 12 12 0 -1 4194560 100 0 0 0 7 3 0 0 20 0 1 0 5000 1 1\n");
    PUT("12", "environ", "FGPU_LEASE=/x\0");
    PUT("12", "status", "Name:\tpython3\nNSpid:\t12\t3\nThreads:\t1\n");
    put_fd("12", "0", "/dev/null", "pos:\t0\n");
    put_fd("12", "4", "/dev/nvidiactl", "pos:\t0\n"); /* who only asks has that, too */
    put_fd("12", "5", "/dev/dri/renderD128", "drm-client-id:\t1\ndrm-total-vram:\t4 MiB\ndrm-engine-compute:\t100 ns\ndrm-engine-copy:\t900 ns\n");
    put_fd("12", "6", "/dev/dri/renderD128", "drm-client-id:\t1\ndrm-total-vram:\t4 MiB\ndrm-engine-compute:\t100 ns\ndrm-engine-copy:\t900 ns\n");
    put_fd("12", "7", "/dev/dri/renderD129", "drm-client-id:\t2\ndrm-total-vram:\t1 MiB\ndrm-engine-compute:\t850 ns\n");
    assert_true(fg_look_at(&f, 12, &look));
    assert_string_equal(look.name, "python3");
    assert_int_equal(look.inner_pid, 3);
    assert_int_equal(look.cpu_ns, 10 * (1000000000 / sysconf(_SC_CLK_TCK)));
    assert_has(look.node, "/dev/dri/renderD12");
    assert_true(look.drm && look.env_lease && !look.env_on && !look.hidden);
    assert_int_equal(look.drm_memory_bytes, 5 << 20);      /* 5 and 6 are one open file */
    assert_int_equal(look.drm_engine_ns, 950);             /* the busiest kind: compute of both, copy beside it */
    f.nodes = false;
    assert_true(fg_look_at(&f, 12, &look));
    assert_string_equal(look.node, "");
    assert_false(look.drm);
}

static void what_is_gone_or_a_zombie_is_not_there(void **state)
{
    struct fg_look_for f = wanted;
    struct fg_look look;
    f.proc = root;
    PUT("13", "comm", "gone\n");
    PUT("13", "maps", "");
    assert_false(fg_look_at(&f, 13, &look));
    assert_false(fg_look_at(&f, 14, &look));
}

static void what_cannot_be_read_is_hidden(void **state)
{
    struct fg_look_for f = wanted;
    struct fg_look look;
    if (geteuid() == 0) {
        printf("skip: root can read everything\n");
        skip();
    }
    f.proc = root;
    PUT("15", "comm", "shy\n");
    PUT("15", "maps", LOADER);
    FG_AUTO_FREE char *path = fg_asprintf("%s/15/maps", root);
    chmod(path, 0);
    assert_true(fg_look_at(&f, 15, &look));
    assert_true(look.hidden);
}

static void the_tree_has_the_children_of_threads(void **state)
{
    pid_t pids[16];
    PUT("20", "task/20/children", "21 22 ");
    PUT("20", "task/30/children", "23 ");
    PUT("21", "task/21/children", "");
    PUT("23", "task/23/children", "24 ");
    assert_int_equal(fg_look_tree(root, 20, pids, 16), 5);
    assert_int_equal(pids[0], 20);
    assert_int_equal(pids[4], 24);
    assert_int_equal(fg_look_tree(root, 20, pids, 2), 2);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    bool found = false;
    for (size_t i = 0, n = fg_look_tree(NULL, getpid(), pids, 16); i < n; i++)
        found |= pids[i] == child;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(found);
}

int main(void)
{
#define F(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drivers_count_where_they_are_mapped_to_be_run),
        cmocka_unit_test(only_the_vgpus_own_counters_are_its_counters),
        cmocka_unit_test(the_environment_says_whether_the_layer_was_wanted),
        cmocka_unit_test(drm_counters_are_read_in_every_unit),
        F(a_process_is_its_maps_files_and_environment),
        F(what_is_gone_or_a_zombie_is_not_there),
        F(what_cannot_be_read_is_hidden),
        F(the_tree_has_the_children_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
