/* http_text_fuzz.c - any bytes as a request target and as an event stream. What is decoded from a target holds no byte that
 * could deceive; an event stream gives the same events whole and cut in two. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "wire/http_target.h"
#include "wire/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, int no_slash)
{
    assert(fg_utf8_valid(text, strlen(text)));
    for (; *text != '\0'; text++)
        assert((unsigned char)*text >= 0x20 && *text != 0x7f && !(no_slash && *text == '/'));
}

static void target(const char *raw)
{
    static const char *const patterns[] = {"/", "/v1/tasks", "/v1/tasks/{id}", "/v1/tasks/{id}/logs", "/{a}/{b}/{c}"};
    struct fg_target t;
    struct fg_error err = {0};
    if (fg_target_parse(raw, &t, &err) < 0) {
        assert(err.code == FG_E_MALFORMED && t.text == NULL);
        return;
    }
    for (size_t i = 0; i < FG_MIN(t.segment_count, (size_t)FG_TARGET_SEGMENTS); i++)
        check_text(t.segments[i], 1);
    for (size_t i = 0; i < t.query_count; i++) {
        check_text(t.query[i].name, 0);
        check_text(t.query[i].value, 0);
    }
    for (size_t i = 0; i < FG_COUNT(patterns); i++) {
        const char *id = fg_target_param(&t, patterns[i], "id");
        assert(id == NULL || (fg_target_match(&t, patterns[i]) && id[0] != '\0'));
    }
    fg_target_check_query(&t, "state|limit|cursor", &err);
    fg_target_fini(&t);
}

static int note(void *arg, const struct fg_sse_event *e, struct fg_error *err)
{
    fg_str_addf(arg, "%s|%s|", e->id, e->event);
    fg_str_add(arg, e->data, e->data_len);
    return 0;
}

static void events(const char *data, size_t n)
{
    FG_AUTO_STR struct fg_str whole = {0}, cut = {0};
    struct fg_sse a, b;
    fg_sse_init(&a, note, &whole);
    fg_sse_init(&b, note, &cut);
    fg_sse_feed(&a, data, n, NULL);
    fg_sse_feed(&b, data, n / 2, NULL);
    fg_sse_feed(&b, data + n / 2, n - n / 2, NULL);
    assert(whole.len == cut.len && memcmp(fg_str_cstr(&whole), fg_str_cstr(&cut), whole.len) == 0);
    fg_sse_fini(&a);
    fg_sse_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FG_AUTO_FREE char *text = fg_strndup((const char *)data, size);
    target(text);
    events((const char *)data, size);
    return 0;
}
