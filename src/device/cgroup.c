/* cgroup.c - see cgroup.h. Control files are written with one write call and never created. */
#include "device/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

static const char *const controller_names[FG_CG_COUNT] = {"memory", "cpu", "cpuacct", "pids", "freezer"};

/* Bits of our controllers among words separated by any of seps. */
static unsigned controllers_in(const char *words, const char *seps)
{
    unsigned bits = 0;
    FG_AUTO_FREE char *copy = fg_strdup(words);
    char *save = NULL;
    for (char *w = strtok_r(copy, seps, &save); w; w = strtok_r(NULL, seps, &save))
        for (unsigned c = 0; c < FG_CG_COUNT; c++)
            if (strcmp(w, controller_names[c]) == 0)
                bits |= 1u << c;
    return bits;
}

/* Undo the \ooo of /proc/self/mountinfo in place. */
static char *unescape(char *s)
{
    char *out = s;
    for (char *in = s; *in; out++) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] && in[3]) {
            *out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
    return s;
}

/* Own path in the hierarchy of tree: the line "N:controllers:PATH", or "0::PATH" for v2. */
static char *own_path(const char *self_cgroup, const struct fg_cgroup_tree *tree)
{
    FG_AUTO_FREE char *copy = fg_strdup(self_cgroup);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        list++;
        if (tree->version == 2 ? !*list : (controllers_in(list, ",") & tree->controllers) != 0)
            return fg_strdup(path);
    }
    return fg_strdup("/");
}

static bool beneath(const char *path, const char *under)
{
    size_t n = strlen(under);
    while (n > 1 && under[n - 1] == '/')
        n--;
    return strncmp(path, under, n) == 0 && (path[n] == '\0' || path[n] == '/' || n == 1);
}

/* One line: ID PARENT DEV ROOT POINT OPTIONS [FIELDS] - FSTYPE SOURCE SUPEROPTIONS */
static void parse_mount(char *line, const char *self_cgroup, const char *under, struct fg_cgroups *ret)
{
    char *dash = strstr(line, " - ");
    if (!dash || ret->count == FG_CG_TREES)
        return;
    *dash = '\0';
    char *save = NULL, *word[5] = {0};
    for (size_t i = 0; i < 5; i++)
        word[i] = strtok_r(i ? NULL : line, " ", &save);
    char *fstype = strtok_r(dash + 3, " ", &save), *super = strtok_r(NULL, " ", &save);
    super = super ? strtok_r(NULL, " ", &save) : NULL;
    if (!word[4] || !fstype || !super || strncmp(fstype, "cgroup", 6) != 0 || (under && !beneath(unescape(word[4]), under)))
        return;
    struct fg_cgroup_tree tree = {.version = strcmp(fstype, "cgroup2") == 0 ? 2 : 1};
    if (tree.version == 1 && !(tree.controllers = controllers_in(super, ",")))
        return;
    for (size_t i = 0; i < ret->count; i++)         /* a hierarchy mounted twice counts once */
        if (ret->trees[i].version == tree.version && ret->trees[i].controllers == tree.controllers)
            return;
    tree.mount = fg_strdup(unescape(word[4]));
    tree.root = fg_strdup(unescape(word[3]));
    tree.own = own_path(self_cgroup, &tree);
    ret->trees[ret->count++] = tree;
}

void fg_cgroups_parse(const char *mountinfo, const char *self_cgroup, const char *under, struct fg_cgroups *ret)
{
    *ret = (struct fg_cgroups){0};
    FG_AUTO_FREE char *copy = fg_strdup(mountinfo);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        parse_mount(line, self_cgroup, under, ret);
}

static bool writable(const char *folder, const char *file)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, file);
    return access(path, W_OK) == 0;
}

/* The folder to build in. Root builds at the top of the hierarchy, so that a task does not share the limits of whoever
 * started the agent; an ordinary user builds where it is, when that was delegated to it. */
