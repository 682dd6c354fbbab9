/* state.c - the tables of api/states.toml as arrays, and the one question asked of them: may this happen now. */
#include "model/state.h"

#include <string.h>

#include "base/mem.h"

static const struct { const char *name; bool terminal; } states[] = {
#define X(NAME, name, terminal, doc) {name, terminal},
    FG_STATE_LIST(X)
#undef X
};
static const struct { const char *name; uint32_t legal; int to; bool of_node; } events[] = {
#define X(NAME, name, legal, to, of_node, doc) {name, legal, to, of_node},
    FG_EVENT_LIST(X)
#undef X
};
static const struct { const char *name, *doc, *hint; } reasons[] = {
#define X(NAME, name, doc, hint) {name, doc, hint},
    FG_REASON_LIST(X)
#undef X
};
static const char *const classes[] = {"interactive", "batch", "training", "large", "auto"};
static const char *const priorities[] = {"low", "normal", "high"};
static const char *const levels[] = {"none", "cooperative", "audited", "kernel", "hardware"};
_Static_assert(FG_COUNT(classes) == FG_CLASS_COUNT + 1 && FG_COUNT(priorities) == FG_PRIORITY_COUNT &&
               FG_COUNT(levels) == FG_LEVEL_COUNT, "a name for each");
_Static_assert(FG_STATE_COUNT < 32, "legal is a mask of states");

const char *fg_state_name(enum fg_state state) { return (size_t)state < FG_STATE_COUNT ? states[state].name : "?"; }
const char *fg_event_name(enum fg_event_kind kind) { return (size_t)kind < FG_EVENT_COUNT ? events[kind].name : "?"; }
const char *fg_reason_name(enum fg_reason reason) { return (size_t)reason < FG_REASON_COUNT ? reasons[reason].name : "?"; }
const char *fg_reason_doc(enum fg_reason reason) { return (size_t)reason < FG_REASON_COUNT ? reasons[reason].doc : "?"; }
const char *fg_reason_hint(enum fg_reason reason) { return (size_t)reason < FG_REASON_COUNT ? reasons[reason].hint : ""; }
const char *fg_class_name(enum fg_class class) { return (size_t)class < FG_COUNT(classes) ? classes[class] : "?"; }
const char *fg_priority_name(enum fg_priority p) { return (size_t)p < FG_COUNT(priorities) ? priorities[p] : "?"; }
const char *fg_level_name(enum fg_level level) { return (size_t)level < FG_COUNT(levels) ? levels[level] : "?"; }

/* The tables are short: the first letters tell nearly all names apart, so that this is a few compares. */
#define FIND(table, count) \
    for (int i = 0; i < (int)(count); i++) \
        if (strcmp((table), name) == 0) \
            return i; \
    return -1

int fg_state_by_name(const char *name) { FIND(states[i].name, FG_STATE_COUNT); }
int fg_reason_by_name(const char *name) { FIND(reasons[i].name, FG_REASON_COUNT); }
int fg_class_by_name(const char *name) { FIND(classes[i], FG_COUNT(classes)); }
int fg_priority_by_name(const char *name) { FIND(priorities[i], FG_PRIORITY_COUNT); }
int fg_level_by_name(const char *name) { FIND(levels[i], FG_LEVEL_COUNT); }

bool fg_state_is_terminal(enum fg_state state) { return (size_t)state < FG_STATE_COUNT && states[state].terminal; }

bool fg_state_move(enum fg_state state, enum fg_event_kind kind, enum fg_state *ret_next)
{
    if ((size_t)state >= FG_STATE_COUNT || (size_t)kind >= FG_EVENT_COUNT || events[kind].of_node)
        return false;
    if (!(events[kind].legal & (1u << state)))
        return false;
    int to = events[kind].to;
    *ret_next = to == FG_STATE_SAME || to == FG_STATE_ANY ? state : (enum fg_state)to;
    return true;
}
