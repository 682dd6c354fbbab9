/* submit.h - what run, submit and quote share. */
#pragma once
#include "cli/cli.h"

/* Build the spec, upload, submit. ret_task: the task as the server answered. */
int cli_submit(struct cli *cli, const struct cli_args *args, json_t **ret_task, struct fg_error *err);
/* Print what the task would be given and cost. */
int cli_quote(struct cli *cli, const struct cli_args *args, struct fg_error *err);
