/* The promises of ASYNC_start_job(3). */
#include <pthread.h>

#include <openssl/crypto.h>

#include "see.h"

static ASYNC_WAIT_CTX *ctx;
static ASYNC_JOB *job;
static int ret;

static int returns_7(void *arg)
{
    (void)arg;
    return 7;
}

static int pauses(void *arg)
{
    (void)arg;
    ASYNC_pause_job();
    ASYNC_pause_job();
    return -9;
}

static int start(int (*func)(void *))
{
    return ASYNC_start_job(&job, ctx, &ret, func, NULL, 0);
}

static void fresh(void)
{
    ctx = ASYNC_WAIT_CTX_new();
    job = NULL;
    ret = -1;
}

static void finish(void)
{
    fresh();
    SEE("a job that completes: ASYNC_FINISH", start(returns_7) == ASYNC_FINISH);
    SEE("ASYNC_FINISH: *job is NULL", job == NULL);
    SEE("ASYNC_FINISH: the return value is in *ret", ret == 7);
    SEE("the pool is made without ASYNC_init_thread", 1);
    ASYNC_WAIT_CTX_free(ctx);
}

static void pause_and_restart(void)
{
    ASYNC_JOB *first;

    fresh();
    SEE("a job that pauses: ASYNC_PAUSE", start(pauses) == ASYNC_PAUSE);
    SEE("ASYNC_PAUSE: a handle is in *job", (first = job) != NULL);
    SEE("ASYNC_PAUSE: *ret is left alone", ret == -1);
    SEE("func, args and size are ignored when restarting", ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 99) == ASYNC_PAUSE);
    SEE("the handle stays the same", job == first);
    SEE("a restarted job goes on where it paused", start(returns_7) == ASYNC_FINISH && ret == -9);
    ASYNC_WAIT_CTX_free(ctx);
}

static int adds(void *arg)
{
    char *text = arg;

    ASYNC_pause_job();
    return text[0] + text[1] + text[199];
}

static void arguments(void)
{
    char text[200];

    fresh();
    memset(text, 1, sizeof(text));
    ASYNC_start_job(&job, ctx, &ret, adds, text, sizeof(text));
    memset(text, 5, sizeof(text));
    SEE("args are copied", ASYNC_start_job(&job, ctx, &ret, adds, text, sizeof(text)) == ASYNC_FINISH && ret == 3);
    ASYNC_WAIT_CTX_free(ctx);
}

static void no_memory(void)
{
    fresh();
    SEE("no memory for a copy of args: ASYNC_ERR",
        ASYNC_start_job(&job, ctx, &ret, returns_7, &ctx, (size_t)-1 / 2) == ASYNC_ERR);
    SEE("no memory for a copy of args: an error entry", see_error());
}

static int is_null(void *arg)
{
    return arg == NULL;
}

