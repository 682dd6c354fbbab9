/* memory.c - who holds what. */
#include "fake.h"

enum kind { LINEAR = 1, ARRAY, MIPMAP, PHYSICAL, POOLED, EXTERNAL };
struct block { uint64_t key, bytes; enum kind kind; struct pool *pool; unsigned handles, mappings; int exported; };
struct pool { uint64_t used, reserved; };

#define BLOCKS 4096
static struct block blocks[BLOCKS];
static struct { uint64_t address, handle, mapped_bytes; } maps[64];
static struct pool own_pool, pools[16];
static uint64_t live, next_key = UINT64_C(0x7f0000000000);

static uint64_t up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static struct block *find(uint64_t key, enum kind kind)
{
    for (unsigned i = 0; key && i < BLOCKS; i++)
        if (blocks[i].key == key && blocks[i].kind == kind)
            return &blocks[i];
    return NULL;
}

/* Locked. */
static int held;           /* by another process: what was exported */
static uint64_t elsewhere; /* and let go here */

static CUresult take(uint64_t bytes, enum kind kind, uint64_t *key)
{
    if (bytes > FK_TOTAL - live)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (blocks[i].key)
            continue;
        blocks[i] = (struct block){.key = next_key, .bytes = bytes, .kind = kind, .handles = 1};
        *key = next_key;
        next_key += up(bytes + 1, 1 << 21);
        live += bytes;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult make(const char *name, uint64_t bytes, enum kind kind, void **ret)
{
    uint64_t key = 0;
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter(name);
    if (!result && !bytes)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && !(result = take(bytes, kind, &key)))
        *ret = (void *)(uintptr_t)key;
    pthread_mutex_unlock(&fk_lock);
    return fk_error(result);
}

static CUresult drop(const char *name, const void *pointer, enum kind kind)
{
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter(name);
    struct block *b = find((uintptr_t)pointer, kind);
    if (!result && !b) {
        result = CUDA_ERROR_INVALID_VALUE;
    } else if (!result) {
        live -= b->bytes;
        b->key = 0;
    }
    pthread_mutex_unlock(&fk_lock);
    return fk_error(result);
}

FK_EXPORT uint64_t fake_hip_live(void)
{
    pthread_mutex_lock(&fk_lock);
    uint64_t now = live;
    pthread_mutex_unlock(&fk_lock);
    return now;
}

/* ---- linear ---- */

FK_API(hipMalloc, (void **pointer, size_t bytes)) { return make("hipMalloc", up(bytes, 4096), LINEAR, pointer); }
FK_API(hipExtMallocWithFlags, (void **pointer, size_t bytes, unsigned flags))
{
    return make("hipExtMallocWithFlags", up(bytes, 4096), LINEAR, pointer);
}
FK_API(hipMallocManaged, (void **pointer, size_t bytes, unsigned flags)) { return make("hipMallocManaged", up(bytes, 4096), LINEAR, pointer); }
FK_API(hipHostMalloc, (void **pointer, size_t bytes, unsigned flags)) { return (*pointer = malloc(bytes)) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY; }
FK_API(hipHostFree, (void *pointer))
{
    free(pointer);
    return CUDA_SUCCESS;
}
FK_API(hipMallocPitch, (void **pointer, size_t *pitch, size_t width, size_t height))
{
    *pitch = up(width, 256);
    return make("hipMallocPitch", up(*pitch * height, 4096), LINEAR, pointer);
}
FK_API(hipMemAllocPitch, (void **pointer, size_t *pitch, size_t width, size_t height, unsigned element))
{
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter("hipMemAllocPitch");
    pthread_mutex_unlock(&fk_lock);
    return result ? fk_error(result) : hipMallocPitch(pointer, pitch, width, height); /* as the real one */
}
FK_API(hipMalloc3D, (hipPitchedPtr *p, hipExtent e))
{
    *p = (hipPitchedPtr){.pitch = up(e.width, 256), .xsize = e.width, .ysize = e.height};
    return make("hipMalloc3D", up(p->pitch * e.height * e.depth, 4096), LINEAR, &p->ptr);
}

/* ---- arrays ---- */

static uint64_t image(hipExtent e, uint64_t texel, unsigned levels)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < levels; i++) {
        uint64_t w = e.width >> i, h = e.height >> i, d = e.depth >> i;
        sum += up(up((w ? w : 1) * texel, 256) * (h ? h : 1) * (d ? d : 1), 4096);
    }
    return sum;
}

static uint64_t texel(const hipChannelFormatDesc *f) { return (uint64_t)(f->x + f->y + f->z + f->w) / 8; }