static bool choose_base(struct fg_cgroup_tree *tree)
{
    if (writable(tree->mount, "cgroup.procs") && writable(tree->mount, ".")) {
        tree->base = fg_strdup(tree->mount);
        return true;
    }
    const char *own = tree->own;
    if (strcmp(tree->root, "/") != 0 && beneath(own, tree->root))
        own += strlen(tree->root);
    tree->base = fg_path_join(tree->mount, own);
    return writable(tree->base, "cgroup.procs") && writable(tree->base, ".");
}

/* Hand one v2 controller down to the children of folder. */
static int hand_down(const char *folder, const char *controller)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, "cgroup.subtree_control");
    char text[40];
    snprintf(text, sizeof text, "+%s", controller);
    return fg_write_existing(path, text, NULL);
}

/* v2 lets a folder hand down controllers only when no process is in it: this one steps aside into a child. */
static void step_aside(const struct fg_cgroup_tree *tree, const char *scope)
{
    FG_AUTO_FREE char *leaf = fg_asprintf("%s/fgpu-agent-%s", tree->base, scope);
    FG_AUTO_FREE char *procs = fg_path_join(leaf, "cgroup.procs");
    if (mkdir(leaf, 0755) == 0 || errno == EEXIST)
        fg_write_existing(procs, "0", NULL);
}

static void enable_v2(struct fg_cgroup_tree *tree, const char *scope, unsigned wanted)
{
    FG_AUTO_FREE char *list = fg_path_join(tree->base, "cgroup.controllers");
    FG_AUTO_STR struct fg_str have = {0};
    if (fg_read_file(list, 65536, &have, NULL) != 0)
        return;
    unsigned offered = controllers_in(fg_str_cstr(&have), " \n") & wanted;
    for (unsigned c = 0; c < FG_CG_COUNT; c++) {
        if (!(offered & 1u << c))
            continue;
        if (hand_down(tree->base, controller_names[c]) != 0) {
            step_aside(tree, scope);
            if (hand_down(tree->base, controller_names[c]) != 0)
                continue;
        }
        if (hand_down(tree->group, controller_names[c]) == 0)
            tree->controllers |= 1u << c;
    }
    /* CPU time is counted in every v2 folder, and every one can be frozen. */
    tree->controllers |= wanted & (1u << FG_CG_CPUACCT | 1u << FG_CG_FREEZER);
}

static void tree_fini(struct fg_cgroup_tree *tree)
{
    free(tree->mount);
    free(tree->base);
    free(tree->group);
    free(tree->own);
    free(tree->root);
    *tree = (struct fg_cgroup_tree){0};
}

/* Moving a process between cgroups waits for an RCU grace period, 5 to 14 ms on an idle machine, unless the v2 mount
 * has favordynmods (then 0.15 ms). It is a property of the machine's mount; the other options are kept. */
static void favor_moves(const struct fg_cgroup_tree *v2, const char *mountinfo)
{
    static const char *const keep[] = {"nsdelegate", "memory_localevents", "memory_recursiveprot", "memory_hugetlb_accounting",
                                       "pids_localevents"};
    char options[200] = "favordynmods";
    FG_AUTO_FREE char *head = fg_asprintf(" %s ", v2->mount);
    const char *line = strstr(mountinfo, head), *end = line ? strchrnul(line, '\n') : NULL;
    if (!line || geteuid() != 0 || memmem(line, (size_t)(end - line), "favordynmods", 12))
        return;
    for (size_t i = 0; i < FG_COUNT(keep); i++)
        if (memmem(line, (size_t)(end - line), keep[i], strlen(keep[i])))
            snprintf(options + strlen(options), sizeof options - strlen(options), ",%s", keep[i]);
    if (memmem(line, (size_t)(strstr(line, " - ") ? strstr(line, " - ") - line : 0), "ro,", 3))
        return;
    unsigned long flags = MS_REMOUNT | MS_RELATIME;
    flags |= memmem(line, (size_t)(end - line), "nosuid", 6) ? MS_NOSUID : 0;
    flags |= memmem(line, (size_t)(end - line), "nodev", 5) ? MS_NODEV : 0;
    flags |= memmem(line, (size_t)(end - line), "noexec", 6) ? MS_NOEXEC : 0;
    if (mount("none", v2->mount, "cgroup2", flags, options) != 0)
        fg_log_debug("cgroup2 at %s stays without favordynmods: %m; starts after a pause take some 10 ms longer", v2->mount);
}

