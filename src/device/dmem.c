/* dmem.c - see dmem.h. */
#include "device/dmem.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"

/* The region of the device's own memory: of those that name it, the first that is vram. */
static bool find_region(const char *capacity, const char *pci, char *region)
{
    for (const char *line = capacity; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char name[96] = "";
        if (sscanf(line, "%95s", name) == 1 && strcasestr(name, pci) && strstr(name, "vram")) {
            snprintf(region, 96, "%s", name);
            return true;
        }
    }
    return false;
}

static bool hand_down(const char *folder)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, "cgroup.subtree_control");
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 4096, &text, NULL) == 0 && strstr(fg_str_cstr(&text), "dmem"))
        return true;
    return fg_write_existing(path, "+dmem", NULL) == 0;
}

bool fg_dmem_open(const char *mount, const char *group, const char *pci, char *region, char why[160])
{
    FG_AUTO_FREE char *path = fg_path_join(mount, "dmem.capacity");
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 65536, &text, NULL) != 0)
        return snprintf(why, 160, "this kernel does not limit device memory (cgroup v2 controller dmem, Linux 6.14)"), false;
    if (!find_region(fg_str_cstr(&text), pci, region))
        return snprintf(why, 160, "the kernel does not account memory of the device at %s", pci), false;
    /* each folder on the way hands it to the next, from the mount on */
    for (size_t at = strlen(mount); at <= strlen(group); at++) {
        if (group[at] != '/' && group[at] != '\0')
            continue;
        FG_AUTO_FREE char *folder = fg_asprintf("%.*s", (int)at, group);
        if (!hand_down(folder))
            return snprintf(why, 160, "controller dmem cannot be handed down in %s", folder), false;
    }
    return *why = '\0', true;
}

int fg_dmem_set(const char *folder, const char *region, uint64_t bytes, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_path_join(folder, "dmem.max");
    FG_AUTO_FREE char *text = fg_asprintf("%s %llu", region, (unsigned long long)bytes);
    return fg_write_existing(path, text, err);
}
