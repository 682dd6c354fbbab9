/* ladder.h - who keeps the limits of an NVIDIA device, best first. Pure.
 *
 *     memory   1 the driver, per cgroup    driver 615 or later, cgroup v2, root            kernel
 *              2 the front end, audited    the driver tells what each process holds        audited
 *              3 the front end alone                                                       cooperative
 *     share    1 the front end and the arbiter, audited                                    audited
 *              2 likewise, alone                                                           cooperative
 *
 * A device that is cut by the hardware (MIG) is not offered; its instances are, each a device of its own, walled off from the
 * others by the hardware. Within one the ladder holds as on any device. MPS is not a rung: a task can raise its own percentage.
 * A better rung is taken when it was seen FG_LADDER_STEADY times in a row, a lost one is left at once. */
#pragma once
#include <stdbool.h>
#include "model/device.h"

#define FG_LADDER_STEADY 3

struct fg_ladder_probe {
    bool driver_limits;                  /* the driver keeps limits, and this agent may set them */
    const char *why_no_limits;           /* when not */
    bool tells_processes;                /* the driver lists them with their memory */
    bool can_look;                       /* into the tasks' processes */
    bool instance;                       /* of MIG */
};
struct fg_ladder { enum fg_level memory, share; unsigned better; bool began; };
/* One look. Fills level_why of people (200 bytes). */
void fg_ladder_step(struct fg_ladder *ladder, const struct fg_ladder_probe *probe, char why[200]);

/* Health of a device, told by numbered rules; the first that fits decides:
 *   1 lost, or it wants a reset                                              stays so until it is back
 *   2 a fault (Xid) that is the device's, not a program's                    until the agent starts anew
 *   3 uncorrected memory errors grew                                         likewise
 *   4 slowed down by heat or power brake FG_LADDER_STEADY looks in a row     until as many looks without
 * Xids of programs are not faults: 13, 31, 43, 45, 68, 69, 94 and 109 end the program that made them. */
struct fg_health { bool faulty; char fault[120]; uint64_t ecc; bool ecc_known; unsigned slow, fast; bool drained; };
bool fg_health_xid_is_devices(uint64_t xid);
void fg_health_xid(struct fg_health *health, uint64_t xid);
/* Returns whether tasks may go there; why (200 bytes) is filled when not. throttle: NVML's reason bits. */
bool fg_health_step(struct fg_health *health, bool lost, uint64_t ecc_uncorrected, uint64_t throttle, char why[200]);
