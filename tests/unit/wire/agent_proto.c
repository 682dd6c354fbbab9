/* agent_proto.c - tests of wire/agent_proto.h. Random messages come from random.h. */
#include "unit.h"

#include <math.h>

#include "random.h"
#include "wire/agent_proto.h"

static struct rng rng;
static uint64_t rnd(void) { return rng_next(&rng); }
static int64_t rnd_size(void) { return (int64_t)(rnd() >> 1 >> rnd() % 63); }
static fg_id rnd_id(void) { return (fg_id){rnd() >> 1, rnd()}; }

static char *rnd_text(size_t max)
{
    static const char *const parts[] = {"a", "\"", "\\", "\n", "\x01", "é", "漢", "😀", " ", "{}", "/"};
    FG_AUTO_STR struct fg_str s = {0};
    for (size_t n = rnd() % max; s.len + 4 < n;)
        fg_str_adds(&s, parts[rnd() % FG_COUNT(parts)]);
    return fg_str_take(&s);
}

static void rnd_chars(char *out, size_t size)
{
    char *text = rnd_text(size);
    snprintf(out, size, "%s", text);
    free(text);
}

static struct fg_usage rnd_usage(void)
{
    return (struct fg_usage){(uint32_t)rnd(), rnd_size(), rnd_size(), (uint64_t)rnd_size(), rnd_size(), (uint64_t)rnd_size()};
}

static struct fg_outcome rnd_outcome(void)
{
    return (struct fg_outcome){
        .state = rnd() % FG_STATE_COUNT, .reason = rnd() % FG_REASON_COUNT, .exit_code = (int)rnd(), .signal = (int)(rnd() % 65),
        .pull_ns = rnd_size(), .load_ns = rnd_size(), .run_ns = rnd_size(), .usage = rnd_usage(),
        .detail = rnd() % 2 ? rnd_text(200) : NULL, .result = rnd() % 2 ? rnd_text(2000) : NULL,
        .outputs = rnd() % 2 ? rnd_text(200) : NULL, .log_tail = rnd() % 2 ? rnd_text(4000) : NULL};
}

static struct fg_device rnd_device(void)
{
    struct fg_device d = {.memory_bytes = (uint64_t)rnd_size(), .units = (uint32_t)rnd(), .gflops = (double)rnd() / 1e7,
                          .memory_level = rnd() % FG_LEVEL_COUNT, .share_level = rnd() % FG_LEVEL_COUNT, .healthy = rnd() % 2};
    rnd_chars(d.name, sizeof d.name);
    rnd_chars(d.kind, sizeof d.kind);
    rnd_chars(d.backend, sizeof d.backend);
    rnd_chars(d.level_why, sizeof d.level_why);
    return d;
}

static void rnd_blob(struct fg_msg_blob *b, enum fg_msg_kind kind)
{
    for (int i = 0; i < 64; i++)
        b->sha256[i] = "0123456789abcdef"[rnd() % 16];
    b->offset = kind == FG_MSG_BLOB_OK ? 0 : (uint64_t)rnd_size();
    b->size = kind == FG_MSG_BLOB || kind == FG_MSG_BLOB_PUT ? (uint64_t)rnd_size() : 0;
    if (kind != FG_MSG_BLOB_GET && rnd() % 2)
        rnd_chars(b->error, sizeof b->error);
}

static void rnd_ref(struct fg_msg_ref *r, enum fg_msg_kind kind)
{
    *r = (struct fg_msg_ref){.task = rnd_id(), .attempt = (uint32_t)rnd()};
    if (kind == FG_MSG_ACK)
        r->kind = (int)(rnd() % 3), r->seq = (uint32_t)rnd();
    else if (kind == FG_MSG_KILL)
        r->reason = rnd() % FG_REASON_COUNT;
    else if (kind != FG_MSG_FORGET)
        r->offset = (uint64_t)rnd_size();
}

