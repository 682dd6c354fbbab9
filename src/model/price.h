/* price.h - what a device kind costs. Integers in nano-dollars; never a float. */
#pragma once
#include <stdint.h>
struct fg_price {
    char kind[64];                       /* device kind; "" is the default for kinds without a row */
    int64_t nanousd_per_s;               /* of the whole device, while a vGPU of it is held in phase run */
};