static char *source_text(const char *given, const char *path)
{
    struct fg_str text = {0};
    if (given)
        return fg_strdup(given);
    fg_read_file(path, 1 << 20, &text, NULL);
    return fg_str_take(&text);
}

static void choose(struct fg_cgroups *cg)
{
    for (size_t i = 0; i < cg->count; i++) {
        struct fg_cgroup_tree *tree = &cg->trees[i];
        if (tree->version == 2)
            cg->v2 = tree;
        for (unsigned c = 0; c < FG_CG_COUNT; c++)
            if ((tree->controllers & 1u << c) && !cg->of[c])
                cg->of[c] = tree;
    }
}

/* Every v2 folder can be frozen: a v1 hierarchy that only freezes is one folder less to make for each task. */
static void drop_v1_freezer(struct fg_cgroups *cg)
{
    size_t v2 = 0, only = cg->count;
    for (size_t i = 0; i < cg->count; i++) {
        v2 += cg->trees[i].version == 2;
        only = cg->trees[i].controllers == 1u << FG_CG_FREEZER ? i : only;
    }
    if (!v2 || only == cg->count)
        return;
    tree_fini(&cg->trees[only]);
    cg->trees[only] = cg->trees[--cg->count];
    cg->trees[cg->count] = (struct fg_cgroup_tree){0};
}

void fg_cgroups_open(const struct fg_cgroup_source *source, const char *scope, struct fg_cgroups *ret)
{
    FG_AUTO_FREE char *mountinfo = source_text(source->mountinfo, "/proc/self/mountinfo");
    FG_AUTO_FREE char *self = source_text(source->self_cgroup, "/proc/self/cgroup");
    fg_cgroups_parse(mountinfo, self, source->under, ret);
    unsigned by_v1 = 0;
    char denied[120] = "";
    drop_v1_freezer(ret);
    for (size_t i = 0; i < ret->count; i++)
        by_v1 |= ret->trees[i].controllers;
    size_t kept = 0;
    for (size_t i = 0; i < ret->count; i++) {
        struct fg_cgroup_tree tree = ret->trees[i];
        bool ok = choose_base(&tree);
        tree.group = ok ? fg_asprintf("%s/fgpu-%s", tree.base, scope) : NULL;
        if (ok && mkdir(tree.group, 0755) != 0 && errno != EEXIST)
            ok = false;
        if (!ok) {
            snprintf(denied, sizeof denied, "%s is not ours to write", tree.base);
            tree_fini(&tree);
            continue;
        }
        if (tree.version == 2)
            enable_v2(&tree, scope, ~by_v1);
        if (tree.version == 2 && !source->mountinfo)
            favor_moves(&tree, mountinfo);
        ret->trees[kept++] = tree;
    }
    for (size_t i = kept; i < ret->count; i++)
        ret->trees[i] = (struct fg_cgroup_tree){0};
    bool any = ret->count > 0;
    ret->count = kept;
    choose(ret);
    if (!ret->of[FG_CG_MEMORY] || !ret->of[FG_CG_CPU])
        snprintf(ret->why, sizeof ret->why, "no cgroup for %s%s%s: %s", ret->of[FG_CG_MEMORY] ? "" : "memory",
                 !ret->of[FG_CG_MEMORY] && !ret->of[FG_CG_CPU] ? " and " : "", ret->of[FG_CG_CPU] ? "" : "cpu",
                 *denied ? denied : any ? "the controller is not offered" : "no cgroup hierarchy is mounted");
}

