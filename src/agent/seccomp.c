/* seccomp.c - the system calls no task may make. A list of what is refused, since tasks are arbitrary programs: what
 * reaches into other processes, the kernel's configuration, new mounts and new user namespaces (more kernel to attack),
 * and what would pass by this filter (io_uring). Refused calls that programs probe for say ENOSYS, so that the program
 * takes its other path; the rest say EPERM. */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/mem.h"

static const int not_allowed[] = {
    /* other processes */
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp),
    SCMP_SYS(process_madvise),
    /* kernel programs and memory */
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(lookup_dcookie), SCMP_SYS(uselib),
    /* keys are not in a namespace */
    SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
    /* mounts and namespaces */
    SCMP_SYS(mount), SCMP_SYS(umount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
    SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(unshare),
    SCMP_SYS(setns), SCMP_SYS(open_by_handle_at), SCMP_SYS(name_to_handle_at), SCMP_SYS(fanotify_init),
    /* the machine */
    SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex), SCMP_SYS(stime), SCMP_SYS(acct), SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd), SCMP_SYS(syslog), SCMP_SYS(vhangup),
    SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(nfsservctl), SCMP_SYS(modify_ldt), SCMP_SYS(_sysctl), SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname), SCMP_SYS(ustat), SCMP_SYS(sysfs), SCMP_SYS(vm86), SCMP_SYS(vm86old),
};
static const int not_there[] = {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
                                SCMP_SYS(clone3)};       /* its flags lie in memory and cannot be checked; libc falls back to clone */

static int fill(scmp_filter_ctx ctx)
{
    /* A call that this machine's processor does not have resolves to nothing: that is fine. */
    for (size_t i = 0; i < FG_COUNT(not_allowed); i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), not_allowed[i], 0) != 0 && not_allowed[i] >= 0)
            return -1;
    for (size_t i = 0; i < FG_COUNT(not_there); i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), not_there[i], 0) != 0 && not_there[i] >= 0)
            return -1;
    if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                         SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER)) != 0)
        return -1;
    /* Typing into the terminal of whoever started us. */
    if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCSTI)) != 0 ||
        seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCLINUX)) != 0)
        return -1;
    /* Network namespaces do not hold every family (vsock reaches the hypervisor): only these four are let through. */
    static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    for (unsigned family = 0, i = 0; family < AF_MAX + 16; family++) {
        if (i < FG_COUNT(families) && family == families[i]) {
            i++;
            continue;
        }
        if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family)) != 0)
            return -1;
    }
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_MAX + 15));
}

int sandbox_filter(struct fg_error *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int fd = memfd_create("fgpu-seccomp", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool ok = ctx && fd >= 0 && seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0 && fill(ctx) == 0 &&
              seccomp_export_bpf(ctx, fd) == 0 &&
              fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0;
    seccomp_release(ctx);
    if (ok)
        return fd;
    if (fd >= 0)
        close(fd);
    return fg_fail(err, FG_E_INTERNAL, "make the system call filter: %m");
}
