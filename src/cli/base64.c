/* base64.c - decoding only. */
#include "cli/base64.h"

#include <stdint.h>
#include <string.h>

bool cli_base64_decode(const char *text, struct fg_str *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned have = 0;
    const char *p = text, *at;
    for (; *p && (at = strchr(letters, *p)); p++) {
        bits = bits << 6 | (uint32_t)(at - letters);
        have += 6;
        if (have >= 8) {
            have -= 8;
            char byte = (char)(bits >> have & 0xff);
            fg_str_add(out, &byte, 1);
        }
    }
    size_t body = (size_t)(p - text), pad = strspn(p, "=");
    return p[pad] == 0 && (body + pad) % 4 == 0 && pad < 3;
}
