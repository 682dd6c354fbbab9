/* fake_opencl.c - an OpenCL loader that does what $FAKE_OPENCL says: what real drivers do on bad days. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
EXPORT int32_t clGetPlatformIDs(uint32_t entries, void **platforms, uint32_t *count);
EXPORT int32_t clGetPlatformInfo(void *platform, uint32_t what, size_t size, void *value, size_t *ret_size);
EXPORT int32_t clGetDeviceIDs(void *platform, uint64_t type, uint32_t entries, void **devices, uint32_t *count);
EXPORT int32_t clGetDeviceInfo(void *device, uint32_t what, size_t size, void *value, size_t *ret_size);

static int told_to(const char *word)
{
    const char *mode = getenv("FAKE_OPENCL");
    return mode && !strcmp(mode, word);
}

int32_t clGetPlatformIDs(uint32_t entries, void **platforms, uint32_t *count)
{
    puts("a driver that talks");
    if (told_to("none"))
        return -1001;
    if (told_to("crash"))
        raise(SIGSEGV);
    if (told_to("exit"))
        exit(3);
    while (told_to("hang"))
        pause();
    for (uint32_t i = 0; i < entries && i < 2; i++)
        platforms[i] = (void *)(uintptr_t)(i + 1);
    *count = told_to("too many") ? 1000 : 2;
    return 0;
}

static int32_t answer(const void *from, size_t n, size_t size, void *value, size_t *ret_size)
{
    if (n > size)
        return -30;
    memcpy(value, from, n);
    if (ret_size)
        *ret_size = n;
    return 0;
}

int32_t clGetPlatformInfo(void *platform, uint32_t what, size_t size, void *value, size_t *ret_size)
{
    return answer("Fake", 5, size, value, ret_size);
}

/* The first platform has a processor, the second two GPUs. */
int32_t clGetDeviceIDs(void *platform, uint64_t type, uint32_t entries, void **devices, uint32_t *count)
{
    uintptr_t p = (uintptr_t)platform;
    if (p == 2 && told_to("crash late"))
        raise(SIGABRT);
    *count = told_to("empty") ? 0 : (uint32_t)p;
    for (uint32_t i = 0; i < *count && i < entries; i++)
        devices[i] = (void *)(p * 10 + i);
    return *count ? 0 : -1;
}

int32_t clGetDeviceInfo(void *device, uint32_t what, size_t size, void *value, size_t *ret_size)
{
    uintptr_t d = (uintptr_t)device;
    uint64_t type = d < 20 ? 2 : 4, memory = d << 30;
    uint32_t units = (uint32_t)d, available = !(told_to("busy") && d == 20);
    char name[64];
    snprintf(name, sizeof name, told_to("dirty") ? "\033[31mCard %d\xff\n" : "Card %d", (int)d);
    switch (what) {
    case 0x1000:
        return answer(&type, 8, size, value, ret_size);
    case 0x1002:
        return answer(&units, 4, size, value, ret_size);
    case 0x101f:
        return answer(&memory, 8, size, value, ret_size);
    case 0x1027:
        return answer(&available, 4, size, value, ret_size);
    case 0x102b:
        return answer(name, strlen(name) + 1, size, value, ret_size);
    default:
        return -30;
    }
}
