// Runs the threads of a launch, one at a time, on one thread of the operating system.
//
// A fiber is a stack on which CUDA threads run one after another. Only when a thread has to wait for others
// does it keep the stack it is on, and the next thread gets another one:
//
//     no barrier      fiber 0   t0 t1 t2 ... t255                      one switch a block
//     a barrier       fiber 0   t0 ~~~~ wait ~~~~ t0 goes on
//                     fiber 1      t1 ~~~ wait ~~~    t1 goes on
//                     ...
//
// so threads that never meet cost no more than a loop. Which threads may go on is decided between fibers, on
// the caller's stack: a barrier's threads all wait there, so it also is where shuffles hand values over.
#include "runtime.h"
#include "faults.h"
#include "stacks.h"
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
char *cuda_host_shared;

namespace {

constexpr unsigned MOST_THREADS = 1024, WARP = 32, WARPS = MOST_THREADS / WARP;
constexpr size_t MOST_SHARED = 227 * 1024;
constexpr size_t STACK = 256 * 1024;
constexpr size_t FENCE = 1024 * 1024;

const size_t PAGE = sysconf(_SC_PAGESIZE);

size_t pages_of(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// Memory between two stretches that nobody may touch.
char *fenced(size_t bytes) {
    size_t inside = pages_of(bytes);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *all = mmap(nullptr, inside + 2 * FENCE, PROT_NONE, flags, -1, 0);
    if (all == MAP_FAILED)
        return nullptr;
    char *first = static_cast<char *>(all) + FENCE;
    if (inside && mprotect(first, inside, PROT_READ | PROT_WRITE)) {
        munmap(all, inside + 2 * FENCE);
        return nullptr;
    }
    return first;
}

// ---------------------------------------------------------------- threads

enum class Waits { no, block, warp };
enum class Meeting { barrier, shuffle, ballot, match };

struct alignas(64) Fiber {
    // the thread on it, and what it waits for
    unsigned thread = 0;
    uint3 index = {};
    Waits waits = Waits::no;
    Meeting meeting = Meeting::barrier;
    int line = 0;
    unsigned mask = 0;
    int source = 0;
    cuda_host_words in, out;

    Context context;
    char *stack = nullptr;
    size_t top = 0; // bytes of it that are used: fibers do not compete for the same lines of the caches
    void *sanitizer = nullptr; // the address sanitizer's notes on this stack
};

struct Warp {
    unsigned live = 0;    // lanes that have not returned
    unsigned waiting = 0; // lanes that wait for lanes of the warp
    unsigned blocked = 0; // lanes that wait for the block
};

Context caller;
#ifdef __SANITIZE_ADDRESS__
void *caller_sanitizer;
const void *caller_stack;
size_t caller_stack_size;
#endif
std::vector<Fiber *> idle;
size_t made; // fibers
Fiber *running;
Fiber *on_thread[MOST_THREADS]; // null: not begun, or returned
Warp warps[WARPS];
Fiber *ready[MOST_THREADS + 2]; // those that go on one after another; null or earlier ones behind them
unsigned ready_count, next_ready;
unsigned threads, next_thread;
uint3 next_index;
bool backwards;
void (*one_thread)(void **);
void **arguments;
char *dynamic_memory;
bool failed;
std::string message;

unsigned in_order(unsigned index, unsigned count) { return backwards ? count - 1 - index : index; }

std::string place_of(unsigned thread) {
    auto three = [](unsigned x, unsigned y, unsigned z) {
        return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
    };
    unsigned x = thread % blockDim.x, y = thread / blockDim.x % blockDim.y,
             z = thread / blockDim.x / blockDim.y;
    return "thread " + three(x, y, z) + " of block " + three(blockIdx.x, blockIdx.y, blockIdx.z);
}

void run_threads();

// Leaves the running fiber for the next one that may go on, for one that begins threads, or for the caller.
void leave_fiber(bool for_good = false) {
    Fiber *me = running;
#ifdef __SANITIZE_ADDRESS__ // which is told of each stack's caller
    running = next_ready < ready_count ? ready[next_ready++] : nullptr;
    const void *stack = running ? running->stack : caller_stack;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &me->sanitizer, stack,
                                   running ? STACK : caller_stack_size);
    Context::change(me->context, running ? running->context : caller);
    __sanitizer_finish_switch_fiber(me->sanitizer, nullptr, nullptr);
#else
    (void)for_good;
    if (next_ready < ready_count) {
        running = ready[next_ready++];
        // the stack after that comes to the cache meanwhile, and before it the note of where one is
        __builtin_prefetch(ready[next_ready + 1]);
        if (const Fiber *next = ready[next_ready])
            next->context.fetch();
        Context::change(me->context, running->context);
    } else if (next_thread < threads && !idle.empty() && !failed) {
        running = idle.back();
        idle.pop_back();
        Context::begin(me->context, running->context, running->stack, running->top, run_threads);
    } else {
        running = nullptr;
        Context::change(me->context, caller);
    }
#endif
}

// Leaves the caller for a fiber, which may be to begin; comes back once that and all that are ready have been
// run, or one has failed.
bool enter(Fiber *fiber, bool begins = false) {
    running = fiber;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&caller_sanitizer, fiber->stack, STACK);
#endif
    if (begins)
        Context::begin(caller, fiber->context, fiber->stack, fiber->top, run_threads);
    else
        Context::change(caller, fiber->context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(caller_sanitizer, nullptr, nullptr);
#endif
    return !failed;
}

void make_ready(Fiber *fiber) { ready[ready_count++] = fiber; }

bool run_ready() {
    next_ready = 1;
    bool well = enter(ready[0]);
    next_ready = ready_count = 0;
    return well;
}

// Threads are not told apart by a division each: they come one after another.
uint3 following(uint3 index) {
    if (backwards) {
        if (index.x-- == 0) {
            index.x = blockDim.x - 1;
            if (index.y-- == 0) {
                index.y = blockDim.y - 1;
                index.z--;
            }
        }
    } else if (++index.x == blockDim.x) {
        index.x = 0;
        if (++index.y == blockDim.y) {
            index.y = 0;
            index.z++;
        }
    }
    return index;
}

void run_threads() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &caller_stack, &caller_stack_size);
#endif
    while (next_thread < threads) {
        unsigned thread = in_order(next_thread++, threads);
        running->thread = thread;
        running->index = threadIdx = next_index;
        next_index = following(next_index);
        one_thread(arguments);
        warps[thread / WARP].live &= ~(1u << thread % WARP);
        on_thread[thread] = nullptr;
    }
    idle.push_back(running);
    leave_fiber(true);
}

