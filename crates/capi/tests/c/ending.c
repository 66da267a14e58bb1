/*
 * Jobs at the end of a thread or of the process, and on other threads than their own: what OpenSSL's man pages
 * do not speak of, and programs do.
 */
#include <pthread.h>
#include <semaphore.h>

#include "see.h"

static ASYNC_WAIT_CTX *ctx;

static int pauses(void *arg)
{
    (void)arg;
    ASYNC_pause_job();
    return 7;
}

/* A whole job, with a pause. */
static int job_works(void)
{
    ASYNC_WAIT_CTX *its = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0, paused, finished;

    paused = ASYNC_start_job(&job, its, &ret, pauses, NULL, 0) == ASYNC_PAUSE;
    finished = paused && ASYNC_start_job(&job, its, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 7;
    ASYNC_WAIT_CTX_free(its);
    return finished;
}

static void look(void)
{
    SEE("a job starts, pauses and finishes", job_works());
    SEE("ASYNC_init_thread: 1", ASYNC_init_thread(4, 2) == 1);
    SEE("and another job", job_works());
    ASYNC_cleanup_thread();
    SEE("ASYNC_cleanup_thread returns", 1);
    SEE("and another job after it", job_works());
}

static pthread_key_t key;

static void at_thread_end(void *value)
{
    (void)value;
    look();
}

static void *used(void *arg)
{
    pthread_setspecific(key, &key);
    job_works();
    return arg;
}

static void *unused(void *arg)
{
    pthread_setspecific(key, &key);
    return arg;
}

static void joined(void *(*body)(void *))
{
    pthread_t thread;
    void *value = NULL;

    pthread_key_create(&key, at_thread_end);
    pthread_create(&thread, NULL, body, &ctx);
    SEE("the thread is joined", pthread_join(thread, &value) == 0 && value == &ctx);
}

static void key_destructor(void)
{
    joined(used);
}

static void key_destructor_first(void)
{
    joined(unused);
}

static void at_exit(void)
{
    job_works();
    /* After libcrypto's own handler, so that it runs before that. */
    atexit(look);
    exit(0);
}

static int look_last;

__attribute__((destructor)) static void at_the_very_end(void)
{
    if (look_last)
        look();
}

static void static_destructor(void)
{
    look_last = 1;
    job_works();
    exit(0);
}

static int exits(void *arg)
{
    (void)arg;
    ASYNC_pause_job();
    exit(0);
}

static void say_ended(void)
{
    SEE("handlers run", 1);
}

static void exit_in_job(void)
{
    ASYNC_JOB *job = NULL;
    int ret;

    atexit(say_ended);
    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_start_job(&job, ctx, &ret, exits, NULL, 0);
    ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0);
}

static void cleaned_up(void *arg)
{
    *(int *)arg = 1;
}

static int frames_cleaned;

static int ends_thread(void *arg)
{
    (void)arg;
    ASYNC_pause_job();
    pthread_cleanup_push(cleaned_up, &frames_cleaned);
    pthread_exit(&ctx);
    pthread_cleanup_pop(0);
    return 0;
}

static sem_t in_job;

static int waits(void *arg)
{
    (void)arg;
    pthread_cleanup_push(cleaned_up, &frames_cleaned);
    sem_post(&in_job);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return 0;
}

static void *runs(void *func)
{
    ASYNC_WAIT_CTX *its = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret;

    pthread_setspecific(key, &key);
    ASYNC_start_job(&job, its, &ret, *(int (**)(void *))func, NULL, 0);
    ASYNC_start_job(&job, its, &ret, NULL, NULL, 0);
    return NULL;
}

static void exit_thread_in_job(void)
{
    int (*func)(void *) = ends_thread;
    pthread_t thread;
    void *value = NULL;

    pthread_key_create(&key, at_thread_end);
    pthread_create(&thread, NULL, runs, &func);
    SEE("the thread is joined, with its value", pthread_join(thread, &value) == 0 && value == &ctx);
    SEE("handlers of the job's frames have run", frames_cleaned);
    SEE("another thread has jobs", job_works());
}

static void cancel_thread_in_job(void)
{
    int (*func)(void *) = waits;
    pthread_t thread;
    void *value = NULL;

    sem_init(&in_job, 0, 0);
    pthread_key_create(&key, at_thread_end);
    pthread_create(&thread, NULL, runs, &func);
    while (sem_wait(&in_job) != 0)
        ;
    pthread_cancel(thread);
    SEE("the thread is joined, as cancelled", pthread_join(thread, &value) == 0 && value == PTHREAD_CANCELED);
    SEE("handlers of the job's frames have run", frames_cleaned);
}

/* A paused job, and another thread that knows it. */
static ASYNC_JOB *paused_job;
static int calls;

static int callback(void *arg)
{
    calls += arg == &calls;
    return 1;
}

static void pause_one(void)
{
    int ret;

    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_set_callback(ctx, callback, &calls);
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, 3, &calls, NULL);
    ASYNC_start_job(&paused_job, ctx, &ret, pauses, NULL, 0);
}

static void elsewhere(void *(*body)(void *))
{
    pthread_t thread;

    pthread_create(&thread, NULL, body, NULL);
    /* Meanwhile: the job's thread goes on with others. */
    job_works();
    pthread_join(thread, NULL);
}

