/* leased.h - what backends have in common whose limits are kept by a front end inside the task's process (opencl, nvidia, amd):
 * a lease of the engine's server in the agent (leases.h), a cgroup of the cpu backend for the processes on the host, and
 * what audits remember. One thread. */
#pragma once
#include "device/judge.h"
#include "device/leases.h"
#include "fgpu/device.h"

/* What audits remember of a vGPU. */
struct fg_suspects { struct fg_suspect *items; size_t count, cap; };
struct fg_watched {
    char name[64];
    struct fg_suspects suspects;
    struct fg_truth truth;
    bool told;                           /* the last look found the truth over the books */
};
struct fg_leased {
    const char *prefix;                  /* of its devices' names, for messages */
    void *host;                          /* of the cpu backend */
    uint64_t host_bytes;
    struct fg_leases *leases;            /* NULL: doctor */
    char *shims;                         /* NULL: not installed */
    bool can_look;                       /* into other processes */
    FG_VEC(struct fg_watched) watched;
};

/* Host's part and shims. word: makes this backend's cgroups its own beside the agent's scope. shims of options may be NULL. */
int fg_leased_open(struct fg_leased *l, const struct fg_backend_options *options, const char *prefix, const char *word, struct fg_error *err);
/* The leases, unless options have no folder (doctor): starts threads, so whoever forks does it before. scope: as the folder is called.
 * claims: other arbiters of this machine (slices) are to know what is leased (vgpu/claims.h). */
int fg_leased_begin(struct fg_leased *l, const struct fg_backend_options *options, const char *scope, bool claims, struct fg_error *err);
void fg_leased_close(struct fg_leased *l);
/* A device of this backend; a name that can be a file's, or NULL. */
int fg_leased_check(const struct fg_leased *l, const char *device, const char *name, struct fg_error *err);

/* host_bytes: memory of its processes on the host. */
int fg_leased_create(struct fg_leased *l, const char *device, const char *name, const struct fg_vgpu_limits *limits, uint64_t host_bytes,
                     struct fg_error *err);
int fg_leased_resize(struct fg_leased *l, const char *device, const char *name, const struct fg_vgpu_limits *limits, uint64_t host_bytes, struct fg_error *err);
/* The host's part and the two files of the lease. */
int fg_leased_entry(struct fg_leased *l, const char *device, const char *name, struct fg_vgpu_entry *ret, struct fg_error *err);
/* As in fg_device_backend: for the tables of backends whose state begins with their struct fg_leased. */
int fg_leased_sample(void *state, const char *device, const char *name, struct fg_usage *ret, struct fg_error *err);
int fg_leased_kill(void *state, const char *device, const char *name, struct fg_error *err);
int fg_leased_destroy(void *state, const char *device, const char *name, struct fg_error *err);
int fg_leased_names(void *state, const char *device, void (*fn)(void *arg, const char *name), void *arg, struct fg_error *err);
int fg_leased_adopt(void *state, const char *device, const char *name, int held_fd, struct fg_error *err);
int fg_leased_last_use(const void *counters, size_t size, struct fg_usage *ret);
/* Add device files that match, and their groups, if they are there. */
void fg_leased_add_nodes(struct fg_vgpu_entry *e, const char *const *patterns, size_t count);
/* Add what drivers read about devices under /sys. */
void fg_leased_add_facts(struct fg_vgpu_entry *e, const char *const *patterns, size_t count);

/* Put a front end (the file ours) in the place of the library NAME: ours at /run/fgpu/FOLDER, the driver's, its dependency, at
 * /run/fgpu/FOLDER/driver. driver NULL: it is looked for where libraries are. False, and nothing is added: the driver has none. */
bool fg_leased_add_front_end(struct fg_vgpu_entry *e, const char *ours, const char *folder, const char *name, const char *driver);
/* Where our front end NAME is: SHIMS/FOLDER as installed, or SHIMS/built as built; the caller's to free. NULL: nowhere. */
char *fg_leased_front_end(const struct fg_leased *l, const char *folder, const char *built, const char *name);
/* Memory on the host for a vGPU of a device of its own memory: what was asked for, else the larger of its two parts of the device, a GiB at least. */
uint64_t fg_leased_host_bytes(const struct fg_leased *l, uint64_t device_bytes, const struct fg_vgpu_limits *limits);

/* Audit by look.h and judge.h; fields of for_what that name this vGPU are filled in. truth: what else is known of it (nvidia: by
 * the driver), added to what DRM drivers tell; known false: nothing. Returns as fg_device_backend.audit does. */
int fg_leased_audit(struct fg_leased *l, const char *name, const struct fg_look_for *for_what, const struct fg_truth *truth, const int32_t *pids,
                    size_t count, struct fg_vgpu_offence *ret);
void fg_leased_audit_forget(struct fg_leased *l, const char *name);
void fg_leased_audit_fini(struct fg_leased *l);
/* Whether a process is in the books of the vGPU. */
bool fg_leased_is_member(struct fg_leased *l, const char *name, int32_t pid);
