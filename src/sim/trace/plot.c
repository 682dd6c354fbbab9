/* plot.c - the frame is as wide as the data; ticks at 1, 2 or 5 times a power of ten. */
#include "sim/trace/plot.h"

#include <math.h>
#include <stdio.h>

#define LEFT   64.0
#define TOP    44.0
#define WIDTH  640.0
#define HEIGHT 380.0

static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"};

struct span { double low, high, step; };

static struct span span_of(double low, double high)
{
    double range = high > low ? high - low : 1, step = pow(10, floor(log10(range / 5)));
    step *= range / step > 25 ? 5 : range / step > 10 ? 2 : 1;
    return (struct span){floor(low / step) * step, ceil((low + range) / step) * step, step};
}

static void spans(const struct fg_plot *p, struct span *x, struct span *y)
{
    double lx = INFINITY, hx = -INFINITY, ly = INFINITY, hy = -INFINITY;
    for (size_t l = 0; l < p->line_count; l++)
        for (size_t i = 0; i < p->lines[l].count; i++) {
            lx = fmin(lx, p->lines[l].x[i]), hx = fmax(hx, p->lines[l].x[i]);
            ly = fmin(ly, p->lines[l].y[i]), hy = fmax(hy, p->lines[l].y[i]);
        }
    *x = isfinite(lx) ? span_of(lx, hx) : span_of(0, 1);
    *y = isfinite(ly) ? span_of(ly, hy) : span_of(0, 1);
}

static void add_text(struct fg_str *out, const char *text)
{
    for (; *text; text++)
        if (*text == '<' || *text == '>' || *text == '&')
            fg_str_addf(out, "&#%d;", *text);
        else
            fg_str_add(out, text, 1);
}

static void add_label(struct fg_str *out, double x, double y, const char *style, const char *text)
{
    fg_str_addf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
    add_text(out, text);
    fg_str_adds(out, "</text>\n");
}

static double at_x(const struct span *s, double v) { return LEFT + (v - s->low) / (s->high - s->low) * WIDTH; }
static double at_y(const struct span *s, double v) { return TOP + HEIGHT - (v - s->low) / (s->high - s->low) * HEIGHT; }

static void add_ticks(struct fg_str *out, const struct span *x, const struct span *y)
{
    char number[32];
    for (int i = 0; x->low + i * x->step <= x->high + x->step / 2; i++) {
        double v = x->low + i * x->step;
        fg_str_addf(out, "<path d=\"M%.1f %.1fv%.1f\" stroke=\"#ddd\"/>\n", at_x(x, v), TOP, HEIGHT);
        snprintf(number, sizeof number, "%g", v);
        add_label(out, at_x(x, v), TOP + HEIGHT + 18, "text-anchor=\"middle\"", number);
    }
    for (int i = 0; y->low + i * y->step <= y->high + y->step / 2; i++) {
        double v = y->low + i * y->step;
        fg_str_addf(out, "<path d=\"M%.1f %.1fh%.1f\" stroke=\"#ddd\"/>\n", LEFT, at_y(y, v), WIDTH);
        snprintf(number, sizeof number, "%g", v);
        add_label(out, LEFT - 8, at_y(y, v) + 4, "text-anchor=\"end\"", number);
    }
}

static void add_lines(struct fg_str *out, const struct fg_plot *p, const struct span *x, const struct span *y)
{
    for (size_t l = 0; l < p->line_count; l++) {
        const char *colour = colours[l % (sizeof colours / sizeof *colours)];
        fg_str_adds(out, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"");
        fg_str_addf(out, "%s\" points=\"", colour);
        for (size_t i = 0; i < p->lines[l].count; i++)
            fg_str_addf(out, "%.1f,%.1f ", at_x(x, p->lines[l].x[i]), at_y(y, p->lines[l].y[i]));
        fg_str_addf(out, "\"/>\n<path d=\"M%.1f %.1fh20\" stroke-width=\"3\" stroke=\"%s\"/>\n", LEFT + 16, TOP + 18 + 18 * (double)l, colour);
        add_label(out, LEFT + 44, TOP + 22 + 18 * (double)l, "", p->lines[l].name);
    }
}

void fg_plot_svg(const struct fg_plot *p, struct fg_str *out)
{
    struct span x, y;
    spans(p, &x, &y);
    fg_str_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
                     "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", LEFT + WIDTH + 24, TOP + HEIGHT + 52);
    add_ticks(out, &x, &y);
    if (p->diagonal) {
        double low = fmax(x.low, y.low), high = fmin(x.high, y.high);
        fg_str_addf(out, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>\n", at_x(&x, low), at_y(&y, low),
                    at_x(&x, high), at_y(&y, high));
    }
    add_lines(out, p, &x, &y);
    fg_str_addf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#333\"/>\n", LEFT, TOP, WIDTH, HEIGHT);
    add_label(out, LEFT + WIDTH / 2, TOP - 18, "text-anchor=\"middle\" font-size=\"15\"", p->title);
    add_label(out, LEFT + WIDTH / 2, TOP + HEIGHT + 40, "text-anchor=\"middle\"", p->x_label);
    fg_str_addf(out, "<g transform=\"translate(18 %.1f) rotate(-90)\">", TOP + HEIGHT / 2);
    add_label(out, 0, 0, "text-anchor=\"middle\"", p->y_label);
    fg_str_adds(out, "</g>\n</svg>\n");
}
