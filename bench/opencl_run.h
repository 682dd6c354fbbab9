/* opencl_run.h - programs in vGPUs of one arbiter, for opencl_bench: started, watched, stopped. */
#pragma once
#include <sys/types.h>
#include <time.h>

#include "opencl_log.h"
#include "vgpu/server.h"

struct tenant {
    struct log *log;
    int fd;
    pid_t pid;
    char id[64];          /* of its lease; empty: runs without the layer */
};

extern struct fg_vgpu_server *bench_server; /* one device, "dev0" */

void must(int ok, const char *what);
uint64_t now_ns(clockid_t clock);
void sleep_ms(unsigned ms);
int by_size(const void *a, const void *b); /* doubles */
double median(double *values, size_t count);

/* Paths of the client and the layer; starts the server. */
void bench_begin(const char *client, const char *layer);
void bench_end(void);

/* Start opencl_client LOG_FD MODE...; waits until it is ready unless it is only to be started. share 0: without the layer. */
void tenant_spawn(struct tenant *tenant, unsigned share_permille, enum fg_share_mode mode, const char *const *args);
void tenant_await(struct tenant *tenant);
void tenant_go(struct tenant *tenant);
/* One round of a client of the kind "rounds". Returns {wall, processor} ns. */
struct span tenant_round(struct tenant *tenant);
/* Its log may be read until tenant_free. */
void tenant_stop(struct tenant *tenant);
void tenant_free(struct tenant *tenant);

/* Device time of its kernels, by the driver's clock, between two times of CLOCK_MONOTONIC. */
double busy_ns(const struct log *log, uint64_t from_ns, uint64_t to_ns);
/* When its first kernel began; CLOCK_MONOTONIC. */
uint64_t first_ns(const struct log *log);

/* How much of this machine the programs of others use: a fraction of all its processors since the last call. */
struct load { double all, ours; uint64_t at_ns; };
double others_load(struct load *load, const struct tenant *tenants, unsigned count);
