/* vec.h - a growable array of plain values: struct { T *items; size_t count, cap; } and these. */
#pragma once
#include "base/mem.h"
#define FG_VEC(T) struct { T *items; size_t count, cap; }
void fg_vec_grow(void *items_ptr, size_t *cap, size_t want, size_t item_size);
#define fg_vec_reserve(v, n) \
    do { if ((v)->cap < (n)) fg_vec_grow(&(v)->items, &(v)->cap, (n), sizeof *(v)->items); } while (0)
#define fg_vec_push(v, ...) \
    do { fg_vec_reserve((v), (v)->count + 1); (v)->items[(v)->count++] = (__VA_ARGS__); } while (0)
/* Append a zeroed item and return its address. */
#define fg_vec_add(v) \
    ({ fg_vec_reserve((v), (v)->count + 1); __auto_type fg_v_ = &(v)->items[(v)->count++]; *fg_v_ = (__typeof__(*fg_v_)){0}; fg_v_; })
#define fg_vec_fini(v) do { free((v)->items); (v)->items = NULL; (v)->count = (v)->cap = 0; } while (0)
