/* settings.c - where the agent's things are and who its tasks run as. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "base/io.h"
#include "base/json.h"

/* Users that nobody else hands out: containers' tools end below it, and half of the 32-bit range begins above. */
#define UID_FIRST UINT32_C(0x70000000)
#define UID_PER_AGENT 4096

static char *or_default(const struct fg_config *config, const char *key, char *fallback)
{
    const char *set = fg_config_str(config, key);
    if (!set || !*set)
        return fallback;
    free(fallback);
    return fg_strdup(set);
}

static char *data_folder(const struct fg_config *config)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    char *fallback = xdg && *xdg == '/' ? fg_path_join(xdg, "fastgpu")
                                        : fg_asprintf("%s/.local/share/fastgpu", home && *home ? home : "");
    char *data = or_default(config, "data_dir", fallback);
    char *real = realpath(data, NULL);           /* the sandbox binds it: a link on the way would be followed there */
    if (!real)
        return data;
    free(data);
    return real;
}

/* The first folder that has the workers: the setting, beside the program, its share folder, above its build folder. */
static char *models_folder(const struct fg_config *config)
{
    static const char *const below[] = {"models", "../share/fastgpu/models", "../models", "../../../models"};
    const char *set = fg_config_str(config, "models_dir");
    if (set && *set) {
        char *real = realpath(set, NULL);
        return real ? real : fg_strdup(set);
    }
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    for (size_t i = 0; i < FG_COUNT(below); i++) {
        FG_AUTO_FREE char *path = fg_asprintf("%s/%s/worker.py", exe, below[i]);
        if (access(path, R_OK) != 0)
            continue;
        *strrchr(path, '/') = '\0';
        return realpath(path, NULL);
    }
    return NULL;
}

/* Where the front ends lie, seen from the folder of this program: in the build tree, beside it, in an installation. */
#define INSTALLED "../" FGPU_LIBDIR "/fastgpu"
static char *shims_folder(void)
{
    static const char *const places[] = {"../shim", "../../src/shim", ".", (INSTALLED), "../lib/fastgpu"};
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    for (size_t i = 0; i < FG_COUNT(places); i++) {
        FG_AUTO_FREE char *path = fg_asprintf("%s/%s/libfgpu_opencl.so", exe, places[i]);
        char *real = realpath(path, NULL);
        if (!real)
            continue;
        *strrchr(real, '/') = '\0';
        return real;
    }
    return NULL;
}

static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    FG_AUTO_FREE char *copy = fg_asprintf("%s:/usr/bin:/bin:/usr/local/bin", path ? path : "");
    char *save = NULL;
    for (char *dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        char *full = fg_path_join(dir, name);
        if (*dir == '/' && access(full, X_OK) == 0)
            return full;
        free(full);
    }
    return NULL;
}

/* The highest user this namespace has, and whether a range of our own fits below it. In a container that maps only some
 * users the top of its range is taken. */
static uint32_t first_uid(uint32_t salt)
{
    FG_AUTO_STR struct fg_str map = {0};
    fg_read_file("/proc/self/uid_map", 65536, &map, NULL);
    uint64_t top = 0, wanted = UID_FIRST + (uint64_t)(salt % 65536) * UID_PER_AGENT;
    for (const char *line = fg_str_cstr(&map); line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        unsigned long long inside, outside, count;
        if (sscanf(line, "%llu %llu %llu", &inside, &outside, &count) != 3)
            continue;
        if (inside <= wanted && wanted + UID_PER_AGENT <= inside + count)
            return (uint32_t)wanted;
        top = FG_MAX(top, inside + count);
    }
    return top > UID_PER_AGENT + 1000 ? (uint32_t)(top - 1 - UID_PER_AGENT) : 65534;
}

