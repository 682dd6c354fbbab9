#!/usr/bin/env python3
"""Describe the HTTP API as OpenAPI 3.1 from the tables of api/*.toml, as a C array for the server to hand out.

Routes, parameters, states, reasons, errors and the fields of a task come from the tables; what the answers look like is
written below, next to each other, since it is written by hand in src/control/ too (task_view.c and the route files). A
route without an answer here stops the build. usage: gen_openapi.py API_DIR VERSION OUT_H [OUT_JSON]
"""
import json
import pathlib
import sys
import tomllib

STRING, INTEGER, NUMBER, BOOLEAN = ({"type": t} for t in ("string", "integer", "number", "boolean"))
TIME = {"type": ["string", "null"], "format": "date-time"}
MONEY = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2,9}$", "description": "USD as a decimal string; never a float."}


def null(schema):
    if "enum" in schema:
        return {**schema, "type": ["string", "null"], "enum": schema["enum"] + [None]}
    return {**schema, "type": [schema["type"], "null"]}


def text(doc):
    return {"type": "string", "description": doc}


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def either_null(name):
    return {"oneOf": [ref(name), {"type": "null"}]}


def obj(required=True, **members):
    return {"type": "object", "properties": members, **({"required": list(members)} if required else {})}


def array(items):
    return {"type": "array", "items": items}


def field_schema(f):
    """One row of task.toml. Bytes, percent, seconds and money may be given with units, as text."""
    units = {"bytes": ("integer", "or text such as \"1GB\""), "percent": ("number", "or text such as \"50%\""),
             "cores": ("number", "or text such as \"0.5\""),
             "seconds": ("number", "or text such as \"5m\"")}
    kind, doc = f["type"], f["doc"]
    if kind in units:
        number, how = units[kind]
        return {"anyOf": [{"type": number}, STRING], "description": f"{doc} ({kind}, {how})"}
    schema = {"string": STRING, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN, "enum": STRING,
              "money": MONEY, "strings": array(STRING), "map": {"type": "object", "additionalProperties": STRING},
              "input": {"anyOf": [STRING, {"type": "object", "additionalProperties": STRING}]}, "object": {"type": "object"}}[kind]
    schema = {**schema, "description": doc}
    if "enum" in f:
        schema["enum"] = f["enum"]
    if kind == "string" and "max" in f:
        schema["maxLength"] = f["max"]
    if kind == "integer":
        schema |= {k: f[n] for k, n in (("minimum", "min"), ("maximum", "max")) if n in f}
    if "default" in f:
        schema["default"] = f["default"]
    return schema


def task_spec(fields):
    spec = {"type": "object", "additionalProperties": False, "properties": {}, "required": []}
    for f in fields:
        at, *rest = f["path"].split(".")
        if rest:
            group = spec["properties"].setdefault(at, {"type": "object", "additionalProperties": False, "properties": {}})
            group["properties"][rest[0]] = field_schema(f)
        else:
            spec["properties"][at] = field_schema(f)
            if f.get("required"):
                spec["required"].append(at)
    return spec


TASK_ID = text("tsk_ and 26 letters")
SECONDS = null({**NUMBER, "description": "seconds; null: not known yet"})
PERCENT = null({**NUMBER, "description": "of one device's compute"})
TASK_CLASS = {"type": "string", "enum": ["interactive", "batch", "training", "large"]}


