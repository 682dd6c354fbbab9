/* slice_audit.h - who goes around the layer, among the processes of a slice: looked for by the `fgpu slice` that started
 * them, with the eyes and the rules of the agent (device/look.h, device/judge.h). Same user, so no rights are needed; a process
 * that cannot be looked at (one that changed its user) is left alone, unless NVIDIA's driver says that it holds memory. One thread. */
#pragma once
#include <sys/types.h>

#include "base/vec.h"
#include "cli/slice.h"
#include "cli/slice_cuda.h"
#include "device/judge.h"

#define SLICE_DRIVERS_MAX 32

struct slice_audit {
    struct fg_look_for look_for;
    char *drivers[SLICE_DRIVERS_MAX];
    const struct fg_counters *counters; /* of the slice, mapped to be read; NULL: not to be had */
    const struct fg_limits *limits;     /* likewise */
    struct slice_cuda *cuda;            /* NULL: no slice of CUDA */
    uint64_t pid_ns;
    FG_VEC(struct fg_suspect) suspects;
    FG_VEC(pid_t) spared;               /* who cannot be stopped, named once */
    bool over;                          /* the books were wrong at the last look */
    int64_t due_ns;
};

/* lease: the value of FGPU_LEASE that the program gets; borrowed, as are the files and cuda. Returns whether this machine lets us look. */
bool slice_audit_init(struct slice_audit *audit, const char *lease, const struct slice_files *files, struct slice_cuda *cuda);
void slice_audit_fini(struct slice_audit *audit);
/* Look at all descendants of this process when it is time, and stop who goes around the layer; said(arg, stopped, text) names him.
 * Not stopped: he has become another user. Returns in how many ms it is due again. */
typedef void slice_said(void *arg, bool stopped, const char *text);
int slice_audit_run(struct slice_audit *audit, slice_said *said, void *arg);
