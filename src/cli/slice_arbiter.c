/* slice_arbiter.c - `fgpu slice-arbiter FOLDER`: the process behind the slices of one user. One loop over its
 * connections; the leases themselves, their windows and the death of their processes are vgpu/server.h's.
 *
 *   open, adopt --> lease, held while its connection stands;  connection gone --> held while a process is attached -->
 * closed no slice for LINGER --> folder locked, nobody knocking --> socket removed, exit
 *
 * A socket found at the start was left by an arbiter that was killed. Its slices come back by themselves with their
 * files
 * ("adopt"), so for GRACE nobody else is let in: what they hold must not be given away. */
#include "cli/slice_arbiter.h"
#include "vgpu/claims.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINGER_MS    2000
#define GRACE_MAX_MS 3000
#define LOOK_MS      50
#define CONNS_MAX    1024

/* --- coming and going --- */

static void welcome(struct arbiter *a)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0);
    if (!known || a->conns.count >= CONNS_MAX)
        close(fd);
    else
        fg_vec_push(&a->conns, ((struct conn){.fd = fd, .pid = peer.pid}));
}

static void end_slice(struct arbiter *a, struct slice *slice)
{
    fg_vgpu_server_close(a->server, slice->id, NULL);
    free(slice->command);
    memmove(slice, slice + 1, (size_t)(a->slices.items + a->slices.count - slice - 1) * sizeof *slice);
    a->slices.count--;
    a->idle_ms = slice_now_ms();
}

/* End what was left by its starter once no process is attached. Returns whether some stay. */
static bool clear_left(struct arbiter *a)
{
    bool stay = false;
    for (size_t i = a->slices.count; i-- > 0;) {
        struct fg_lease_stats stats;
        struct slice *slice = &a->slices.items[i];
        if (!slice->left_ms)
            continue;
        if (fg_vgpu_server_stats(a->server, slice->id, &stats, NULL) < 0 || stats.processes == 0)
            end_slice(a, slice);
        else
            stay = true;
    }
    return stay;
}

static void farewell(struct arbiter *a, size_t i)
{
    struct slice *slice = slice_by_id(a, a->conns.items[i].id);
    close(a->conns.items[i].fd);
    memmove(&a->conns.items[i], &a->conns.items[i + 1], (--a->conns.count - i) * sizeof *a->conns.items);
    if (slice)
        slice->left_ms = slice_now_ms();
    a->idle_ms = slice_now_ms();
}

/* Nobody needs us: leave so that nobody can be lost between the last look and the end. */
static bool leave(struct arbiter *a)
{
    FG_AUTO_FD int lock = slice_lock(a->folder, false);
    struct pollfd knock = {.fd = a->listener, .events = POLLIN};
    if (lock < 0 || poll(&knock, 1, 0) != 0) {
        a->idle_ms = slice_now_ms();
        return false;
    }
    unlink(a->socket_path);
    close(fg_take_fd(a->listener));
    return true;
}

static int wait_ms(const struct arbiter *a, bool some_left)
{
    if (some_left)
        return LOOK_MS;
    if (a->slices.count > 0)
        return -1;
    return (int)FG_MAX(a->idle_ms + LINGER_MS - slice_now_ms(), 0) + 1;
}

static void loop(struct arbiter *a)
{
    FG_VEC(struct pollfd) fds = {0};
    for (;;) {
        bool some_left = clear_left(a);
        if (a->slices.count == 0 && slice_now_ms() - a->idle_ms >= LINGER_MS && leave(a))
            break;
        fds.count = 0;
        for (size_t i = 0; i < a->conns.count; i++)
            fg_vec_push(&fds, ((struct pollfd){.fd = a->conns.items[i].fd, .events = POLLIN}));
        fg_vec_push(&fds, ((struct pollfd){.fd = a->listener, .events = POLLIN}));
        if (poll(fds.items, fds.count, wait_ms(a, some_left)) <= 0)
            continue;
        /* those who leave first: what they held may be what the next one asks for */
        for (size_t i = fds.count - 1; i-- > 0;)
            if (fds.items[i].revents & (POLLHUP | POLLERR)) {
                farewell(a, i);
                memmove(&fds.items[i], &fds.items[i + 1], (--fds.count - i) * sizeof *fds.items);
            }
        clear_left(a);
        for (size_t i = fds.count - 1; i-- > 0;)
            if (fds.items[i].revents && slice_serve(a, &a->conns.items[i]) < 0)
                farewell(a, i);
        if (fds.items[fds.count - 1].revents)
            welcome(a);
    }
    fg_vec_fini(&fds);
}

