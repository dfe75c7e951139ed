// The command line:
//
//   hwnas-agent run JOB --blobs DIR [--data DIR] [--stdout] --runtime LIBRARY
//   hwnas-agent describe --runtime LIBRARY        the request comes on stdin
//
// Exit code 0 if all that there was to say was said, 1 after an "error" event, 2 for other words.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static char cause[1024], fix[256];

bool fail(const char* way_out, const char* format, ...) {
  char text[sizeof cause];  // the values may be the old cause
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  memcpy(cause, text, sizeof cause);
  snprintf(text, sizeof text, "%s", way_out);
  snprintf(fix, sizeof fix, "%.255s", text);
  return false;
}

const char* failed_cause(void) { return cause; }
const char* failed_fix(void) { return fix; }

static void* or_end(void* found) {
  if (found != NULL) return found;
  static const char kText[] = "hwnas-agent: out of memory\n";
  if (write(STDERR_FILENO, kText, sizeof kText - 1) < 0) _exit(1);
  _exit(1);
}

void* take(size_t count, size_t size) {
  return or_end(calloc(count ? count : 1, size ? size : 1));
}

void* enlarge(void* data, size_t bytes) { return or_end(realloc(data, bytes)); }

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }
int64_t thread_ns(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

// Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014), figure 3.
uint64_t splitmix64(uint64_t state) {
  uint64_t z = state + 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

char* join(const char* folder, const char* name) {
  struct text path = {0};
  add(&path, "%s/%s", folder, name);
  return path.data;
}

static char* read_stream(FILE* file, const char* path, size_t most, size_t* length) {
  size_t room = 4096, got;
  char* data = take(room, 1);
  *length = 0;
  while ((got = fread(data + *length, 1, room - *length - 1, file)) > 0) {
    *length += got;
    if (*length > most) break;
    if (*length + 1 < room) continue;
    char* more = realloc(data, room *= 2);
    if (more == NULL) break;
    data = more;
  }
  if (got == 0 && !ferror(file)) {
    data[*length] = 0;
    return data;
  }
  fail("", "%s cannot be read: %s", path, ferror(file) ? strerror(errno) : "it is too long");
  free(data);
  return NULL;
}

char* read_file(const char* path, size_t most, size_t* length) {
  FILE* file = fopen(path, "rbe");
  if (file == NULL) {
    fail("", "%s cannot be read: %s", path, strerror(errno));
    return NULL;
  }
  char* data = read_stream(file, path, most, length);
  fclose(file);
  return data;
}

// --- what runs

struct started {
  const char* library;
  const struct settings* settings;
};

static enum outcome start_runtime(void* context) {
  struct started* started = context;
  if (!runtime_start(started->library, started->settings)) return cannot_go_on();
  snprintf(shared->version, sizeof shared->version, "%s", runtime_version());
  return CHILD_WELL;
}

// Pins the process, and finds the runtime's version in a child, as loading it may crash.
static bool prepare(const char* library, const struct settings* settings) {
  if (*settings->provider != 0 && strcmp(settings->provider, kProvider) != 0)
    return fail("leave the provider empty, or use the agent in Python",
                "the native agent has no provider %s, only %s", settings->provider, kProvider);
  struct started started = {library, settings};
  return pin(settings) && share() && in_child(start_runtime, &started, settings) == CHILD_WELL;
}

static bool verify(const struct job* job, const struct places* places) {
  for (int64_t i = 0; i < job->data_count + job->item_count; ++i) {
    bool data = i < job->data_count;
    const struct data_file* file = &job->data[i];
    const struct item* item = &job->items[i - job->data_count];
    char* path = join(data ? places->data : places->blobs, data ? file->name : item->model_sha256);
    bool same = data ? sha256_file(path, file->bytes, file->sha256)
                     : sha256_file(path, item->model_bytes, item->model_sha256);
    free(path);
    if (!same) return false;
  }
  return true;
}

static bool run(const char* folder, struct places* places, bool to_stdout) {
  struct job job;
  char* path = join(folder, "job.json");
  bool readable = read_job(path, &job);
  free(path);
  json_release();
  struct replay replay = {.finished = take((size_t)job.item_count + 1, sizeof(bool))};
  if (!to_stdout) {
    // What is wrong with the job belongs into its journal, if that can be opened.
    char *why = strdup(failed_cause()), *help = strdup(failed_fix());
    if (!output_journal(folder, &job, &replay)) return false;
    if (!readable) fail(help, "%s", why);
    free(why);
    free(help);
  }
  if (!readable) return false;
  if (replay.ended) return true;
  if (!verify(&job, places) || !prepare(places->library, &job.settings)) return false;
  char now[32];
  time_t seconds = time(NULL);
  strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
  add(pending(),
      "{\"event\":\"start\",\"schema_version\":1,\"job\":\"%s\",\"agent\":\"native\","
      "\"version\":\"%s\",\"time\":\"%s\",\"fingerprint\":",
      job.id, HWNAS_VERSION, now);
  add_fingerprint(pending(), &job.settings, shared->version);
  add(pending(), "}\n");
  return flush() && measure(&job, places, &replay) && say("{\"event\":\"end\"}");
}

static bool describe(const char* library) {
  size_t length = 0;
  struct settings settings;
  char* text = read_stream(stdin, "the request", 1 << 16, &length);
  if (text == NULL || !read_description(text, length, &settings)) return false;
  if (!prepare(library, &settings)) return false;
  add(pending(), "{\"event\":\"fingerprint\",\"fingerprint\":");
  add_fingerprint(pending(), &settings, shared->version);
  add(pending(), "}\n");
  return flush();
}

static int usage(void) {
  fputs(
      "usage: hwnas-agent run JOB --blobs DIR [--data DIR] [--stdout] --runtime LIBRARY\n"
      "       hwnas-agent describe --runtime LIBRARY\n",
      stderr);
  return 2;
}

int main(int count, char** words) {
  if (count == 2 && strcmp(words[1], "--version") == 0) return puts(HWNAS_VERSION) < 0;
  if (count >= 2 && strcmp(words[1], "selftest") == 0) return selftest(count - 2, words + 2);
  const char* folder = NULL;
  struct places places = {0};
  bool to_stdout = false, running = count >= 2 && strcmp(words[1], "run") == 0;
  for (int i = 2; i < count; ++i) {
    const char** to = strcmp(words[i], "--blobs") == 0     ? &places.blobs
                      : strcmp(words[i], "--data") == 0    ? &places.data
                      : strcmp(words[i], "--runtime") == 0 ? &places.library
                                                           : NULL;
    if (strcmp(words[i], "--stdout") == 0) to_stdout = true;
    else if (to != NULL && i + 1 < count) *to = words[++i];
    else if (to == NULL && folder == NULL && *words[i] != '-') folder = words[i];
    else return usage();
  }
  if (places.library == NULL || (running && (folder == NULL || places.blobs == NULL)) ||
      (!running && (count < 2 || strcmp(words[1], "describe") != 0)))
    return usage();
  // So that no file that is opened below takes the place of a closed standard stream.
  for (int file = open("/dev/null", O_RDWR); file >= 0 && file <= 2;) file = dup(file);
  signal(SIGPIPE, SIG_IGN);
  pid_t parent = getppid();
  if (running && to_stdout) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (running && to_stdout && getppid() != parent) return 1;
  output_stdout();
  if (running && places.data == NULL) places.data = join(folder, "data");
  if (running ? run(folder, &places, to_stdout) : describe(places.library)) return 0;
  fprintf(stderr, "hwnas-agent: %s%s%s\n", cause, *fix ? "; " : "", fix);
  add_failure(-1, cause, fix);
  flush();
  return 1;
}
