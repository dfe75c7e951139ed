// What the system tells of the device and of this process. Unknown is said as such, never as 0.
#include "agent.h"

#include <errno.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { MOST_SYSTEM_FILE = 4 << 20 };
static const int64_t kReadingsEvery = 250000000;

static char* system_file(const char* path) {
  size_t length = 0;
  return read_file(path, MOST_SYSTEM_FILE, &length);
}

// The number behind `key` at the start of a line; false where there is none.
static bool number_in(const char* path, const char* key, int64_t* number) {
  char *text = system_file(path), *end = NULL;
  bool found = false;
  for (char* line = text; line != NULL && !found; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, key, strlen(key)) != 0) continue;
    *number = strtoll(line + strlen(key), &end, 10);
    found = end != line + strlen(key);
  }
  free(text);
  return found;
}

bool pss(int64_t* bytes) {
#ifdef __GLIBC__
  extern int malloc_trim(size_t);
  malloc_trim(0);  // what was freed must not hide what is taken next
#endif
  if (!number_in("/proc/self/smaps_rollup", "Pss:", bytes)) return false;
  *bytes *= 1024;
  return true;
}

int64_t available_memory(void) {
  int64_t found = -1;
  return number_in("/proc/meminfo", "MemAvailable:", &found) ? found * 1024 : -1;
}

int64_t switches(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : -1;
}

// Sums over the group of this process and those above it, of cgroup version 2 or 1.
bool throttled(int64_t* count) {
  char *text = system_file("/proc/self/cgroup"), *rest = text, *line;
  bool found = false;
  *count = 0;
  while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
    char *controllers = strchr(line, ':'),
         *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL) continue;
    *path++ = 0;
    ++controllers;
    char names[256];
    snprintf(names, sizeof names, ",%s,", controllers);
    bool cpu = strstr(names, ",cpu,") != NULL;
    if (*controllers != 0 && !cpu) continue;
    for (;;) {  // from the group up to the root
      static const char* const kMounts[] = {"/", "/cpu/", "/cpu,cpuacct/", "/unified/"};
      for (size_t i = 0; i < 4; ++i) {
        char place[4096];
        int64_t here;
        snprintf(place, sizeof place, "/sys/fs/cgroup%s%s/cpu.stat", kMounts[i], path);
        if ((i == 1 || i == 2) != cpu || !number_in(place, "nr_throttled ", &here)) continue;
        *count += here;
        found = true;
        break;
      }
      char* slash = strrchr(path, '/');
      if (slash == NULL || *path == 0 || strcmp(path, "/") == 0) break;
      *slash = 0;
    }
  }
  free(text);
  return found;
}

// The word in which a Raspberry Pi's firmware says that it holds the clock down: hexadecimal.
static bool firmware_word(int64_t* word) {
  glob_t found;
  bool told = false;
  if (glob("/sys/devices/platform/soc*/soc*firmware/get_throttled", 0, NULL, &found) != 0)
    return false;
  char *text = system_file(found.gl_pathv[0]), *end = text;
  if (text != NULL) {
    *word = (int64_t)strtoull(text, &end, 16);
    told = end != text && *word >= 0 && *word <= UINT32_MAX;
  }
  free(text);
  globfree(&found);
  return told;
}

void add_readings(struct text* text) {
  static int64_t next;
  if (now_ns() < next) return;
  glob_t zones;
  double hottest = -1e9;
  if (glob("/sys/class/thermal/thermal_zone*/temp", 0, NULL, &zones) == 0) {
    for (size_t i = 0; i < zones.gl_pathc; ++i) {
      int64_t millis;
      if (number_in(zones.gl_pathv[i], "", &millis) && millis > -40000 && millis < 150000 &&
          millis != 0 && (double)millis / 1000 > hottest)
        hottest = (double)millis / 1000;
    }
    globfree(&zones);
  }
  const char* comma = "";
  if (hottest > -100) {
    add(text, "\"temperature_c\":%.3f", hottest);
    comma = ",";
  }
  char path[80];
  int64_t khz, word;
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq",
           sched_getcpu());
  if (number_in(path, "", &khz) && khz > 0) {
    add(text, "%s\"frequency_khz\":%lld", comma, (long long)khz);
    comma = ",";
  }
  if (firmware_word(&word)) add(text, "%s\"rpi_throttled\":%lld", comma, (long long)word);
  next = now_ns() + kReadingsEvery;
}

