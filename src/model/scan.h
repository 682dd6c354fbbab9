/* scan.h - the members of a small JSON object, read where they stand: what a stored task mostly is. Private to model.
 *
 * A restart reads a document for each waiting task. A tree of JSON values costs some thirty allocations each; here the
 * text is copied once, strings end and lose their escapes in place, and members lie in one array:
 *
 *     {"state":"queued","want":{"share":250,"program":"make"},"attempt":1}
 *      0 state           1 want, end 4  2 share   3 program     4 attempt
 *
 * It takes objects of integers below 10^18, true, false, and strings of ASCII with the short escapes. Anything else, and
 * anything that is wrong, is not for it: the caller then asks the JSON library, which also knows what to say. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_SCAN_TEXT 4096u
#define FG_SCAN_MEMBERS 96u

enum fg_scan_type { FG_SCAN_INTEGER, FG_SCAN_BOOLEAN, FG_SCAN_STRING, FG_SCAN_OBJECT };
struct fg_scan_member {
    const char *key, *text;              /* in the copy; text of a string */
    int64_t number;                      /* integer, boolean */
    uint32_t len, end;                   /* of the string; index behind it and what is in it */
    enum fg_scan_type type;
};
struct fg_scan {
    char text[FG_SCAN_TEXT];
    struct fg_scan_member members[FG_SCAN_MEMBERS];
    uint32_t count;
};
bool fg_scan(struct fg_scan *s, const char *json, size_t len);  /* false: not for it */
/* That of the object whose members are [first, end), or NULL. */
const struct fg_scan_member *fg_scan_find(const struct fg_scan *s, uint32_t first, uint32_t end, const char *key);
