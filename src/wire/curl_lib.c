/* curl_lib.c - see curl_lib.h. Built against its header, so that types are checked; found by name at run time. */
#include "wire/curl_lib.h"

#include <dlfcn.h>
#include <stdbool.h>

static int find(struct fg_curl *curl, struct fg_error *err)
{
    void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        fg_fail(err, FG_E_UNSUPPORTED, "libcurl cannot be loaded: %s", dlerror());
        return fg_fail_hint(err, "install it: apt-get install libcurl4");
    }
#define X(NAME) \
    if ((curl->NAME = (__typeof__(curl->NAME))dlsym(lib, "curl_" #NAME)) == NULL) \
        return fg_fail(err, FG_E_UNSUPPORTED, "libcurl has no curl_" #NAME);
    FG_CURL_LIST(X)
#undef X
    return 0;
}

const struct fg_curl *fg_curl(struct fg_error *err)
{
    static struct fg_curl curl;
    static bool ready;
    if (ready)
        return &curl;
    if (find(&curl, err) < 0)
        return NULL;
    if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fg_fail(err, FG_E_UNSUPPORTED, "libcurl does not start");
        return NULL;
    }
    ready = true;
    return &curl;
}
