/* hold.c - holds device memory with a pattern in it, for the rows about reclaiming.
 * usage: hold [--driver PATH] [--mib N]. Says "free MIB" when it holds it; at each line of input reads all of it back and says
 * "whole" or "changed", and what is free. */
#define CU_TABLE
#include "common.h"

#define PIECE ((size_t)16 << 20)

static uint32_t *host;

static void fill(size_t piece)
{
    for (size_t i = 0; i < PIECE / sizeof *host; i++)
        host[i] = (uint32_t)(i * 2654435761u + piece);
}

static size_t changed(CUdeviceptr at, size_t piece)
{
    size_t wrong = 0;
    DO(cu.cuMemcpyDtoH_v2(host, at + piece * PIECE, PIECE));
    for (size_t i = 0; i < PIECE / sizeof *host; i++)
        wrong += host[i] != (uint32_t)(i * 2654435761u + piece);
    return wrong;
}

static void say_free(const char *what)
{
    size_t free_bytes, total;
    DO(cu.cuMemGetInfo_v2(&free_bytes, &total));
    printf("%s %zu\n", what, free_bytes >> 20);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[16];
    CUdeviceptr at = 0;
    begin(argc, argv);
    size_t pieces = (strtoull(option(argc, argv, "--mib", "0"), NULL, 10) << 20) / PIECE;
    host = malloc(PIECE);
    if (!host)
        return 1;
    if (pieces)
        DO(cu.cuMemAlloc_v2(&at, pieces * PIECE));
    for (size_t i = 0; i < pieces; i++) {
        fill(i);
        DO(cu.cuMemcpyHtoD_v2(at + i * PIECE, host, PIECE));
    }
    DO(cu.cuCtxSynchronize());
    for (say_free("free"); fgets(line, sizeof line, stdin);) {
        size_t wrong = 0;
        for (size_t i = 0; i < pieces; i++)
            wrong += changed(at, i);
        say_free(wrong ? "changed" : "whole");
    }
    return 0;
}
