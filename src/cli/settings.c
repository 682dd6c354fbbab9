/* settings.c - the settings of verbs that start or check the system, with their flags on top. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* A path given on the command line is meant from the current folder; the daemons may have another. */
static char *absolute(const char *path)
{
    FG_AUTO_FREE char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    return here ? fg_path_join(here, path) : fg_strdup(path);
}

int cli_flags(const struct cli_args *args, struct cli_flags *ret, struct fg_error *err)
{
    const char *listen = cli_text(args, "listen"), *dir = cli_text(args, "data-dir"), *pair;
    size_t at = 0;
    *ret = (struct cli_flags){0};
    while ((pair = cli_each(args, "set", &at))) {
        if (!strchr(pair, '=')) {
            cli_flags_fini(ret);
            fg_fail(err, FG_E_INVALID, "--set: '%s' is not KEY=VALUE", pair);
            return fg_fail_at(err, "--set");
        }
        fg_vec_push(&ret->items, fg_strdup(pair));
    }
    if (listen)
        fg_vec_push(&ret->items, fg_asprintf("listen=%s", listen));
    if (dir) {
        FG_AUTO_FREE char *full = absolute(dir);
        fg_vec_push(&ret->items, fg_asprintf("data_dir=%s", full));
    }
    return 0;
}

void cli_flags_fini(struct cli_flags *flags)
{
    for (size_t i = 0; i < flags->items.count; i++)
        free(flags->items.items[i]);
    fg_vec_fini(&flags->items);
}

int cli_settings(const struct cli *cli, const struct cli_args *args, struct fg_config **ret, struct fg_error *err)
{
    struct cli_flags flags;
    if (cli_flags(args, &flags, err) < 0)
        return -1;
    int rc = fg_config_load(cli->config_file, (const char *const *)flags.items.items, flags.items.count, ret, err);
    cli_flags_fini(&flags);
    return rc;
}

char *cli_data_dir(const struct fg_config *config)
{
    const char *set = fg_config_str(config, "data_dir"), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (*set)
        return absolute(set);
    if (xdg && *xdg == '/')
        return fg_path_join(xdg, "fastgpu");
    return fg_path_join(home && *home ? home : "/root", ".local/share/fastgpu");
}
