/* launch_keys.h - what agent and supervisor agree on besides the files. No dependency: the supervisor has only libc. */
#pragma once

/* Descriptors the supervisor starts with. SECCOMP and LOCK may be shut. LOCK holds a flock on the attempt's `launch` for as
 * long as the supervisor lives: so a new agent knows, whatever the moment the old one died. */
#define FG_SUP_FD_DIR 3
#define FG_SUP_FD_SECCOMP 4
#define FG_SUP_FD_LOCK 5
/* May be shut. What the task's vGPU wants to be held (fgpu/device.h): here, and in the sandbox's first process as FG_SUP_FD_HELD_IN. Its
 * bytes are copied to the file `counters` at the end. */
#define FG_SUP_FD_HELD 6
/* Descriptors the sandbox starts with; its arguments name them. */
#define FG_SUP_FD_ARGS 10
#define FG_SUP_FD_STATUS 11
#define FG_SUP_FD_FILTER 12
#define FG_SUP_FD_HELD_IN 13
/* Where staged folder N stands for the sandbox: this and N. */
#define FG_SUP_STAGE "/tmp/"
