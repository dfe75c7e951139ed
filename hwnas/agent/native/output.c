// Events go to standard output, or to the journal, where they are synced before anything goes on.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const size_t kLongestLine = (size_t)4 << 20;
static const int64_t kLockWait = 2000000000;

static int output = STDOUT_FILENO;
static bool journalled;
static struct text lines;

struct text* pending(void) { return &lines; }

// Libraries print to descriptor 1 as they like, so events go through a duplicate of it.
void output_stdout(void) {
  output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  dup2(STDERR_FILENO, STDOUT_FILENO);
}

bool flush(void) {
  if (shared != NULL) shared->deadline = 0;  // a slow disk or reader is no fault of an item's
  off_t end = journalled ? lseek(output, 0, SEEK_END) : 0;
  int why = 0;
  for (size_t done = 0; done < lines.length && why == 0;) {
    ssize_t wrote = write(output, lines.data + done, lines.length - done);
    if (wrote >= 0) done += (size_t)wrote;
    else if (errno != EINTR) why = errno;
  }
  lines.length = 0;
  if (why == 0 && (!journalled || fsync(output) == 0)) return true;
  if (why == 0) why = errno;
  // Half a line would not be cut off if something came after it.
  if (journalled && ftruncate(output, end) != 0) why = errno;
  return fail(
      why == ENOSPC || why == EDQUOT ? "free space on the device, then go on with --resume" : "",
      "the %s cannot be written: %s", journalled ? "journal" : "output", strerror(why));
}

bool say(const char* format, ...) {
  va_list values;
  char line[512];
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  add(&lines, "%s\n", line);
  return flush();
}

void add_failure(int64_t item, const char* cause, const char* fix) {
  if (item < 0) add(&lines, "{\"event\":\"error\",\"error\":");
  else add(&lines, "{\"event\":\"failed\",\"item\":%lld,\"error\":", (long long)item);
  add_string(&lines, *cause != 0 ? cause : "it failed without saying why");
  add(&lines, ",\"fix\":");
  add_string(&lines, fix);
  add(&lines, ",\"type\":\"ProfileError\"}\n");
}

// --- lock

// Field 22 of /proc/PID/stat, counted behind the command's closing bracket.
static long long start_time(long pid) {
  char path[64];
  size_t length = 0;
  // Not /proc/PID/stat, which an emulator answers itself, and otherwise than others read it.
  snprintf(path, sizeof path, "/proc/%ld/task/%ld/stat", pid, pid);
  char *text = read_file(path, 65536, &length), *at = text ? strrchr(text, ')') : NULL;
  for (int field = 2; at != NULL && field < 22; ++field) at = strchr(at + 1, ' ');
  long long found = at == NULL ? -1 : atoll(at);
  free(text);
  return found;
}

static bool lock_job(const char* folder) {
  char *path = join(folder, "lock"), owner[64];
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  free(path);
  if (file < 0) return fail("", "the job's lock cannot be opened: %s", strerror(errno));
  for (int64_t end = now_ns() + kLockWait; flock(file, LOCK_EX | LOCK_NB) != 0; usleep(20000)) {
    if (errno != EWOULDBLOCK) return fail("", "the job cannot be locked: %s", strerror(errno));
    ssize_t got = pread(file, owner, sizeof owner - 1, 0);
    owner[got > 0 ? got : 0] = 0;
    long pid = 0;
    long long started = 0;
    // A child of an agent that was killed holds the lock for the moment until it is gone too.
    bool lives = sscanf(owner, "%ld %lld", &pid, &started) == 2 && start_time(pid) == started;
    if (lives || now_ns() > end)
      return fail("wait for it, or stop it",
                  "an agent is at work on this job already (process %ld)", pid);
  }
  // Left open, also in children: the lock is held until the last of them is gone.
  int length = snprintf(owner, sizeof owner, "%ld %lld\n", (long)getpid(), start_time(getpid()));
  if (ftruncate(file, 0) != 0 || pwrite(file, owner, (size_t)length, 0) != length)
    return fail("free space on the device, then go on with --resume",
                "the job's lock cannot be written: %s", strerror(errno));
  return true;
}

// --- journal

static bool replay_line(char* line, size_t length, const struct job* job, struct replay* replay) {
  const struct json* root = json_parse(line, length);
  const struct json* event = root && root->type == JSON_OBJECT ? json_get(root, "event") : NULL;
  if (event == NULL || event->type != JSON_STRING) return false;
  const struct json *item = json_get(root, "item"), *sitting = json_get(root, "sitting");
  replay->ended = strcmp(event->text, "end") == 0;
  if (strcmp(event->text, "done") == 0 || strcmp(event->text, "failed") == 0) {
    if (item == NULL || !item->whole || item->integer < 0 || item->integer >= job->item_count)
      return job->item_count == 0;  // of a job that cannot be read
    replay->finished[item->integer] = true;
  } else if (sitting != NULL) {
    if (!sitting->whole || sitting->integer < 0 || sitting->integer > INT32_MAX) return false;
    if (sitting->integer >= replay->sittings) replay->sittings = sitting->integer + 1;
  } else if (strcmp(event->text, "start") == 0) {
    const struct json* id = json_get(root, "job");
    return id != NULL && id->type == JSON_STRING &&
           (*job->id == 0 || strcmp(id->text, job->id) == 0);
  }
  return true;
}

bool output_journal(const char* folder, const struct job* job, struct replay* replay) {
  if (!lock_job(folder)) return false;
  char *path = join(folder, "journal.jsonl"), *line = NULL;
  int file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  FILE* stream = fopen(path, "rbe");
  free(path);
  int where = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0 || stream == NULL || where < 0 || fsync(where) != 0)
    return fail("", "the journal cannot be opened: %s", strerror(errno));
  close(where);
  off_t whole = 0;
  size_t room = 0;
  ssize_t length;
  for (int64_t number = 1; (length = getline(&line, &room, stream)) > 0; ++number) {
    if (line[length - 1] != '\n') break;  // torn by a crash: cut off below
    bool good = (size_t)length <= kLongestLine && replay_line(line, (size_t)length, job, replay);
    if (!good) {
      fclose(stream);
      return fail("the storage may be failing; remove the job's folder to begin again",
                  "line %lld of the journal is not an event of this job", (long long)number);
    }
    json_release();
    whole += length;
  }
  free(line);
  fclose(stream);
  if (ftruncate(file, whole) != 0)
    return fail("", "the journal cannot be cut to its last whole line: %s", strerror(errno));
  output = file;
  journalled = true;
  return true;
}