FK_API(hipMallocArray, (void **array, const hipChannelFormatDesc *f, size_t width, size_t height, unsigned flags))
{
    return make("hipMallocArray", image((hipExtent){width, height, 0}, texel(f), 1), ARRAY, array);
}
FK_API(hipMalloc3DArray, (void **array, const hipChannelFormatDesc *f, hipExtent e, unsigned flags))
{
    return make("hipMalloc3DArray", image(e, texel(f), 1), ARRAY, array);
}
/* Four bytes a channel: the tests ask for floats only. */
FK_API(hipArrayCreate, (void **array, const CUDA_ARRAY_DESCRIPTOR *d))
{
    return make("hipArrayCreate", image((hipExtent){d->Width, d->Height, 0}, 4 * d->NumChannels, 1), ARRAY, array);
}
FK_API(hipArray3DCreate, (void **array, const CUDA_ARRAY3D_DESCRIPTOR *d))
{
    return make("hipArray3DCreate", image((hipExtent){d->Width, d->Height, d->Depth}, 4 * d->NumChannels, 1), ARRAY, array);
}
FK_API(hipMallocMipmappedArray, (void **array, const hipChannelFormatDesc *f, hipExtent e, unsigned levels, unsigned flags))
{
    return make("hipMallocMipmappedArray", image(e, texel(f), levels), MIPMAP, array);
}
FK_API(hipMipmappedArrayCreate, (void **array, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels))
{
    return make("hipMipmappedArrayCreate", image((hipExtent){d->Width, d->Height, d->Depth}, 4 * d->NumChannels, levels), MIPMAP, array);
}
FK_API(hipFreeArray, (void *array)) { return drop("hipFreeArray", array, ARRAY); }
FK_API(hipArrayDestroy, (void *array)) { return drop("hipArrayDestroy", array, ARRAY); }
FK_API(hipFreeMipmappedArray, (void *array)) { return drop("hipFreeMipmappedArray", array, MIPMAP); }
FK_API(hipMipmappedArrayDestroy, (void *array)) { return drop("hipMipmappedArrayDestroy", array, MIPMAP); }
FK_API(hipImportExternalMemory, (void **memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *d))
{
    return make("hipImportExternalMemory", d->size, EXTERNAL, memory);
}
FK_API(hipDestroyExternalMemory, (void *memory)) { return drop("hipDestroyExternalMemory", memory, EXTERNAL); }

/* ---- pools ---- */

static void shrink(struct pool *pool)
{
    uint64_t keep = up(pool->used, 2 << 20);
    live -= pool->reserved - keep;
    pool->reserved = keep;
}

void fk_trim_pools(void)
{
    shrink(&own_pool);
    for (unsigned i = 0; i < 16; i++)
        shrink(&pools[i]);
}

static CUresult from(const char *name, struct pool *pool, void **pointer, size_t bytes)
{
    uint64_t key = 0, takes = up(bytes, 512);
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter(name);
    uint64_t grows = pool->used + takes > pool->reserved ? up(pool->used + takes - pool->reserved, 2 << 20) : 0;
    if (!result && grows > FK_TOTAL - live)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result && !(result = take(0, POOLED, &key))) {
        live += grows;
        pool->reserved += grows;
        pool->used += takes;
        struct block *b = find(key, POOLED);
        b->pool = pool;
        b->mappings = (unsigned)(takes / 512);
        next_key += up(bytes, 1 << 21);
        *pointer = (void *)(uintptr_t)key;
    }
    pthread_mutex_unlock(&fk_lock);
    return fk_error(result);
}

FK_API(hipMallocAsync, (void **pointer, size_t bytes, hipStream_t stream)) { return from("hipMallocAsync", &own_pool, pointer, bytes); }
FK_API(hipMallocFromPoolAsync, (void **pointer, size_t bytes, struct pool *pool, hipStream_t stream))
{
    return from("hipMallocFromPoolAsync", pool, pointer, bytes);
}

static int to_pool(const void *pointer)
{
    struct block *b = find((uintptr_t)pointer, POOLED);
    if (!b)
        return 0;
    b->pool->used -= 512ull * b->mappings;
    b->key = 0;
    return 1;
}

static CUresult give(const char *name, void *pointer)
{
    pthread_mutex_lock(&fk_lock);
    CUresult result = fk_enter(name);
    int pooled = !result && to_pool(pointer);
    pthread_mutex_unlock(&fk_lock);
    if (result || pooled || !pointer)
        return fk_error(result);
    return drop(name, pointer, LINEAR);
}

