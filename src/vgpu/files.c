/* files.c - the two memory files of a lease: made, filled and sealed, or adopted from an earlier server. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vgpu/server_private.h"

/* Give the new file fd its size and map it. Returns fd, or -1 and fd is closed. */
static int size_and_map(int fd, size_t size, void **ret_at, struct fg_error *err)
{
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || fchmod(fd, 0600) != 0) {
        fg_fail(err, FG_E_INTERNAL, "make the memory file of a lease: %m");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        fg_fail(err, FG_E_INTERNAL, "map the memory file of a lease: %m");
        close(fd);
        return -1;
    }
    *ret_at = at;
    return fd;
}

static void read_boot_id(uint8_t *id)
{
    char text[64] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC), n = 0;
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i + 1 < got && n < 16; i += 2, n++) {
        if (text[i] == '-')
            i++;
        unsigned byte = 0;
        sscanf(text + i, "%2x", &byte);
        id[n] = (uint8_t)byte;
    }
}

static void fill_limits(const struct fg_vgpu_server *server, struct lease *lease)
{
    struct fg_limits *limits = lease->limits;
    const struct fg_arbiter_params *params = &lease->device->arbiter.params;
    limits->version = FG_LEASE_VERSION;
    limits->size = sizeof *limits;
    memcpy(limits->id, lease->spec.id, sizeof limits->id);
    memcpy(limits->device, lease->device->name, sizeof limits->device);
    read_boot_id(limits->boot_id);
    limits->arbiter_pid = getpid();
    limits->window_ns = params->window_ns;
    limits->inflight_ns = params->window_ns;
    limits->vanish_ns = server->config.vanish_ns;
    limits->heartbeat_ns = (uint64_t)fg_boot_ns();
    fg_put(&limits->magic, FG_LIMITS_MAGIC);
}

static int memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int fg_vgpu_files_make(struct fg_vgpu_server *server, struct lease *lease, int limits_fd, struct fg_error *err)
{
    bool given = limits_fd >= 0;
    limits_fd = given ? fcntl(limits_fd, F_DUPFD_CLOEXEC, 3) : memory_file("fgpu-lease-limits");
    lease->limits_fd = size_and_map(limits_fd, 4096, (void **)&lease->limits, err);
    if (lease->limits_fd < 0)
        return -1;
    lease->counters_fd = size_and_map(memory_file("fgpu-lease-counters"), sizeof *lease->counters, (void **)&lease->counters, err);
    if (lease->counters_fd < 0)
        return -1;
    fill_limits(server, lease);
    fg_counters_format(lease->counters);
    int keep_length = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int own = server->config.adoptable ? keep_length : keep_length | F_SEAL_FUTURE_WRITE;
    if (fcntl(lease->counters_fd, F_ADD_SEALS, keep_length) != 0 || (!given && fcntl(lease->limits_fd, F_ADD_SEALS, own) != 0) ||
        (given && fchmod(lease->counters_fd, 0666) != 0) || fchmod(lease->limits_fd, 0444) != 0)
        return fg_fail(err, FG_E_INTERNAL, "seal the memory files of a lease: %m");
    return 0;
}

/* Map a file of exactly size bytes whose length is sealed or, if others cannot write it, ours to keep. */
static void *adopt_map(int fd, size_t size, bool sealed)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size != size)
        return NULL;
    bool kept = !sealed && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) && st.st_nlink > 0;
    if (!kept && (seals < 0 || !(seals & F_SEAL_SHRINK)))
        return NULL;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

int fg_vgpu_files_adopt(struct lease *lease, struct fg_error *err)
{
    lease->limits = adopt_map(lease->limits_fd, 4096, false);
    lease->counters = adopt_map(lease->counters_fd, sizeof *lease->counters, true);
    if (!lease->limits || !lease->counters)
        return fg_fail(err, FG_E_INVALID, "not the two files of an adoptable lease");
    enum fg_lease_status status = fg_limits_check(lease->limits, 4096);
    if (!status)
        status = fg_counters_check(lease->counters, sizeof *lease->counters);
    return status ? fg_fail(err, FG_E_INVALID, "adopt a lease: %s", fg_lease_text(status)) : 0;
}
