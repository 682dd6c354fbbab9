/* reserve.h - when and where the head of the line will start. Pure. Any thread.
 *
 *   room          ____________ head fits
 *                |
 *          ______|             ends of what runs, as predicted: the 95th percentile of its time, or its run limit once
 *      ___|                    it ran longer than that
 *     now  end1  end2 = start
 *
 * Others may use the reserved device meanwhile: until start, if they will have ended by then, or beyond it in what the
 * head leaves spare. After start, nobody else starts there: so the head starts at the latest when what was there has
 * reached its run limits (latest_ns). */
#pragma once
#include "plan/place.h"

struct fg_plan_lease {                   /* what runs */
    fg_device_id device;
    uint64_t memory_bytes;
    uint32_t share_permille;
    int64_t end_ns, latest_ns;           /* predicted; by its limits */
    fg_device_id host;                   /* on which it holds a part beside its device; 0: none */
    uint32_t host_milli;
    uint64_t host_bytes;
};
/* Reserve for task (and its gang) where it can start first. leases change places. True and *ret filled,
 * its parts the caller's to free; false: no end of what runs would make room for it. Devices that other reservations of
 * the snapshot hold are not used. */
bool fg_reserve(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_plan_lease *leases, size_t count,
                struct fg_reservation *ret);
/* A need that asks for a part of its machine's processor has that held, too, as a part of its own; where leases of the whole machine
 * must be among leases. What others may hold on the device of part beyond the start: what will be free then, less what it is held for. */
void fg_reserve_spare(const struct fg_plan_device *device, const struct fg_need *need, const struct fg_plan_lease *leases, size_t count,
                      int64_t start_ns, struct fg_reserved *part);
void fg_reservation_fini(struct fg_reservation *r);
