"""How the pieces of a call are shared among threads: the one place where a call has more than one.

The calling thread works on one piece after the other. Helper threads sleep between calls; when they wake, they take
pieces that nobody has begun. When no piece is left, the caller waits for the pieces in work, but not for helpers that
have not woken yet::

    caller   wakes two ─▶ piece 0 ─▶ piece 1 ─▶ piece 4 ─▶ calls back who is not there ─▶ waits for piece 5
    helper       ┆ wakes ─▶ wakes two more ─▶ piece 2 ─▶ piece 5 ──────────────▶ sleeps
    helper       ┆ ┆ wakes ─▶ piece 3 ─▶ sleeps

So beside other busy processes, a call takes at worst the time of one thread and of the waking.

Helpers are OpenMP threads. They enter a parallel region at the first call that needs them, and stay in it. With a
region for each call, all threads would wait (and spin) at its end, even those that had not begun: beside a busy
process, a call of one millisecond took up to thirteen. In a build without OpenMP, helpers are Python threads.

Between pieces, and while it waits, the main thread checks for signals. It holds no lock then: a handler may do
anything.
"""

import os
import threading

from cython.parallel cimport prange
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #ifdef _OPENMP
    #define ROICY_OPENMP 1
    #else
    #define ROICY_OPENMP 0
    #endif
    #if defined(__x86_64__) || defined(_M_X64)
    #include <xmmintrin.h>
    #define roicy_fence() _mm_sfence()
    #else
    #define roicy_fence() ((void) 0)
    #endif
    #if defined(_MSC_VER)
    #include <windows.h>
    #define roicy_take(next) (InterlockedExchangeAdd64((next), 1))
    #define roicy_end(next, count) ((void) InterlockedExchange64((next), (count)))
    static double roicy_seconds(void) { return (double) GetTickCount64() / 1e3; }
    #else
    #include <time.h>
    #define roicy_take(next) (__atomic_fetch_add((next), 1, __ATOMIC_RELAXED))
    #define roicy_end(next, count) (__atomic_store_n((next), (count), __ATOMIC_RELAXED))
    static double roicy_seconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
    }
    #endif
    """
    const bint ROICY_OPENMP
    void roicy_fence() noexcept nogil       # streamed stores of this thread become visible to the others
    int64_t roicy_take(int64_t* following) noexcept nogil
    void roicy_end(int64_t* following, int64_t count) noexcept nogil
    double roicy_seconds() noexcept nogil

cdef extern from "pythread.h" nogil:
    # Python's locks and threads of the platform. Any thread may release a lock, not only the one that took it.
    ctypedef void* Lock "PyThread_type_lock"
    enum:
        WAIT_LOCK, NOWAIT_LOCK, PY_LOCK_ACQUIRED
    Lock allocate_lock "PyThread_allocate_lock"() noexcept
    void free_lock "PyThread_free_lock"(Lock lock) noexcept
    bint acquire "PyThread_acquire_lock"(Lock lock, int mode) noexcept
    int acquire_timed "PyThread_acquire_lock_timed"(Lock lock, long long microseconds, bint interruptible) noexcept
    void release "PyThread_release_lock"(Lock lock) noexcept
    unsigned long start_thread "PyThread_start_new_thread"(void (*run)(void*) noexcept nogil, void* argument) noexcept
    unsigned long thread_ident "PyThread_get_thread_ident"() noexcept
    const unsigned long NO_THREAD "PYTHREAD_INVALID_THREAD_ID"

cdef extern from "Python.h":
    int check_signals "PyErr_CheckSignals"() noexcept
    void set_error "PyErr_SetString"(object kind, const char* message) noexcept

cdef enum:
    SPINS = 1000                # looks for the last piece before the caller sleeps: some 20 microseconds
# Seconds.
cdef double SIGNALS_EVERY = 0.1
cdef double MOST_DEBT = 0.03
cdef double MOST_CREDIT = 0.02
# What helpers may cost, as a part of the time that all calls take.
cdef double COST_SHARE = 0.05


cdef struct Job:
    Piece piece
    void* call
    int64_t count
    int64_t following       # the next piece to begin
    double lost             # seconds that the caller spent on waking and waiting, less those that helpers saved it
    # under the lock:
    int wanted              # helpers that may yet be called
    int begun               # threads that have come, the caller among them
    int working             # helpers that have come and are not done
    bint waited             # the caller waits for them
    Helper* called          # helpers that have been woken and have not come
    Lock finished           # released by the last of the helpers that are waited for


cdef struct Helper:
    Lock wake
    # under the lock:
    bint woken              # since it last looked for a job
    Job* job
    Helper* following       # in the list of the idle ones, or of those that a job has called


cdef Lock lock = allocate_lock()    # taken for a few instructions, never while Python's own is waited for
cdef Helper* idle = NULL
cdef int idle_count = 0
cdef int started = 0
cdef int forks = 0                  # that lead from the first process to this one
cdef unsigned long main_thread = threading.main_thread().ident


# What helpers have cost and not saved, less what has been allowed for since; under Python's lock.
cdef double debt = -MOST_CREDIT
cdef bint accounting = True


cpdef bint helping() noexcept:
    """Return whether helpers pay off: whether a call should use more than one thread.

    On a busy machine they do not: a helper may take a piece and lose its core, and the caller waits. This loss may be
    at most a share of the time of all calls; as long as it is more, calls use one thread.
    """
    return debt <= 0 or not accounting


def keep_accounts(bint on):
    """Switch on or off that the cost of helpers decides whether calls use them; tests switch it off."""
    global accounting
    accounting = on


cpdef void settle(double lost, double elapsed) noexcept:
    """Record a call: the seconds that it took, and the seconds that helpers cost it."""
    global debt
    debt = max(-MOST_CREDIT, min(MOST_DEBT, debt + lost - COST_SHARE * elapsed))


def helpers():
    """Return how many threads this process has started for calls; they stay."""
    return started


cdef int run_pieces(Piece piece, void* call, int64_t count, int threads) except -1:
    """Have `piece` work on the numbers 0 to count - 1 of a call, in any order, on at most `threads` threads.

    Raises what a signal handler raises; some pieces have then not been worked on.
    """
    cdef Job job = Job(piece=piece, call=call, count=count, following=0, lost=0, wanted=0, begun=1, working=0,
                       waited=False, called=NULL, finished=NULL)
    cdef bint listening = thread_ident() == main_thread, interrupted
    cdef double began = roicy_seconds()
    if listening and check_signals():
        return -1
    if threads > 1 and count > 1:
        job.wanted = start_helpers(<int> min(<int64_t> threads, count) - 1)
        job.finished = allocate_lock()
        if job.finished == NULL:
            job.wanted = 0
    with nogil:
        if job.wanted:
            interrupted = lead(&job, listening)
        else:
            interrupted = work(&job, 0, listening, began, NULL)
    settle(job.lost, roicy_seconds() - began)
    if job.finished != NULL:
        free_lock(job.finished)
    return -1 if interrupted else 0     # the error is set


cdef Listener listener() noexcept nogil:
    """Return what has looked for signals just now."""
    return Listener(listening=thread_ident() == main_thread, listened=roicy_seconds(), steps=0)


cdef bint listens(Listener* ear) noexcept nogil:
    """Return what `hears` does, which calls this."""
    ear.steps = 0
    if not ear.listening or roicy_seconds() - ear.listened < SIGNALS_EVERY:
        return False
    ear.listened = roicy_seconds()
    return signalled()


cdef bint signalled() noexcept with gil:
    return check_signals() != 0


cdef bint work(Job* job, int thread, bint listening, double listened, int64_t* done) noexcept nogil:
    # Take pieces while there are any, and count them. Returns whether a signal handler has raised an error.
    cdef int64_t number = roicy_take(&job.following)
    cdef bint interrupted = False
    while number < job.count and not interrupted:
        job.piece(job.call, number, thread)
        if done != NULL:
            done[0] += 1
        number = roicy_take(&job.following)
        if listening and number < job.count and roicy_seconds() - listened > SIGNALS_EVERY:
            interrupted = listen(job)
            listened = roicy_seconds()
    roicy_fence()
    return interrupted


cdef bint lead(Job* job, bint listening) noexcept nogil:
    # The caller's part where it has helpers.
    cdef bint interrupted, waiting
    cdef int before = forks, spins = SPINS
    cdef int64_t done = 0
    cdef double began = roicy_seconds(), called, worked
    acquire(job.finished, WAIT_LOCK)
    call_helpers(job)
    called = roicy_seconds()
    interrupted = work(job, 0, listening, called, &done)
    worked = roicy_seconds()
    if forks != before:
        return interrupted      # in a child process, where no helper is
    acquire(lock, WAIT_LOCK)
    call_back(job)
    waiting = job.waited = job.working > 0
    release(lock)
    while waiting:
        if spins:
            spins -= 1
            waiting = not acquire(job.finished, NOWAIT_LOCK)
            continue
        waiting = acquire_timed(job.finished, <long long> (1e6 * SIGNALS_EVERY), False) != PY_LOCK_ACQUIRED
        if waiting and listening and not interrupted:
            interrupted = listen(job)
            if forks != before:
                return interrupted
    acquire(lock, WAIT_LOCK)    # the helper that released `finished` has let go of the job
    release(lock)
    if done and not interrupted:
        # had the caller been alone, it would have worked on the others' pieces as fast as on its own
        job.lost = roicy_seconds() - worked + called - began
        job.lost -= (worked - called) / done * (job.count - done)
    return interrupted


cdef bint listen(Job* job) noexcept with gil:
    # Whether a signal handler raises an error, which is then set; no more pieces are begun.
    cdef int before = forks
    cdef bint interrupted = check_signals() != 0
    if forks != before and job.begun > 1 and not interrupted:
        set_error(RuntimeError, "roicy: a signal handler forked during a call, which the child cannot complete")
        interrupted = True
    if interrupted:
        roicy_end(&job.following, job.count)
    return interrupted


cdef int start_helpers(int wanted) noexcept:
    # Start helpers until `wanted` are idle, or as many as the system allows; return how many are.
    cdef int missing, found
    acquire(lock, WAIT_LOCK)
    missing = wanted - idle_count
    release(lock)
    # OpenMP ends the process where it cannot start a thread: a team of one needs no other than the one that leads it
    if missing > 1 and ROICY_OPENMP and system_starts(missing):
        start_team(missing)
    else:
        while missing > 0 and start_team(1):
            missing -= 1
    acquire(lock, WAIT_LOCK)
    found = min(wanted, idle_count)
    release(lock)
    return found


cdef struct Team:
    int size
    Helper* first


cdef bint start_team(int size) noexcept:
    # Start `size` helpers, or none; return whether they have started.
    global started
    cdef Team* team = <Team*> calloc(1, sizeof(Team))
    cdef Helper* helpers = <Helper*> calloc(size, sizeof(Helper))
    cdef int made = 0, i
    if team != NULL and helpers != NULL:
        while made < size:
            helpers[made].wake = allocate_lock()
            if helpers[made].wake == NULL:
                break
            acquire(helpers[made].wake, WAIT_LOCK)
            made += 1
        if made == size:
            team[0] = Team(size=size, first=helpers)
            if start_thread(lead_team, team) != NO_THREAD:
                acquire(lock, WAIT_LOCK)
                started += size
                for i in range(size):
                    rest(helpers + i)
                release(lock)
                return True
    for i in range(made):
        free_lock(helpers[i].wake)
    free(helpers)
    free(team)
    return False


cdef void lead_team(void* argument) noexcept nogil:
    # A thread that lives in a region of OpenMP's, with the others of its team.
    cdef Team* team = <Team*> argument
    cdef int i
    for i in prange(team.size, num_threads=team.size, schedule="static", chunksize=1):
        help(team.first + i)


cdef struct Gate:
    Lock opened, passed
    int threads, through    # `through` under the lock


cdef bint system_starts(int threads) noexcept:
    # Test whether the system can start this many threads at the same time; they end at once.
    cdef Gate gate = Gate(opened=allocate_lock(), passed=allocate_lock(), threads=0, through=0)
    if gate.opened != NULL and gate.passed != NULL:
        acquire(gate.opened, WAIT_LOCK)
        acquire(gate.passed, WAIT_LOCK)
        while gate.threads < threads and start_thread(pass_gate, &gate) != NO_THREAD:
            gate.threads += 1
        release(gate.opened)
        if gate.threads:
            acquire(gate.passed, WAIT_LOCK)
            acquire(lock, WAIT_LOCK)        # the last one has let go of the gate
            release(lock)
    if gate.opened != NULL:
        free_lock(gate.opened)
    if gate.passed != NULL:
        free_lock(gate.passed)
    return gate.threads == threads


cdef void pass_gate(void* argument) noexcept nogil:
    cdef Gate* gate = <Gate*> argument
    acquire(gate.opened, WAIT_LOCK)
    release(gate.opened)
    acquire(lock, WAIT_LOCK)
    gate.through += 1
    if gate.through == gate.threads:
        release(gate.passed)
    release(lock)


cdef void help(Helper* helper) noexcept nogil:
    # What a helper does all its life.
    cdef Job* job
    cdef int thread
    while True:
        acquire(helper.wake, WAIT_LOCK)
        acquire(lock, WAIT_LOCK)
        helper.woken = False
        job = helper.job
        if job == NULL:         # called back
            release(lock)
            continue
        come(helper, job)
        thread = job.begun
        job.begun += 1
        job.working += 1
        release(lock)
        call_helpers(job)
        work(job, thread, False, 0, NULL)
        acquire(lock, WAIT_LOCK)
        job.working -= 1
        if job.waited and job.working == 0:
            release(job.finished)
        rest(helper)
        release(lock)


cdef void call_helpers(Job* job) noexcept nogil:
    # Wake two, each of which will wake two more: waking takes the caller a microsecond or more for each.
    global idle, idle_count
    cdef Helper* helper
    cdef Helper* asleep[2]
    cdef int calls = 0, i, n = 0
    acquire(lock, WAIT_LOCK)
    while calls < 2 and job.wanted and idle != NULL:
        helper = idle
        idle = helper.following
        idle_count -= 1
        helper.job = job
        helper.following = job.called
        job.called = helper
        job.wanted -= 1
        calls += 1
        if not helper.woken:
            helper.woken = True
            asleep[n] = helper
            n += 1
    release(lock)
    for i in range(n):      # the woken thread may get this core at once, and needs the lock
        release(asleep[i].wake)


# ---- under the lock ---


cdef void call_back(Job* job) noexcept nogil:
    # Helpers that have not come yet are not needed any more.
    cdef Helper* helper
    job.wanted = 0
    while job.called != NULL:
        helper = job.called
        job.called = helper.following
        rest(helper)


cdef void come(Helper* helper, Job* job) noexcept nogil:
    cdef Helper** link = &job.called
    while link[0] != helper:
        link = &link[0].following
    link[0] = helper.following


cdef void rest(Helper* helper) noexcept nogil:
    global idle, idle_count
    helper.job = NULL
    helper.following = idle
    idle = helper
    idle_count += 1


# ---- forks ---


def _after_fork_in_child():
    # Threads do not survive a fork: a child starts its own. Whatever they held stays as it was.
    global lock, idle, idle_count, started, forks, main_thread
    lock = allocate_lock()
    idle = NULL
    idle_count = started = 0
    forks += 1
    main_thread = thread_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
