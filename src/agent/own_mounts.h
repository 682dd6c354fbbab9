/* own_mounts.h - mounts of this process's own, with its root on top. libc only: the supervisor has it, too. */
#pragma once

/* Unshare the mounts, make them private, and put this process's root over theirs if it is in a chroot: the kernel makes no
 * user namespace for a chrooted process (user_namespaces(7), EPERM of CLONE_NEWUSER), and the sandbox is one. What is below the
 * root stays the same. Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT. Leaves the working folder at the root.
 * NULL, or the step that failed, with errno. */
const char *own_mounts(void);
