/* man.c - the manual page in mdoc(7), whole, from the tables: docs/man/fgpu.1 is what `fgpu help --man` prints. */
#include <ctype.h>
#include <string.h>

#include "api_config.h"
#include "api_errors.h"
#include "cli/cli.h"

#define WIDTH     72 /* what is escaped takes more room than is counted; mandoc wants 80 */
#define PAGE_DATE "November 22, 2026"

/* One word: "--" would be set as a dash, a backslash stands for itself, a leading point or quote would begin a macro.
 */
static void add_word(struct fg_str *out, const char *word, size_t n, bool line_start)
{
    if (line_start && (word[0] == '.' || word[0] == '\''))
        fg_str_adds(out, "\\&");
    for (size_t i = 0; i < n; i++) {
        bool dashes = word[i] == '-' && ((i + 1 < n && word[i + 1] == '-') || (i > 0 && word[i - 1] == '-'));
        fg_str_addf(out, dashes ? "\\-" : word[i] == '\\' ? "\\e" : "%c", word[i]);
    }
}

/* Text of the tables as mdoc text: lines of at most WIDTH, each sentence on a new one, '\n' begins a paragraph. */
static void add_text(struct fg_str *out, const char *text)
{
    size_t at = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " \n"), next = n + strspn(p + n, " ");
        if (at > 0)
            fg_str_adds(out, at + 1 + n > WIDTH ? "\n" : " ");
        at = at == 0 || at + 1 + n > WIDTH ? 0 : at + 1;
        add_word(out, p, n, at == 0);
        at += n;
        bool sentence = n > 0 && p[n - 1] == '.' && p[n] == ' ' && isupper((unsigned char)p[next]);
        if (sentence || p[n] == '\n') {
            fg_str_adds(out, sentence ? "\n" : "\n.Pp\n");
            at = 0;
        }
        p += p[n] == '\n' ? n + 1 : next;
    }
    fg_str_adds(out, "\n");
}

/* Arguments of a macro line: quotes would end them, and short words may be macros themselves. */
static void add_argument(struct fg_str *out, const char *text, size_t n)
{
    fg_str_adds(out, "\"");
    for (size_t i = 0; i < n; i++)
        fg_str_addf(out, text[i] == '"' ? "\\(dq" : text[i] == '\\' ? "\\e" : text[i] == '-' ? "\\-" : "%c", text[i]);
    fg_str_adds(out, "\"");
}

static void add_options(struct fg_str *out, const struct cli_option *o)
{
    if (!o || !o->name)
        return;
    fg_str_adds(out, ".Bl -tag -width Ds\n");
    for (; o->name; o++) {
        fg_str_adds(out, ".It ");
        if (o->letter)
            fg_str_addf(out, "Fl %c , ", o->letter);
        fg_str_addf(out, "Fl \\-%s", o->name);
        if (o->metavar) {
            fg_str_adds(out, " Ar ");
            add_argument(out, o->metavar, strlen(o->metavar));
        }
        fg_str_adds(out, "\n");
        add_text(out, o->doc);
    }
    fg_str_adds(out, ".El\n");
}

static void add_verb(struct fg_str *out, const struct cli_verb *v)
{
    bool first = true;
    for (const char *p = v->usage; first || *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n')) {
        fg_str_addf(out, first ? ".It Xo\n.Cm %s\n" : ".Pp\n.Cm %s\n", v->name);
        if (strcspn(p, "\n") > 0) {
            fg_str_adds(out, ".Ar ");
            add_argument(out, p, strcspn(p, "\n"));
            fg_str_adds(out, "\n");
        }
        if (first)
            fg_str_adds(out, ".Xc\n");
        first = false;
    }
    if (strchr(v->usage, '\n'))
        fg_str_adds(out, ".Pp\n");
    FG_AUTO_FREE char *summary = fg_asprintf("%c%s.", toupper((unsigned char)v->summary[0]), v->summary + 1);
    add_text(out, summary);
    if (v->text)
        add_text(out, v->text);
    add_options(out, v->options);
}

static void add_verbs(struct fg_str *out)
{
    fg_str_adds(out, ".Sh COMMANDS\n");
    for (const struct cli_group *g = cli_groups; g->title; g++) {
        fg_str_addf(out, ".Ss %s\n.Bl -tag -width Ds\n", g->title);
        for (const struct cli_verb *const *v = g->verbs; *v; v++)
            add_verb(out, *v);
        fg_str_adds(out, ".El\n");
    }
}

