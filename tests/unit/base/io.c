/* Files are whole or absent, trees go without following links, and what a tenant names stays beneath its folder. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "unit.h"

static struct fg_error err;
static char root[4096];

static int enter(void **state) { return chdir(unit_folder(root, sizeof root)); }
static int leave(void **state) { return chdir("/") < 0 ? -1 : fg_remove_tree(root, &err); }

static void put(const char *path, const char *text)
{
    assert_ok(fg_write_file_atomic(path, text, strlen(text), 0644, &err), err);
}

static int entries(const char *path)
{
    FG_AUTO_FREE char *command = fg_asprintf("exit $(ls -A %s | wc -l)", path);
    return WEXITSTATUS(system(command));
}

static void a_file_is_read_whole_and_appended(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    put("f", "hello");
    fg_str_adds(&s, ">");
    assert_ok(fg_read_file("f", 5, &s, &err), err);
    assert_string_equal(s.data, ">hello");
    assert_ok(fg_read_file("/proc/self/status", SIZE_MAX, &s, &err), err); /* its size is said to be 0 */
    assert_has(s.data, "Pid:");
}

static void a_file_above_the_limit_leaves_nothing_behind(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    put("f", "hello");
    fg_str_adds(&s, "x");
    assert_fails(fg_read_file("f", 4, &s, &err), err, FG_E_TOO_LARGE);
    assert_string_equal(s.data, "x");
    assert_int_equal(s.len, 1);
}

static void a_large_file_is_read_in_steps(void **state)
{
    size_t n = 1000003;
    FG_AUTO_FREE char *data = fg_alloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 7);
    FG_AUTO_STR struct fg_str s = {0};
    assert_ok(fg_write_file_atomic("large", data, n, 0600, &err), err);
    assert_ok(fg_read_file("large", n, &s, &err), err);
    assert_int_equal(s.len, n);
    assert_memory_equal(s.data, data, n);
}

static void a_missing_file_is_not_found(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    put("f", "x");
    assert_fails(fg_read_file("none", 9, &s, &err), err, FG_E_NOT_FOUND);
    assert_has(err.text, "none");
    assert_fails(fg_read_file("f/none", 9, &s, &err), err, FG_E_NOT_FOUND);
    assert_fails(fg_read_file(".", 9, &s, &err), err, FG_E_IO);
}

