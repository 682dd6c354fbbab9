/* cuda_escape.c - ways in which a CUDA program may get past the front end that keeps its slice's limits, by intent or not: a row of
 * `ways` each. A way takes chunks of 64 MiB until it is refused or has 24 (1.5 GiB), says "granted N", and waits for the end of its input.
 * usage: cuda_escape WAY FOLDER-OF-THE-MACHINE'S-DRIVER */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda_escape.h"
#include "vgpu/page.h"

/* --- by the front door --- */

static int plain(void) { return open_with(RTLD_NOW); }
static int lazy(void) { return open_with(RTLD_LAZY | RTLD_LOCAL); }
static int deepbind(void) { return open_with(RTLD_NOW | RTLD_DEEPBIND); }
static int versioned(void) { return try(found(dlopen("libcuda.so.1", RTLD_NOW), by_dlvsym)); }
static int unnumbered(void) { return try(found(dlopen("libcuda.so", RTLD_NOW), by_dlsym)); }
static int namespace(void) { return try(found(dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW), by_dlsym)); }

static int global(void)
{
    return try(found(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL), by_default));
}

/* "The one after": in a program's own scope that is what was loaded last. */
static int next(void)
{
    dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    return try(found(RTLD_NEXT, by_dlsym));
}

static int namespaces(void)
{
    struct cuda first = found(dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW), by_dlsym);
    begin(&first);
    fill(&first, 1);
    return try(found(dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW), by_dlsym));
}

static int reopened(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    struct cuda cu = found(library, by_dlsym);
    begin(&cu);
    int got = fill(&cu, 1);
    dlclose(library);
    cu = ours();
    begin(&cu);
    return say(got + fill(&cu, MOST));
}

static void *by_proc_address(void *library, const char *name)
{
    CUresult (*get)(const char *, void **, int, cuuint64_t) = (CUresult (*)(const char *, void **, int, cuuint64_t))dlsym(library, "cuGetProcAddress");
    void *function = NULL;
    char base[64];
    snprintf(base, sizeof base, "%.*s", (int)(strstr(name, "_v2") ? strlen(name) - 3 : strlen(name)), name);
    return get && get(base, &function, 12000, 0) == CUDA_SUCCESS ? function : NULL;
}

static void *by_proc_address_v2(void *library, const char *name)
{
    typedef CUresult get_fn(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);
    get_fn *first = (get_fn *)dlsym(library, "cuGetProcAddress_v2"), *get = NULL;
    void *function = NULL;
    char base[64];
    snprintf(base, sizeof base, "%.*s", (int)(strstr(name, "_v2") ? strlen(name) - 3 : strlen(name)), name);
    if (!first || first("cuGetProcAddress", (void **)&get, 12000, 0, NULL) != CUDA_SUCCESS) /* the runtime asks for it by itself */
        return NULL;
    return get(base, &function, 12000, 0, NULL) == CUDA_SUCCESS ? function : NULL;
}

static int proc_address(void) { return try(found(dlopen("libcuda.so.1", RTLD_NOW), by_proc_address)); }
static int proc_address_v2(void) { return try(found(dlopen("libcuda.so.1", RTLD_NOW), by_proc_address_v2)); }

static int visible(void)
{
    int n = 0;
    setenv("CUDA_VISIBLE_DEVICES", "1,0", 1);
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    struct cuda cu = found(library, by_dlsym);
    begin(&cu);
    ((CUresult (*)(int *))dlsym(library, "cuDeviceGetCount"))(&n);
    return n == 1 ? try(cu) : say(1000 * n);
}

/* --- several at once --- */

static struct cuda shared;
static int shared_got;
static CUcontext shared_context;

static void *one_thread(void *unused)
{
    shared.set(shared_context);
    __atomic_fetch_add(&shared_got, fill(&shared, 4), __ATOMIC_SEQ_CST);
    return NULL;
}

static int threads(void)
{
    pthread_t all[32];
    shared = ours();
    begin(&shared);
    shared.retain(&shared_context, 0);
    for (size_t i = 0; i < 32; i++)
        if (pthread_create(&all[i], NULL, one_thread, NULL) != 0)
            die("no thread");
    for (size_t i = 0; i < 32; i++)
        pthread_join(all[i], NULL);
    return say(shared_got);
}

static int wait_for(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The child that begins by itself, beside a parent who holds a context and one chunk. */
static int fork_first(void)
{
    int ready[2];
    char byte;
    if (pipe(ready) != 0)
        die("no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(ready[1]);
        while (read(ready[0], &byte, 1) > 0)
            ;
        return plain();
    }
    struct cuda cu = ours();
    begin(&cu);
    fill(&cu, 1);
    close(ready[1]);
    return wait_for(pid);
}

static int run_self(const char *way)
{
    pid_t pid;
    char folder[4096], *argv[] = {(char *)"cuda_escape", (char *)way, folder, NULL};
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(real, '/') - real), real);
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0)
        die("no child");
    return wait_for(pid);
}