bool begin_threads() {
    if (idle.empty()) {
        auto fiber = new Fiber;
        fiber->stack = fenced(STACK);
        fiber->top = STACK - made++ % 64 * 320;
        if (!fiber->stack) {
            delete fiber;
            message = "no memory for the stack of a thread";
            return false;
        }
        idle.push_back(fiber);
    }
    Fiber *fiber = idle.back();
    idle.pop_back();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(fiber->stack, STACK); // frames that nobody has returned from
#endif
    fiber->sanitizer = nullptr;
    return enter(fiber, true);
}

// ---------------------------------------------------------------- meetings

// The running thread waits; the others go on.
void wait(Waits waits, Meeting meeting, int line, unsigned mask) {
    Fiber *me = running;
    unsigned thread = me->thread, lane = thread % WARP;
    Warp &warp = warps[thread / WARP];
    if (waits == Waits::warp && !(mask >> lane & 1))
        cuda_host_fail(line, "a thread calls for lanes of its warp without being in the mask itself");
    on_thread[thread] = me;
    me->waits = waits;
    me->meeting = meeting;
    me->line = line;
    me->mask = mask;
    (waits == Waits::warp ? warp.waiting : warp.blocked) |= 1u << lane;
    leave_fiber();
    threadIdx = me->index;
}

// Whether the lanes that this one waits for have all come to the same place, with the same mask.
bool complete(unsigned first, unsigned lane) {
    const Warp &warp = warps[first / WARP];
    const Fiber *me = on_thread[first + lane];
    unsigned expected = me->mask & warp.live;
    if ((warp.waiting & expected) != expected)
        return false;
    for (unsigned rest = expected; rest; rest &= rest - 1) {
        const Fiber *fiber = on_thread[first + __builtin_ctz(rest)];
        if (fiber->mask != me->mask || fiber->line != me->line || fiber->meeting != me->meeting)
            return false;
    }
    return true;
}

