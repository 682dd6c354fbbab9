/* price.h - what a device kind costs, and the one formula from a held slice to money. Integers in nano-dollars;
 * never a float. What the planner expects (plan/place) and what the meter charges (meter/meter) come from here. */
#pragma once
#include <stdint.h>
struct fg_price {
    char kind[64];                       /* device kind; "" is the default for kinds without a row */
    int64_t nanousd_per_s;               /* of the whole device, while a vGPU of it is held in phase run */
    int64_t spot_nanousd_per_s;          /* for spot tasks, which others may displace; 0: the same */
};
/* Per second from per hour, to the nearest nano-dollar, and back. */
int64_t fg_price_second(int64_t nanousd_per_hour);
int64_t fg_price_hour(int64_t nanousd_per_s);
/* What of a device a slice is priced as: max(memory share, compute share) in permille, rounded up, 1..1000.
 * A device whose memory is not known (0) is priced by compute alone. */
uint32_t fg_price_permille(uint64_t memory_bytes, uint64_t device_memory_bytes, uint32_t share_permille);
/* Of a machine's processor, for a part that is held beside a device: max(memory share, cores / all cores), likewise. */
uint32_t fg_price_host_permille(uint64_t bytes, uint64_t memory_bytes, uint32_t cpus_milli, uint32_t cores);
/* time_ns x permille/1000 x nanousd_per_s, rounded half up once, in 128 bits. Saturates at INT64_MAX; a negative
 * time or price costs nothing. */
int64_t fg_price_of(int64_t time_ns, uint32_t permille, int64_t nanousd_per_s);
