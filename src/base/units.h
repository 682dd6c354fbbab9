/* units.h - text to numbers with units and back; checked integer arithmetic. No floats for money. Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

#define FG_NS_PER_S INT64_C(1000000000)
#define FG_NANOUSD_PER_USD INT64_C(1000000000)

/* "4096", "1GB" (10^9), "512MiB" (2^20), "1.5GiB" -> bytes. Suffixes: B kB KB MB GB TB, KiB MiB GiB TiB, K M G T (binary). */
int fg_parse_bytes(const char *text, uint64_t *ret_bytes, struct fg_error *err);
/* "90", "90s", "5m", "1.5h", "2d", "250ms" -> nanoseconds, > 0. */
int fg_parse_duration(const char *text, int64_t *ret_ns, struct fg_error *err);
/* "50", "50%", "12.5" -> permille 1..1000. */
int fg_parse_share(const char *text, uint32_t *ret_permille, struct fg_error *err);
/* "0.50" -> nano-dollars; at most 9 decimals, >= 0. */
int fg_parse_money(const char *text, int64_t *ret_nanousd, struct fg_error *err);
/* Base-10 integer, the whole text, within min..max. */
int fg_parse_int(const char *text, int64_t min, int64_t max, int64_t *ret, struct fg_error *err);

/* Shortest readable forms into buf; return buf. "1.5 GiB", "12 ms" / "3.2 s" / "1h04m", "0.0000014", "0.50" (trailing zeros cut, >= 2 decimals). */
char *fg_format_bytes(char *buf, size_t n, uint64_t bytes);
char *fg_format_duration(char *buf, size_t n, int64_t ns);
char *fg_format_money(char *buf, size_t n, int64_t nanousd);
/* RFC 3339 UTC with milliseconds. */
char *fg_format_time(char *buf, size_t n, int64_t utc_ns);

/* Exact a * b / c in 128 bits, rounded half up; false when it does not fit int64 or c <= 0. */
bool fg_mul_div(int64_t a, int64_t b, int64_t c, int64_t *ret);
