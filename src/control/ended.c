/* ended.c - one place for each answer, by the hash of its id; the newer takes it. At most 1024 x 8 KiB. */
#include "control/ended.h"

#include <stdio.h>

#include "base/mem.h"

#define PLACES 1024
#define LARGEST 8192

struct fg_ended { struct fg_ended_answer at[PLACES]; };

struct fg_ended *fg_ended_create(void) { return fg_alloc(sizeof(struct fg_ended)); }

void fg_ended_destroy(struct fg_ended *ended) {
    if (!ended)
        return;
    for (size_t i = 0; i < PLACES; i++)
        fg_str_fini(&ended->at[i].body);
    free(ended);
}

const struct fg_ended_answer *fg_ended_get(const struct fg_ended *ended, fg_id task, fg_id tenant) {
    const struct fg_ended_answer *a = &ended->at[fg_id_hash(task) % PLACES];
    return fg_id_eq(a->task, task) && fg_id_eq(a->tenant, tenant) ? a : NULL;
}

void fg_ended_put(struct fg_ended *ended, fg_id task, fg_id tenant, const char etag[24], const struct fg_str *body) {
    if (body->len > LARGEST)
        return;
    struct fg_ended_answer *a = &ended->at[fg_id_hash(task) % PLACES];
    a->task = task;
    a->tenant = tenant;
    snprintf(a->etag, sizeof a->etag, "%s", etag);
    fg_str_clear(&a->body);
    fg_str_add(&a->body, body->data, body->len);
}