static void rnd_report(struct fg_msg_report *r)
{
    *r = (struct fg_msg_report){.task = rnd_id(), .attempt = (uint32_t)rnd(), .epoch = (uint64_t)rnd_size(), .kind = (int)(rnd() % 4)};
    r->usage.seq = (uint32_t)rnd();
    if (r->kind == 0)
        r->pull_ns = rnd_size();
    else if (r->kind == 1)
        r->usage = rnd_usage();
    else if (r->kind == 2)
        r->outcome = rnd_outcome();
    else {
        r->parking = (struct fg_msg_parking){.parking = rnd() % FG_PARKING_COUNT, .bytes = (uint64_t)rnd_size(), .moved = rnd() % 2};
        rnd_chars(r->parking.device, sizeof r->parking.device);
    }
}

static void rnd_start(struct fg_msg_start *s)
{
    *s = (struct fg_msg_start){
        .task = rnd_id(), .tenant = rnd_id(), .attempt = (uint32_t)rnd(),
        .lease = {.device = (uint32_t)rnd(), .node = rnd_id(), .epoch = (uint64_t)rnd_size(), .memory_bytes = (uint64_t)rnd_size(),
                  .share_permille = (uint32_t)rnd(), .borrowed = rnd() % 2, .cpus_milli = (uint32_t)(rnd() & rnd() & 0xffff00), .host_bytes = (uint64_t)rnd_size() & ~UINT64_C(0xfff), .granted_ns = rnd_size(), .deadline_ns = rnd_size(),
                  .price_nanousd_per_s = rnd_size(), .memory_level = rnd() % FG_LEVEL_COUNT, .share_level = rnd() % FG_LEVEL_COUNT},
        .spec = json_pack("{s:{s:i}}", "a", "b", (int)rnd())};
    rnd_chars(s->device_name, sizeof s->device_name);
}

static void rnd_msg(struct fg_msg *m, enum fg_msg_kind kind)
{
    *m = (struct fg_msg){.kind = kind};
    if (kind == FG_MSG_HELLO) {
        m->hello.node.id = rnd_id();
        rnd_chars(m->hello.node.name, sizeof m->hello.node.name);
        rnd_chars(m->hello.node.boot_id, sizeof m->hello.node.boot_id);
        for (uint64_t n = rnd() % 4; n > 0; n--)
            fg_vec_push(&m->hello.devices, rnd_device());
        for (uint64_t n = rnd() % 9; n > 0; n--)
            fg_vec_push(&m->hello.attempts, (struct fg_msg_attempt){rnd_id(), (uint32_t)rnd(), (uint64_t)rnd_size(), rnd() % 2, 0});
    } else if (kind == FG_MSG_WELCOME) {
        m->welcome.lease_s = rnd_size();
        m->welcome.heartbeat_s = rnd_size();
        for (uint64_t n = rnd() % 9; n > 0; n--)
            fg_vec_push(&m->welcome.keep, (struct fg_msg_attempt){rnd_id(), (uint32_t)rnd(), (uint64_t)rnd_size(), false, (uint64_t)rnd_size()});
    } else if (kind == FG_MSG_REPORT) {
        rnd_report(&m->report);
    } else if (kind == FG_MSG_START) {
        rnd_start(&m->start);
    } else if (kind >= FG_MSG_BLOB_GET && kind <= FG_MSG_BLOB_OK) {
        rnd_blob(&m->blob, kind);
    } else if (kind == FG_MSG_RESIZE) {
        m->resize = (struct fg_msg_resize){rnd_id(), (uint32_t)rnd(), (uint64_t)rnd_size(), (uint32_t)rnd()};
    } else if (kind != FG_MSG_ALIVE) {
        rnd_ref(&m->ref, kind);
    }
}

static int decode(const struct fg_str *bytes, struct fg_msg *ret, struct fg_error *err)
{
    struct fg_frame frame;
    size_t used = 0;
    assert_int_equal(fg_frame_decode(bytes->data, bytes->len, &frame, &used, err), 1);
    assert_int_equal(used, bytes->len);
    int result = fg_msg_decode(&frame, ret, err);
    json_decref(frame.header);
    return result;
}

