/* A task's output cannot command the terminal that shows it. */
#include "cli/text.h"
#include "unit.h"

/* Whole at once, and byte by byte: pieces may be cut anywhere. */
static void filters(bool color, const char *in, size_t n, const char *want)
{
    for (size_t step = 1; step <= n; step += n > 1 ? n - 1 : 1) {
        struct cli_filter f = {.color = color};
        struct fg_str out = {0};
        for (size_t i = 0; i < n; i += step)
            cli_filter(&f, in + i, step < n - i ? step : n - i, &out);
        cli_filter_end(&f, &out);
        assert_string_equal(fg_str_cstr(&out), want);
        fg_str_fini(&out);
    }
}
#define FILTERS(color, in, want) filters(color, in, sizeof(in) - 1, want)

static void plain_text_and_utf8_pass(void **state)
{
    FILTERS(true, "a\tb\r\nc", "a\tb\r\nc");
    FILTERS(true, "Zürich 漢字 🙂\n", "Zürich 漢字 🙂\n");
}

static void colours_pass_and_are_reset_at_the_end(void **state)
{
    FILTERS(true, "\033[1;31mred", "\033[1;31mred\033[0m");
    FILTERS(false, "\033[1;31mred", "red");
}

static void other_sequences_are_dropped(void **state)
{
    FILTERS(true, "a\033[2Jb\033[10;20Hc", "abc");
    FILTERS(true, "a\033]0;title\ab", "ab");
    FILTERS(true, "a\033]8;;http://x\033\\b", "ab");
    FILTERS(true, "a\033Pq...\033\\b", "ab");
    FILTERS(true, "a\033cb\0337d", "abd");
    FILTERS(true, "a\033[6n", "a");
}

static void an_open_string_ends_at_the_line(void **state) { FILTERS(true, "\033]0;never closed\nnext\n", "next\n"); }

static void stray_control_bytes_are_shown(void **state)
{
    FILTERS(true, "a\a\b\x7f", "a\\x07\\x08\\x7f");
    FILTERS(true,
            "\xc2\x9b"
            "31m",
            "\\xc2\\x9b31m");
}

static void bytes_that_are_no_utf8_are_shown(void **state)
{
    FILTERS(true, "\xff\xfeok", "\\xff\\xfeok");
    FILTERS(true, "\xe6\xbc", "\\xe6\\xbc");
    FILTERS(true, "\xe6\xbcx", "\\xe6\\xbcx");
}

static void a_sequence_without_end_holds_little(void **state)
{
    struct cli_filter f = {.color = true};
    struct fg_str out = {0};
    cli_filter(&f, "\033[", 2, &out);
    for (int i = 0; i < 100000; i++)
        cli_filter(&f, "1", 1, &out);
    cli_filter(&f, "mx", 2, &out);
    assert_string_equal(fg_str_cstr(&out), "x");
    fg_str_fini(&out);
}

static void clean_makes_one_line(void **state)
{
    struct fg_str out = {0};
    cli_clean(&out, "a\nb\tc\033[m\0d\xff", 11);
    assert_string_equal(out.data, "a\\nb\\tc\\x1b[m\\x00d\\xff");
    fg_str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_and_utf8_pass),
        cmocka_unit_test(colours_pass_and_are_reset_at_the_end),
        cmocka_unit_test(other_sequences_are_dropped),
        cmocka_unit_test(an_open_string_ends_at_the_line),
        cmocka_unit_test(stray_control_bytes_are_shown),
        cmocka_unit_test(bytes_that_are_no_utf8_are_shown),
        cmocka_unit_test(a_sequence_without_end_holds_little),
        cmocka_unit_test(clean_makes_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
