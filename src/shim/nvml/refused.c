/* refused.c - what would tell of others on the device. Made from api/nvml.toml. */
#include "shim.h"

#include "nvml_refused.h"
