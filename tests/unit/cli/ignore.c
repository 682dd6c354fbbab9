/* .fgpuignore speaks the language of .gitignore. */
#include "cli/ignore.h"
#include "unit.h"

static void check(const char *lines, const char *path, bool folder, bool want)
{
    struct cli_ignore ig;
    cli_ignore_init(&ig);
    cli_ignore_add(&ig, lines, strlen(lines));
    if (cli_ignore_drops(&ig, path, folder) != want)
        fail_msg("'%s' and '%s': %sdropped", lines, path, want ? "not " : "");
    cli_ignore_fini(&ig);
}

static void a_star_stays_within_a_name(void **state)
{
    check("*.pyc", "a.pyc", false, true);
    check("*.pyc", "deep/down/a.pyc", false, true);
    check("*.pyc", "a.py", false, false);
    check("/*.pyc", "deep/a.pyc", false, false);
    check("data/*.bin", "data/a.bin", false, true);
    check("data/*.bin", "data/sub/a.bin", false, false);
    check("a?c", "abc", false, true);
    check("a?c", "a/c", false, false);
}

static void two_stars_cross_folders(void **state)
{
    check("**/logs", "logs", true, true);
    check("**/logs", "a/b/logs", true, true);
    check("a/**", "a/b/c", false, true);
    check("a/**/z", "a/z", false, true);
    check("a/**/z", "a/b/c/z", false, true);
    check("a/**/z", "b/z", false, false);
}

static void a_slash_at_the_end_means_folders(void **state)
{
    check("build/", "build", true, true);
    check("build/", "build", false, false);
    check("build/", "src/build", true, true);
}

static void a_slash_elsewhere_ties_to_the_top(void **state)
{
    check("/notes", "notes", false, true);
    check("/notes", "doc/notes", false, false);
    check("doc/notes", "doc/notes", false, true);
    check("doc/notes", "x/doc/notes", false, false);
}

static void the_last_line_that_matches_decides(void **state)
{
    check("*.log\n!keep.log\n", "keep.log", false, false);
    check("*.log\n!keep.log\n", "other.log", false, true);
    check("!keep.log\n*.log\n", "keep.log", false, true);
}

static void brackets_are_sets(void **state)
{
    check("[ab].txt", "a.txt", false, true);
    check("[!ab].txt", "a.txt", false, false);
    check("[a-c]1", "b1", false, true);
    check("[]]", "]", false, true);
    check("[x", "[x", false, true);
}

static void comments_blanks_and_escapes(void **state)
{
    check("# a comment\n\n   \n", "# a comment", false, false);
    check("\\#file", "#file", false, true);
    check("\\!file", "!file", false, true);
    check("name   \r\n", "name", false, true);
}

static void git_is_always_left_out(void **state)
{
    check("", ".git", true, true);
    check("", "sub/.git", true, true);
    check("!.git/\n", ".git", true, false);
    check("", ".github", true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_star_stays_within_a_name),         cmocka_unit_test(two_stars_cross_folders),
        cmocka_unit_test(a_slash_at_the_end_means_folders),   cmocka_unit_test(a_slash_elsewhere_ties_to_the_top),
        cmocka_unit_test(the_last_line_that_matches_decides), cmocka_unit_test(brackets_are_sets),
        cmocka_unit_test(comments_blanks_and_escapes),        cmocka_unit_test(git_is_always_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
