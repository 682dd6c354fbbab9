/* soname.c - the one thing in which our three libraries differ. */
#include "shim/hip/shim.h"

const char fghip_soname[] = FGHIP_SONAME;
