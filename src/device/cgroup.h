/* cgroup.h - where each cgroup controller lives on this machine, and a folder of our own in every hierarchy.
 *
 *   v1       /sys/fs/cgroup/memory/fgpu-SCOPE/NAME   one hierarchy per controller
 *   v2       /sys/fs/cgroup/fgpu-SCOPE/NAME          one for all
 *   hybrid   limits by v1, and a v2 folder beside them because only v2 can kill a whole tree at once
 *
 * An ordinary user gets what was delegated to the cgroup it runs in, usually nothing. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/str.h"

enum fg_cgroup_controller { FG_CG_MEMORY, FG_CG_CPU, FG_CG_CPUACCT, FG_CG_PIDS, FG_CG_FREEZER, FG_CG_COUNT };

/* One hierarchy that is used. */
struct fg_cgroup_tree {
    int version;                         /* 1 or 2 */
    unsigned controllers;                /* bits 1 << enum; v2 may have none and still kill */
    char *mount, *base, *group;          /* mount point; folder we build in; base/fgpu-SCOPE */
    char *own;                           /* this process's path in the hierarchy, as /proc/self/cgroup has it */
    char *root;                          /* the part of the hierarchy that is mounted, "/" mostly */
};
#define FG_CG_TREES 16
struct fg_cgroups {
    struct fg_cgroup_tree trees[FG_CG_TREES];
    size_t count;
    struct fg_cgroup_tree *of[FG_CG_COUNT];   /* the tree of a controller, NULL: not to be had */
    struct fg_cgroup_tree *v2;                /* or NULL */
    char why[200];                            /* what is missing and why; "" when nothing is */
};

/* Pure: list the hierarchies of a /proc/self/mountinfo text below under (NULL: anywhere), with own paths from a
 * /proc/self/cgroup text. Trees that carry none of our controllers are left out, a v2 tree is always kept. */
void fg_cgroups_parse(const char *mountinfo, const char *self_cgroup, const char *under, struct fg_cgroups *ret);

/* What fg_cgroups_open reads; NULL members: the kernel's own. For tests. */
struct fg_cgroup_source { const char *mountinfo, *self_cgroup, *under; };
/* Find the hierarchies, choose the folder to build in, make fgpu-SCOPE in each and hand controllers down in v2.
 * Trees that cannot be written are dropped and named in why: that is no error. */
void fg_cgroups_open(const struct fg_cgroup_source *source, const char *scope, struct fg_cgroups *ret);
/* Remove the group folders that are empty, free. */
void fg_cgroups_close(struct fg_cgroups *cg);

/* tree->group/name/file, the caller's to free. */
char *fg_cgroup_path(const struct fg_cgroup_tree *tree, const char *name, const char *file);
/* Make the folder called name in every tree; existing ones are fine. */
int fg_cgroups_make(const struct fg_cgroups *cg, const char *name, struct fg_error *err);
/* Remove it everywhere; missing is fine, FG_E_CONFLICT while a process is in one. */
int fg_cgroups_remove(const struct fg_cgroups *cg, const char *name, struct fg_error *err);
/* Kill all in it: cgroup.kill where there is one, else every pid that is listed until none is. */
int fg_cgroups_kill(const struct fg_cgroups *cg, const char *name, struct fg_error *err);
/* One integer of a control file, or of its line "key N" when key is given; false when it is not there. */
bool fg_cgroup_read(const struct fg_cgroup_tree *tree, const char *name, const char *file, const char *key, uint64_t *ret);
