/* simulate.h - what the formats of fgpu simulate share. A format is a file simulate_NAME.c and a row in simulate.c. */
#pragma once
#include "cli/cli.h"

#define SIMULATE_FILE_MOST ((size_t)1 << 30)
#define SIMULATE_SEEDS_MOST 1000

struct simulate_format {
    const char *name;                    /* of --format */
    int (*run)(struct cli *cli, const struct cli_args *args, struct fg_error *err);
};
int simulate_openb(struct cli *cli, const struct cli_args *args, struct fg_error *err);
int simulate_shockwave(struct cli *cli, const struct cli_args *args, struct fg_error *err);
int simulate_gavel(struct cli *cli, const struct cli_args *args, struct fg_error *err);
int simulate_philly(struct cli *cli, const struct cli_args *args, struct fg_error *err);

/* --seeds FIRST..LAST, else --seed N, else fallback. */
int simulate_seeds(const struct cli_args *args, uint64_t fallback, uint64_t *ret_first, uint64_t *ret_count, struct fg_error *err);
/* The file that an option names, or an error that asks for the option. */
int simulate_file(const struct cli_args *args, const char *option, struct fg_str *out, struct fg_error *err);
/* Write the text to the option's file; nothing when it is not given. */
int simulate_write(const struct cli_args *args, const char *option, const struct fg_str *text, struct fg_error *err);
