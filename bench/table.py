"""One row per figure: what, measured, bar, met or not."""
import collections

Row = collections.namedtuple("Row", "what value unit bar ok note")


def at_least(what, value, unit, bar, note=""):
    return Row(what, value, unit, f">= {bar:g}", value >= bar, note)


def at_most(what, value, unit, bar, note=""):
    return Row(what, value, unit, f"<= {bar:g}", value <= bar, note)


def plain(what, value, unit, note=""):
    return Row(what, value, unit, "", None, note)


def skipped(what, why):
    return Row(what, 0, "", "", None, f"SKIPPED: {why}")


def show(rows):
    cells = [("what", "measured", "bar", "", "note")]
    for r in rows:
        number = f"{r.value:,.0f}" if abs(r.value) >= 100 else f"{r.value:.4g}"
        cells.append((r.what, f"{number} {r.unit}", r.bar, {True: "ok", False: "SHORT", None: ""}[r.ok], r.note))
    widths = [max(len(c[i]) for c in cells) for i in range(5)]
    for i, c in enumerate(cells):
        print("| " + " | ".join(v.ljust(w) for v, w in zip(c, widths)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
