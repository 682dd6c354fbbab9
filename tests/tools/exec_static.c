/* exec_static.c - becomes the program of its arguments; has no dynamic loader, so nothing can be put into it. */
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc > 1)
        execvp(argv[1], argv + 1);
    return 127;
}
