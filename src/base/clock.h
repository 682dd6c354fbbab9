/* clock.h - time as a parameter. Nobody but the clock calls clock_gettime.
 *
 * fg_now of a process is UTC at its start plus the boot-time clock since: it never jumps or runs back, so that
 * differences of it are safe for leases and money; it is UTC for display. fg_clock_floor() lifts it above the
 * last time found in a log. */
#pragma once
#include <stdint.h>

struct fg_clock {
    int64_t (*now_ns)(struct fg_clock *clock);   /* UTC, never decreasing */
    int64_t (*boot_ns)(struct fg_clock *clock);  /* CLOCK_BOOTTIME; comparable between processes of one boot */
    int64_t base_ns;                             /* now = boot + base */
};
void fg_clock_init_real(struct fg_clock *clock);
void fg_clock_floor(struct fg_clock *clock, int64_t not_before_ns);
static inline int64_t fg_now(struct fg_clock *c) { return c->now_ns(c); }
static inline int64_t fg_boot(struct fg_clock *c) { return c->boot_ns(c); }