def basic(api):
    state = {"type": "string", "enum": [s["name"] for s in api["states"]["state"]],
             "description": " ".join(f"{s['name']}: {s['doc']}" for s in api["states"]["state"])}
    reason = {"type": "string", "enum": [r["name"] for r in api["states"]["reason"] if r["name"] != "none"],
              "description": " ".join(f"{r['name']}: {r['doc']}" for r in api["states"]["reason"] if r["name"] != "none")}
    level = {"type": "string", "enum": ["none", "cooperative", "audited", "kernel", "hardware"], "description": "Who enforces a limit."}
    s = {}
    s["TaskSpec"] = task_spec(api["task"]["field"])
    s["State"], s["Reason"], s["Level"] = state, reason, level
    s["Error"] = obj(code={"type": "string", "enum": [e["name"] for e in api["errors"]["error"]]}, status=INTEGER, title=STRING,
                     detail=STRING, pointer=null(STRING), hint=null(STRING))
    s["Problem"] = {**obj(type=STRING, title=STRING, status=INTEGER, detail=STRING,
                          code={"type": "string", "enum": [e["name"] for e in api["errors"]["error"]]}),
                    "description": "RFC 9457. `errors` points at places of the input, `hint` says what to do."}
    s["Problem"]["properties"] |= {"errors": array(obj(pointer=STRING, detail=STRING)), "hint": STRING, "request_id": STRING,
                                   "retryable": BOOLEAN}
    return s


def tasks():
    s = {}
    s["Need"] = obj(memory_bytes=null(INTEGER), share_percent=PERCENT, share_max_percent=PERCENT, device_kind=null(STRING),
                    cpus=null({**NUMBER, "description": "cores beside the device"}), host_memory_bytes=null(INTEGER))
    s["Enforcement"] = obj(memory=ref("Level"), share=ref("Level"), level=ref("Level"))
    s["Placement"] = obj(node=TASK_ID | {"description": "nod_..."}, node_name=null(STRING), device=INTEGER, device_name=null(STRING),
                         device_kind=null(STRING), memory_bytes=INTEGER, share_percent=PERCENT, share_lent_percent=NUMBER,
                         cpus=null(NUMBER), host_memory_bytes=null(INTEGER),
                         parking={"enum": ["none", "parked", "called"]}, parked_s=NUMBER, borrowed=BOOLEAN,
                         moving_to=null(INTEGER), moved_from=null(INTEGER),
                         moved_for=null(text("the waiting task that its last move made room for, or the one under way makes")), enforcement=ref("Enforcement"),
                         rule=INTEGER, rule_text=STRING, expected_s=SECONDS, expected_cost=MONEY)
    s["Timings"] = obj(queue_s=SECONDS, pull_s=SECONDS, load_s=SECONDS, run_s=SECONDS)
    s["Usage"] = obj(device_s=NUMBER, wall_s=NUMBER, memory_peak_bytes=INTEGER, throttled_s=NUMBER, denied=INTEGER)
    s["CostLine"] = obj(False, phase=STRING, seconds=STRING, permille=INTEGER, price_per_s=STRING, amount=STRING)
    s["Cost"] = obj(amount=MONEY, currency=STRING, lines=array(ref("CostLine")))
    s["Output"] = obj(path=STRING, size=INTEGER, blob=STRING)
    end = {"exit_code": null(INTEGER), "signal": null(INTEGER), "detail": null(STRING), "outputs": array(ref("Output"))}
    s["Task"] = obj(
        id=TASK_ID, state=ref("State"), reason={"oneOf": [ref("Reason"), {"type": "null"}]}, reason_text=null(STRING),
        hint=null(STRING), name=null(STRING), task_type=STRING, model_name=null(STRING),
        **{"class": null(TASK_CLASS)}, class_rule=null(text("why it is of that class")),
        priority={"type": "string", "enum": ["low", "normal", "high"]}, deadline=TIME, preemptible=BOOLEAN, spot=BOOLEAN,
        array={"oneOf": [obj(id=TASK_ID, index=INTEGER, size=INTEGER, gang=BOOLEAN), {"type": "null"}]},
        attempt=INTEGER, held=BOOLEAN, cancel_requested=BOOLEAN,
        labels={"type": "object", "additionalProperties": STRING}, need=ref("Need"),
        slice={"oneOf": [obj(memory_bytes=INTEGER, share_percent=PERCENT), {"type": "null"}]}, placement=either_null("Placement"),
        times=obj(submitted=TIME, queued=TIME, placed=TIME, started=TIME, finished=TIME), timings=ref("Timings"), usage=ref("Usage"),
        cost=ref("Cost"), **end)
    s["Result"] = {**obj(False, id=TASK_ID, state=ref("State"), result={"description": "of a task that succeeded; any JSON"},
                         error=obj(reason=ref("Reason"), message=STRING, hint=null(STRING), log_tail=null(STRING)),
                         placement=either_null("Placement"), timings=ref("Timings"), usage=ref("Usage"), cost=ref("Cost"), **end),
                   "required": ["id", "state", "outputs", "cost", "timings"]}
    s["Quote"] = obj(dry_run=BOOLEAN, **{"class": TASK_CLASS}, class_rule=STRING, need=ref("Need"), device_name=null(STRING),
                     device_kind=null(STRING), expected=obj(mean_s=SECONDS, p50_s=SECONDS, p95_s=SECONDS, samples=INTEGER,
                                                            confidence_percent=null(NUMBER)),
                     cost=obj(p50=MONEY, p95=MONEY, currency=STRING))
    return s