bool pin(const struct settings* settings) {
  cpu_set_t available, wanted;
  CPU_ZERO(&available);
  if (sched_getaffinity(0, sizeof available, &available) != 0)
    return fail("", "the cores of this process cannot be read: %s", strerror(errno));
  struct text names = {0};
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &available)) add(&names, "%s%d", names.length ? ", " : "", core);
  wanted = available;
  if (settings->cores != NULL) {
    CPU_ZERO(&wanted);
    for (int64_t i = 0; i < settings->core_count; ++i) {
      int64_t core = settings->cores[i];
      if (core >= CPU_SETSIZE || !CPU_ISSET((int)core, &available)) {
        struct text fix = {0};
        add(&fix, "choose among the cores %s", names.data);
        return fail(fix.data, "core %lld is not available on this device", (long long)core);
      }
      CPU_SET((int)core, &wanted);
    }
  }
  if (settings->threads > CPU_COUNT(&wanted))
    return fail("ask for fewer threads, or more cores in the affinity",
                "%lld threads cannot run at once on %d of the cores %s",
                (long long)settings->threads, CPU_COUNT(&wanted), names.data);
  if (sched_setaffinity(0, sizeof wanted, &wanted) != 0)
    return fail("", "cannot be pinned to its cores: %s", strerror(errno));
  free(names.data);
  return true;
}

// --- fingerprint: the same fields as hwnas.agent's in Python

struct pair {
  char *key, *value;
};

static char* trimmed(char* text) {
  while (*text == ' ' || *text == '\t') ++text;
  char* end = text + strlen(text);
  while (end > text && strchr(" \t\r", end[-1]) != NULL) *--end = 0;
  return text;
}

static size_t read_pairs(char* text, struct pair* pairs, size_t most) {
  size_t count = 0;
  char* line;
  while (text != NULL && count < most && (line = strsep(&text, "\n")) != NULL) {
    char* colon = strchr(line, ':');
    if (colon == NULL) continue;
    *colon = 0;
    pairs[count++] = (struct pair){trimmed(line), trimmed(colon + 1)};
  }
  return count;
}

static const char* first_of(const struct pair* pairs, size_t count, const char* key) {
  for (size_t i = 0; i < count; ++i)
    if (strcmp(pairs[i].key, key) == 0) return pairs[i].value;
  return NULL;
}

static const char* either(const struct pair* pairs, size_t count, const char* key,
                          const char* other) {
  const char* found = first_of(pairs, count, key);
  return found != NULL && *found != 0 ? found : first_of(pairs, count, other);
}

static void add_new(const char** names, size_t* count, size_t most, const char* name) {
  for (size_t i = 0; i < *count; ++i)
    if (strcmp(names[i], name) == 0) return;
  if (*count < most) names[(*count)++] = name;
}

static int by_name(const void* a, const void* b) {
  return strcmp(*(const char* const*)a, *(const char* const*)b);
}

