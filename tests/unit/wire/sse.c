/* sse.c - tests of wire/sse.h. Every text is fed whole, and cut at every place, to the same result. */
#include "unit.h"

#include "wire/sse.h"

static int note(void *arg, const struct fg_sse_event *e, struct fg_error *err)
{
    fg_str_addf(arg, "[%s|%s|%s]", e->id, e->event, e->data);
    assert_int_equal(strlen(e->data), e->data_len);
    return strcmp(e->data, "stop") == 0 ? 1 : 0;
}

static void feed_both_ways(const char *text, size_t n, const char *want)
{
    for (size_t cut = 0; cut <= n; cut++) {
        FG_AUTO_STR struct fg_str out = {0};
        struct fg_sse sse;
        fg_sse_init(&sse, note, &out);
        int ret = fg_sse_feed(&sse, text, cut, NULL);
        if (ret == 0)
            fg_sse_feed(&sse, text + cut, n - cut, NULL);
        assert_string_equal(fg_str_cstr(&out), want);
        fg_sse_fini(&sse);
    }
}
#define check(TEXT, WANT) feed_both_ways(TEXT, sizeof(TEXT) - 1, WANT)

static void events_come_as_the_standard_says(void **state)
{
    check("data: a\n\n", "[|message|a]");
    check("id: 7\nevent: log\ndata: a\ndata: b\n\n", "[7|log|a\nb]");
    check("id:7\r\ndata:a\r\n\r\ndata: b\r\n\r\n", "[7|message|a][7|message|b]");
    check("data: a\r\rdata: b\r\r", "[|message|a][|message|b]");
    check("\xef\xbb\xbf""data: a\n\n: ping\n\nevent: x\n\n", "[|message|a]");
    check("data\n\ndata:\n\ndata:  two\n\n", "[|message|][|message|][|message| two]");
    check("unknown: x\nretry: 10\nid\ndata: a\n\n", "[|message|a]");
    check("id: 1\n\ndata: a\n\nid: 2\x00\ndata: b\n\n", "[1|message|a][1|message|b]");
    check("data: cut\n", "");
    check("data: stop\n\ndata: more\n\n", "[|message|stop]");
}

static void a_cut_event_is_forgotten_and_the_id_kept(void **state)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_sse sse;
    fg_sse_init(&sse, note, &out);
    assert_int_equal(fg_sse_feed(&sse, "id: 4\ndata: a\n\nid: 5\ndata: ha", 27, NULL), 0);
    fg_sse_cut(&sse);
    assert_int_equal(fg_sse_feed(&sse, "data: b\n\n", 9, NULL), 0);
    assert_string_equal(out.data, "[4|message|a][4|message|b]");   /* 5 was cut: it must be asked for again */
    fg_sse_fini(&sse);
}

static int count(void *arg, const char *line, size_t n, struct fg_error *err)
{
    *(size_t *)arg += n;
    return 0;
}

static void endless_lines_do_not_fill_memory(void **state)
{
    size_t total = 0;
    struct fg_error err = {0};
    struct fg_lines lines = {.fn = count, .arg = &total};
    static char block[65536];
    memset(block, 'x', sizeof block);
    int ret = 0;
    for (int i = 0; i < 100 && ret == 0; i++)
        ret = fg_lines_feed(&lines, block, sizeof block, &err);
    assert_int_equal(ret, -1);
    assert_int_equal(err.code, FG_E_TOO_LARGE);
    fg_lines_fini(&lines);
}

static void the_last_line_needs_no_end(void **state)
{
    size_t total = 0;
    struct fg_lines lines = {.fn = count, .arg = &total};
    assert_int_equal(fg_lines_feed(&lines, "ab\ncd", 5, NULL), 0);
    assert_int_equal(total, 2);
    assert_int_equal(fg_lines_end(&lines, NULL), 0);
    assert_int_equal(total, 4);
    fg_lines_fini(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_as_the_standard_says),
        cmocka_unit_test(a_cut_event_is_forgotten_and_the_id_kept),
        cmocka_unit_test(endless_lines_do_not_fill_memory),
        cmocka_unit_test(the_last_line_needs_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