def lists(api):
    s = {}
    s["Array"] = obj(id=TASK_ID | {"description": "of its first task"}, state=ref("State"), size=INTEGER, gang=BOOLEAN, tasks=array(TASK_ID))
    s["Batch"] = {**obj(tasks={**array(ref("TaskSpec")), "minItems": 1, "maxItems": 1000}), "additionalProperties": False}
    s["BatchAnswer"] = obj(tasks=array({"oneOf": [obj(id=TASK_ID), obj(error=ref("Error"))]}))
    s["TaskList"] = obj(tasks=array(ref("Task")), next_cursor=null(text("give it back as cursor; null: that was all")))
    s["Event"] = obj(seq=INTEGER, time=TIME, event={"type": "string", "enum": [e["name"] for e in api["states"]["event"]]},
                     task=null(STRING), attempt=INTEGER, data={"type": "object"})
    s["EventPage"] = obj(events=array(ref("Event")), next_after=INTEGER, more=BOOLEAN)
    s["LogLine"] = obj(False, id={**INTEGER, "description": "place in the log, for `after`"}, t=TIME, src={"type": "string", "enum": ["stdout", "stderr", "system"]},
                          attempt=INTEGER, line=text("what was printed, line ends included: some lines, or part of one"),
                          base64=text("instead of line, where the bytes are no UTF-8"))
    s["Block"] = obj(device=null(INTEGER), device_name=null(STRING), device_kind=null(STRING), reason=ref("Reason"),
                     memory_missing_bytes=INTEGER, share_missing_percent=PERCENT, cpus_missing=null(NUMBER), host_memory_missing_bytes=INTEGER,
                     free=TIME, text=STRING)
    s["Why"] = {**obj(False, id=TASK_ID, state=ref("State"), reason={"oneOf": [ref("Reason"), {"type": "null"}]}, reason_text=null(STRING),
                      hint=null(STRING), detail=null(STRING), **{"class": null(TASK_CLASS)}, class_rule=null(STRING), need=ref("Need"),
                      position=null({**INTEGER, "description": "place in the queue, from 1"}), blocks=array(ref("Block")),
                      start={"oneOf": [obj(in_s=SECONDS, p10_s=SECONDS, p90_s=SECONDS, at=TIME), {"type": "null"}]},
                      reservation={"oneOf": [obj(device_name=null(STRING), devices=INTEGER, start=TIME, latest=TIME), {"type": "null"}]},
                      decision={"oneOf": [obj(rule=INTEGER, rule_text=STRING, expected_s=SECONDS, expected_cost=MONEY,
                                              runner_up_cost=null(MONEY), alternatives=array(obj(device=INTEGER, device_name=null(STRING),
                                              expected_cost=MONEY)), plan=obj(cost=MONEY, lower_bound=MONEY, gap_percent=NUMBER)), {"type": "null"}]}),
                "required": ["id", "state", "need", "decision"]}
    return s


