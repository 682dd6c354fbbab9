/* device.h - devices and the machines (nodes) that hold them, as the control side knows them. Plain data. */
#pragma once
#include "model/task.h"

struct fg_device {
    fg_device_id id;
    fg_id node;
    char name[64];                       /* unique on its node: "cpu0", "GPU-5f3c..." */
    char kind[64];                       /* what prices and estimates go by: "cpu", "NVIDIA H200" */
    char backend[16];                    /* cpu, opencl, nvidia, amd */
    uint64_t memory_bytes;               /* what may be handed out */
    uint32_t units;                      /* cores, SMs: for people */
    double gflops;                       /* measured or 0 */
    enum fg_level memory_level, share_level; /* what the agent can enforce on it */
    char level_why[200];                 /* why not higher, for people */
    bool healthy;
    bool moves;                          /* its agent can bring a running task from it to another device like it, and the other way */
};
struct fg_node {
    fg_id id;
    char name[64];
    char boot_id[40];
    bool connected, lost;
    int64_t seen_ns;                     /* last sign of life */
};
