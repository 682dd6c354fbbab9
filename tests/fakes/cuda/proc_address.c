/* proc_address.c - which function a name means: by the API version asked for, the driver's own, and the kind of default
 * stream; and the names of error codes.
 *
 * A name's variants are NAME, NAME_v2, NAME_v3 ..., each of a version (exports.txt); the newest that is not newer than the
 * version asked for is meant, provided the driver has it. Variants with a per-thread default stream end in _ptsz or _ptds. */
#include <stdio.h>

#include "driver.h"

static unsigned variant(const char *name, unsigned number, const char *suffix)
{
    char text[96];
    if (number == 1)
        snprintf(text, sizeof text, "%s%s", name, suffix);
    else
        snprintf(text, sizeof text, "%s_v%u%s", name, number, suffix);
    return fk_symbol(text);
}

/* A newer driver has more (newer.c). */
void *fk_newer(const char *name, int version) __attribute__((weak));

static CUresult find(const char *name, void **ret, int version, uint64_t flags, int *status)
{
    *ret = fk_newer ? fk_newer(name, version) : NULL;
    if (status)
        *status = CU_GET_PROC_ADDRESS_SUCCESS;
    if (*ret)
        return CUDA_SUCCESS;
    unsigned best = FKS_COUNT, best_number = 0;
    bool known = false;
    for (unsigned number = 1; number <= 4; number++) {
        unsigned symbol = variant(name, number, "");
        if (symbol == FKS_COUNT || fk_symbol_since[symbol] > fk_world->driver)
            continue;
        known = true;
        if ((int)fk_symbol_since[symbol] <= version && (best == FKS_COUNT || fk_symbol_since[symbol] >= fk_symbol_since[best])) {
            best = symbol;
            best_number = number;
        }
    }
    if (best != FKS_COUNT && flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
        for (int i = 0; i < 2; i++) {
            unsigned own = variant(name, best_number, i ? "_ptds" : "_ptsz");
            if (own != FKS_COUNT)
                best = own;
        }
    if (status)
        *status = best != FKS_COUNT ? CU_GET_PROC_ADDRESS_SUCCESS : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (best == FKS_COUNT)
        return CUDA_ERROR_NOT_FOUND;
    *ret = (void *)fk_symbol_address[best];
    return CUDA_SUCCESS;
}

FK_API(cuGetProcAddress, (const char *name, void **ret, int version, cuuint64_t flags))
{
    FK_COUNT(cuGetProcAddress);
    if (!name || !ret || flags > 3)
        return CUDA_ERROR_INVALID_VALUE;
    return find(name, ret, version, flags, NULL);
}

FK_API(cuGetProcAddress_v2, (const char *name, void **ret, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *status))
{
    FK_COUNT(cuGetProcAddress_v2);
    if (!name || !ret || flags > 3)
        return CUDA_ERROR_INVALID_VALUE;
    int how;
    CUresult r = find(name, ret, version, flags, &how);
    if (status)
        *status = (CUdriverProcAddressQueryResult)how;
    return r;
}

FK_API(cuGetExportTable, (const void **table, const CUuuid *id))
{
    FK_COUNT(cuGetExportTable);
    if (table)
        *table = NULL;
    return CUDA_ERROR_NOT_FOUND; /* private tables of the real driver */
}

#define E(name) {CUDA_##name, "CUDA_" #name}
static const struct { int code; const char *name; } codes[] = {
    E(SUCCESS), E(ERROR_INVALID_VALUE), E(ERROR_OUT_OF_MEMORY), E(ERROR_NOT_INITIALIZED), E(ERROR_DEINITIALIZED), E(ERROR_NO_DEVICE),
    E(ERROR_INVALID_DEVICE), E(ERROR_INVALID_IMAGE), E(ERROR_INVALID_CONTEXT), E(ERROR_MAP_FAILED), E(ERROR_UNMAP_FAILED), E(ERROR_ARRAY_IS_MAPPED),
    E(ERROR_ALREADY_MAPPED), E(ERROR_NOT_MAPPED), E(ERROR_UNSUPPORTED_LIMIT), E(ERROR_FILE_NOT_FOUND), E(ERROR_OPERATING_SYSTEM),
    E(ERROR_INVALID_HANDLE), E(ERROR_ILLEGAL_STATE), E(ERROR_NOT_FOUND), E(ERROR_NOT_READY), E(ERROR_ILLEGAL_ADDRESS),
    E(ERROR_LAUNCH_OUT_OF_RESOURCES), E(ERROR_PEER_ACCESS_ALREADY_ENABLED), E(ERROR_PEER_ACCESS_NOT_ENABLED), E(ERROR_PRIMARY_CONTEXT_ACTIVE),
    E(ERROR_CONTEXT_IS_DESTROYED), E(ERROR_HOST_MEMORY_ALREADY_REGISTERED), E(ERROR_HOST_MEMORY_NOT_REGISTERED), E(ERROR_LAUNCH_FAILED),
    E(ERROR_COOPERATIVE_LAUNCH_TOO_LARGE), E(ERROR_NOT_PERMITTED), E(ERROR_NOT_SUPPORTED), E(ERROR_SYSTEM_NOT_READY),
    E(ERROR_STREAM_CAPTURE_UNSUPPORTED), E(ERROR_STREAM_CAPTURE_INVALIDATED), E(ERROR_STREAM_CAPTURE_MERGE), E(ERROR_STREAM_CAPTURE_UNMATCHED),
    E(ERROR_STREAM_CAPTURE_UNJOINED), E(ERROR_STREAM_CAPTURE_ISOLATION), E(ERROR_STREAM_CAPTURE_IMPLICIT), E(ERROR_CAPTURED_EVENT),
    E(ERROR_STREAM_CAPTURE_WRONG_THREAD), E(ERROR_TIMEOUT), E(ERROR_GRAPH_EXEC_UPDATE_FAILURE), E(ERROR_UNKNOWN),
};

static CUresult name_of(CUresult code, const char **text)
{
    *text = NULL;
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == (int)code)
            *text = codes[i].name;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FK_API(cuGetErrorName, (CUresult code, const char **text)) { FK_COUNT(cuGetErrorName); return text ? name_of(code, text) : CUDA_ERROR_INVALID_VALUE; }
FK_API(cuGetErrorString, (CUresult code, const char **text)) { FK_COUNT(cuGetErrorString); return text ? name_of(code, text) : CUDA_ERROR_INVALID_VALUE; }
