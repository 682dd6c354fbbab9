/* openb_fuzz.c - any bytes as node and task list (split at the first byte 1): read, or refused with a reason; what is read can be
 * replayed. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sim/trace/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool small(const struct fg_openb *o)
{
    uint64_t gpus = 0, least = UINT64_MAX;
    for (size_t i = 0; i < o->nodes.count; i++)
        gpus += o->nodes.items[i].is.gpus;
    for (size_t i = 0; i < o->tasks.count; i++) {
        uint64_t g = (uint64_t)o->tasks.items[i].need.gpus * o->tasks.items[i].need.gpu_milli;
        least = g > 0 && g < least ? g : least;
    }
    return gpus * 1300 / least < 3000;       /* arrivals; without this a fuzzer finds long runs, not faults */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_error err = {0};
    struct fg_openb o;
    const uint8_t *bar = memchr(data, 1, size);
    size_t n = bar ? (size_t)(bar - data) : size;
    const char *tasks = bar ? (const char *)bar + 1 : "";
    int rc = fg_openb_parse("n", (const char *)data, n, "t", tasks, bar ? size - n - 1 : 0, &o, &err);
    assert(rc == 0 || (err.code == FG_E_MALFORMED && err.text[0]));
    if (rc == 0 && small(&o)) {
        struct fg_replay out;
        struct fg_replay_options options = {.policy = FG_PACK_FASTGPU, .seed = size, .moves_most = 2};
        fg_replay_run(&o, &options, &out, &err);
    }
    fg_openb_fini(&o);
    return 0;
}
