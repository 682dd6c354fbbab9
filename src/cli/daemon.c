/* daemon.c - fgpu serve and fgpu agent: the two daemons in the foreground. */
#include "cli/cli.h"

#include "agent/agent.h"
#include "base/log.h"
#include "control/serve.h"

static const struct cli_option options[] = {CLI_SETTING_OPTIONS, {NULL}};

static int run_with(struct cli *cli, const struct cli_args *args,
                    int (*daemon_main)(const struct fg_config *, struct fg_error *), const char *area,
                    struct fg_error *err)
{
    struct fg_config *config;
    if (cli_settings(cli, args, &config, err) < 0)
        return -1;
    int level = fg_log_level_by_name(fg_config_str(config, "log_level"));
    int rc = -1;
    if (level < 0)
        fg_fail(err, FG_E_INVALID, "log_level '%s' is none of error, warn, info, debug",
                fg_config_str(config, "log_level"));
    else {
        fg_log_setup(area, (enum fg_log_level)level);
        rc = daemon_main(config, err);
    }
    fg_config_destroy(config);
    return rc;
}

static int run_serve(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return run_with(cli, args, fg_serve_main, "serve", err);
}

static int run_agent(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    return run_with(cli, args, fg_agent_main, "agent", err);
}

const struct cli_verb cli_verb_serve = {
    "serve",
    "[options]",
    "run the server: API, queue, scheduler, ledger",
    "In the foreground, until SIGTERM. 'fgpu up' starts it together with an agent.",
    options,
    0,
    0,
    false,
    run_serve,
};
const struct cli_verb cli_verb_agent = {
    "agent",
    "[options]",
    "run this machine's agent: devices, slices, sandbox",
    "In the foreground, until SIGTERM; tasks that run go on and are found again by the next agent. Limits need root "
    "where cgroups do.",
    options,
    0,
    0,
    false,
    run_agent,
};
