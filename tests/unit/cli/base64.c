/* Base64 as RFC 4648, section 10, shows it. */
#include "cli/base64.h"
#include "unit.h"

static void the_examples_of_the_standard(void **state)
{
    static const char *const pairs[][2] = {{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"Zm9vYmFy", "foobar"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct fg_str out = {0};
        assert_true(cli_base64_decode(pairs[i][0], &out));
        assert_string_equal(fg_str_cstr(&out), pairs[i][1]);
        fg_str_fini(&out);
    }
}

static void all_bytes_come_through(void **state)
{
    struct fg_str out = {0};
    assert_true(cli_base64_decode("AP+AGw==", &out));
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, "\0\xff\x80\x1b", 4);
    fg_str_fini(&out);
}

static void what_is_no_base64_is_refused(void **state)
{
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Z===", "Zm9v!", "Zg==Zg=="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fg_str out = {0};
        assert_false(cli_base64_decode(bad[i], &out));
        fg_str_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_examples_of_the_standard), cmocka_unit_test(all_bytes_come_through),
                                       cmocka_unit_test(what_is_no_base64_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
