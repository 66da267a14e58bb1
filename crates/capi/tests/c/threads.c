/*
 * Threads and processes. The first argument says what is tried:
 *
 *     threads cert.pem key.pem NAME
 *
 * Ends with 0 if all is as spinlane.h says.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <spinlane.h>

#define MUST(condition)                                                                        \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            ERR_print_errors_fp(stderr);                                                       \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static const char *cert_file, *key_file;
static SSL_CTX *server_ctx, *client_ctx;

struct pair {
    SSL *server, *client;
    int calls;
};

static int on_completion(SSL *ssl, void *arg)
{
    (void)ssl;
    ((struct pair *)arg)->calls++;
    return 1;
}

static void connect_them(struct pair *pair, int with_callback)
{
    BIO *one, *other;

    memset(pair, 0, sizeof(*pair));
    MUST(BIO_new_bio_pair(&one, 0, &other, 0));
    MUST((pair->server = SSL_new(server_ctx)) && (pair->client = SSL_new(client_ctx)));
    SSL_set_bio(pair->server, one, one);
    SSL_set_bio(pair->client, other, other);
    SSL_set_accept_state(pair->server);
    SSL_set_connect_state(pair->client);
    if (with_callback)
        MUST(SSL_set_async_callback(pair->server, on_completion) && SSL_set_async_callback_arg(pair->server, pair));
}

static void free_them(struct pair *pair)
{
    spinlane_ssl_free(pair->server);
    SSL_free(pair->client);
}

/* The server's error after its next call, the client having sent what it can. */
static int step(struct pair *pair)
{
    SSL_do_handshake(pair->client);
    ERR_clear_error();
    return SSL_get_error(pair->server, SSL_do_handshake(pair->server));
}

/* A whole handshake; how often it paused. Polls lcore, or asks again where there is none. */
static int handshake(struct pair *pair, spinlane_lcore *lcore)
{
    int error, pauses = 0, calls;

    while ((error = step(pair)) != SSL_ERROR_NONE) {
        if (error == SSL_ERROR_WANT_READ)
            continue;
        MUST(error == SSL_ERROR_WANT_ASYNC);
        pauses++;
        calls = pair->calls;
        while (lcore != NULL && pair->calls == calls)
            MUST(spinlane_poll(lcore) >= 0);
    }
    MUST(SSL_do_handshake(pair->client) == 1);
    return pauses;
}