def system():
    s = {}
    s["Blob"] = obj(sha256=STRING, size=INTEGER)
    there = {**INTEGER, "description": "tasks with a place there, those that move to it included"}
    s["Device"] = obj(id=INTEGER, name=STRING, kind=STRING, backend=STRING, node=STRING, node_name=null(STRING), connected=BOOLEAN,
                      healthy=BOOLEAN, moves={**BOOLEAN, "description": "its agent can move running tasks to another device like it"}, drained=ref("Drained"), tasks_there=there, units=INTEGER, gflops=NUMBER, memory_bytes=INTEGER, memory_free_bytes=INTEGER,
                      memory_parked_bytes=INTEGER, memory_borrowed_bytes=INTEGER,
                      share_free_percent=NUMBER, share_lent_percent=NUMBER, price_usd_per_s=MONEY, price_usd_per_hour=MONEY,
                      enforcement=obj(memory=ref("Level"), share=ref("Level"), level=ref("Level"), why=null(STRING)),
                      vgpus=array(obj(task=null(text("of your own tenant; null: another's")), name=null(STRING), state=ref("State"),
                                      memory_bytes=INTEGER, share_percent=PERCENT, share_lent_percent=NUMBER,
                                      parking={"enum": ["none", "parked", "called"]}, borrowed=BOOLEAN)))
    s["DeviceList"] = obj(devices=array(ref("Device")))
    s["NodeList"] = obj(nodes=array(obj(id=STRING, name=STRING, connected=BOOLEAN, lost=BOOLEAN, seen=TIME, drained=ref("Drained"),
                                        tasks_there=there)))
    s["Drained"] = {"anyOf": [obj(since=TIME, reason=null(STRING), now=BOOLEAN, whole_node={**BOOLEAN, "description": "the machine is, not the device alone"}),
                              {"type": "null"}]}
    s["DrainWish"] = {**obj(False, reason=null({"type": "string", "maxLength": 100}),
                            now={**BOOLEAN, "description": "spot and preemptible tasks are asked to go"}), "additionalProperties": False}
    s["Drain"] = obj(node=STRING, node_name=null(STRING), device_name=null(STRING), drained=ref("Drained"), tasks_there=there,
                     tasks=array(obj(id=STRING, tenant=STRING, name=null(STRING), state=ref("State"), device_name=null(STRING), may_go=BOOLEAN,
                                     going=BOOLEAN)))
    s["Model"] = obj(name=STRING, task_type=null(STRING), title=null(STRING), architecture=null(STRING),
                     weights={"type": "string", "enum": ["imported", "source", "missing"],
                              "description": "imported: here; source: fetched when first needed; missing: must be imported"},
                     blob=null(STRING), format=null(STRING), source={}, license={})
    s["ModelList"] = obj(models=array(ref("Model")))
    s["ModelWeights"] = {**obj(blob=text("SHA-256 of an uploaded blob"), format={"type": "string", "enum": ["onnx", "torch"]}),
                         "additionalProperties": False}
    s["Key"] = obj(id=STRING, name=STRING, tenant=STRING, scopes=text("separated by spaces"), created=TIME, expires=TIME, revoked=TIME)
    s["KeyWish"] = {**obj(False, name=STRING, tenant=STRING, scopes=array(STRING), expires_s=INTEGER), "additionalProperties": False}
    s["NewKey"] = obj(id=STRING, name=STRING, tenant=STRING, scopes=STRING, created=TIME, expires=TIME, key=text("told this once"))
    s["KeyList"] = obj(keys=array(ref("Key")))
    s["Tenant"] = obj(id=STRING, weight=INTEGER, used_device_s={**NUMBER, "description": "device time used, halved every half-life"},
                      expected_device_s={**NUMBER, "description": "what runs is expected to use in all; it counts as used when turns are taken"},
                      waiting=INTEGER, live=INTEGER)
    s["TenantList"] = obj(tenants=array(ref("Tenant")))
    s["TenantWeight"] = {**obj(weight={"type": "integer", "minimum": 1, "maximum": 1000}), "additionalProperties": False}
    s["Price"] = obj(kind=text("of devices; empty: all kinds without a price of their own"), usd_per_hour=MONEY, spot_usd_per_hour=null(MONEY),
                     source={"type": "string", "enum": ["set", "settings"]})
    s["PriceList"] = obj(prices=array(ref("Price")))
    s["PriceWish"] = {**obj(False, kind=STRING, usd_per_hour=null(MONEY), spot_usd_per_hour=null(MONEY)), "required": ["kind"],
                      "additionalProperties": False}
    s["Pause"] = {**obj(seconds={"type": "integer", "minimum": 0, "maximum": 60}), "additionalProperties": False}
    s["UsageReport"] = obj(usage=array(obj(task_type=STRING, model=null(STRING), state=ref("State"), tasks=INTEGER, run_s=SECONDS,
                                           device_s=SECONDS, cost=MONEY)),
                           **{"from": TIME}, to=TIME, tasks=INTEGER, run_s=SECONDS, device_s=SECONDS, cost=MONEY, currency=STRING)
    s["Health"] = obj(status=STRING)
    s["Ready"] = obj(status=STRING, code=null(STRING), detail=null(STRING), hint=null(STRING))
    return s


