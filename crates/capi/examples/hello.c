/* An HTTPS server:  cc hello.c -lspinlane -o hello && ./hello server.crt server.key 8443 */
#include <netinet/in.h>
#include <spinlane.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ptrdiff_t from_peer(void *fd, void *to, size_t len) { return recv(*(int *)fd, to, len, MSG_DONTWAIT); }
static ptrdiff_t to_peer(void *fd, const void *from, size_t len) { return send(*(int *)fd, from, len, MSG_NOSIGNAL); }

int main(int argc, char **argv)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(argc > 3 ? atoi(argv[3]) : 8443)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd, progress;
    spinlane_conn_config *config = spinlane_conn_config_create_server();
    spinlane_lcore *lcore = spinlane_lcore_create();
    char request[4096];
    size_t count;

    if (argc < 3 || !spinlane_lcore_add_device(lcore, spinlane_device_open("auto"), 0)
        || !spinlane_conn_config_add_certificate_files(config, argv[1], argv[2])
        || bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 100))
        return fprintf(stderr, "usage: hello CERT KEY [PORT]; %s\n", spinlane_last_error()), 1;
    while ((fd = accept(listener, NULL, NULL)) >= 0) { /* one after the other; echo_conn.c serves many */
        spinlane_conn *conn = spinlane_conn_create(config, NULL);
        spinlane_conn_attach(conn, lcore, conn);
        do { /* a paused call may be made again at any time: with one connection there is no need to ask when */
            spinlane_poll(lcore);
            progress = spinlane_conn_read(conn, request, sizeof(request), &count);
            if (progress == SPINLANE_DONE && spinlane_conn_write(conn, reply, sizeof(reply) - 1, &count))
                spinlane_conn_shutdown(conn);
            spinlane_conn_write_output(conn, to_peer, &fd); /* an alert, if the call has failed */
        } while (progress > SPINLANE_DONE && progress != SPINLANE_CLOSED
                 && !(progress == SPINLANE_WANT_INPUT && spinlane_conn_read_input(conn, from_peer, &fd) == 0));
        spinlane_conn_free(conn);
        close(fd);
    }
}
