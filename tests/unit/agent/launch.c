/* What a supervisor is told. */
#include "unit.h"

#include "agent/launch_files.h"
#include "agent/launch_keys.h"
#include "agent/sandbox.h"
#include "base/io.h"
#include "base/json.h"

static void the_run_limit_is_seconds_or_text_or_the_tables_default(void **state)
{
    static const struct { const char *spec; int64_t want; } rows[] = {
        {"{\"limits\":{\"run\":5}}", 5000000000}, {"{\"limits\":{\"run\":1.5}}", 1500000000}, {"{\"limits\":{\"run\":\"2m\"}}", 120000000000},
        {"{}", 86400000000000}};
    struct fg_error err;
    int64_t ns;
    for (size_t i = 0; i < FG_COUNT(rows); i++) {
        FG_AUTO_JSON json_t *spec = fg_json_parse(rows[i].spec, strlen(rows[i].spec), &err);
        assert_ok(launch_run_limit(spec, &ns, &err), err);
        assert_int_equal(ns, rows[i].want);
    }
    FG_AUTO_JSON json_t *bad = fg_json_parse("{\"limits\":{\"run\":\"soon\"}}", 25, &err);
    assert_fails(launch_run_limit(bad, &ns, &err), err, FG_E_INVALID);
}

/* Whether a NUL separated list has these words one after the other. */
static bool has_words(const char *list, size_t n, const char *const *words, size_t count)
{
    struct fg_str want = {0};
    for (size_t i = 0; i < count; i++)
        fg_str_add(&want, words[i], strlen(words[i]) + 1);
    bool found = memmem(list, n, want.data, want.len) != NULL;
    fg_str_fini(&want);
    return found;
}
#define assert_words(text, ...) \
    assert_true(has_words((text).data, (text).len, (const char *const[]){__VA_ARGS__}, FG_COUNT(((const char *const[]){__VA_ARGS__}))))

static void an_environment_is_in_the_options_file_and_never_on_a_command_line(void **state)
{
    char root[200];
    struct fg_error err;
    struct agent agent = {.set = {.bwrap = (char *)"/usr/bin/bwrap", .own_users = true, .first_uid = 5000, .log_limit_bytes = 4096}};
    struct attempt t = {.agent = &agent, .slot = 2, .limits = {1 << 20, 250}, .number = 3};
    struct fg_vgpu_entry entry = {.kill_file = (char *)"/cg/cgroup.kill"};
    unit_folder(root, sizeof root);
    t.dir = root;
    t.spec = json_pack("{s:s,s:[s,s],s:{s:s}}", "task_type", "command", "command", "cat", "a b", "env", "TOKEN", "hush");
    fg_vec_push(&entry.join_files, fg_strdup("/cg/cgroup.procs"));
    fg_str_add(&agent.sandbox_base, "--unshare-pid", 14);
    assert_ok(launch_write_file(&t, &entry, &err), err);

    FG_AUTO_STR struct fg_str launch = {0};
    FG_AUTO_FREE char *path = attempt_path(&t, "launch");
    assert_ok(fg_read_file(path, 65536, &launch, &err), err);
    const char *argv = memmem(launch.data, launch.len, "argv", 5);
    assert_non_null(argv);
    assert_words(launch, "--setenv", "TOKEN", "hush");
    assert_null(memmem(argv, (size_t)(launch.data + launch.len - argv), "hush", 4));
    assert_words(launch, "join=/cg/cgroup.procs", "kill_file=/cg/cgroup.kill");
    assert_words(launch, "uid=5002", "gid=5002");
    assert_words(launch, "--", "cat", "a b");
    assert_words(launch, "args", "--unshare-pid", "--bind", FG_SUP_STAGE "0", "/work", "--bind", FG_SUP_STAGE "1", "/out");  /* staged: root */
    assert_words(launch, "--setenv", "FGPU_SHARE", "250");

    fg_remove_tree(root, NULL);
    json_decref(t.spec);
    free(entry.join_files.items[0]);
    fg_vec_fini(&entry.join_files);
    fg_str_fini(&agent.sandbox_base);
}

static void what_a_vgpu_brings_lies_where_the_task_cannot_change_it(void **state)
{
    char root[200];
    struct fg_error err;
    struct agent agent = {.set = {.bwrap = (char *)"/usr/bin/bwrap", .log_limit_bytes = 4096}};
    struct attempt t = {.agent = &agent, .limits = {1 << 20, 250}, .number = 1};
    struct fg_vgpu_entry entry = {.held_fd = dup(0)};
    unit_folder(root, sizeof root);
    t.dir = root;
    t.spec = json_pack("{s:s,s:[s]}", "task_type", "command", "command", "cat");
    fg_vec_push(&entry.binds, fg_strdup("ro:/host/limits:/run/fgpu/lease.limits"));
    fg_vec_push(&entry.binds, fg_strdup("ln:/proc/1/fd/13:/run/fgpu/lease.counters"));
    fg_vec_push(&entry.binds, fg_strdup("dev:/dev/null"));
    fg_vec_push(&entry.binds, fg_strdup("at:/sys/devices/pci0000:00"));
    fg_vec_push(&entry.binds, fg_strdup("rw:/host/more:/more"));
    fg_vec_push(&entry.groups, 44);
    assert_ok(launch_write_file(&t, &entry, &err), err);
    FG_AUTO_STR struct fg_str launch = {0};
    FG_AUTO_FREE char *path = attempt_path(&t, "launch");
    assert_ok(fg_read_file(path, 65536, &launch, &err), err);
    assert_words(launch, "--sync-fd", "13", "--tmpfs", "/run/fgpu", "--ro-bind", "/host/limits", "/run/fgpu/lease.limits", "--symlink",
                 FG_VGPU_HELD, "/run/fgpu/lease.counters", "--dev-bind", "/dev/null", "/dev/null", "--ro-bind", "/sys/devices/pci0000:00", "/sys/devices/pci0000:00", "--bind", "/host/more", "/more",
                 "--remount-ro", "/run/fgpu");
    assert_words(launch, "group=44");

    fg_remove_tree(root, NULL);
    json_decref(t.spec);
    fg_vgpu_entry_fini(&entry);
}

static void folders_to_hide_are_covered_where_a_system_folder_would_show_them(void **state)
{
    FG_AUTO_STR struct fg_str base = {0};
    const char *hide[] = {"/usr/share", NULL, "/tmp"};
    sandbox_base(&base, hide, FG_COUNT(hide));
    assert_words(base, "--ro-bind", "/usr", "/usr", "--tmpfs", "/usr/share");
    assert_words(base, "--unshare-net");
    assert_words(base, "--die-with-parent");
    assert_words(base, "--clearenv");
}

static void the_filter_is_a_sealed_program(void **state)
{
    struct fg_error err = {0};
    int fd = sandbox_filter(&err);
    assert_true(fd >= 0);
    off_t size = lseek(fd, 0, SEEK_END);
    assert_true(size > 100 && size % 8 == 0);    /* struct sock_filter */
    assert_int_equal(ftruncate(fd, 0), -1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_run_limit_is_seconds_or_text_or_the_tables_default),
        cmocka_unit_test(an_environment_is_in_the_options_file_and_never_on_a_command_line),
        cmocka_unit_test(what_a_vgpu_brings_lies_where_the_task_cannot_change_it),
        cmocka_unit_test(folders_to_hide_are_covered_where_a_system_folder_would_show_them),
        cmocka_unit_test(the_filter_is_a_sealed_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
