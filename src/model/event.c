/* event.c - the bodies of the log's events, one member set per kind.
 *
 *   task.submitted   {"spec":CANONICAL,"want":{...},"idempotency":"..."}
 *   node.joined      {"node":{...},"devices":[{...},...]}
 *   others           their struct, inside one member or plain; {} where nothing is to be said
 *
 * The spec stands in the body as it is, not quoted: a log is read by people too. It comes back exact since canonical
 * text (task_spec.c) is what jansson writes for it; any other text is kept as a string. */
#include "model/event.h"

#include "base/mem.h"
#include "model/codec.h"
#include "model/fields.h"

void fg_event_fini(struct fg_event *ev)
{
    if (!ev)
        return;
    switch (ev->kind) {
    case FG_EV_TASK_SUBMITTED:
        fg_spec_fini(&ev->submitted.spec);
        free(ev->submitted.idempotency);
        break;
    case FG_EV_TASK_FINISHED: fg_outcome_fini(&ev->finished); break;
    case FG_EV_TASK_SETTLED: free(ev->settled.lines); break;
    case FG_EV_NODE_JOINED: free(ev->joined.devices); break;
    default: break;
    }
    *ev = (struct fg_event){0};
}

static void put_canonical(struct fg_str *out, const char *json)
{
    size_t n = strlen(json);
    fg_str_adds(out, "\"spec\":");
    if (json[0] == '{')
        fg_str_add(out, json, n);
    else
        fg_json_quote(out, json, n);
    fg_str_add(out, ",", 1);
}

static void encode_submitted(const struct fg_spec *spec, const char *idempotency, struct fg_str *out)
{
    if (spec->json)
        put_canonical(out, spec->json);
    fg_put_spec(out, FG_KEY("want"), spec);
    if (idempotency)
        fg_put_text(out, FG_KEY("idempotency"), idempotency, strlen(idempotency));
}

static void encode_node(const struct fg_node *src, struct fg_str *out)
{
    fg_str_adds(out, "\"node\":");
    fg_open_object(out);
    FG_NODE_FIELDS(FG_PUT)
    fg_close_object(out);
    fg_str_add(out, ",", 1);
}

static void encode_device(const struct fg_device *src, struct fg_str *out)
{
    fg_open_object(out);
    FG_DEVICE_FIELDS(FG_PUT)
    fg_close_object(out);
    fg_str_add(out, ",", 1);
}

static void encode_joined(const struct fg_event *ev, struct fg_str *out)
{
    encode_node(&ev->joined.node, out);
    fg_str_adds(out, "\"devices\":[");
    for (size_t i = 0; i < ev->joined.count; i++)
        encode_device(&ev->joined.devices[i], out);
    if (out->data[out->len - 1] == ',')
        out->data[--out->len] = 0;
    fg_str_add(out, "],", 2);
}

