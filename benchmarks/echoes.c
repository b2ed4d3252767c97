/* echoes PROGRAM FIRST LAST K: start PROGRAM with each number, K at once; print what each said.
   Each has a pipe of its own, so that it is known who said what. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 64, BYTES = 4096 };
extern char **environ;

static int start(char *program, int number, pid_t *pid)
{
    char text[16];
    char *task[] = {program, text, NULL};
    posix_spawn_file_actions_t files;
    int ends[2];

    snprintf(text, sizeof text, "%d", number);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], 1);
    int failed = posix_spawn(pid, program, &files, NULL, task, environ);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    return failed ? -1 : ends[0];
}

/* Print what a task says, whole once it has ended; 1: it has. */
static int listen_to(struct pollfd *task, pid_t pid)
{
    char said[BYTES];
    int status;
    ssize_t size = read(task->fd, said, sizeof said);

    if (size > 0) {
        fwrite(said, 1, size, stdout);
        return 0;
    }
    close(task->fd);
    task->fd = -1;
    waitpid(pid, &status, 0);
    if (size < 0 || status != 0)
        exit(1);
    return 1;
}

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    int next = atoi(words[2]), last = atoi(words[3]), room = atoi(words[4]), alive = 0;
    struct pollfd tasks[ROOM];
    pid_t pids[ROOM];

    if (room < 1 || room > ROOM)
        return 2;
    for (int i = 0; i < room; i++)
        tasks[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    while (next <= last || alive > 0) {
        for (int i = 0; i < room && next <= last; i++) {
            if (tasks[i].fd >= 0)
                continue;
            if ((tasks[i].fd = start(words[1], next++, &pids[i])) < 0)
                return 1;
            alive++;
        }
        if (poll(tasks, room, -1) < 0)
            return 1;
        for (int i = 0; i < room; i++)
            if (tasks[i].fd >= 0 && tasks[i].revents)
                alive -= listen_to(&tasks[i], pids[i]);
    }
    return fflush(stdout) != 0;
}
