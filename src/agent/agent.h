/* agent.h - the agent: one per machine. It offers the machine's devices to the server, runs attempts in sandboxes inside
 * vGPUs, and says what became of them. Its restart or death ends no task: each has a supervisor of its own, and the new
 * agent finds them again in DATA/agent/attempts. */
#pragma once
#include "base/config.h"
#include "base/error.h"
#include "base/str.h"

/* Run until SIGTERM or SIGINT; tasks go on running. -1 with *err when it cannot start (another agent has the folder, no device). */
int fg_agent_main(const struct fg_config *config, struct fg_error *err);

/* What this machine can enforce and why not more, as a JSON object appended to *out; tries the sandbox for real. Needs no
 * server and no running agent. *ret_able: a task could run here. */
int fg_agent_doctor(const struct fg_config *config, struct fg_str *out, bool *ret_able, struct fg_error *err);
