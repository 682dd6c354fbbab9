/* frame_fuzz.c - any bytes from a peer: frames, their messages, and log records. What decodes must encode again, to the same
 * message: a server that reads what an agent did not say would fence the wrong attempt. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire/agent_proto.h"
#include "wire/logfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct fg_msg *msg)
{
    FG_AUTO_STR struct fg_str first = {0}, second = {0};
    struct fg_frame frame;
    struct fg_msg again;
    struct fg_error err = {0};
    size_t used = 0;
    fg_msg_encode(msg, &first);
    int framed = fg_frame_decode(first.data, first.len, &frame, &used, &err);
    assert(framed == 1 && used == first.len);
    int decoded = fg_msg_decode(&frame, &again, &err);
    assert(decoded == 0);
    fg_msg_encode(&again, &second);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    fg_msg_fini(&again);
    json_decref(frame.header);
}

static void frames(const char *in, size_t n)
{
    struct fg_frame frame;
    struct fg_msg msg;
    struct fg_error err = {0};
    size_t used = 0;
    int got;
    for (; (got = fg_frame_decode(in, n, &frame, &used, &err)) == 1; in += used, n -= used) {
        assert(used >= 8 && used <= n && frame.payload + frame.payload_len == in + used);
        if (fg_msg_decode(&frame, &msg, &err) == 0) {
            round_trip(&msg);
            fg_msg_fini(&msg);
        } else {
            assert(err.code == FG_E_MALFORMED && err.text[0] != '\0');
        }
        json_decref(frame.header);
    }
    assert(got == 0 || (err.code == FG_E_MALFORMED && err.text[0] != '\0'));
}

/* One frame around the bytes, so that the fuzzer need not find the lengths. */
static void header_alone(const char *text, size_t n)
{
    FG_AUTO_STR struct fg_str out = {0};
    if (n > FG_FRAME_MAX_HEADER)
        return;
    fg_frame_encode(text, n, NULL, 0, &out);
    frames(out.data, out.len);
}

static void records(const char *in, size_t n)
{
    struct fg_log_record r;
    long size;
    for (; (size = fg_log_record_decode(in, n, &r)) > 0; in += size, n -= (size_t)size) {
        unsigned char head[FG_LOG_HEAD];
        assert(r.data == in + FG_LOG_HEAD && (size_t)size == FG_LOG_HEAD + r.len);
        fg_log_head_encode(head, r.source, r.time_ns, r.len);
        assert(memcmp(head, in, FG_LOG_HEAD) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *in = (const char *)data + 1;
    if (data[0] % 4 == 0)
        frames(in, size - 1);
    else if (data[0] % 4 == 1)
        records(in, size - 1);
    else
        header_alone(in, size - 1);
    return 0;
}
