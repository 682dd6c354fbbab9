/* checkpoint_main.c - fgpu-checkpoint: puts processes' device memory aside and brings it back, by the driver; see checkpoint.h.
 *
 * Its own program of libc alone, since a driver may hang or crash, and since what the agent holds is none of the driver's
 * business. Structures changed with the driver's versions, so functions are asked for as those of 13.0 (12.8 on drivers before it,
 * whose arguments are the same 64 bytes of zeros). It ends with whoever started it. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "device/checkpoint.h"
#include "shim/cuda/cuda_abi.h"

#define WITH_CHECKPOINTS 12080
#define WITH_PAIRS       13000
#define PAIRS_MAX        16

static struct {
    int version;
    CUresult (*lock)(int, CUcheckpointLockArgs *);
    CUresult (*checkpoint)(int, CUcheckpointCheckpointArgs *);
    CUresult (*restore)(int, CUcheckpointRestoreArgs *);
    CUresult (*unlock)(int, CUcheckpointUnlockArgs *);
    CUresult (*state)(int, CUprocessState *);
    CUresult (*name)(CUresult, const char **);
} driver;

__attribute__((noreturn, format(printf, 3, 4)))
static void end(enum fg_reclaim_reply reply, CUresult result, const char *fmt, ...)
{
    const char *name = NULL;
    char text[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (result && driver.name && driver.name(result, &name) != CUDA_SUCCESS)
        name = NULL;
    printf("%s%s%s\n", text, result ? ": " : "", !result ? "" : name ? name : "an unknown error");
    fflush(stdout);
    _exit(reply == FG_REPLY_DONE ? 0 : FG_CHECKPOINT_EXIT + (int)reply); /* a driver's own exit handlers may hang */
}

static void *function(CUresult (*find)(const char *, void **, int, cuuint64_t, int *), const char *name)
{
    void *at = NULL;
    int status = 0;
    if (find(name, &at, driver.version < WITH_PAIRS ? WITH_CHECKPOINTS : WITH_PAIRS, 0, &status) != CUDA_SUCCESS || !at)
        end(FG_REPLY_REFUSED, 0, "the driver has no %s", name);
    return at;
}

static void open_driver(const char *path)
{
    CUresult (*init)(unsigned), (*version)(int *), (*find)(const char *, void **, int, cuuint64_t, int *);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        end(FG_REPLY_REFUSED, 0, "no driver: %s", dlerror());
    *(void **)&init = dlsym(library, "cuInit");
    *(void **)&version = dlsym(library, "cuDriverGetVersion");
    *(void **)&find = dlsym(library, "cuGetProcAddress_v2");
    *(void **)&driver.name = dlsym(library, "cuGetErrorName");
    if (!init || !version || version(&driver.version) != CUDA_SUCCESS)
        end(FG_REPLY_REFUSED, 0, "'%s' is no driver", path);
    if (!find || driver.version < WITH_CHECKPOINTS)
        end(FG_REPLY_REFUSED, 0, "the driver's interface is %d.%d; checkpoints came with 12.8", driver.version / 1000, driver.version % 1000 / 10);
    *(void **)&driver.lock = function(find, "cuCheckpointProcessLock");
    *(void **)&driver.checkpoint = function(find, "cuCheckpointProcessCheckpoint");
    *(void **)&driver.restore = function(find, "cuCheckpointProcessRestore");
    *(void **)&driver.unlock = function(find, "cuCheckpointProcessUnlock");
    *(void **)&driver.state = function(find, "cuCheckpointProcessGetState");
    CUresult result = init(0);
    if (result != CUDA_SUCCESS)
        end(FG_REPLY_REFUSED, result, "the driver does not start");
}

static int alive(int pid) { return kill(pid, 0) == 0; }

static enum fg_reclaim_reply state_of(int pid, CUprocessState *ret)
{
    CUresult result = driver.state(pid, ret);
    if (result == CUDA_SUCCESS)
        return *ret == CU_PROCESS_STATE_FAILED ? FG_REPLY_BROKEN : FG_REPLY_DONE;
    /* a process that the driver does not know has nothing aside: it ended, or uses no device */
    return alive(pid) && result != CUDA_ERROR_INVALID_VALUE && result != CUDA_ERROR_NOT_INITIALIZED ? FG_REPLY_LOST : FG_REPLY_GONE;
}

/* What a failed call left behind: the process may be lost, or gone; else it is as the caller says. */
static enum fg_reclaim_reply after(int pid, enum fg_reclaim_reply otherwise)
{
    CUprocessState state;
    enum fg_reclaim_reply now = state_of(pid, &state);
    return now == FG_REPLY_DONE ? otherwise : now;
}

/* Bring one back from wherever it is. */
static enum fg_reclaim_reply bring_back(int pid, CUcheckpointRestoreArgs *args, CUresult *ret)
{
    CUcheckpointUnlockArgs unlock = {0};
    CUprocessState state;
    enum fg_reclaim_reply reply = state_of(pid, &state);
    *ret = CUDA_SUCCESS;
    if (reply != FG_REPLY_DONE || state == CU_PROCESS_STATE_RUNNING)
        return reply;
    if (state == CU_PROCESS_STATE_CHECKPOINTED && (*ret = driver.restore(pid, args)) != CUDA_SUCCESS)
        return after(pid, *ret == CUDA_ERROR_OUT_OF_MEMORY ? FG_REPLY_NO_ROOM : FG_REPLY_REFUSED);
    *ret = driver.unlock(pid, &unlock);
    reply = state_of(pid, &state);
    return reply == FG_REPLY_DONE && state != CU_PROCESS_STATE_RUNNING ? FG_REPLY_LOST : reply;
}

