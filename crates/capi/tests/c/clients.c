/*
 * clients PORT THREADS ROUNDS: each thread makes ROUNDS connections, one after the other, each
 * echoing one message. OpenSSL as it is. Prints how many succeeded.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

static int port, rounds;
static SSL_CTX *ctx;

static int echo_once(int round)
{
    struct sockaddr_in address;
    char sent[64], got[64];
    int ok = 0, len, fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(ctx);

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)port);
    len = snprintf(sent, sizeof(sent), "message %d", round);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && SSL_set_fd(ssl, fd)
        && SSL_connect(ssl) == 1 && SSL_write(ssl, sent, len) == len
        && SSL_read(ssl, got, sizeof(got)) == len && memcmp(sent, got, (size_t)len) == 0)
        ok = 1;
    if (ok)
        SSL_shutdown(ssl);
    else
        ERR_print_errors_fp(stderr);
    SSL_free(ssl);
    close(fd);
    return ok;
}

static void *client(void *arg)
{
    long *count = arg;
    int i;

    for (i = 0; i < rounds; i++)
        *count += echo_once(i);
    return NULL;
}

int main(int argc, char **argv)
{
    long counts[256] = { 0 }, total = 0;
    pthread_t threads[256];
    int i, number;

    if (argc != 4 || (number = atoi(argv[2])) > 256)
        return 2;
    port = atoi(argv[1]);
    rounds = atoi(argv[3]);
    ctx = SSL_CTX_new(TLS_client_method());
    for (i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, client, &counts[i]);
    for (i = 0; i < number; i++) {
        pthread_join(threads[i], NULL);
        total += counts[i];
    }
    printf("%ld\n", total);
    SSL_CTX_free(ctx);
    return 0;
}
