/* own_mounts.c - see own_mounts.h. open_tree(2), move_mount(2): Linux 5.2. */
#include "agent/own_mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Out of the root of the moment one can climb to the top of the mounts, whatever root it was before. */
static int climb(int root)
{
    if (fchdir(root) != 0 || chroot("/usr") != 0)
        return -1;
    for (int depth = 0; depth < 100; depth++)
        if (chdir("..") != 0)
            return -1;
    return 0;
}

/* From the top of the mounts: a copy of what is below root goes over it. */
static int cover(int root)
{
    int tree = open_tree(root, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC);
    int rc = tree < 0 || move_mount(tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) != 0 ? -1 : fchdir(tree);
    if (tree >= 0)
        close(tree);
    return rc;
}

const char *own_mounts(void)
{
    struct stat ours, top;
    int root = unshare(CLONE_NEWNS) == 0 ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (root < 0)
        return "mounts of its own";
    const char *step = NULL;
    if (climb(root) != 0 || fstat(root, &ours) != 0 || stat(".", &top) != 0)
        step = "look at the root";
    else if (mount(NULL, ".", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        step = "private mounts";
    else if ((ours.st_dev == top.st_dev && ours.st_ino == top.st_ino ? fchdir(root) : cover(root)) != 0 || chroot(".") != 0)
        step = "a root of its own";
    close(root);
    return step;
}
