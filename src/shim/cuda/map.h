/* map.h - a small table from words to words, for what the ledger's records have no place for. Any thread; no driver call is
 * made under its lock. Entries are few (hundreds); memory is the shim's own, by malloc. */
#pragma once
#include <stdint.h>

struct fgcu_entry { uint64_t key, a, b, c; }; /* key not 0 */
struct fgcu_map { uint32_t lock, live, size; struct fgcu_entry *entries; };

/* Copy of the entry. Returns 0 when there is none. */
int fgcu_map_get(struct fgcu_map *map, uint64_t key, struct fgcu_entry *ret);
/* Insert or replace. Returns -1 without memory. */
int fgcu_map_put(struct fgcu_map *map, const struct fgcu_entry *entry);
/* Remove and hand over. Returns 0 when there is none. */
int fgcu_map_take(struct fgcu_map *map, uint64_t key, struct fgcu_entry *ret);
/* Add to b and c. Returns 0 when there is none; *ret is as it is now, and when both have become 0 it has been removed. */
int fgcu_map_add(struct fgcu_map *map, uint64_t key, int64_t b, int64_t c, struct fgcu_entry *ret);
/* The i-th entry, in no order; 0 at the end. */
int fgcu_map_at(struct fgcu_map *map, uint32_t i, struct fgcu_entry *ret);
