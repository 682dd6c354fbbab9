/* ended.h - the answers about ended tasks that were given lately. A settled task never changes again, so what was told
 * once from the store can be told again without it. One thread. */
#pragma once
#include "base/id.h"
#include "base/str.h"

struct fg_ended_answer {
    fg_id task, tenant;                  /* NONE: empty */
    char etag[24];
    struct fg_str body;
};
struct fg_ended;
struct fg_ended *fg_ended_create(void);
void fg_ended_destroy(struct fg_ended *ended);
/* NULL: not kept. Good until the next put. */
const struct fg_ended_answer *fg_ended_get(const struct fg_ended *ended, fg_id task, fg_id tenant);
/* Keep a copy of body, in place of an older one perhaps. Large ones are not kept. */
void fg_ended_put(struct fg_ended *ended, fg_id task, fg_id tenant, const char etag[24], const struct fg_str *body);
