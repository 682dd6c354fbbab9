/* frame.h - messages between agent and server over a byte stream: u32 LE header length, u32 LE payload length, header
 * (a JSON object with member "m" naming the message), payload (raw bytes). Header <= 1 MiB, payload <= 1 MiB. */
#pragma once
#include "base/json.h"
#include "base/str.h"

#define FG_FRAME_MAX_HEADER (1u << 20)
#define FG_FRAME_MAX_PAYLOAD (1u << 20)
void fg_frame_encode(const char *header, size_t header_len, const void *payload, size_t payload_len, struct fg_str *out);
struct fg_frame { json_t *header; const char *payload; size_t payload_len; };   /* payload borrowed from the input */
/* Take one frame off the front of in[n]: 1 with *ret filled (header a new reference) and *ret_used bytes used; 0: more
 * bytes are needed; -1: the stream is broken (FG_E_MALFORMED), close it. */
int fg_frame_decode(const char *in, size_t n, struct fg_frame *ret, size_t *ret_used, struct fg_error *err);
