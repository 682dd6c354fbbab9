/* The cpu backend: v2 against a tree of plain files, since few test machines have it; v1 or v2 against the real one. */
#include "unit.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/mem.h"
#include "device/cpu.h"

#define MIB (UINT64_C(1) << 20)

/* --- a v2 tree of plain files --- */

static const char *const vgpu_files[] = {"cgroup.procs", "cgroup.kill", "cgroup.freeze", "memory.max", "memory.swap.max", "memory.peak",
                                         "memory.events", "cpu.max", "cpu.weight", "cpu.stat", "pids.max"};
struct fake { char root[200], mountinfo[400]; void *state; unsigned cores; };

static char *in(struct fake *f, const char *path)
{
    static char buf[600];
    snprintf(buf, sizeof buf, "%s/%s", f->root, path);
    return buf;
}

static void put(struct fake *f, const char *path, const char *text)
{
    FILE *file = fopen(in(f, path), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char *get(struct fake *f, const char *path)
{
    static char text[500];
    FILE *file = fopen(in(f, path), "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* A control file takes a write from its start: what it held before may show behind. Compare the beginning. */
static void assert_file(struct fake *f, const char *path, const char *begin)
{
    const char *text = get(f, path);
    if (strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("'%s' is '%s', not '%s'", path, text, begin);
}

static void fake_open(struct fake *f, const char *controllers)
{
    struct fg_error err;
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    f->cores = (unsigned)CPU_COUNT(&set);
    unit_folder(f->root, sizeof f->root);
    put(f, "cgroup.controllers", controllers);
    put(f, "cgroup.subtree_control", "");
    put(f, "cgroup.procs", "");
    mkdir(in(f, "fgpu-unit"), 0755);
    put(f, "fgpu-unit/cgroup.subtree_control", "");
    mkdir(in(f, "fgpu-unit/one"), 0755);
    for (size_t i = 0; i < FG_COUNT(vgpu_files); i++) {
        char path[100];
        snprintf(path, sizeof path, "fgpu-unit/one/%s", vgpu_files[i]);
        put(f, path, "");
    }
    snprintf(f->mountinfo, sizeof f->mountinfo, "30 23 0:26 / %s rw - cgroup2 cgroup2 rw\n", f->root);
    struct fg_cgroup_source source = {f->mountinfo, "0::/\n", f->root};
    struct fg_backend_options options = {.scope = "unit", .memory_reserve_bytes = MIB};
    assert_ok(fg_cpu_open_at(&options, &source, &f->state, &err), err);
}

static void fake_close(struct fake *f)
{
    fg_cpu_backend.close(f->state);
    fg_remove_tree(f->root, NULL);
}

static void v2_controllers_are_handed_down_to_the_agents_folder(void **state)
{
    struct fake f;
    fake_open(&f, "cpuset cpu io memory pids\n");
    assert_has(get(&f, "cgroup.subtree_control"), "+");
    assert_has(get(&f, "fgpu-unit/cgroup.subtree_control"), "+");
    fake_close(&f);
}

static void v2_limits_are_written_to_the_files_of_the_kernel(void **state)
{
    struct fake f;
    struct fg_error err;
    char quota[40];
    fake_open(&f, "cpu memory pids\n");
    assert_ok(fg_cpu_backend.create(f.state, "cpu0", "one", &(struct fg_vgpu_limits){64 * MIB, 250}, &err), err);
    assert_file(&f, "fgpu-unit/one/memory.max", "67108864");
    assert_file(&f, "fgpu-unit/one/memory.swap.max", "0");
    assert_file(&f, "fgpu-unit/one/pids.max", "4096");
    snprintf(quota, sizeof quota, "%u 50000", 50000 * f.cores / 4);      /* a quarter of all cores, each 50 ms */
    assert_file(&f, "fgpu-unit/one/cpu.max", quota);
    assert_ok(fg_cpu_backend.resize(f.state, "cpu0", "one", &(struct fg_vgpu_limits){96 * MIB, 1000}, &err), err);
    assert_file(&f, "fgpu-unit/one/memory.max", "100663296");
    assert_file(&f, "fgpu-unit/one/cpu.max", "max 50000");
    fake_close(&f);
}

static void v2_counters_are_read_in_their_units(void **state)
{
    struct fake f;
    struct fg_error err;
    struct fg_usage u;
    fake_open(&f, "cpu memory pids\n");
    put(&f, "fgpu-unit/one/cpu.stat", "usage_usec 1500\nuser_usec 1000\nnr_throttled 3\nthrottled_usec 20\n");
    put(&f, "fgpu-unit/one/memory.peak", "4096\n");
    put(&f, "fgpu-unit/one/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n");
    assert_ok(fg_cpu_backend.sample(f.state, "cpu0", "one", &u, &err), err);
    assert_int_equal(u.device_ns, 1500000);
    assert_int_equal(u.throttled_ns, 20000);
    assert_int_equal(u.memory_peak_bytes, 4096);
    assert_int_equal(u.denied, 1);       /* oom_kill, not oom */
    fake_close(&f);
}

static void v2_entry_names_what_a_supervisor_needs(void **state)
{
    struct fake f;
    struct fg_error err;
    struct fg_vgpu_entry e;
    fake_open(&f, "cpu memory pids\n");
    assert_ok(fg_cpu_backend.entry(f.state, "cpu0", "one", &e, &err), err);
    assert_int_equal(e.join_files.count, 1);
    assert_string_equal(e.join_files.items[0], in(&f, "fgpu-unit/one/cgroup.procs"));
    assert_string_equal(e.kill_file, in(&f, "fgpu-unit/one/cgroup.kill"));
    assert_string_equal(e.oom_file, in(&f, "fgpu-unit/one/memory.events"));
    assert_string_equal(e.peak_file, in(&f, "fgpu-unit/one/memory.peak"));
    assert_string_equal(e.cpu_file, in(&f, "fgpu-unit/one/cpu.stat"));
    fg_vgpu_entry_fini(&e);
    fake_close(&f);
}

static void a_machine_that_offers_no_cpu_controller_reports_no_share(void **state)
{
    struct fake f;
    struct fg_error err;
    struct fg_device d;
    size_t n;
    fake_open(&f, "memory\n");
    assert_ok(fg_cpu_backend.list(f.state, &d, 1, &n, &err), err);
    assert_int_equal(n, 1);
    assert_int_equal(d.memory_level, FG_LEVEL_KERNEL);
    assert_int_equal(d.share_level, FG_LEVEL_NONE);
    assert_has(d.level_why, "no cgroup for cpu: the controller is not offered");
    fake_close(&f);
}

static void without_cgroups_memory_is_audited_and_share_is_nobodys(void **state)
{
    struct fg_error err;
    struct fg_device d;
    size_t n;
    void *s;
    struct fg_cgroup_source none = {"", "", NULL};
    struct fg_backend_options options = {.scope = "unit"};
    struct fg_vgpu_entry e;
    assert_ok(fg_cpu_open_at(&options, &none, &s, &err), err);
    assert_ok(fg_cpu_backend.list(s, &d, 1, &n, &err), err);
    assert_int_equal(d.memory_level, FG_LEVEL_AUDITED);
    assert_int_equal(d.share_level, FG_LEVEL_NONE);
    assert_ok(fg_cpu_backend.create(s, "cpu0", "one", &(struct fg_vgpu_limits){MIB, 500}, &err), err);
    assert_ok(fg_cpu_backend.entry(s, "cpu0", "one", &e, &err), err);
    assert_int_equal(e.join_files.count, 0);
    fg_vgpu_entry_fini(&e);
    assert_ok(fg_cpu_backend.destroy(s, "cpu0", "one", &err), err);
    fg_cpu_backend.close(s);
}

static void a_share_becomes_a_quota_the_kernel_takes(void **state)
{
    static const struct { unsigned cores; uint32_t permille; int64_t quota, period; } rows[] = {
        {2, 250, 25000, 50000},                  /* half a core */
        {2, 1000, -1, 50000},                    /* the whole device: no quota */
        {64, 500, 1600000, 50000},
        {2, 10, 2000, 100000},                   /* 20 ms of each second and core pair: the period doubles until 2 ms fit */
        {1, 1, 1000, 1000000},                   /* the least there is: 1 ms of each second */
    };
    for (size_t i = 0; i < FG_COUNT(rows); i++) {
        int64_t quota, period;
        fg_cpu_bandwidth(rows[i].cores, rows[i].permille, &quota, &period);
        assert_int_equal(quota, rows[i].quota);
        assert_int_equal(period, rows[i].period);
    }
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    struct fake f;
    struct fg_error err;
    static const char *const bad[] = {"", ".", "..", "a/b", "../x"};
    fake_open(&f, "cpu memory pids\n");
    for (size_t i = 0; i < FG_COUNT(bad); i++)
        assert_fails(fg_cpu_backend.create(f.state, "cpu0", bad[i], &(struct fg_vgpu_limits){MIB, 500}, &err), err, FG_E_INVALID);
    assert_fails(fg_cpu_backend.create(f.state, "cpu1", "one", &(struct fg_vgpu_limits){MIB, 500}, &err), err, FG_E_NOT_FOUND);
    assert_fails(fg_cpu_backend.create(f.state, "cpu0", "one", &(struct fg_vgpu_limits){MIB, 0}, &err), err, FG_E_INVALID);
    assert_fails(fg_cpu_backend.create(f.state, "cpu0", "one", &(struct fg_vgpu_limits){MIB, 1001}, &err), err, FG_E_INVALID);
    fake_close(&f);
}

/* --- the machine's own --- */

static void count_name(void *arg, const char *name)
{
    if (strcmp(name, "unit.1") == 0)
        ++*(int *)arg;
}

static void need_root(void)
{
    if (geteuid() != 0) {
        puts("skip: only root can make cgroups here");
        skip();
    }
}

static void a_process_in_a_real_vgpu_is_limited_counted_and_killed(void **state)
{
    struct fg_error err;
    struct fg_vgpu_entry e;
    struct fg_usage u;
    char scope[40];
    void *s;
    int found = 0, status, ready[2];
    need_root();
    snprintf(scope, sizeof scope, "unit-%d", (int)getpid());
    struct fg_backend_options options = {.scope = scope};
    assert_ok(fg_cpu_backend.open(&options, &s, &err), err);
    assert_ok(fg_cpu_backend.create(s, "cpu0", "unit.1", &(struct fg_vgpu_limits){32 * MIB, 500}, &err), err);
    assert_ok(fg_cpu_backend.create(s, "cpu0", "unit.1", &(struct fg_vgpu_limits){16 * MIB, 250}, &err), err);      /* set anew, smaller */
    assert_ok(fg_cpu_backend.resize(s, "cpu0", "unit.1", &(struct fg_vgpu_limits){48 * MIB, 1000}, &err), err);     /* and larger */
    assert_ok(fg_cpu_backend.entry(s, "cpu0", "unit.1", &e, &err), err);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < e.join_files.count; i++)
            if (fg_write_existing(e.join_files.items[i], "0", NULL) != 0)
                _exit(1);
        char *memory = malloc(8 * MIB);
        memset(memory, memory != NULL, 8 * MIB);
        if (write(ready[1], memory, 1) == 1)
            pause();
        _exit(2);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_ok(fg_cpu_backend.sample(s, "cpu0", "unit.1", &u, &err), err);
    assert_true(u.memory_peak_bytes >= 8 * MIB && u.memory_peak_bytes <= 48 * MIB);
    assert_true(u.device_ns > 0);
    assert_fails(fg_cpu_backend.destroy(s, "cpu0", "unit.1", &err), err, FG_E_CONFLICT);
    assert_ok(fg_cpu_backend.names(s, "cpu0", count_name, &found, &err), err);
    assert_true(found > 0);
    assert_ok(fg_cpu_backend.kill(s, "cpu0", "unit.1", &err), err);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_ok(fg_cpu_backend.destroy(s, "cpu0", "unit.1", &err), err);
    assert_ok(fg_cpu_backend.destroy(s, "cpu0", "unit.1", &err), err);   /* missing is fine */
    fg_vgpu_entry_fini(&e);
    fg_cpu_backend.close(s);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v2_controllers_are_handed_down_to_the_agents_folder),
        cmocka_unit_test(v2_limits_are_written_to_the_files_of_the_kernel),
        cmocka_unit_test(v2_counters_are_read_in_their_units),
        cmocka_unit_test(v2_entry_names_what_a_supervisor_needs),
        cmocka_unit_test(a_machine_that_offers_no_cpu_controller_reports_no_share),
        cmocka_unit_test(without_cgroups_memory_is_audited_and_share_is_nobodys),
        cmocka_unit_test(a_share_becomes_a_quota_the_kernel_takes),
        cmocka_unit_test(names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(a_process_in_a_real_vgpu_is_limited_counted_and_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