/* Of the library's own context: the key is bound. */
static void bound(void)
{
    MUST(server_ctx = SSL_CTX_new_ex(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, TLS_server_method()));
    MUST(client_ctx = SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_mode(server_ctx, SSL_MODE_ASYNC);
    MUST(SSL_CTX_use_certificate_chain_file(server_ctx, cert_file) == 1);
    MUST(spinlane_ssl_ctx_use_private_key_file(server_ctx, key_file) == SPINLANE_KEY_OFFLOADED);
}

/* Of the process's default context, with the provider from openssl.cnf. */
static void configured(void)
{
    MUST(server_ctx = SSL_CTX_new(TLS_server_method()));
    MUST(client_ctx = SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_mode(server_ctx, SSL_MODE_ASYNC);
    MUST(SSL_CTX_use_certificate_chain_file(server_ctx, cert_file) == 1);
    MUST(SSL_CTX_use_PrivateKey_file(server_ctx, key_file, SSL_FILETYPE_PEM) == 1);
}

static spinlane_lcore *make_lcore(void)
{
    spinlane_device *device = spinlane_device_open("soft");
    spinlane_lcore *lcore = spinlane_lcore_create();

    MUST(device != NULL && lcore != NULL && spinlane_lcore_add_device(lcore, device, 0));
    spinlane_device_close(device);
    return lcore;
}

static void *with_own_lcore(void *arg)
{
    int rounds = *(int *)arg, round;
    spinlane_lcore *lcore = make_lcore();
    struct spinlane_stats stats;
    struct pair pair;

    for (round = 0; round < rounds; round++) {
        connect_them(&pair, 1);
        MUST(handshake(&pair, lcore) == 3 && pair.calls == 3);
        free_them(&pair);
    }
    stats.size = sizeof(stats);
    MUST(spinlane_lcore_stats(lcore, &stats) && stats.enqueued == 3 * (uint64_t)rounds);
    MUST(spinlane_lcore_free(lcore));
    return NULL;
}

static void own_lcores(void)
{
    pthread_t threads[4];
    int i, rounds = 20;

    bound();
    for (i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, with_own_lcore, &rounds);
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void *with_lcore_on_demand(void *arg)
{
    struct pair pair;
    int error;

    (void)arg;
    MUST(spinlane_lcore_current() == NULL);
    connect_them(&pair, 1);
    while ((error = step(&pair)) == SSL_ERROR_WANT_READ)
        ;
    MUST(error == SSL_ERROR_WANT_ASYNC);
    MUST(spinlane_lcore_current() != NULL && spinlane_in_flight(spinlane_lcore_current()) == 1);
    MUST(spinlane_lcore_create() == NULL && strstr(spinlane_last_error(), "has an lcore"));
    MUST(spinlane_lcore_free(spinlane_lcore_current()) == 0);
    while (pair.calls == 0)
        MUST(spinlane_poll(spinlane_lcore_current()) >= 0);
    handshake(&pair, spinlane_lcore_current());
    free_them(&pair);
    return NULL;
}

static void on_demand(void)
{
    pthread_t thread;
    int i;

    configured();
    for (i = 0; i < 4; i++) {
        pthread_create(&thread, NULL, with_lcore_on_demand, NULL);
        pthread_join(thread, NULL);
    }
}

/* A program that sets a callback and only ever calls the SSL function again. */
static void asks_again(void)
{
    struct pair pair;

    configured();
    connect_them(&pair, 1);
    MUST(handshake(&pair, NULL) >= 3);
    MUST(pair.calls == 3);
    free_them(&pair);
}

static void in_place(void)
{
    struct pair pair;

    configured();
    connect_them(&pair, 0);
    MUST(handshake(&pair, NULL) == 0);
    MUST(spinlane_lcore_current() == NULL);
    free_them(&pair);
}

static void explicit(void)
{
    char text[512];
    const char *data = NULL;
    struct pair pair;
    int error;

    configured();
    connect_them(&pair, 1);
    while ((error = step(&pair)) == SSL_ERROR_WANT_READ)
        ;
    MUST(error == SSL_ERROR_SSL);
    ERR_peek_error_data(&data, NULL);
    snprintf(text, sizeof(text), "%s", data);
    MUST(strstr(text, "this thread has no lcore") != NULL);
    free_them(&pair);
}

static void in_child(void (*run)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        run();
        exit(0);
    }
    MUST(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void child_serves(void)
{
    int rounds = 3;

    with_own_lcore(&rounds);
}

static void fork_before(void)
{
    bound();
    in_child(child_serves);
    in_child(child_serves);
}

static spinlane_lcore *parents;

static void child_fails(void)
{
    const char *data = NULL;
    struct pair pair;
    int error, flags, forked = 0;

    MUST(spinlane_poll(parents) == -1 && strstr(spinlane_last_error(), "forked"));
    connect_them(&pair, 1);
    while ((error = step(&pair)) == SSL_ERROR_WANT_READ)
        ;
    MUST(error == SSL_ERROR_SSL);
    while (ERR_get_error_all(NULL, NULL, NULL, &data, &flags))
        forked |= strstr(data, "before this process was forked") != NULL;
    MUST(forked);
    free_them(&pair);
    /* And an lcore of its own makes it work. */
    child_serves();
}

static void fork_after(void)
{
    int rounds = 1;

    bound();
    parents = make_lcore();
    in_child(child_fails);
    MUST(spinlane_lcore_free(parents));
    with_own_lcore(&rounds);
}

static int mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int c, lines = 0;

    MUST(maps != NULL);
    while ((c = getc(maps)) != EOF)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

static void *pauses_many(void *arg)
{
    struct pair pairs[32];
    int i;

    for (i = 0; i < 32; i++) {
        connect_them(&pairs[i], 1);
        while (step(&pairs[i]) != SSL_ERROR_WANT_ASYNC)
            ;
    }
    for (i = 0; i < 32; i++)
        free_them(&pairs[i]);
    return arg;
}

static void *pauses_many_with_own_lcore(void *arg)
{
    spinlane_lcore *lcore = make_lcore();

    pauses_many(NULL);
    MUST(spinlane_lcore_free(lcore));
    return arg;
}

/* Stacks are mapped, so that a leak of them shows here; any other shows in the leak checker. */
static void thread_exit(void)
{
    pthread_t thread;
    int i, before = 0;

    bound();
    for (i = 0; i < 12; i++) {
        pthread_create(&thread, NULL, i % 2 ? pauses_many : pauses_many_with_own_lcore, NULL);
        pthread_join(thread, NULL);
        if (i == 3)
            before = mappings();
    }
    MUST(mappings() < before + 32);
}

static void *frees_plainly(void *ssl)
{
    SSL_free(ssl);
    return NULL;
}

static void *frees_completely(void *ssl)
{
    spinlane_ssl_free(ssl);
    return NULL;
}

static void *fails(void *lcore)
{
    MUST(spinlane_poll(lcore) == -1 && strstr(spinlane_last_error(), "another thread"));
    MUST(spinlane_lcore_free(lcore) == 0 && spinlane_in_flight(lcore) == -1);
    return NULL;
}

/* Connections that are paused are freed on another thread, while this one goes on with others. */
static void freed_elsewhere(void)
{
    spinlane_lcore *lcore;
    struct pair pairs[8], pair;
    pthread_t threads[9];
    int i;

    bound();
    lcore = make_lcore();
    for (i = 0; i < 8; i++) {
        connect_them(&pairs[i], 1);
        while (step(&pairs[i]) != SSL_ERROR_WANT_ASYNC)
            ;
    }
    for (i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, i % 2 ? frees_plainly : frees_completely, pairs[i].server);
    pthread_create(&threads[8], NULL, fails, lcore);
    connect_them(&pair, 1);
    while (step(&pair) != SSL_ERROR_WANT_ASYNC)
        ;
    for (i = 0; i < 9; i++)
        pthread_join(threads[i], NULL);
    MUST(handshake(&pair, lcore) >= 2 && pair.calls == 3);
    free_them(&pair);
    while (spinlane_in_flight(lcore) != 0)
        MUST(spinlane_poll(lcore) >= 0);
    for (i = 0; i < 8; i++) {
        MUST(pairs[i].calls == 0);
        SSL_free(pairs[i].client);
    }
    MUST(spinlane_lcore_free(lcore));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tries[] = {
        { "own_lcores", own_lcores }, { "on_demand", on_demand }, { "asks_again", asks_again },
        { "in_place", in_place }, { "explicit", explicit }, { "fork_before", fork_before },
        { "fork_after", fork_after }, { "thread_exit", thread_exit },
        { "freed_elsewhere", freed_elsewhere },
    };
    size_t i;

    if (argc != 4)
        return 2;
    cert_file = argv[1];
    key_file = argv[2];
    for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
        if (strcmp(argv[3], tries[i].name) == 0) {
            tries[i].run();
            SSL_CTX_free(server_ctx);
            SSL_CTX_free(client_ctx);
            return 0;
        }
    return 2;
}
