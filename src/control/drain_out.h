/* drain_out.h - whether a machine (device 0) or a device is drained, as a member `drained` of a JSON answer. */
#pragma once
#include "control/server.h"

void fg_out_drained(struct fg_str *out, const struct fg_server *s, fg_id node, fg_device_id device);
