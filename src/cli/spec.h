/* spec.h - a task spec (api/task.toml) out of the options of run, submit and quote. Checked by the server; here only local
 * paths become blobs. */
#pragma once
#include "cli/cli.h"

extern const struct cli_option cli_spec_options[];
#define CLI_SPEC_TEXT                                                                                                         \
    "With a model, FILE is uploaded as its input. With '--', the command runs in a copy of the current folder: it is "         \
    "uploaded as it is now (less what .fgpuignore names) when it has at most 1000 files and 100 MiB and is not your home. "    \
    "Else a command that names nothing of it starts in an empty folder, and one that does is refused. --workdir names a "      \
    "folder of any size, --no-workdir asks for an empty one. Nothing is sent that the server has already."
/* ret_spec: a new reference. Uploads what it names. */
int cli_spec(struct cli *cli, const struct cli_args *args, json_t **ret_spec, struct fg_error *err);
