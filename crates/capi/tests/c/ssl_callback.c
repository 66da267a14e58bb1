/*
 * The promises of SSL_set_async_callback(3). What pauses is a certificate callback of the server's, which
 * does what an engine does: status, callback, ASYNC_pause_job. So it is the same with any provider.
 *
 *     ssl_callback cert.pem key.pem
 */
#include <openssl/ssl.h>

#include "see.h"

static const char *cert_file, *key_file;
static SSL_CTX *server_ctx, *client_ctx;
static SSL *server, *client;

/* What the engine does at its next pauses. */
static int engine_pauses, engine_status, engine_calls_first;
static ASYNC_WAIT_CTX *engine_ctx;
static int engine_was_in_job;

/* What the callback saw. */
static int calls, call_status;
static SSL *call_ssl;
static void *call_arg;

static int callback(SSL *ssl, void *arg)
{
    calls++;
    call_ssl = ssl;
    call_arg = arg;
    SSL_get_async_status(ssl, &call_status);
    return 1;
}

static int other_calls;

static int other_callback(SSL *ssl, void *arg)
{
    (void)ssl;
    (void)arg;
    other_calls++;
    return 1;
}

static void engine_calls(void)
{
    ASYNC_callback_fn function;
    void *arg;

    if (ASYNC_WAIT_CTX_get_callback(engine_ctx, &function, &arg))
        function(arg);
}

static int engine(SSL *ssl, void *arg)
{
    ASYNC_JOB *job = ASYNC_get_current_job();

    (void)ssl;
    (void)arg;
    engine_was_in_job = job != NULL;
    if (job == NULL)
        return 1;
    engine_ctx = ASYNC_get_wait_ctx(job);
    while (engine_pauses-- > 0) {
        if (engine_status >= 0)
            ASYNC_WAIT_CTX_set_status(engine_ctx, engine_status);
        if (engine_calls_first)
            engine_calls();
        ASYNC_pause_job();
    }
    return 1;
}

static void set_up(int mode)
{
    engine_pauses = 1;
    engine_status = -1;
    server_ctx = SSL_CTX_new(TLS_server_method());
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_certificate_chain_file(server_ctx, cert_file);
    SSL_CTX_use_PrivateKey_file(server_ctx, key_file, SSL_FILETYPE_PEM);
    SSL_CTX_set_cert_cb(server_ctx, engine, NULL);
    SSL_CTX_set_mode(server_ctx, mode);
}

static void connect_them(void)
{
    BIO *one, *other;

    BIO_new_bio_pair(&one, 0, &other, 0);
    server = SSL_new(server_ctx);
    client = SSL_new(client_ctx);
    SSL_set_bio(server, one, one);
    SSL_set_bio(client, other, other);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
}

/* The server's error after its next call, the client having sent what it can. */
static int step(void)
{
    SSL_do_handshake(client);
    ERR_clear_error();
    return SSL_get_error(server, SSL_do_handshake(server));
}

static int finish(void)
{
    int i;

    for (i = 0; i < 10; i++)
        if (step() == SSL_ERROR_NONE)
            return 1;
    return 0;
}

static void inherited(void)
{
    SSL *before;
    int mark;

    set_up(SSL_MODE_ASYNC);
    before = SSL_new(server_ctx);
    SEE("SSL_CTX_set_async_callback: 1", SSL_CTX_set_async_callback(server_ctx, callback) == 1);
    SEE("SSL_CTX_set_async_callback_arg: 1", SSL_CTX_set_async_callback_arg(server_ctx, &mark) == 1);
    connect_them();
    SEE("the call pauses: SSL_ERROR_WANT_ASYNC", step() == SSL_ERROR_WANT_ASYNC);
    SEE("no call before the engine makes one", calls == 0);
    engine_calls();
    SEE("an SSL made from the SSL_CTX has its callback", calls == 1);
    SEE("the callback gets the SSL", call_ssl == server);
    SEE("the callback gets the argument", call_arg == &mark);
    SEE("the SSL function called again goes on", finish());
    SSL_free(server);

    SSL_free(before);
    calls = 0;
    server = NULL;
}

static void made_before(void)
{
    set_up(SSL_MODE_ASYNC);
    connect_them();
    SSL_CTX_set_async_callback(server_ctx, callback);
    step();
    engine_calls();
    SEE("an SSL made before does not get the callback of the SSL_CTX", calls == 0 && finish());
}

static void of_ssl(void)
{
    int mark;

    set_up(SSL_MODE_ASYNC);
    SSL_CTX_set_async_callback(server_ctx, other_callback);
    connect_them();
    SEE("SSL_set_async_callback: 1", SSL_set_async_callback(server, callback) == 1);
    SEE("SSL_set_async_callback_arg: 1", SSL_set_async_callback_arg(server, &mark) == 1);
    step();
    engine_calls();
    SEE("the callback of the SSL is called in place of that of the SSL_CTX", calls == 1 && other_calls == 0);
    SEE("with its argument", call_arg == &mark && finish());
}

static void argument_later(void)
{
    int mark;

    set_up(SSL_MODE_ASYNC);
    connect_them();
    SSL_set_async_callback(server, callback);
    step();
    SSL_set_async_callback_arg(server, &mark);
    engine_calls();
    SEE("an argument set while paused is the one that the callback gets", call_arg == &mark && finish());
}