static int spawned(void)
{
    struct cuda cu = ours();
    begin(&cu);
    fill(&cu, 1);
    return run_self("plain");
}

static int orphan(void)
{
    int done[2];
    char byte;
    if (pipe(done) != 0)
        die("no pipe");
    if (fork() == 0) {
        setsid();
        return fork() == 0 ? plain() : 0;
    }
    close(done[1]);
    return read(done[0], &byte, 1) > 0; /* when the last has ended, whose child it is no more */
}

/* Only a thread is left: /proc shows no memory of such a process. */
static void *without_leader(void *way)
{
    usleep(50000); /* until the leader has ended; when it has not, the way is an easier one */
    exit(((int (*)(void))way)());
}
static int leave_to_thread(int (*way)(void))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, without_leader, (void *)way) != 0)
        die("no thread");
    pthread_exit(NULL);
}

/* --- the machine's driver --- */

static int direct(void) { return try(theirs()); }
static int leaderless(void) { return leave_to_thread(plain); }
static int leaderless_direct(void) { return leave_to_thread(direct); }
static int direct_namespace(void) { return try(found(dlmopen(LM_ID_NEWLM, real, RTLD_NOW), by_dlsym)); }

static int hidden(void)
{
    prctl(PR_SET_DUMPABLE, 0); /* nobody of this user can look at us from now on */
    return direct();
}

/* Of a set-user-ID program: as sudo does. */
static int risen(void)
{
    if (setresuid(0, 0, 0) != 0)
        die("no right");
    return direct();
}

static int copy_to(int to)
{
    char buf[65536];
    int from = open(real, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0;)
        if (write(to, buf, (size_t)n) != n)
            die("no copy");
    return close(from);
}

static int copied(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/libmine-%d.so", (int)getpid());
    copy_to(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700));
    void *library = dlopen(path, RTLD_NOW);
    unlink(path);
    return try(found(library, by_dlsym));
}

static int from_memory(void)
{
    char path[64];
    int fd = memfd_create("harmless", MFD_CLOEXEC);
    copy_to(fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return try(found(dlopen(path, RTLD_NOW), by_dlsym));
}

/* In the books, and calling the driver beside the front end: all chunks but the context are past it. */
static int beside(void)
{
    struct cuda cu = ours();
    begin(&cu);
    cu = theirs();
    return say(fill(&cu, MOST));
}

static int link_map(void)
{
    struct cuda cu = ours();
    begin(&cu);
    struct link_map *map = NULL;
    dlinfo(dlopen(NULL, RTLD_NOW), RTLD_DI_LINKMAP, &map);
    for (; map; map = map->l_next)
        if (strstr(map->l_name, "/driver/libcuda.so"))
            break;
    cu = found(map ? dlopen(map->l_name, RTLD_NOW | RTLD_NOLOAD) : NULL, by_dlsym);
    return say(fill(&cu, MOST));
}

/* Our function's first bytes become a jump to the driver's. */
static int patched(void)
{
#ifdef __x86_64__
    struct cuda cu = ours(), other = theirs();
    begin(&cu);
    uint8_t jump[12] = {0x48, 0xb8, [10] = 0xff, 0xe0};
    memcpy(jump + 2, &other.alloc, 8);
    uintptr_t at = (uintptr_t)cu.alloc, page = at & ~(uintptr_t)4095;
    if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        die("not writable");
    memcpy((void *)at, jump, sizeof jump);
    return say(fill(&cu, MOST));
#else
    return beside();
#endif
}

/* --- the lease --- */

static const char *lease_file(int which)
{
    static char path[2][300];
    const char *lease = getenv("FGPU_LEASE"), *colon = lease ? strchr(lease, ':') : NULL;
    if (!colon)
        die("no lease");
    snprintf(path[0], sizeof path[0], "%.*s", (int)(colon - lease), lease);
    snprintf(path[1], sizeof path[1], "%s", colon + 1);
    return path[which];
}

static int no_lease(void)
{
    unsetenv("FGPU_LEASE");
    return plain();
}

static int cleared(void)
{
    char *world = getenv("FGPU_FAKE_CUDA"), keep[4096];
    snprintf(keep, sizeof keep, "%s", world ? world : "");
    clearenv();
    setenv("FGPU_FAKE_CUDA", keep, 1); /* where the stand-in's devices are */
    return plain();
}

static int broken_lease(void)
{
    setenv("FGPU_LEASE", "/dev/null:/dev/null", 1);
    return plain();
}

/* Copies of both files, with a quota of 4 GiB. */
static int own_lease(void)
{
    char value[128];
    int fds[2];
    for (int i = 0; i < 2; i++) {
        char buf[4096];
        int from = open(lease_file(i), i ? O_RDWR : O_RDONLY);
        fds[i] = memfd_create("mine", 0);
        for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0;)
            if (write(fds[i], buf, (size_t)n) != n)
                die("no copy");
    }
    uint64_t quota = UINT64_C(4) << 30;
    if (pwrite(fds[0], &quota, sizeof quota, offsetof(struct fg_limits, memory_bytes)) != sizeof quota)
        die("no copy");
    snprintf(value, sizeof value, "/proc/self/fd/%d:/proc/self/fd/%d", fds[0], fds[1]);
    setenv("FGPU_LEASE", value, 1);
    return plain();
}

