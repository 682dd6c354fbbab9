/* beside.h - the machine's library behind a front end: in the folder driver/ beside the file that the front end was loaded as.
 * Not by $ORIGIN in a dlopen, which would be the folder of whoever has put his own dlopen before libc's. */
#pragma once
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* of: any address in the front end. NULL: not there, or with RTLD_NOLOAD not loaded. */
static inline void *fg_beside(const void *of, const char *name, int mode)
{
    Dl_info info;
    char path[4096];
    if (!dladdr(of, &info) || !info.dli_fname)
        return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    size_t length = slash ? (size_t)(slash - info.dli_fname) : 0;
    if (!slash || length + strlen(name) + sizeof "/driver/" > sizeof path)
        return NULL;
    memcpy(path, info.dli_fname, length);
    memcpy(path + length, "/driver/", sizeof "/driver/" - 1);
    memcpy(path + length + sizeof "/driver/" - 1, name, strlen(name) + 1);
    return dlopen(path, mode);
}