static void null_arguments(void)
{
    fresh();
    SEE("NULL args stay NULL", start(is_null) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
}

static ASYNC_JOB *seen_job;
static ASYNC_WAIT_CTX *seen_ctx;

static int looks(void *arg)
{
    (void)arg;
    seen_job = ASYNC_get_current_job();
    seen_ctx = ASYNC_get_wait_ctx(seen_job);
    ASYNC_pause_job();
    return ASYNC_get_current_job() == seen_job;
}

static void current_job(void)
{
    fresh();
    SEE("no job executes: ASYNC_get_current_job is NULL", ASYNC_get_current_job() == NULL);
    start(looks);
    SEE("within a job: ASYNC_get_current_job is that job", seen_job != NULL && seen_job == job);
    SEE("ASYNC_get_wait_ctx is the context it was started with", seen_ctx == ctx);
    SEE("a paused job is not current", ASYNC_get_current_job() == NULL);
    SEE("and is again after a restart", start(looks) == ASYNC_FINISH && ret == 1);
    ASYNC_WAIT_CTX_free(ctx);
}

static void pause_outside(void)
{
    SEE("ASYNC_pause_job outside a job: 1, no action", ASYNC_pause_job() == 1);
}

static int blocks(void *arg)
{
    (void)arg;
    ASYNC_block_pause();
    ASYNC_block_pause();
    ASYNC_pause_job();
    ASYNC_unblock_pause();
    ASYNC_pause_job();
    ASYNC_unblock_pause();
    ASYNC_pause_job();
    return 3;
}

static void block_pause(void)
{
    fresh();
    ASYNC_block_pause();
    SEE("outside a job ASYNC_block_pause has no effect", start(pauses) == ASYNC_PAUSE);
    ASYNC_unblock_pause();
    while (job != NULL)
        start(pauses);
    SEE("blocked twice, unblocked twice: the third pause is the first that pauses",
        start(blocks) == ASYNC_PAUSE && start(blocks) == ASYNC_FINISH && ret == 3);
    ASYNC_WAIT_CTX_free(ctx);
}

static int blocks_and_returns(void *arg)
{
    (void)arg;
    ASYNC_block_pause();
    return 1;
}

static void block_left(void)
{
    fresh();
    start(blocks_and_returns);
    SEE("a job that ends blocked blocks no other", start(pauses) == ASYNC_PAUSE);
}

static void limits(void)
{
    ASYNC_WAIT_CTX *other = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *second = NULL;

    fresh();
    SEE("ASYNC_init_thread: 1", ASYNC_init_thread(1, 1) == 1);
    start(pauses);
    SEE("at max_size: ASYNC_NO_JOBS", ASYNC_start_job(&second, other, &ret, returns_7, NULL, 0) == ASYNC_NO_JOBS);
    SEE("ASYNC_NO_JOBS: *job stays NULL", second == NULL);
    while (job != NULL)
        start(pauses);
    SEE("the call can be retried when a job has finished",
        ASYNC_start_job(&second, other, &ret, returns_7, NULL, 0) == ASYNC_FINISH);
    ASYNC_cleanup_thread();
    SEE("ASYNC_cleanup_thread: jobs can be started afterwards",
        ASYNC_start_job(&second, other, &ret, returns_7, NULL, 0) == ASYNC_FINISH);
}

static void no_limit(void)
{
    ASYNC_WAIT_CTX *contexts[300];
    ASYNC_JOB *jobs[300] = { NULL };
    int i, paused = 0, finished = 0;

    ASYNC_init_thread(0, 0);
    for (i = 0; i < 300; i++) {
        contexts[i] = ASYNC_WAIT_CTX_new();
        paused += ASYNC_start_job(&jobs[i], contexts[i], &ret, pauses, NULL, 0) == ASYNC_PAUSE;
    }
    SEE("max_size 0: no upper limit, many jobs paused at once", paused == 300);
    for (i = 299; i >= 0; i--) {
        ASYNC_start_job(&jobs[i], contexts[i], &ret, pauses, NULL, 0);
        finished += ASYNC_start_job(&jobs[i], contexts[i], &ret, pauses, NULL, 0) == ASYNC_FINISH;
        ASYNC_WAIT_CTX_free(contexts[i]);
    }
    SEE("paused jobs are restarted in any order", finished == 300);
}

static void bad_limits(void)
{
    SEE("init_size above max_size: 0", ASYNC_init_thread(1, 2) == 0);
    SEE("init_size above max_size: an error entry", see_error());
}

static void capable(void)
{
    SEE("ASYNC_is_capable: 1 on this platform", ASYNC_is_capable() == 1);
}

static void reuse(void)
{
    int i, finished = 0;

    fresh();
    for (i = 0; i < 1000; i++)
        finished += start(returns_7) == ASYNC_FINISH;
    SEE("a wait context is reused for job after job", finished == 1000);
    ASYNC_WAIT_CTX_free(ctx);
}

static OSSL_LIB_CTX *libctx;

static int changes_libctx(void *arg)
{
    (void)arg;
    OSSL_LIB_CTX_set0_default(libctx);
    ASYNC_pause_job();
    return OSSL_LIB_CTX_set0_default(NULL) == libctx;
}

static void default_libctx(void)
{
    OSSL_LIB_CTX *before = OSSL_LIB_CTX_set0_default(NULL);

    fresh();
    libctx = OSSL_LIB_CTX_new();
    start(changes_libctx);
    SEE("the default library context that a job sets is not its caller's", OSSL_LIB_CTX_set0_default(NULL) == before);
    SEE("and is the job's again after a restart", start(changes_libctx) == ASYNC_FINISH && ret == 1);
    SEE("and the caller's is unchanged afterwards", OSSL_LIB_CTX_set0_default(NULL) == before);
}

/* What the man page forbids or leaves open. */

static void null_job(void)
{
    fresh();
    SEE("NULL for job: ASYNC_ERR", ASYNC_start_job(NULL, ctx, &ret, returns_7, NULL, 0) == ASYNC_ERR);
    SEE("NULL for job: an error entry", see_error());
}

static void null_ret(void)
{
    fresh();
    SEE("NULL for ret: ASYNC_ERR", ASYNC_start_job(&job, ctx, NULL, returns_7, NULL, 0) == ASYNC_ERR);
    SEE("NULL for ret: an error entry", see_error());
}

static void null_func(void)
{
    fresh();
    SEE("NULL for func: ASYNC_ERR", start(NULL) == ASYNC_ERR);
    SEE("NULL for func: an error entry", see_error());
    SEE("NULL for func: other jobs go on", start(returns_7) == ASYNC_FINISH);
}

static void null_ctx(void)
{
    fresh();
    SEE("NULL for ctx: the job runs, without a wait context",
        ASYNC_start_job(&job, NULL, &ret, looks, NULL, 0) == ASYNC_PAUSE && seen_ctx == NULL);
    SEE("and is restarted", ASYNC_start_job(&job, NULL, &ret, looks, NULL, 0) == ASYNC_FINISH);
}

static void null_get_wait_ctx(void)
{
    SEE("ASYNC_get_wait_ctx(NULL): NULL", ASYNC_get_wait_ctx(NULL) == NULL);
}

static int inner_result;
static int inner_error;

static int starts_another(void *arg)
{
    ASYNC_WAIT_CTX *inner_ctx = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *inner = NULL;
    int inner_ret;

    (void)arg;
    inner_result = ASYNC_start_job(&inner, inner_ctx, &inner_ret, returns_7, NULL, 0);
    inner_error = see_error();
    ASYNC_pause_job();
    ASYNC_WAIT_CTX_free(inner_ctx);
    return 5;
}

static void nested(void)
{
    int outer;

    fresh();
    outer = start(starts_another);
    SEE("a start from within a job: ASYNC_ERR", inner_result == ASYNC_ERR);
    SEE("a start from within a job: an error entry", inner_error);
    SEE("the outer job still pauses", outer == ASYNC_PAUSE);
    SEE("and finishes", start(starts_another) == ASYNC_FINISH && ret == 5);
}

static void *resume_elsewhere(void *arg)
{
    *(int *)arg = start(pauses) == ASYNC_ERR && see_error();
    return NULL;
}

static void other_thread(void)
{
    pthread_t thread;
    int refused = 0;

    fresh();
    start(pauses);
    pthread_create(&thread, NULL, resume_elsewhere, &refused);
    pthread_join(thread, NULL);
    SEE("a restart on another thread: ASYNC_ERR and an error entry", refused);
    SEE("its own thread restarts it", start(pauses) == ASYNC_PAUSE && start(pauses) == ASYNC_FINISH);
}

static void stale_handle(void)
{
    ASYNC_JOB *stale;

    fresh();
    start(pauses);
    stale = job;
    while (job != NULL)
        start(pauses);
    job = stale;
    SEE("a restart of a finished job: ASYNC_ERR", start(pauses) == ASYNC_ERR);
    SEE("a restart of a finished job: an error entry", see_error());
}

static int overflows(void *arg)
{
    volatile char frame[4096];

    frame[0] = 1;
    frame[4095] = arg == NULL ? 1 : overflows(arg);
    return frame[0] + frame[4095];
}

static void overflow(void)
{
    fresh();
    ASYNC_start_job(&job, ctx, &ret, overflows, &ctx, sizeof(ctx));
}

int main(void)
{
    static const struct see_case cases[] = {
        { "finish", finish }, { "pause", pause_and_restart }, { "args", arguments }, { "no memory", no_memory }, { "null args", null_arguments },
        { "current", current_job }, { "pause outside", pause_outside }, { "block", block_pause },
        { "block left", block_left }, { "limits", limits }, { "no limit", no_limit }, { "bad limits", bad_limits },
        { "capable", capable }, { "reuse", reuse }, { "libctx", default_libctx }, { "null job", null_job },
        { "null ret", null_ret }, { "null func", null_func }, { "null ctx", null_ctx },
        { "null get_wait_ctx", null_get_wait_ctx }, { "nested", nested }, { "other thread", other_thread },
        { "stale", stale_handle }, { "overflow", overflow },
    };

    return see_main(cases, sizeof(cases) / sizeof(cases[0]));
}
