/*
 * Work to be timed with Spinlane and without. Prints nanoseconds of CPU time per operation.
 *
 *     work job                     a resume and pause of a job
 *     work sign key.pem            EVP_DigestSign with SHA-256
 *     work handshake cert key 1.3  a TLS handshake in memory, both sides, nothing asynchronous
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int pauses(void *arg)
{
    for (;;)
        ASYNC_pause_job();
    return arg == NULL;
}

static void job(long count)
{
    static ASYNC_WAIT_CTX *ctx;
    static ASYNC_JOB *job;
    int ret;

    if (ctx == NULL)
        ctx = ASYNC_WAIT_CTX_new();
    while (count-- > 0)
        if (ASYNC_start_job(&job, ctx, &ret, pauses, NULL, 0) != ASYNC_PAUSE)
            fail("ASYNC_start_job");
}

static EVP_PKEY *key;

static void sign(long count)
{
    unsigned char signature[1024], message[64] = { 0 };
    size_t len;
    EVP_MD_CTX *ctx;

    while (count-- > 0) {
        len = sizeof(signature);
        ctx = EVP_MD_CTX_new();
        if (EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) <= 0
            || EVP_DigestSign(ctx, signature, &len, message, sizeof(message)) <= 0)
            fail("EVP_DigestSign");
        EVP_MD_CTX_free(ctx);
    }
}

static SSL_CTX *server_ctx, *client_ctx;

static void handshake(long count)
{
    SSL *server, *client;
    BIO *one, *other;
    int i, done;

    while (count-- > 0) {
        BIO_new_bio_pair(&one, 0, &other, 0);
        server = SSL_new(server_ctx);
        client = SSL_new(client_ctx);
        SSL_set_bio(server, one, one);
        SSL_set_bio(client, other, other);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        for (i = done = 0; i < 10 && done != 2; i++) {
            ERR_clear_error();
            done = SSL_do_handshake(client) == 1;
            done += SSL_do_handshake(server) == 1;
        }
        if (done != 2)
            fail("SSL_do_handshake");
        SSL_free(server);
        SSL_free(client);
    }
}

/* Runs for a quarter of a second, after a warm-up. */
static void measure(void (*run)(long))
{
    long count = 1;
    double start, took;

    run(20);
    for (;;) {
        start = now();
        run(count);
        took = now() - start;
        if (took > 2.5e8)
            break;
        count = took < 1e6 ? count * 10 : (long)((double)count * 3e8 / took) + 1;
    }
    printf("%.2f\n", took / (double)count);
}

int main(int argc, char **argv)
{
    FILE *file;
    int version;

    if (argc == 2 && strcmp(argv[1], "job") == 0) {
        measure(job);
    } else if (argc == 3 && strcmp(argv[1], "sign") == 0) {
        if ((file = fopen(argv[2], "r")) == NULL || (key = PEM_read_PrivateKey(file, NULL, NULL, NULL)) == NULL)
            fail(argv[2]);
        measure(sign);
    } else if (argc == 5 && strcmp(argv[1], "handshake") == 0) {
        version = strcmp(argv[4], "1.3") == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
        server_ctx = SSL_CTX_new(TLS_server_method());
        client_ctx = SSL_CTX_new(TLS_client_method());
        if (SSL_CTX_use_certificate_chain_file(server_ctx, argv[2]) != 1
            || SSL_CTX_use_PrivateKey_file(server_ctx, argv[3], SSL_FILETYPE_PEM) != 1
            || !SSL_CTX_set_max_proto_version(server_ctx, version))
            fail(argv[2]);
        measure(handshake);
    } else {
        return 2;
    }
    return 0;
}
