/* http_target.c - tests of wire/http_target.h. */
#include "unit.h"

#include "wire/http_target.h"

static void segments_and_query_are_decoded(void **state)
{
    struct fg_target t;
    struct fg_error err = {0};
    assert_ok(fg_target_parse("/v1/tasks/a%20b%C3%A9/logs?follow=1&name=x+y%2B&after", &t, &err), err);
    assert_int_equal(t.segment_count, 4);
    assert_true(fg_target_match(&t, "/v1/tasks/{id}/logs"));
    assert_string_equal(fg_target_param(&t, "/v1/tasks/{id}/logs", "id"), "a b\xc3\xa9");
    assert_null(fg_target_param(&t, "/v1/tasks/{id}/logs", "other"));
    assert_string_equal(fg_target_query(&t, "follow"), "1");
    assert_string_equal(fg_target_query(&t, "name"), "x y+");
    assert_string_equal(fg_target_query(&t, "after"), "");
    assert_null(fg_target_query(&t, "tail"));
    fg_target_fini(&t);
}

static void only_whole_patterns_match(void **state)
{
    static const struct { const char *path, *pattern; bool match; } cases[] = {
        {"/", "/", true}, {"/", "/v1", false}, {"/v1", "/", false}, {"/v1/tasks", "/v1/tasks", true},
        {"/v1/tasks/", "/v1/tasks", false}, {"/v1//tasks", "/v1/tasks", false}, {"/v1/tasks/", "/v1/tasks/{id}", false},
        {"/v1/tasks/x", "/v1/tasks/{id}", true}, {"/v1/tasks/x/y", "/v1/tasks/{id}", false}, {"/v1/tasks:batch", "/v1/tasks", false},
        {"/v1/t%61sks", "/v1/tasks", true}, {"/V1/tasks", "/v1/tasks", false}, {"/v1/../v1/tasks", "/v1/tasks", false},
        {"http://host:1/v1/tasks?x", "/v1/tasks", true}, {"http://host", "/", false}, {"/a/b/c/d/e/f/g/h/i/j/k/l", "/{x}", false},
        {"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", "/a/b/c/d/e/f/g/h/i/j/k/l", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fg_target t;
        bool match = fg_target_parse(cases[i].path, &t, NULL) == 0 && fg_target_match(&t, cases[i].pattern);
        if (match != cases[i].match)
            fail_msg("%s %s %s", cases[i].path, match ? "matches" : "does not match", cases[i].pattern);
        fg_target_fini(&t);
    }
}

static void bytes_that_could_deceive_are_refused(void **state)
{
    const char *bad[] = {"", "*", "x", "?a=b", "/a%", "/a%2", "/a%zz", "/a%00", "/a%2fb", "/a%2Fb", "/a%0a", "/a%7f", "/%ff", "/%c0%af",
                         "/a?b=%00", "/a?b=%", "/a?%0d=1", "/a?b=%ed%a0%80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fg_target t;
        struct fg_error err;
        if (fg_target_parse(bad[i], &t, &err) == 0)
            fail_msg("'%s' passed", bad[i]);
        assert_int_equal(err.code, FG_E_MALFORMED);
        assert_null(t.text);
    }
}

static void unknown_and_doubled_names_are_refused_with_the_nearest(void **state)
{
    struct fg_target t;
    struct fg_error err;
    assert_int_equal(fg_target_parse("/a?stat=queued", &t, NULL), 0);
    assert_fails(fg_target_check_query(&t, "state|limit|cursor", &err), err, FG_E_INVALID);
    assert_has(err.text, "'stat'");
    assert_has(err.hint, "'state'");
    assert_string_equal(err.pointer, "?stat");
    assert_fails(fg_target_check_query(&t, "", &err), err, FG_E_INVALID);
    assert_has(err.hint, "no query parameters");
    assert_int_equal(fg_target_check_query(&t, "limit|stat", &err), 0);
    fg_target_fini(&t);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fg_target_parse(i == 0 ? "/a?x=1&x=1" : "/a?x&&x", &t, NULL), 0);
        assert_fails(fg_target_check_query(&t, "x", &err), err, FG_E_INVALID);
        assert_has(err.text, "twice");
        fg_target_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_and_query_are_decoded),
        cmocka_unit_test(only_whole_patterns_match),
        cmocka_unit_test(bytes_that_could_deceive_are_refused),
        cmocka_unit_test(unknown_and_doubled_names_are_refused_with_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
