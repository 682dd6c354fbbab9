/* The tables of verbs and options hold together: help, manual and completion are made of them. */
#include "cli/cli.h"
#include "unit.h"

static void every_verb_is_found_by_its_name(void **state)
{
    const struct cli_verb *v;
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        char first[64], *space;
        struct fg_error err;
        size_t used;
        snprintf(first, sizeof first, "%s", v->name);
        space = strchr(first, ' ');
        if (space)
            *space = 0;
        char *words[] = {first, space ? space + 1 : NULL, NULL};
        assert_ptr_equal(cli_verb_find(words, &used, &err), v);
        assert_int_equal(used, space ? 2 : 1);
        assert_non_null(v->run);
        assert_non_null(v->options);
    }
}

static void a_family_alone_means_its_first_verb(void **state)
{
    struct fg_error err;
    size_t used;
    assert_string_equal(cli_verb_find((char *[]){"models", NULL}, &used, &err)->name, "models list");
    assert_int_equal(used, 1);
    assert_string_equal(cli_verb_find((char *[]){"keys", "--json", NULL}, &used, &err)->name, "keys list");
    assert_int_equal(used, 1);
}

static void an_unknown_verb_names_the_nearest(void **state)
{
    struct fg_error err;
    size_t used;
    assert_null(cli_verb_find((char *[]){"sumbit", NULL}, &used, &err));
    assert_has(err.hint, "fgpu submit");
    assert_null(cli_verb_find((char *[]){"keys", "creat", NULL}, &used, &err));
    assert_has(err.hint, "fgpu keys create");
    assert_null(cli_verb_find((char *[]){"keys", "zzzzzzz", NULL}, &used, &err));
    assert_has(err.hint, "fgpu help keys");
}

static void check_table(const char *verb, const struct cli_option *table)
{
    for (const struct cli_option *o = table; o->name; o++) {
        if ((o->type == CLI_FLAG) != (o->metavar == NULL))
            fail_msg("%s --%s: a value needs a metavar, a flag has none", verb, o->name);
        if (o->doc[strlen(o->doc) - 1] != '.')
            fail_msg("%s --%s: its text is no sentence", verb, o->name);
        for (const struct cli_option *p = cli_global_options; table != cli_global_options && p->name; p++)
            if (strcmp(o->name, p->name) == 0 || (o->letter && o->letter == p->letter))
                fail_msg("%s --%s hides a global option", verb, o->name);
        for (const struct cli_option *p = table; p < o; p++)
            if (strcmp(o->name, p->name) == 0 || (o->letter && o->letter == p->letter))
                fail_msg("%s --%s is there twice", verb, o->name);
    }
}

static void tables_are_sound(void **state)
{
    const struct cli_verb *v;
    check_table("fgpu", cli_global_options);
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        check_table(v->name, v->options);
        assert_true(v->max < 0 || v->min <= v->max);
    }
}

static void help_manual_and_completion_know_every_verb_and_option(void **state)
{
    struct fg_str all = {0}, man = {0}, bash = {0};
    const struct cli_verb *v;
    cli_help_all(&all);
    cli_man(&man);
    cli_completion_bash(&bash);
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        struct fg_str help = {0};
        cli_help_verb(v, &help);
        assert_has(all.data, v->name);
        assert_has(man.data, v->name);
        for (const struct cli_option *o = v->options; o->name; o++) {
            char text[80];
            snprintf(text, sizeof text, "--%s", o->name);
            assert_has(help.data, text);
            assert_has(bash.data, text);
            assert_has(man.data, text + 2);
        }
        fg_str_fini(&help);
    }
    fg_str_fini(&all);
    fg_str_fini(&man);
    fg_str_fini(&bash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_is_found_by_its_name),
        cmocka_unit_test(a_family_alone_means_its_first_verb),
        cmocka_unit_test(an_unknown_verb_names_the_nearest),
        cmocka_unit_test(tables_are_sound),
        cmocka_unit_test(help_manual_and_completion_know_every_verb_and_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