/* --- the start --- */

/* The only arbiter of the folder: one that is just ending is waited for. */
static int lock_folder(struct arbiter *a, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(a->folder, "arbiter.lock");
    a->own_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; a->own_lock >= 0 && i < 50; i++) {
        if (flock(a->own_lock, LOCK_EX | LOCK_NB) == 0)
            return 0;
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    return fg_fail(err, FG_E_CONFLICT, "another slice arbiter holds '%s' and does not answer", a->folder);
}

static int listen_there(struct arbiter *a, struct fg_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (unlink(a->socket_path) == 0) {
        a->grace_ms = slice_now_ms() + SLICE_GRACE_MS;
        a->grace_end_ms = slice_now_ms() + GRACE_MAX_MS;
    }
    if (strlen(a->socket_path) >= sizeof address.sun_path)
        return fg_fail(err, FG_E_INVALID, "'%s' is too long for a socket", a->socket_path);
    strcpy(address.sun_path, a->socket_path);
    a->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    int rc = bind(a->listener, (struct sockaddr *)&address, sizeof address);
    umask(before);
    return rc == 0 && listen(a->listener, 128) == 0 ? 0 : fg_fail(err, FG_E_IO, "listen at '%s': %m", a->socket_path);
}

static int prepare(struct arbiter *a, struct fg_error *err)
{
    struct stat st = {0};
    struct fg_vgpu_server_config config = {.adoptable = 1, .claims_folder = fg_claims_folder()};
    struct rlimit files;
    if (stat(a->folder, &st) == 0) /* one arbiter of this folder after another replace each other */
        config.claims_scope = (uint64_t)st.st_dev << 40 ^ st.st_ino;
    if (lock_folder(a, err) < 0 || slice_devices_list(&a->found, err) < 0 ||
        fg_vgpu_server_create(&a->server, &config, err) < 0)
        return -1;
    if (getrlimit(RLIMIT_NOFILE, &files) ==
        0) { /* a slice takes three descriptors, and one for each of its processes */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    for (size_t i = 0; i < a->found.count; i++) {
        const struct slice_device *device = &a->found.items[i];
        if (fg_vgpu_server_device(a->server, device->name, device->memory_bytes, err) < 0 ||
            fg_vgpu_server_device_key(a->server, device->name, device->key, err) < 0)
            return -1;
    }
    return listen_there(a, err);
}

int slice_arbiter_main(const char *folder, struct fg_error *err)
{
    struct arbiter a = {.folder = folder, .socket_path = slice_socket_path(folder), .listener = -1, .own_lock = -1};
    int rc = prepare(&a, err);
    FG_AUTO_JSON json_t *ready = rc == 0 ? json_object() : slice_error(err);
    FG_AUTO_STR struct fg_str text = {0};
    fg_json_dump(ready, &text);
    (void)fg_write_all(SLICE_READY_FD, text.data, text.len);
    close(SLICE_READY_FD);
    a.idle_ms = slice_now_ms();
    if (rc == 0)
        loop(&a);
    fg_vgpu_server_destroy(a.server);
    for (size_t i = 0; i < a.conns.count; i++)
        close(a.conns.items[i].fd);
    fg_vec_fini(&a.conns);
    fg_vec_fini(&a.slices);
    free(a.socket_path);
    if (a.listener >= 0)
        close(a.listener);
    if (a.own_lock >= 0)
        close(a.own_lock);
    return rc;
}
