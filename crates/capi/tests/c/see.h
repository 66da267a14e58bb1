/*
 * Cases that are looked at from outside. Each runs in a process of its own, so that a crash is a
 * result like any other. A line of output is a promise and whether it is kept:
 *
 *     case | promise | yes, no, or what ended the process
 */
#ifndef SEE_H
#define SEE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <openssl/async.h>
#include <openssl/err.h>

struct see_case {
    const char *name;
    void (*run)(void);
};

static const char *see_name;

/* Not to be run: a case that ends by a fault on purpose, which a tool would take for one. */
static inline int see_skips(const char *name)
{
    const char *skip = getenv("SEE_SKIP");

    return skip != NULL && strcmp(skip, name) == 0;
}

/* What the man page promises, in its words, and whether it is so. */
#define SEE(promise, kept) (printf("%s | %s | %s\n", see_name, promise, (kept) ? "yes" : "no"), fflush(stdout))

/* Whether the thread's error queue has an entry; empties it. */
static inline int see_error(void)
{
    unsigned long code = ERR_get_error();

    ERR_clear_error();
    return code != 0;
}

static inline int see_main(const struct see_case *cases, size_t count)
{
    int status;
    size_t i;
    pid_t child;

    for (i = 0; i < count; i++) {
        see_name = cases[i].name;
        if (see_skips(see_name))
            continue;
        fflush(NULL);
        child = fork();
        if (child == 0) {
            alarm(20);
            cases[i].run();
            fflush(NULL);
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        printf("%s | ends by itself | ", see_name);
        if (WIFSIGNALED(status))
            printf("signal %d\n", WTERMSIG(status));
        else
            printf("%s\n", WEXITSTATUS(status) == 0 ? "yes" : "no");
    }
    return 0;
}

#endif
