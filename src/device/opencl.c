/* opencl.c - a child process loads the OpenCL loader, asks, and writes one record for each device into a pipe.
 *
 * The few functions and constants are declared here after the OpenCL specification (version 1.0 has all of them), so
 * that building needs no headers of it. */
#include "device/opencl.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

#define TIMEOUT_MS    20000
#define PLATFORMS_MAX 16u

/* --- OpenCL --- */
typedef int32_t (*get_platforms)(uint32_t entries, void **platforms, uint32_t *count);
typedef int32_t (*get_devices)(void *platform, uint64_t type, uint32_t entries, void **devices, uint32_t *count);
typedef int32_t (*get_info)(void *object, uint32_t what, size_t size, void *value, size_t *ret_size);
enum { PLATFORM_NAME = 0x0902 };
enum {
    DEVICE_TYPE = 0x1000,
    DEVICE_UNITS = 0x1002,
    DEVICE_LARGEST = 0x1010,
    DEVICE_MEMORY = 0x101f,
    DEVICE_AVAILABLE = 0x1027,
    DEVICE_NAME = 0x102b,
    DEVICE_DRIVER = 0x102d,
};
enum { TYPE_CPU = 2, TYPE_GPU = 4, TYPE_ACCELERATOR = 8 };
#define TYPE_ALL UINT64_C(0xffffffff)

struct api {
    get_platforms platforms;
    get_devices devices;
    get_info platform_info, device_info;
};

/* What the child tells; shorter than PIPE_BUF, so never torn. */
struct record {
    enum { RECORD_DEVICE, RECORD_END, RECORD_NO_LOADER } what;
    struct fg_opencl_device device;
    char text[200];
};

/* --- in the child --- */

static void tell(int fd, const struct record *record)
{
    if (write(fd, record, sizeof *record) != (ssize_t)sizeof *record)
        _exit(1);
}

static int load(const char *library, struct api *ret, char *why, size_t size)
{
    void *loader = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!loader) {
        snprintf(why, size, "%s", dlerror());
        return -1;
    }
    ret->platforms = (get_platforms)dlsym(loader, "clGetPlatformIDs");
    ret->devices = (get_devices)dlsym(loader, "clGetDeviceIDs");
    ret->platform_info = (get_info)dlsym(loader, "clGetPlatformInfo");
    ret->device_info = (get_info)dlsym(loader, "clGetDeviceInfo");
    if (ret->platforms && ret->devices && ret->platform_info && ret->device_info)
        return 0;
    snprintf(why, size, "%s has no clGetDeviceIDs", library);
    return -1;
}

static void text_of(get_info info, void *object, uint32_t what, char *buf, size_t size)
{
    char text[1024] = "";
    size_t n = 0;
    if (info(object, what, sizeof text - 1, text, &n) == 0)
        snprintf(buf, size, "%s", text);
}

static void ask_device(const struct api *api, void *device, struct fg_opencl_device *ret)
{
    uint64_t type = 0;
    api->device_info(device, DEVICE_TYPE, sizeof type, &type, NULL);
    ret->type = type & TYPE_GPU           ? FG_OPENCL_GPU
                : type & TYPE_ACCELERATOR ? FG_OPENCL_ACCELERATOR
                : type & TYPE_CPU         ? FG_OPENCL_CPU
                                          : FG_OPENCL_OTHER;
    text_of(api->device_info, device, DEVICE_NAME, ret->kind, sizeof ret->kind);
    text_of(api->device_info, device, DEVICE_DRIVER, ret->driver, sizeof ret->driver);
    api->device_info(device, DEVICE_UNITS, sizeof ret->units, &ret->units, NULL);
    api->device_info(device, DEVICE_MEMORY, sizeof ret->memory_bytes, &ret->memory_bytes, NULL);
    api->device_info(device, DEVICE_LARGEST, sizeof ret->largest_bytes, &ret->largest_bytes, NULL);
}