FK_API(hipFreeAsync, (void *pointer, hipStream_t stream)) { return give("hipFreeAsync", pointer); }
FK_API(hipFree, (void *pointer))
{
    CUresult result = give("hipFree", pointer);
    pthread_mutex_lock(&fk_lock);
    fk_drain();
    pthread_mutex_unlock(&fk_lock);
    return result;
}
FK_API(hipMemPoolCreate, (struct pool **pool, const CUmemPoolProps *props))
{
    static unsigned made;
    return made < 16 ? (*pool = &pools[made++], CUDA_SUCCESS) : CUDA_ERROR_OUT_OF_MEMORY;
}
FK_API(hipMemPoolTrimTo, (struct pool *pool, size_t keep))
{
    pthread_mutex_lock(&fk_lock);
    shrink(pool);
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}
FK_API(hipMemPoolDestroy, (struct pool *pool)) { return hipMemPoolTrimTo(pool, 0); }
FK_API(hipDeviceGetMemPool, (struct pool **pool, int device))
{
    *pool = &own_pool;
    return CUDA_SUCCESS;
}
FK_API(hipMemPoolGetAttribute, (struct pool *pool, CUmemPool_attribute name, uint64_t *value))
{
    pthread_mutex_lock(&fk_lock);
    *value = name == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT ? pool->reserved : pool->used;
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}

/* ---- physical memory ---- */

FK_API(hipMemGetAllocationGranularity, (size_t *granule, const CUmemAllocationProp *prop, int option))
{
    *granule = 2 << 20;
    return CUDA_SUCCESS;
}
FK_API(hipMemCreate, (void **handle, size_t bytes, const CUmemAllocationProp *prop, unsigned long long flags))
{
    return bytes % (2 << 20) ? CUDA_ERROR_INVALID_VALUE : make("hipMemCreate", bytes, PHYSICAL, handle);
}

/* Locked. */
static void let_go(struct block *b)
{
    if (b->handles || b->mappings)
        return;
    if (b->exported && held)
        elsewhere += b->bytes;
    else
        live -= b->bytes;
    b->key = 0;
}

FK_EXPORT void fake_hip_hold(int yes)
{
    pthread_mutex_lock(&fk_lock);
    held = yes;
    live -= yes ? 0 : elsewhere;
    elsewhere = yes ? elsewhere : 0;
    pthread_mutex_unlock(&fk_lock);
}

FK_API(hipMemExportToShareableHandle, (void *ret, void *handle, int type, unsigned long long flags))
{
    pthread_mutex_lock(&fk_lock);
    struct block *b = find((uintptr_t)handle, PHYSICAL);
    if (b)
        b->exported = 1;
    pthread_mutex_unlock(&fk_lock);
    *(int *)ret = 0;
    return b ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

FK_API(hipMemRelease, (void *handle))
{
    pthread_mutex_lock(&fk_lock);
    struct block *b = find((uintptr_t)handle, PHYSICAL);
    if (b) {
        b->handles--;
        let_go(b);
    }
    pthread_mutex_unlock(&fk_lock);
    return b ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(hipMemMap, (void *address, size_t size, size_t offset, void *handle, unsigned long long flags))
{
    pthread_mutex_lock(&fk_lock);
    struct block *b = find((uintptr_t)handle, PHYSICAL);
    unsigned i = 0;
    while (i < 64 && maps[i].address)
        i++;
    int ok = b && i < 64;
    if (ok) {
        maps[i].address = (uintptr_t)address;
        maps[i].handle = (uintptr_t)handle;
        b->mappings++;
    }
    pthread_mutex_unlock(&fk_lock);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(hipMemUnmap, (void *address, size_t size))
{
    int ok = 0;
    pthread_mutex_lock(&fk_lock);
    for (unsigned i = 0; i < 64; i++) {
        struct block *b = maps[i].address == (uintptr_t)address ? find(maps[i].handle, PHYSICAL) : NULL;
        if (!b)
            continue;
        maps[i].address = 0;
        b->mappings--;
        let_go(b);
        ok = 1;
    }
    pthread_mutex_unlock(&fk_lock);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- what is left, and the end ---- */

FK_API(hipMemGetInfo, (size_t *free_bytes, size_t *total))
{
    *total = FK_TOTAL;
    *free_bytes = FK_TOTAL - fake_hip_live();
    return CUDA_SUCCESS;
}
FK_API(hipDeviceReset, (void))
{
    pthread_mutex_lock(&fk_lock);
    memset(blocks, 0, sizeof blocks);
    memset(&own_pool, 0, sizeof own_pool);
    memset(pools, 0, sizeof pools);
    live = 0;
    pthread_mutex_unlock(&fk_lock);
    return CUDA_SUCCESS;
}
