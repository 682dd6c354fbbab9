/* agent_proto.c - the messages of agent_proto.h as tables of fields.h, and the few rules that tables do not hold. */
#include "wire/agent_proto.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "wire/fields.h"

/* Enums travel by name: numbers of api/states.toml may shift between versions. */
#define NAMES(WHAT) \
    static const char *WHAT##_name(int v) { return fg_##WHAT##_name((enum fg_##WHAT)v); } \
    static const struct fg_names WHAT##_names = {WHAT##_name, fg_##WHAT##_by_name};
NAMES(state)
NAMES(reason)
NAMES(level)
NAMES(parking)

#define AT(S, MEMBER) offsetof(S, MEMBER), sizeof(((S *)0)->MEMBER)

static const struct fg_field usage_fields[] = {
    {"seq", F_U32, 0, AT(struct fg_usage, seq)},
    {"device_ns", F_I64, 0, AT(struct fg_usage, device_ns)},
    {"wall_ns", F_I64, 0, AT(struct fg_usage, wall_ns)},
    {"memory_peak_bytes", F_U64, 0, AT(struct fg_usage, memory_peak_bytes)},
    {"throttled_ns", F_I64, 0, AT(struct fg_usage, throttled_ns)},
    {"denied", F_U64, 0, AT(struct fg_usage, denied)},
};
static const struct fg_fields usage_table = {usage_fields, FG_COUNT(usage_fields)};

static const struct fg_field outcome_fields[] = {
    {"state", F_NAME, 0, AT(struct fg_outcome, state), &state_names},
    {"reason", F_NAME, 0, AT(struct fg_outcome, reason), &reason_names},
    {"exit_code", F_INT, 0, AT(struct fg_outcome, exit_code)},
    {"signal", F_INT, 0, AT(struct fg_outcome, signal)},
    {"pull_ns", F_I64, 0, AT(struct fg_outcome, pull_ns)},
    {"load_ns", F_I64, 0, AT(struct fg_outcome, load_ns)},
    {"run_ns", F_I64, 0, AT(struct fg_outcome, run_ns)},
    {"usage", F_OBJECT, 0, AT(struct fg_outcome, usage), &usage_table},
    {"detail", F_STRING, OPTIONAL, AT(struct fg_outcome, detail)},
    {"result", F_STRING, OPTIONAL, AT(struct fg_outcome, result)},
    {"outputs", F_STRING, OPTIONAL, AT(struct fg_outcome, outputs)},
    {"log_tail", F_STRING, OPTIONAL, AT(struct fg_outcome, log_tail)},
};
static const struct fg_fields outcome_table = {outcome_fields, FG_COUNT(outcome_fields)};

static const struct fg_field lease_fields[] = {
    {"device", F_U32, 0, AT(struct fg_lease, device)},
    {"node", F_ID, 0, AT(struct fg_lease, node), "nod"},
    {"epoch", F_U64, 0, AT(struct fg_lease, epoch)},
    {"memory_bytes", F_U64, 0, AT(struct fg_lease, memory_bytes)},
    {"share_permille", F_U32, 0, AT(struct fg_lease, share_permille)},
    {"borrowed", F_BOOL, OPTIONAL, AT(struct fg_lease, borrowed)},
    {"cpus_milli", F_U32, OPTIONAL, AT(struct fg_lease, cpus_milli)},
    {"host_bytes", F_U64, OPTIONAL, AT(struct fg_lease, host_bytes)},
    {"granted_ns", F_I64, 0, AT(struct fg_lease, granted_ns)},
    {"deadline_ns", F_I64, 0, AT(struct fg_lease, deadline_ns)},
    {"price_nanousd_per_s", F_I64, 0, AT(struct fg_lease, price_nanousd_per_s)},
    {"memory_level", F_NAME, 0, AT(struct fg_lease, memory_level), &level_names},
    {"share_level", F_NAME, 0, AT(struct fg_lease, share_level), &level_names},
};
static const struct fg_fields lease_table = {lease_fields, FG_COUNT(lease_fields)};

static const struct fg_field device_fields[] = {
    {"name", F_TEXT, 0, AT(struct fg_device, name)},
    {"kind", F_TEXT, 0, AT(struct fg_device, kind)},
    {"backend", F_TEXT, 0, AT(struct fg_device, backend)},
    {"memory_bytes", F_U64, 0, AT(struct fg_device, memory_bytes)},
    {"units", F_U32, 0, AT(struct fg_device, units)},
    {"gflops", F_REAL, 0, AT(struct fg_device, gflops)},
    {"memory_level", F_NAME, 0, AT(struct fg_device, memory_level), &level_names},
    {"share_level", F_NAME, 0, AT(struct fg_device, share_level), &level_names},
    {"level_why", F_TEXT, 0, AT(struct fg_device, level_why)},
    {"healthy", F_BOOL, 0, AT(struct fg_device, healthy)},
    {"moves", F_BOOL, OPTIONAL, AT(struct fg_device, moves)},
};
static const struct fg_fields device_table = {device_fields, FG_COUNT(device_fields)};

