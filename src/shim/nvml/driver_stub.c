/* driver_stub.c - an empty library that bears the driver's path as its name, so that the linker writes this path into the
 * front end's list of dependencies. Never installed, never loaded. */
