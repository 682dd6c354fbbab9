/* sandbox.c - see sandbox.h. Options travel in a file (--args FD): an environment may hold secrets, and the command line
 * of a process can be read by all. */
#include "agent/sandbox.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

static void add(struct fg_str *out, const char *arg) { fg_str_add(out, arg, strlen(arg) + 1); }

static void add_all(struct fg_str *out, const char *const *args, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add(out, args[i]);
}

void sandbox_bind(struct fg_str *out, bool writable, const char *from, const char *to)
{
    add_all(out, (const char *const[]){writable ? "--bind" : "--ro-bind", from, to}, 3);
}

void sandbox_env(struct fg_str *out, const char *name, const char *value)
{
    add_all(out, (const char *const[]){"--setenv", name, value}, 3);
}

/* A system folder as it is here: a link stays a link, a folder is bound, a missing one is left out. */
static bool system_folder(struct fg_str *out, const char *path)
{
    struct stat st;
    char target[PATH_MAX];
    if (lstat(path, &st) != 0)
        return false;
    if (S_ISDIR(st.st_mode)) {
        sandbox_bind(out, false, path, path);
        return true;
    }
    ssize_t n = S_ISLNK(st.st_mode) ? readlink(path, target, sizeof target - 1) : -1;
    if (n > 0) {
        target[n] = '\0';
        add_all(out, (const char *const[]){"--symlink", target, path}, 3);
    }
    return false;
}

void sandbox_base(struct fg_str *out, const char *const *hide, size_t n)
{
    static const char *const first[] = {
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--hostname", "fgpu", "--clearenv"};
    static const char *const folders[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt"};
    static const char *const rest[] = {"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/var/tmp",
                                       "--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"};
    add_all(out, first, FG_COUNT(first));
    for (size_t i = 0; i < FG_COUNT(folders); i++) {
        if (!system_folder(out, folders[i]))
            continue;
        size_t len = strlen(folders[i]);
        for (size_t j = 0; j < n; j++)
            if (hide[j] && strncmp(hide[j], folders[i], len) == 0 && hide[j][len] == '/' && access(hide[j], F_OK) == 0)
                add_all(out, (const char *const[]){"--tmpfs", hide[j]}, 2);
    }
    add_all(out, rest, FG_COUNT(rest));
}
