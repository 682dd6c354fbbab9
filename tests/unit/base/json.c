/* JSON is read strictly, and every refusal says where and why. */
#include "base/json.h"
#include "unit.h"

static struct fg_error err;

static json_t *parse(const char *text) { return fg_json_parse(text, strlen(text), &err); }

static void refuse(const char *text, size_t n, const char *why)
{
    err = (struct fg_error){0};
    json_t *j = fg_json_parse(text, n, &err);
    assert_null(j);
    assert_int_equal(err.code, FG_E_MALFORMED);
    assert_has(err.text, "line ");
    assert_has(err.text, "column ");
    assert_has(err.text, why);
}
#define REFUSE(text, why) refuse(text, sizeof(text) - 1, why)

static void one_value_of_any_type_is_read(void **state)
{
    static const char *const good[] = {
        "{}", "[]", "null", " 1 ", "\"x\"", "{\"a\":[1,2.5,true]}\n", "-9223372036854775808"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        FG_AUTO_JSON json_t *j = parse(good[i]);
        assert_non_null(j);
    }
}

static void empty_input_is_called_empty(void **state)
{
    REFUSE("", "empty");
    REFUSE(" \r\n\t ", "empty");
    assert_null(fg_json_parse(NULL, 0, &err));
}

static void duplicate_keys_are_refused(void **state)
{
    REFUSE("{\"a\":1,\"a\":2}", "duplicate");
    REFUSE("{\"a\":1,\"\\u0061\":2}", "duplicate");
    REFUSE("[{\"b\":{\"a\":1,\"a\":1}}]", "duplicate");
}

static void integers_beyond_int64_are_refused(void **state)
{
    REFUSE("9223372036854775808", "integer");
    REFUSE("1e999", "overflow");
}

static void what_follows_the_value_is_refused(void **state)
{
    REFUSE("{} {}", "line 1");
    REFUSE("1 2", "line 1");
    REFUSE("{}x", "line 1");
    REFUSE("{'a':1}", "line 1");
    REFUSE("[1,]", "line 1");
    REFUSE("[NaN]", "line 1");
    REFUSE("{\"a\":", "line 1");
    REFUSE("\"open", "line 1");
    REFUSE("\"open\\", "line 1");
}

/* 64 brackets are allowed; the 65th opens at byte 64, column 65. */
static void depth_64_is_read_and_65_is_refused_with_its_offset(void **state)
{
    char text[131];
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    json_t *j = fg_json_parse(text + 1, 128, &err);
    assert_non_null(j);
    json_decref(j);
    refuse(text, 130, "line 1, column 65 (byte 64): nested deeper than 64");
    text[0] = '\n';
    refuse(text, 65, "line 2"); /* 64 that are never closed are jansson's to refuse */
}

static void brackets_in_strings_are_no_depth(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    fg_str_adds(&s, "\"\\\"");
    for (int i = 0; i < 100; i++)
        fg_str_adds(&s, "[");
    fg_str_adds(&s, "\"");
    FG_AUTO_JSON json_t *j = fg_json_parse(s.data, s.len, &err);
    assert_non_null(j);
}

static void siblings_are_no_depth(void **state)
{
    FG_AUTO_STR struct fg_str s = {0};
    fg_str_adds(&s, "[[]");
    for (int i = 0; i < 1000; i++)
        fg_str_adds(&s, ",{}");
    fg_str_adds(&s, "]");
    FG_AUTO_JSON json_t *j = fg_json_parse(s.data, s.len, &err);
    assert_int_equal(json_array_size(j), 1001);
}

static void invalid_utf8_is_refused_with_its_place(void **state)
{
    REFUSE("{\"\xc3\xa9\":\n\"a\xff\"}", "line 2, column 3 (byte 9): the text is not valid UTF-8");
    REFUSE("\"\xed\xa0\x80\"", "UTF-8");
    REFUSE("\"\\ud800\"", "line 1"); /* half a surrogate pair as an escape */
}

