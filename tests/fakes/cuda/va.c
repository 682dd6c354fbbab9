/* va.c - device addresses: one range of host memory per process, cut into chunks of 2 MiB.
 *
 *   chunk table:  [slab of 512 B blocks][slab of 4 KiB blocks][large: 3 chunks --------][free] ...
 *
 * A chunk is a slab of equal blocks, or part of a large range. So any address, interior ones too, leads to its record in two
 * loads, whatever is live. Pages are the host's, zero until written; a large range gives them back when freed. */
#include <sys/mman.h>

#include "driver.h"

#define CHUNK (2ull << 20)
#define CLASSES 2048u                /* blocks of 512 B .. 1 MiB */

struct slab {
    struct slab *next;               /* with free blocks, of the class */
    uint64_t base, block;
    uint32_t count, live;
    uint32_t free_list, fresh;       /* block + 1 */
    struct { struct fk_alloc *alloc; uint32_t next; } at[];
};
struct chunk { struct slab *slab; struct fk_alloc *large; };
struct range { struct range *next; uint64_t base, bytes; };

static uint64_t arena, arena_end, fresh;
static struct chunk *chunks;
static struct slab *partial[CLASSES];
static struct range *ranges;
static uint64_t next_id = 1;

static bool make_arena(void)
{
    if (arena)
        return true;
    for (uint64_t bytes = 1ull << 40; bytes >= 1ull << 34; bytes >>= 1) {
        void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            continue;
        arena_end = (uintptr_t)at + bytes;
        fresh = ((uintptr_t)at + CHUNK - 1) / CHUNK * CHUNK;
        chunks = mmap(NULL, bytes / CHUNK * sizeof *chunks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (chunks == MAP_FAILED)
            return false;
        arena = fresh;
        return true;
    }
    return false;
}

static struct chunk *chunk_of(uint64_t address)
{
    return address >= arena && address < fresh ? &chunks[(address - arena) / CHUNK] : NULL;
}

static uint64_t take_range(uint64_t bytes, uint64_t align)
{
    for (struct range **at = &ranges; *at; at = &(*at)->next)
        if ((*at)->bytes == bytes && (*at)->base % align == 0) {
            struct range *found = *at;
            uint64_t base = found->base;
            *at = found->next;
            free(found);
            return base;
        }
    uint64_t base = (fresh + align - 1) / align * align;
    if (base + bytes > arena_end)
        return 0;
    fresh = base + bytes;
    return base;
}

static struct slab *new_slab(uint64_t block)
{
    uint32_t count = (uint32_t)(CHUNK / block);
    struct slab *slab = calloc(1, sizeof *slab + count * sizeof slab->at[0]);
    uint64_t base = slab ? take_range(CHUNK, CHUNK) : 0;
    if (!base) {
        free(slab);
        return NULL;
    }
    slab->base = base;
    slab->block = block;
    slab->count = count;
    chunk_of(base)->slab = slab;
    return slab;
}

static bool take_small(struct fk_alloc *alloc, uint64_t block)
{
    struct slab **list = &partial[block / 512 - 1];
    if (!*list && !(*list = new_slab(block)))
        return false;
    struct slab *slab = *list;
    uint32_t at = slab->free_list ? slab->free_list - 1 : slab->fresh++;
    if (slab->free_list)
        slab->free_list = slab->at[at].next;
    slab->at[at].alloc = alloc;
    slab->live++;
    alloc->base = slab->base + at * block;
    if (!slab->free_list && slab->fresh == slab->count) {
        *list = slab->next;
        slab->next = NULL;
    }
    return true;
}

static void give_small(struct slab *slab, uint64_t base)
{
    uint32_t at = (uint32_t)((base - slab->base) / slab->block);
    bool full = !slab->free_list && slab->fresh == slab->count;
    slab->at[at].alloc = NULL;
    slab->at[at].next = slab->free_list;
    slab->free_list = at + 1;
    slab->live--;
    if (full) {
        slab->next = partial[slab->block / 512 - 1];
        partial[slab->block / 512 - 1] = slab;
    }
}

bool fk_va_take(struct fk_alloc *alloc, uint64_t bytes, uint64_t align)
{
    if (!make_arena() || !bytes || bytes > arena_end - arena)
        return false;
    alloc->id = next_id++;
    alloc->bytes = bytes;
    uint64_t block = (bytes + 511) / 512 * 512;
    if (block <= CHUNK / 2 && align <= 512)
        return take_small(alloc, block);
    block = (bytes + CHUNK - 1) / CHUNK * CHUNK;
    uint64_t base = take_range(block, align > CHUNK ? align : CHUNK);
    if (!base)
        return false;
    alloc->base = base;
    for (uint64_t at = base; at < base + block; at += CHUNK)
        chunk_of(at)->large = alloc;
    return true;
}

void fk_va_give(struct fk_alloc *alloc)
{
    struct chunk *chunk = chunk_of(alloc->base);
    if (chunk->slab) {
        give_small(chunk->slab, alloc->base);
        return;
    }
    uint64_t block = (alloc->bytes + CHUNK - 1) / CHUNK * CHUNK;
    for (uint64_t at = alloc->base; at < alloc->base + block; at += CHUNK)
        chunk_of(at)->large = NULL;
    madvise((void *)(uintptr_t)alloc->base, block, MADV_DONTNEED);
    struct range *range = malloc(sizeof *range);
    if (!range)
        return; /* the addresses are not used again */
    *range = (struct range){ranges, alloc->base, block};
    ranges = range;
}

struct fk_alloc *fk_va_find(uint64_t address)
{
    struct chunk *chunk = chunk_of(address);
    if (!chunk)
        return NULL;
    struct fk_alloc *alloc = chunk->large;
    if (chunk->slab)
        alloc = chunk->slab->at[(address - chunk->slab->base) / chunk->slab->block].alloc;
    return alloc && address < alloc->base + alloc->bytes ? alloc : NULL;
}
