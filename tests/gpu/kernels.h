/* kernels.h - the kernels that the programs of this folder launch: PTX for a real driver, names and parameters for the
 * stand-in, which takes spin_us's first parameter as its length. On a real device the length is a number of loops: what one
 * microsecond needs is measured once for a grid, alone on the device (spin_calibrate), since a kernel that watched a clock
 * would end early when it shares the device. */
#pragma once
#include "driver.h"

static const char spin_image[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry nop() { ret; }\n"
    ".visible .entry spin_us(.param .u32 us, .param .u32 per_us)\n{\n"
    "  .reg .u32 %us, %per, %n, %x;\n  .reg .pred %p;\n"
    "  ld.param.u32 %us, [us];\n  ld.param.u32 %per, [per_us];\n  mul.lo.u32 %n, %us, %per;\n  mov.u32 %x, %clock;\n"
    "LOOP:\n  mad.lo.u32 %x, %x, 1664525, 1013904223;\n  sub.u32 %n, %n, 1;\n  setp.ne.u32 %p, %n, 0;\n  @%p bra LOOP;\n"
    "  setp.eq.u32 %p, %x, 0;\n  @%p trap;\n  ret;\n}\n";

struct spin { CUfunction kernel, nop; unsigned per_us, grid; int cooperative; };

static inline CUresult spin_launch(const struct spin *spin, CUstream stream, unsigned us)
{
    unsigned per_us = spin->per_us;
    void *params[] = {&us, &per_us};
    return spin->cooperative ? cu.cuLaunchCooperativeKernel(spin->kernel, spin->grid, 1, 1, 256, 1, 1, 0, stream, params)
                             : cu.cuLaunchKernel(spin->kernel, spin->grid, 1, 1, 256, 1, 1, 0, stream, params, NULL);
}

/* Loads the kernels into the current context. */
static inline CUresult spin_load(struct spin *ret)
{
    CUmodule module;
    CUresult r = cu.cuModuleLoadData(&module, spin_image);
    r = r ? r : cu.cuModuleGetFunction(&ret->kernel, module, "spin_us");
    return r ? r : cu.cuModuleGetFunction(&ret->nop, module, "nop");
}

/* How many loops take a microsecond on this grid: from kernels of about `us`, the best of seven. */
static inline CUresult spin_calibrate(struct spin *spin, unsigned us)
{
    CUevent from, to;
    float best = 0;
    spin->per_us = 100;
    CUresult r = cu.cuEventCreate(&from, 0);
    r = r ? r : cu.cuEventCreate(&to, 0);
    for (int i = 0; i < 8 && !r; i++) {
        float ms;
        cu.cuEventRecord(from, NULL);
        r = spin_launch(spin, NULL, us);
        cu.cuEventRecord(to, NULL);
        r = r ? r : cu.cuEventSynchronize(to);
        r = r ? r : cu.cuEventElapsedTime(&ms, from, to);
        if (i && (best == 0 || ms < best)) /* the first one loads the code */
            best = ms;
    }
    if (!r) {
        cu.cuEventDestroy_v2(from);
        cu.cuEventDestroy_v2(to);
    }
    if (!r && best > 0) {
        double per_us = (double)spin->per_us * us / ((double)best * 1000.0);
        spin->per_us = per_us < 1 ? 1 : (unsigned)(per_us + 0.5);
    }
    return r;
}
