/* launch_files.h - the file a supervisor starts from: its orders, the sandbox's options, the command. */
#pragma once
#include "agent/internal.h"

int launch_write_file(struct attempt *t, const struct fg_vgpu_entry *entry, struct fg_error *err);
/* The run limit of a spec in ns, its default from the table. -1 FG_E_INVALID. */
int launch_run_limit(const json_t *spec, int64_t *ret_ns, struct fg_error *err);
