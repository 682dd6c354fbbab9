/* front.h - a process in a vGPU, and a front end before a driver that does nothing: FOLDER/NAME -> the front end,
 * FOLDER/driver/NAME -> the driver. For the programs that measure what a front end adds. */
#pragma once
#include <dlfcn.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pairs.h"
#include "vgpu/server.h"

#define GIB (UINT64_C(1) << 30)

static struct fg_vgpu_server *server;
static char folder[64];
static const char *library_name;

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench: %s failed\n", what);
    exit(1);
}

static void make_link(const char *where, const char *target)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s%s", folder, where, library_name);
    must(symlink(target, path) == 0, "symlink");
}

static void front_start(const char *name, const char *front_end, const char *driver)
{
    struct fg_error err;
    struct fg_lease_spec spec = {.id = "bench", .device = "gpu0", .memory_bytes = 64 * GIB, .share_permille = 1000};
    char text[256];
    must(fg_vgpu_server_create(&server, NULL, &err) == 0 && fg_vgpu_server_device(server, "gpu0", 64 * GIB, &err) == 0 &&
             fg_vgpu_server_open(server, &spec, NULL, &err) == 0 && fg_vgpu_server_env(server, "bench", text, sizeof text, &err) == 0,
         "the server");
    setenv("FGPU_LEASE", text, 1);
    setenv("FGPU_CUDA_CONTEXT_BYTES", "0", 1);
    library_name = name;
    snprintf(folder, sizeof folder, "/tmp/fastgpu-bench-XXXXXX");
    must(mkdtemp(folder) != NULL, "mkdtemp");
    snprintf(text, sizeof text, "%s/driver", folder);
    must(mkdir(text, 0700) == 0, "mkdir");
    make_link("", front_end);
    make_link("driver/", driver);
}

static void front_end(void)
{
    char path[128];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s%s", folder, i ? "driver/" : "", library_name);
        remove(path);
    }
    snprintf(path, sizeof path, "%s/driver", folder);
    remove(path);
    remove(folder);
    fg_vgpu_server_destroy(server);
}

/* The front end, or the driver itself. */
static void *front_open(int direct)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s%s", folder, direct ? "driver/" : "", library_name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    must(library != NULL, "dlopen");
    return library;
}
