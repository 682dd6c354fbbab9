/* map.c - open addressing with linear probing; erasing moves what follows up. */
#include "shim/cuda/map.h"

#include <stdlib.h>

#include "vgpu/page.h"

static uint32_t home(const struct fgcu_map *map, uint64_t key) { return (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & (map->size - 1); }

static struct fgcu_entry *seek(struct fgcu_map *map, uint64_t key)
{
    for (uint32_t i = map->size ? home(map, key) : 0; map->size && map->entries[i].key; i = (i + 1) & (map->size - 1))
        if (map->entries[i].key == key)
            return &map->entries[i];
    return NULL;
}

static void place(struct fgcu_map *map, const struct fgcu_entry *entry)
{
    uint32_t i = home(map, entry->key);
    while (map->entries[i].key)
        i = (i + 1) & (map->size - 1);
    map->entries[i] = *entry;
}

static int grow(struct fgcu_map *map)
{
    struct fgcu_map bigger = {.size = map->size ? map->size * 2 : 64};
    if (!(bigger.entries = calloc(bigger.size, sizeof *bigger.entries)))
        return -1;
    for (uint32_t i = 0; i < map->size; i++)
        if (map->entries[i].key)
            place(&bigger, &map->entries[i]);
    free(map->entries);
    map->entries = bigger.entries;
    map->size = bigger.size;
    return 0;
}

static void erase(struct fgcu_map *map, struct fgcu_entry *at)
{
    uint32_t mask = map->size - 1, hole = (uint32_t)(at - map->entries);
    for (uint32_t i = (hole + 1) & mask; map->entries[i].key; i = (i + 1) & mask)
        if (((i - home(map, map->entries[i].key)) & mask) >= ((i - hole) & mask)) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    map->entries[hole].key = 0;
    map->live--;
}

int fgcu_map_get(struct fgcu_map *map, uint64_t key, struct fgcu_entry *ret)
{
    fg_lock(&map->lock);
    struct fgcu_entry *found = seek(map, key);
    if (found)
        *ret = *found;
    fg_unlock(&map->lock);
    return found != NULL;
}

int fgcu_map_put(struct fgcu_map *map, const struct fgcu_entry *entry)
{
    int failed = 0;
    fg_lock(&map->lock);
    struct fgcu_entry *found = seek(map, entry->key);
    if (found) {
        *found = *entry;
    } else if (map->live < map->size / 2 || !(failed = grow(map))) {
        place(map, entry);
        map->live++;
    }
    fg_unlock(&map->lock);
    return failed;
}

int fgcu_map_take(struct fgcu_map *map, uint64_t key, struct fgcu_entry *ret)
{
    fg_lock(&map->lock);
    struct fgcu_entry *found = seek(map, key);
    if (found) {
        *ret = *found;
        erase(map, found);
    }
    fg_unlock(&map->lock);
    return found != NULL;
}

int fgcu_map_add(struct fgcu_map *map, uint64_t key, int64_t b, int64_t c, struct fgcu_entry *ret)
{
    fg_lock(&map->lock);
    struct fgcu_entry *found = seek(map, key);
    if (found) {
        found->b += (uint64_t)b;
        found->c += (uint64_t)c;
        *ret = *found;
        if (!found->b && !found->c)
            erase(map, found);
    }
    fg_unlock(&map->lock);
    return found != NULL;
}

int fgcu_map_at(struct fgcu_map *map, uint32_t i, struct fgcu_entry *ret)
{
    fg_lock(&map->lock);
    int found = 0;
    for (uint32_t at = 0; at < map->size && !found; at++)
        if (map->entries[at].key && !i--) {
            *ret = map->entries[at];
            found = 1;
        }
    fg_unlock(&map->lock);
    return found;
}
