/* device.c - one device, its properties, the last error, and where functions are. */
#include <dlfcn.h>
#include <stdio.h>

#include "fake.h"

static __thread CUresult last;

CUresult fk_error(CUresult result)
{
    if (result != CUDA_SUCCESS)
        last = result;
    return result;
}

FK_API(hipPeekAtLastError, (void)) { return last; }
FK_API(hipGetLastError, (void))
{
    CUresult result = last;
    last = CUDA_SUCCESS;
    return result;
}
FK_API(hipInit, (unsigned flags)) { return CUDA_SUCCESS; }
FK_API(hipGetDeviceCount, (int *count))
{
    *count = 1;
    return CUDA_SUCCESS;
}
FK_API(hipGetDevice, (int *device))
{
    *device = 0;
    return CUDA_SUCCESS;
}
FK_API(hipSetDevice, (int device)) { return device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS; }
FK_API(hipDeviceTotalMem, (size_t *bytes, int device))
{
    *bytes = FK_TOTAL;
    return CUDA_SUCCESS;
}

static CUresult properties(char *at, size_t total_at)
{
    uint64_t total = FK_TOTAL;
    strcpy(at, "stand-in");
    memcpy(at + total_at, &total, sizeof total);
    return CUDA_SUCCESS;
}

FK_API(hipGetDeviceProperties, (void *p, int device)) { return properties(p, HIP_PROPERTIES_TOTAL_R0000); }
FK_API(hipGetDevicePropertiesR0000, (void *p, int device)) { return properties(p, HIP_PROPERTIES_TOTAL_R0000); }
FK_API(hipGetDevicePropertiesR0600, (void *p, int device)) { return properties(p, HIP_PROPERTIES_TOTAL_R0600); }

static int by_soname;
FK_EXPORT void fake_hip_by_soname(int yes) { by_soname = yes; }

/* The real one looks in the library that is loaded under its own name, which with a front end is another. */
static CUresult look_up(const char *symbol, void **pointer, int own)
{
    Dl_info info;
    char name[128];
    snprintf(name, sizeof name, "%s_spt", symbol);
    void *self = dladdr((void *)look_up, &info) ? dlopen(by_soname ? "libamdhip64.so.6" : info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    *pointer = self && own ? dlsym(self, name) : NULL;
    if (self && !*pointer)
        *pointer = dlsym(self, symbol);
    if (self)
        dlclose(self);
    return *pointer ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

FK_API(hipGetProcAddress, (const char *symbol, void **pointer, int version, uint64_t flags, int *status))
{
    return look_up(symbol, pointer, (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0);
}
FK_API(hipGetDriverEntryPoint, (const char *symbol, void **pointer, unsigned long long flags, int *status))
{
    return look_up(symbol, pointer, (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0);
}
FK_API(hipGetDriverEntryPoint_spt, (const char *symbol, void **pointer, unsigned long long flags, int *status))
{
    return look_up(symbol, pointer, 1);
}

FK_EXPORT int fake_hip_newer(int x) { return x + 1; }
