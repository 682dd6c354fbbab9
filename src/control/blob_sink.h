/* blob_sink.h - where streamed request bodies go: into the blob folder, hashed while they come. */
#pragma once
#include "wire/http.h"
extern const struct fg_http_sink fg_blob_sink;
