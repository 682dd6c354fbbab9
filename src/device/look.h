/* look.h - what the kernel says about a process: which drivers it has loaded, which device files it holds open, and what the
 * DRM drivers count for it. Reads /proc; needs the same user or root. See judge.h for what is made of it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What to look for. Borrowed. */
struct fg_look_for {
    const char *proc;                    /* NULL: /proc; tests have their own */
    const char *const *drivers;          /* stems of file names, "libpocl.so"; what loads them can use the device */
    size_t driver_count;
    const char *layer;                   /* file name of our front end, "libfgpu_opencl.so" */
    const char *loader;                  /* of the library that loads both, "libOpenCL": programs bring copies with longer names */
    const char *env_on;                  /* variable and a part of its value that put the front end in: "OPENCL_LAYERS=", layer */
    const char *lease;                   /* FGPU_LEASE's right value; NULL: it is not set in an honest environment */
    uint64_t counters_inode;             /* of the vGPU's counters; 0: not known */
    bool nodes;                          /* look at open device files, too */
};
struct fg_look {
    bool hidden;                         /* it cannot be looked at though it is there */
    int64_t cpu_ns;                      /* it used so far; filled, as the next, with driver, node or hidden */
    bool sleeps;                         /* neither wants the processor nor waits for a disk nor is stopped */
    char name[32];                       /* of the process */
    pid_t inner_pid;                     /* what it is called in its own namespace, which is what its owner knows; filled with driver or node */
    char driver[64];                     /* the first driver's file name that is mapped to be executed; "": none */
    bool loader, layer, counters;        /* mapped */
    bool env_on, env_lease;              /* the front end is in its environment; an FGPU_LEASE that is not the right one is */
    char node[64];                       /* the first device file that is open by which a GPU is used; "": none */
    bool drm;                            /* a driver counts for it: the next two are the kernel's truth */
    uint64_t drm_memory_bytes;           /* of the device's own memory */
    uint64_t drm_engine_ns;              /* of the busiest kind of engine, ever */
};
/* False: there is no such process any more, or it has ended. */
bool fg_look_at(const struct fg_look_for *for_what, pid_t pid, struct fg_look *ret);

/* Pure, for tests: one /proc/PID/maps, environ or fdinfo text. fdinfo of the same client counts once: seen keeps their ids. */
void fg_look_maps(const struct fg_look_for *for_what, const char *maps, struct fg_look *look);
void fg_look_environ(const struct fg_look_for *for_what, const char *environ, size_t n, struct fg_look *look);
struct fg_drm_client { char pdev[32]; uint64_t id, memory_bytes; struct { char name[24]; uint64_t ns; } engines[12]; unsigned engine_count; };
bool fg_look_fdinfo(const char *fdinfo, struct fg_drm_client *ret);

/* The tree below root, itself first, at most max: a pid namespace keeps every descendant in it. Children of threads count. */
size_t fg_look_tree(const char *proc, pid_t root, pid_t *pids, size_t max);
