/*
 * A program that loads the library when it is running already, as a provider of OpenSSL's or as what a plugin is
 * linked to:
 *
 *     late FILE          dlopen and a key exchange in the library's context; jobs of its own by dlsym
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

/* The library's own jobs. */
static int (*start_job)(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx, int *ret, int (*func)(void *), void *args, size_t size);
static int (*pause_job)(void);
static ASYNC_WAIT_CTX *(*new_wait_ctx)(void);

/* The default library context, which a job has of its own. */
static OSSL_LIB_CTX *default_context(void)
{
    return OSSL_LIB_CTX_set0_default(NULL);
}

static int pauses(void *arg)
{
    int ret;

    (void)arg;
    MUST(default_context() == OSSL_LIB_CTX_get0_global_default());
    OSSL_LIB_CTX_set0_default(libctx);
    ret = pause_job() + 6;
    MUST(default_context() == libctx);
    return ret;
}

static void *starts(void *arg)
{
    int ret = 0;

    MUST(start_job(arg, new_wait_ctx(), &ret, pauses, NULL, 0) == ASYNC_PAUSE);
    MUST(default_context() == OSSL_LIB_CTX_get0_global_default());
    return NULL;
}

static void *resumes(void *arg)
{
    ASYNC_JOB *own = NULL;
    int ret = 0;

    starts(&own);
    MUST(start_job(arg, NULL, &ret, pauses, NULL, 0) == ASYNC_ERR);
    MUST(start_job(&own, NULL, &ret, pauses, NULL, 0) == ASYNC_FINISH && ret == 7);
    MUST(default_context() == OSSL_LIB_CTX_get0_global_default());
    ERR_clear_error();
    return NULL;
}

/* Jobs whose thread has ended are no other thread's, whose thread-local data may lie where theirs lay. */
static void outlive(void *library)
{
    pthread_t thread;
    int i;

    MUST(*(void **)&start_job = dlsym(library, "ASYNC_start_job"));
    MUST(*(void **)&pause_job = dlsym(library, "ASYNC_pause_job"));
    MUST(*(void **)&new_wait_ctx = dlsym(library, "ASYNC_WAIT_CTX_new"));
    for (i = 0; i < 20; i++) {
        ASYNC_JOB *job = NULL;

        MUST(pthread_create(&thread, NULL, starts, &job) == 0 && pthread_join(thread, NULL) == 0);
        MUST(pthread_create(&thread, NULL, resumes, &job) == 0 && pthread_join(thread, NULL) == 0);
    }
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
        outlive(library);
    } else {
        MUST(OSSL_PROVIDER_available(NULL, "spinlane"));
    }
    MUST(ERR_peek_error() == 0);
    all(NULL);
    MUST(pthread_create(&thread, NULL, all, NULL) == 0 && pthread_join(thread, NULL) == 0);
    MUST(ERR_peek_error() == 0);
    return 0;
}
