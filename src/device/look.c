/* look.c - see look.h. DRM's counters: Documentation/gpu/drm-usage-stats.rst of the kernel. */
#include "device/look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

#define TEXT_MAX    (8u << 20) /* of maps: 65530 lines at most */
#define CLIENTS_MAX 64u

/* Returns errno, 0 when it was read. */
static int slurp(const char *proc, pid_t pid, const char *file, struct fg_str *out)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%d/%s", proc, (int)pid, file);
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    for (ssize_t n = 1; n > 0 && out->len < TEXT_MAX;) {
        n = read(fd, fg_str_reserve(out, 65536), 65536);
        if (n < 0)
            return errno;
        out->len += (size_t)n;
    }
    fg_str_add(out, "", 1);
    out->len--;
    return 0;
}

/* --- maps --- */

static bool is_stem(const char *name, const char *stem) { return strncmp(name, stem, strlen(stem)) == 0; }

/* One mapping: "address perms offset device inode path". */
static void look_line(const struct fg_look_for *f, const char *line, struct fg_look *look)
{
    char perms[8] = "", path[512] = "";
    unsigned long long inode = 0;
    if (sscanf(line, "%*s %7s %*s %*s %llu %511[^\n]", perms, &inode, path) < 2)
        return;
    if (inode && inode == f->counters_inode && is_stem(path, "/memfd:"))
        look->counters = true;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (!strchr(perms, 'x') || !slash)
        return;
    look->loader |= f->loader && is_stem(name, f->loader);
    look->layer |= f->layer && is_stem(name, f->layer);
    for (size_t i = 0; i < f->driver_count && !*look->driver; i++)
        if (is_stem(name, f->drivers[i]))
            snprintf(look->driver, sizeof look->driver, "%.63s", name);
}

void fg_look_maps(const struct fg_look_for *f, const char *maps, struct fg_look *look)
{
    for (const char *line = maps; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        look_line(f, line, look);
}

void fg_look_environ(const struct fg_look_for *f, const char *environ_text, size_t n, struct fg_look *look)
{
    for (const char *at = environ_text, *end = at + n; at < end; at += strnlen(at, (size_t)(end - at)) + 1) {
        look->env_lease |= is_stem(at, "FGPU_LEASE=") && !(f->lease && strncmp(at + 11, f->lease, (size_t)(end - at) - 11) == 0);
        look->env_on |= f->env_on && f->layer && is_stem(at, f->env_on) && strstr(at, f->layer);
    }
}

/* --- open files --- */

/* NVIDIA's others are open in programs that only ask how it is doing. */
static const char *const node_stems[] = {"/dev/nvidia-uvm", "/dev/dri/renderD", "/dev/dri/card", "/dev/kfd", "/dev/dxg"};

static uint64_t in_bytes(uint64_t value, const char *unit)
{
    return strstr(unit, "KiB") ? value << 10 : strstr(unit, "MiB") ? value << 20 : strstr(unit, "GiB") ? value << 30 : value;
}

/* "drm-total-vram0:" and, of older drivers, "drm-memory-vram:": the largest of what one region is called, summed over regions
 * by the caller's order: total comes before resident in every driver, and only one of the two is used. */
static bool is_memory(const char *key, const char *prefix, size_t *region)
{
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0)
        return false;
    *region = n;
    return is_stem(key + n, "vram") || is_stem(key + n, "local") || is_stem(key + n, "lmem");
}

static void take_engine(struct fg_drm_client *c, const char *key, uint64_t ns)
{
    if (c->engine_count < FG_COUNT(c->engines)) {
        snprintf(c->engines[c->engine_count].name, sizeof c->engines->name, "%.23s", key);
        c->engines[c->engine_count++].ns = ns;
    }
}

bool fg_look_fdinfo(const char *text, struct fg_drm_client *ret)
{
    struct fg_drm_client c = {.pdev = ""};
    uint64_t total = 0, legacy = 0;
    bool has_id = false, any = false;
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char key[64] = "", rest[64] = "";
        size_t region;
        if (sscanf(line, "%63[^:]: %63[^\n]", key, rest) != 2 || !is_stem(key, "drm-"))
            continue;
        uint64_t value = strtoull(rest, NULL, 10);
        if (strcmp(key, "drm-pdev") == 0)
            snprintf(c.pdev, sizeof c.pdev, "%.31s", rest);
        else if (strcmp(key, "drm-client-id") == 0)
            c.id = value, has_id = true;
        else if (is_memory(key, "drm-total-", &region))
            total += in_bytes(value, rest), any = true;
        else if (is_memory(key, "drm-memory-", &region))
            legacy += in_bytes(value, rest), any = true;
        else if (is_stem(key, "drm-engine-") && !is_stem(key, "drm-engine-capacity-") && strstr(rest, "ns"))
            take_engine(&c, key + 11, value), any = true;
    }
    c.memory_bytes = FG_MAX(total, legacy);
    *ret = c;
    return has_id && any;
}

static void add_client(struct fg_drm_client *clients, unsigned *count, const struct fg_drm_client *one)
{
    for (unsigned i = 0; i < *count; i++)
        if (clients[i].id == one->id && strcmp(clients[i].pdev, one->pdev) == 0)
            return; /* the same open file under another number */
    if (*count < CLIENTS_MAX)
        clients[(*count)++] = *one;
}

