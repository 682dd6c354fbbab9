/* Units are exact: no value passes through a float, none wraps. */
#include "base/units.h"
#include "unit.h"

static struct fg_error err;

static void check_bytes(const char *text, uint64_t want)
{
    uint64_t got = 0;
    assert_ok(fg_parse_bytes(text, &got, &err), err);
    assert_int_equal(got, want);
}

static void sizes_have_decimal_and_binary_units(void **state)
{
    check_bytes("0", 0);
    check_bytes("4096", 4096);
    check_bytes("4096B", 4096);
    check_bytes("1kB", 1000);
    check_bytes("1KB", 1000);
    check_bytes("1GB", 1000000000);
    check_bytes("2TB", UINT64_C(2000000000000));
    check_bytes("512MiB", UINT64_C(512) << 20);
    check_bytes("512M", UINT64_C(512) << 20);
    check_bytes("3K", 3072);
    check_bytes("1.5GiB", UINT64_C(3) << 29);
    check_bytes("1.5 GiB", UINT64_C(3) << 29);
    check_bytes("0.0005kB", 1); /* half a byte is rounded up */
    check_bytes("0.0004kB", 0);
}

/* 2^64 = 18446744073709551616 = 16777216 TiB. */
static void sizes_end_at_64_bits(void **state)
{
    uint64_t got = 7;
    check_bytes("18446744073709551615", UINT64_MAX);
    assert_fails(fg_parse_bytes("18446744073709551616", &got, &err), err, FG_E_INVALID);
    check_bytes("16777215TiB", UINT64_C(16777215) << 40);
    assert_fails(fg_parse_bytes("16777216TiB", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_bytes("99999999999999999999999999999999999999999TiB", &got, &err), err, FG_E_INVALID);
    assert_int_equal(got, 7);
}

static void what_is_not_a_size_is_refused_with_a_hint(void **state)
{
    static const char *const bad[] = {"",    " 1",  "-1",  "+1", "1.5", "1.5B",  ".5GiB",   "1.GiB",
                                      "1gb", "1Gi", "1e3", "GB", "1 ",  "1  GB", "1.2.3GB", "0x10"};
    uint64_t got;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_fails(fg_parse_bytes(bad[i], &got, &err), err, FG_E_INVALID);
        assert_has(err.hint, "512MiB");
    }
}

