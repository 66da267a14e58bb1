/*
 * errors own|default FILE: what succeeds leaves no entry on OpenSSL's error queue, the program's own
 * calls of libssl included, whether they end or pause: keys of every type, server and client
 * certificates, TLS 1.2 and 1.3. In spinlane_libctx(), or in the default library context, where an
 * openssl.cnf has loaded the provider. Prints each entry found, and how many calls were looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spinlane.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

static OSSL_LIB_CTX *libctx;
static const char *what;
static int looked_at, found;

/* Looks at the queue after a call that must have succeeded. */
static void look(const char *call, int succeeded)
{
    looked_at++;
    if (!succeeded)
        printf("%s: %s failed: %s\n", what, call, spinlane_last_error());
    if (ERR_peek_error() != 0)
        printf("%s: %s left an entry\n", what, call);
    if (!succeeded || ERR_peek_error() != 0) {
        found++;
        ERR_print_errors_fp(stdout);
    }
    ERR_clear_error();
}

static EVP_PKEY *generate(const char *name, const char *curve, int bits)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(libctx, name, NULL);
    EVP_PKEY *key = NULL;

    EVP_PKEY_keygen_init(ctx);
    if (curve != NULL)
        EVP_PKEY_CTX_set_group_name(ctx, curve);
    if (bits != 0)
        EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, bits);
    EVP_PKEY_keygen(ctx, &key);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static X509 *certificate(EVP_PKEY *key)
{
    X509 *cert = X509_new_ex(libctx, NULL);
    X509_NAME *name = X509_NAME_new();
    int hashes = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -100);
    X509_gmtime_adj(X509_getm_notAfter(cert), 10000);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (void *)"a", -1, -1, 0);
    X509_set_subject_name(cert, name);
    X509_set_issuer_name(cert, name);
    X509_NAME_free(name);
    X509_set_pubkey(cert, key);
    look("X509_sign", X509_sign(cert, key, hashes ? NULL : EVP_sha256()) > 0);
    return cert;
}

static int accept_any(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static SSL_CTX *context(const SSL_METHOD *method, const char *properties)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(libctx, properties, method);

    look("SSL_CTX_new_ex", ctx != NULL);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
    return ctx;
}

static void use(SSL_CTX *ctx, X509 *cert, EVP_PKEY *key, const char *file)
{
    look("SSL_CTX_use_certificate", SSL_CTX_use_certificate(ctx, cert) == 1);
    if (libctx == NULL) {
        look("SSL_CTX_use_PrivateKey", SSL_CTX_use_PrivateKey(ctx, key) == 1);
        look("SSL_CTX_use_PrivateKey_file", SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM) == 1);
        look("SSL_CTX_check_private_key", SSL_CTX_check_private_key(ctx) == 1);
    } else {
        look("spinlane_ssl_ctx_use_private_key", spinlane_ssl_ctx_use_private_key(ctx, key) > 0);
        look("spinlane_ssl_ctx_use_private_key_file", spinlane_ssl_ctx_use_private_key_file(ctx, file) > 0);
    }
}

static int make_ready(SSL *ssl, void *arg)
{
    (void)ssl;
    spinlane_make_ready(spinlane_lcore_current(), arg);
    return 1;
}

/* One step; whether it is done. */
static int step(SSL *ssl, spinlane_lcore *lcore, const char *call)
{
    int done = SSL_do_handshake(ssl), why = SSL_get_error(ssl, done);

    look(call, done == 1 || why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_ASYNC);
    if (why == SSL_ERROR_WANT_ASYNC)
        look("spinlane_poll", spinlane_poll(lcore) >= 0);
    return done == 1;
}

