/* price.c - see price.h. */
#include "model/price.h"

#include "base/mem.h"
#include "base/units.h"

typedef unsigned __int128 u128;

int64_t fg_price_second(int64_t nanousd_per_hour) { return nanousd_per_hour / 3600 + (nanousd_per_hour % 3600 + 1800) / 3600; }

int64_t fg_price_hour(int64_t nanousd_per_s)
{
    int64_t hour;
    return fg_mul_div(nanousd_per_s, 3600, 1, &hour) ? hour : INT64_MAX;
}

uint32_t fg_price_permille(uint64_t memory_bytes, uint64_t device_memory_bytes, uint32_t share_permille)
{
    u128 memory = device_memory_bytes ? ((u128)memory_bytes * 1000 + device_memory_bytes - 1) / device_memory_bytes : 0;
    u128 larger = FG_MAX(memory, (u128)share_permille);
    return (uint32_t)FG_MAX(FG_MIN(larger, (u128)1000), (u128)1);
}

uint32_t fg_price_host_permille(uint64_t bytes, uint64_t memory_bytes, uint32_t cpus_milli, uint32_t cores)
{
    uint32_t share = cores ? (uint32_t)FG_MIN(((uint64_t)cpus_milli + cores - 1) / cores, (uint64_t)1000) : 1000;
    return fg_price_permille(bytes, memory_bytes, cpus_milli ? share : 0);
}

int64_t fg_price_of(int64_t time_ns, uint32_t permille, int64_t nanousd_per_s)
{
    if (time_ns <= 0 || nanousd_per_s <= 0)
        return 0;
    const u128 unit = (u128)1000 * FG_NS_PER_S;
    u128 held = (u128)time_ns * permille;                /* < 2^95 */
    u128 amount;
    if (__builtin_mul_overflow(held, (u128)nanousd_per_s, &amount) || __builtin_add_overflow(amount, unit / 2, &amount))
        return INT64_MAX;                                /* 2^128 / unit is far above it */
    amount /= unit;
    return amount > INT64_MAX ? INT64_MAX : (int64_t)amount;
}
