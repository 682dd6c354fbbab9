/* clock.c - the real clock; tests and the simulator bring their own functions. */
#include "base/clock.h"

#include <time.h>

#include "base/units.h"

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts); /* cannot fail for these two ids */
    return (int64_t)ts.tv_sec * FG_NS_PER_S + ts.tv_nsec;
}

static int64_t real_boot_ns(struct fg_clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_BOOTTIME);
}

static int64_t real_now_ns(struct fg_clock *clock) { return clock->boot_ns(clock) + clock->base_ns; }

void fg_clock_init_real(struct fg_clock *clock)
{
    *clock = (struct fg_clock){.now_ns = real_now_ns, .boot_ns = real_boot_ns};
    clock->base_ns = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_BOOTTIME);
}

void fg_clock_floor(struct fg_clock *clock, int64_t not_before_ns)
{
    int64_t now = fg_now(clock);
    if (now < not_before_ns)
        clock->base_ns += not_before_ns - now;
}
