// Forked children, and what becomes of one that crashes or hangs.
//
// Parent and child share a page in which the child notes what it is at and until when: that costs
// no system call while something is timed. Children write their events themselves, while nothing
// is timed, and the parent sleeps until the child is gone.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_CODE = 40 };  // of outcomes as exit codes, away from those of libraries

struct shared* shared;

bool share(void) {
  void* page =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return fail("", "no memory to share: %s", strerror(errno));
  shared = page;
  return true;
}

void limit(const struct settings* settings) {
  shared->deadline = now_ns() + (int64_t)(settings->time_limit_s * NS_PER_S);
}

enum outcome cannot_go_on(void) {
  snprintf(shared->cause, sizeof shared->cause, "%s", failed_cause());
  snprintf(shared->fix, sizeof shared->fix, "%s", failed_fix());
  return CHILD_CANNOT_GO_ON;
}

enum outcome item_failed(void) {
  add_failure(shared->item, failed_cause(), failed_fix());
  return flush() ? CHILD_ITEM_FAILED : cannot_go_on();
}

static void become(enum outcome (*work)(void*), void* context, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  // Where memory runs out, the child goes and not the agent.
  int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0 && write(score, "500", 3) < 0) errno = 0;
  // Not through exit(): runtimes with threads may hang there.
  _exit(FIRST_CODE + (int)work(context));
}

// Waits until the child's end of the pipe is closed; false if the time limit came first.
static bool wait_until_gone(int pipe) {
  struct pollfd wanted = {pipe, POLLIN, 0};
  for (;;) {
    int64_t deadline = shared->deadline, left = deadline - now_ns();
    if (deadline != 0 && left <= 0) return false;
    int64_t sleep = deadline == 0 || left > 60 * (int64_t)NS_PER_S ? 1000 : left / 1000000 + 1;
    if (poll(&wanted, 1, (int)sleep) > 0) return true;
  }
}

static void describe_end(int status, char* text, size_t room) {
  static const struct {
    int number;
    const char* name;
  } kSignals[] = {{SIGSEGV, "SIGSEGV"},
                  {SIGABRT, "SIGABRT"},
                  {SIGBUS, "SIGBUS"},
                  {SIGFPE, "SIGFPE"},
                  {SIGTERM, "SIGTERM"},
                  {SIGILL, "SIGILL (an instruction that this CPU does not have?)"},
                  {SIGKILL, "SIGKILL (out of memory?)"}};
  if (!WIFSIGNALED(status)) {
    snprintf(text, room, "ended with exit code %d", WEXITSTATUS(status));
    return;
  }
  snprintf(text, room, "killed by signal %d", WTERMSIG(status));
  for (size_t i = 0; i < sizeof kSignals / sizeof *kSignals; ++i)
    if (kSignals[i].number == WTERMSIG(status))
      snprintf(text, room, "killed by %s", kSignals[i].name);
}

enum outcome in_child(enum outcome (*work)(void*), void* context, const struct settings* settings) {
  int ends[2];
  shared->item = -1;
  limit(settings);
  if (pipe2(ends, O_CLOEXEC) != 0) {
    fail("", "no pipe to a child: %s", strerror(errno));
    return CHILD_CANNOT_GO_ON;
  }
  pid_t parent = getpid(), child = fork();
  if (child == 0) become(work, context, parent);
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    fail("free memory on the device", "no child could be started: %s", strerror(errno));
    return CHILD_CANNOT_GO_ON;
  }
  setpgid(child, child);  // the child does it too, whoever is first
  bool in_time = wait_until_gone(ends[0]);
  close(ends[0]);
  siginfo_t info;
  // Until its leader is waited for, the group's number cannot belong to another.
  if (in_time) waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
  kill(-child, SIGKILL);
  kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  int outcome = WIFEXITED(status) ? WEXITSTATUS(status) - FIRST_CODE : -1;
  if (in_time && (outcome == CHILD_WELL || outcome == CHILD_ITEM_FAILED))
    return (enum outcome)outcome;
  if (in_time && outcome == CHILD_CANNOT_GO_ON) {
    fail(shared->fix, "%s", shared->cause);
    return CHILD_CANNOT_GO_ON;
  }
  char how[128];
  if (in_time) describe_end(status, how, sizeof how);
  else snprintf(how, sizeof how, "killed at the time limit of %g s", settings->time_limit_s);
  if (shared->item < 0) {
    fail("see the agent's log on the device", "the runtime cannot be used: %s", how);
    return CHILD_CANNOT_GO_ON;
  }
  fail(in_time ? "" : "give a longer time limit", "%s", how);
  add_failure(shared->item, failed_cause(), failed_fix());
  return flush() ? CHILD_ITEM_FAILED : CHILD_CANNOT_GO_ON;
}