static const struct fg_field held_fields[] = {
    {"task", F_ID, 0, AT(struct fg_msg_attempt, task), "tsk"},
    {"attempt", F_U32, 0, AT(struct fg_msg_attempt, attempt)},
    {"epoch", F_U64, 0, AT(struct fg_msg_attempt, epoch)},
    {"finished", F_BOOL, 0, AT(struct fg_msg_attempt, finished)},
};
static const struct fg_fields held_table = {held_fields, FG_COUNT(held_fields)};

static const struct fg_field keep_fields[] = {
    {"task", F_ID, 0, AT(struct fg_msg_attempt, task), "tsk"},
    {"attempt", F_U32, 0, AT(struct fg_msg_attempt, attempt)},
    {"epoch", F_U64, 0, AT(struct fg_msg_attempt, epoch)},
    {"log_offset", F_U64, 0, AT(struct fg_msg_attempt, log_offset)},
};
static const struct fg_fields keep_table = {keep_fields, FG_COUNT(keep_fields)};

/* The messages themselves: offsets are into struct fg_msg from here on. */
#define ITEMS(MEMBER) offsetof(struct fg_msg, MEMBER), sizeof(*((struct fg_msg *)0)->MEMBER.items)
#define IN(MEMBER) AT(struct fg_msg, MEMBER)

static const struct fg_field hello_fields[] = {
    {"node", F_ID, 0, IN(hello.node.id), "nod"},
    {"name", F_TEXT, 0, IN(hello.node.name)},
    {"boot_id", F_TEXT, 0, IN(hello.node.boot_id)},
    {"devices", F_ARRAY, 0, ITEMS(hello.devices), &device_table},
    {"attempts", F_ARRAY, 0, ITEMS(hello.attempts), &held_table},
};
static const struct fg_field welcome_fields[] = {
    {"lease_s", F_I64, 0, IN(welcome.lease_s)},
    {"heartbeat_s", F_I64, 0, IN(welcome.heartbeat_s)},
    {"keep", F_ARRAY, 0, ITEMS(welcome.keep), &keep_table},
};
static const struct fg_field report_fields[] = {
    {"task", F_ID, 0, IN(report.task), "tsk"},
    {"attempt", F_U32, 0, IN(report.attempt)},
    {"epoch", F_U64, 0, IN(report.epoch)},
    {"kind", F_INT, 0, IN(report.kind)},
    {"seq", F_U32, 0, IN(report.usage.seq)},
};
static const struct fg_field parking_fields[] = {
    {"state", F_NAME, 0, AT(struct fg_msg_parking, parking), &parking_names},
    {"bytes", F_U64, 0, AT(struct fg_msg_parking, bytes)},
    {"device", F_TEXT, 0, AT(struct fg_msg_parking, device)},
    {"moved", F_BOOL, OPTIONAL, AT(struct fg_msg_parking, moved)},
};
static const struct fg_fields parking_table = {parking_fields, FG_COUNT(parking_fields)};
/* What a report carries besides, by its kind. */
static const struct fg_field report_kind_fields[] = {
    {"pull_ns", F_I64, 0, IN(report.pull_ns)},
    {"usage", F_OBJECT, 0, IN(report.usage), &usage_table},
    {"outcome", F_OBJECT, 0, IN(report.outcome), &outcome_table},
    {"parking", F_OBJECT, 0, IN(report.parking), &parking_table},
};
static const struct fg_field start_fields[] = {
    {"task", F_ID, 0, IN(start.task), "tsk"},
    {"tenant", F_ID, 0, IN(start.tenant), "ten"},
    {"attempt", F_U32, 0, IN(start.attempt)},
    {"lease", F_OBJECT, 0, IN(start.lease), &lease_table},
    {"device_name", F_TEXT, 0, IN(start.device_name)},
    {"spec", F_JSON, 0, IN(start.spec)},
};
static const struct fg_field ack_fields[] = {
    {"task", F_ID, 0, IN(ref.task), "tsk"},
    {"attempt", F_U32, 0, IN(ref.attempt)},
    {"kind", F_INT, 0, IN(ref.kind)},
    {"seq", F_U32, 0, IN(ref.seq)},
};
static const struct fg_field kill_fields[] = {
    {"task", F_ID, 0, IN(ref.task), "tsk"},
    {"attempt", F_U32, 0, IN(ref.attempt)},
    {"reason", F_NAME, 0, IN(ref.reason), &reason_names},
};
static const struct fg_field resize_fields[] = {
    {"task", F_ID, 0, IN(resize.task), "tsk"},
    {"attempt", F_U32, 0, IN(resize.attempt)},
    {"memory_bytes", F_U64, 0, IN(resize.memory_bytes)},
    {"share_permille", F_U32, 0, IN(resize.share_permille)},
};
static const struct fg_field move_fields[] = {
    {"task", F_ID, 0, IN(move.task), "tsk"},
    {"attempt", F_U32, 0, IN(move.attempt)},
    {"device_name", F_TEXT, 0, IN(move.device_name)},
};
static const struct fg_field forget_fields[] = {
    {"task", F_ID, 0, IN(ref.task), "tsk"},
    {"attempt", F_U32, 0, IN(ref.attempt)},
};
static const struct fg_field log_fields[] = {
    {"task", F_ID, 0, IN(ref.task), "tsk"},
    {"attempt", F_U32, 0, IN(ref.attempt)},
    {"offset", F_U64, 0, IN(ref.offset)},
};
static const struct fg_field blob_get_fields[] = {
    {"sha256", F_TEXT, 0, IN(blob.sha256)},
    {"offset", F_U64, 0, IN(blob.offset)},
};
static const struct fg_field blob_fields[] = {
    {"sha256", F_TEXT, 0, IN(blob.sha256)},
    {"offset", F_U64, 0, IN(blob.offset)},
    {"size", F_U64, 0, IN(blob.size)},
    {"error", F_TEXT, OPTIONAL, IN(blob.error)},
};
static const struct fg_field blob_ok_fields[] = {
    {"sha256", F_TEXT, 0, IN(blob.sha256)},
    {"error", F_TEXT, OPTIONAL, IN(blob.error)},
};