/* All that live; the worst that happened is the answer. */
static enum fg_reclaim_reply bring_all_back(char **pids, int count, CUcheckpointRestoreArgs *args, int *ret_pid, CUresult *ret)
{
    static const enum fg_reclaim_reply ranks[] = {FG_REPLY_BROKEN, FG_REPLY_LOST, FG_REPLY_REFUSED, FG_REPLY_NO_ROOM};
    size_t worst = sizeof ranks / sizeof *ranks;
    for (int i = 0; i < count; i++) {
        CUresult result;
        enum fg_reclaim_reply reply = bring_back(atoi(pids[i]), args, &result);
        for (size_t k = 0; k < worst; k++)
            if (ranks[k] == reply) {
                worst = k;
                *ret = result;
                *ret_pid = atoi(pids[i]);
            }
    }
    return worst < sizeof ranks / sizeof *ranks ? ranks[worst] : FG_REPLY_DONE;
}

/* Parking one failed: those before it run on, then why is said. */
__attribute__((noreturn)) static void undo(char **pids, int count, int failed, enum fg_reclaim_reply why, CUresult result, const char *what)
{
    CUcheckpointRestoreArgs args = {0};
    CUresult other;
    int pid = atoi(pids[failed]);
    enum fg_reclaim_reply first = after(pid, why), back = bring_all_back(pids, count, &args, &pid, &other);
    if (first == FG_REPLY_BROKEN || back == FG_REPLY_BROKEN)
        end(FG_REPLY_BROKEN, result, "process %d failed when the driver was to %s it", pid, what);
    if (back != FG_REPLY_DONE)
        end(FG_REPLY_LOST, other, "process %d is not back where it was", pid);
    end(first, result, "the driver does not %s process %d", what, pid);
}

static void park(unsigned ms, char **pids, int count)
{
    for (int i = 0; i < count; i++) {
        CUprocessState state;
        if (state_of(atoi(pids[i]), &state) != FG_REPLY_DONE)
            end(alive(atoi(pids[i])) ? FG_REPLY_REFUSED : FG_REPLY_GONE, 0, "the driver does not know process %s", pids[i]);
    }
    for (int i = 0; i < count; i++) {
        CUcheckpointLockArgs args = {.timeoutMs = ms};
        CUresult result = driver.lock(atoi(pids[i]), &args);
        int late = result == CUDA_ERROR_NOT_READY || result == CUDA_ERROR_TIMEOUT || result == CUDA_ERROR_ILLEGAL_STATE;
        if (result != CUDA_SUCCESS)
            undo(pids, i + 1, i, late ? FG_REPLY_BUSY : FG_REPLY_REFUSED, result, "lock");
    }
    for (int i = 0; i < count; i++) {
        CUcheckpointCheckpointArgs args = {0};
        CUresult result = driver.checkpoint(atoi(pids[i]), &args);
        if (result != CUDA_SUCCESS)
            undo(pids, count, i, FG_REPLY_REFUSED, result, "checkpoint");
    }
    end(FG_REPLY_DONE, 0, "parked");
}

static int read_uuid(const char *text, CUuuid *ret)
{
    int n = 0;
    for (const char *p = strncmp(text, "GPU-", 4) == 0 ? text + 4 : text; n < 16; p += 2) {
        unsigned byte;
        p += *p == '-';
        if (sscanf(p, "%2x", &byte) != 1)
            return -1;
        ret->bytes[n++] = (char)byte;
    }
    return 0;
}

static void restore(char *pairs, char **pids, int count)
{
    static CUcheckpointGpuPair list[PAIRS_MAX];
    CUcheckpointRestoreArgs args = {0};
    char *save = NULL;
    for (char *pair = strtok_r(pairs, ",", &save); pair && strcmp(pair, "-") != 0; pair = strtok_r(NULL, ",", &save)) {
        CUcheckpointGpuPair *p = &list[args.gpuPairsCount];
        char *to = strchr(pair, '=');
        if (args.gpuPairsCount == PAIRS_MAX || !to || read_uuid(pair, &p->oldUuid) != 0 || read_uuid(to + 1, &p->newUuid) != 0)
            end(FG_REPLY_REFUSED, 0, "'%s' is no pair of devices", pair);
        args.gpuPairsCount++;
    }
    if (args.gpuPairsCount && driver.version < WITH_PAIRS)
        end(FG_REPLY_REFUSED, 0, "the driver moves nothing to another device; 13.0 and later do");
    args.gpuPairs = args.gpuPairsCount ? list : NULL;
    CUresult result = CUDA_SUCCESS;
    int pid = 0;
    enum fg_reclaim_reply reply = bring_all_back(pids, count, &args, &pid, &result);
    if (reply != FG_REPLY_DONE)
        end(reply, result, "process %d is not brought back", pid);
    end(FG_REPLY_DONE, 0, "restored");
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsetenv("CUDA_VISIBLE_DEVICES"); /* all devices are to be known */
    if (argc < 3) {
        fprintf(stderr, "usage: %s DRIVER probe | park TIMEOUT_MS PID... | restore PAIRS|- PID...\n", argv[0]);
        return 2;
    }
    open_driver(argv[1]);
    if (strcmp(argv[2], "park") == 0 && argc > 4)
        park((unsigned)atoi(argv[3]), argv + 4, argc - 4);
    if (strcmp(argv[2], "restore") == 0 && argc > 4)
        restore(argv[3], argv + 4, argc - 4);
    end(FG_REPLY_DONE, 0, "%d%s", driver.version, driver.version >= WITH_PAIRS ? " moves" : "");
}