static void random_messages_of_every_kind_survive_the_wire(void **state)
{
    for (int round = 0; round < 200 * FG_MSG_COUNT; round++) {
        struct fg_msg in, out;
        struct fg_error err = {0};
        FG_AUTO_STR struct fg_str first = {0}, second = {0};
        rnd_msg(&in, round % FG_MSG_COUNT);
        in.payload = "payload";
        in.payload_len = rnd() % 8;
        fg_msg_encode(&in, &first);
        assert_ok(decode(&first, &out, &err), err);
        assert_int_equal(out.kind, in.kind);
        assert_int_equal(out.payload_len, in.payload_len);
        /* What was decoded encodes to the same bytes: nothing got lost or changed. */
        fg_msg_encode(&out, &second);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.data, second.data, first.len);
        fg_msg_fini(&in);
        fg_msg_fini(&out);
    }
}

/* The encoder and the decoder share their tables, so that a member missing in both would go unseen above. */
static void each_member_of_a_start_and_an_outcome_arrives(void **state)
{
    struct fg_msg in, out;
    struct fg_error err = {0};
    FG_AUTO_STR struct fg_str bytes = {0};
    rnd_msg(&in, FG_MSG_START);
    fg_msg_encode(&in, &bytes);
    assert_ok(decode(&bytes, &out, &err), err);
    assert_true(fg_id_eq(in.start.task, out.start.task) && fg_id_eq(in.start.tenant, out.start.tenant));
    const struct fg_lease *a = &in.start.lease, *b = &out.start.lease;
    assert_true(a->cpus_milli == b->cpus_milli && a->host_bytes == b->host_bytes);
    assert_true(a->device == b->device && fg_id_eq(a->node, b->node) && a->epoch == b->epoch && a->memory_bytes == b->memory_bytes);
    assert_true(a->share_permille == b->share_permille && a->granted_ns == b->granted_ns && a->deadline_ns == b->deadline_ns);
    assert_true(a->price_nanousd_per_s == b->price_nanousd_per_s && a->memory_level == b->memory_level && a->share_level == b->share_level);
    assert_string_equal(in.start.device_name, out.start.device_name);
    assert_true(json_equal(in.start.spec, out.start.spec));
    fg_msg_fini(&in);
    fg_msg_fini(&out);

    in = (struct fg_msg){.kind = FG_MSG_REPORT, .report = {.kind = 2, .outcome = {
        .state = FG_STATE_FAILED, .reason = FG_REASON_USER_ERROR, .exit_code = -1, .signal = 9, .pull_ns = 1, .load_ns = 2, .run_ns = 3,
        .usage = {4, 5, 6, 7, 8, 9}, .detail = (char *)"d", .result = (char *)"r", .outputs = (char *)"o", .log_tail = (char *)"l"}}};
    fg_str_clear(&bytes);
    fg_msg_encode(&in, &bytes);
    assert_ok(decode(&bytes, &out, &err), err);
    const struct fg_outcome *o = &out.report.outcome;
    assert_true(o->state == FG_STATE_FAILED && o->reason == FG_REASON_USER_ERROR && o->exit_code == -1 && o->signal == 9);
    assert_true(o->pull_ns == 1 && o->load_ns == 2 && o->run_ns == 3 && o->usage.seq == 4 && o->usage.device_ns == 5 && o->usage.wall_ns == 6);
    assert_true(o->usage.memory_peak_bytes == 7 && o->usage.throttled_ns == 8 && o->usage.denied == 9);
    assert_string_equal(o->detail, "d");
    assert_string_equal(o->result, "r");
    assert_string_equal(o->outputs, "o");
    assert_string_equal(o->log_tail, "l");
    fg_msg_fini(&out);
}

static int decode_text(const char *header, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str bytes = {0};
    struct fg_msg out;
    fg_frame_encode(header, strlen(header), "", 0, &bytes);
    int ret = decode(&bytes, &out, err);
    if (ret == 0)
        fg_msg_fini(&out);
    return ret;
}

