/* frame.c - the framing of frame.h. Lengths are judged before a byte behind them is waited for. */
#include "wire/frame.h"

#include <assert.h>
#include <stdint.h>

#define FRAME_HEAD 8

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get_u32(const char *in)
{
    const unsigned char *p = (const unsigned char *)in;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void fg_frame_encode(const char *header, size_t header_len, const void *payload, size_t payload_len, struct fg_str *out)
{
    assert(header_len <= FG_FRAME_MAX_HEADER && payload_len <= FG_FRAME_MAX_PAYLOAD);
    unsigned char head[FRAME_HEAD];
    put_u32(head, (uint32_t)header_len);
    put_u32(head + 4, (uint32_t)payload_len);
    fg_str_reserve(out, FRAME_HEAD + header_len + payload_len);
    fg_str_add(out, head, FRAME_HEAD);
    fg_str_add(out, header, header_len);
    if (payload_len > 0)
        fg_str_add(out, payload, payload_len);
}

int fg_frame_decode(const char *in, size_t n, struct fg_frame *ret, size_t *ret_used, struct fg_error *err)
{
    if (n < FRAME_HEAD)
        return 0;
    size_t header_len = get_u32(in), payload_len = get_u32(in + 4);
    if (header_len > FG_FRAME_MAX_HEADER)
        return fg_fail(err, FG_E_MALFORMED, "frame: header of %zu bytes, at most %u are allowed", header_len, FG_FRAME_MAX_HEADER);
    if (payload_len > FG_FRAME_MAX_PAYLOAD)
        return fg_fail(err, FG_E_MALFORMED, "frame: payload of %zu bytes, at most %u are allowed", payload_len, FG_FRAME_MAX_PAYLOAD);
    if (n - FRAME_HEAD < header_len + payload_len)
        return 0;

    json_t *header = fg_json_parse(in + FRAME_HEAD, header_len, err);
    if (header == NULL)
        return fg_fail_prefix(err, "frame header");
    if (!json_is_string(json_object_get(header, "m"))) {
        json_decref(header);
        return fg_fail(err, FG_E_MALFORMED, "frame: the header is no object with a member 'm' that names the message");
    }
    *ret = (struct fg_frame){header, in + FRAME_HEAD + header_len, payload_len};
    *ret_used = FRAME_HEAD + header_len + payload_len;
    return 1;
}
