/* floor PROGRAM N K: start PROGRAM N times, K at once, and wait for each. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    char *task[] = {words[1], NULL};
    int left = atoi(words[2]), room = atoi(words[3]), alive = 0, status;
    pid_t pid;

    while (left > 0 || alive > 0) {
        for (; left > 0 && alive < room; left--, alive++)
            if (posix_spawn(&pid, task[0], NULL, NULL, task, environ) != 0)
                return 1;
        if (wait(&status) > 0)
            alive--;
    }
    return 0;
}
