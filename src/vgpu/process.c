/* process.c - which process is behind a slot: by pid and start time here, by namespace and inner pid for a sandbox. */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "vgpu/server_private.h"

/* Up to size - 1 bytes of /proc/PID/name, NUL-ended. Returns the length, or -1. */
static ssize_t slurp(int32_t pid, const char *name, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, buf, size - 1);
    close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n;
}

/* When it began, boot clock, down to a clock tick: field 22 of /proc/PID/stat. Or 0. */
static uint64_t start_ns(int32_t pid)
{
    char buf[1024];
    if (slurp(pid, "stat", buf, sizeof buf) <= 0)
        return 0;
    char *at = strrchr(buf, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) * (1000000000 / FG_TICKS) : 0;
}

/* kind: pid, time */
static uint64_t ns_of(const char *pid, const char *kind)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kind);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

uint64_t fg_process_own_ns(void) { return ns_of("self", "pid"); }

/* Did the process begin after the slot was taken? Where its boot clock may not be ours, it did not. */
static int began_later(const struct fg_slot *slot, int32_t pid)
{
    char text[16];
    snprintf(text, sizeof text, "%d", pid);
    return start_ns(pid) > fg_get(&slot->attached_ns) && ns_of(text, "time") == ns_of("self", "time");
}

/* The pid the process has in its own namespace: the last number of NSpid. */
static int32_t inner_pid(int32_t pid)
{
    char buf[2048];
    if (slurp(pid, "status", buf, sizeof buf) <= 0)
        return 0;
    char *at = strstr(buf, "\nNSpid:"), *end = at ? strchr(at + 1, '\n') : NULL;
    if (!end)
        return 0;
    *end = 0;
    char *last = strrchr(at, '\t');
    return last ? (int32_t)strtol(last, NULL, 10) : 0;
}

/* Our pid of the process known as inner in the namespace ns. 0: there is none; -1: there may be one that we cannot see. */
static int32_t outer_pid(uint64_t ns, int32_t inner)
{
    DIR *proc = opendir("/proc");
    int32_t found = proc ? 0 : -1;
    for (struct dirent *entry; proc && found <= 0 && (entry = readdir(proc));) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        errno = 0;
        uint64_t its = ns_of(entry->d_name, "pid");
        int32_t pid = (int32_t)strtol(entry->d_name, NULL, 10);
        if (its == ns && inner_pid(pid) == inner)
            found = pid;
        else if (!its && (errno == EACCES || errno == EPERM))
            found = -1;
    }
    if (proc)
        closedir(proc);
    return found;
}

enum found fg_process_find(const struct fg_slot *slot, uint64_t owner, uint64_t our_ns, int *ret_pidfd, int32_t *ret_pid)
{
    uint64_t ns = fg_get(&slot->pid_ns);
    int32_t pid = fg_owner_pid(owner);
    if (!ns)
        return FOUND_UNSEEN;
    if (ns != our_ns && (pid = outer_pid(ns, pid)) <= 0)
        return pid == 0 ? FOUND_DEAD : FOUND_UNSEEN;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH || errno == EINVAL ? FOUND_DEAD : FOUND_UNSEEN;
    if (began_later(slot, pid)) { /* the pid is another's by now, or nobody's */
        close(fd);
        return FOUND_DEAD;
    }
    *ret_pidfd = fd;
    *ret_pid = pid;
    return FOUND;
}

int fg_process_replaced(const struct fg_slot *slot, int32_t pid)
{
    Elf64_auxv_t aux[64];
    ssize_t n = slurp(pid, "auxv", (char *)aux, sizeof aux);
    uint64_t random = 0, vdso = 0;
    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof *aux; i++) {
        if (aux[i].a_type == AT_RANDOM)
            random = aux[i].a_un.a_val;
        if (aux[i].a_type == AT_SYSINFO_EHDR)
            vdso = aux[i].a_un.a_val;
    }
    return random && (random ^ vdso * 0x9e3779b97f4a7c15u) != fg_get(&slot->image);
}
