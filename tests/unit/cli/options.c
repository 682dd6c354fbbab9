/* Options are found, checked and refused as the table says. */
#include "cli/options.h"
#include "base/str.h"
#include "unit.h"

static const struct cli_option table[] = {
    {"all", 'a', CLI_FLAG, NULL, "All."},
    {"number", 'n', CLI_INTEGER, "N", "A number."},
    {"mem", 0, CLI_BYTES, "SIZE", "Memory."},
    {"share", 0, CLI_SHARE, "PERCENT", "Share."},
    {"wait", 'w', CLI_DURATION, "TIME", "Time."},
    {"env", 'e', CLI_LIST, "NAME=VALUE", "Variables."},
    {"priority", 0, CLI_CHOICE, "low|normal|high", "Priority."},
    {"max-cost", 0, CLI_MONEY, "USD", "Money."},
    {NULL},
};

static struct cli_args args;
static struct fg_error err;

static int parse(char **argv)
{
    cli_args_fini(&args);
    err = (struct fg_error){0};
    return cli_parse(table, argv, &args, &err);
}
#define PARSE(...) parse((char *[]){__VA_ARGS__, NULL})

static int forget(void **state)
{
    cli_args_fini(&args);
    args = (struct cli_args){0};
    return 0;
}

static void options_stand_before_between_and_after_names(void **state)
{
    assert_int_equal(PARSE("-a", "one", "--number", "5", "two", "--mem=1GB"), 0);
    assert_true(cli_flag(&args, "all"));
    assert_int_equal(cli_integer(&args, "number", 0), 5);
    assert_string_equal(cli_text(&args, "mem"), "1GB");
    assert_int_equal(args.names.count, 2);
    assert_string_equal(args.names.items[1], "two");
}

static void letters_group_and_take_their_value_joined_or_next(void **state)
{
    assert_int_equal(PARSE("-an7"), 0);
    assert_true(cli_flag(&args, "all"));
    assert_int_equal(cli_integer(&args, "number", 0), 7);
    assert_int_equal(PARSE("-n", "8", "x"), 0);
    assert_int_equal(cli_integer(&args, "number", 0), 8);
    assert_int_equal(args.names.count, 1);
}

static void what_follows_two_dashes_is_the_command_untouched(void **state)
{
    assert_int_equal(PARSE("-a", "--", "prog", "--json", "-a", "--"), 0);
    assert_true(args.dashes);
    assert_int_equal(args.command_count, 4);
    assert_string_equal(args.command[1], "--json");
    assert_string_equal(args.command[3], "--");
    assert_false(cli_flag(&args, "json"));
    assert_null(args.command[4]);
}

static void a_list_keeps_every_value_in_order_others_the_last(void **state)
{
    size_t at = 0;
    assert_int_equal(PARSE("-e", "A=1", "--env=B=2", "-n1", "-n2"), 0);
    assert_string_equal(cli_each(&args, "env", &at), "A=1");
    assert_string_equal(cli_each(&args, "env", &at), "B=2");
    assert_null(cli_each(&args, "env", &at));
    assert_int_equal(cli_integer(&args, "number", 0), 2);
}

static void global_options_are_known_everywhere(void **state)
{
    assert_int_equal(PARSE("--json", "-q", "--url", "http://x"), 0);
    assert_true(cli_flag(&args, "json") && cli_flag(&args, "quiet"));
    assert_string_equal(cli_text(&args, "url"), "http://x");
    assert_null(cli_text(&args, "key-file"));
}

static void a_lone_dash_is_a_name(void **state)
{
    assert_int_equal(PARSE("-"), 0);
    assert_string_equal(args.names.items[0], "-");
}

static void an_unknown_option_names_the_nearest(void **state)
{
    assert_fails(PARSE("--prioritty", "low"), err, FG_E_INVALID);
    assert_has(err.text, "'--prioritty'");
    assert_has(err.hint, "--priority");
    assert_fails(PARSE("--jsn"), err, FG_E_INVALID);
    assert_has(err.hint, "--json");
    assert_fails(PARSE("-x"), err, FG_E_INVALID);
    assert_fails(PARSE("-ax"), err, FG_E_INVALID);
}

static void a_bad_value_is_refused_with_the_option_as_place(void **state)
{
    static char *bad[][2] = {{"--mem", "lots"},    {"--share", "0"},      {"--share", "101"},
                             {"--number", "x"},    {"--number", "-1"},    {"--wait", "0"},
                             {"--max-cost", "-1"}, {"--priority", "mid"}, {"--priority", ""}};
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        assert_fails(PARSE(bad[i][0], bad[i][1]), err, FG_E_INVALID);
        assert_string_equal(err.pointer, bad[i][0]);
    }
}

static void a_missing_value_and_a_value_too_many_are_refused(void **state)
{
    assert_fails(PARSE("--mem"), err, FG_E_INVALID);
    assert_has(err.text, "--mem SIZE");
    assert_fails(PARSE("-n"), err, FG_E_INVALID);
    assert_fails(PARSE("--all=1"), err, FG_E_INVALID);
    assert_has(err.text, "takes no value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(options_stand_before_between_and_after_names, forget),
        cmocka_unit_test_teardown(letters_group_and_take_their_value_joined_or_next, forget),
        cmocka_unit_test_teardown(what_follows_two_dashes_is_the_command_untouched, forget),
        cmocka_unit_test_teardown(a_list_keeps_every_value_in_order_others_the_last, forget),
        cmocka_unit_test_teardown(global_options_are_known_everywhere, forget),
        cmocka_unit_test_teardown(a_lone_dash_is_a_name, forget),
        cmocka_unit_test_teardown(an_unknown_option_names_the_nearest, forget),
        cmocka_unit_test_teardown(a_bad_value_is_refused_with_the_option_as_place, forget),
        cmocka_unit_test_teardown(a_missing_value_and_a_value_too_many_are_refused, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
