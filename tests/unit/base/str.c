/* Strings grow and stay terminated; UTF-8 is RFC 3629's; a typo finds its word. */
#include "base/str.h"
#include "base/mem.h"
#include "unit.h"

static void an_empty_string_is_valid_everywhere(void **state)
{
    struct fg_str s = {0};
    assert_string_equal(fg_str_cstr(&s), "");
    fg_str_add(&s, NULL, 0);
    fg_str_clear(&s);
    FG_AUTO_FREE char *taken = fg_str_take(&s);
    assert_string_equal(taken, "");
    fg_str_fini(&s);
    fg_str_fini(&s);
    fg_str_fini(NULL);
}

static void adding_keeps_what_was_there(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    for (int i = 0; i < 1000; i++)
        fg_str_addf(&s, "%03d,", i);
    assert_int_equal(s.len, 4000);
    assert_memory_equal(s.data, "000,001,", 8);
    assert_string_equal(s.data + 3996, "999,");
    fg_str_clear(&s);
    fg_str_adds(&s, "x");
    fg_str_add(&s, "\0y", 2);
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.data, "x\0y", 4);
}

/* The first reservation holds 31 bytes; one byte less, as many and one more are the cases of the second print. */
static void a_formatted_text_fits_exactly(void **state)
{
    for (int n = 30; n <= 33; n++) {
        FG_AUTO_STR struct fg_str s = {0};
        fg_str_addf(&s, "%*d", n, 7);
        assert_int_equal(s.len, n);
        assert_int_equal(strlen(s.data), n);
        assert_int_equal(s.data[n - 1], '7');
    }
}

static void taking_hands_over_the_bytes(void **state)
{
    struct fg_str s = {0};
    fg_str_adds(&s, "abc");
    FG_AUTO_FREE char *p = fg_str_take(&s);
    assert_string_equal(p, "abc");
    assert_null(s.data);
    assert_int_equal(s.len, 0);
}

static void equality_and_prefixes(void **state)
{
    assert_true(fg_streq(NULL, NULL));
    assert_false(fg_streq(NULL, ""));
    assert_false(fg_streq("", NULL));
    assert_true(fg_streq("a", "a"));
    assert_false(fg_streq("a", "b"));
    assert_true(fg_starts_with("abc", "ab"));
    assert_true(fg_starts_with("abc", ""));
    assert_false(fg_starts_with("a", "ab"));
}

#define VALID(text)   assert_true(fg_utf8_valid(text, sizeof(text) - 1))
#define INVALID(text) assert_false(fg_utf8_valid(text, sizeof(text) - 1))

static void utf8_takes_the_ends_of_every_length(void **state)
{
    VALID("");
    VALID("\x7f\xc2\x80");
    VALID("\xdf\xbf\xe0\xa0\x80");
    VALID("\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf");
    VALID("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    VALID("12345678\xc3\xa9 and nul \0 too");
}

static void utf8_refuses_what_rfc_3629_refuses(void **state)
{
    INVALID("\x80");
    INVALID("\xc0\x80");         /* overlong NUL */
    INVALID("\xc1\xbf");         /* overlong */
    INVALID("\xe0\x9f\xbf");     /* overlong */
    INVALID("\xf0\x8f\xbf\xbf"); /* overlong */
    INVALID("\xed\xa0\x80");     /* surrogate */
    INVALID("\xed\xbf\xbf");     /* surrogate */
    INVALID("\xf4\x90\x80\x80"); /* U+110000 */
    INVALID("\xf5\x80\x80\x80");
    INVALID("\xff");
    INVALID("\xc3");     /* cut */
    INVALID("\xe2\x82"); /* cut */
    INVALID("\xc3(");
    INVALID("\xe2\x28\xa1");
    INVALID("\xe2\x82(");
    INVALID("12345678\x80");
    INVALID("1234567\xc3");
}

static void a_typo_finds_its_word(void **state)
{
    const char *const words[] = {"listen", "lease_s", "log_level"};
    assert_string_equal(fg_nearest("listn", words, 3), "listen");
    assert_string_equal(fg_nearest("lisetn", words, 3), "listen");
    assert_string_equal(fg_nearest("loglevel", words, 3), "log_level");
    assert_string_equal(fg_nearest("listen", words, 3), "listen");
}

/* "abc" is 3 letters: up to 1 + 3/3 = 2 edits are near, 3 are not. */
static void nearness_ends_at_one_plus_a_third(void **state)
{
    const char *const two[] = {"abcde"}, *const three[] = {"abcdef"};
    assert_string_equal(fg_nearest("abc", two, 1), "abcde");
    assert_null(fg_nearest("abc", three, 1));
    assert_null(fg_nearest("abc", two, 0));
}

static void very_long_words_are_near_nothing(void **state)
{
    char text[300];
    memset(text, 'a', sizeof text);
    text[299] = 0;
    const char *const words[] = {"a", text};
    assert_null(fg_nearest(text, words, 2));
    assert_string_equal(fg_nearest("a", words, 2), "a");
    text[63] = 0;
    assert_ptr_equal(fg_nearest(text, words, 2), text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_string_is_valid_everywhere),
        cmocka_unit_test(adding_keeps_what_was_there),
        cmocka_unit_test(a_formatted_text_fits_exactly),
        cmocka_unit_test(taking_hands_over_the_bytes),
        cmocka_unit_test(equality_and_prefixes),
        cmocka_unit_test(utf8_takes_the_ends_of_every_length),
        cmocka_unit_test(utf8_refuses_what_rfc_3629_refuses),
        cmocka_unit_test(a_typo_finds_its_word),
        cmocka_unit_test(nearness_ends_at_one_plus_a_third),
        cmocka_unit_test(very_long_words_are_near_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
