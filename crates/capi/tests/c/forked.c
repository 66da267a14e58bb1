/*
 * forked KEY: a server that signs, and forks its workers thereafter. A worker that has made its lcore is
 * killed if it asks the kernel for entropy, as a generator does that is seeded anew in a new process; then it
 * signs. Prints how that went.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <spinlane.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

static int sign(EVP_PKEY *key)
{
    unsigned char sig[512];
    size_t len = sizeof(sig);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int done = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1
        && EVP_DigestSign(ctx, sig, &len, (const unsigned char *)"x", 1) == 1;

    EVP_MD_CTX_free(ctx);
    return done;
}

static int forbid_getrandom(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* Signs in a child, with an lcore made before or not; prints what became of it. */
static void worker(EVP_PKEY *key, int makes_lcore)
{
    pid_t child;
    int status;

    fflush(NULL);
    if ((child = fork()) == 0) {
        alarm(60);
        if (makes_lcore && spinlane_lcore_create() == NULL)
            _exit(2);
        if (!forbid_getrandom())
            _exit(3);
        _exit(sign(key) ? 0 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        printf("no child\n");
    else if (WIFSIGNALED(status))
        printf("asked for entropy (signal %d)\n", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 3)
        printf("no seccomp\n");
    else
        printf(WEXITSTATUS(status) == 0 ? "signed\n" : "failed\n");
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    EVP_PKEY *key;

    if (file == NULL || (key = PEM_read_PrivateKey(file, NULL, NULL, NULL)) == NULL || !sign(key))
        return 1;
    fclose(file);
    worker(key, 0);
    worker(key, 1);
    return 0;
}