// Each of these lanes gets what the others brought.
bool hand_over(unsigned first, unsigned lanes) {
    Meeting meeting = on_thread[first + __builtin_ctz(lanes)]->meeting;
    if (meeting == Meeting::barrier)
        return true;
    unsigned votes = 0;
    for (unsigned rest = meeting == Meeting::ballot ? lanes : 0; rest; rest &= rest - 1)
        votes |= (unsigned)(on_thread[first + __builtin_ctz(rest)]->in.low != 0) << __builtin_ctz(rest);
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
        Fiber *fiber = on_thread[first + __builtin_ctz(rest)];
        if (meeting == Meeting::shuffle) {
            if (!(lanes >> fiber->source & 1)) {
                message = "line " + std::to_string(fiber->line) + ": " + place_of(fiber->thread) +
                          " shuffles from lane " + std::to_string(fiber->source) + ", which takes no part";
                return false;
            }
            fiber->out = on_thread[first + fiber->source]->in;
        } else if (meeting == Meeting::ballot) {
            fiber->out.low = votes;
        } else {
            unsigned same = 0;
            for (unsigned others = lanes; others; others &= others - 1) {
                const Fiber *other = on_thread[first + __builtin_ctz(others)];
                same |= (unsigned)(other->in.low == fiber->in.low) << __builtin_ctz(others);
            }
            fiber->out.low = same;
        }
    }
    return true;
}

// Lets lanes of a warp go on as long as some have met; returns whether any did, and whether all went well.
bool run_warp(unsigned index, bool &moved) {
    unsigned first = index * WARP;
    Warp &warp = warps[index];
    for (unsigned left = warp.waiting; left;) {
        unsigned lane = backwards ? 31 - __builtin_clz(left) : __builtin_ctz(left);
        if (!complete(first, lane)) {
            left &= ~(1u << lane);
            continue;
        }
        unsigned lanes = on_thread[first + lane]->mask & warp.live;
        if (!hand_over(first, lanes))
            return false;
        warp.waiting &= ~lanes;
        for (unsigned k = 0; k < WARP; k++)
            if (lanes >> in_order(k, WARP) & 1)
                make_ready(on_thread[first + in_order(k, WARP)]);
        if (!run_ready())
            return false;
        moved = true;
        left = warp.waiting;
    }
    return true;
}

void report_deadlock() {
    message = "threads wait for each other at different places:";
    const Fiber *last = nullptr;
    int told = 0;
    for (unsigned thread = 0; thread < threads && told < 6; thread++) {
        const Fiber *fiber = on_thread[thread];
        if (!fiber || (last && fiber->line == last->line && fiber->waits == last->waits))
            continue;
        last = fiber;
        message += std::string(told++ ? ", " : " ") + place_of(thread) + " for its " +
                   (fiber->waits == Waits::block ? "block" : "warp") + " at line " +
                   std::to_string(fiber->line);
    }
}

bool run_block() {
    next_thread = 0;
    next_index = backwards ? uint3{blockDim.x - 1, blockDim.y - 1, blockDim.z - 1} : uint3{0, 0, 0};
    for (unsigned thread = 0; thread < threads; thread += WARP) {
        unsigned lanes = threads - thread < WARP ? threads - thread : WARP;
        warps[thread / WARP] = {lanes == WARP ? ~0u : (1u << lanes) - 1, 0, 0};
    }
    while (next_thread < threads)
        if (!begin_threads())
            return false;
    unsigned count = (threads + WARP - 1) / WARP;
    for (;;) {
        bool moved = false, alive = false, together = true;
        for (unsigned k = 0; k < count; k++)
            if (!run_warp(in_order(k, count), moved))
                return false;
        int line = -1;
        for (unsigned k = 0; k < count; k++) {
            alive |= warps[k].live != 0;
            together &= warps[k].blocked == warps[k].live;
        }
        if (!alive)
            return true;
        for (unsigned thread = 0; thread < threads && together; thread++)
            if (const Fiber *fiber = on_thread[thread]) {
                together = line < 0 || line == fiber->line;
                line = fiber->line;
            }
        if (together) {
            for (unsigned k = 0; k < count; k++)
                warps[k].blocked = 0;
            for (unsigned k = 0; k < threads; k++)
                if (Fiber *fiber = on_thread[in_order(k, threads)])
                    make_ready(fiber);
            if (!run_ready())
                return false;
        } else if (!moved) {
            report_deadlock();
            return false;
        }
    }
}

