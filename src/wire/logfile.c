/* logfile.c - the record head of logfile.h. Plain libc: the supervisor is built with it. */
#include "wire/logfile.h"

#include <string.h>

void fg_log_head_encode(unsigned char head[FG_LOG_HEAD], enum fg_log_source source, int64_t time_ns, uint32_t len)
{
    memset(head, 0, FG_LOG_HEAD);
    for (int i = 0; i < 4; i++)
        head[i] = (unsigned char)(len >> (8 * i));
    head[4] = (unsigned char)source;
    for (int i = 0; i < 8; i++)
        head[8 + i] = (unsigned char)((uint64_t)time_ns >> (8 * i));
}

long fg_log_record_decode(const char *buf, size_t n, struct fg_log_record *ret)
{
    const unsigned char *p = (const unsigned char *)buf;
    if (n < FG_LOG_HEAD)
        return 0;
    uint32_t len = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (len > FG_LOG_MAX_RECORD || p[4] < FG_LOG_STDOUT || p[4] > FG_LOG_SYSTEM || p[5] != 0 || p[6] != 0 || p[7] != 0)
        return -1;
    if (n - FG_LOG_HEAD < len)
        return 0;
    uint64_t time = 0;
    for (int i = 0; i < 8; i++)
        time |= (uint64_t)p[8 + i] << (8 * i);
    *ret = (struct fg_log_record){(enum fg_log_source)p[4], (int64_t)time, buf + FG_LOG_HEAD, len};
    return (long)FG_LOG_HEAD + (long)len;
}
