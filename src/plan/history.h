/* history.h - what finished attempts taught, as cells by key. Private to plan.
 *
 *   "s|command|python3 train.py|cpu|250"   type, name, device kind, share bucket
 *   "k|command|python3 train.py|cpu"       type, name, device kind
 *   "t|command|cpu"                        type, device kind
 *   "m|command|python3 train.py"           type, name: memory, which hardly depends on the kind
 *
 * A cell keeps the running mean and spread of ln(work), work = run time x share: time at a share is work / share. So the
 * levels differ only in what they join, and a share never seen is the header's 1/share rule. */
#pragma once
#include "plan/complete.h"
#include "plan/estimate.h"

struct fg_cell {
    uint32_t n;                          /* attempts that taught time (m: memory) */
    double mu, m2;                       /* mean of ln(work in ns of the whole device), sum of squared deviations */
    uint64_t peak_bytes;                 /* largest memory of an attempt that was not stopped for it */
    uint64_t oom_bytes;                  /* largest memory that was not enough */
};
#define FG_CELL_KEY 320
enum fg_cell_level { FG_CELL_SHARE, FG_CELL_KIND, FG_CELL_TYPE, FG_CELL_MEMORY };
/* The key's text into buf[FG_CELL_KEY]; device_kind and share_permille are read where the level has them. */
char *fg_cell_key(char *buf, enum fg_cell_level level, const struct fg_spec *spec, const char *device_kind, uint32_t share_permille);
/* NULL: never seen. Good until the next observe or load. */
const struct fg_cell *fg_history_find(const struct fg_history *h, const char *key);
/* Every name x kind that was seen, of the type and family that the spec's name is of, as points to complete from: at most
 * `most`, the newest, but its own always. Returns how many; *ret_own: how many of them are of its own name. */
size_t fg_history_points(const struct fg_history *h, const struct fg_spec *spec, struct fg_point *out, size_t most, size_t *ret_own);
/* The name that a spec's cells have, and where it would be in the matrix. */
struct fg_point fg_history_point(const struct fg_spec *spec, const char *device_kind);
