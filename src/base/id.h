/* id.h - 128-bit ULIDs: 48 bits of milliseconds, 80 random; ordered by time, monotonic within a generator.
 * Text form: prefix, "_", 26 Crockford base-32 letters (github.com/ulid/spec), e.g. tsk_01J9ZK3V5Q.... Any thread but one per generator. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct { uint64_t hi, lo; } fg_id;
#define FG_ID_NONE ((fg_id){0, 0})
#define FG_ID_TEXT 32                  /* room for "tsk_" + 26 letters + NUL */

struct fg_id_gen { fg_id last; };
/* A new id at now_ns, larger than the last one of gen; random bits from the kernel. */
fg_id fg_id_new(struct fg_id_gen *gen, int64_t now_ns);
/* Text with a three-letter prefix ("tsk", "nod", "key", ...) into buf[FG_ID_TEXT]; returns buf. */
char *fg_id_format(char *buf, const char *prefix, fg_id id);
/* Parse exactly prefix_ULID (letters of either case); false when it is not one. */
bool fg_id_parse(const char *text, const char *prefix, fg_id *ret);
static inline bool fg_id_eq(fg_id a, fg_id b) { return a.hi == b.hi && a.lo == b.lo; }
static inline bool fg_id_is_none(fg_id a) { return a.hi == 0 && a.lo == 0; }
static inline int fg_id_cmp(fg_id a, fg_id b) { return a.hi != b.hi ? (a.hi < b.hi ? -1 : 1) : a.lo != b.lo ? (a.lo < b.lo ? -1 : 1) : 0; }
uint64_t fg_id_hash(fg_id id);
