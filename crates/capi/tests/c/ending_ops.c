/*
 * Operations and handshakes at the end of a thread or of the process, when thread-local data is gone:
 *
 *     ending_ops cert.pem key.pem key|exit|static [lcore]
 *
 * With "lcore" the thread has made one before. Ends with 0 if all works as in main, and says "done".
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <spinlane.h>

/* Handlers of exit cannot call exit. */
#define MUST(condition)                                                                        \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            ERR_print_errors_fp(stderr);                                                       \
            _exit(1);                                                                          \
        }                                                                                      \
    } while (0)

static SSL_CTX *server_ctx, *client_ctx;
static spinlane_lcore *lcore;
static int with_lcore, is_static;

static void bound(const char *cert, const char *key)
{
    OSSL_LIB_CTX *libctx = spinlane_libctx();

    MUST(server_ctx = SSL_CTX_new_ex(libctx, SPINLANE_PROPERTY_QUERY, TLS_server_method()));
    MUST(client_ctx = SSL_CTX_new_ex(libctx, SPINLANE_PROPERTY_QUERY, TLS_client_method()));
    SSL_CTX_set_mode(server_ctx, SSL_MODE_ASYNC);
    MUST(SSL_CTX_use_certificate_chain_file(server_ctx, cert) == 1);
    MUST(spinlane_ssl_ctx_use_private_key_file(server_ctx, key) == SPINLANE_KEY_OFFLOADED);
}

static int on_completion(SSL *ssl, void *arg)
{
    (void)ssl;
    (void)arg;
    return 1;
}

/* A whole handshake and its close; where there is an lcore, one that is paused, too. */
static void handshake(void)
{
    SSL *server, *client;
    BIO *one, *other;
    int error, calls = 0;

    MUST((server = SSL_new(server_ctx)) && (client = SSL_new(client_ctx)));
    MUST(BIO_new_bio_pair(&one, 0, &other, 0));
    SSL_set_bio(server, one, one);
    SSL_set_bio(client, other, other);
    MUST(SSL_set_async_callback(server, on_completion));
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    do {
        SSL_do_handshake(client);
        error = SSL_get_error(server, SSL_do_handshake(server));
        MUST(error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_ASYNC);
        if (lcore != NULL)
            MUST(spinlane_poll(lcore) >= 0);
        MUST(calls++ < 100000);
    } while (error != SSL_ERROR_NONE);
    spinlane_ssl_free(server);
    SSL_free(client);
}

static void exchange(void)
{
    EVP_PKEY *mine = EVP_PKEY_Q_keygen(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, "X25519");
    EVP_PKEY *theirs = EVP_PKEY_Q_keygen(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, "X25519");
    EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new_from_pkey(spinlane_libctx(), mine, SPINLANE_PROPERTY_QUERY);
    unsigned char secret[32];
    size_t length = sizeof(secret);

    MUST(mine && theirs && derive && EVP_PKEY_derive_init(derive) == 1);
    MUST(EVP_PKEY_derive_set_peer(derive, theirs) == 1 && EVP_PKEY_derive(derive, secret, &length) == 1);
    EVP_PKEY_CTX_free(derive);
    EVP_PKEY_free(mine);
    EVP_PKEY_free(theirs);
}

static void all(void)
{
    MUST(ASYNC_init_thread(4, 1) == 1);
    exchange();
    handshake();
    ASYNC_cleanup_thread();
    handshake();
}

static void at_end(void)
{
    /* The last destructors run after libcrypto's own, when that is of no use any more. */
    if (!is_static)
        all();
    ASYNC_cleanup_thread();
    if (lcore != NULL)
        MUST(spinlane_lcore_free(lcore));
    lcore = NULL;
    if (!is_static)
        handshake();
    printf("done\n");
    fflush(stdout);
}

static void at_thread_end(void *value)
{
    (void)value;
    at_end();
}

__attribute__((destructor)) static void at_the_very_end(void)
{
    if (is_static)
        at_end();
}

static pthread_key_t key;

static void *work(void *arg)
{
    pthread_setspecific(key, &key);
    if (with_lcore) {
        spinlane_device *device = spinlane_device_open("soft");

        MUST(device && (lcore = spinlane_lcore_create()) && spinlane_lcore_add_device(lcore, device, 0));
        spinlane_device_close(device);
    }
    all();
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t thread;

    MUST(argc == 4 || argc == 5);
    with_lcore = argc == 5;
    bound(argv[1], argv[2]);
    MUST(pthread_key_create(&key, at_thread_end) == 0);
    if (strcmp(argv[3], "key") == 0) {
        MUST(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_join(thread, NULL) == 0);
        return 0;
    }
    is_static = strcmp(argv[3], "static") == 0;
    MUST(is_static || atexit(at_end) == 0);
    work(NULL);
    return 0;
}