static void status(void)
{
    int seen = 99, value, right = 1;

    set_up(SSL_MODE_ASYNC);
    connect_them();
    SSL_set_async_callback(server, callback);
    SEE("SSL_get_async_status before the first asynchronous call: 0", SSL_get_async_status(server, &seen) == 0);
    engine_pauses = 5;
    step();
    SEE("SSL_get_async_status: 1, ASYNC_STATUS_UNSUPPORTED unless the engine sets one",
        SSL_get_async_status(server, &seen) == 1 && seen == ASYNC_STATUS_UNSUPPORTED);
    for (value = ASYNC_STATUS_ERR; value <= ASYNC_STATUS_EAGAIN; value++) {
        engine_status = value;
        right &= step() == SSL_ERROR_WANT_ASYNC && SSL_get_async_status(server, &seen) == 1 && seen == value;
    }
    SEE("SSL_get_async_status has what the engine set last", right && finish());
}

static void retry(void)
{
    set_up(SSL_MODE_ASYNC);
    connect_them();
    SSL_set_async_callback(server, callback);
    engine_status = ASYNC_STATUS_EAGAIN;
    engine_calls_first = 1;
    SEE("a retry (step 3): the call pauses", step() == SSL_ERROR_WANT_ASYNC);
    SEE("the callback was called before it returned", calls == 1);
    SEE("the callback reads ASYNC_STATUS_EAGAIN (step 9)", call_status == ASYNC_STATUS_EAGAIN);
    SEE("the call is made again and succeeds", finish());
}

static void no_mode(void)
{
    set_up(0);
    connect_them();
    SSL_set_async_callback(server, callback);
    SEE("without SSL_MODE_ASYNC nothing pauses", finish() && !engine_was_in_job && calls == 0);
}

static void waiting(void)
{
    OSSL_ASYNC_FD fd = -1, gone;
    size_t added, deleted, count;
    static char key;

    set_up(SSL_MODE_ASYNC);
    connect_them();
    SEE("SSL_waiting_for_async: 0 before", SSL_waiting_for_async(server) == 0);
    engine_pauses = 2;
    step();
    SEE("SSL_waiting_for_async: 1 while paused", SSL_waiting_for_async(server) == 1);
    ASYNC_WAIT_CTX_set_wait_fd(engine_ctx, &key, 10, NULL, NULL);
    SEE("SSL_get_all_async_fds: those of the wait context",
        SSL_get_all_async_fds(server, &fd, &count) == 1 && count == 1 && fd == 10);
    SEE("SSL_get_changed_async_fds: likewise",
        SSL_get_changed_async_fds(server, &fd, &added, &gone, &deleted) == 1 && added == 1 && deleted == 0);
    SEE("SSL_waiting_for_async: 0 afterwards", finish() && SSL_waiting_for_async(server) == 0);
}

static void no_jobs(void)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    SSL *first, *first_client;

    (void)ctx;
    ASYNC_init_thread(1, 1);
    set_up(SSL_MODE_ASYNC);
    connect_them();
    step();
    first = server;
    first_client = client;
    connect_them();
    engine_pauses = 1;
    SEE("no job to be had: SSL_ERROR_WANT_ASYNC_JOB", step() == SSL_ERROR_WANT_ASYNC_JOB);
    server = first;
    client = first_client;
    SEE("the paused one goes on", finish());
}

static void many(void)
{
    SSL *servers[64], *clients[64];
    int i, paused = 0, finished = 0;

    set_up(SSL_MODE_ASYNC);
    SSL_CTX_set_async_callback(server_ctx, callback);
    for (i = 0; i < 64; i++) {
        connect_them();
        engine_pauses = 1;
        paused += step() == SSL_ERROR_WANT_ASYNC;
        engine_calls();
        servers[i] = server;
        clients[i] = client;
    }
    SEE("many connections paused at once, each called back", paused == 64 && calls == 64);
    for (i = 63; i >= 0; i--) {
        engine_pauses = 0;
        server = servers[i];
        client = clients[i];
        finished += finish();
        SSL_free(server);
        SSL_free(client);
    }
    SEE("and finished in any order", finished == 64);
}

static void free_paused(void)
{
    int i, paused = 0;

    ASYNC_init_thread(4, 0);
    set_up(SSL_MODE_ASYNC);
    for (i = 0; i < 50; i++) {
        connect_them();
        engine_pauses = 1;
        paused += step() == SSL_ERROR_WANT_ASYNC;
        SSL_free(server);
        SSL_free(client);
    }
    SEE("SSL_free of a paused SSL: its job goes back to the pool", paused == 50);
}

int main(int argc, char **argv)
{
    static const struct see_case cases[] = {
        { "inherited", inherited }, { "made before", made_before }, { "of ssl", of_ssl },
        { "argument later", argument_later }, { "status", status }, { "retry", retry }, { "no mode", no_mode },
        { "waiting", waiting }, { "no jobs", no_jobs }, { "many", many }, { "free paused", free_paused },
    };

    if (argc != 3)
        return 2;
    cert_file = argv[1];
    key_file = argv[2];
    return see_main(cases, sizeof(cases) / sizeof(cases[0]));
}
