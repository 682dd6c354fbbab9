/* module.c - modules, functions, libraries. An image is PTX (its entries and globals are read), or anything else (then every
 * name is a function of it and global_N is a global of N bytes). A module takes memory for its code and its globals. */
#include <stdio.h>

#include "driver.h"

struct CUfunc_st { uint32_t magic; uint32_t params; char name[96]; CUmodule module; uint32_t sizes[32]; struct CUfunc_st *next; bool plain; };
struct global { struct global *next; char name[96]; uint64_t bytes; struct fk_alloc *alloc; bool managed; };
struct CUmod_st { uint32_t magic; bool ptx; CUcontext ctx; struct CUfunc_st *functions; struct global *globals; uint64_t charged; struct fk_list link; };
struct CUlib_st { uint32_t magic; char *image; CUmodule modules[FK_DEVICES]; struct CUkern_st *kernels; bool ptx; };
struct CUkern_st { uint32_t magic; char name[96]; CUlibrary library; struct CUkern_st *next; };

/* --- reading PTX --- */

static const char *word(const char *at, char *ret, size_t n)
{
    size_t i = 0;
    at += strspn(at, " \t\r\n");
    while (i + 1 < n && (strchr("_$%", *at) ? *at != 0 : (*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z')))
        ret[i++] = *at++;
    ret[i] = 0;
    return at;
}

static uint32_t type_bytes(const char *type) /* ".u32" */
{
    size_t bits = strtoul(type + 1 + (type[1] != 0), NULL, 10);
    return bits >= 8 ? (uint32_t)bits / 8 : 8;
}

static struct CUfunc_st *add_function(CUmodule module, const char *name)
{
    struct CUfunc_st *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->magic = FK_IS_FUNC;
    f->module = module;
    f->plain = strncmp(name, "spin_", 5) && strcmp(name, "fill_u32");
    snprintf(f->name, sizeof f->name, "%s", name);
    f->next = module->functions;
    module->functions = f;
    return f;
}

static void read_entry(CUmodule module, const char *at)
{
    char name[96], parameter[96];
    at = word(at, name, sizeof name);
    struct CUfunc_st *f = add_function(module, name);
    const char *end = strpbrk(at, "{;");
    while (f && (at = strstr(at, ".param")) && (!end || at < end) && f->params < 32) {
        at += 6;
        uint32_t bytes = 8;
        while (*(at += strspn(at, " \t\r\n")) == '.') {
            const char *type = at;
            at = word(at + 1, parameter, sizeof parameter);
            if (!strcmp(parameter, "align"))
                strtoul(at, (char **)&at, 10);
            else
                bytes = type_bytes(type);
        }
        at = word(at, parameter, sizeof parameter);
        if (*at == '[')
            bytes *= (uint32_t)strtoul(at + 1, NULL, 10);
        f->sizes[f->params++] = bytes;
    }
}

static void add_global(CUmodule module, const char *name, uint64_t bytes, bool managed)
{
    struct global *g = calloc(1, sizeof *g);
    if (!g)
        return;
    snprintf(g->name, sizeof g->name, "%s", name);
    g->bytes = bytes;
    g->managed = managed;
    g->next = module->globals;
    module->globals = g;
}

/* ".global .align 8 .b8 table[4096];" */
static void read_global(CUmodule module, const char *at)
{
    char name[96];
    uint64_t bytes = 4;
    bool managed = false;
    while (*(at += strspn(at, " \t\r\n")) == '.') {
        const char *type = at;
        at = word(at + 1, name, sizeof name);
        if (!strcmp(name, "align"))
            strtoul(at, (char **)&at, 10);
        else if (!strncmp(name, "attribute", 9)) {
            managed = true;
            at = strchr(at, ')') ? strchr(at, ')') + 1 : at;
        } else {
            bytes = type_bytes(type);
        }
    }
    at = word(at, name, sizeof name);
    if (*at == '[')
        bytes *= strtoull(at + 1, NULL, 10);
    if (name[0])
        add_global(module, name, bytes, managed);
}

static void read_ptx(CUmodule module, const char *text)
{
    for (const char *at = text; (at = strstr(at, ".entry")); at += 6)
        read_entry(module, at + 6);
    for (const char *at = text; (at = strstr(at, ".global")); at += 7)
        if (at == text || strchr(" \t\n;}", at[-1])) {
            const char *line = at;
            while (line > text && line[-1] != '\n')
                line--;
            if (!memchr(line, '{', (size_t)(at - line)) && (strspn(line, " \t") == (size_t)(at - line) || !strncmp(line, ".visible", 8) || !strncmp(line, ".weak", 5)))
                read_global(module, at + 7);
        }
}

/* --- modules; under fk_big --- */

static void end(CUmodule module)
{
    fk_list_remove(&module->link);
    while (module->functions) {
        struct CUfunc_st *f = module->functions;
        module->functions = f->next;
        f->magic = 0;
        free(f);
    }
    while (module->globals) {
        struct global *g = module->globals;
        module->globals = g->next;
        if (g->alloc)
            fk_alloc_end(g->alloc);
        free(g);
    }
    if (module->charged)
        fk_give(module->ctx->device, FK_MODULE, module->charged);
    module->magic = 0;
    free(module);
}

void fk_modules_end(CUcontext ctx)
{
    while (ctx->modules.next != &ctx->modules)
        end(FK_OF(ctx->modules.next, struct CUmod_st, link));
}

static CUresult load(CUcontext ctx, const char *image, CUmodule *ret)
{
    CUmodule module = calloc(1, sizeof *module);
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    module->magic = FK_IS_MODULE;
    module->ctx = ctx;
    module->ptx = strstr(image, ".version") && strstr(image, ".target");
    if (module->ptx)
        read_ptx(module, image);
    uint64_t need = fk_world->module_bytes;
    for (struct global *g = module->globals; g; g = g->next)
        need += fk_round(g->bytes, fk_world->granule);
    fk_list_add(&ctx->modules, &module->link);
    if (need && !fk_take(ctx->device, FK_MODULE, need)) {
        end(module);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    module->charged = need;
    *ret = module;
    return CUDA_SUCCESS;
}

static CUresult load_data(CUmodule *ret, const void *image)
{
    FK_CTX(ctx);
    if (!ret || !image)
        return CUDA_ERROR_INVALID_VALUE;
    FK_UNSAFE();
    pthread_mutex_lock(&fk_big);
    CUresult r = load(ctx, image, ret);
    pthread_mutex_unlock(&fk_big);
    return r;
}
FK_API(cuModuleLoadData, (CUmodule *ret, const void *image)) { FK_ENTER(cuModuleLoadData); return load_data(ret, image); }
FK_API(cuModuleLoadFatBinary, (CUmodule *ret, const void *image)) { FK_ENTER(cuModuleLoadFatBinary); return load_data(ret, image); }
FK_API(cuModuleLoadDataEx, (CUmodule *ret, const void *image, unsigned n, int *options, void **values))
{
    FK_ENTER(cuModuleLoadDataEx);
    return load_data(ret, image);
}

static char *read_file(const char *path)
{
    FILE *file = path ? fopen(path, "rb") : NULL;
    char *text = file ? calloc(1, (1u << 20) + 1) : NULL;
    if (text && fread(text, 1, 1u << 20, file) == 0)
        text[0] = 0;
    if (file)
        fclose(file);
    return text;
}

FK_API(cuModuleLoad, (CUmodule *ret, const char *path))
{
    FK_ENTER(cuModuleLoad);
    char *image = read_file(path);
    CUresult r = image ? load_data(ret, image) : CUDA_ERROR_FILE_NOT_FOUND;
    free(image);
    return r;
}

FK_API(cuModuleUnload, (CUmodule module))
{
    FK_ENTER(cuModuleUnload);
    if (!FK_IS(module, FK_IS_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    fk_sync_device(module->ctx->device);
    pthread_mutex_lock(&fk_big);
    end(module);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuModuleGetLoadingMode, (int *mode)) { FK_ENTER(cuModuleGetLoadingMode); *mode = 2; return CUDA_SUCCESS; }

static CUresult find(CUmodule module, const char *name, CUfunction *ret)
{
    if (!FK_IS(module, FK_IS_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&fk_big);
    struct CUfunc_st *f = module->functions;
    while (f && strcmp(f->name, name))
        f = f->next;
    if (!f && !module->ptx)
        f = add_function(module, name);
    pthread_mutex_unlock(&fk_big);
    *ret = f;
    return f ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

FK_API(cuModuleGetFunction, (CUfunction *ret, CUmodule module, const char *name))
{
    FK_ENTER(cuModuleGetFunction);
    return ret && name ? find(module, name, ret) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult get_global(CUmodule module, const char *name, CUdeviceptr *pointer, size_t *bytes)
{
    if (!FK_IS(module, FK_IS_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&fk_big);
    struct global *g = module->globals;
    while (g && strcmp(g->name, name))
        g = g->next;
    if (!g && !module->ptx && !strncmp(name, "global_", 7)) {
        add_global(module, name, strtoull(name + 7, NULL, 10), false);
        g = module->globals;
    }
    if (g && !g->alloc) /* its memory is the module's */
        g->alloc = fk_alloc_new(module->ctx, module->ctx->device, FK_MODULE, g->bytes, 0);
    bool ok = g && g->alloc;
    if (ok && g->alloc->link.next)
        fk_list_remove(&g->alloc->link); /* dies with the module */
    if (ok && pointer)
        *pointer = g->alloc->base;
    if (ok && bytes)
        *bytes = g->bytes;
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

FK_API(cuModuleGetGlobal_v2, (CUdeviceptr *pointer, size_t *bytes, CUmodule module, const char *name))
{
    FK_ENTER(cuModuleGetGlobal_v2);
    return name ? get_global(module, name, pointer, bytes) : CUDA_ERROR_INVALID_VALUE;
}

FK_API(cuModuleGetFunctionCount, (unsigned *count, CUmodule module))
{
    FK_ENTER(cuModuleGetFunctionCount);
    if (!FK_IS(module, FK_IS_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    *count = 0;
    for (struct CUfunc_st *f = module->functions; f; f = f->next)
        ++*count;
    return CUDA_SUCCESS;
}

/* --- libraries: a module for each device that uses one of its kernels --- */

static CUresult library_new(CUlibrary *ret, const void *image)
{
    CUlibrary library = calloc(1, sizeof *library);
    if (!ret || !image || !library) {
        free(library);
        return CUDA_ERROR_INVALID_VALUE;
    }
    library->magic = FK_IS_LIBRARY;
    library->image = strdup(image);
    *ret = library;
    CUcontext ctx = fk_current(); /* eager loading: at once where there is a context */
    CUresult r = CUDA_SUCCESS;
    if (ctx) {
        pthread_mutex_lock(&fk_big);
        r = load(ctx, library->image, &library->modules[ctx->ordinal]);
        pthread_mutex_unlock(&fk_big);
    }
    return r;
}

FK_API(cuLibraryLoadData, (CUlibrary *ret, const void *image, int *jit, void **jit_values, unsigned jits, int *options, void **values, unsigned n))
{
    FK_ENTER(cuLibraryLoadData);
    return library_new(ret, image);
}

FK_API(cuLibraryLoadFromFile, (CUlibrary *ret, const char *path, int *jit, void **jit_values, unsigned jits, int *options, void **values, unsigned n))
{
    FK_ENTER(cuLibraryLoadFromFile);
    char *image = read_file(path);
    CUresult r = image ? library_new(ret, image) : CUDA_ERROR_FILE_NOT_FOUND;
    free(image);
    return r;
}

static CUresult library_module(CUlibrary library, CUmodule *ret)
{
    FK_CTX(ctx);
    if (!FK_IS(library, FK_IS_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult r = CUDA_SUCCESS;
    pthread_mutex_lock(&fk_big);
    if (!library->modules[ctx->ordinal])
        r = load(ctx, library->image, &library->modules[ctx->ordinal]);
    *ret = library->modules[ctx->ordinal];
    pthread_mutex_unlock(&fk_big);
    return r;
}

FK_API(cuLibraryGetModule, (CUmodule *ret, CUlibrary library)) { FK_ENTER(cuLibraryGetModule); return library_module(library, ret); }

FK_API(cuLibraryUnload, (CUlibrary library))
{
    FK_ENTER(cuLibraryUnload);
    if (!FK_IS(library, FK_IS_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&fk_big);
    for (unsigned i = 0; i < FK_DEVICES; i++)
        if (library->modules[i] && library->modules[i]->magic == FK_IS_MODULE)
            end(library->modules[i]);
    while (library->kernels) {
        struct CUkern_st *k = library->kernels;
        library->kernels = k->next;
        k->magic = 0;
        free(k);
    }
    free(library->image);
    library->magic = 0;
    free(library);
    pthread_mutex_unlock(&fk_big);
    return CUDA_SUCCESS;
}

FK_API(cuLibraryGetKernel, (CUkernel *ret, CUlibrary library, const char *name))
{
    FK_ENTER(cuLibraryGetKernel);
    if (!FK_IS(library, FK_IS_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    if (strstr(library->image, ".entry") && !strstr(library->image, name))
        return CUDA_ERROR_NOT_FOUND;
    struct CUkern_st *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *kernel = (struct CUkern_st){.magic = FK_IS_KERNEL, .library = library};
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
    pthread_mutex_lock(&fk_big);
    kernel->next = library->kernels;
    library->kernels = kernel;
    pthread_mutex_unlock(&fk_big);
    *ret = kernel;
    return CUDA_SUCCESS;
}

CUfunction fk_kernel_function(CUkernel kernel)
{
    CUmodule module;
    CUfunction f = NULL;
    if (!library_module(kernel->library, &module))
        find(module, kernel->name, &f);
    return f;
}

FK_API(cuKernelGetFunction, (CUfunction *ret, CUkernel kernel))
{
    FK_ENTER(cuKernelGetFunction);
    if (!FK_IS(kernel, FK_IS_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    *ret = fk_kernel_function(kernel);
    return *ret ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

FK_API(cuLibraryGetGlobal, (CUdeviceptr *pointer, size_t *bytes, CUlibrary library, const char *name))
{
    FK_ENTER(cuLibraryGetGlobal);
    CUmodule module;
    CUresult r = library_module(library, &module);
    return r ? r : get_global(module, name, pointer, bytes);
}

/* --- functions --- */

bool fk_function_ok(CUfunction func) { return FK_IS(func, FK_IS_FUNC); }
const char *fk_function_name(CUfunction func) { return func->name; }
bool fk_function_plain(CUfunction func) { return func->plain; }
CUcontext fk_function_ctx(CUfunction func) { return func->module->ctx; }

size_t fk_function_params(CUfunction func, size_t offsets[64], size_t *count)
{
    size_t at = 0;
    for (uint32_t i = 0; i < func->params; i++) {
        size_t align = func->sizes[i] > 8 ? 8 : func->sizes[i];
        at = (at + align - 1) / align * align;
        offsets[i] = at;
        at += func->sizes[i];
    }
    *count = func->params;
    return at;
}
