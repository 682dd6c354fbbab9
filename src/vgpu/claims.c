/* claims.c - see claims.h. Files of others are read with pread, never mapped: their owner may cut them off at any time. */
#include "vgpu/claims.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/vec.h"
#include "vgpu/page.h"

#define PREFIX     "fastgpu.claim."
#define MAGIC      0x314d434c55504746u /* "FGPULCM1" */
#define DEVICES    24
#define FILES_MAX  4096
#define TRIES      16
#define BUSY_NS    INT64_C(2500000000)
#define REPLACE_NS INT64_C(5000000000) /* longer than an arbiter waits for the slices of the one that it replaces */

/* A word is read and written whole, and a name never changes once it is there. rest: permille:16 leases:32 alone:1. */
struct entry { char device[128]; uint64_t memory_bytes, rest, busy_ns; };
struct file { uint64_t magic, scope; int64_t pid; struct entry entries[DEVICES]; };
_Static_assert(sizeof(struct file) <= 4096, "a claim fits a page");

struct fg_claims {
    char *folder, *path;
    uint64_t scope;
    int fd;
    struct file *own;
    int64_t opened_ns;
};

/* --- where --- */

static bool for_everybody(const char *folder)
{
    struct stat st;
    return stat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 && (st.st_mode & 01777) == 01777;
}

const char *fg_claims_folder(void)
{
    static const char *const places[] = {"/run/lock", "/dev/shm"};
    const char *chosen = getenv(FG_CLAIMS_ENV);
    if (chosen && *chosen)
        return chosen;
    for (size_t i = 0; i < FG_COUNT(places); i++)
        if (for_everybody(places[i]))
            return places[i];
    return "/tmp";
}

static char *name_in(const struct fg_claims *c, const char *prefix)
{
    return fg_asprintf("%s/%s%u.%llx", c->folder, prefix, (unsigned)geteuid(), (unsigned long long)fg_boot_ns());
}

/* Made under a name that nobody looks for, and renamed when it is locked: nobody ever sees a claim without its lock. No
 * O_TMPFILE: containers' file systems may lack it. Names that nobody can have taken beforehand. */
static int make_file(struct fg_claims *c, struct fg_error *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (unsigned i = 0; i < TRIES && c->fd < 0; i++) {
        free(c->path);
        c->path = name_in(c, "fastgpu.new.");
        c->fd = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    }
    if (c->fd < 0)
        free(fg_take_ptr(c->path));
    if (c->fd < 0 || fchmod(c->fd, 0644) < 0 || ftruncate(c->fd, 4096) < 0 || fcntl(c->fd, F_OFD_SETLK, &whole) < 0)
        return fg_fail(err, FG_E_IO, "make a claim in '%s': %m", c->folder);
    c->own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (c->own == MAP_FAILED) {
        c->own = NULL;
        return fg_fail(err, FG_E_IO, "map a claim in '%s': %m", c->folder);
    }
    *c->own = (struct file){.scope = c->scope, .pid = getpid()};
    fg_put(&c->own->magic, MAGIC);
    for (unsigned i = 0; i < TRIES; i++) {
        FG_AUTO_FREE char *path = name_in(c, PREFIX);
        if (renameat2(AT_FDCWD, c->path, AT_FDCWD, path, RENAME_NOREPLACE) == 0 || (errno == EINVAL && rename(c->path, path) == 0)) {
            free(c->path);
            c->path = fg_take_ptr(path);
            return 0;
        }
        fg_fail(err, FG_E_IO, "name the claim '%s': %m", path);
    }
    return -1;
}

int fg_claims_open(struct fg_claims **ret, const char *folder, uint64_t scope, struct fg_error *err)
{
    struct fg_claims *c = fg_alloc(sizeof *c);
    c->folder = fg_strdup(folder);
    c->scope = scope;
    c->fd = -1;
    c->opened_ns = fg_boot_ns();
    if (make_file(c, err) < 0) {
        fg_claims_close(c);
        return -1;
    }
    *ret = c;
    return 0;
}

void fg_claims_close(struct fg_claims *c)
{
    if (!c)
        return;
    if (c->path)
        unlink(c->path);
    if (c->own)
        munmap(c->own, 4096);
    if (c->fd >= 0)
        close(c->fd);
    free(c->folder);
    free(c->path);
    free(c);
}

int fg_claims_fd(const struct fg_claims *c) { return c->fd; }

/* --- our own --- */

static struct entry *entry_of(struct file *file, const char *device)
{
    for (size_t i = 0; i < DEVICES && file->entries[i].device[0]; i++)
        if (!strncmp(file->entries[i].device, device, sizeof file->entries[i].device))
            return &file->entries[i];
    return NULL;
}

int fg_claims_set(struct fg_claims *c, const char *device, const struct fg_claim *claim, struct fg_error *err)
{
    struct entry *entry = entry_of(c->own, device);
    for (size_t i = 0; !entry && i < DEVICES; i++)
        if (!c->own->entries[i].device[0]) {
            entry = &c->own->entries[i];
            snprintf(entry->device, sizeof entry->device, "%s", device);
        }
    if (!entry)
        return fg_fail(err, FG_E_UNSUPPORTED, "more than %d devices cannot be claimed", DEVICES);
    __atomic_store_n(&entry->memory_bytes, claim->memory_bytes, __ATOMIC_SEQ_CST);
    __atomic_store_n(&entry->rest, (uint64_t)claim->share_permille | (uint64_t)claim->leases << 16 | (uint64_t)claim->alone << 48,
                     __ATOMIC_SEQ_CST);
    return 0;
}