/* The busiest kind of engine: kinds run beside each other, and the books hold their union. */
static void sum_clients(const struct fg_drm_client *clients, unsigned count, struct fg_look *look)
{
    struct fg_drm_client all = {.pdev = ""};
    for (unsigned i = 0; i < count; i++) {
        look->drm_memory_bytes += clients[i].memory_bytes;
        for (unsigned e = 0; e < clients[i].engine_count; e++) {
            unsigned at = 0;
            while (at < all.engine_count && strcmp(all.engines[at].name, clients[i].engines[e].name) != 0)
                at++;
            if (at == all.engine_count)
                take_engine(&all, clients[i].engines[e].name, 0);
            if (at < all.engine_count)
                all.engines[at].ns += clients[i].engines[e].ns;
        }
    }
    for (unsigned e = 0; e < all.engine_count; e++)
        look->drm_engine_ns = FG_MAX(look->drm_engine_ns, all.engines[e].ns);
    look->drm = count > 0;
}

static void look_at_files(const char *proc, pid_t pid, struct fg_look *look)
{
    struct fg_drm_client *clients = fg_alloc(CLIENTS_MAX * sizeof *clients);
    unsigned count = 0;
    char path[256], target[256];
    snprintf(path, sizeof path, "%s/%d/fd", proc, (int)pid);
    DIR *dir = opendir(path);
    look->hidden |= !dir && (errno == EACCES || errno == EPERM);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        ssize_t n = d->d_name[0] == '.' ? -1 : readlinkat(dirfd(dir), d->d_name, target, sizeof target - 1);
        bool node = false;
        target[n > 0 ? n : 0] = '\0';
        for (size_t i = 0; i < FG_COUNT(node_stems); i++)
            node |= is_stem(target, node_stems[i]);
        if (!node)
            continue;
        if (!*look->node)
            snprintf(look->node, sizeof look->node, "%.63s", target);
        char file[300];
        struct fg_drm_client one;
        FG_AUTO_STR struct fg_str text = {0};
        snprintf(file, sizeof file, "fdinfo/%s", d->d_name);
        if (slurp(proc, pid, file, &text) == 0 && fg_look_fdinfo(fg_str_cstr(&text), &one))
            add_client(clients, &count, &one);
    }
    if (dir)
        closedir(dir);
    sum_clients(clients, count, look);
    free(clients);
}

/* State, and user and system time in ns. */
static void read_stat(const char *proc, pid_t pid, struct fg_look *look)
{
    char state = 0;
    unsigned long long user = 0, system = 0;
    FG_AUTO_STR struct fg_str text = {0};
    const char *p = slurp(proc, pid, "stat", &text) == 0 ? strrchr(fg_str_cstr(&text), ')') : NULL;
    if (p)
        sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &state, &user, &system);
    look->sleeps = state == 'S';
    look->cpu_ns = (int64_t)(user + system) * (INT64_C(1000000000) / sysconf(_SC_CLK_TCK));
}

/* The last number of "NSpid:". */
static pid_t inner_pid(const char *proc, pid_t pid)
{
    FG_AUTO_STR struct fg_str text = {0};
    const char *at = slurp(proc, pid, "status", &text) == 0 ? strstr(fg_str_cstr(&text), "\nNSpid:") : NULL;
    const char *end = at ? strchr(at + 1, '\n') : NULL;
    while (end && end > at && end[-1] != '\t')
        end--;
    return end ? (pid_t)strtol(end, NULL, 10) : pid;
}

bool fg_look_at(const struct fg_look_for *f, pid_t pid, struct fg_look *ret)
{
    const char *proc = f->proc ? f->proc : "/proc";
    struct fg_look look = {.hidden = false};
    FG_AUTO_STR struct fg_str comm = {0};
    FG_AUTO_STR struct fg_str maps = {0};
    FG_AUTO_STR struct fg_str env = {0};
    if (slurp(proc, pid, "comm", &comm) != 0)
        return false;
    snprintf(look.name, sizeof look.name, "%.*s", (int)strcspn(fg_str_cstr(&comm), "\n"), fg_str_cstr(&comm));
    int why = slurp(proc, pid, "maps", &maps);
    look.hidden = why == EACCES || why == EPERM;
    if (!look.hidden && maps.len == 0)
        return false; /* a zombie has none */
    fg_look_maps(f, fg_str_cstr(&maps), &look);
    if (f->nodes)
        look_at_files(proc, pid, &look);
    if (!*look.driver && !*look.node && !look.hidden) {
        *ret = look;
        return true;
    }
    read_stat(proc, pid, &look);
    look.inner_pid = inner_pid(proc, pid);
    if (slurp(proc, pid, "environ", &env) == 0)
        fg_look_environ(f, env.data, env.len, &look);
    *ret = look;
    return true;
}

/* --- which processes --- */

static size_t add_children(const char *proc, pid_t pid, const char *thread, pid_t *pids, size_t n, size_t max)
{
    char file[300];
    FG_AUTO_STR struct fg_str text = {0};
    snprintf(file, sizeof file, "task/%s/children", thread);
    if (slurp(proc, pid, file, &text) != 0 || !text.len)
        return n;
    char *save = NULL;
    for (char *w = strtok_r(text.data, " \n", &save); w && n < max; w = strtok_r(NULL, " \n", &save))
        pids[n++] = (pid_t)strtol(w, NULL, 10);
    return n;
}

size_t fg_look_tree(const char *proc, pid_t root, pid_t *pids, size_t max)
{
    size_t n = 0;
    proc = proc ? proc : "/proc";
    pids[n++] = root;
    for (size_t i = 0; i < n; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%d/task", proc, (int)pids[i]);
        DIR *dir = opendir(path);
        for (struct dirent *d; dir && (d = readdir(dir));)
            if (d->d_name[0] != '.')
                n = add_children(proc, pids[i], d->d_name, pids, n, max);
        if (dir)
            closedir(dir);
    }
    return n;
}