#define TASK "\"task\":\"tsk_01J9ZK3V5Q0000000000000000\""
static void what_is_wrong_is_named_by_message_and_member(void **state)
{
    static const struct { const char *header, *has; } cases[] = {
        {"{\"m\":\"dance\"}", "'dance' is unknown"},
        {"{\"m\":\"forget\"}", "message forget: 'task' is missing"},
        {"{\"m\":\"forget\",\"task\":\"nod_01J9ZK3V5Q0000000000000000\",\"attempt\":1}", "'task' must be an id tsk_"},
        {"{\"m\":\"forget\"," TASK "}", "'attempt' is missing"},
        {"{\"m\":\"forget\"," TASK ",\"attempt\":null}", "'attempt'"},
        {"{\"m\":\"forget\"," TASK ",\"attempt\":-1}", "'attempt' must be an integer from 0"},
        {"{\"m\":\"forget\"," TASK ",\"attempt\":4294967296}", "'attempt' must be an integer"},
        {"{\"m\":\"forget\"," TASK ",\"attempt\":1.0}", "'attempt' must be an integer"},
        {"{\"m\":\"log\"," TASK ",\"attempt\":1,\"offset\":-1}", "'offset'"},
        {"{\"m\":\"kill\"," TASK ",\"attempt\":1,\"reason\":\"boredom\"}", "boredom"},
        {"{\"m\":\"kill\"," TASK ",\"attempt\":1,\"reason\":7}", "'reason'"},
        {"{\"m\":\"resize\"," TASK ",\"attempt\":1,\"memory_bytes\":-1,\"share_permille\":5}", "'memory_bytes'"},
        {"{\"m\":\"ack\"," TASK ",\"attempt\":1,\"kind\":4,\"seq\":1}", "'kind' must be 0, 1, 2 or 3"},
        {"{\"m\":\"report\"," TASK ",\"attempt\":1,\"epoch\":1,\"kind\":-1,\"seq\":1}", "'kind' must be 0, 1, 2 or 3"},
        {"{\"m\":\"report\"," TASK ",\"attempt\":1,\"epoch\":1,\"kind\":0,\"seq\":1}", "'pull_ns' is missing"},
        {"{\"m\":\"report\"," TASK ",\"attempt\":1,\"epoch\":1,\"kind\":1,\"seq\":1,\"usage\":{\"seq\":1}}", "'usage': 'device_ns' is missing"},
        {"{\"m\":\"report\"," TASK ",\"attempt\":1,\"epoch\":1,\"kind\":2,\"seq\":1,\"outcome\":[]}", "'outcome': must be an object"},
        {"{\"m\":\"welcome\",\"lease_s\":1,\"heartbeat_s\":1,\"keep\":[1]}", "'keep' 0: must be an object"},
        {"{\"m\":\"welcome\",\"lease_s\":1,\"heartbeat_s\":1,\"keep\":{}}", "'keep' must be an array"},
        {"{\"m\":\"hello\",\"proto\":2}", "'proto' must be 1"},
        {"{\"m\":\"blob_get\",\"sha256\":\"abc\",\"offset\":0}", "'sha256' must be 64"},
        {"{\"m\":\"blob_get\",\"sha256\":\"0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\",\"offset\":0}", "'sha256' must be 64"},
    };
    for (size_t i = 0; i < FG_COUNT(cases); i++) {
        struct fg_error err;
        assert_fails(decode_text(cases[i].header, &err), err, FG_E_MALFORMED);
        assert_has(err.text, cases[i].has);
    }
    struct fg_error err = {0};
    assert_ok(decode_text("{\"m\":\"forget\"," TASK ",\"attempt\":1,\"later\":{\"version\":9}}", &err), err);
}

static void a_text_that_does_not_fit_its_member_is_refused(void **state)
{
    FG_AUTO_STR struct fg_str header = {0};
    struct fg_error err;
    fg_str_adds(&header, "{\"m\":\"hello\",\"proto\":1,\"node\":\"nod_01J9ZK3V5Q0000000000000000\",\"name\":\"");
    for (int i = 0; i < 64; i++)                 /* char name[64] holds 63 */
        fg_str_adds(&header, "n");
    fg_str_adds(&header, "\",\"boot_id\":\"\",\"devices\":[],\"attempts\":[]}");
    assert_fails(decode_text(header.data, &err), err, FG_E_MALFORMED);
    assert_has(err.text, "'name' must be a string of at most 63 bytes");
}