// x86: model, family, model number and stepping. Arm: implementer and part of each kind of core.
static void add_cpu(struct text* text, const struct pair* pairs, size_t count) {
  struct text cpu = {0};
  const char* name = first_of(pairs, count, "model name");
  if (name != NULL) {
    static const char* const kKeys[] = {"cpu family", "model", "stepping"};
    const char* numbers[3];
    int known = 0;
    for (int i = 0; i < 3; ++i) {
      numbers[i] = first_of(pairs, count, kKeys[i]);
      known += numbers[i] != NULL;
      if (numbers[i] == NULL) numbers[i] = "?";
    }
    add(&cpu, "%s", name);
    if (known > 0) add(&cpu, " %s/%s/%s", numbers[0], numbers[1], numbers[2]);
  } else if (first_of(pairs, count, "CPU part") != NULL) {
    const char* kinds[64];
    size_t kind_count = 0, maker = 0;
    for (size_t i = 0; i < count; ++i) {
      if (strcmp(pairs[i].key, "CPU part") != 0) continue;
      while (maker < count && strcmp(pairs[maker].key, "CPU implementer") != 0) ++maker;
      if (maker == count) break;
      struct text kind = {0};
      add(&kind, "%s/%s", pairs[maker++].value, pairs[i].value);
      add_new(kinds, &kind_count, 64, kind.data);
    }
    qsort(kinds, kind_count, sizeof *kinds, by_name);
    add(&cpu, "Arm");
    for (size_t i = 0; i < kind_count; ++i) add(&cpu, " %s", kinds[i]);
    const char* board = either(pairs, count, "Model", "Hardware");
    if (board != NULL && *board != 0) add(&cpu, " (%s)", board);
  } else {
    add(&cpu, "unknown");
  }
  add(text, ",\"cpu\":");
  add_string(text, cpu.data);
  free(cpu.data);
}

static void add_flags(struct text* text, const struct pair* pairs, size_t count) {
  const char* found = either(pairs, count, "flags", "Features");
  char *copy = strdup(found == NULL ? "" : found), *rest = NULL;
  const char* flags[1024];
  size_t flag_count = 0;
  for (char* flag = strtok_r(copy, " \t", &rest); flag != NULL && flag_count < 1024;
       flag = strtok_r(NULL, " \t", &rest))
    flags[flag_count++] = flag;
  qsort(flags, flag_count, sizeof *flags, by_name);
  add(text, ",\"flags\":[");
  for (size_t i = 0; i < flag_count; ++i) {
    if (i > 0) add(text, ",");
    add_string(text, flags[i]);
  }
  add(text, "]");
  free(copy);
}

static void add_governor(struct text* text, const cpu_set_t* cores) {
  const char* found[16];
  size_t count = 0;
  bool unknown = CPU_COUNT(cores) == 0;
  for (int core = 0; core < CPU_SETSIZE && !unknown; ++core) {
    if (!CPU_ISSET(core, cores)) continue;
    char path[80];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core);
    char* governor = system_file(path);
    if (governor != NULL) governor[strcspn(governor, " \n")] = 0;
    unknown = governor == NULL || *governor == 0;
    if (!unknown) add_new(found, &count, 16, governor);
  }
  qsort(found, count, sizeof *found, by_name);
  struct text names = {0};
  for (size_t i = 0; i < count; ++i) add(&names, "%s%s", i ? "," : "", found[i]);
  add(text, ",\"governor\":");
  add_string(text, unknown ? "unknown" : names.data);
}

void add_fingerprint(struct text* text, const struct settings* settings, const char* version) {
  struct utsname system = {0};
  uname(&system);
  char* cpuinfo = system_file("/proc/cpuinfo");
  size_t most = 65536;
  struct pair* pairs = take(most, sizeof *pairs);
  size_t count = read_pairs(cpuinfo, pairs, most);
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  add(text, "{\"machine\":");
  add_string(text, *system.machine ? system.machine : "unknown");
  add_cpu(text, pairs, count);
  add_flags(text, pairs, count);
  add(text, ",\"threads\":%lld,\"runtime\":\"onnxruntime\",\"runtime_version\":",
      (long long)settings->threads);
  add_string(text, version);
  add(text, ",\"provider\":\"%s\",\"cores\":%ld,\"affinity\":[", kProvider,
      online > 0 ? online : 1);
  for (int core = 0, some = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &cores)) add(text, "%s%d", some++ ? "," : "", core);
  add(text, "]");
  add_governor(text, &cores);
  add(text, ",\"system\":");
  add_string(text, system.sysname);
  add(text, ",\"kernel\":");
  add_string(text, system.release);
  add(text, ",\"hwnas\":\"%s\"}", HWNAS_VERSION);
  free(pairs);
  free(cpuinfo);
}
