/* Errors carry a code, a text, a place and a hint, and never half a character. */
#include <errno.h>

#include "unit.h"

static void every_code_has_its_row(void **state)
{
    for (int code = FG_E_NONE + 1; code < FG_E_COUNT; code++) {
        const struct fg_error_info *info = fg_error_info((enum fg_error_code)code);
        assert_int_equal(fg_error_code_by_name(info->name), code);
        assert_in_range(info->http_status, 200, 599);
        assert_in_range(info->exit_code, 1, 7);
        assert_true(info->title[0]);
    }
    assert_int_equal(fg_error_info(FG_E_NOT_FOUND)->http_status, 404);
    assert_int_equal(fg_error_info(FG_E_NOT_FOUND)->exit_code, 4);
    assert_true(fg_error_info(FG_E_RATE_LIMITED)->retryable);
}

static void codes_out_of_range_are_internal(void **state)
{
    assert_string_equal(fg_error_info(FG_E_NONE)->name, "internal");
    assert_string_equal(fg_error_info(FG_E_COUNT)->name, "internal");
    assert_string_equal(fg_error_info((enum fg_error_code) - 5)->name, "internal");
    assert_int_equal(fg_error_code_by_name("nonsense"), FG_E_INTERNAL);
    assert_int_equal(fg_error_code_by_name(NULL), FG_E_INTERNAL);
}

static void failing_fills_text_and_clears_pointer_and_hint(void **state)
{
    struct fg_error err = {.pointer = "old", .hint = "old"};
    errno = ENOENT;
    assert_int_equal(fg_fail(&err, FG_E_IO, "read '%s': %m", "x"), -1);
    assert_int_equal(err.code, FG_E_IO);
    assert_string_equal(err.text, "read 'x': No such file or directory");
    assert_string_equal(err.pointer, "");
    assert_string_equal(err.hint, "");
}

static void a_prefix_keeps_code_pointer_and_hint(void **state)
{
    struct fg_error err;
    fg_fail(&err, FG_E_INVALID, "too small");
    assert_int_equal(fg_fail_at(&err, "/a/%d", 3), -1);
    assert_int_equal(fg_fail_hint(&err, "try %d", 7), -1);
    assert_int_equal(fg_fail_prefix(&err, "task %d", 1), -1);
    assert_int_equal(err.code, FG_E_INVALID);
    assert_string_equal(err.text, "task 1: too small");
    assert_string_equal(err.pointer, "/a/3");
    assert_string_equal(err.hint, "try 7");
}

static void an_error_may_quote_itself(void **state)
{
    struct fg_error err;
    fg_fail(&err, FG_E_IO, "inner");
    fg_fail(&err, FG_E_IO, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
}

/* text holds 399 bytes: 199 two-byte characters are 398, the 200th does not fit and is left out whole. */
static void a_long_text_is_cut_between_characters(void **state)
{
    struct fg_error err;
    char text[1001];
    for (size_t i = 0; i < 1000; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[1000] = 0;
    fg_fail(&err, FG_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), 398);
    fg_fail_hint(&err, "a%s", text); /* 239 bytes: 1 + 2 * 119 fits exactly */
    assert_int_equal(strlen(err.hint), 239);
}

/* 159 bytes of prefix, ": ", and the cause. */
static void a_long_prefix_does_not_push_out_the_cause(void **state)
{
    struct fg_error err;
    char text[1001];
    memset(text, 'p', 1000);
    text[1000] = 0;
    fg_fail(&err, FG_E_IO, "cause");
    fg_fail_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), 159 + 2 + 5);
    assert_has(err.text, "p: cause");
}

static void no_error_structure_is_fine(void **state)
{
    assert_int_equal(fg_fail(NULL, FG_E_IO, "x"), -1);
    assert_int_equal(fg_fail_at(NULL, "x"), -1);
    assert_int_equal(fg_fail_hint(NULL, "x"), -1);
    assert_int_equal(fg_fail_prefix(NULL, "x"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_row),
        cmocka_unit_test(codes_out_of_range_are_internal),
        cmocka_unit_test(failing_fills_text_and_clears_pointer_and_hint),
        cmocka_unit_test(a_prefix_keeps_code_pointer_and_hint),
        cmocka_unit_test(an_error_may_quote_itself),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(a_long_prefix_does_not_push_out_the_cause),
        cmocka_unit_test(no_error_structure_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
