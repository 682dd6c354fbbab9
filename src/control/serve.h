/* serve.h - `fgpu serve`: the API, the queue, the scheduler and the ledger in one process; ARCHITECTURE.md shows its turn. */
#pragma once
#include "base/config.h"
#include "base/error.h"

/* Runs until SIGTERM or SIGINT; DATA/server.json (url, pid) is there while it is ready. 0, or -1 with *err when it could
 * not start: another server has the data folder, the port is taken, the store cannot be read. */
int fg_serve_main(const struct fg_config *config, struct fg_error *err);
