/* Every function of spinlane.h with what it must not be given. Ends with 0 if all is as the header says. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <openssl/async.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <spinlane.h>

#define MUST(condition)                                                                      \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* The last failure's text mentions this. */
#define SAYS(text) MUST(strstr(spinlane_last_error(), text) != NULL)

static void *on_another_thread(void *lcore)
{
    MUST(*spinlane_last_error() == '\0');
    MUST(spinlane_poll(lcore) == -1);
    SAYS("another thread's");
    MUST(spinlane_lcore_free(lcore) == 0);
    SAYS("another thread's");
    MUST(spinlane_lcore_current() == NULL);
    return NULL;
}

static void nulls(void)
{
    void *conn;

    MUST(spinlane_device_open(NULL) == NULL);
    SAYS("spec is NULL");
    MUST(spinlane_device_open("warp") == NULL);
    SAYS("unknown device \"warp\"");
    MUST(spinlane_device_open("\xff") == NULL);
    SAYS("UTF-8");
    spinlane_device_close(NULL);
    MUST(spinlane_lcore_free(NULL) == 1);
    MUST(spinlane_lcore_add_device(NULL, NULL, 0) == 0);
    SAYS("lcore is NULL");
    MUST(spinlane_poll(NULL) == -1);
    MUST(spinlane_make_ready(NULL, NULL) == 0);
    MUST(spinlane_retry(NULL, NULL, NULL) == 0 && spinlane_retry_job(NULL, NULL, NULL) == 0);
    MUST(spinlane_forget(NULL, NULL) == 0);
    MUST(spinlane_next_ready(NULL, &conn) == 0);
    MUST(spinlane_in_flight(NULL) == -1);
    MUST(spinlane_ready(NULL) == -1);
    MUST(spinlane_lcore_stats(NULL, NULL) == 0);
    SAYS("lcore is NULL");
    MUST(spinlane_ssl_ctx_use_private_key(NULL, NULL) == 0);
    SAYS("ctx is NULL");
    MUST(spinlane_ssl_ctx_use_private_key_file(NULL, NULL) == 0);
    MUST(spinlane_ssl_ctx_use_private_key_uri(NULL, NULL, NULL) == 0);
    spinlane_ssl_free(NULL);
}

/* More than the 64 KiB that there are by default. */
static int uses_a_lot(void *arg)
{
    volatile char frame[200000];

    (void)arg;
    frame[0] = 1;
    ASYNC_pause_job();
    return frame[0];
}

static void stacks(void)
{
    ASYNC_JOB *job = NULL;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    int ret;

    MUST(spinlane_set_stack_size(0) == 0);
    SAYS("give 49152 to");
    MUST(spinlane_set_stack_size(49151) == 0);
    MUST(spinlane_set_stack_size(49152) == 1);
    MUST(spinlane_set_stack_size((size_t)-1) == 0);
    MUST(spinlane_set_stack_size(1 << 20) == 1);
    MUST(ASYNC_start_job(&job, ctx, &ret, uses_a_lot, NULL, 0) == ASYNC_PAUSE);
    MUST(spinlane_set_stack_size(1 << 20) == 0);
    SAYS("a job of this thread runs or is paused");
    MUST(ASYNC_start_job(&job, ctx, &ret, uses_a_lot, NULL, 0) == ASYNC_FINISH && ret == 1);
    MUST(spinlane_set_stack_size(1 << 16) == 1);
    ASYNC_WAIT_CTX_free(ctx);
}

