/* Faults of kernels, caught. */
#pragma once
#include <csetjmp>
#include <csignal>
#include <ucontext.h>

namespace {

sigjmp_buf after_fault;
void *fault_address, *fault_instruction;
int fault_signal;

// Faults of kernels are caught on a stack of their own: theirs may be used up. Whatever else faults is passed
// on to who was there before. All this is set up once, not once a launch.
constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
struct sigaction others[3];
bool launching;

void on_fault(int signal, siginfo_t *info, void *state) {
    if (!launching) {
        for (int i = 0; i < 3; i++)
            sigaction(SIGNALS[i], &others[i], nullptr);
        return; // to the instruction that faults, and does so again
    }
    fault_signal = signal;
    fault_address = info->si_addr;
#if defined(__x86_64__)
    auto registers = static_cast<ucontext_t *>(state)->uc_mcontext.gregs;
    fault_instruction = reinterpret_cast<void *>(registers[REG_RIP]);
#else
    (void)state;
#endif
    siglongjmp(after_fault, 1);
}

void catch_faults() {
#ifndef __SANITIZE_ADDRESS__
    static bool caught = false;
    static thread_local char *stack = nullptr;
    if (!stack) {
        stack_t own = {};
        own.ss_sp = stack = new char[64 * 1024];
        own.ss_size = 64 * 1024;
        sigaltstack(&own, nullptr);
    }
    if (!caught) {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        for (int i = 0; i < 3; i++)
            sigaction(SIGNALS[i], &action, &others[i]);
        caught = true;
    }
#endif
}

} // namespace
