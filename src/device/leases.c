/* leases.c - see leases.h. */
#include "device/leases.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/vec.h"
#include "vgpu/claims.h"
#include "vgpu/server.h"

#define TMPFS_MAGIC_ 0x01021994
#define MEMBERS_MAX  FG_SLOTS

struct fg_leases {
    struct fg_vgpu_server *server;
    char *folder;
    FG_VEC(char *) devices;
};

/* A folder of ours that nobody else can write. /dev/shm is everybody's: whoever was there first may have made it. */
static bool own_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return false;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077);
}

/* On a memory file system, where a page that is written all the time never waits for a disk. */
static char *choose_folder(const char *scope, const char *fallback, struct fg_error *err)
{
    struct statfs fs;
    FG_AUTO_FREE char *shm = fg_asprintf("/dev/shm/fgpu-%s", scope);
    FG_AUTO_FREE char *disk = fg_path_join(fallback, "leases");
    if (statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC_ && own_folder(shm))
        return fg_take_ptr(shm);
    if (own_folder(disk))
        return fg_take_ptr(disk);
    fg_fail(err, FG_E_IO, "make '%s', where the limits of vGPUs lie: %m", disk);
    return NULL;
}

static uint64_t hash(const char *word)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *word; word++)
        h = (h ^ (unsigned char)*word) * UINT64_C(0x100000001b3);
    return h;
}

/* Where claims cannot be made nobody else makes them either. */
static int start_server(struct fg_leases *l, const char *scope, bool claims, struct fg_error *err)
{
    struct fg_vgpu_server_config config = {.claims_folder = claims ? fg_claims_folder() : NULL, .claims_scope = hash(scope)};
    if (config.claims_folder && fg_vgpu_server_create(&l->server, &config, err) == 0)
        return 0;
    return fg_vgpu_server_create(&l->server, NULL, err);
}

int fg_leases_open(struct fg_leases **ret, const char *scope, const char *fallback, bool claims, struct fg_error *err)
{
    struct fg_leases *l = fg_alloc(sizeof *l);
    l->folder = choose_folder(scope, fallback, err);
    if (!l->folder || start_server(l, scope, claims, err) != 0) {
        fg_leases_close(l);
        return -1;
    }
    *ret = l;
    return 0;
}

void fg_leases_close(struct fg_leases *l)
{
    if (!l)
        return;
    fg_vgpu_server_leave(l->server);
    if (l->folder)
        rmdir(l->folder); /* goes when it is empty */
    free(l->folder);
    for (size_t i = 0; i < l->devices.count; i++)
        free(l->devices.items[i]);
    fg_vec_fini(&l->devices);
    free(l);
}

int fg_leases_device(struct fg_leases *l, const char *device, const char *key, uint64_t memory_bytes, struct fg_error *err)
{
    if (fg_vgpu_server_device(l->server, device, FG_MIN(memory_bytes, FG_MEMORY_MAX), err) != 0 ||
        (key && fg_vgpu_server_device_key(l->server, device, key, err) != 0))
        return -1;
    fg_vec_push(&l->devices, fg_strdup(device));
    return 0;
}

char *fg_leases_limits(const struct fg_leases *l, const char *name) { return fg_path_join(l->folder, name); }

bool fg_leases_use(struct fg_leases *l, const char *name, struct fg_lease_use *ret)
{
    struct fg_lease_stats s;
    if (fg_vgpu_server_stats(l->server, name, &s, NULL) != 0)
        return false;
    *ret = (struct fg_lease_use){.memory_bytes = s.spec.memory_bytes, .used_bytes = s.used_bytes, .peak_bytes = s.peak_bytes,
                                 .denied = s.denied, .share_permille = s.spec.share_permille, .device_ns = (int64_t)s.device_ns,
                                 .throttle_ns = (int64_t)s.throttle_ns, .processes = s.processes, .corrupt = s.corrupt != 0, .parked = s.parked != 0};
    return true;
}

int fg_leases_set(struct fg_leases *l, const char *name, uint64_t memory_bytes, uint32_t share_permille, struct fg_error *err)
{
    struct fg_lease_stats s;
    if (fg_vgpu_server_stats(l->server, name, &s, err) != 0)
        return -1;
    s.spec.memory_bytes = memory_bytes;
    s.spec.share_permille = share_permille;
    return fg_vgpu_server_set(l->server, &s.spec, err);
}

