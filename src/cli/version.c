/* version.c - fgpu version. */
#include "cli/cli.h"

static const struct cli_option no_options[] = {{NULL}};

static int run_version(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return cli->json ? cli_put_line(err, "{\"version\":\"%s\"}", FGPU_VERSION)
                     : cli_put_line(err, "fgpu %s", FGPU_VERSION);
}

const struct cli_verb cli_verb_version = {"version", "",    "print the version", NULL, no_options, 0,
                                          0,         false, run_version};
