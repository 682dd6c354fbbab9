/* catalogue.h - the models tasks may name: MODELS/catalogue.json, read again when it changes, and the weights that were
 * imported (aux rows "model:NAME"). */
#pragma once
#include "control/server.h"

int fg_catalogue_open(struct fg_server *s, struct fg_error *err);        /* a missing file is an empty catalogue */
void fg_catalogue_close(struct fg_server *s);
/* The entry, borrowed until the next call; NULL with *err (FG_E_INVALID, naming the nearest). */
const json_t *fg_catalogue_find(struct fg_server *s, const char *name, struct fg_error *err);
/* Add "model" to a spec on its way to an agent: name, task_type, architecture, format, input, and where the weights
 * are: "weights_blob" when they were imported, else "source_url" and "sha256" or "sha256_prefix". */
void fg_catalogue_attach(struct fg_server *s, const char *name, json_t *spec);
/* An aux row "model:NAME" was loaded or is on disk now. doc NULL: gone. */
void fg_catalogue_imported(struct fg_server *s, const char *key, const char *doc);