def schemas(api):
    return basic(api) | tasks() | lists(api) | system()


# route name: request body schema (json bodies), answer: schema name, or {media type: schema name or None for bytes}
BODY = {"task_submit": "TaskSpec", "task_batch": "Batch", "model_put": "ModelWeights", "keys_create": "KeyWish", "tenant_put": "TenantWeight",
        "price_put": "PriceWish", "pause": "Pause", "node_drain": "DrainWish", "device_drain": "DrainWish"}
ANSWER = {
    "task_submit": "Task", "task_batch": "BatchAnswer", "task_list": "TaskList", "task_get": "Task", "task_result": "Result",
    "task_logs": {"text/plain": None, "application/x-ndjson": "LogLine", "text/event-stream": None},
    "task_events": {"application/json": "EventPage", "text/event-stream": None},
    "events": {"application/json": "EventPage", "text/event-stream": None},
    "task_cancel": "Task", "task_release": "Task", "task_hold": "Task", "task_retry": "Task", "task_why": "Why",
    "blob_put": "Blob", "blob_post": "Blob", "blob_get": {"application/octet-stream": None},
    "devices": "DeviceList", "nodes": "NodeList", "models": "ModelList", "model_put": "Model",
    "keys_create": "NewKey", "keys_list": "KeyList", "key_revoke": {}, "tenants": "TenantList", "tenant_put": "Tenant",
    "prices": "PriceList", "price_put": "PriceList", "pause": "Pause", "usage": "UsageReport",
    "node_drain": "Drain", "node_resume": "Drain", "device_drain": "Drain", "device_resume": "Drain",
    "metrics": {"text/plain": None}, "healthz": "Health", "readyz": "Ready", "openapi": {"application/json": None},
    "root": {"text/html": None},
}
# (route, status) whose answer is another one
OTHERWISE = {("task_submit", 202): ["Task", "Array"], ("task_submit", 200): ["Quote", "Task"], ("task_result", 202): ["Task"], ("readyz", 503): ["Ready"]}
HEADERS = {
    "task_submit": {"Idempotency-Key": "1 to 255 printable characters; a repeat within 24 h gives the first task.",
                    "Prefer": "wait=N holds the answer until the task ended, at most N seconds (300)."},
    "task_batch": {"Idempotency-Key": "Item N counts as KEY#N."},
    "task_retry": {"Idempotency-Key": "As for a submit."},
    "task_get": {"If-None-Match": "An ETag: 304 when nothing changed.", "Prefer": "wait=N, as the query parameter."},
    "task_result": {"Prefer": "wait=N, as the query parameter."},
    "task_logs": {"Last-Event-ID": "Go on after this place (text/event-stream)."},
    "task_events": {"Last-Event-ID": "Go on after this event."},
    "events": {"Last-Event-ID": "Go on after this event."},
    "blob_get": {"Range": "bytes=FROM-TO"},
}
QUERY = {
    "dry_run": (BOOLEAN, "Only say what it would be given and cost."), "state": (STRING, "Only tasks in this state."),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}, "Tasks on a page."),
    "cursor": (STRING, "next_cursor of the page before."), "label": (STRING, "KEY or KEY=VALUE."), "name": (STRING, "Only tasks of this name."),
    "wait": ({"type": "integer", "minimum": 0, "maximum": 300}, "Seconds to wait for the task's end."),
    "source": ({"type": "string", "enum": ["stdout", "stderr", "system", "all"]}, "Which output."),
    "tail": (INTEGER, "Only the last N lines."), "follow": (BOOLEAN, "Go on until the task ended; default for text/event-stream."),
    "attempt": (INTEGER, "Only this attempt; default: the latest, and those that follow."),
    "after": (INTEGER, "Go on after this id."), "from": (STRING, "2026-11-22, RFC 3339 or seconds since 1970."), "to": (STRING, "Likewise."),
}


