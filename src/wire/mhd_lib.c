/* mhd_lib.c - see mhd_lib.h. Built against the library's header, so that types are checked; found by name at run time. */
#include "wire/mhd_lib.h"

#include <dlfcn.h>
#include <stddef.h>

struct fg_mhd fg_mhd;

static const struct { const char *name; size_t at; } symbols[] = {
#define X(NAME) {"MHD_" #NAME, offsetof(struct fg_mhd, NAME)},
    FG_MHD_LIST(X)
#undef X
};

int fg_mhd_open(struct fg_error *err)
{
    static void *library;
    if (library != NULL)
        return 0;
    void *lib = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        fg_fail(err, FG_E_UNSUPPORTED, "libmicrohttpd cannot be loaded: %s", dlerror());
        return fg_fail_hint(err, "install it: apt-get install libmicrohttpd12");
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(lib, symbols[i].name);
        if (found == NULL)
            return fg_fail(err, FG_E_UNSUPPORTED, "libmicrohttpd has no %s", symbols[i].name);
        *(void **)((char *)&fg_mhd + symbols[i].at) = found;
    }
    library = lib;
    return 0;
}
