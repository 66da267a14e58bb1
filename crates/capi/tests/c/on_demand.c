/*
 * on_demand THREADS KEY: what a program gets that makes no lcore, with a device that has a thread:
 * each thread signs in a job; then the process forks, twice in a row, and the children sign. Prints a
 * line for each: the process, whether its signatures went to the lcore that was made for them, and how
 * many crypto threads the process has.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <spinlane.h>

#include <openssl/async.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

static EVP_PKEY *key;
static pthread_barrier_t signed_by_all, counted;

static int sign(void *arg)
{
    unsigned char sig[512];
    size_t len = sizeof(sig);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int done = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1
        && EVP_DigestSign(ctx, sig, &len, (const unsigned char *)"x", 1) == 1;

    (void)arg;
    EVP_MD_CTX_free(ctx);
    return done;
}

static int is_done(void *arg)
{
    *(int *)arg = 1;
    return 1;
}

/* Whether a signature in a job was done by this thread's lcore. */
static int offloaded(void)
{
    struct spinlane_stats stats = { .size = sizeof(stats) };
    ASYNC_WAIT_CTX *wait = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int called = 0, done = 0, state;
    uint64_t before = 0;

    if (spinlane_lcore_current() != NULL && spinlane_lcore_stats(spinlane_lcore_current(), &stats))
        before = stats.completed;
    ASYNC_WAIT_CTX_set_callback(wait, is_done, &called);
    while ((state = ASYNC_start_job(&job, wait, &done, sign, NULL, 0)) == ASYNC_PAUSE)
        while (!called && spinlane_poll(spinlane_lcore_current()) >= 0)
            ;
    ASYNC_WAIT_CTX_free(wait);
    return state == ASYNC_FINISH && done == 1 && called && spinlane_lcore_current() != NULL
        && spinlane_lcore_stats(spinlane_lcore_current(), &stats) && stats.completed == before + 1;
}

/* Threads of this process whose name begins with crypto-. */
static int crypto_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int found = 0;

    while ((task = readdir(tasks)) != NULL) {
        char path[300], name[32] = "";
        FILE *comm;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        if ((comm = fopen(path, "r")) != NULL) {
            found += fgets(name, sizeof(name), comm) != NULL && strncmp(name, "crypto-", 7) == 0;
            fclose(comm);
        }
    }
    closedir(tasks);
    return found;
}

static void *worker(void *arg)
{
    *(int *)arg = offloaded();
    pthread_barrier_wait(&signed_by_all);
    pthread_barrier_wait(&counted);
    return NULL;
}

static void fork_and_sign(int generations)
{
    pid_t child;
    int status, first, second;

    fflush(NULL);
    if ((child = fork()) == 0) {
        alarm(60);
        first = spinlane_lcore_current() == NULL && offloaded();
        second = offloaded();
        printf("a child: %d %d %d\n", first, second, crypto_threads());
        if (generations > 1)
            fork_and_sign(generations - 1);
        fflush(NULL);
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (status != 0)
        printf("a child ended with %d\n", status);
}

int main(int argc, char **argv)
{
    pthread_t threads[16];
    int results[16] = { 0 }, number, i, all;
    FILE *file;

    if (argc != 3 || (number = atoi(argv[1])) > 16 || (file = fopen(argv[2], "r")) == NULL)
        return 2;
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    /* Before anything has used the device: as a server's workers are. */
    fork_and_sign(1);
    all = offloaded();
    pthread_barrier_init(&signed_by_all, NULL, (unsigned)number + 1);
    pthread_barrier_init(&counted, NULL, (unsigned)number + 1);
    for (i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, worker, &results[i]);
    pthread_barrier_wait(&signed_by_all);
    printf("the parent: %d %d", all, crypto_threads());
    pthread_barrier_wait(&counted);
    for (i = 0; i < number; i++) {
        pthread_join(threads[i], NULL);
        printf(" %d", results[i]);
    }
    printf("\n");
    fork_and_sign(2);
    all = offloaded();
    printf("the parent: %d %d\n", all, crypto_threads());
    return 0;
}