void fg_event_encode(const struct fg_event *ev, struct fg_str *out)
{
    fg_str_reserve(out, 256);
    fg_open_object(out);
    switch (ev->kind) {
    case FG_EV_TASK_SUBMITTED: encode_submitted(&ev->submitted.spec, ev->submitted.idempotency, out); break;
    case FG_EV_TASK_QUEUED: { __auto_type src = &ev->queued; FG_QUEUED_FIELDS(FG_PUT) break; }
    case FG_EV_TASK_CLASSIFIED: { __auto_type src = &ev->classified; FG_CLASSIFIED_FIELDS(FG_PUT) break; }
    case FG_EV_TASK_PLACED: {
        __auto_type src = &ev->placed;
        FG_PUT_U32("device", device, 0)
        fg_put_placed(out, FG_KEY("placed"), &src->placed);
        break;
    }
    case FG_EV_LEASE_GRANTED: fg_put_lease(out, FG_KEY("lease"), &ev->lease); break;
    case FG_EV_TASK_STARTED: { __auto_type src = &ev->started; FG_STARTED_FIELDS(FG_PUT) break; }
    case FG_EV_USAGE_RECORDED: fg_put_usage(out, FG_KEY("usage"), &ev->usage); break;
    case FG_EV_TASK_FINISHED: fg_put_outcome(out, FG_KEY("outcome"), &ev->finished); break;
    case FG_EV_LEASE_RELEASED: { __auto_type src = &ev->released; FG_RELEASED_FIELDS(FG_PUT) break; }
    case FG_EV_LEASE_RESIZED: { __auto_type src = &ev->resized; FG_RESIZED_FIELDS(FG_PUT) break; }
    case FG_EV_LEASE_PARKED:
    case FG_EV_LEASE_CALLED:
    case FG_EV_LEASE_RESUMED:
    case FG_EV_LEASE_MOVING:
    case FG_EV_LEASE_MOVED: { __auto_type src = &ev->parked; FG_PARKED_FIELDS(FG_PUT) break; }
    case FG_EV_TASK_SETTLED: { __auto_type src = &ev->settled; FG_SETTLED_FIELDS(FG_PUT) break; }
    case FG_EV_NODE_JOINED: encode_joined(ev, out); break;
    case FG_EV_NODE_LOST: { __auto_type src = &ev->lost; FG_LOST_FIELDS(FG_PUT) break; }
    case FG_EV_TENANT_WEIGHTED: { __auto_type src = &ev->weighted; FG_WEIGHTED_FIELDS(FG_PUT) break; }
    case FG_EV_PRICE_SET: { __auto_type src = &ev->priced; FG_PRICED_FIELDS(FG_PUT) break; }
    case FG_EV_NODE_DRAINED:
    case FG_EV_NODE_RESUMED: { __auto_type src = &ev->drained; FG_DRAINED_FIELDS(FG_PUT) break; }
    case FG_EV_TASK_CANCEL_REQUESTED:
    case FG_EV_TASK_HELD:
    case FG_EV_TASK_RELEASED:
    case FG_EVENT_COUNT: break;
    }
    fg_close_object(out);
}

static int decode_submitted(const struct fg_getter *g, struct fg_event *ev)
{
    __auto_type dst = &ev->submitted;
    fg_spec_defaults(&dst->spec);
    const json_t *spec = json_object_get(g->object, "spec");
    if (json_is_object(spec))
        dst->spec.json = json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS);
    else
        FG_GET_TEXT("spec", spec.json)
    FG_GET_TEXT("idempotency", idempotency)
    return fg_get_spec(g, "want", &dst->spec);
}

static int decode_node(const struct fg_getter *outer, struct fg_node *dst)
{
    struct fg_getter inner;
    bool there = false;
    if (fg_get_object(outer, "node", &inner, &there) < 0)
        return -1;
    const struct fg_getter *g = &inner;
    FG_NODE_FIELDS(FG_GET)
    return 0;
}

static int decode_device(const struct fg_getter *g, struct fg_device *dst)
{
    dst->healthy = true;
    FG_DEVICE_FIELDS(FG_GET)
    return 0;
}

static int decode_joined(const struct fg_getter *g, struct fg_event *ev)
{
    if (decode_node(g, &ev->joined.node) < 0)
        return -1;
    const json_t *list = json_object_get(g->object, "devices");
    if (!json_is_array(list))
        return fg_fail(g->err, FG_E_INTERNAL, "stored %s: member 'devices' is not an array", g->what);
    ev->joined.count = json_array_size(list);
    ev->joined.devices = ev->joined.count ? fg_alloc(ev->joined.count * sizeof *ev->joined.devices) : NULL;
    for (size_t i = 0; i < ev->joined.count; i++) {
        const struct fg_getter one = {.object = json_array_get(list, i), .what = g->what, .err = g->err};
        if (decode_device(&one, &ev->joined.devices[i]) < 0)
            return -1;
    }
    return 0;
}

