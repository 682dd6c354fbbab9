/* ladder.c - see ladder.h. Xid numbers: NVIDIA's "XID Errors" guide. */
#include "device/ladder.h"

#include <stdio.h>

#include "base/mem.h"

static void rungs(const struct fg_ladder_probe *p, enum fg_level *memory, enum fg_level *share)
{
    enum fg_level shim = p->can_look && p->tells_processes ? FG_LEVEL_AUDITED : FG_LEVEL_COOPERATIVE;
    *memory = p->driver_limits ? FG_LEVEL_KERNEL : shim;
    *share = shim;
}

void fg_ladder_step(struct fg_ladder *l, const struct fg_ladder_probe *p, char why[200])
{
    enum fg_level memory, share;
    rungs(p, &memory, &share);
    bool worse = memory < l->memory || share < l->share, better = memory > l->memory || share > l->share;
    l->better = better && !worse ? l->better + 1 : 0;
    if (!l->began || worse || l->better >= FG_LADDER_STEADY) {
        l->memory = memory;
        l->share = share;
        l->better = 0;
        l->began = true;
    }
    const char *no = l->memory != FG_LEVEL_KERNEL && p->why_no_limits ? p->why_no_limits : "";
    snprintf(why, 200, "%s%s; %s%s%s", p->instance ? "an instance cut by the hardware; in it, " : "",
             l->memory == FG_LEVEL_KERNEL ? "the driver keeps memory limits of its cgroup" : "a front end inside the program keeps the limits",
             l->share == FG_LEVEL_AUDITED ? "who goes around it is stopped within a second"
             : !p->tells_processes        ? "the driver does not tell who uses the device, so nobody checks it"
                                          : "the agent cannot check it: it lacks CAP_SYS_PTRACE", *no ? "; " : "", no);
}

/* --- health --- */

#define HW_SLOWDOWN 0x8u
#define HW_THERMAL  0x40u
#define HW_BRAKE    0x80u

bool fg_health_xid_is_devices(uint64_t xid)
{
    static const uint16_t programs[] = {13, 31, 43, 45, 68, 69, 94, 109};
    for (size_t i = 0; i < FG_COUNT(programs); i++)
        if (programs[i] == xid)
            return false;
    return true;
}

void fg_health_xid(struct fg_health *h, uint64_t xid)
{
    if (!fg_health_xid_is_devices(xid) || h->faulty)
        return;
    h->faulty = true;
    snprintf(h->fault, sizeof h->fault, "the device reported the fault Xid %llu", (unsigned long long)xid);
}

bool fg_health_step(struct fg_health *h, bool lost, uint64_t ecc, uint64_t throttle, char why[200])
{
    bool slow = throttle & (HW_SLOWDOWN | HW_THERMAL | HW_BRAKE);
    if (h->ecc_known && ecc > h->ecc && !h->faulty) {
        h->faulty = true;
        snprintf(h->fault, sizeof h->fault, "%llu uncorrected memory errors", (unsigned long long)(ecc - h->ecc));
    }
    h->ecc_known = true;
    h->ecc = ecc;
    h->slow = slow ? h->slow + 1 : 0;
    h->fast = slow ? 0 : h->fast + 1;
    h->drained = h->drained ? h->fast < FG_LADDER_STEADY : h->slow >= FG_LADDER_STEADY;
    if (lost)
        snprintf(why, 200, "the device has fallen off the bus or wants a reset");
    else if (h->faulty)
        snprintf(why, 200, "%s; restart the agent when it is mended", h->fault);
    else if (h->drained)
        snprintf(why, 200, "the hardware slows it down: heat or power");
    return !lost && !h->faulty && !h->drained;
}
