/* Tables line up and stay one line a row, whatever the cells hold. */
#include "cli/text.h"
#include "unit.h"

static void check(struct cli_table *t, bool color, const char *want)
{
    struct fg_str out = {0};
    cli_table_print(t, color, &out);
    assert_string_equal(fg_str_cstr(&out), want);
    fg_str_fini(&out);
    cli_table_fini(t);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    struct cli_table t;
    cli_table_init(&t, "ID|>COST|NOTE");
    cli_table_cell(&t, CLI_NO_TINT, "a");
    cli_table_cell(&t, CLI_NO_TINT, "0.5");
    cli_table_cell(&t, CLI_NO_TINT, "x");
    cli_table_cell(&t, CLI_NO_TINT, "longer");
    cli_table_cell(&t, CLI_NO_TINT, "12345");
    cli_table_cell(&t, CLI_NO_TINT, "%s", "");
    check(&t, false,
          "ID       COST  NOTE\n"
          "a         0.5  x\n"
          "longer  12345\n");
}

static void width_counts_characters_not_bytes(void **state)
{
    struct cli_table t;
    cli_table_init(&t, "A|B");
    cli_table_cell(&t, CLI_NO_TINT, "Zürich");
    cli_table_cell(&t, CLI_NO_TINT, "1");
    cli_table_cell(&t, CLI_NO_TINT, "Berlin");
    cli_table_cell(&t, CLI_NO_TINT, "2");
    check(&t, false,
          "A       B\n"
          "Zürich  1\n"
          "Berlin  2\n");
}

static void cells_cannot_break_the_line_or_move_the_cursor(void **state)
{
    struct cli_table t;
    cli_table_init(&t, "A");
    cli_table_cell(&t, CLI_NO_TINT, "x\ny\033[2J");
    check(&t, false, "A\nx\\ny\\x1b[2J\n");
}

static void no_heads_print_no_head_line(void **state)
{
    struct cli_table t;
    cli_table_init(&t, "|>");
    cli_table_cell(&t, CLI_NO_TINT, "a");
    cli_table_cell(&t, CLI_NO_TINT, "1");
    check(&t, false, "a  1\n");
}

static void colour_changes_no_width(void **state)
{
    struct cli_table t;
    cli_table_init(&t, "|");
    cli_table_cell(&t, CLI_RED, "ab");
    cli_table_cell(&t, CLI_NO_TINT, "c");
    cli_table_cell(&t, CLI_NO_TINT, "abcd");
    cli_table_cell(&t, CLI_NO_TINT, "d");
    check(&t, true, "\033[31mab\033[0m    c\nabcd  d\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(width_counts_characters_not_bytes),
        cmocka_unit_test(cells_cannot_break_the_line_or_move_the_cursor),
        cmocka_unit_test(no_heads_print_no_head_line),
        cmocka_unit_test(colour_changes_no_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
