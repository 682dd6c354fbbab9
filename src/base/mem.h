/* mem.h - allocation and cleanup. Out of memory aborts with a message, except where a function says otherwise:
 * a control process that cannot allocate a few bytes cannot keep its promises, and its restart loses nothing. */
#pragma once
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *fg_alloc(size_t size);                     /* zeroed */
void *fg_realloc(void *p, size_t count, size_t size); /* checked count * size */
char *fg_strdup(const char *s);                  /* NULL gives NULL */
char *fg_strndup(const char *s, size_t n);
char *fg_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline void fg_cleanup_free(void *p) { free(*(void **)p); }
static inline void fg_cleanup_fd(int *fd) { if (*fd >= 0) close(*fd); }
#define FG_AUTO_FREE __attribute__((cleanup(fg_cleanup_free)))
#define FG_AUTO_FD __attribute__((cleanup(fg_cleanup_fd)))
/* Move a pointer or descriptor out of its variable, which then owns nothing. */
#define fg_take_ptr(p) ({ __auto_type fg_t_ = (p); (p) = NULL; fg_t_; })
#define fg_take_fd(fd) ({ int fg_t_ = (fd); (fd) = -1; fg_t_; })
#define FG_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FG_MIN(a, b) ((a) < (b) ? (a) : (b))
#define FG_MAX(a, b) ((a) > (b) ? (a) : (b))
