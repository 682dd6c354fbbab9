/* fgpu/device.h - the ABI of a device backend: how devices of one kind are found, cut into vGPUs, limited and measured.
 * An agent calls it from one thread. A backend keeps no state that a restart of the agent would lose: vGPUs are found
 * again by name (adopt). All functions return 0, or -1 with *err. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"
#include "model/device.h"

#define FG_DEVICE_ABI 4

struct fg_vgpu_limits {
    uint64_t memory_bytes;
    uint32_t share_permille;
    uint32_t own_permille;               /* of the share: the rest is lent and may be gone at any moment, so memory on the host
                                          * goes by this; 0: all of it */
    bool borrowed;                       /* at create: the place is lent by vGPUs that are parked */
    /* Of the machine's processor, where the device is another: the quota and memory limit of its processes on the host.
     * 0: not asked, no quota, and memory as the part of the device goes. */
    uint32_t cpus_milli;
    uint64_t host_bytes;
};
static inline uint32_t fg_own_permille(const struct fg_vgpu_limits *l) { return l->own_permille ? l->own_permille : l->share_permille; }

/* What the sandbox must give the task's process so that it is inside its vGPU. Strings are owned (fg_vgpu_entry_fini). */
struct fg_vgpu_entry {
    FG_VEC(char *) join_files;           /* write "0" to each in the child before exec: cgroup.procs or tasks files */
    FG_VEC(char *) env;                  /* NAME=value */
    /* "ro:/host/path:/sandbox/path", "rw:...", "dev:/dev/nvidia0", "at:/sys/devices/pci0000:00" (read-only, at the same place),
     * "ln:/target:/sandbox/path"; what is below FG_VGPU_FOLDER cannot be moved, replaced or removed by the task */
    FG_VEC(char *) binds;
    FG_VEC(uint32_t) groups;             /* the task's user is in these, too: device nodes belong to groups */
    /* A descriptor that the supervisor and the sandbox's first process hold for as long as the task lives: in there it is the file
     * FG_VGPU_HELD. Owned; 0 or less: none. After a restart of the agent it comes back through adopt. */
    int held_fd;
    char *kill_file;                     /* writing "1" kills all in it (cgroup v2), or NULL */
    char *oom_file;                      /* holds a line "oom_kill N", or NULL */
    char *peak_file;                     /* one integer, bytes, or NULL */
    char *cpu_file;                      /* CPU time used: one integer in ns (v1) or a line "usage_usec N" (v2), or NULL */
    char *freeze_file;                   /* cgroup freezer, or NULL */
};
void fg_vgpu_entry_fini(struct fg_vgpu_entry *entry);
#define FG_VGPU_FOLDER "/run/fgpu"       /* in the sandbox: what belongs to the vGPU */
#define FG_VGPU_HELD_FD 13
#define FG_VGPU_HELD "/proc/1/fd/13"

/* What an audit found: a process that goes around the limits. */
struct fg_vgpu_offence {
    int32_t pid;
    bool fault;                          /* nobody's offence: the device or its driver lost the task */
    char text[200];                      /* one sentence without its subject: "process 12 (python3) ..." */
};

/* What the agent's settings say to every backend. Borrowed for the time of open. */
struct fg_backend_options {
    const char *scope;                   /* a word that makes this agent's names its own */
    uint64_t memory_reserve_bytes;       /* host memory never handed out */
    const char *cgroup_root;             /* where cgroup hierarchies are mounted, or NULL: as the kernel lists them */
    const char *folder;                  /* for files that must survive a restart of the agent, or NULL: no vGPU will be made (doctor) */
    const char *shims;                   /* folder of the libraries that go into tasks' processes, or NULL: not installed */
    const char *opencl;                  /* which OpenCL devices: "none", "gpu", "all"; NULL: gpu */
    int64_t reclaim_idle_s;              /* the device memory of vGPUs that were idle so long may go to others; 0: never */
    bool reclaim_always;                 /* also when nobody lacks memory */
    bool reclaim_move;                   /* and brought back on another device of the kind, whose files tasks then see */
    bool reclaim_move_running;           /* also of tasks that are not idle, when the server asks for it */
};

/* Where the device memory of a vGPU is (model/task.h), for those that may be parked while they are idle. */
struct fg_vgpu_parking {
    enum fg_parking state;               /* LACKS: it was called, and others have its place; so much of it is missing */
    uint64_t used_bytes, missing_bytes;
    uint32_t missing_permille;
    char device[64];                     /* where it is */
    bool moving, move_failed;            /* it was told to move and is neither there nor failed; it stays where it was: tell move NULL */
};

struct fg_device_backend {
    int abi;                             /* FG_DEVICE_ABI */
    const char *name;                    /* "cpu" */
    int (*open)(const struct fg_backend_options *options, void **ret_state, struct fg_error *err);
    /* Probe the machine: fill devices (id and node left 0), at most max. */
    int (*list)(void *state, struct fg_device *devices, size_t max, size_t *ret_count, struct fg_error *err);
    /* Make the vGPU called name on device with limits; existing with the same name: its limits are set anew.
     * FG_E_UNAVAILABLE: others have the device at this moment; ask again. */
    int (*create)(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err);
    int (*entry)(void *state, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err);
    int (*resize)(void *state, const char *device, const char *name, const struct fg_vgpu_limits *limits, struct fg_error *err);
    int (*sample)(void *state, const char *device, const char *name, struct fg_usage *ret, struct fg_error *err);
    int (*kill)(void *state, const char *device, const char *name, struct fg_error *err);       /* every process in it, at once */
    int (*destroy)(void *state, const char *device, const char *name, struct fg_error *err);    /* missing is fine; FG_E_CONFLICT while processes are in it */
    int (*names)(void *state, const char *device, void (*fn)(void *arg, const char *name), void *arg, struct fg_error *err);
    /* After a restart of the agent: the vGPU's processes live. held_fd: what its entry gave to be held, borrowed; -1: it could not be
     * had. NULL: there is nothing to do. -1: its limits are nobody's any more, so its processes must end. */
    int (*adopt)(void *state, const char *device, const char *name, int held_fd, struct fg_error *err);
    /* Compare what its processes were charged with what the kernel says they do. pids: all of them, by the caller. 1: *ret is an
     * offender, to be stopped; 0: none was seen. NULL: the kernel holds the limits. */
    int (*audit)(void *state, const char *device, const char *name, const int32_t *pids, size_t count, struct fg_vgpu_offence *ret);
    /* False: it is not known yet. NULL: none can be parked. */
    bool (*parking)(void *state, const char *device, const char *name, struct fg_vgpu_parking *ret);
    /* Bring a parked vGPU back on the device `to` of the same kind; one that runs is parked for it, if its device says that it moves; parking says how it ended. NULL as to: it stays where it was.
     * FG_E_UNAVAILABLE: there is no room. NULL: none can be moved. */
    int (*move)(void *state, const char *device, const char *name, const char *to, struct fg_error *err);
    /* Use at the end of vGPUs whose counters were read from the held descriptor by the supervisor, NULL: not such a backend. */
    int (*last_use)(const void *counters, size_t size, struct fg_usage *ret);
    void (*close)(void *state);          /* vGPUs and their processes stay */
};
extern const struct fg_device_backend fg_cpu_backend, fg_opencl_backend, fg_nvidia_backend, fg_amd_backend;
