/* graph.h - graphs of the stand-in driver, shared by graph.c, graph_node.c, graph_exec.c and capture.c. Under fk_big. */
#pragma once
#include "driver.h"

struct CUgraphNode_st {
    uint32_t magic;
    CUgraph graph;
    uint64_t id;              /* a clone's nodes keep their original's */
    struct fk_op op;
    CUgraphNode *after;
    size_t count, room;
    bool disabled;
    void **params;            /* a kernel's own copy of its parameters */
    char *block;
    uint64_t finish_ns;       /* of the launch at hand */
    unsigned waits;
};

struct CUgraph_st {
    uint32_t magic;
    CUgraphNode *nodes;
    size_t count, room;
    struct CUgraph_st *clone_of;
};

/* Deep copy; child graphs, too. */
CUgraph fk_graph_clone(CUgraph graph);
CUgraphNode fk_graph_find(CUgraph clone, CUgraphNode original);
bool fk_graph_ok(CUgraph graph);
bool fk_node_ok(CUgraphNode node);
bool fk_node_depend(CUgraphNode node, CUgraphNode on);
CUresult fk_node_keep_params(CUgraphNode node);   /* copies what kernelParams points at */
CUresult fk_kernel_node_op(const CUDA_KERNEL_NODE_PARAMS *params, struct fk_op *ret);
CUresult fk_node_params_op(CUgraphNodeParams *params, struct fk_op *ret); /* alloc nodes get their address */
/* Put the nodes in an order in which each comes after those it depends on. false: a cycle. */
bool fk_graph_sort(CUgraph graph);
/* --- graph_exec.c --- */
CUgraph fk_exec_graph(CUgraphExec exec); /* NULL: no such */
CUresult fk_node_replace(CUgraphNode node, CUgraphNodeType type, CUresult built, const struct fk_op *op);