/* This machine's id, made once. */
static int load_node(struct settings *s, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(s->root, "node.json");
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 4096, &text, err) == 0) {
        FG_AUTO_JSON json_t *doc = fg_json_parse(text.data, text.len, err);
        if (!doc || !fg_id_parse(fg_json_str(doc, "id", ""), "nod", &s->node))
            return fg_fail(err, FG_E_MALFORMED, "'%s' does not hold this machine's id", path);
        return 0;
    }
    if (err->code != FG_E_NOT_FOUND)
        return -1;
    struct fg_clock clock;
    char id[FG_ID_TEXT];
    fg_clock_init_real(&clock);
    s->node = fg_id_new(&(struct fg_id_gen){0}, fg_now(&clock));
    FG_AUTO_FREE char *json = fg_asprintf("{\"id\":\"%s\"}\n", fg_id_format(id, "nod", s->node));
    return fg_write_file_atomic(path, json, strlen(json), 0600, err);
}

int settings_init(struct settings *s, const struct fg_config *config, bool make, struct fg_error *err)
{
    *s = (struct settings){.data = data_folder(config), .config_folder = fg_config_folder()};
    s->root = fg_path_join(s->data, "agent");
    s->attempts = fg_path_join(s->root, "attempts");
    s->cache = fg_path_join(s->root, "cache");
    s->socket = or_default(config, "agent_socket", fg_path_join(s->data, "agent.sock"));
    s->python = or_default(config, "worker_python", fg_path_join(s->data, "venv/bin/python3"));
    s->models = models_folder(config);
    s->shims = shims_folder();
    s->bwrap = find_program("bwrap");
    s->memory_reserve_bytes = (uint64_t)fg_config_int(config, "memory_reserve_bytes");
    s->log_limit_bytes = (uint64_t)fg_config_int(config, "log_limit_bytes");
    s->heartbeat_s = fg_config_int(config, "heartbeat_s");
    s->device_check_s = fg_config_int(config, "device_check_s");
    s->lease_s = fg_config_int(config, "lease_s");
    s->offline = fg_config_int(config, "offline") != 0;
    s->cgroup_root = fg_config_str(config, "cgroup_root");
    s->opencl = fg_config_str(config, "opencl");
    const char *when = fg_config_str(config, "reclaim.when");
    s->reclaim_idle_s = fg_config_int(config, "reclaim.idle_s");
    s->reclaim_always = fg_streq(when, "always");
    s->reclaim_move = fg_config_int(config, "reclaim.move") > 0;
    s->reclaim_move_running = fg_config_int(config, "reclaim.move") > 1;
    if (!s->reclaim_always && !fg_streq(when, "wanted"))
        return fg_fail(err, FG_E_INVALID, "reclaim.when is 'wanted' or 'always', not '%s'", when);
    s->own_users = geteuid() == 0;
    gethostname(s->host, sizeof s->host - 1);

    FG_AUTO_STR struct fg_str boot = {0};
    fg_read_file("/proc/sys/kernel/random/boot_id", 256, &boot, NULL);
    snprintf(s->boot_id, sizeof s->boot_id, "%.*s", (int)strcspn(fg_str_cstr(&boot), "\n"), fg_str_cstr(&boot));
    if (make && (fg_mkdir_p(s->root, 0700, err) != 0 || fg_mkdir_p(s->attempts, 0700, err) != 0 ||
                 fg_mkdir_p(s->cache, 0700, err) != 0 || load_node(s, err) != 0))
        return -1;
    char id[FG_ID_TEXT];
    if (make)
        snprintf(s->scope, sizeof s->scope, "%s", fg_id_format(id, "nod", s->node) + 4 + 14);    /* its random end */
    else
        snprintf(s->scope, sizeof s->scope, "doctor-%d", (int)getpid());
    s->first_uid = first_uid((uint32_t)fg_id_hash(s->node));
    return 0;
}

void settings_fini(struct settings *s)
{
    free(s->data);
    free(s->root);
    free(s->attempts);
    free(s->cache);
    free(s->socket);
    free(s->models);
    free(s->shims);
    free(s->python);
    free(s->bwrap);
    free(s->config_folder);
    *s = (struct settings){0};
}