def content(answer):
    if isinstance(answer, str):
        answer = {"application/json": answer}
    return {kind: {"schema": ref(name)} if name else {} for kind, name in answer.items()}


def responses(route):
    out = {}
    for status in route["status"]:
        names = OTHERWISE.get((route["name"], status))
        body = {} if status in (204, 304) else content(ANSWER[route["name"]])
        if names:
            schema = ref(names[0]) if len(names) == 1 else {"oneOf": [ref(n) for n in names]}
            body = {"application/json": {"schema": schema}}
        out[str(status)] = {"description": {200: "OK", 201: "Made", 202: "Accepted", 204: "Done", 206: "A part", 304: "Not changed",
                                            503: "Not ready"}[status], **({"content": body} if body else {})}
    out["default"] = {"description": "A problem (RFC 9457)", "content": {"application/problem+json": {"schema": ref("Problem")}}}
    return out


def operation(route):
    params = [{"name": p.split("}")[0], "in": "path", "required": True, "schema": STRING} for p in route["path"].split("{")[1:]]
    for q in route.get("query", []):
        schema, doc = QUERY[q]
        params.append({"name": q, "in": "query", "schema": schema, "description": doc})
    params += [{"name": h, "in": "header", "schema": STRING, "description": doc} for h, doc in HEADERS.get(route["name"], {}).items()]
    op = {"operationId": route["name"], "summary": route["doc"], "responses": responses(route)}
    op["security"] = [{"key": []}] if route["scope"] else []
    if route["scope"]:
        op["x-scope"] = route["scope"]
    if params:
        op["parameters"] = params
    if route.get("body") == "json":
        op["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref(BODY[route["name"]])}}}
    if route.get("body") == "stream":
        op["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    return op


def describe(api, version):
    paths = {}
    for route in api["routes"]["route"]:
        paths.setdefault(route["path"], {})[route["method"].lower()] = operation(route)
    return {"openapi": "3.1.0",
            "info": {"title": "FastGPU", "version": version, "description": "Tasks in, results out; slices of devices in between."},
            "paths": paths,
            "components": {"schemas": schemas(api),
                           "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "fgpu_..., also as X-Api-Key"}}}}


def main():
    api_dir, version, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    api = {p.stem: tomllib.loads(p.read_text()) for p in api_dir.glob("*.toml")}
    data = json.dumps(describe(api, version), separators=(",", ":")).encode()
    rows = [", ".join(str(b) for b in data[i:i + 32]) for i in range(0, len(data), 32)]
    out.write_text("/* openapi.h - generated by tools/gen_openapi.py; do not edit. */\n#pragma once\n#include <stddef.h>\n"
                   "static const unsigned char fg_openapi_json[] = {\n" + ",\n".join(rows) + "};\n"
                   "static const size_t fg_openapi_json_len = sizeof fg_openapi_json;\n")
    if len(sys.argv) > 4:
        pathlib.Path(sys.argv[4]).write_bytes(data)


if __name__ == "__main__":
    main()
