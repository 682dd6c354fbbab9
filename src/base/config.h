/* config.h - settings of api/config.toml: flag > environment FGPU_* > YAML file > default.
 * An unknown key or a value out of range is an error that names the file and line and the nearest key.
 * An empty variable counts as not set; a path that starts with "~/" is below $HOME in every layer. */
#pragma once
#include <stdint.h>
#include "base/error.h"

struct fg_config;
/* file may be NULL: then $FGPU_CONFIG, else ~/.config/fastgpu/config.yaml if it is there.
 * flags: "key=value" strings that win over all else; n may be 0. */
int fg_config_load(const char *file, const char *const *flags, size_t n, struct fg_config **ret, struct fg_error *err);
void fg_config_destroy(struct fg_config *config);
/* Values by key of the table; a key that is not in the table aborts (a programming error). Strings belong to config. */
const char *fg_config_str(const struct fg_config *config, const char *key);
int64_t fg_config_int(const struct fg_config *config, const char *key);  /* integer, bytes; money in nanousd */
/* Where the value came from: "default", "flag", "FGPU_LISTEN", "/path/config.yaml:3". */
const char *fg_config_origin(const struct fg_config *config, const char *key);
/* The user's folder: $XDG_CONFIG_HOME/fastgpu or ~/.config/fastgpu. The caller's to free. */
char *fg_config_folder(void);