static void keys(void)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, TLS_server_method());
    EVP_PKEY *key = EVP_PKEY_Q_keygen(spinlane_libctx(), NULL, "ED448");
    spinlane_device *device;

    MUST(ctx != NULL && key != NULL);
    MUST(spinlane_ssl_ctx_use_private_key(ctx, NULL) == 0);
    SAYS("key is NULL");
    MUST(spinlane_ssl_ctx_use_private_key_file(ctx, NULL) == 0);
    SAYS("path is NULL");
    MUST(spinlane_ssl_ctx_use_private_key_file(ctx, "/nonexistent/key.pem") == 0);
    SAYS("/nonexistent/key.pem");
    MUST(spinlane_ssl_ctx_use_private_key_file(ctx, "/dev/null") == 0);
    SAYS("private key");
    MUST(spinlane_ssl_ctx_use_private_key_uri(ctx, NULL, "pkcs11:token=a") == 0);
    SAYS("device is NULL");
    MUST((device = spinlane_device_open("soft")) != NULL);
    MUST(spinlane_ssl_ctx_use_private_key_uri(ctx, device, NULL) == 0);
    SAYS("uri is NULL");
    MUST(spinlane_ssl_ctx_use_private_key_uri(ctx, device, "pkcs11:token=a") == 0);
    SAYS("device soft keeps no keys");
    spinlane_device_close(device);
    MUST(spinlane_device_open("pkcs11:token=a;object=b") == NULL);
    SAYS("module-path");
    MUST(spinlane_ssl_ctx_use_private_key(ctx, key) == 0 || *spinlane_last_error() != '\0');
    EVP_PKEY_free(key);
    SSL_CTX_free(ctx);
}

static void lcores(void)
{
    struct spinlane_stats stats;
    spinlane_device *device = spinlane_device_open("soft");
    spinlane_lcore *lcore = spinlane_lcore_create();
    pthread_t thread;
    int mark, status;
    void *conn = &mark;
    pid_t child;

    MUST(device != NULL && lcore != NULL);
    MUST(spinlane_lcore_create() == NULL);
    SAYS("this thread has an lcore");
    MUST(spinlane_lcore_add_device(lcore, NULL, 0) == 0);
    SAYS("device is NULL");
    MUST(spinlane_lcore_add_device(lcore, device, 0) == 1);
    spinlane_device_close(device);
    MUST(spinlane_next_ready(lcore, NULL) == 0);
    SAYS("conn is NULL");
    MUST(spinlane_lcore_stats(lcore, NULL) == 0);
    SAYS("stats is NULL");
    stats.size = 1;
    MUST(spinlane_lcore_stats(lcore, &stats) == 0);
    SAYS("stats->size is 1");

    MUST(spinlane_poll(lcore) == 0);
    MUST(spinlane_next_ready(lcore, &conn) == 0 && conn == &mark);
    MUST(spinlane_make_ready(lcore, &mark) == 1 && spinlane_make_ready(lcore, &stats) == 1);
    MUST(spinlane_make_ready(lcore, &mark) == 1 && spinlane_ready(lcore) == 3);
    MUST(spinlane_poll(lcore) == 0);
    MUST(spinlane_forget(lcore, &mark) == 1 && spinlane_ready(lcore) == 1);
    MUST(spinlane_next_ready(lcore, &conn) == 1 && conn == &stats);
    MUST(spinlane_next_ready(lcore, &conn) == 0);
    MUST(spinlane_in_flight(lcore) == 0);

    memset(&stats, 0x55, sizeof(stats));
    stats.size = 2 * sizeof(uint64_t);
    MUST(spinlane_lcore_stats(lcore, &stats) == 1 && stats.iterations == 2);
    MUST(stats.empty_polls == 0x5555555555555555);

    pthread_create(&thread, NULL, on_another_thread, lcore);
    pthread_join(thread, NULL);
    child = fork();
    if (child == 0) {
        MUST(spinlane_poll(lcore) == -1);
        SAYS("before this process was forked");
        MUST((lcore = spinlane_lcore_create()) != NULL && spinlane_poll(lcore) == 0);
        _exit(0);
    }
    MUST(waitpid(child, &status, 0) == child && status == 0);
    MUST(spinlane_lcore_free(lcore) == 1);
    MUST((lcore = spinlane_lcore_create()) != NULL && spinlane_lcore_free(lcore) == 1);
}

int main(void)
{
    MUST(strcmp(spinlane_version(), "0.1.0") == 0);
    MUST(*spinlane_last_error() == '\0');
    MUST(spinlane_verify_binding() == 1);
    nulls();
    stacks();
    keys();
    lcores();
    return 0;
}
