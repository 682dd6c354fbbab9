/* metrics.h - counters and histograms of the server, as Prometheus text. In memory since the start. */
#pragma once
#include "control/server.h"

struct fg_metrics *fg_metrics_create(void);
void fg_metrics_destroy(struct fg_metrics *m);
void fg_metrics_event(struct fg_server *s, const struct fg_store_event *ev);     /* once it is on disk */
void fg_metrics_commit(struct fg_server *s, int64_t took_ns);
void fg_metrics_answer(struct fg_server *s, size_t route, int status, int64_t took_ns);
