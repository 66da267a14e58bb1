/*
 * What a running poll uses is freed or changed by a callback of that poll, or by a job. The first argument says
 * what is tried:
 *
 *     reentry NAME
 *
 * Ends with 0 if all is as spinlane.h says. An invalid access shows under valgrind (make valgrind).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <spinlane.h>

#define MUST(condition)                                                                        \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            ERR_print_errors_fp(stderr);                                                       \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static spinlane_lcore *lcore;
static spinlane_device *device;

struct call {
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *ctx;
    int result, callbacks;
};

static struct call calls[3];

/* One op for the device, so one pause. */
static int exchange(void *arg)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, "X25519");
    int made = key != NULL;

    (void)arg;
    EVP_PKEY_free(key);
    return made ? 5 : -1;
}

static int start(struct call *call)
{
    return ASYNC_start_job(&call->job, call->ctx, &call->result, exchange, NULL, 0);
}

static void (*on_callback)(struct call *);

static int callback(void *arg)
{
    struct call *call = arg;

    call->callbacks++;
    if (on_callback != NULL)
        on_callback(call);
    return 1;
}

static void begin(struct call *call)
{
    memset(call, 0, sizeof(*call));
    MUST((call->ctx = ASYNC_WAIT_CTX_new()) && ASYNC_WAIT_CTX_set_callback(call->ctx, callback, call));
    MUST(start(call) == ASYNC_PAUSE);
}

static void end(struct call *call)
{
    MUST(start(call) == ASYNC_FINISH && call->result == 5);
    ASYNC_WAIT_CTX_free(call->ctx);
}

static void poll_until_called(struct call *call)
{
    int polls = 0;

    while (call->callbacks == 0)
        MUST(polls++ < 100000 && spinlane_poll(lcore) >= 0);
}

static int tried;

static void frees_lcore(struct call *call)
{
    (void)call;
    tried++;
    MUST(spinlane_lcore_free(lcore) == 0);
    MUST(strstr(spinlane_last_error(), "from within a callback or a job"));
}

static void free_lcore(void)
{
    on_callback = frees_lcore;
    begin(&calls[0]);
    poll_until_called(&calls[0]);
    MUST(tried == 1);
    end(&calls[0]);
}

/* The poll is that of a call made again too early. */
static void free_lcore_in_restart(void)
{
    on_callback = frees_lcore;
    begin(&calls[0]);
    while (start(&calls[0]) == ASYNC_PAUSE)
        ;
    MUST(tried == 1 && calls[0].result == 5);
    ASYNC_WAIT_CTX_free(calls[0].ctx);
}

static int frees_lcore_in_job(void *arg)
{
    (void)arg;
    frees_lcore(NULL);
    return 5;
}

static void free_lcore_in_job(void)
{
    struct call *call = &calls[0];

    memset(call, 0, sizeof(*call));
    MUST((call->ctx = ASYNC_WAIT_CTX_new()) != NULL);
    MUST(ASYNC_start_job(&call->job, call->ctx, &call->result, frees_lcore_in_job, NULL, 0) == ASYNC_FINISH);
    MUST(tried == 1);
    ASYNC_WAIT_CTX_free(call->ctx);
}

/* All else that a callback may do, though it should only queue its connection. */
static void does_all(struct call *call)
{
    void *conn;
    struct spinlane_stats stats = { .size = sizeof(stats) };

    MUST(spinlane_poll(lcore) == -1);
    MUST(spinlane_lcore_create() == NULL);
    MUST(spinlane_lcore_add_device(lcore, device, 8));
    spinlane_device_close(device);
    MUST((device = spinlane_device_open("soft")) != NULL);
    MUST(spinlane_make_ready(lcore, call) && spinlane_retry_job(lcore, call->ctx, call) && spinlane_forget(lcore, call));
    while (spinlane_next_ready(lcore, &conn))
        ;
    MUST(spinlane_lcore_stats(lcore, &stats) && spinlane_in_flight(lcore) >= 0);
    ASYNC_cleanup_thread();
    MUST(ASYNC_init_thread(8, 4) == 1);
    tried++;
}

static void everything_else(void)
{
    int i;

    on_callback = does_all;
    for (i = 0; i < 3; i++)
        begin(&calls[i]);
    for (i = 0; i < 3; i++)
        poll_until_called(&calls[i]);
    MUST(tried == 3);
    for (i = 0; i < 3; i++)
        end(&calls[i]);
}

