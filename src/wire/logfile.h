/* logfile.h - an attempt's output as one append-only file of records, written by its supervisor, shipped byte for byte:
 * the offset of a record is its id everywhere (SSE Last-Event-ID, `after=`), so a cut stream goes on without a hole.
 *
 *   record: u32 LE length of data | u8 source | 3 zero bytes | i64 LE UTC ns | data        (16-byte head)
 *
 * No dependency but libc: the supervisor uses it too. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum fg_log_source { FG_LOG_STDOUT = 1, FG_LOG_STDERR = 2, FG_LOG_SYSTEM = 3 };
#define FG_LOG_HEAD 16
#define FG_LOG_MAX_RECORD 65536
struct fg_log_record { enum fg_log_source source; int64_t time_ns; const char *data; uint32_t len; };
void fg_log_head_encode(unsigned char head[FG_LOG_HEAD], enum fg_log_source source, int64_t time_ns, uint32_t len);
/* Record at the front of buf[n]: its whole size (head + data), 0 when incomplete, -1 when it is no record. */
long fg_log_record_decode(const char *buf, size_t n, struct fg_log_record *ret);
