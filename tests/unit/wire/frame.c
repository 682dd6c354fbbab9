/* frame.c - tests of wire/frame.h. */
#include "unit.h"

#include "base/str.h"
#include "wire/frame.h"

static void encode(struct fg_str *out, const char *header, const char *payload)
{
    fg_frame_encode(header, strlen(header), payload, strlen(payload), out);
}

static void what_is_encoded_is_decoded_and_frames_follow_each_other(void **state)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error err = {0};
    encode(&out, "{\"m\":\"log\",\"offset\":7}", "bytes");
    encode(&out, "{\"m\":\"alive\"}", "");
    struct fg_frame f;
    size_t used = 0;
    assert_int_equal(fg_frame_decode(out.data, out.len, &f, &used, &err), 1);
    assert_string_equal(fg_json_str(f.header, "m", ""), "log");
    assert_int_equal(f.payload_len, 5);
    assert_memory_equal(f.payload, "bytes", 5);
    json_decref(f.header);
    size_t second = 0;
    assert_int_equal(fg_frame_decode(out.data + used, out.len - used, &f, &second, &err), 1);
    assert_string_equal(fg_json_str(f.header, "m", ""), "alive");
    assert_int_equal(f.payload_len, 0);
    json_decref(f.header);
    assert_int_equal(used + second, out.len);
}

static void every_cut_frame_asks_for_more(void **state)
{
    FG_AUTO_STR struct fg_str out = {0};
    encode(&out, "{\"m\":\"log\"}", "0123456789");
    struct fg_frame f;
    size_t used = 0;
    for (size_t n = 0; n < out.len; n++)
        assert_int_equal(fg_frame_decode(out.data, n, &f, &used, NULL), 0);
}

static void lengths_over_the_limit_are_refused_before_their_bytes_come(void **state)
{
    struct fg_error err;
    struct fg_frame f;
    size_t used;
    /* header 2^20 + 1 little-endian; payload 2^20 + 1 */
    assert_fails(fg_frame_decode("\x01\x00\x10\x00\x00\x00\x00\x00", 8, &f, &used, &err), err, FG_E_MALFORMED);
    assert_has(err.text, "1048577");
    assert_fails(fg_frame_decode("\x02\x00\x00\x00\x01\x00\x10\x00", 8, &f, &used, &err), err, FG_E_MALFORMED);
    assert_fails(fg_frame_decode("\xff\xff\xff\xff\xff\xff\xff\xff", 8, &f, &used, &err), err, FG_E_MALFORMED);
    assert_int_equal(fg_frame_decode("\x00\x00\x10\x00\x00\x00\x10\x00", 8, &f, &used, &err), 0);
}

static void a_header_that_names_no_message_breaks_the_stream(void **state)
{
    const char *bad[] = {"", "{", "[]", "{}", "null", "{\"m\":1}", "{\"m\":\"a\",\"m\":\"b\"}", "{\"m\":\"a\"} x", "{\"m\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FG_AUTO_STR struct fg_str out = {0};
        struct fg_error err;
        struct fg_frame f;
        size_t used;
        encode(&out, bad[i], "");
        assert_fails(fg_frame_decode(out.data, out.len, &f, &used, &err), err, FG_E_MALFORMED);
        assert_has(err.text, "frame");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded_and_frames_follow_each_other),
        cmocka_unit_test(every_cut_frame_asks_for_more),
        cmocka_unit_test(lengths_over_the_limit_are_refused_before_their_bytes_come),
        cmocka_unit_test(a_header_that_names_no_message_breaks_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