static void more_decimals_than_fit_are_refused_and_do_not_wrap(void **state)
{
    uint64_t got;
    check_bytes("0.000000000000000000000001TiB", 0); /* 24 decimals */
    assert_fails(fg_parse_bytes("0.0000000000000000000000001TiB", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_bytes("0.00000000000000000000000000000000000000000000TiB", &got, &err), err, FG_E_INVALID);
}

static void check_duration(const char *text, int64_t want)
{
    int64_t got = 0;
    assert_ok(fg_parse_duration(text, &got, &err), err);
    assert_int_equal(got, want);
}

static void durations_are_nanoseconds_and_seconds_by_default(void **state)
{
    check_duration("90", 90 * FG_NS_PER_S);
    check_duration("90s", 90 * FG_NS_PER_S);
    check_duration("5m", 300 * FG_NS_PER_S);
    check_duration("1.5h", 5400 * FG_NS_PER_S);
    check_duration("2d", 172800 * FG_NS_PER_S);
    check_duration("250ms", 250000000);
    check_duration("7us", 7000);
    check_duration("3ns", 3);
    check_duration("0.1", 100000000);
}

/* INT64_MAX ns = 9223372036.854775807 s = 106751.99... days. */
static void durations_are_above_zero_and_below_292_years(void **state)
{
    int64_t got = 7;
    check_duration("9223372036.854775807", INT64_MAX);
    assert_fails(fg_parse_duration("9223372036.854775808", &got, &err), err, FG_E_INVALID);
    check_duration("106751d", INT64_C(106751) * 86400 * FG_NS_PER_S);
    assert_fails(fg_parse_duration("106752d", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_duration("0", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_duration("0.4ns", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_duration("-1s", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_duration("1w", &got, &err), err, FG_E_INVALID);
    assert_fails(fg_parse_duration("", &got, &err), err, FG_E_INVALID);
    assert_int_equal(got, 7);
}

static void shares_are_percent_to_a_tenth(void **state)
{
    uint32_t got;
    static const struct {
        const char *text;
        uint32_t want;
    } good[] = {{"50", 500}, {"50%", 500}, {"12.5", 125}, {"12.50%", 125}, {"0.1", 1}, {"100", 1000}, {"100.0%", 1000}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_ok(fg_parse_share(good[i].text, &got, &err), err);
        assert_int_equal(got, good[i].want);
    }
    static const char *const bad[] = {"0",  "0.0", "0.05", "12.55", "100.1", "101%",
                                      "-5", "",    "%",    "50%%",  "half",  "4294967346"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(fg_parse_share(bad[i], &got, &err), err, FG_E_INVALID);
}

static void check_money(const char *text, int64_t want)
{
    int64_t got = -1;
    assert_ok(fg_parse_money(text, &got, &err), err);
    assert_int_equal(got, want);
}

static void money_is_exact_to_nine_decimals(void **state)
{
    check_money("0", 0);
    check_money("0.50", 500000000);
    check_money("0.000000001", 1);
    check_money("1.234567891", 1234567891);
    check_money("0.1", 100000000);
    check_money("9223372036.854775807", INT64_MAX);
}

static void money_is_never_rounded_negative_or_wrapped(void **state)
{
    int64_t got = 7;
    assert_fails(fg_parse_money("0.0000000001", &got, &err), err, FG_E_INVALID);
    assert_has(err.text, "9 decimals");
    assert_fails(fg_parse_money("9223372036.854775808", &got, &err), err, FG_E_INVALID);
    static const char *const bad[] = {"-1", "+1", "$1", "1 ", "1USD", "", ".5", "5.", "1e3", "1,50", "nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(fg_parse_money(bad[i], &got, &err), err, FG_E_INVALID);
    assert_int_equal(got, 7);
}

static void integers_are_whole_texts_within_bounds(void **state)
{
    int64_t got = 7;
    assert_ok(fg_parse_int("-9223372036854775808", INT64_MIN, INT64_MAX, &got, &err), err);
    assert_true(got == INT64_MIN);
    assert_ok(fg_parse_int("10", 1, 10, &got, &err), err);
    assert_int_equal(got, 10);
    assert_fails(fg_parse_int("11", 1, 10, &got, &err), err, FG_E_INVALID);
    assert_has(err.text, "1 to 10");
    assert_fails(fg_parse_int("9223372036854775808", INT64_MIN, INT64_MAX, &got, &err), err, FG_E_INVALID);
    static const char *const bad[] = {"", "-", " 1", "+1", "1 ", "1.0", "0x1", "1e3", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(fg_parse_int(bad[i], -5, 5, &got, &err), err, FG_E_INVALID);
    assert_int_equal(got, 10);
}

#define CHECK_FORMAT(call, want)                                                                                       \
    do {                                                                                                               \
        char buf[64];                                                                                                  \
        assert_string_equal(call, want);                                                                               \
    } while (0)
#define BYTES(n, want)    CHECK_FORMAT(fg_format_bytes(buf, sizeof buf, n), want)
#define DURATION(n, want) CHECK_FORMAT(fg_format_duration(buf, sizeof buf, n), want)
#define MONEY(n, want)    CHECK_FORMAT(fg_format_money(buf, sizeof buf, n), want)
#define TIME(n, want)     CHECK_FORMAT(fg_format_time(buf, sizeof buf, n), want)

static void sizes_read_short(void **state)
{
    BYTES(0, "0 B");
    BYTES(1023, "1023 B");
    BYTES(1024, "1 KiB");
    BYTES(UINT64_C(3) << 29, "1.5 GiB");
    BYTES((1 << 20) - 1, "1 MiB"); /* 1023.999 KiB */
    BYTES(UINT64_C(24) << 30, "24 GiB");
    BYTES(UINT64_MAX, "16 EiB");
}

static void durations_read_short(void **state)
{
    DURATION(0, "0 ns");
    DURATION(999, "999 ns");
    DURATION(12 * INT64_C(1000000), "12 ms");
    DURATION(3200 * INT64_C(1000000), "3.2 s");
    DURATION(INT64_C(59999999999), "59.9 s");
    DURATION(65 * FG_NS_PER_S, "1m05s");
    DURATION(3840 * FG_NS_PER_S, "1h04m");
    DURATION((86400 * 2 + 3 * 3600) * FG_NS_PER_S, "2d03h");
    DURATION(-1500 * INT64_C(1000000), "-1.5 s");
    DURATION(INT64_MIN, "-106751d23h");
}

static void money_reads_with_two_to_nine_decimals(void **state)
{
    MONEY(0, "0.00");
    MONEY(500000000, "0.50");
    MONEY(1400, "0.0000014");
    MONEY(1, "0.000000001");
    MONEY(INT64_C(12000000000), "12.00");
    MONEY(-1, "-0.000000001");
    MONEY(INT64_MIN, "-9223372036.854775808");
}

static void a_short_buffer_is_cut_and_terminated(void **state)
{
    char buf[4];
    assert_string_equal(fg_format_money(buf, sizeof buf, INT64_MAX), "922");
    assert_string_equal(fg_format_bytes(buf, sizeof buf, 1023), "102");
}

static void times_are_utc_with_milliseconds(void **state)
{
    TIME(0, "1970-01-01T00:00:00.000Z");
    TIME(INT64_C(1709210096789999999), "2024-02-29T12:34:56.789Z");
    TIME(-1, "1969-12-31T23:59:59.999Z");
}

static void mul_div_rounds_half_up_and_never_wraps(void **state)
{
    int64_t r = 0;
    assert_true(fg_mul_div(7, 1, 2, &r) && r == 4);   /* 3.5 */
    assert_true(fg_mul_div(-7, 1, 2, &r) && r == -3); /* -3.5, half up is towards plus */
    assert_true(fg_mul_div(-8, 1, 3, &r) && r == -3); /* -2.67 */
    assert_true(fg_mul_div(1, 1, 3, &r) && r == 0);
    assert_true(fg_mul_div(INT64_MAX, INT64_MAX, INT64_MAX, &r) && r == INT64_MAX);
    assert_true(fg_mul_div(INT64_MIN, 1, 1, &r) && r == INT64_MIN);
    assert_false(fg_mul_div(INT64_MAX, 2, 1, &r));
    assert_false(fg_mul_div(INT64_MIN, INT64_MIN, 1, &r));
    assert_false(fg_mul_div(1, 1, 0, &r));
    assert_false(fg_mul_div(1, 1, -1, &r));
    assert_true(r == INT64_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_decimal_and_binary_units),
        cmocka_unit_test(sizes_end_at_64_bits),
        cmocka_unit_test(what_is_not_a_size_is_refused_with_a_hint),
        cmocka_unit_test(more_decimals_than_fit_are_refused_and_do_not_wrap),
        cmocka_unit_test(durations_are_nanoseconds_and_seconds_by_default),
        cmocka_unit_test(durations_are_above_zero_and_below_292_years),
        cmocka_unit_test(shares_are_percent_to_a_tenth),
        cmocka_unit_test(money_is_exact_to_nine_decimals),
        cmocka_unit_test(money_is_never_rounded_negative_or_wrapped),
        cmocka_unit_test(integers_are_whole_texts_within_bounds),
        cmocka_unit_test(sizes_read_short),
        cmocka_unit_test(durations_read_short),
        cmocka_unit_test(money_reads_with_two_to_nine_decimals),
        cmocka_unit_test(a_short_buffer_is_cut_and_terminated),
        cmocka_unit_test(times_are_utc_with_milliseconds),
        cmocka_unit_test(mul_div_rounds_half_up_and_never_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