void fg_cgroups_close(struct fg_cgroups *cg)
{
    for (size_t i = 0; i < cg->count; i++) {
        if (cg->trees[i].group)
            rmdir(cg->trees[i].group);
        tree_fini(&cg->trees[i]);
    }
    *cg = (struct fg_cgroups){0};
}

char *fg_cgroup_path(const struct fg_cgroup_tree *tree, const char *name, const char *file)
{
    return fg_asprintf("%s/%s%s%s", tree->group, name, file ? "/" : "", file ? file : "");
}

int fg_cgroups_make(const struct fg_cgroups *cg, const char *name, struct fg_error *err)
{
    for (size_t i = 0; i < cg->count; i++) {
        FG_AUTO_FREE char *path = fg_cgroup_path(&cg->trees[i], name, NULL);
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return fg_fail(err, FG_E_IO, "make cgroup '%s': %m", path);
    }
    return 0;
}

int fg_cgroups_remove(const struct fg_cgroups *cg, const char *name, struct fg_error *err)
{
    for (size_t i = 0; i < cg->count; i++) {
        FG_AUTO_FREE char *path = fg_cgroup_path(&cg->trees[i], name, NULL);
        if (rmdir(path) == 0 || errno == ENOENT)
            continue;
        return fg_fail(err, errno == EBUSY ? FG_E_CONFLICT : FG_E_IO, "remove cgroup '%s': %m", path);
    }
    return 0;
}

/* SIGKILL to every pid that cgroup.procs lists; returns how many there were, -1 when it cannot be read. */
static int kill_listed(const struct fg_cgroup_tree *tree, const char *name)
{
    FG_AUTO_FREE char *path = fg_cgroup_path(tree, name, "cgroup.procs");
    FG_AUTO_STR struct fg_str list = {0};
    if (fg_read_file(path, 1 << 20, &list, NULL) != 0)
        return -1;
    int found = 0;
    char *save = NULL;
    for (char *w = list.len ? strtok_r(list.data, "\n", &save) : NULL; w; w = strtok_r(NULL, "\n", &save), found++)
        kill((pid_t)strtol(w, NULL, 10), SIGKILL);
    return found;
}

int fg_cgroups_kill(const struct fg_cgroups *cg, const char *name, struct fg_error *err)
{
    if (!cg->count)
        return 0;
    if (cg->v2) {
        FG_AUTO_FREE char *path = fg_cgroup_path(cg->v2, name, "cgroup.kill");
        if (fg_write_existing(path, "1", NULL) == 0)
            return 0;
    }
    /* A fork bomb may outrun one pass over the list; pids.max bounds it, so the passes end. */
    for (int pass = 0; pass < 100; pass++) {
        if (kill_listed(&cg->trees[0], name) <= 0)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return fg_fail(err, FG_E_CONFLICT, "processes of '%s' do not go away", name);
}

bool fg_cgroup_read(const struct fg_cgroup_tree *tree, const char *name, const char *file, const char *key, uint64_t *ret)
{
    if (!tree)
        return false;
    FG_AUTO_FREE char *path = fg_cgroup_path(tree, name, file);
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 65536, &text, NULL) != 0 || !text.len)
        return false;
    const char *at = text.data;
    size_t n = key ? strlen(key) : 0;
    while (key && at && !(strncmp(at, key, n) == 0 && at[n] == ' ')) {
        at = strchr(at, '\n');
        at = at && at[1] ? at + 1 : NULL;
    }
    char *end = NULL;
    unsigned long long value = at ? strtoull(at + (key ? n + 1 : 0), &end, 10) : 0;
    if (!at || end == at + (key ? n + 1 : 0))
        return false;
    *ret = value;
    return true;
}