/* As the thread of an engine that has a card polls it. */
static void *wakes(void *arg)
{
    ASYNC_WAIT_CTX *its = ASYNC_get_wait_ctx(paused_job);
    ASYNC_callback_fn function = NULL;
    void *argument = NULL, *data = NULL;
    int fd = -1;

    SEE("ASYNC_get_wait_ctx: its context", its == ctx);
    SEE("ASYNC_WAIT_CTX_get_fd: 1", ASYNC_WAIT_CTX_get_fd(its, &key, &fd, &data) == 1 && fd == 3 && data == &calls);
    SEE("ASYNC_WAIT_CTX_set_status: 1", ASYNC_WAIT_CTX_set_status(its, ASYNC_STATUS_OK) == 1);
    SEE("ASYNC_WAIT_CTX_get_callback: 1", ASYNC_WAIT_CTX_get_callback(its, &function, &argument) == 1);
    SEE("the callback can be made", function != NULL && function(argument) == 1 && calls == 1);
    return arg;
}

static void woken_elsewhere(void)
{
    int ret = 0;

    pause_one();
    elsewhere(wakes);
    SEE("the job's thread restarts it", ASYNC_start_job(&paused_job, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 7);
    ASYNC_WAIT_CTX_free(ctx);
}

static void *changes(void *arg)
{
    ERR_clear_error();
    SEE("ASYNC_WAIT_CTX_set_callback: 0 and an error entry", ASYNC_WAIT_CTX_set_callback(ctx, NULL, NULL) == 0 && see_error());
    SEE("ASYNC_WAIT_CTX_set_wait_fd: 0 and an error entry",
        ASYNC_WAIT_CTX_set_wait_fd(ctx, &calls, 4, NULL, NULL) == 0 && see_error());
    SEE("ASYNC_WAIT_CTX_clear_fd: 0 and an error entry", ASYNC_WAIT_CTX_clear_fd(ctx, &key) == 0 && see_error());
    return arg;
}

static void changed_elsewhere(void)
{
    int ret = 0;

    pause_one();
    elsewhere(changes);
    SEE("the job is not affected", ASYNC_start_job(&paused_job, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 7);
    ASYNC_WAIT_CTX_free(ctx);
}

static int cleanups;

static void cleanup(ASYNC_WAIT_CTX *its, const void *its_key, OSSL_ASYNC_FD fd, void *data)
{
    cleanups += its == ctx && its_key == &cleanups && fd == 5 && data == &calls;
}

static void *frees(void *arg)
{
    ASYNC_WAIT_CTX_free(ctx);
    return arg;
}

static void freed_elsewhere(void)
{
    pthread_t thread;
    int round, in_time = 1;

    ASYNC_init_thread(1, 1);
    for (round = 0; round < 3; round++) {
        pause_one();
        ASYNC_WAIT_CTX_set_wait_fd(ctx, &cleanups, 5, &calls, cleanup);
        pthread_create(&thread, NULL, frees, NULL);
        pthread_join(thread, NULL);
        in_time &= cleanups == round + 1;
    }
    SEE("cleanup routines run at once", in_time);
    SEE("the job's thread has its job back with the next one that it starts", job_works());
    SEE("no callback is made", calls == 0);
}

static void *pauses_and_ends(void *arg)
{
    pause_one();
    return arg;
}

static void freed_after_the_end(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, pauses_and_ends, NULL);
    pthread_join(thread, NULL);
    ASYNC_WAIT_CTX_free(ctx);
    SEE("a context is freed whose job's thread has ended", 1);
    SEE("and other jobs work", job_works());
}

static void *takes_over(void *arg)
{
    ASYNC_JOB *job = NULL;
    int ret = 0;

    *(int *)arg = ASYNC_WAIT_CTX_set_callback(ctx, callback, &calls) == 1 &&
                  ASYNC_start_job(&job, ctx, &ret, pauses, NULL, 0) == ASYNC_PAUSE &&
                  ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 7;
    ASYNC_WAIT_CTX_free(ctx);
    return NULL;
}

/* As an SSL goes from thread to thread between its calls. */
static void taken_over(void)
{
    pthread_t thread;
    int ret, good = 0;

    pause_one();
    ASYNC_start_job(&paused_job, ctx, &ret, NULL, NULL, 0);
    pthread_create(&thread, NULL, takes_over, &good);
    pthread_join(thread, NULL);
    SEE("a context under which nothing is paused serves another thread", good);
    SEE("and this one's jobs go on", job_works());
}

int main(void)
{
    static const struct see_case cases[] = {
        { "key destructor", key_destructor },
        { "key destructor first", key_destructor_first },
        { "at exit", at_exit },
        { "static destructor", static_destructor },
        { "exit in job", exit_in_job },
        { "pthread_exit in job", exit_thread_in_job },
        { "pthread_cancel in job", cancel_thread_in_job },
        { "woken elsewhere", woken_elsewhere },
        { "changed elsewhere", changed_elsewhere },
        { "freed elsewhere", freed_elsewhere },
        { "freed after the end", freed_after_the_end },
        { "taken over", taken_over },
    };

    return see_main(cases, sizeof(cases) / sizeof(cases[0]));
}
