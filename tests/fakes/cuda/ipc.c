/* ipc.c - memory of one process opened in another. The maker is charged, who opens it borrows: counted as such, and not device
 * memory of its own. What the bytes are is not shared: each process sees zeros until it writes. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"

struct fk_export *fk_export_find(uint64_t id)
{
    struct fk_export *e = &fk_world->exports[id % 1024];
    return id && e->id == id && e->process ? e : NULL;
}

uint64_t fk_export(unsigned device, enum fk_kind kind, uint64_t bytes, uint64_t pointer)
{
    uint64_t id = 0;
    fk_lock();
    for (unsigned i = 0; i < 1024 && !id; i++) {
        uint64_t next = ++fk_world->next_export;
        struct fk_export *e = &fk_world->exports[next % 1024];
        if (e->process)
            continue;
        *e = (struct fk_export){.id = next, .process = (uint32_t)fk_self() + 1, .device = device, .kind = kind, .bytes = bytes, .pointer = pointer};
        id = next;
    }
    fk_unlock();
    return id;
}

/* Locked. Put or take one entry of the calling process. */
static bool change_holder(struct fk_export *e, uint16_t from, uint16_t to)
{
    for (unsigned i = 0; i < FK_HOLDERS; i++)
        if (e->holders[i] == from) {
            e->holders[i] = to;
            return true;
        }
    return false;
}

bool fk_export_hold(struct fk_export *e)
{
    fk_lock();
    bool ok = change_holder(e, 0, (uint16_t)(fk_self() + 1));
    fk_unlock();
    return ok;
}

void fk_export_let_go(uint64_t id)
{
    struct fk_export *e = fk_export_find(id);
    fk_lock();
    if (e && change_holder(e, (uint16_t)(fk_self() + 1), 0))
        fk_export_check(e);
    fk_unlock();
}

bool fk_export_leave(uint64_t id)
{
    struct fk_export *e = fk_export_find(id);
    fk_lock();
    bool held = e && fk_export_held(e);
    if (held)
        e->left = true;
    fk_unlock();
    return held;
}

int fk_export_file(uint64_t id)
{
    int fd = id ? memfd_create("fake_cuda_export", MFD_CLOEXEC) : -1;
    if (fd >= 0 && pwrite(fd, &id, sizeof id, 0) != sizeof id) {
        close(fd);
        return -1;
    }
    return fd;
}

struct fk_export *fk_export_of_file(int fd)
{
    uint64_t id;
    return pread(fd, &id, sizeof id, 0) == sizeof id ? fk_export_find(id) : NULL;
}

FK_API(cuIpcGetMemHandle, (CUipcMemHandle *ret, CUdeviceptr pointer))
{
    FK_ENTER(cuIpcGetMemHandle);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->kind == FK_LINEAR && ret;
    if (ok && !alloc->export)
        alloc->export = (unsigned)fk_export(alloc->device, FK_LINEAR, alloc->bytes, alloc->base);
    uint64_t id = ok ? alloc->export : 0;
    pthread_mutex_unlock(&fk_big);
    if (!ok)
        return CUDA_ERROR_INVALID_VALUE;
    memset(ret, 0, sizeof *ret);
    memcpy(ret->reserved, &id, sizeof id);
    return id ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Memory of e in this process: an address, no device memory. */
static CUresult borrow(struct fk_export *e, uint64_t bytes, CUdeviceptr *ret)
{
    FK_CTX(ctx);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_alloc_new(ctx, e ? e->device : ctx->device, FK_BORROWED, bytes, bytes);
    if (alloc) {
        *ret = alloc->base;
        alloc->flags = e ? FK_IPC : 0;
    }
    pthread_mutex_unlock(&fk_big);
    return alloc ? CUDA_SUCCESS : CUDA_ERROR_MAP_FAILED;
}

static CUresult ipc_open(CUdeviceptr *ret, CUipcMemHandle handle)
{
    uint64_t id;
    memcpy(&id, handle.reserved, sizeof id);
    struct fk_export *e = fk_export_find(id);
    if (!ret || !e)
        return CUDA_ERROR_INVALID_VALUE;
    if (e->process == (uint32_t)fk_self() + 1)
        return CUDA_ERROR_INVALID_CONTEXT; /* by the process that made it */
    return borrow(e, e->bytes, ret);
}
FK_API(cuIpcOpenMemHandle_v2, (CUdeviceptr *ret, CUipcMemHandle handle, unsigned flags)) { FK_ENTER(cuIpcOpenMemHandle_v2); return ipc_open(ret, handle); }
FK_API(cuIpcOpenMemHandle, (CUdeviceptr *ret, CUipcMemHandle handle, unsigned flags)) { FK_ENTER(cuIpcOpenMemHandle); return ipc_open(ret, handle); }

FK_API(cuIpcCloseMemHandle, (CUdeviceptr pointer))
{
    FK_ENTER(cuIpcCloseMemHandle);
    pthread_mutex_lock(&fk_big);
    struct fk_alloc *alloc = fk_va_find(pointer);
    bool ok = alloc && alloc->base == pointer && alloc->kind == FK_BORROWED && alloc->flags == FK_IPC;
    if (ok)
        fk_alloc_end(alloc);
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* --- external memory: of another API, who holds it --- */

struct CUextMemory_st { uint32_t magic; uint64_t bytes; };

FK_API(cuImportExternalMemory, (CUexternalMemory *ret, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *desc))
{
    FK_ENTER(cuImportExternalMemory);
    if (!ret || !desc || !desc->size)
        return CUDA_ERROR_INVALID_VALUE;
    CUexternalMemory memory = calloc(1, sizeof *memory);
    if (!memory)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *memory = (struct CUextMemory_st){FK_IS_EXTERNAL, desc->size};
    *ret = memory;
    return CUDA_SUCCESS;
}

FK_API(cuExternalMemoryGetMappedBuffer, (CUdeviceptr *ret, CUexternalMemory memory, const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *desc))
{
    FK_ENTER(cuExternalMemoryGetMappedBuffer);
    if (!FK_IS(memory, FK_IS_EXTERNAL))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!ret || !desc || desc->offset + desc->size > memory->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    return borrow(NULL, desc->size, ret);
}

FK_API(cuDestroyExternalMemory, (CUexternalMemory memory))
{
    FK_ENTER(cuDestroyExternalMemory);
    if (!FK_IS(memory, FK_IS_EXTERNAL))
        return CUDA_ERROR_INVALID_HANDLE;
    memory->magic = 0;
    free(memory);
    return CUDA_SUCCESS;
}
