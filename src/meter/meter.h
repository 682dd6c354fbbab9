/* meter.h - usage to priced lines. Pure: never reads a clock, never rounds twice. Any thread.
 *
 *   amount = time_ns x price_nanousd_per_s x max(memory share, compute share) / 10^9, rounded half up, in 128 bits
 *
 * A part of the machine's processor that is held beside the device has a line of its own, host: the same time at the price of that
 * processor, max(memory share, cores / all cores) of it. Phases queue, pull, load and run are separate lines; only run and host are priced (DESIGN 10). What failed through our
 * fault (fg_reason_is_ours) is free: its lines are there with amount 0. */
#pragma once
#include "model/task.h"

enum fg_phase { FG_PHASE_QUEUE, FG_PHASE_PULL, FG_PHASE_LOAD, FG_PHASE_RUN, FG_PHASE_HOST, FG_PHASE_COUNT };
struct fg_line {
    enum fg_phase phase;
    int64_t time_ns;
    uint32_t share_permille;             /* what was priced: max(memory share, compute share), rounded up */
    int64_t price_nanousd_per_s;
    int64_t amount_nanousd;
};
const char *fg_phase_name(enum fg_phase phase);
/* node_lost, device_fault, internal, preempted and pulling (weights or inputs that could not be fetched by us). */
bool fg_reason_is_ours(enum fg_reason reason);
/* max(memory/device_memory, share) in permille, rounded up, 1..1000. */
uint32_t fg_billed_permille(uint64_t memory_bytes, uint64_t device_memory_bytes, uint32_t share_permille);
/* Price of holding a slice for time_ns. Saturates at INT64_MAX, never wraps. */
int64_t fg_slice_cost(int64_t time_ns, uint32_t permille, int64_t price_nanousd_per_s);
/* The lines of an ended task, in phase order into lines[FG_PHASE_COUNT]; returns their sum. A task that never got a
 * lease has only a queue line of 0. *ret_count lines are set. */
int64_t fg_meter_task(const struct fg_task *task, uint64_t device_memory_bytes, struct fg_line lines[FG_PHASE_COUNT], size_t *ret_count);
/* Lines as a JSON array: [{"phase":"run","seconds":"1.25","permille":500,"price_per_s":"...","amount":"0.0000014"}]. */
void fg_lines_encode(const struct fg_line *lines, size_t n, struct fg_str *out);