static void embedded_nuls_are_refused_clearly(void **state)
{
    REFUSE("{\"a\":\"x\\u0000y\"}", "line 1, column 8 (byte 7): a string holds \\u0000");
    REFUSE("{\"a\\u0000\":1}", "\\u0000");
    REFUSE("[1,\0]", "NUL");
    REFUSE("[\"a\0\"]", "line 1");
    FG_AUTO_JSON json_t *j = parse("\"\\\\u0000 \\u00001\""); /* the second is a NUL, the first is not */
    assert_null(j);
    FG_AUTO_JSON json_t *k = parse("\"\\\\u0000\"");
    assert_string_equal(json_string_value(k), "\\u0000");
}

static void a_dump_is_compact_and_reads_back(void **state)
{
    FG_AUTO_JSON json_t *j = parse("{\"b\": [1, 2], \"a\": \"\\n\xc3\xa9\"}");
    FG_AUTO_STR struct fg_str out = {0};
    fg_str_adds(&out, "x");
    fg_json_dump(j, &out);
    assert_string_equal(out.data, "x{\"b\":[1,2],\"a\":\"\\n\xc3\xa9\"}");
}

static void check_quote(const char *s, size_t n, const char *want)
{
    FG_AUTO_STR struct fg_str out = {0};
    fg_json_quote(&out, s, n);
    assert_string_equal(out.data, want);
}

static void quoting_escapes_what_json_wants_escaped(void **state)
{
    check_quote("", 0, "\"\"");
    check_quote("plain text, long enough", 23, "\"plain text, long enough\"");
    check_quote("\"\\\b\f\n\r\t/", 8, "\"\\\"\\\\\\b\\f\\n\\r\\t/\"");
    check_quote("a\0b\x1f\x7f", 5, "\"a\\u0000b\\u001f\x7f\"");
    check_quote("caf\xc3\xa9 \xf0\x9f\x98\x80", 10, "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"");
    check_quote("a\xff\xc3(", 4, "\"a\xef\xbf\xbd\xef\xbf\xbd(\"");
    check_quote("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Each byte at each place within three words of eight: the fast path agrees with jansson wherever the byte stands. */
static void quoting_agrees_with_jansson_for_every_byte_and_place(void **state)
{
    for (int c = 1; c < 128; c++)
        for (size_t at = 0; at < 24; at++) {
            char text[25] = "abcdefghijklmnopqrstuvwx";
            text[at] = (char)c;
            FG_AUTO_STR struct fg_str out = {0};
            fg_json_quote(&out, text, 24);
            FG_AUTO_JSON json_t *back = json_loadb(out.data, out.len, JSON_DECODE_ANY, NULL);
            assert_string_equal(json_string_value(back), text);
        }
}

static void getters_treat_a_wrong_type_as_absent(void **state)
{
    FG_AUTO_JSON json_t *j = parse("{\"s\":\"x\",\"i\":7,\"b\":true,\"f\":1.5,\"n\":null}");
    assert_string_equal(fg_json_str(j, "s", "d"), "x");
    assert_string_equal(fg_json_str(j, "i", "d"), "d");
    assert_null(fg_json_str(j, "none", NULL));
    assert_int_equal(fg_json_int(j, "i", -1), 7);
    assert_int_equal(fg_json_int(j, "f", -1), -1);
    assert_int_equal(fg_json_int(j, "n", -1), -1);
    assert_true(fg_json_bool(j, "b", false));
    assert_true(fg_json_bool(j, "i", true));
    assert_int_equal(fg_json_int(NULL, "i", -1), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_of_any_type_is_read),
        cmocka_unit_test(empty_input_is_called_empty),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(integers_beyond_int64_are_refused),
        cmocka_unit_test(what_follows_the_value_is_refused),
        cmocka_unit_test(depth_64_is_read_and_65_is_refused_with_its_offset),
        cmocka_unit_test(brackets_in_strings_are_no_depth),
        cmocka_unit_test(siblings_are_no_depth),
        cmocka_unit_test(invalid_utf8_is_refused_with_its_place),
        cmocka_unit_test(embedded_nuls_are_refused_clearly),
        cmocka_unit_test(a_dump_is_compact_and_reads_back),
        cmocka_unit_test(quoting_escapes_what_json_wants_escaped),
        cmocka_unit_test(quoting_agrees_with_jansson_for_every_byte_and_place),
        cmocka_unit_test(getters_treat_a_wrong_type_as_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