/* Devices of a platform; *number counts those that are not available, too, so that names stay. */
static void tell_platform(const struct api *api, void *platform, int fd, unsigned *number)
{
    void *devices[FG_OPENCL_MAX] = {0};
    uint32_t count = 0;
    if (api->devices(platform, TYPE_ALL, FG_OPENCL_MAX, devices, &count) != 0)
        return; /* none */
    for (uint32_t i = 0; i < count && i < FG_OPENCL_MAX && devices[i]; i++) {
        struct record record = {.what = RECORD_DEVICE};
        uint32_t available = 1;
        api->device_info(devices[i], DEVICE_AVAILABLE, sizeof available, &available, NULL);
        snprintf(record.device.name, sizeof record.device.name, "opencl%u", (*number)++);
        text_of(api->platform_info, platform, PLATFORM_NAME, record.device.platform, sizeof record.device.platform);
        ask_device(api, devices[i], &record.device);
        if (available)
            tell(fd, &record);
    }
}

static void quiet(void)
{
    int null = open("/dev/null", O_RDWR);
    struct rlimit none = {0, 0};
    sigset_t empty;
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int sig = 1; sig < 32; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&empty);
    sigprocmask(SIG_SETMASK, &empty, NULL);
    unsetenv("OPENCL_LAYERS"); /* the device as it is, not a slice of it */
    unsetenv("FGPU_LEASE");
}

static void child(const char *library, int timeout_ms, int fd)
{
    struct api api;
    struct record record = {.what = RECORD_NO_LOADER};
    void *platforms[PLATFORMS_MAX] = {0};
    uint32_t count = 0;
    unsigned number = 0;
    quiet();
    alarm((unsigned)timeout_ms / 1000 + 2); /* should a driver close the pipe and stay */
    if (load(library, &api, record.text, sizeof record.text) != 0) {
        tell(fd, &record);
        _exit(0);
    }
    if (api.platforms(PLATFORMS_MAX, platforms, &count) != 0)
        count = 0; /* the loader found no driver */
    for (uint32_t i = 0; i < count && i < PLATFORMS_MAX && platforms[i]; i++)
        tell_platform(&api, platforms[i], fd, &number);
    record.what = RECORD_END;
    tell(fd, &record);
    _exit(0);
}

/* --- in the caller --- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One printable line in the field, whatever the driver wrote there. */
static void clean(char *field, size_t size)
{
    size_t n = strnlen(field, size - 1), out = 0;
    for (size_t i = 0; i < n;) {
        size_t step = fg_utf8_step(field + i, n - i);
        bool bad = step == 0 || (step == 1 && !isprint((unsigned char)field[i]));
        for (size_t k = 0; k < (step ? step : 1); k++)
            if (!bad || out > 0)
                field[out++] = bad ? ' ' : field[i + k];
        i += step ? step : 1;
    }
    while (out > 0 && field[out - 1] == ' ')
        out--;
    field[out] = 0;
}

static void add(struct fg_opencl_list *list, const struct fg_opencl_device *told)
{
    if (list->count == FG_OPENCL_MAX)
        return;
    struct fg_opencl_device *device = &list->devices[list->count];
    *device = *told;
    clean(device->name, sizeof device->name);
    clean(device->kind, sizeof device->kind);
    clean(device->platform, sizeof device->platform);
    clean(device->driver, sizeof device->driver);
    if (!*device->kind)
        snprintf(device->kind, sizeof device->kind, "OpenCL device");
    list->count += device->memory_bytes > 0;
}

/* Read records until the end of the pipe. 0: the child ended; -1: the time was up. *ret_last: the last record that was
 * no device. */
