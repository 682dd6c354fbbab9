/* supervisor.h - the two halves of the supervisor: the one that watches and the one that becomes the sandbox. libc only. */
#pragma once
#include <sys/types.h>
#include "agent/launch_keys.h"

#define MAX_LIST 128
/* The file launch, as the agent wrote it (launch.c). */
struct launch {
    const char *join[MAX_LIST], *stage[MAX_LIST];
    int joins, stages, groups;
    gid_t group[MAX_LIST];               /* the task's user is in these, too */
    const char *kill_file, *oom_file, *peak_file, *cpu_file;
    long long uid, gid;                  /* -1: stay who we are */
    long long log_limit, run_ns, grace_ns;
    char *args, **argv;                  /* args: options in a row, args_len bytes */
    size_t args_len;
};
extern struct launch launch;
struct fail { int error; char step[120]; };

int read_launch(void);
/* At most n - 1 bytes of a file, NUL terminated; -1 when it cannot be read. */
ssize_t slurp(const char *path, char *buf, size_t n);
/* In the forked child: join the vGPU, lose all rights, exec. pipes: stdout, stderr, the sandbox's status. Does not
 * return; what went wrong is written to fail_pipe. */
void run_sandbox(const int pipes[3], int fail_pipe, pid_t parent);
