/* spec_fuzz.c - any bytes as a submit and as stored documents: taken or refused with reason, never a crash.
 * What is taken as a spec must be taken again as its canonical text, and give the same text. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "model/event.h"
#include "model/task_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void submit(const char *text, size_t size)
{
    struct fg_error err = {0};
    struct fg_spec spec, again;
    FG_AUTO_JSON json_t *object = fg_json_parse(text, size, &err);
    if (!object) {
        assert(err.code == FG_E_MALFORMED && err.text[0]);
        return;
    }
    if (fg_task_spec_parse(object, &spec, &err) < 0) {
        assert(err.code == FG_E_INVALID && err.text[0]);
        return;
    }
    FG_AUTO_JSON json_t *canonical = fg_json_parse(spec.json, strlen(spec.json), &err);
    assert(canonical);
    int rc = fg_task_spec_parse(canonical, &again, &err);
    assert(rc == 0 && strcmp(spec.json, again.json) == 0);
    fg_spec_fini(&spec);
    fg_spec_fini(&again);
}

static void load(const char *text, size_t size)
{
    struct fg_task task = {0};
    fg_task_decode(text, size, &task, NULL);
    fg_task_fini(&task);
    for (int kind = 0; kind < FG_EVENT_COUNT; kind++) {
        struct fg_event ev = {.kind = (enum fg_event_kind)kind};
        fg_event_decode(text, size, &ev, NULL);
        fg_event_fini(&ev);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    submit((const char *)data, size);
    load((const char *)data, size);
    return 0;
}