/* One byte changed anywhere: never a crash, and what still decodes encodes again. */
static void broken_messages_do_no_harm(void **state)
{
    for (int round = 0; round < 3000; round++) {
        struct fg_msg in, out;
        FG_AUTO_STR struct fg_str bytes = {0}, again = {0};
        rnd_msg(&in, (enum fg_msg_kind)(rnd() % FG_MSG_COUNT));
        fg_msg_encode(&in, &bytes);
        fg_msg_fini(&in);
        for (uint64_t n = 1 + rnd() % 3; n > 0; n--)
            bytes.data[8 + rnd() % (bytes.len - 8)] = (char)rnd();
        struct fg_frame frame;
        size_t used;
        if (fg_frame_decode(bytes.data, bytes.len, &frame, &used, NULL) != 1)
            continue;
        if (fg_msg_decode(&frame, &out, NULL) == 0) {
            fg_msg_encode(&out, &again);
            fg_msg_fini(&out);
        }
        json_decref(frame.header);
    }
}

static char *long_text(size_t n)
{
    char *text = fg_alloc(n + 1);
    memset(text, 'x', n);
    return text;
}

static void a_report_too_large_for_a_frame_says_so_instead(void **state)
{
    struct fg_error err = {0};
    struct fg_msg in = {.kind = FG_MSG_REPORT}, out;
    in.report.kind = 2;
    in.report.outcome = (struct fg_outcome){.state = FG_STATE_SUCCEEDED, .log_tail = long_text(700000), .result = long_text(700000)};
    FG_AUTO_STR struct fg_str bytes = {0};
    fg_msg_encode(&in, &bytes);
    assert_ok(decode(&bytes, &out, &err), err);
    assert_int_equal(out.report.outcome.state, FG_STATE_SUCCEEDED);    /* the tail is in the shipped log anyway */
    assert_null(out.report.outcome.log_tail);
    assert_int_equal(strlen(out.report.outcome.result), 700000);
    fg_msg_fini(&out);

    free(in.report.outcome.result);
    in.report.outcome.result = long_text(1100000);
    fg_str_clear(&bytes);
    fg_msg_encode(&in, &bytes);
    assert_ok(decode(&bytes, &out, &err), err);
    assert_int_equal(out.report.outcome.state, FG_STATE_FAILED);
    assert_has(out.report.outcome.detail, "larger than 1 MiB");
    fg_msg_fini(&out);
    fg_msg_fini(&in);
}

static void numbers_json_cannot_hold_do_not_break_the_frame(void **state)
{
    struct fg_error err = {0};
    struct fg_msg in = {.kind = FG_MSG_HELLO}, out;
    fg_vec_push(&in.hello.devices, (struct fg_device){.memory_bytes = UINT64_MAX, .gflops = NAN});
    FG_AUTO_STR struct fg_str bytes = {0};
    fg_msg_encode(&in, &bytes);
    assert_ok(decode(&bytes, &out, &err), err);
    assert_true(out.hello.devices.items[0].memory_bytes == INT64_MAX);
    assert_true(out.hello.devices.items[0].gflops == 0.0);
    fg_msg_fini(&in);
    fg_msg_fini(&out);
}

int main(void)
{
    rng = rng_start("agent_proto");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_messages_of_every_kind_survive_the_wire),
        cmocka_unit_test(each_member_of_a_start_and_an_outcome_arrives),
        cmocka_unit_test(what_is_wrong_is_named_by_message_and_member),
        cmocka_unit_test(a_text_that_does_not_fit_its_member_is_refused),
        cmocka_unit_test(broken_messages_do_no_harm),
        cmocka_unit_test(a_report_too_large_for_a_frame_says_so_instead),
        cmocka_unit_test(numbers_json_cannot_hold_do_not_break_the_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