static void want_refused(bool refused)
{
    if (!refused)
        die("the lease gave way");
}

/* Its owner may make a file writable; a seal he cannot break. */
static int written_limits(void)
{
    uint64_t quota = UINT64_C(4) << 30;
    if (chmod(lease_file(0), 0600) != 0)
        return plain();
    int fd = open(lease_file(0), O_RDWR);
    if (fd >= 0 && pwrite(fd, &quota, sizeof quota, offsetof(struct fg_limits, memory_bytes)) < 0)
        want_refused(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    return plain();
}

static int truncated(void)
{
    for (int i = 0; i < 2; i++) {
        int fd = open(lease_file(i), O_RDWR);
        want_refused(fd < 0 || ftruncate(fd, 0) < 0);
    }
    return plain();
}

/* Where the lease's page is in this process. */
static struct fg_limits *mapped_limits(void)
{
    struct stat st;
    char line[600];
    unsigned long at, inode;
    FILE *maps = fopen("/proc/self/maps", "r");
    if (stat(lease_file(0), &st) != 0 || !maps)
        die("no maps");
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%*x %*s %*s %*s %lu", &at, &inode) == 2 && inode == st.st_ino) {
            fclose(maps);
            return (struct fg_limits *)at;
        }
    die("no page");
    return NULL;
}

static int unprotected(void)
{
    struct cuda cu = ours();
    begin(&cu);
    want_refused(mprotect(mapped_limits(), 4096, PROT_READ | PROT_WRITE) < 0);
    return say(fill(&cu, MOST));
}

static int own_memory(void)
{
    struct cuda cu = ours();
    begin(&cu);
    uint64_t quota = UINT64_C(4) << 30;
    int fd = open("/proc/self/mem", O_RDWR);
    ssize_t written = pwrite(fd, &quota, sizeof quota, (off_t)(uintptr_t)&mapped_limits()->memory_bytes);
    want_refused(written < 0);
    return say(fill(&cu, MOST));
}

/* A page of one's own in the place of the lease's. */
static int remapped(void)
{
    struct cuda cu = ours();
    begin(&cu);
    struct fg_limits *limits = mapped_limits(), copy = *limits;
    copy.memory_bytes = UINT64_C(4) << 30;
    if (mmap(limits, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        die("no page");
    *limits = copy;
    return say(fill(&cu, MOST));
}

/* The books are the program's to write: each chunk is struck from them. */
static int struck(void)
{
    struct cuda cu = ours();
    begin(&cu);
    int fd = open(lease_file(1), O_RDWR), got = 0;
    struct fg_counters *counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counters == MAP_FAILED)
        die("no page");
    for (int one = 1; one && got < MOST; got += one) {
        one = fill(&cu, 1);
        fg_put(&counters->total, fg_get(&counters->total) & ((UINT64_C(1) << 22) - 1));
        for (uint32_t i = 0; i < FG_SLOTS; i++)
            fg_put(&counters->slots[i].used, fg_get(&counters->slots[i].used) & ((UINT64_C(1) << 22) - 1));
    }
    return say(got);
}

static const struct { const char *name; int (*run)(void); } ways[] = {
    {"plain", plain}, {"lazy", lazy}, {"deepbind", deepbind}, {"global", global}, {"next", next}, {"versioned", versioned},
    {"unnumbered", unnumbered}, {"namespace", namespace}, {"namespaces", namespaces}, {"reopened", reopened},
    {"proc-address", proc_address}, {"proc-address-v2", proc_address_v2}, {"visible", visible}, {"threads", threads},
    {"fork-first", fork_first}, {"spawned", spawned}, {"orphan", orphan}, {"leaderless", leaderless},
    {"direct", direct}, {"direct-namespace", direct_namespace}, {"hidden", hidden}, {"leaderless-direct", leaderless_direct},
    {"risen", risen}, {"copied", copied}, {"from-memory", from_memory}, {"beside", beside}, {"link-map", link_map}, {"patched", patched},
    {"no-lease", no_lease}, {"cleared", cleared}, {"broken-lease", broken_lease}, {"own-lease", own_lease},
    {"written-limits", written_limits}, {"truncated", truncated}, {"unprotected", unprotected}, {"own-memory", own_memory},
    {"remapped", remapped}, {"struck", struck},
};

int main(int argc, char **argv)
{
    snprintf(real, sizeof real, "%s/libcuda.so.1", argc > 2 ? argv[2] : ".");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (argc > 2 && !strcmp(ways[i].name, argv[1]))
            return ways[i].run();
    die("usage: cuda_escape WAY FOLDER");
}
