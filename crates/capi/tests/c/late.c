/*
 * A program that loads the library when it is running already, as a provider of OpenSSL's or as what a plugin is
 * linked to:
 *
 *     late FILE          dlopen and a key exchange in the library's context
 *     late               the provider is in openssl.cnf
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#define MUST(condition)                                                        \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);            \
            ERR_print_errors_fp(stderr);                                       \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static OSSL_LIB_CTX *libctx;

static int exchange(void *arg)
{
    EVP_PKEY *mine = EVP_PKEY_Q_keygen(libctx, "provider=spinlane", "X25519");
    EVP_PKEY *theirs = EVP_PKEY_Q_keygen(libctx, "provider=spinlane", "X25519");
    EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new_from_pkey(libctx, mine, "provider=spinlane");
    unsigned char secret[32];
    size_t length = sizeof(secret);
    int done = mine && theirs && derive && EVP_PKEY_derive_init(derive) == 1 &&
               EVP_PKEY_derive_set_peer(derive, theirs) == 1 && EVP_PKEY_derive(derive, secret, &length) == 1;

    (void)arg;
    EVP_PKEY_CTX_free(derive);
    EVP_PKEY_free(mine);
    EVP_PKEY_free(theirs);
    return done ? 5 : -1;
}

static int callback(void *arg)
{
    (void)arg;
    return 1;
}

/* On its own, and in a job, with a callback too: OpenSSL's own jobs, of which this library knows nothing. */
static void *all(void *arg)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job = NULL;
    int ret = 0;

    MUST(ctx != NULL && exchange(NULL) == 5);
    MUST(ASYNC_WAIT_CTX_set_callback(ctx, callback, NULL) == 1);
    MUST(ASYNC_start_job(&job, ctx, &ret, exchange, NULL, 0) == ASYNC_FINISH && ret == 5);
    ASYNC_WAIT_CTX_free(ctx);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t thread;

    if (argc == 2) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        OSSL_LIB_CTX *(*context)(void);
        int (*binding)(void);
        const char *(*error)(void);

        if (library == NULL)
            fprintf(stderr, "%s\n", dlerror());
        MUST(library != NULL);
        MUST(context = (OSSL_LIB_CTX * (*)(void)) dlsym(library, "spinlane_libctx"));
        MUST(binding = (int (*)(void))dlsym(library, "spinlane_verify_binding"));
        MUST(error = (const char *(*)(void))dlsym(library, "spinlane_last_error"));
        MUST(binding() == 0 && strstr(error(), "preload") != NULL);
        if ((libctx = context()) == NULL)
            fprintf(stderr, "%s\n", error());
        MUST(libctx != NULL);
    } else {
        MUST(OSSL_PROVIDER_available(NULL, "spinlane"));
    }
    MUST(ERR_peek_error() == 0);
    all(NULL);
    MUST(pthread_create(&thread, NULL, all, NULL) == 0 && pthread_join(thread, NULL) == 0);
    MUST(ERR_peek_error() == 0);
    return 0;
}
