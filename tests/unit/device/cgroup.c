/* Where controllers live, read from texts as the kernel writes them on machines of each kind. */
#include "unit.h"

#include "device/cgroup.h"

static const char v1[] =
    "25 24 0:23 / / rw,relatime - ext4 /dev/vda rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n"
    "38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n";
static const char v1_self[] = "4:memory:/user/ann\n5:pids:/\n2:cpu,cpuacct:/\n1:name=systemd:/user.slice\n";
static const char hybrid_line[] = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
static const char v2[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

static const struct fg_cgroup_tree *tree_of(const struct fg_cgroups *cg, unsigned bit)
{
    for (size_t i = 0; i < cg->count; i++)
        if (cg->trees[i].controllers & 1u << bit)
            return &cg->trees[i];
    return NULL;
}

static void each_v1_controller_is_found_in_its_own_hierarchy(void **state)
{
    struct fg_cgroups cg;
    fg_cgroups_parse(v1, v1_self, NULL, &cg);
    assert_int_equal(cg.count, 4);       /* cpu+cpuacct, memory, freezer, pids; neither blkio nor a named one */
    assert_string_equal(tree_of(&cg, FG_CG_MEMORY)->mount, "/sys/fs/cgroup/memory");
    assert_string_equal(tree_of(&cg, FG_CG_MEMORY)->own, "/user/ann");
    assert_string_equal(tree_of(&cg, FG_CG_CPU)->mount, "/sys/fs/cgroup/cpu,cpuacct");
    assert_ptr_equal(tree_of(&cg, FG_CG_CPU), tree_of(&cg, FG_CG_CPUACCT));
    assert_int_equal(tree_of(&cg, FG_CG_PIDS)->version, 1);
    fg_cgroups_close(&cg);
}

static void a_hybrid_machine_has_v1_limits_and_a_v2_tree(void **state)
{
    struct fg_cgroups cg;
    char both[2000];
    snprintf(both, sizeof both, "%s%s", v1, hybrid_line);
    fg_cgroups_parse(both, "0::/system.slice\n4:memory:/\n", NULL, &cg);
    assert_int_equal(cg.count, 5);
    assert_int_equal(cg.trees[4].version, 2);
    assert_int_equal(cg.trees[4].controllers, 0);
    assert_string_equal(cg.trees[4].own, "/system.slice");
    fg_cgroups_close(&cg);
}

static void a_pure_v2_machine_has_one_tree(void **state)
{
    struct fg_cgroups cg;
    fg_cgroups_parse(v2, "0::/user.slice/user-1000.slice\n", NULL, &cg);
    assert_int_equal(cg.count, 1);
    assert_int_equal(cg.trees[0].version, 2);
    assert_string_equal(cg.trees[0].own, "/user.slice/user-1000.slice");
    fg_cgroups_close(&cg);
}

static void mounts_outside_the_given_root_do_not_count(void **state)
{
    struct fg_cgroups cg;
    fg_cgroups_parse(v2, "0::/\n", "/elsewhere", &cg);
    assert_int_equal(cg.count, 0);
    fg_cgroups_parse(v2, "0::/\n", "/sys/fs/cgroup/", &cg);
    assert_int_equal(cg.count, 1);
    fg_cgroups_close(&cg);
}

static void a_hierarchy_mounted_twice_counts_once(void **state)
{
    struct fg_cgroups cg;
    char twice[1000];
    snprintf(twice, sizeof twice, "%s%s", v2, v2);
    fg_cgroups_parse(twice, "0::/\n", NULL, &cg);
    assert_int_equal(cg.count, 1);
    fg_cgroups_close(&cg);
}

static void a_space_in_a_mount_point_is_read_back(void **state)
{
    struct fg_cgroups cg;
    fg_cgroups_parse("30 23 0:26 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n", "0::/\n", "/mnt/a b", &cg);
    assert_int_equal(cg.count, 1);
    assert_string_equal(cg.trees[0].mount, "/mnt/a b");
    fg_cgroups_close(&cg);
}

static void nonsense_is_no_hierarchy(void **state)
{
    struct fg_cgroups cg;
    static const char *const texts[] = {"", "\n\n", "garbage", "1 2 3 - cgroup", "1 2 0:1 / /x rw - cgroup cgroup", " - ", "a b c d e f - cgroup2"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fg_cgroups_parse(texts[i], "::\nx\n:", NULL, &cg);
        assert_int_equal(cg.count, 0);
    }
}

static void a_machine_without_cgroups_says_why(void **state)
{
    struct fg_cgroups cg;
    struct fg_cgroup_source none = {"", "", NULL};
    fg_cgroups_open(&none, "unit", &cg);
    assert_int_equal(cg.count, 0);
    assert_has(cg.why, "no cgroup for memory and cpu");
    assert_has(cg.why, "no cgroup hierarchy is mounted");
    fg_cgroups_close(&cg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_v1_controller_is_found_in_its_own_hierarchy),
        cmocka_unit_test(a_hybrid_machine_has_v1_limits_and_a_v2_tree),
        cmocka_unit_test(a_pure_v2_machine_has_one_tree),
        cmocka_unit_test(mounts_outside_the_given_root_do_not_count),
        cmocka_unit_test(a_hierarchy_mounted_twice_counts_once),
        cmocka_unit_test(a_space_in_a_mount_point_is_read_back),
        cmocka_unit_test(nonsense_is_no_hierarchy),
        cmocka_unit_test(a_machine_without_cgroups_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