static const struct message { const char *name; struct fg_fields fields; } messages[FG_MSG_COUNT] = {
    [FG_MSG_HELLO] = {"hello", {hello_fields, FG_COUNT(hello_fields)}},
    [FG_MSG_WELCOME] = {"welcome", {welcome_fields, FG_COUNT(welcome_fields)}},
    [FG_MSG_REPORT] = {"report", {report_fields, FG_COUNT(report_fields)}},
    [FG_MSG_ACK] = {"ack", {ack_fields, FG_COUNT(ack_fields)}},
    [FG_MSG_START] = {"start", {start_fields, FG_COUNT(start_fields)}},
    [FG_MSG_KILL] = {"kill", {kill_fields, FG_COUNT(kill_fields)}},
    [FG_MSG_FORGET] = {"forget", {forget_fields, FG_COUNT(forget_fields)}},
    [FG_MSG_LOG] = {"log", {log_fields, FG_COUNT(log_fields)}},
    [FG_MSG_LOG_AT] = {"log_at", {log_fields, FG_COUNT(log_fields)}},
    [FG_MSG_BLOB_GET] = {"blob_get", {blob_get_fields, FG_COUNT(blob_get_fields)}},
    [FG_MSG_BLOB] = {"blob", {blob_fields, FG_COUNT(blob_fields)}},
    [FG_MSG_BLOB_PUT] = {"blob_put", {blob_fields, FG_COUNT(blob_fields)}},
    [FG_MSG_BLOB_OK] = {"blob_ok", {blob_ok_fields, FG_COUNT(blob_ok_fields)}},
    [FG_MSG_ALIVE] = {"alive", {NULL, 0}},
    [FG_MSG_RESIZE] = {"resize", {resize_fields, FG_COUNT(resize_fields)}},
    [FG_MSG_MOVE] = {"move", {move_fields, FG_COUNT(move_fields)}},
};

static void encode_header(const struct fg_msg *msg, struct fg_str *out)
{
    const struct message *m = &messages[msg->kind];
    fg_str_addf(out, "{\"m\":\"%s\"", m->name);
    if (msg->kind == FG_MSG_HELLO)
        fg_str_addf(out, ",\"proto\":%d", FG_AGENT_PROTO);
    fg_fields_encode(&m->fields, (const char *)msg, out);
    if (msg->kind == FG_MSG_REPORT) {
        assert(msg->report.kind >= 0 && msg->report.kind < (int)FG_COUNT(report_kind_fields));
        fg_fields_encode(&(struct fg_fields){&report_kind_fields[msg->report.kind], 1}, (const char *)msg, out);
    }
    fg_str_adds(out, "}");
}