void fg_claims_busy(struct fg_claims *c, const char *device, int64_t now_ns)
{
    struct entry *entry = entry_of(c->own, device);
    if (entry)
        fg_put(&entry->busy_ns, (uint64_t)now_ns);
}

/* --- the others --- */

/* One arbiter's claim of the device. An arbiter that is being replaced has two files for a while: the larger counts. */
struct claimant { uid_t uid; uint64_t scope; struct fg_claim claim; bool active; };
typedef FG_VEC(struct claimant) claimants;

static bool is_alive(int fd)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

static void add(claimants *all, const struct claimant *one)
{
    for (size_t i = 0; i < all->count; i++) {
        struct claimant *other = &all->items[i];
        if (other->uid != one->uid || other->scope != one->scope)
            continue;
        other->claim.memory_bytes = FG_MAX(other->claim.memory_bytes, one->claim.memory_bytes);
        other->claim.share_permille = FG_MAX(other->claim.share_permille, one->claim.share_permille);
        other->claim.leases = FG_MAX(other->claim.leases, one->claim.leases);
        other->claim.alone |= one->claim.alone;
        other->active |= one->active;
        return;
    }
    fg_vec_push(all, *one);
}

/* Take what is in one file, and remove it when it is ours and over. */
static void read_one(struct fg_claims *c, int dir, const char *name, const char *device, int64_t now_ns, claimants *all)
{
    struct file file;
    struct stat st, mine;
    FG_AUTO_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fstat(c->fd, &mine) < 0 ||
        (st.st_ino == mine.st_ino && st.st_dev == mine.st_dev))
        return;
    bool read = pread(fd, &file, sizeof file, 0) == (ssize_t)sizeof file && file.magic == MAGIC;
    bool replaced = read && st.st_uid == geteuid() && file.scope == c->scope;
    if (!is_alive(fd) || (replaced && now_ns - c->opened_ns > REPLACE_NS)) {
        if (st.st_uid == geteuid())
            unlinkat(dir, name, 0);
        return;
    }
    for (size_t i = 0; i < DEVICES; i++)
        file.entries[i].device[sizeof file.entries[i].device - 1] = 0;
    const struct entry *entry = read && !replaced ? entry_of(&file, device) : NULL;
    if (!entry || !(entry->rest >> 16 & UINT32_MAX))
        return;
    struct claimant one = {.uid = st.st_uid, .scope = file.scope,
                           .active = entry->busy_ns + (uint64_t)BUSY_NS > (uint64_t)now_ns,
                           .claim = {.memory_bytes = FG_MIN(entry->memory_bytes, FG_MEMORY_MAX),
                                     .share_permille = FG_MIN((uint32_t)(entry->rest & 0xffff), 1000u),
                                     .leases = (uint32_t)(entry->rest >> 16), .alone = entry->rest >> 48 & 1}};
    add(all, &one);
}

static bool more(const struct fg_claim *a, const struct fg_claim *b)
{
    return a->memory_bytes != b->memory_bytes ? a->memory_bytes > b->memory_bytes : a->share_permille > b->share_permille;
}

static struct fg_claim_sum sum(const claimants *all)
{
    struct fg_claim_sum s = {.holders = (unsigned)all->count};
    struct fg_claim most = {0};
    for (size_t i = 0; i < all->count; i++) {
        const struct claimant *one = &all->items[i];
        s.all.memory_bytes = FG_MIN(s.all.memory_bytes + one->claim.memory_bytes, FG_MEMORY_MAX);
        s.all.share_permille = FG_MIN(s.all.share_permille + one->claim.share_permille, 1000u);
        s.all.leases += FG_MIN(one->claim.leases, 100000u);
        s.all.alone |= one->claim.alone;
        if (one->active)
            s.active_permille = FG_MIN(s.active_permille + one->claim.share_permille, 1000u);
        if (i == 0 || more(&one->claim, &most)) {
            most = one->claim;
            s.most = one->uid;
        }
    }
    return s;
}

int fg_claims_others(struct fg_claims *c, const char *device, int64_t now_ns, struct fg_claim_sum *ret, struct fg_error *err)
{
    claimants all = {0};
    unsigned files = 0;
    DIR *dir = opendir(c->folder);
    if (!dir)
        return fg_fail(err, FG_E_IO, "look for other users' slices in '%s': %m", c->folder);
    for (struct dirent *d; files < FILES_MAX && (d = readdir(dir));)
        if (!strncmp(d->d_name, PREFIX, strlen(PREFIX))) {
            files++;
            read_one(c, dirfd(dir), d->d_name, device, now_ns, &all);
        }
    closedir(dir);
    *ret = sum(&all);
    fg_vec_fini(&all);
    return files < FILES_MAX ? 0 : fg_fail(err, FG_E_CONFLICT, "'%s' has %u claims: somebody floods it", c->folder, files);
}
