/* serve_main.c - the server alone, for the flow tests: fg-serve KEY=VALUE..., settings as in api/config.toml. */
#include <stdio.h>
#include "base/config.h"
#include "base/log.h"
#include "control/serve.h"

int main(int argc, char **argv)
{
    struct fg_config *config;
    struct fg_error err;
    if (fg_config_load(NULL, (const char *const *)argv + 1, (size_t)(argc - 1), &config, &err)) {
        fprintf(stderr, "fg-serve: %s\n", err.text);
        return 2;
    }
    fg_log_setup("serve", (enum fg_log_level)fg_log_level_by_name(fg_config_str(config, "log_level")));
    int rc = fg_serve_main(config, &err);
    if (rc)
        fprintf(stderr, "fg-serve: %s%s%s\n", err.text, *err.hint ? "\nhint: " : "", err.hint);
    fg_config_destroy(config);
    return rc ? 1 : 0;
}