static void add_settings(struct fg_str *out)
{
    static const struct {
        const char *key, *fallback, *doc;
    } settings[] = {
#define X(key, type, fallback, min, max, doc) {key, fallback, doc},
        FG_SETTING_LIST(X)
#undef X
    };
    fg_str_adds(out, ".Sh SETTINGS\nA setting comes from a flag, else from its environment variable,\n"
                     "else from the settings file, which is YAML.\nThe variable of\n.Ar "
                     "price.cpu_usd_per_hour\nis\n.Ev FGPU_PRICE_CPU_USD_PER_HOUR .\n"
                     ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < FG_COUNT(settings); i++) {
        fg_str_adds(out, ".It Ar ");
        add_argument(out, settings[i].key, strlen(settings[i].key));
        fg_str_adds(out, "\n");
        add_text(out, settings[i].doc);
        if (*settings[i].fallback)
            fg_str_addf(out, "Default: %s.\n", settings[i].fallback);
    }
    fg_str_adds(out, ".El\n");
}

static const char *const head =
    ".\\\" Printed by `fgpu help --man` from the tables of src/cli and api; do not edit.\n"
    ".Dd " PAGE_DATE "\n.Dt FGPU 1\n.Os\n.Sh NAME\n.Nm fgpu\n"
    ".Nd run deep-learning tasks in slices of this machine's GPUs\n"
    ".Sh SYNOPSIS\n.Nm\n.Ar verb\n.Op Ar options\n.Ar ...\n"
    ".Sh DESCRIPTION\n.Nm\nsubmits tasks to a FastGPU server, follows them, and starts that server.\n"
    "A task runs in a slice of a device: a quota of its memory and a share of\nits compute, both enforced.\n"
    ".Pp\nA task is named by its id, by the beginning of an id that no other recent\ntask has, or by\n.Cm last ,\n"
    "the newest task.\nOptions may stand before and after names; what follows\n.Fl \\-\nis a command and its "
    "arguments.\n"
    ".Pp\nEvery verb takes these options:\n";

static const char *const tail =
    ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n"
    ".It Ev FGPU_URL\nThe server, unless\n.Fl \\-url\nis given.\n"
    ".It Ev FGPU_API_KEY\nThe API key, unless\n.Fl \\-key-file\nis given.\n"
    ".It Ev FGPU_CONFIG\nThe settings file, unless\n.Fl \\-config\nis given.\n"
    ".It Ev NO_COLOR\nWhen set and not empty, nothing is coloured.\n"
    ".It Ev XDG_CONFIG_HOME , XDG_DATA_HOME\nWhere the configuration and the data folder are, instead of\n.Pa "
    "~/.config\nand\n"
    ".Pa ~/.local/share .\n.El\n"
    ".Sh FILES\n.Bl -tag -width Ds\n"
    ".It Pa ~/.config/fastgpu/config.yaml\nSettings.\n"
    ".It Pa ~/.config/fastgpu/credentials\nAddress and key, written by\n.Cm up ,\nreadable by its owner only.\n"
    ".It Pa ~/.local/share/fastgpu\nDatabase, blobs, logs, caches; and\n.Pa serve.log , agent.log , up.log .\n"
    ".It Pa .fgpuignore\nFiles of a working folder that are not uploaded, in the language of\n.Pa .gitignore .\n.El\n"
    ".Sh EXIT STATUS\n.Bl -tag -width Ds -compact\n"
    ".It 0\nIt worked; of\n.Cm run\nand\n.Cm wait :\nthe task succeeded.\n"
    ".It 1\nThe task did not succeed.\n.It 2\nWrong usage, or the server refused a value.\n.It 3\nNo valid key, or the "
    "key does not "
    "allow it.\n.It 4\nThere is no such object.\n.It 5\nRefused: wrong state, budget, full disk, or this machine "
    "cannot do it.\n"
    ".It 6\nIt took too long.\n.It 7\nThe server cannot be reached or failed.\n.It 130\nInterrupted.\n.El\n"
    ".Sh EXAMPLES\nStart FastGPU and classify a photograph:\n.Bd -literal -offset indent\n"
    "fgpu up --detach\nfgpu run efficientnet_lite0 photo.jpg\n.Ed\n"
    ".Pp\nRun a program in half of the compute and one gigabyte of memory,\nand fetch what it wrote:\n.Bd -literal "
    "-offset indent\n"
    "fgpu run --mem 1GB --share 50 --output 'model/*.pt' -o . -- python3 train.py\n.Ed\n"
    ".Pp\nSubmit now, look later:\n.Bd -literal -offset indent\n"
    "id=$(fgpu submit --name night -- ./train.sh)\nfgpu why $id\nfgpu logs -f $id\nfgpu wait --timeout 8h $id\n.Ed\n"
    ".Sh SEE ALSO\nThe REST interface is described by\n.Pa /openapi.json\nof the server.\n";

void cli_man(struct fg_str *out)
{
    fg_str_adds(out, head);
    add_options(out, cli_global_options);
    add_verbs(out);
    add_settings(out);
    fg_str_adds(out, tail);
}