static void handshake(SSL_CTX *server_ctx, SSL_CTX *client_ctx, int version, spinlane_lcore *lcore)
{
    SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
    BIO *ends[2];
    char byte = 'x';
    int turn, done = 0;

    BIO_new_bio_pair(&ends[0], 1 << 16, &ends[1], 1 << 16);
    SSL_set_bio(server, ends[0], ends[0]);
    SSL_set_bio(client, ends[1], ends[1]);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    SSL_set_max_proto_version(client, version);
    SSL_set_mode(server, SSL_MODE_ASYNC);
    SSL_set_async_callback(server, make_ready);
    for (turn = 0; turn < 1000 && done != 3; turn++) {
        done = step(client, lcore, "the client's handshake") ? done | 1 : done;
        done = step(server, lcore, "the server's handshake") ? done | 2 : done;
    }
    look("a handshake", done == 3);
    look("SSL_write", SSL_write(client, &byte, 1) == 1);
    look("SSL_read", SSL_read(server, &byte, 1) == 1);
    look("SSL_write by the server", SSL_write(server, &byte, 1) == 1);
    look("SSL_read by the client", SSL_read(client, &byte, 1) == 1);
    look("SSL_shutdown", SSL_shutdown(client) >= 0);
    spinlane_ssl_free(server);
    look("spinlane_ssl_free", 1);
    SSL_free(client);
}

static void library(void)
{
    struct spinlane_stats stats = { .size = sizeof(stats) };
    spinlane_device *device;
    spinlane_lcore *lcore;
    void *conn;

    what = "the library";
    look("spinlane_version", spinlane_version() != NULL);
    look("spinlane_verify_binding", spinlane_verify_binding());
    look("spinlane_libctx", spinlane_libctx() != NULL);
    look("spinlane_device_open", (device = spinlane_device_open("auto")) != NULL);
    look("spinlane_lcore_create", (lcore = spinlane_lcore_create()) != NULL);
    look("spinlane_lcore_add_device", spinlane_lcore_add_device(lcore, device, 0));
    look("spinlane_poll", spinlane_poll(lcore) == 0);
    look("spinlane_make_ready", spinlane_make_ready(lcore, &conn));
    look("spinlane_next_ready", spinlane_next_ready(lcore, &conn) >= 0);
    look("spinlane_lcore_stats", spinlane_lcore_stats(lcore, &stats));
    look("spinlane_set_stack_size", spinlane_set_stack_size(65536));
    look("spinlane_lcore_free", spinlane_lcore_free(lcore));
    spinlane_device_close(device);
    look("spinlane_device_close", 1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *curve;
        int bits;
    } kinds[] = { { "RSA", NULL, 2048 },  { "RSA", NULL, 3072 },  { "RSA", NULL, 1024 }, { "RSA-PSS", NULL, 2048 },
                  { "EC", "P-256", 0 },   { "EC", "P-384", 0 },   { "EC", "P-521", 0 },  { "ED25519", NULL, 0 },
                  { "ED448", NULL, 0 } };
    spinlane_device *device;
    spinlane_lcore *lcore;
    size_t i;

    if (argc != 3)
        return 2;
    library();
    libctx = strcmp(argv[1], "own") == 0 ? spinlane_libctx() : NULL;
    lcore = spinlane_lcore_create();
    device = spinlane_device_open("auto");
    spinlane_lcore_add_device(lcore, device, 0);
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        EVP_PKEY *key = generate(kinds[i].name, kinds[i].curve, kinds[i].bits);
        SSL_CTX *server = context(TLS_server_method(), libctx ? SPINLANE_PROPERTY_QUERY : NULL);
        SSL_CTX *client = context(TLS_client_method(), NULL);
        X509 *cert;
        BIO *out;

        what = kinds[i].curve ? kinds[i].curve : kinds[i].name;
        look("a key", key != NULL);
        cert = certificate(key);
        out = BIO_new_file(argv[2], "w");
        PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
        BIO_free(out);
        use(server, cert, key, argv[2]);
        use(client, cert, key, argv[2]);
        handshake(server, client, TLS1_3_VERSION, lcore);
        handshake(server, client, TLS1_2_VERSION, lcore);
        X509_free(cert);
        EVP_PKEY_free(key);
        SSL_CTX_free(server);
        SSL_CTX_free(client);
    }
    spinlane_lcore_free(lcore);
    spinlane_device_close(device);
    printf("%d calls, %d found\n", looked_at, found);
    return found != 0;
}