static int listen_to(int fd, int timeout_ms, struct fg_opencl_list *list, struct record *ret_last)
{
    int64_t end = now_ms() + timeout_ms;
    ret_last->what = RECORD_DEVICE;
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        struct record record;
        int64_t left = end - now_ms();
        int n = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (n == 0)
            return -1;
        if (n < 0 && errno == EINTR)
            continue;
        ssize_t got = read(fd, &record, sizeof record);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof record)
            return 0;
        if (record.what == RECORD_DEVICE)
            add(list, &record.device);
        else
            *ret_last = record;
    }
}

static int fail_none(const struct record *last, struct fg_error *err)
{
    char text[200];
    snprintf(text, sizeof text, "%.199s", last->text);
    clean(text, sizeof text);
    if (last->what == RECORD_NO_LOADER)
        fg_fail(err, FG_E_UNSUPPORTED, "there is no OpenCL on this machine: %s", text);
    else
        fg_fail(err, FG_E_UNSUPPORTED, "there is no OpenCL device on this machine");
    return fg_fail_hint(err, "A GPU's OpenCL comes with its driver. The processor as a device: '%s'.",
                        FG_OPENCL_PACKAGES);
}

/* What the child's end means, when it did not come to its last record. */
static int fail_broken(int status, bool hung, struct fg_opencl_list *list, struct fg_error *err)
{
    if (hung)
        snprintf(list->why, sizeof list->why, "an OpenCL driver did not answer when its devices were listed");
    else if (WIFSIGNALED(status))
        snprintf(list->why, sizeof list->why, "an OpenCL driver crashed (%s) when its devices were listed",
                 strsignal(WTERMSIG(status)));
    else
        snprintf(list->why, sizeof list->why, "an OpenCL driver ended the process that listed its devices");
    if (list->count > 0)
        return 0;
    fg_fail(err, hung ? FG_E_TIMEOUT : FG_E_UNSUPPORTED, "%s", list->why);
    return fg_fail_hint(err, "'clinfo -l' shows which one; drivers are listed in /etc/OpenCL/vendors.");
}

static pid_t start(const char *library, int timeout_ms, int *ret_fd, struct fg_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fg_fail(err, FG_E_INTERNAL, "list OpenCL devices: %m");
    pid_t pid = fork();
    if (pid == 0)
        child(library, timeout_ms, fds[1]);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return fg_fail(err, FG_E_INTERNAL, "list OpenCL devices: fork: %m");
    }
    *ret_fd = fds[0];
    return pid;
}

int fg_opencl_list(const struct fg_opencl_probe *probe, struct fg_opencl_list *ret, struct fg_error *err)
{
    const char *library = probe && probe->library ? probe->library : "libOpenCL.so.1";
    int timeout_ms = probe && probe->timeout_ms ? probe->timeout_ms : TIMEOUT_MS;
    struct record last;
    int fd, status = 0;
    pid_t pid = start(library, timeout_ms, &fd, err);
    if (pid < 0)
        return -1;
    memset(ret, 0, sizeof *ret);
    bool hung = listen_to(fd, timeout_ms, ret, &last) < 0;
    close(fd);
    /* A driver's exit handlers do not run (_exit); what it left behind, threads included, goes with the kill. */
    kill(pid, hung || last.what != RECORD_DEVICE ? SIGKILL : 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (last.what == RECORD_DEVICE)
        return fail_broken(status, hung, ret, err);
    return ret->count > 0 ? 0 : fail_none(&last, err);
}

const char *fg_opencl_type_name(enum fg_opencl_type type)
{
    static const char *const names[] = {"other", "cpu", "accelerator", "gpu"};
    return (unsigned)type < 4 ? names[type] : "other";
}

void fg_opencl_key(const struct fg_opencl_list *list, const struct fg_opencl_device *device, char *buf, size_t size)
{
    unsigned alike = 0;
    for (const struct fg_opencl_device *d = list->devices; d < device; d++)
        alike += strcmp(d->platform, device->platform) == 0 && strcmp(d->kind, device->kind) == 0;
    snprintf(buf, size, "opencl %.50s %.50s %u", device->platform, device->kind, alike);
}