/* A report that is too large would be refused and repeated for ever. The log's tail goes first: the whole log is shipped
 * anyway; then the result, and that is a failure the tenant must see. Borrows from msg, so it is not fini'd. */
static void shrink_report(const struct fg_msg *msg, struct fg_str *header)
{
    struct fg_msg small = *msg;
    struct fg_outcome *o = &small.report.outcome;
    o->log_tail = NULL;
    fg_str_clear(header);
    encode_header(&small, header);
    if (header->len <= FG_FRAME_MAX_HEADER)
        return;
    o->state = FG_STATE_FAILED;
    o->reason = FG_REASON_USER_ERROR;
    o->result = o->outputs = NULL;
    o->detail = (char *)"the result and the list of output files are larger than 1 MiB; write large results to a file";
    fg_str_clear(header);
    encode_header(&small, header);
}

void fg_msg_encode(const struct fg_msg *msg, struct fg_str *out)
{
    FG_AUTO_STR struct fg_str header = {0};
    encode_header(msg, &header);
    if (header.len > FG_FRAME_MAX_HEADER && msg->kind == FG_MSG_REPORT)
        shrink_report(msg, &header);
    fg_frame_encode(header.data, header.len, msg->payload, msg->payload_len, out);
}

static int decode_header(const json_t *header, struct fg_msg *msg, struct fg_error *err)
{
    if (msg->kind == FG_MSG_HELLO && fg_json_int(header, "proto", 0) != FG_AGENT_PROTO) {
        fg_fail(err, FG_E_MALFORMED, "'proto' must be %d", FG_AGENT_PROTO);
        return fg_fail_hint(err, "run the same version of fgpu as agent and as server");
    }
    if (fg_fields_decode(&messages[msg->kind].fields, header, (char *)msg, err) < 0)
        return -1;
    if (msg->kind >= FG_MSG_BLOB_GET && msg->kind <= FG_MSG_BLOB_OK && strspn(msg->blob.sha256, "0123456789abcdef") != 64)
        return fg_fail(err, FG_E_MALFORMED, "'sha256' must be 64 lower-case hex digits");
    if (msg->kind == FG_MSG_ACK && (msg->ref.kind < 0 || msg->ref.kind >= (int)FG_COUNT(report_kind_fields)))
        return fg_fail(err, FG_E_MALFORMED, "'kind' must be 0, 1, 2 or 3");
    if (msg->kind != FG_MSG_REPORT)
        return 0;

    if (msg->report.kind < 0 || msg->report.kind >= (int)FG_COUNT(report_kind_fields))
        return fg_fail(err, FG_E_MALFORMED, "'kind' must be 0, 1, 2 or 3");
    uint32_t seq = msg->report.usage.seq;
    if (fg_fields_decode(&(struct fg_fields){&report_kind_fields[msg->report.kind], 1}, header, (char *)msg, err) < 0)
        return -1;
    if (msg->report.usage.seq != seq)
        return fg_fail(err, FG_E_MALFORMED, "'usage': 'seq' must be that of the report");
    return 0;
}

int fg_msg_decode(const struct fg_frame *frame, struct fg_msg *ret, struct fg_error *err)
{
    const char *name = fg_json_str(frame->header, "m", "");
    size_t kind = 0;
    while (kind < FG_MSG_COUNT && strcmp(messages[kind].name, name) != 0)
        kind++;
    if (kind == FG_MSG_COUNT)
        return fg_fail(err, FG_E_MALFORMED, "message '%.40s' is unknown", name);

    struct fg_msg msg = {.kind = (enum fg_msg_kind)kind, .payload = frame->payload, .payload_len = frame->payload_len};
    if (decode_header(frame->header, &msg, err) < 0) {
        fg_msg_fini(&msg);
        return fg_fail_prefix(err, "message %s", name);
    }
    *ret = msg;
    return 0;
}

void fg_msg_fini(struct fg_msg *msg)
{
    if (msg == NULL)
        return;
    switch (msg->kind) {
    case FG_MSG_HELLO:
        fg_vec_fini(&msg->hello.devices);
        fg_vec_fini(&msg->hello.attempts);
        break;
    case FG_MSG_WELCOME: fg_vec_fini(&msg->welcome.keep); break;
    case FG_MSG_REPORT: fg_outcome_fini(&msg->report.outcome); break;
    case FG_MSG_START: json_decref(msg->start.spec); break;
    default: break;
    }
    *msg = (struct fg_msg){.kind = FG_MSG_ALIVE};
}
