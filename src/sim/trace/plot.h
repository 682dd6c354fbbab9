/* plot.h - lines in a frame as SVG text, drawn without any library. */
#pragma once
#include "base/str.h"

struct fg_plot_line { const char *name; const double *x, *y; size_t count; };
struct fg_plot {
    const char *title, *x_label, *y_label;
    const struct fg_plot_line *lines;    /* at most 8 get a colour of their own */
    size_t line_count;
    bool diagonal;                       /* with y = x, thin, as a reference */
};
void fg_plot_svg(const struct fg_plot *plot, struct fg_str *out);
