/* names.c - names to small numbers, in order of appearance. */
#include <string.h>

#include "plan/instance/private.h"

static uint32_t hash_text(const char *s)
{
    uint32_t hash = 2166136261u;
    for (; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 16777619u;
    return hash;
}

static uint32_t *find_slot(const struct fg_names *n, const char *name)
{
    for (size_t at = hash_text(name) & (n->slot_count - 1);; at = (at + 1) & (n->slot_count - 1))
        if (n->slots[at] == 0 || strcmp(n->names.items[n->slots[at]], name) == 0)
            return &n->slots[at];
}

uint32_t fg_names_find(const struct fg_names *n, const char *name) { return n->slot_count ? *find_slot(n, name) : 0; }

uint32_t fg_names_add(struct fg_names *n, const char *name, bool *ret_new)
{
    if (n->names.count == 0)
        fg_vec_push(&n->names, NULL);
    if (n->names.count * 2 >= n->slot_count) {
        n->slot_count = FG_MAX(n->slot_count * 2, (size_t)16);
        free(n->slots);
        n->slots = fg_alloc(n->slot_count * sizeof *n->slots);
        for (size_t x = 1; x < n->names.count; x++)
            *find_slot(n, n->names.items[x]) = (uint32_t)x;
    }
    uint32_t *slot = find_slot(n, name);
    if (ret_new)
        *ret_new = *slot == 0;
    if (*slot == 0) {
        *slot = (uint32_t)n->names.count;
        fg_vec_push(&n->names, fg_strdup(name));
    }
    return *slot;
}

void fg_names_fini(struct fg_names *n)
{
    for (size_t x = 0; x < n->names.count; x++)
        free(n->names.items[x]);
    fg_vec_fini(&n->names);
    free(n->slots);
    *n = (struct fg_names){0};
}
