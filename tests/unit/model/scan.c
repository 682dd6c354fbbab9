/* What the scan takes, the JSON library takes too, and both see the same members; what it does not take is left to it. */
#include "model/scan.h"

#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "random.h"
#include "unit.h"

static void assert_same(const struct fg_scan *s, uint32_t first, uint32_t end, const json_t *object)
{
    size_t members = 0;
    assert_true(json_is_object(object));
    for (uint32_t i = first; i < end; i = s->members[i].end, members++) {
        const struct fg_scan_member *m = &s->members[i];
        const json_t *j = json_object_get(object, m->key);
        assert_non_null(j);
        switch (m->type) {
        case FG_SCAN_INTEGER: assert_true(json_is_integer(j) && json_integer_value(j) == m->number); break;
        case FG_SCAN_BOOLEAN: assert_true(json_is_boolean(j) && json_is_true(j) == m->number); break;
        case FG_SCAN_STRING:
            assert_true(json_is_string(j) && json_string_length(j) == m->len && memcmp(json_string_value(j), m->text, m->len + 1) == 0);
            break;
        case FG_SCAN_OBJECT: assert_same(s, i + 1, m->end, j); break;
        }
    }
    assert_int_equal(members, json_object_size(object));
}

/* Whether it was for the scan. */
static bool check(const char *text)
{
    static struct fg_scan s;
    struct fg_error err;
    FG_AUTO_JSON json_t *j = fg_json_parse(text, strlen(text), &err);
    if (!fg_scan(&s, text, strlen(text)))
        return false;
    assert_non_null(j);
    assert_same(&s, 0, s.count, j);
    return true;
}

static void members_of_small_objects_are_found_where_they_stand(void **state)
{
    static const char *const taken[] = {
        "{}", " { } ", "{\"a\":1}", "{\"a\":-12,\"b\":{\"a\":true,\"c\":{}},\"c\":\"x\\\"\\\\\\n\\t/\"}", "{\"a\":999999999999999999,\"b\":0}",
        "{\"a\" : { \"b\" : false } ,\n\"c\" : \"\"}"};
    static const char *const left[] = {
        "", "[]", "1", "{\"a\":1.5}", "{\"a\":1e3}", "{\"a\":null}", "{\"a\":[1]}", "{\"a\":\"\\u0041\"}", "{\"a\":\"\xc3\xa9\"}", "{\"a\":1000000000000000000}",
        "{\"a\":01}", "{\"a\":-}", "{\"a\":1,\"a\":2}", "{\"a\":1,}", "{\"a\":1", "{\"a\":\"x}", "{\"a\":truth}", "{\"a\":1}x", "{\"a\":\"\\", "{,}",
        "{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}"};
    for (size_t i = 0; i < FG_COUNT(taken); i++)
        assert_true(check(taken[i]));
    for (size_t i = 0; i < FG_COUNT(left); i++)
        assert_false(check(left[i]));
}

static void a_text_too_long_or_with_too_many_members_is_left_to_the_library(void **state)
{
    FG_AUTO_STR struct fg_str many = {0}, longer = {0};
    fg_str_adds(&many, "{\"k\":0");
    for (unsigned i = 1; i <= FG_SCAN_MEMBERS; i++)
        fg_str_addf(&many, ",\"k%u\":%u", i, i);
    fg_str_adds(&many, "}");
    assert_false(check(many.data));
    fg_str_adds(&longer, "{\"a\":\"");
    while (longer.len < FG_SCAN_TEXT)
        fg_str_adds(&longer, "0123456789");
    fg_str_adds(&longer, "\"}");
    assert_false(check(longer.data));
}

static void a_changed_document_is_read_as_the_library_reads_it_or_not_at_all(void **state)
{
    static const char whole[] = "{\"state\":\"queued\",\"attempt\":1,\"want\":{\"memory\":1073741824,\"hold\":true,\"name\":\"a\\n\\\"b\"},\"cost\":-7}";
    static const char letters[] = "{}\":,\\ 0123456789-truefalsn.e\t\x01\x80";
    struct rng r = rng_start(__func__);
    size_t taken = 0;
    for (int i = 0; i < 50000; i++) {
        char text[sizeof whole];
        memcpy(text, whole, sizeof whole);
        for (size_t n = rng_below(&r, 4); n > 0; n--)
            text[rng_below(&r, sizeof whole - 1)] = letters[rng_below(&r, sizeof letters - 1)];
        if (rng_below(&r, 8) == 0)
            text[rng_below(&r, sizeof whole)] = 0;
        taken += check(text);
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_of_small_objects_are_found_where_they_stand),
        cmocka_unit_test(a_text_too_long_or_with_too_many_members_is_left_to_the_library),
        cmocka_unit_test(a_changed_document_is_read_as_the_library_reads_it_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
