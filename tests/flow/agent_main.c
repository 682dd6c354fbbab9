/* agent_main.c - the agent alone, for flow tests and debugging: fg-agent [--doctor] [key=value ...] */
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "base/log.h"

static int doctor(const struct fg_config *config, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    bool able = false;
    if (fg_agent_doctor(config, &out, &able, err) != 0)
        return -1;
    puts(fg_str_cstr(&out));
    return 0;
}

int main(int argc, char **argv)
{
    struct fg_config *config = NULL;
    struct fg_error err = {0};
    int first = argc > 1 && strcmp(argv[1], "--doctor") == 0 ? 2 : 1;
    fg_log_setup("agent", FG_LOG_INFO);
    int rc = fg_config_load(NULL, (const char *const *)argv + first, (size_t)(argc - first), &config, &err);
    if (rc == 0)
        rc = first == 2 ? doctor(config, &err) : fg_agent_main(config, &err);
    if (rc != 0)
        fg_log_error("%s%s%s", err.text, *err.hint ? "; " : "", err.hint);
    fg_config_destroy(config);
    return rc == 0 ? 0 : 1;
}
