/* net.c - connections as TCP gives them: bytes arrive in order or not at all, and either end may be the last to know. */
#include "sim/sim_private.h"

static void msg_free(struct msg *msg)
{
    fg_vec_fini(&msg->attempts);
    free(msg);
}

static void arrive_at_server(struct world *w, int machine, uint64_t what, void *data)
{
    struct msg *msg = data;
    struct link *link = &w->machines[machine].link;
    if (msg->connection > link->dead_to_server && !link->cut)
        server_receive(w, machine, msg);
    else if (link->cut)
        link->dead_to_server = FG_MAX(link->dead_to_server, msg->connection);    /* a hole in the stream: nothing after it arrives */
    msg_free(msg);
}

static void arrive_at_agent(struct world *w, int machine, uint64_t what, void *data)
{
    struct msg *msg = data;
    struct machine *m = &w->machines[machine];
    if (msg->connection > m->link.dead_to_agent && !m->link.cut && m->on && m->agent_up && msg->connection == m->connection)
        machine_receive(w, machine, msg);
    else if (m->link.cut)
        m->link.dead_to_agent = FG_MAX(m->link.dead_to_agent, msg->connection);
    msg_free(msg);
}

static int64_t delay(struct world *w) { return !w->calm && chance(w, w->climate.late_message) ? between(w, 100 * MS, 3 * SEC) : between(w, MS / 10, 20 * MS); }

void net_to_server(struct world *w, int machine, struct msg *msg)
{
    struct link *link = &w->machines[machine].link;
    int64_t wait_ns = delay(w);
    link->last_to_server = FG_MAX(link->last_to_server, w->now + wait_ns);
    at(w, link->last_to_server, arrive_at_server, machine, 0, msg);
}

void net_to_agent(struct world *w, int machine, struct msg *msg)
{
    struct link *link = &w->machines[machine].link;
    int64_t wait_ns = delay(w);
    link->last_to_agent = FG_MAX(link->last_to_agent, w->now + wait_ns);
    at(w, link->last_to_agent, arrive_at_agent, machine, 0, msg);
}

static void server_notices_break(struct world *w, int machine, uint64_t connection, void *data)
{
    server_gone(w, machine, connection);
}

static void agent_notices_break(struct world *w, int machine, uint64_t connection, void *data)
{
    struct machine *m = &w->machines[machine];
    if (m->connection == connection)
        m->connection = 0;
}

/* What is on its way to the server may still arrive there, until it knows. */
void net_break(struct world *w, int machine, bool agent_notices, bool server_notices)
{
    struct machine *m = &w->machines[machine];
    uint64_t connection = FG_MAX(m->connection, w->server.connections[machine]);
    if (!connection)
        return;
    trace(w, "machine %d: connection %llu breaks", machine, (unsigned long long)connection);
    if (chance(w, 500))
        m->link.dead_to_server = FG_MAX(m->link.dead_to_server, connection);
    m->link.dead_to_agent = FG_MAX(m->link.dead_to_agent, connection);
    if (agent_notices)
        at(w, w->now + between(w, 0, SEC), agent_notices_break, machine, connection, NULL);
    if (server_notices)
        at(w, w->now + between(w, 0, 5 * SEC), server_notices_break, machine, connection, NULL);
}
