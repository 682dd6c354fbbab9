/* A folder is listed as it is: sorted, without what is ignored, never beyond its own borders. */
#include "cli/snapshot.h"
#include <sys/stat.h>
#include "base/io.h"
#include "unit.h"

static char root[200];
static struct cli_folder folder;
static struct fg_error err;

static int make(void **state)
{
    unit_folder(root, sizeof root);
    folder = (struct cli_folder){0};
    return 0;
}

static int drop(void **state)
{
    cli_folder_fini(&folder);
    return fg_remove_tree(root, NULL);
}

static void put(const char *name, const char *text)
{
    FG_AUTO_FREE char *path = fg_path_join(root, name), *above = fg_strdup(path);
    *strrchr(above, '/') = 0;
    assert_ok(fg_mkdir_p(above, 0755, &err), err);
    assert_ok(fg_write_file_atomic(path, text, strlen(text), 0644, &err), err);
}

static void put_link(const char *name, const char *target)
{
    FG_AUTO_FREE char *path = fg_path_join(root, name);
    assert_int_equal(symlink(target, path), 0);
}

static void files_come_sorted_with_size_and_mode(void **state)
{
    put("b.txt", "12345");
    put("a/z.py", "1");
    put("a.sh", "#!");
    FG_AUTO_FREE char *script = fg_path_join(root, "a.sh");
    chmod(script, 0755);
    assert_ok(cli_folder_scan(root, 0, 0, &folder, &err), err);
    assert_int_equal(folder.files.count, 3);
    assert_string_equal(folder.files.items[0].path, "a.sh");
    assert_int_equal(folder.files.items[0].mode, 0755);
    assert_string_equal(folder.files.items[1].path, "a/z.py");
    assert_string_equal(folder.files.items[2].path, "b.txt");
    assert_int_equal(folder.files.items[2].size, 5);
    assert_int_equal(folder.bytes, 8);
}

static void ignored_files_and_folders_are_left_out(void **state)
{
    put(".fgpuignore", "*.bin\nout/\n");
    put("a.bin", "x");
    put("out/deep/b.txt", "x");
    put(".git/HEAD", "x");
    put("keep", "x");
    assert_ok(cli_folder_scan(root, 0, 0, &folder, &err), err);
    assert_int_equal(folder.files.count, 2);
    assert_string_equal(folder.files.items[0].path, ".fgpuignore");
    assert_string_equal(folder.files.items[1].path, "keep");
}

static void empty_folders_are_kept_as_folders(void **state)
{
    FG_AUTO_FREE char *empty = fg_path_join(root, "a/empty");
    assert_ok(fg_mkdir_p(empty, 0755, &err), err);
    put("b/file", "x");
    assert_ok(cli_folder_scan(root, 0, 0, &folder, &err), err);
    assert_int_equal(folder.dirs.count, 1);
    assert_string_equal(folder.dirs.items[0], "a/empty");
}

static void links_inside_count_as_files_links_outside_are_refused(void **state)
{
    put("real", "12");
    put_link("inner", "real");
    assert_ok(cli_folder_scan(root, 0, 0, &folder, &err), err);
    assert_int_equal(folder.files.count, 2);
    assert_int_equal(folder.files.items[0].size, 2);
    cli_folder_fini(&folder);
    put_link("passwd", "/etc/passwd");
    assert_fails(cli_folder_scan(root, 0, 0, &folder, &err), err, FG_E_INVALID);
    assert_has(err.text, "'passwd'");
    assert_has(err.text, "out of the folder");
    assert_has(err.hint, ".fgpuignore");
}

static void links_to_folders_and_to_nothing_are_refused(void **state)
{
    put("d/file", "x");
    put_link("loop", "d");
    assert_fails(cli_folder_scan(root, 0, 0, &folder, &err), err, FG_E_INVALID);
    put(".fgpuignore", "loop\n");
    put_link("broken", "nowhere");
    assert_fails(cli_folder_scan(root, 0, 0, &folder, &err), err, FG_E_INVALID);
    assert_has(err.text, "'broken'");
}

static void a_folder_beside_with_the_same_beginning_is_outside(void **state)
{
    FG_AUTO_FREE char *beside = fg_asprintf("%s-beside", root), *secret = fg_path_join(beside, "secret");
    assert_ok(fg_mkdir_p(beside, 0755, &err), err);
    assert_ok(fg_write_file_atomic(secret, "x", 1, 0644, &err), err);
    put_link("peek", secret);
    assert_fails(cli_folder_scan(root, 0, 0, &folder, &err), err, FG_E_INVALID);
    fg_remove_tree(beside, NULL);
}

static void limits_name_where_they_were_passed(void **state)
{
    put("a", "123");
    put("b", "123");
    assert_fails(cli_folder_scan(root, 1, 0, &folder, &err), err, FG_E_TOO_LARGE);
    assert_has(err.text, "more than 1 files");
    assert_fails(cli_folder_scan(root, 0, 5, &folder, &err), err, FG_E_TOO_LARGE);
    assert_ok(cli_folder_scan(root, 2, 6, &folder, &err), err);
}

static void a_missing_folder_is_the_users_mistake(void **state)
{
    assert_fails(cli_folder_scan("/nonexistent", 0, 0, &folder, &err), err, FG_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_come_sorted_with_size_and_mode, make, drop),
        cmocka_unit_test_setup_teardown(ignored_files_and_folders_are_left_out, make, drop),
        cmocka_unit_test_setup_teardown(empty_folders_are_kept_as_folders, make, drop),
        cmocka_unit_test_setup_teardown(links_inside_count_as_files_links_outside_are_refused, make, drop),
        cmocka_unit_test_setup_teardown(links_to_folders_and_to_nothing_are_refused, make, drop),
        cmocka_unit_test_setup_teardown(a_folder_beside_with_the_same_beginning_is_outside, make, drop),
        cmocka_unit_test_setup_teardown(limits_name_where_they_were_passed, make, drop),
        cmocka_unit_test_setup_teardown(a_missing_folder_is_the_users_mistake, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
