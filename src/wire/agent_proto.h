/* agent_proto.h - what agent and server say to each other, as C structs and their JSON headers (frame.h).
 *
 *   agent                                                server
 *     | -- hello {proto,node,name,boot_id,devices,attempts} -> |   first message of a connection
 *     | <- welcome {lease_s, heartbeat_s, keep:[{task,attempt,epoch,log_offset}]} |
 *     | -- report {task,attempt,epoch,kind,seq,...} ----------> |   repeated after a reconnect until acked
 *     | <- ack {task,attempt,kind,seq} ------------------------ |   after it is on disk
 *     | <- start {task,attempt,epoch,lease...,spec} ----------- |   repeated if the attempt is unknown at hello; the agent ignores what it has
 *     | <- kill {task,attempt,reason} ------------------------- |
 *     | <- resize {task,attempt,memory_bytes,share_permille} -- |   the vGPU of an attempt that runs; what does not fit is refused and logged
 *     | <- move {task,attempt,device_name} -------------------- |   bring a parked one back on that device; a report of its parking says how it ended
 *     | <- forget {task,attempt} ------------------------------ |   the end is on disk: the agent drops the attempt's folder
 *     | -- log {task,attempt,offset} + bytes -----------------> |   a piece of the attempt's log file (logfile.h), in order
 *     | <- log_at {task,attempt,offset} ----------------------- |   only when offset is not what the server has: go on from there
 *     | -- blob_get {sha256,offset} --------------------------> |   <- blob {sha256,offset,size,error?} + bytes
 *     | -- blob_put {sha256,size,offset} + bytes -------------> |   <- blob_ok {sha256,error?} after the last piece is on disk
 *     | -- alive / <- alive ----------------------------------- |   each heartbeat_s; instead of welcome, before it closes: come back, leases go on
 *
 * Ids travel as text (tsk_..., nod_...). Epochs, bytes and ns are JSON integers. Unknown members are ignored, unknown
 * messages are an error that closes the connection. Encoders append one whole frame to out. */
#pragma once
#include "base/vec.h"
#include "model/event.h"
#include "wire/frame.h"

#define FG_AGENT_PROTO 1

struct fg_msg_attempt { fg_id task; uint32_t attempt; uint64_t epoch; bool finished; uint64_t log_offset; };
struct fg_msg_hello {
    struct fg_node node;
    FG_VEC(struct fg_device) devices;            /* ids 0 */
    FG_VEC(struct fg_msg_attempt) attempts;      /* that the agent has; log_offset unused */
};
struct fg_msg_welcome { int64_t lease_s, heartbeat_s; FG_VEC(struct fg_msg_attempt) keep; };
struct fg_msg_report {
    fg_id task; uint32_t attempt; uint64_t epoch;
    int kind;                                    /* 0 started, 1 usage, 2 finished, 3 parking (enum fg_report_kind) */
    int64_t pull_ns;                             /* started */
    struct fg_usage usage;                       /* usage; usage.seq is the report's seq for all kinds */
    struct fg_outcome outcome;                   /* finished */
    struct fg_msg_parking { int parking; uint64_t bytes; char device[64]; bool moved; } parking;   /* where its device memory is; after each hello, too */
};
struct fg_msg_start { fg_id task, tenant; uint32_t attempt; struct fg_lease lease; char device_name[64]; json_t *spec; };  /* spec owned */
struct fg_msg_resize { fg_id task; uint32_t attempt; uint64_t memory_bytes; uint32_t share_permille; };
struct fg_msg_move { fg_id task; uint32_t attempt; char device_name[64]; };
struct fg_msg_ref { fg_id task; uint32_t attempt; int kind; uint32_t seq; uint64_t offset; enum fg_reason reason; };  /* ack, kill, forget, log, log_at */
struct fg_msg_blob { char sha256[65]; uint64_t offset, size; char error[200]; };                   /* blob_get, blob, blob_put, blob_ok */

enum fg_msg_kind { FG_MSG_HELLO, FG_MSG_WELCOME, FG_MSG_REPORT, FG_MSG_ACK, FG_MSG_START, FG_MSG_KILL, FG_MSG_FORGET, FG_MSG_LOG,
                   FG_MSG_LOG_AT, FG_MSG_BLOB_GET, FG_MSG_BLOB, FG_MSG_BLOB_PUT, FG_MSG_BLOB_OK, FG_MSG_ALIVE, FG_MSG_RESIZE,
                   FG_MSG_MOVE, FG_MSG_COUNT };
struct fg_msg {
    enum fg_msg_kind kind;
    union { struct fg_msg_hello hello; struct fg_msg_welcome welcome; struct fg_msg_report report; struct fg_msg_start start;
            struct fg_msg_resize resize; struct fg_msg_move move; struct fg_msg_ref ref; struct fg_msg_blob blob; };
    const char *payload; size_t payload_len;     /* borrowed */
};
/* Append the frame of msg (with its payload) to out. */
void fg_msg_encode(const struct fg_msg *msg, struct fg_str *out);
/* Decode a frame; msg owns what it points to, except the payload: fg_msg_fini. -1 FG_E_MALFORMED names message and member. */
int fg_msg_decode(const struct fg_frame *frame, struct fg_msg *ret, struct fg_error *err);
void fg_msg_fini(struct fg_msg *msg);
