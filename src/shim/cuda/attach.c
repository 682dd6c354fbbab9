/* attach.c - find the lease, once; compiled into CUDA's and HIP's front ends. */
#include "shim/cuda/shim.h"

void fgcu_attach(void)
{
    if (fg_get(&fgcu.looked))
        return;
    fg_lock(&fgcu.attach_lock);
    if (!fgcu.looked) {
        enum fg_lease_status status = fg_lease_attach(&fgcu.lease, NULL);
        fgcu.refused = status == FG_LEASE_NONE ? FG_LEASE_OK : status;
        if (status == FG_LEASE_OK) {
            fg_ledger_init(&fgcu.ledger, &fgcu.lease);
            fg_gate_init(&fgcu.gate, &fgcu.lease);
            fgcu_only_device(fgcu.lease.limits->device);
            fg_put(&fgcu.attached, 1);
        }
        fg_put(&fgcu.looked, 1);
    }
    fg_unlock(&fgcu.attach_lock);
}