/* Its own and all the others, whose callbacks would come next. */
static void frees_contexts(struct call *call)
{
    int i;

    (void)call;
    tried++;
    for (i = 0; i < 3; i++)
        ASYNC_WAIT_CTX_free(calls[i].ctx);
    ASYNC_cleanup_thread();
}

static void free_contexts(void)
{
    int i;

    on_callback = frees_contexts;
    for (i = 0; i < 3; i++)
        begin(&calls[i]);
    while (tried == 0)
        MUST(spinlane_poll(lcore) >= 0);
    for (i = 0; i < 1000; i++)
        MUST(spinlane_poll(lcore) >= 0);
    MUST(tried == 1 && calls[0].callbacks + calls[1].callbacks + calls[2].callbacks == 1);
}

static int again, after_end;

/* Ends the job whose restart polls; its memory goes with the pool. */
static void ends_job(struct call *call)
{
    ASYNC_JOB *job = call->job;

    tried++;
    MUST(ASYNC_start_job(&job, call->ctx, &call->result, NULL, NULL, 0) == ASYNC_FINISH && call->result == 5);
    ASYNC_cleanup_thread();
    if (again) {
        on_callback = NULL;
        begin(&calls[1]);
    }
}

static void restarted(void)
{
    on_callback = ends_job;
    begin(&calls[0]);
    while ((after_end = start(&calls[0])) == ASYNC_PAUSE)
        ;
    MUST(tried == 1 && after_end == ASYNC_ERR && ERR_get_error() != 0);
    ASYNC_WAIT_CTX_free(calls[0].ctx);
}

static void end_in_restart(void)
{
    restarted();
}

/* Ends it and begins another one, which may have taken its place: that is not the one to be restarted. */
static void end_in_restart_and_start(void)
{
    again = 1;
    restarted();
    poll_until_called(&calls[1]);
    end(&calls[1]);
}

static void abandons_job(struct call *call)
{
    tried++;
    ASYNC_WAIT_CTX_free(call->ctx);
    ASYNC_cleanup_thread();
}

static void abandon_in_restart(void)
{
    on_callback = abandons_job;
    begin(&calls[0]);
    while ((after_end = start(&calls[0])) == ASYNC_PAUSE)
        ;
    MUST(tried == 1 && after_end == ASYNC_ERR && ERR_get_error() != 0);
}

/* Refusals are remembered: said later, in another order, and twice. */
static void retry_later(void)
{
    spinlane_device *soft = spinlane_device_open("soft");
    void *conn;
    int i, turns = 0, next = 0;

    MUST(spinlane_lcore_free(lcore) && (lcore = spinlane_lcore_create()) != NULL);
    MUST(spinlane_lcore_add_device(lcore, soft, 1));
    spinlane_device_close(soft);
    for (i = 0; i < 3; i++)
        begin(&calls[i]);
    MUST(calls[0].callbacks == 0 && calls[1].callbacks == 1 && calls[2].callbacks == 1);
    for (i = 2; i > 0; i--)
        MUST(spinlane_retry_job(lcore, calls[i].ctx, &calls[i]) && spinlane_retry_job(lcore, calls[i].ctx, &calls[i]));
    poll_until_called(&calls[0]);
    end(&calls[0]);
    for (next = 1; next < 3; next++) {
        while (!spinlane_next_ready(lcore, &conn))
            MUST(turns++ < 100000 && spinlane_poll(lcore) >= 0);
        MUST(conn == &calls[next]);
        calls[next].callbacks = 0;
        MUST(start(&calls[next]) == ASYNC_PAUSE);
        poll_until_called(&calls[next]);
        end(&calls[next]);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tries[] = {
        { "free_lcore", free_lcore },
        { "free_lcore_in_restart", free_lcore_in_restart },
        { "free_lcore_in_job", free_lcore_in_job },
        { "everything_else", everything_else },
        { "retry_later", retry_later },
        { "free_contexts", free_contexts },
        { "end_in_restart", end_in_restart },
        { "end_in_restart_and_start", end_in_restart_and_start },
        { "abandon_in_restart", abandon_in_restart },
    };
    size_t i;

    MUST((lcore = spinlane_lcore_create()) && (device = spinlane_device_open("soft")));
    MUST(spinlane_lcore_add_device(lcore, device, 0));
    for (i = 0; argc == 2 && i < sizeof(tries) / sizeof(tries[0]); i++)
        if (strcmp(argv[1], tries[i].name) == 0) {
            tries[i].run();
            on_callback = NULL;
            MUST(spinlane_lcore_free(lcore));
            spinlane_device_close(device);
            return 0;
        }
    return 2;
}
