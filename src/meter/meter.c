/* meter.c - the lines of an ended task. The arithmetic is model/price.c, the same that planned it. */
#include "meter/meter.h"

#include <assert.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "model/price.h"

static const char *const phases[] = {"queue", "pull", "load", "run", "host"};
_Static_assert(FG_COUNT(phases) == FG_PHASE_COUNT, "a name for each phase");

const char *fg_phase_name(enum fg_phase phase) { return (size_t)phase < FG_PHASE_COUNT ? phases[phase] : "?"; }

bool fg_reason_is_ours(enum fg_reason reason)
{
    switch (reason) {
    case FG_REASON_NODE_LOST:
    case FG_REASON_DEVICE_FAULT:
    case FG_REASON_INTERNAL:
    case FG_REASON_PREEMPTED:
    case FG_REASON_PULLING: return true;
    default: return false;
    }
}

uint32_t fg_billed_permille(uint64_t memory_bytes, uint64_t device_memory_bytes, uint32_t share_permille)
{
    return fg_price_permille(memory_bytes, device_memory_bytes, share_permille);
}

int64_t fg_slice_cost(int64_t time_ns, uint32_t permille, int64_t price_nanousd_per_s)
{
    return fg_price_of(time_ns, permille, price_nanousd_per_s);
}

/* Since it last entered the queue, until it was placed, or until it ended there. */
static int64_t queue_time(const struct fg_task *task)
{
    bool placed = task->placed_ns > 0 && task->placed_ns >= task->queued_ns;
    int64_t end = placed ? task->placed_ns : task->finished_ns;
    int64_t start = task->queued_ns ? task->queued_ns : task->submitted_ns;
    int64_t waited;                      /* stored times are not trusted to be sane: no span is worth a trap */
    return __builtin_sub_overflow(end, start, &waited) ? 0 : FG_MAX(waited, 0);
}

int64_t fg_meter_task(const struct fg_task *task, uint64_t device_memory_bytes, struct fg_line lines[FG_PHASE_COUNT], size_t *ret_count)
{
    const struct fg_lease *lease = &task->lease;
    lines[FG_PHASE_QUEUE] = (struct fg_line){.phase = FG_PHASE_QUEUE, .time_ns = queue_time(task)};
    *ret_count = 1;
    if (!lease->device)
        return 0;
    const int64_t times[] = {0, task->outcome.pull_ns, task->outcome.load_ns, task->outcome.run_ns, task->outcome.run_ns};
    const int last = lease->host ? FG_PHASE_HOST : FG_PHASE_RUN;
    uint32_t permille = fg_billed_permille(lease->memory_bytes, device_memory_bytes, lease->share_permille);
    for (int phase = FG_PHASE_PULL; phase <= last; phase++)
        lines[(*ret_count)++] = (struct fg_line){.phase = (enum fg_phase)phase, .time_ns = FG_MAX(times[phase], 0),
                                                 .share_permille = phase == FG_PHASE_HOST ? lease->host_permille : permille};
    int64_t sum = 0;
    for (int phase = FG_PHASE_RUN; phase <= last; phase++) {
        struct fg_line *l = &lines[phase];
        l->price_nanousd_per_s = phase == FG_PHASE_HOST ? lease->host_price_nanousd_per_s : lease->price_nanousd_per_s;
        if (!fg_reason_is_ours(task->outcome.reason))
            l->amount_nanousd = fg_slice_cost(l->time_ns, l->share_permille, l->price_nanousd_per_s);
        assert(l->amount_nanousd >= 0);
        if (__builtin_add_overflow(sum, l->amount_nanousd, &sum))
            sum = INT64_MAX;
    }
    return sum;
}

/* Times print like money: both are billionths of a whole, exact in decimals. */
void fg_lines_encode(const struct fg_line *lines, size_t n, struct fg_str *out)
{
    char time[40], price[40], amount[40];
    fg_str_adds(out, "[");
    for (size_t i = 0; i < n; i++)
        fg_str_addf(out, "%s{\"phase\":\"%s\",\"seconds\":\"%s\",\"permille\":%u,\"price_per_s\":\"%s\",\"amount\":\"%s\"}",
                    i ? "," : "", fg_phase_name(lines[i].phase), fg_format_money(time, sizeof time, lines[i].time_ns),
                    lines[i].share_permille, fg_format_money(price, sizeof price, lines[i].price_nanousd_per_s),
                    fg_format_money(amount, sizeof amount, lines[i].amount_nanousd));
    fg_str_adds(out, "]");
}
