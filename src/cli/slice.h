/* slice.h - what the verbs of `fgpu slice` and its arbiter share: where they meet and what they say.
 *
 *   fgpu slice -- PROGRAM                       fgpu slice-arbiter FOLDER (started by the first slice)
 *     | open {quota, share} ---- arbiter.sock ---> admits, makes the lease (vgpu/server.h)
 *     | <------- id, two descriptors ------------- and keeps it while the connection stands or a process is attached
 *     +- PROGRAM: FGPU_LEASE=/proc/<slice>/fd/N:...
 *
 * The slice holds the lease's files, too: when the arbiter dies, the slice starts a new one (or finds it started) and
 * hands them over, so that nothing is admitted twice, neither by it nor by another user's. Messages are JSON objects, one a packet of a SOCK_SEQPACKET
 * socket. The folder is the user's; arbiters of several users know each other by vgpu/claims.h. */
#pragma once
#include "cli/cli.h"

#define SLICE_PACKET   131072 /* the longest message */
#define SLICE_PAGE     64     /* slices in one answer to "list" */
#define SLICE_READY_FD 3      /* of the arbiter: it writes one line there when it listens or gives up */

/* Where the arbiter of this user listens: $XDG_RUNTIME_DIR/fastgpu, of root /run/fastgpu, else the data folder; made
 * when it is missing. The caller's to free; NULL with *err. */
char *slice_folder(const struct cli *cli, struct fg_error *err);
char *slice_socket_path(const char *folder);
int slice_lock(const char *folder, bool wait); /* held while an arbiter is started or ends; a descriptor or -1 */

/* -1: none. claim keeps what the arbiter told the other users' arbiters (vgpu/claims.h) while it is being replaced. */
struct slice_files {
    int limits, counters, claim;
};
#define SLICE_NO_FILES ((struct slice_files){-1, -1, -1})
void slice_close_files(struct slice_files *files);
int slice_send(int fd, const json_t *message, const struct slice_files *files, struct fg_error *err);
/* One message; a message {"error": ...} is an error. timeout_ms -1: as long as it takes. ret_files may be NULL.
 * FG_E_UNREACHABLE: the other end is gone. */
int slice_receive(int fd, int timeout_ms, json_t **ret, struct slice_files *ret_files, struct fg_error *err);
json_t *slice_error(const struct fg_error *err);

/* Connect; start: start an arbiter when there is none. FG_E_NOT_FOUND: there is none and it was not to be started. */
int slice_connect(const char *folder, bool start, struct fg_error *err);
/* Connect, send, receive; again when the arbiter ended just then or asks to come back. *ret_fd: the connection, or NULL
 * to close it. */
int slice_ask(const char *folder, bool start, const json_t *request, const struct slice_files *files, json_t **ret,
              struct slice_files *ret_files, int *ret_fd, struct fg_error *err);

int slice_mode_by_name(const char *name); /* enum fg_share_mode; -1: unknown */
const char *slice_mode_name(int mode);

/* --- slice_arbiter.c --- */
int slice_arbiter_main(const char *folder, struct fg_error *err);
