/* slice_arbiter.h - what the arbiter's loop (slice_arbiter.c) and its answers (slice_requests.c) share. One thread. */
#pragma once
#include "cli/slice.h"
#include "cli/slice_devices.h"
#include "vgpu/server.h"

#define SLICE_GRACE_MS 500

struct slice {
    char id[64];
    char *command;
    pid_t pid;                 /* of the `fgpu slice` */
    bool audited;              /* it looks at its processes, as long as it is there */
    int64_t began_ms, left_ms; /* left 0: its connection stands */
};
struct conn {
    int fd;
    pid_t pid;
    char id[64]; /* of its slice; "" while it has none */
};
struct arbiter {
    const char *folder;
    char *socket_path;
    int listener, own_lock;
    struct slice_devices found;
    struct fg_vgpu_server *server;
    FG_VEC(struct slice) slices;
    FG_VEC(struct conn) conns;
    int64_t idle_ms;                /* since when there is no slice */
    int64_t grace_ms, grace_end_ms; /* until when only slices of a former arbiter are let in; never longer than */
};

static inline int64_t slice_now_ms(void) { return fg_boot_ns() / 1000000; }
struct slice *slice_by_id(struct arbiter *a, const char *id);
/* One request and its answer. -1: the connection is over. */
int slice_serve(struct arbiter *a, struct conn *conn);
