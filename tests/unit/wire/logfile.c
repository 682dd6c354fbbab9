/* logfile.c - tests of wire/logfile.h. */
#include "unit.h"

#include "wire/logfile.h"

static void what_is_encoded_is_decoded(void **state)
{
    const int64_t times[] = {0, 1, INT64_C(1764000000123456789), INT64_MAX, -1};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char buf[FG_LOG_HEAD + 5];
        struct fg_log_record r;
        fg_log_head_encode((unsigned char *)buf, FG_LOG_STDERR, times[i], 5);
        memcpy(buf + FG_LOG_HEAD, "hello", 5);
        assert_int_equal(fg_log_record_decode(buf, sizeof buf, &r), 21);       /* 16 + 5 */
        assert_int_equal(r.source, FG_LOG_STDERR);
        assert_true(r.time_ns == times[i]);
        assert_int_equal(r.len, 5);
        assert_memory_equal(r.data, "hello", 5);
    }
}

static void the_bytes_on_disk_are_those_of_the_drawing(void **state)
{
    unsigned char head[FG_LOG_HEAD];
    fg_log_head_encode(head, FG_LOG_STDOUT, 0x0102030405060708, 0x0000a1b2);
    assert_memory_equal(head, "\xb2\xa1\x00\x00\x01\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01", 16);
}

static void a_cut_record_asks_for_more(void **state)
{
    char buf[FG_LOG_HEAD + 3] = {0};
    struct fg_log_record r;
    fg_log_head_encode((unsigned char *)buf, FG_LOG_SYSTEM, 5, 3);
    for (size_t n = 0; n < sizeof buf; n++)
        assert_int_equal(fg_log_record_decode(buf, n, &r), 0);
    assert_int_equal(fg_log_record_decode(buf, sizeof buf, &r), 19);
}

static void what_is_no_record_is_refused(void **state)
{
    unsigned char good[FG_LOG_HEAD], bad[FG_LOG_HEAD];
    struct fg_log_record r;
    fg_log_head_encode(good, FG_LOG_STDOUT, 5, 0);
    assert_int_equal(fg_log_record_decode((char *)good, sizeof good, &r), 16);
    const struct { int at; unsigned char value; } breaks[] = {{2, 2}, {3, 1}, {4, 0}, {4, 4}, {4, 255}, {5, 1}, {6, 1}, {7, 1}};
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        memcpy(bad, good, sizeof bad);
        bad[breaks[i].at] = breaks[i].value;
        assert_int_equal(fg_log_record_decode((char *)bad, sizeof bad, &r), -1);
    }
    fg_log_head_encode(good, FG_LOG_STDOUT, 5, FG_LOG_MAX_RECORD);
    assert_int_equal(fg_log_record_decode((char *)good, sizeof good, &r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(the_bytes_on_disk_are_those_of_the_drawing),
        cmocka_unit_test(a_cut_record_asks_for_more),
        cmocka_unit_test(what_is_no_record_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
