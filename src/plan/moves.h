/* moves.h - the fewest moves of running tasks between the devices of one machine that make room for a task on one of them, and of
 * those the cheapest. Pure. Any thread.
 *
 *     a:  [x][......]      x goes to b and the task has its room on a;
 *     b:  [z]..            where b has no room for x, z leaves it first for c: a chain
 *     c:  ......           or two leave a, each for where there is room
 *
 * Devices are alike (one kind, one size). In the order in which they are given each move goes into room that is free by then.
 * Of the moves made, no task is moved twice, and nothing goes to a device that is being opened. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_MOVES_MAX 3u                  /* of one chain, as the packer's (decision 0024) */

struct fg_moves_device {
    uint64_t memory_free_bytes;
    uint32_t share_free_permille;
    bool may_open;                       /* for the task; one that is held for another is not */
    bool may_take;                       /* tasks that are moved */
};
struct fg_moves_lease {
    uint32_t device;                     /* index */
    uint64_t memory_bytes;
    uint32_t share_permille;
    uint64_t cost;                       /* of its move; what its unit is, is the caller's */
    bool movable;
};
struct fg_moves {
    uint32_t device;                     /* index of the one that has room then */
    struct { uint32_t lease, to; } moves[FG_MOVES_MAX];
    uint32_t count;
    uint64_t cost;                       /* sum */
};
/* False: so few moves make no room, or none were found within a bound on the work. With room as it is, count is 0. */
bool fg_moves_find(const struct fg_moves_device *devices, size_t device_count, const struct fg_moves_lease *leases, size_t lease_count,
                   uint64_t memory_bytes, uint32_t share_permille, struct fg_moves *ret);
