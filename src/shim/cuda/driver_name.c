/* driver_name.c - nothing but a soname for the shim to depend on; see meson.build. */
extern const char fgcu_driver_name;
const char fgcu_driver_name = 0;
