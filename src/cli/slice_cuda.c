/* slice_cuda.c - see slice_cuda.h. */
#include "cli/slice_cuda.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "cli/slice.h"

#define PREFIX "cuda-"
#define DRIVER "driver/"

/* Ours are found by the soname, and by the name that some programs open: the machine's own link of that name is beside the driver. */
static const struct { const char *name, *library; } links[] = {
    {"libcuda.so.1", "libcuda.so.1"}, {"libcuda.so", "libcuda.so.1"},
    {"libnvidia-ml.so.1", "libnvidia-ml.so.1"}, {"libnvidia-ml.so", "libnvidia-ml.so.1"},
};
static const char *const libraries[] = {"libcuda.so.1", "libnvidia-ml.so.1"};

/* --- what is installed with fgpu --- */

#define INSTALLED "../" FGPU_LIBDIR "/fastgpu"
static const char *const places[] = {"../shim", "../shim/cuda", "../shim/nvml", (INSTALLED), (INSTALLED "/cuda"), "../lib/fastgpu",
                                     "../lib/fastgpu/cuda", "."};

char *slice_part(const char *name, struct fg_error *err)
{
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = 0;
    bool drivers_name = strncmp(name, "libfgpu", 7) != 0; /* beside fgpu such a library may be the machine's */
    for (size_t i = 0; i < FG_COUNT(places) - drivers_name; i++) {
        FG_AUTO_FREE char *path = fg_asprintf("%s/%s/%s", exe, places[i], name);
        char *real = realpath(path, NULL);
        if (real && !strchr(real, ':'))
            return real;
        free(real);
    }
    fg_fail(err, FG_E_UNSUPPORTED, "%s%s is not installed with fgpu", drivers_name ? "our " : "", name);
    fg_fail_hint(err, "It is looked for beside %s and in ../lib/fastgpu.", exe);
    return NULL;
}

/* --- the folder --- */

static void remove_folder(const char *folder)
{
    for (size_t i = 0; i < FG_COUNT(links); i++) {
        FG_AUTO_FREE char *link = fg_path_join(folder, links[i].name);
        unlink(link);
    }
    for (size_t i = 0; i < FG_COUNT(libraries); i++) {
        FG_AUTO_FREE char *link = fg_asprintf("%s/" DRIVER "%s", folder, libraries[i]);
        unlink(link);
    }
    FG_AUTO_FREE char *driver = fg_path_join(folder, DRIVER);
    rmdir(driver);
    rmdir(folder);
}

static int lock_of(const char *folder)
{
    FG_AUTO_FD int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 ? fg_take_fd(fd) : -1;
}

/* What a slice that was killed left: nobody holds its lock. */
static void sweep(const char *run_folder)
{
    DIR *dir = opendir(run_folder);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        FG_AUTO_FREE char *folder = fg_path_join(run_folder, d->d_name);
        FG_AUTO_FD int lock = strncmp(d->d_name, PREFIX, strlen(PREFIX)) == 0 ? lock_of(folder) : -1;
        if (lock >= 0)
            remove_folder(folder);
    }
    if (dir)
        closedir(dir);
}

/* The user's own, 0700. A name that LD_LIBRARY_PATH cannot say is no place for it. */
static int make_folder(struct slice_cuda *c, const char *run_folder, struct fg_error *err)
{
    bool sayable = !strpbrk(run_folder, ":;$");
    FG_AUTO_FD int guard = slice_lock(run_folder, true); /* so that no other slice sweeps it before it is locked */
    sweep(run_folder);
    char *folder = fg_asprintf("%s/" PREFIX "%d-XXXXXX", sayable ? run_folder : "/tmp", (int)getpid());
    if (!mkdtemp(folder)) {
        fg_fail(err, FG_E_IO, "make the folder '%s': %m", folder);
        free(folder);
        return -1;
    }
    c->folder = folder;
    c->lock = lock_of(folder);
    FG_AUTO_FREE char *driver = fg_path_join(folder, DRIVER);
    return mkdir(driver, 0700) == 0 ? 0 : fg_fail(err, FG_E_IO, "make the folder '%s': %m", driver);
}

static int add_link(const struct slice_cuda *c, const char *name, const char *to, struct fg_error *err)
{
    FG_AUTO_FREE char *link = fg_path_join(c->folder, name);
    return symlink(to, link) == 0 ? 0 : fg_fail(err, FG_E_IO, "link '%s': %m", link);
}

static int add_driver(const struct slice_cuda *c, const char *library, struct fg_error *err)
{
    FG_AUTO_FREE char *found = fg_nvml_library(c->nvml, library);
    FG_AUTO_FREE char *path = found ? realpath(found, NULL) : NULL;
    FG_AUTO_FREE char *name = fg_asprintf(DRIVER "%s", library);
    if (!path)
        return fg_fail(err, FG_E_UNSUPPORTED, "the driver's %s was not found beside its management library", library);
    return add_link(c, name, path, err);
}

static int fill_folder(const struct slice_cuda *c, struct fg_error *err)
{
    for (size_t i = 0; i < FG_COUNT(links); i++) {
        FG_AUTO_FREE char *ours = slice_part(links[i].library, err);
        if (!ours || add_link(c, links[i].name, ours, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < FG_COUNT(libraries); i++)
        if (add_driver(c, libraries[i], err) < 0)
            return -1;
    return 0;
}

int slice_cuda_open(struct slice_cuda *c, const char *run_folder, const char *device, struct fg_error *err)
{
    *c = SLICE_NO_CUDA;
    snprintf(c->uuid, sizeof c->uuid, "%s", device);
    if (fg_nvml_open(&c->nvml, NULL, err) < 0)
        return -1;
    if (make_folder(c, run_folder, err) == 0 && fill_folder(c, err) == 0)
        return 0;
    slice_cuda_close(c);
    return -1;
}

void slice_cuda_close(struct slice_cuda *c)
{
    if (c->folder)
        remove_folder(c->folder);
    if (c->lock >= 0)
        close(c->lock);
    free(c->folder);
    fg_nvml_close(c->nvml);
    *c = SLICE_NO_CUDA;
}

char *slice_cuda_library_path(const struct slice_cuda *c)
{
    const char *others = getenv("LD_LIBRARY_PATH");
    return others && *others ? fg_asprintf("%s:%s", c->folder, others) : fg_strdup(c->folder);
}

/* --- who uses it --- */

bool slice_cuda_look(struct slice_cuda *c)
{
    struct fg_error ignored;
    c->holder_count = 0;
    return c->nvml && fg_nvml_processes(c->nvml, c->uuid, c->holders, SLICE_HOLDERS_MAX, &c->holder_count, &ignored) == 0;
}

const struct fg_nvml_process *slice_cuda_holder(const struct slice_cuda *c, int pid)
{
    for (size_t i = 0; i < c->holder_count; i++)
        if ((int)c->holders[i].pid == pid)
            return &c->holders[i];
    return NULL;
}
