/* pidfile.c - flock on up.pid; the number in it is for who wants to send a signal. */
#include "cli/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

int cli_pid_take(const char *data_dir, int *ret_fd, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(data_dir, "up.pid");
    FG_AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fg_fail(err, FG_E_IO, "open '%s': %m", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 1 : fg_fail(err, FG_E_IO, "lock '%s': %m", path);
    char text[16];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return fg_fail(err, FG_E_IO, "write '%s': %m", path);
    *ret_fd = fg_take_fd(fd);
    return 0;
}

pid_t cli_pid_holder(const char *data_dir)
{
    FG_AUTO_FREE char *path = fg_path_join(data_dir, "up.pid");
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[16] = "";
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 1 ? (pid_t)pid : 0;
}
