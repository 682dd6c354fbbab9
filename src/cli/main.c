/* main.c - fgpu VERB: find the verb, parse its options, run it, turn its error into text and exit status. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/api.h"
#include "cli/cli.h"

static void set_globals(struct cli *cli, const struct cli_args *args)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    cli->args = args;
    cli->json = cli_flag(args, "json");
    cli->quiet = cli_flag(args, "quiet");
    cli->config_file = cli_text(args, "config");
    cli->color =
        isatty(STDOUT_FILENO) && !cli_flag(args, "no-color") && !(no_color && *no_color) && !fg_streq(term, "dumb");
}

static int check_names(const struct cli_verb *verb, const struct cli_args *args, struct fg_error *err)
{
    int n = (int)args->names.count;
    if (args->dashes && !verb->command)
        fg_fail(err, FG_E_INVALID, "'fgpu %s' takes no '--'", verb->name);
    else if (n < verb->min)
        fg_fail(err, FG_E_INVALID, "'fgpu %s' needs more: fgpu %s %.*s", verb->name, verb->name,
                (int)strcspn(verb->usage, "\n"), verb->usage);
    else if (verb->max >= 0 && n > verb->max)
        fg_fail(err, FG_E_INVALID, "'fgpu %s' does not know what to do with '%s'", verb->name,
                args->names.items[verb->max]);
    else
        return 0;
    return fg_fail_hint(err, "'fgpu help %s' explains it.", verb->name);
}

static int run_verb(const struct cli_verb *verb, char **argv, struct fg_error *err)
{
    struct cli cli = {0};
    struct cli_args args;
    int rc = cli_parse(verb->options, argv, &args, err);
    if (rc == 0) {
        set_globals(&cli, &args);
        if (cli_flag(&args, "help")) {
            FG_AUTO_STR struct fg_str out = {0};
            cli_help_verb(verb, &out);
            rc = cli_put(&out, err);
        } else if ((rc = check_names(verb, &args, err)) == 0) {
            rc = verb->run(&cli, &args, err);
        }
    }
    cli_api_destroy(cli.api);
    cli_args_fini(&args);
    return rc;
}

int main(int argc, char **argv)
{
    struct fg_error err = {0};
    FG_AUTO_STR struct fg_str out = {0};
    size_t used;
    signal(SIGPIPE, SIG_IGN); /* a broken pipe is an error of write, which cli_put treats */
    if (argc < 2 || fg_streq(argv[1], "--help") || fg_streq(argv[1], "-h")) {
        cli_help_all(&out);
        fg_write_all(argc < 2 ? STDERR_FILENO : STDOUT_FILENO, out.data, out.len);
        return argc < 2 ? 2 : 0;
    }
    if (fg_streq(argv[1], "--version"))
        argv[1] = "version";
    const struct cli_verb *verb = cli_verb_find(argv + 1, &used, &err);
    int rc = verb ? run_verb(verb, argv + 1 + used, &err) : -1;
    if (rc >= 0)
        return rc;
    cli_print_error(&err);
    return fg_error_info(err.code)->exit_code;
}
