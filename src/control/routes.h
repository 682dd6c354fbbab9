/* routes.h - one handler per row of api/routes.toml. A row without a handler does not link. */
#pragma once
#include "control/server.h"
#include "api_routes.h"

#define X(NAME, ...) fg_http_handler fg_route_##NAME;
FG_ROUTE_LIST(X)
#undef X
extern const struct fg_http_route fg_routes[];
extern const size_t fg_route_count;
