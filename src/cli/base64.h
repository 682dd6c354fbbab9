/* base64.h - RFC 4648, as log records carry bytes that are no UTF-8. */
#pragma once
#include "base/str.h"
bool cli_base64_decode(const char *text, struct fg_str *out);   /* appended; false when it is no base64 */
