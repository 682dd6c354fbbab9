/* credentials.h - where the server is and which key opens it: flag > environment > credentials file > default. */
#pragma once
#include "base/error.h"

struct cli_credentials {
    char *url;                           /* without a slash at the end */
    char *key;                           /* NULL: none is known */
    char *key_origin;                    /* where the key came from, for people */
};
int cli_credentials_find(const char *url, const char *key_file, struct cli_credentials *ret, struct fg_error *err);
void cli_credentials_fini(struct cli_credentials *c);
