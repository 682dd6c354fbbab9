/* A task for the tests of reclaiming: takes 64 MiB through the shim, then does what each byte of its input says, and answers ".".
 *   c copy (gated)   a take a MiB more   e make an event (no front end wraps it)   m managed memory   i give a handle out
 * usage: reclaim_task LIBRARY */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *library;

static int call(const char *name, void *a, void *b, void *c)
{
    int (*f)(void *, void *, void *);
    *(void **)&f = dlsym(library, name);
    return f ? f(a, b, c) : -1;
}

static void must(const char *what, int result)
{
    if (!result)
        return;
    fprintf(stderr, "%s: %d\n", what, result);
    exit(1);
}

int main(int argc, char **argv)
{
    static char host[4096];
    char word, *pointer, *more, handle[64];
    void *context, *event;
    library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library)
        return fprintf(stderr, "%s\n", dlerror()), 2;
    must("cuInit", call("cuInit", NULL, NULL, NULL));
    must("retain", call("cuDevicePrimaryCtxRetain", &context, NULL, NULL));
    must("current", call("cuCtxSetCurrent", context, NULL, NULL));
    must("alloc", call("cuMemAlloc_v2", &pointer, (void *)(64ul << 20), NULL));
    for (word = '.'; word != 'q'; word = read(0, &word, 1) == 1 ? word : 'q') {
        if (word == 'c')
            must("copy", call("cuMemcpyHtoD_v2", pointer, host, (void *)sizeof host));
        if (word == 'a')
            must("alloc", call("cuMemAlloc_v2", &more, (void *)(1ul << 20), NULL));
        if (word == 'e')
            must("event", call("cuEventCreate", &event, NULL, NULL));
        if (word == 'm')
            must("managed", call("cuMemAllocManaged", &more, (void *)(1ul << 20), (void *)1));
        if (word == 'i')
            must("handle", call("cuIpcGetMemHandle", handle, pointer, NULL));
        if (write(1, ".", 1) != 1)
            return 3;
    }
    return 0;
}
