/* opencl_run.c - programs in vGPUs of one arbiter: see opencl_run.h. */
#include "opencl_run.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY (UINT64_C(64) << 20)

extern char **environ;
struct fg_vgpu_server *bench_server;
static const char *client_path, *layer_path;

void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "opencl_bench: %s failed\n", what);
    exit(1);
}

uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void sleep_ms(unsigned ms) { nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL); }

int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_begin(const char *client, const char *layer)
{
    struct fg_error err;
    client_path = client;
    layer_path = layer;
    must(access(client, X_OK) == 0 && access(layer, R_OK) == 0, "finding the client and the layer");
    unsetenv("OPENCL_LAYERS");
    unsetenv(FG_LEASE_ENV);
    must(fg_vgpu_server_create(&bench_server, &(struct fg_vgpu_server_config){0}, &err) == 0 &&
             fg_vgpu_server_device(bench_server, "dev0", FG_MEMORY_MAX, &err) == 0,
         "the arbiter");
}

void bench_end(void)
{
    fg_vgpu_server_destroy(bench_server);
    bench_server = NULL;
}

static void open_lease(struct tenant *tenant, unsigned share_permille, enum fg_share_mode mode)
{
    struct fg_lease_spec spec = {.device = "dev0", .memory_bytes = MEMORY, .share_permille = share_permille, .mode = mode};
    struct fg_error err;
    char where[256];
    if (fg_vgpu_server_open(bench_server, &spec, tenant->id, &err) != 0 ||
        fg_vgpu_server_env(bench_server, tenant->id, where, sizeof where, &err) != 0) {
        fprintf(stderr, "opencl_bench: %s\n", err.text);
        exit(1);
    }
    setenv("OPENCL_LAYERS", layer_path, 1);
    setenv(FG_LEASE_ENV, where, 1);
}

void tenant_spawn(struct tenant *tenant, unsigned share_permille, enum fg_share_mode mode, const char *const *args)
{
    const char *argv[10] = {client_path};
    char fd[16];
    *tenant = (struct tenant){.fd = memfd_create("opencl_bench", 0)};
    must(tenant->fd >= 0 && ftruncate(tenant->fd, sizeof(struct log)) == 0, "memfd_create");
    tenant->log = mmap(NULL, sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED, tenant->fd, 0);
    must(tenant->log != MAP_FAILED, "mmap");
    snprintf(fd, sizeof fd, "%d", tenant->fd);
    argv[1] = fd;
    for (unsigned i = 0; args[i] && i < 7; i++)
        argv[i + 2] = args[i];
    if (share_permille)
        open_lease(tenant, share_permille, mode);
    must(posix_spawn(&tenant->pid, client_path, NULL, NULL, (char *const *)argv, environ) == 0, "starting the client");
    unsetenv("OPENCL_LAYERS");
    unsetenv(FG_LEASE_ENV);
    close(tenant->fd);
}

static void await(struct tenant *tenant, uint32_t *word, uint32_t value)
{
    uint32_t now;
    while ((now = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != value) {
        syscall(SYS_futex, word, FUTEX_WAIT, now, &(struct timespec){1, 0}, NULL, 0);
        must(waitpid(tenant->pid, NULL, WNOHANG) == 0 || __atomic_load_n(word, __ATOMIC_SEQ_CST) == value, "the client");
    }
}

void tenant_await(struct tenant *tenant) { await(tenant, &tenant->log->ready, 1); }

void tenant_go(struct tenant *tenant)
{
    __atomic_fetch_add(&tenant->log->go, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &tenant->log->go, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

struct span tenant_round(struct tenant *tenant)
{
    tenant_go(tenant);
    await(tenant, &tenant->log->done, tenant->log->go);
    return tenant->log->spans[(tenant->log->count - 1) % LOG_SPANS];
}

void tenant_stop(struct tenant *tenant)
{
    struct fg_error err;
    int status;
    __atomic_store_n(&tenant->log->stop, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &tenant->log->go, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    must(waitpid(tenant->pid, &status, 0) == tenant->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the client");
    if (tenant->id[0])
        fg_vgpu_server_close(bench_server, tenant->id, &err);
}

void tenant_free(struct tenant *tenant) { munmap(tenant->log, sizeof *tenant->log); }

double busy_ns(const struct log *log, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t from = from_ns + (uint64_t)log->offset_ns, to = to_ns + (uint64_t)log->offset_ns, sum = 0;
    uint64_t count = __atomic_load_n(&log->count, __ATOMIC_ACQUIRE);
    for (uint64_t i = 0; i < count && i < LOG_SPANS; i++) {
        uint64_t start = log->spans[i].start_ns, end = log->spans[i].end_ns;
        start = start < from ? from : start;
        end = end > to ? to : end;
        sum += end > start ? end - start : 0;
    }
    return (double)sum;
}

uint64_t first_ns(const struct log *log) { return log->spans[0].start_ns - (uint64_t)log->offset_ns; }

/* User and system time of a process, seconds. */
static double seconds_of(pid_t pid)
{
    char path[64], text[512];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    char *at = strrchr(text, ')');
    if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return 0;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

/* Processor seconds this machine has spent; what the hypervisor took counts, too. */
static double seconds_of_machine(void)
{
    unsigned long user, nice, kernel, idle, wait, irq, soft, steal;
    FILE *f = fopen("/proc/stat", "r");
    int got = f ? fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &kernel, &idle, &wait, &irq, &soft, &steal) : 0;
    if (f)
        fclose(f);
    return got == 8 ? (double)(user + nice + kernel + irq + soft + steal) / (double)sysconf(_SC_CLK_TCK) : 0;
}

double others_load(struct load *load, const struct tenant *tenants, unsigned count)
{
    struct load now = {.all = seconds_of_machine(), .ours = (double)now_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9, .at_ns = now_ns(CLOCK_MONOTONIC)};
    for (unsigned i = 0; i < count; i++)
        now.ours += seconds_of(tenants[i].pid);
    double seconds = (double)(now.at_ns - load->at_ns) / 1e9 * (double)sysconf(_SC_NPROCESSORS_ONLN);
    double others = ((now.all - load->all) - (now.ours - load->ours)) / seconds;
    *load = now;
    return others < 0 ? 0 : others;
}