int fg_leases_make(struct fg_leases *l, const char *device, const char *name, uint64_t memory_bytes, uint32_t share_permille, bool borrowed,
                   struct fg_error *err)
{
    struct fg_lease_use use;
    if (fg_leases_use(l, name, &use))
        return fg_leases_set(l, name, memory_bytes, share_permille, err);
    struct fg_lease_spec spec = {.memory_bytes = memory_bytes, .share_permille = share_permille, .mode = FG_SHARE_WEIGHTED,
                                 .flags = borrowed ? FG_LIMIT_BORROWED : 0};
    if (snprintf(spec.id, sizeof spec.id, "%s", name) >= (int)sizeof spec.id)
        return fg_fail(err, FG_E_INVALID, "'%s' is too long for a lease", name);
    snprintf(spec.device, sizeof spec.device, "%s", device);
    FG_AUTO_FREE char *path = fg_leases_limits(l, name);
    unlink(path); /* of an agent that died before it could use it */
    own_folder(l->folder);
    FG_AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fg_fail(err, FG_E_IO, "make '%s': %m", path);
    if (fg_vgpu_server_open_at(l->server, &spec, fd, err) == 0)
        return 0;
    unlink(path);
    return -1;
}

/* The device of an adopted lease may not be listed any more: its driver failed when the agent came back. */
static int know_device(struct fg_leases *l, int limits_fd, struct fg_error *err)
{
    struct fg_limits limits;
    if (pread(limits_fd, &limits, sizeof limits, 0) != (ssize_t)sizeof limits || fg_limits_check(&limits, 4096) != FG_LEASE_OK)
        return fg_fail(err, FG_E_INVALID, "adopt a lease: its limits are no such file");
    for (size_t i = 0; i < l->devices.count; i++)
        if (strcmp(l->devices.items[i], limits.device) == 0)
            return 0;
    return fg_leases_device(l, limits.device, NULL, FG_MEMORY_MAX, err);
}

int fg_leases_adopt(struct fg_leases *l, const char *name, int counters_fd, struct fg_error *err)
{
    char id[64];
    struct fg_lease_use use;
    if (fg_leases_use(l, name, &use))
        return 0;
    FG_AUTO_FREE char *path = fg_leases_limits(l, name);
    FG_AUTO_FD int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && chmod(path, 0600) == 0) /* 0444, and we are not root */
        fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fg_fail(err, FG_E_IO, "open '%s': %m", path);
    fchmod(fd, 0444);
    return know_device(l, fd, err) != 0 || fg_vgpu_server_adopt(l->server, fd, counters_fd, id, err) != 0 ? -1 : 0;
}

static char *order_path(const struct fg_leases *l, const char *name) { return fg_asprintf("%s/.%s.to", l->folder, name); }

static void drop_order(const struct fg_leases *l, const char *name)
{
    FG_AUTO_FREE char *path = order_path(l, name);
    unlink(path);
}

void fg_leases_end(struct fg_leases *l, const char *name)
{
    FG_AUTO_FREE char *path = fg_leases_limits(l, name);
    fg_vgpu_server_close(l->server, name, NULL);
    unlink(path);
    drop_order(l, name);
}

int fg_leases_counters(struct fg_leases *l, const char *name)
{
    int limits, counters;
    if (fg_vgpu_server_fds(l->server, name, &limits, &counters, NULL) != 0)
        return -1;
    return fcntl(counters, F_DUPFD_CLOEXEC, 3);
}

size_t fg_leases_members(struct fg_leases *l, const char *name, struct fg_lease_member *ret, size_t max)
{
    struct fg_lease_process found[MEMBERS_MAX];
    size_t n = fg_vgpu_server_processes(l->server, name, found, MEMBERS_MAX);
    for (size_t i = 0; i < n && i < max; i++)
        ret[i] = (struct fg_lease_member){found[i].pid, found[i].used_bytes, found[i].device_ns};
    return FG_MIN(n, max);
}

