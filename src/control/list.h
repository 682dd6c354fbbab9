/* list.h - a ring of links embedded in what it holds: leaving needs no knowledge of the list. One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct fg_link { struct fg_link *next, *prev; };   /* of a list: next is the first; of an item that is in none: NULL */

static inline void fg_list_init(struct fg_link *list) { list->next = list->prev = list; }
static inline bool fg_list_empty(const struct fg_link *list) { return list->next == list; }
static inline void fg_list_push(struct fg_link *list, struct fg_link *item) {
    item->prev = list->prev;
    item->next = list;
    list->prev->next = item;
    list->prev = item;
}
static inline void fg_link_leave(struct fg_link *item) {
    if (!item->next)
        return;
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = NULL;
}
static inline struct fg_link *fg_list_pop(struct fg_link *list) {
    if (fg_list_empty(list))
        return NULL;
    struct fg_link *item = list->next;
    fg_link_leave(item);
    return item;
}
/* Moves all of from behind to. */
static inline void fg_list_splice(struct fg_link *to, struct fg_link *from) {
    for (struct fg_link *item; (item = fg_list_pop(from));)
        fg_list_push(to, item);
}
#define fg_link_of(item, type, member) ((type *)((char *)(item) - offsetof(type, member)))
/* Walks the list; the body may take the current item out, and only that one. */
#define fg_list_each(item, list) \
    for (struct fg_link *item = (list)->next, *item##_next = item->next; item != (list); item = item##_next, item##_next = item->next)