static int decode_body(const struct fg_getter *g, struct fg_event *ev)
{
    switch (ev->kind) {
    case FG_EV_TASK_SUBMITTED: return decode_submitted(g, ev);
    case FG_EV_TASK_QUEUED: { __auto_type dst = &ev->queued; FG_QUEUED_FIELDS(FG_GET) return 0; }
    case FG_EV_TASK_CLASSIFIED: {
        __auto_type dst = &ev->classified;
        dst->class = FG_CLASS_BATCH;
        FG_CLASSIFIED_FIELDS(FG_GET)
        return 0;
    }
    case FG_EV_TASK_PLACED: {
        __auto_type dst = &ev->placed;
        FG_GET_U32("device", device)
        return fg_get_placed(g, "placed", &dst->placed);
    }
    case FG_EV_LEASE_GRANTED: return fg_get_lease(g, "lease", &ev->lease);
    case FG_EV_TASK_STARTED: { __auto_type dst = &ev->started; FG_STARTED_FIELDS(FG_GET) return 0; }
    case FG_EV_USAGE_RECORDED: return fg_get_usage(g, "usage", &ev->usage);
    case FG_EV_TASK_FINISHED: return fg_get_outcome(g, "outcome", &ev->finished);
    case FG_EV_LEASE_RELEASED: { __auto_type dst = &ev->released; FG_RELEASED_FIELDS(FG_GET) return 0; }
    case FG_EV_LEASE_RESIZED: { __auto_type dst = &ev->resized; FG_RESIZED_FIELDS(FG_GET) return 0; }
    case FG_EV_LEASE_PARKED:
    case FG_EV_LEASE_CALLED:
    case FG_EV_LEASE_RESUMED:
    case FG_EV_LEASE_MOVING:
    case FG_EV_LEASE_MOVED: { __auto_type dst = &ev->parked; FG_PARKED_FIELDS(FG_GET) return 0; }
    case FG_EV_TASK_SETTLED: { __auto_type dst = &ev->settled; FG_SETTLED_FIELDS(FG_GET) return 0; }
    case FG_EV_NODE_JOINED: return decode_joined(g, ev);
    case FG_EV_NODE_LOST: { __auto_type dst = &ev->lost; FG_LOST_FIELDS(FG_GET) return 0; }
    case FG_EV_TENANT_WEIGHTED: {
        __auto_type dst = &ev->weighted;
        dst->weight = 1;
        FG_WEIGHTED_FIELDS(FG_GET)
        return 0;
    }
    case FG_EV_PRICE_SET: { __auto_type dst = &ev->priced; FG_PRICED_FIELDS(FG_GET) return 0; }
    case FG_EV_NODE_DRAINED:
    case FG_EV_NODE_RESUMED: { __auto_type dst = &ev->drained; FG_DRAINED_FIELDS(FG_GET) return 0; }
    case FG_EV_TASK_CANCEL_REQUESTED:
    case FG_EV_TASK_HELD:
    case FG_EV_TASK_RELEASED: return 0;
    case FG_EVENT_COUNT: break;
    }
    return fg_fail(g->err, FG_E_INTERNAL, "stored event of unknown kind %d", (int)ev->kind);
}

int fg_event_decode(const char *json, size_t len, struct fg_event *ev, struct fg_error *err)
{
    FG_AUTO_JSON json_t *doc = fg_json_parse(json, len, err);
    if (!doc)
        return fg_fail_prefix(err, "stored event %s", fg_event_name(ev->kind));
    if (!json_is_object(doc))
        return fg_fail(err, FG_E_INTERNAL, "stored event %s: not an object", fg_event_name(ev->kind));
    struct fg_event whole = {.seq = ev->seq, .time_ns = ev->time_ns, .kind = ev->kind,
                             .task = ev->task, .tenant = ev->tenant, .attempt = ev->attempt};
    const struct fg_getter g = {.object = doc, .what = fg_event_name(ev->kind), .err = err};
    if (decode_body(&g, &whole) < 0) {
        fg_event_fini(&whole);
        return -1;
    }
    *ev = whole;
    return 0;
}
