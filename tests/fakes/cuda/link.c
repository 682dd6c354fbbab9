/* link.c - the linker: what was added, one after the other, is the image. */
#include "driver.h"

struct CUlinkState_st { char *text; size_t bytes; };

static CUresult create(CUlinkState *ret)
{
    FK_CTX(ctx);
    *ret = ctx ? calloc(1, sizeof **ret) : NULL;
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
FK_API(cuLinkCreate_v2, (unsigned n, int *options, void **values, CUlinkState *ret)) { FK_ENTER(cuLinkCreate_v2); return ret ? create(ret) : CUDA_ERROR_INVALID_VALUE; }
FK_API(cuLinkCreate, (unsigned n, int *options, void **values, CUlinkState *ret)) { FK_ENTER(cuLinkCreate); return ret ? create(ret) : CUDA_ERROR_INVALID_VALUE; }

static CUresult add(CUlinkState state, const void *data, size_t bytes)
{
    if (!state || !data || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    char *text = realloc(state->text, state->bytes + bytes + 1);
    if (!text)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(text + state->bytes, data, bytes);
    state->bytes += bytes;
    text[state->bytes] = 0;
    state->text = text;
    return CUDA_SUCCESS;
}
FK_API(cuLinkAddData_v2, (CUlinkState state, int type, void *data, size_t bytes, const char *name, unsigned n, int *options, void **values)) { FK_ENTER(cuLinkAddData_v2); return add(state, data, bytes); }
FK_API(cuLinkAddData, (CUlinkState state, int type, void *data, size_t bytes, const char *name, unsigned n, int *options, void **values)) { FK_ENTER(cuLinkAddData); return add(state, data, bytes); }

FK_API(cuLinkComplete, (CUlinkState state, void **ret, size_t *bytes))
{
    FK_ENTER(cuLinkComplete);
    if (!state || !state->text || !ret)
        return CUDA_ERROR_INVALID_VALUE;
    *ret = state->text;
    if (bytes)
        *bytes = state->bytes;
    return CUDA_SUCCESS;
}

FK_API(cuLinkDestroy, (CUlinkState state))
{
    FK_ENTER(cuLinkDestroy);
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    free(state->text);
    free(state);
    return CUDA_SUCCESS;
}
