/* state.h - the states, events and reasons of api/states.toml, and which moves are legal. Pure. Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "api_states.h"

enum fg_state {
#define X(NAME, ...) FG_STATE_##NAME,
    FG_STATE_LIST(X)
#undef X
    FG_STATE_COUNT
};
enum { FG_STATE_SAME = 100, FG_STATE_ANY = 101 };

enum fg_event_kind {
#define X(NAME, ...) FG_EV_##NAME,
    FG_EVENT_LIST(X)
#undef X
    FG_EVENT_COUNT
};

enum fg_reason {
#define X(NAME, ...) FG_REASON_##NAME,
    FG_REASON_LIST(X)
#undef X
    FG_REASON_COUNT
};

enum fg_class { FG_CLASS_INTERACTIVE, FG_CLASS_BATCH, FG_CLASS_TRAINING, FG_CLASS_LARGE, FG_CLASS_COUNT, FG_CLASS_AUTO = FG_CLASS_COUNT };
enum fg_priority { FG_PRIORITY_LOW, FG_PRIORITY_NORMAL, FG_PRIORITY_HIGH, FG_PRIORITY_COUNT };
/* Who enforces a limit, weakest first (DESIGN 6.5). NONE: nobody; it is said, never hidden. */
enum fg_level { FG_LEVEL_NONE, FG_LEVEL_COOPERATIVE, FG_LEVEL_AUDITED, FG_LEVEL_KERNEL, FG_LEVEL_HARDWARE, FG_LEVEL_COUNT };

/* Names as on the wire; never NULL ("?" out of range). *_by_name give -1 when unknown. */
const char *fg_state_name(enum fg_state state);
const char *fg_event_name(enum fg_event_kind kind);
const char *fg_reason_name(enum fg_reason reason);
const char *fg_reason_doc(enum fg_reason reason);
const char *fg_reason_hint(enum fg_reason reason);      /* "" when there is none */
const char *fg_class_name(enum fg_class class);
const char *fg_priority_name(enum fg_priority priority);
const char *fg_level_name(enum fg_level level);
int fg_state_by_name(const char *name);
int fg_reason_by_name(const char *name);
int fg_class_by_name(const char *name);
int fg_priority_by_name(const char *name);
int fg_level_by_name(const char *name);

bool fg_state_is_terminal(enum fg_state state);
/* Whether event kind may happen to a task in state; *ret_next is the state after it (state itself when the
 * table keeps it or leaves it to the event). task.submitted is legal only for a task that does not exist. */
bool fg_state_move(enum fg_state state, enum fg_event_kind kind, enum fg_state *ret_next);
