/* curl_lib.h - libcurl, opened when it is first needed. Private to the client. Not thread-safe. */
#pragma once
#include <curl/curl.h>
#include "base/error.h"

#define FG_CURL_LIST(X) \
    X(global_init) X(easy_init) X(easy_setopt) X(easy_perform) X(easy_getinfo) X(easy_reset) X(easy_cleanup) \
    X(easy_strerror) X(slist_append) X(slist_free_all)

struct fg_curl {
#define X(NAME) __typeof__(&curl_##NAME) NAME;
    FG_CURL_LIST(X)
#undef X
};
/* The functions, or NULL with FG_E_UNSUPPORTED and a hint. They stay for the life of the process. */
const struct fg_curl *fg_curl(struct fg_error *err);