size_t fg_leases_look(struct fg_leases *l, struct fg_lease_look *ret, size_t max)
{
    struct fg_lease_stats *all = fg_alloc(sizeof *all * FG_MAX(max, 1));
    size_t n = FG_MIN(fg_vgpu_server_list(l->server, all, max), max);
    for (size_t i = 0; i < n; i++) {
        const struct fg_lease_stats *s = &all[i];
        ret[i] = (struct fg_lease_look){.memory_bytes = s->spec.memory_bytes, .used_bytes = s->used_bytes, .processes = s->processes,
                                        .unseen = s->unseen, .bell = s->bell, .work = s->submitted + s->denied + s->device_ns,
                                        .idle = !s->inflight && !s->waiting && !s->unseen && !s->corrupt, .movable = !s->held,
                                        .parked = s->parked != 0, .aside = s->aside != 0, .borrowed = s->spec.flags & FG_LIMIT_BORROWED};
        memcpy(ret[i].name, s->spec.id, sizeof ret[i].name);
        memcpy(ret[i].device, s->spec.device, sizeof ret[i].device);
    }
    free(all);
    return n;
}

int fg_leases_park(struct fg_leases *l, const char *name, bool parked, struct fg_error *err)
{
    return fg_vgpu_server_park(l->server, name, parked, err);
}

int fg_leases_aside(struct fg_leases *l, const char *name, struct fg_error *err) { return fg_vgpu_server_aside(l->server, name, err); }

int fg_leases_back(struct fg_leases *l, const char *name, uint64_t *ret_missing_bytes, uint32_t *ret_missing_permille, struct fg_error *err)
{
    struct fg_lease_missing missing;
    int rc = fg_vgpu_server_back(l->server, name, &missing, err);
    *ret_missing_bytes = missing.memory_bytes;
    *ret_missing_permille = missing.share_permille;
    return rc;
}

int fg_leases_move_to(struct fg_leases *l, const char *name, const char *device, struct fg_error *err)
{
    FG_AUTO_FREE char *path = order_path(l, name);
    if (device && fg_write_file_atomic(path, device, strlen(device), 0600, err) != 0)
        return -1;
    int rc = fg_vgpu_server_move_to(l->server, name, device, err);
    if (!device || rc != 0)
        unlink(path);
    return rc;
}

int fg_leases_hold(struct fg_leases *l, const char *name, const char *device, struct fg_error *err)
{
    return fg_vgpu_server_move_to(l->server, name, device, err);
}

int fg_leases_moved(struct fg_leases *l, const char *name, struct fg_error *err)
{
    int rc = fg_vgpu_server_moved(l->server, name, err);
    drop_order(l, name);                 /* the limits say it from now on */
    return rc;
}

void fg_leases_ordered(const struct fg_leases *l, const char *name, char ret[64])
{
    FG_AUTO_FREE char *path = order_path(l, name);
    FG_AUTO_STR struct fg_str text = {0};
    bool there = fg_read_file(path, 63, &text, NULL) == 0;
    snprintf(ret, 64, "%s", there ? fg_str_cstr(&text) : "");
}

void fg_leases_names(const struct fg_leases *l, void (*fn)(void *arg, const char *name), void *arg)
{
    FG_VEC(char *) names = {0};          /* fn may remove what is listed */
    DIR *dir = opendir(l->folder);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (d->d_name[0] != '.')
            fg_vec_push(&names, fg_strdup(d->d_name));
    if (dir)
        closedir(dir);
    for (size_t i = 0; i < names.count; i++) {
        fn(arg, names.items[i]);
        free(names.items[i]);
    }
    fg_vec_fini(&names);
}

static void sum(const struct fg_counters *c, struct fg_lease_use *ret)
{
    *ret = (struct fg_lease_use){.peak_bytes = c->peak_bytes, .denied = c->gone_denied, .device_ns = (int64_t)c->gone_device_ns,
                                 .throttle_ns = (int64_t)c->gone_throttle_ns};
    for (unsigned i = 0; i < FG_SLOTS; i++) {
        const struct fg_slot *slot = &c->slots[i];
        if (fg_owner_state(slot->owner) == FG_SLOT_FREE)
            continue;
        ret->denied += slot->denied;
        ret->device_ns += (int64_t)slot->device_ns;
        ret->throttle_ns += (int64_t)slot->throttle_ns;
    }
}

bool fg_leases_sum(const void *data, size_t size, struct fg_lease_use *ret)
{
    if (size != sizeof(struct fg_counters))
        return false;
    FG_AUTO_FREE struct fg_counters *copy = aligned_alloc(_Alignof(struct fg_counters), sizeof *copy); /* data lies anywhere */
    if (!copy)
        return false;
    memcpy(copy, data, size);
    bool whole = fg_counters_check(copy, size) == FG_LEASE_OK;
    if (whole)
        sum(copy, ret);
    return whole;
}