static void an_atomic_write_replaces_and_sets_the_mode(void **state)
{
    struct stat st;
    FG_AUTO_STR struct fg_str s = {0};
    mode_t mask = umask(077); /* the mode asked for wins over the mask */
    put("atomic", "old");
    put("atomic", "new");
    umask(mask);
    assert_ok(fg_read_file("atomic", 99, &s, &err), err);
    assert_string_equal(s.data, "new");
    assert_int_equal(stat("atomic", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
}

/* A reader that has the old file open keeps it: the new one is another inode. */
static void an_atomic_write_does_not_touch_the_old_file(void **state)
{
    char buf[4] = {0};
    put("kept", "old");
    FG_AUTO_FD int fd = open("kept", O_RDONLY | O_CLOEXEC);
    put("kept", "new");
    assert_int_equal(read(fd, buf, 3), 3);
    assert_string_equal(buf, "old");
}

static void a_failed_atomic_write_leaves_no_trace(void **state)
{
    assert_ok(fg_mkdir_p("dir/sub", 0755, &err), err);
    assert_fails(fg_write_file_atomic("dir/sub", "x", 1, 0644, &err), err, FG_E_IO); /* a folder is in the way */
    assert_int_equal(entries("dir"), 1);
    assert_fails(fg_write_file_atomic("none/f", "x", 1, 0644, &err), err, FG_E_IO);
}

static void a_full_disk_is_storage_full(void **state)
{
    assert_fails(fg_write_existing("/dev/full", "x", &err), err, FG_E_STORAGE_FULL);
}

static void writing_to_existing_files_creates_none(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    assert_fails(fg_write_existing("absent", "x", &err), err, FG_E_NOT_FOUND);
    put("there", "12345");
    assert_ok(fg_write_existing("there", "ab", &err), err);
    assert_ok(fg_read_file("there", 99, &s, &err), err);
    assert_string_equal(s.data, "ab345"); /* nothing is cut: a control file has no length */
}

static void folders_are_made_with_their_parents(void **state)
{
    struct stat st;
    assert_ok(fg_mkdir_p("a//b/c/", 0755, &err), err);
    assert_ok(fg_mkdir_p("a/b/c", 0755, &err), err);
    assert_int_equal(stat("a/b/c", &st), 0);
    put("a/file", "x");
    assert_fails(fg_mkdir_p("a/file", 0755, &err), err, FG_E_IO);
    assert_fails(fg_mkdir_p("a/file/d", 0755, &err), err, FG_E_IO);
}

static void a_tree_goes_and_its_links_targets_stay(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    assert_ok(fg_mkdir_p("outside", 0755, &err), err);
    put("outside/precious", "x");
    assert_ok(fg_mkdir_p("tree/a/b", 0755, &err), err);
    put("tree/a/f", "x");
    assert_int_equal(symlink("../../outside", "tree/a/link"), 0);
    assert_int_equal(symlink("nowhere", "tree/dangling"), 0);
    assert_ok(fg_remove_tree("tree", &err), err);
    assert_int_equal(access("tree", F_OK), -1);
    assert_ok(fg_read_file("outside/precious", 9, &s, &err), err);
    assert_ok(fg_remove_tree("tree", &err), err); /* a missing one is fine */
}

static void removing_a_link_or_a_file_removes_just_that(void **state)
{
    assert_ok(fg_mkdir_p("target", 0755, &err), err);
    put("target/f", "x");
    assert_int_equal(symlink("target", "link"), 0);
    assert_ok(fg_remove_tree("link", &err), err);
    assert_int_equal(access("target/f", F_OK), 0);
    assert_ok(fg_remove_tree("target/f", &err), err);
    assert_int_equal(entries("target"), 0);
}

static void folders_that_forbid_reading_go_too(void **state)
{
    assert_ok(fg_mkdir_p("locked/in/side", 0755, &err), err);
    assert_int_equal(chmod("locked/in", 0), 0);
    assert_ok(fg_remove_tree("locked", &err), err);
    assert_int_equal(access("locked", F_OK), -1);
}

/* 3000 folders below each other: no process has so many descriptors by default (1024), nor is the path within PATH_MAX.
 * One of them carries a name that the removal would give. */
static void a_tree_deeper_than_the_descriptors_goes(void **state)
{
    assert_ok(fg_mkdir_p("deep/.fastgpu-removing-0/x", 0755, &err), err);
    int at = open("deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "dd", 0755), 0);
        int next = openat(at, "dd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    assert_ok(fg_remove_tree("deep", &err), err);
    assert_int_equal(access("deep", F_OK), -1);
}

static int beneath(int dir, const char *path)
{
    int fd = fg_open_beneath(dir, path, O_RDONLY, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : errno;
}

static void opening_beneath_never_leaves_the_folder(void **state)
{
    put("secret", "x");
    assert_ok(fg_mkdir_p("jail/in", 0755, &err), err);
    put("jail/in/f", "x");
    assert_int_equal(symlink("../secret", "jail/escape"), 0);
    assert_int_equal(symlink("..", "jail/up"), 0);
    assert_int_equal(symlink("in/f", "jail/harmless"), 0);
    assert_int_equal(symlink("/proc/self/root", "jail/magic"), 0);
    FG_AUTO_FD int dir = open("jail", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(beneath(dir, "in/f"), 0);
    assert_int_equal(beneath(dir, "in/../in/f"), 0);
    assert_int_equal(beneath(dir, "none"), ENOENT);
    assert_int_equal(beneath(dir, "../secret"), EXDEV);
    assert_int_equal(beneath(dir, "in/../../secret"), EXDEV);
    assert_int_equal(beneath(dir, "/etc/passwd"), EXDEV);
    assert_int_equal(beneath(dir, "escape"), ELOOP);
    assert_int_equal(beneath(dir, "up/secret"), ELOOP);
    assert_int_equal(beneath(dir, "harmless"), ELOOP); /* a link that stays inside may be exchanged later */
    assert_int_equal(beneath(dir, "magic/etc/passwd"), ELOOP);
}

static void opening_beneath_creates_and_closes_on_exec(void **state)
{
    assert_ok(fg_mkdir_p("jail2", 0755, &err), err);
    FG_AUTO_FD int dir = open("jail2", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FG_AUTO_FD int fd = fg_open_beneath(dir, "new", O_WRONLY | O_CREAT | O_EXCL, 0600);
    struct stat st;
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(beneath(dir, "new"), 0);
}

static void folders_beneath_never_leave_the_folder(void **state)
{
    assert_ok(fg_mkdir_p("jail3", 0755, &err), err);
    assert_int_equal(symlink("..", "jail3/up"), 0);
    FG_AUTO_FD int dir = open("jail3", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fg_mkdir_beneath(dir, "a/b//c/", 0755), 0);
    assert_int_equal(fg_mkdir_beneath(dir, "a/b/c", 0755), 0);
    assert_int_equal(access("jail3/a/b/c", F_OK), 0);
    assert_int_equal(fg_mkdir_beneath(dir, "up/out", 0755), -1);
    assert_int_equal(errno, ELOOP);
    assert_int_equal(fg_mkdir_beneath(dir, "../out", 0755), -1);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(fg_mkdir_beneath(dir, "a/../../out", 0755), -1);
    assert_int_equal(fg_mkdir_beneath(dir, "/tmp", 0755), -1);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(access("out", F_OK), -1);
}

static void check_join(const char *a, const char *b, const char *want)
{
    FG_AUTO_FREE char *path = fg_path_join(a, b);
    assert_string_equal(path, want);
}

static void paths_join_with_one_slash(void **state)
{
    check_join("a", "b", "a/b");
    check_join("a/", "b", "a/b");
    check_join("a//", "//b", "a/b");
    check_join("/", "b", "/b");
    check_join("", "b", "b");
    check_join("/data", "/etc/passwd", "/data/etc/passwd");
}

/* FIPS 180-2: SHA-256 of "abc"; and of nothing. */
static void sha256_is_that_of_the_standard(void **state)
{
    char hex[65], again[65];
    uint64_t size;
    fg_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    put("abc", "abc");
    FG_AUTO_FD int fd = open("abc", O_RDONLY | O_CLOEXEC);
    assert_ok(fg_sha256_fd(fd, again, &size, &err), err);
    assert_string_equal(again, hex);
    assert_int_equal(size, 3);
    assert_ok(fg_sha256_fd(fd, again, NULL, &err), err); /* from the position on: nothing is left */
    assert_string_equal(again, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_fails(fg_sha256_fd(-1, again, NULL, &err), err, FG_E_IO);
    assert_true(fg_is_sha256(hex));
    hex[3] = 'A';
    assert_false(fg_is_sha256(hex));
    assert_false(fg_is_sha256("abc"));
    assert_false(fg_is_sha256(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_and_appended),
        cmocka_unit_test(a_file_above_the_limit_leaves_nothing_behind),
        cmocka_unit_test(a_large_file_is_read_in_steps),
        cmocka_unit_test(a_missing_file_is_not_found),
        cmocka_unit_test(an_atomic_write_replaces_and_sets_the_mode),
        cmocka_unit_test(an_atomic_write_does_not_touch_the_old_file),
        cmocka_unit_test(a_failed_atomic_write_leaves_no_trace),
        cmocka_unit_test(a_full_disk_is_storage_full),
        cmocka_unit_test(writing_to_existing_files_creates_none),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(a_tree_goes_and_its_links_targets_stay),
        cmocka_unit_test(removing_a_link_or_a_file_removes_just_that),
        cmocka_unit_test(folders_that_forbid_reading_go_too),
        cmocka_unit_test(a_tree_deeper_than_the_descriptors_goes),
        cmocka_unit_test(opening_beneath_never_leaves_the_folder),
        cmocka_unit_test(opening_beneath_creates_and_closes_on_exec),
        cmocka_unit_test(folders_beneath_never_leave_the_folder),
        cmocka_unit_test(paths_join_with_one_slash),
        cmocka_unit_test(sha256_is_that_of_the_standard),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
