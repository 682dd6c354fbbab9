/* Allocation zeroes, copies and moves; asking for more than there can be ends the process. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "base/vec.h"
#include "unit.h"

static void fresh_memory_is_zero_and_size_zero_is_a_pointer(void **state)
{
    FG_AUTO_FREE char *p = fg_alloc(64);
    FG_AUTO_FREE char *none = fg_alloc(0);
    for (int i = 0; i < 64; i++)
        assert_int_equal(p[i], 0);
    assert_non_null(none);
    none = fg_realloc(none, 0, 8);
    assert_non_null(none);
}

static void copies_of_text(void **state)
{
    FG_AUTO_FREE char *a = fg_strdup("abc"), *b = fg_strndup("abc", 2), *c = fg_strndup("abc", 9);
    FG_AUTO_FREE char *d = fg_asprintf("%d-%s", 7, "x");
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "abc");
    assert_string_equal(d, "7-x");
    assert_null(fg_strdup(NULL));
}

static void an_overflowing_size_aborts(void **state)
{
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka's handler would continue the child as a second test run */
        close(STDERR_FILENO);
        volatile size_t many = SIZE_MAX / 4;
        free(fg_realloc(NULL, many, 8));
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void taking_leaves_nothing_behind(void **state)
{
    FG_AUTO_FREE char *p = fg_strdup("x");
    FG_AUTO_FREE char *q = fg_take_ptr(p);
    FG_AUTO_FD int fd = open("/dev/null", O_RDONLY);
    FG_AUTO_FD int other = fg_take_fd(fd);
    assert_null(p);
    assert_string_equal(q, "x");
    assert_int_equal(fd, -1);
    assert_true(other >= 0);
}

static void an_array_grows_and_keeps_its_items(void **state)
{
    FG_VEC(int) v = {0};
    for (int i = 0; i < 1000; i++)
        fg_vec_push(&v, i);
    *fg_vec_add(&v) += 5; /* starts from zero */
    assert_int_equal(v.count, 1001);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(v.items[i], i);
    assert_int_equal(v.items[1000], 5);
    fg_vec_fini(&v);
    assert_null(v.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_memory_is_zero_and_size_zero_is_a_pointer),
        cmocka_unit_test(copies_of_text),
        cmocka_unit_test(an_overflowing_size_aborts),
        cmocka_unit_test(taking_leaves_nothing_behind),
        cmocka_unit_test(an_array_grows_and_keeps_its_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