void give_up_threads() {
    // a fiber is on one thread at most; the one that ran when it went wrong may not be noted there yet
    if (running)
        on_thread[running->thread] = running;
    running = nullptr;
    ready_count = next_ready = 0;
    for (Fiber *&fiber : on_thread)
        if (fiber) {
            idle.push_back(fiber);
            fiber = nullptr;
        }
}

} // namespace

extern "C" {

void cuda_host_block_barrier(int line) { wait(Waits::block, Meeting::barrier, line, 0); }

void cuda_host_warp_barrier(int line, unsigned mask) { wait(Waits::warp, Meeting::barrier, line, mask); }

cuda_host_words cuda_host_shuffle(int line, unsigned mask, int source, cuda_host_words value) {
    Fiber *me = running;
    me->in = value;
    me->source = source;
    wait(Waits::warp, Meeting::shuffle, line, mask);
    return me->out;
}

static unsigned lanes_found(Meeting meeting, int line, unsigned mask, unsigned long long value) {
    Fiber *me = running;
    me->in.low = value;
    wait(Waits::warp, meeting, line, mask);
    return (unsigned)me->out.low;
}

unsigned cuda_host_ballot(int line, unsigned mask, bool predicate) {
    return lanes_found(Meeting::ballot, line, mask, predicate);
}

unsigned cuda_host_match(int line, unsigned mask, unsigned long long value) {
    return lanes_found(Meeting::match, line, mask, value);
}

void cuda_host_fail(int line, const char *what) {
    message = "line " + std::to_string(line) + ": " + what + ", in " + place_of(running->thread);
    failed = true;
    on_thread[running->thread] = running;
    next_ready = ready_count;
    leave_fiber();
    __builtin_unreachable(); // its stack is given up
}

// What module.py calls: zero for a launch that went well, else cuda_host_message() says why it did not.
int cuda_host_launch(void (*kernel)(void **), const unsigned *grid, const unsigned *block, size_t shared,
                     void **given, char *static_memory, size_t static_bytes) {
    if (!dynamic_memory && !(dynamic_memory = fenced(MOST_SHARED)))
        return message = "no memory for shared memory", 1;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    threads = block[0] * block[1] * block[2];
    one_thread = kernel;
    arguments = given;
    // ends at the fence, as closely as the alignment of the largest loads allows
    cuda_host_shared = dynamic_memory + pages_of(MOST_SHARED) - (shared + 15) / 16 * 16;
    fault_signal = 0;
    failed = false;
    catch_faults();
    if (sigsetjmp(after_fault, 0)) {
        launching = false;
        message = place_of(running ? running->thread : 0);
        give_up_threads();
        return 1;
    }
    launching = true;
    uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    for (uint64_t k = 0; k < blocks; k++) {
        uint64_t at = backwards ? blocks - 1 - k : k;
        blockIdx = {unsigned(at % grid[0]), unsigned(at / grid[0] % grid[1]),
                    unsigned(at / grid[0] / grid[1])};
        // a block finds nothing in its shared memory: NaN, or a number that is too large
        memset(cuda_host_shared, 0xff, (shared + 15) / 16 * 16);
        if (static_bytes)
            memset(static_memory, 0xff, static_bytes);
        if (!run_block()) {
            launching = false;
            give_up_threads();
            return 1;
        }
    }
    launching = false;
    return 0;
}

const char *cuda_host_message() { return message.c_str(); }

// Of the last launch: the signal that ended it, or 0; the address that could not be reached; the instruction,
// by its place in its library, or null.
int cuda_host_fault(void **address, void **instruction) {
    Dl_info library;
    *address = fault_address;
    *instruction = nullptr;
    if (fault_instruction && dladdr(fault_instruction, &library))
        *instruction = reinterpret_cast<void *>(static_cast<char *>(fault_instruction) -
                                                static_cast<char *>(library.dli_fbase));
    return fault_signal;
}

void cuda_host_backwards(int on) { backwards = on; }

void *cuda_host_fenced(size_t bytes, size_t *fence) {
    *fence = FENCE;
    return fenced(bytes);
}
}
