/* checkpoint.h - the driver part of reclaim.h: cuCheckpointProcess{Lock,Checkpoint,Restore,Unlock} in a short-lived program of its own
 * (checkpoint_main.c, libc alone), so that a driver that hangs or crashes harms nobody but it. One thread.
 *
 *     fgpu-checkpoint DRIVER probe
 *     fgpu-checkpoint DRIVER park TIMEOUT_MS PID...              all of them, or none
 *     fgpu-checkpoint DRIVER restore [OLD=NEW,...] PID...        whatever state each is in; "-": where they were
 *
 * It says one line and exits with an fg_reclaim_reply + FG_CHECKPOINT_EXIT (DONE: 0). */
#pragma once
#include <sys/types.h>

#include "device/reclaim.h"

struct fg_error;

#define FG_CHECKPOINT_PROGRAM "fgpu-checkpoint"
#define FG_CHECKPOINT_EXIT    10
#define FG_CHECKPOINT_PIDS    256

struct fg_checkpoint {
    pid_t child;                         /* 0: nothing runs */
    int said_fd;
    char said[200];                      /* of the last that ended */
};
struct fg_checkpoint_job {
    const char *program, *driver;        /* paths */
    bool restore;
    const char *pairs;                   /* restore: "GPU-old=GPU-new", NULL: where it was */
    const int32_t *pids;
    size_t count;                        /* at most FG_CHECKPOINT_PIDS */
    unsigned lock_ms;                    /* park: how long its work may take to drain */
};

/* Whether the driver can do it: waits for the answer, 10 s at most. moves: it knows pairs (13.0 and later). FG_E_UNSUPPORTED
 * says why not. */
int fg_checkpoint_probe(const char *program, const char *driver, bool *ret_moves, struct fg_error *err);
/* Nothing may be running. */
int fg_checkpoint_start(struct fg_checkpoint *checkpoint, const struct fg_checkpoint_job *job, struct fg_error *err);
/* Never waits. */
enum fg_reclaim_reply fg_checkpoint_reply(struct fg_checkpoint *checkpoint);
/* Kill it if it runs. */
void fg_checkpoint_abandon(struct fg_checkpoint *checkpoint);
