// What the files of the native agent share.
//
// The agent is one thread that forks: every model is loaded and run in a child, so that a crash or
// a hang costs one item. Functions that can fail return false (or NULL) after fail(), which keeps
// one cause and one fix, as errno keeps one number. Times are in ns, memory in bytes.
#ifndef HWNAS_AGENT_H
#define HWNAS_AGENT_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  MOST_ITEMS = 65536,
  MOST_TURN_RUNS = 1000,
  MOST_SITTING_ITEMS = 256,  // keeps the line of a round under 4 MiB
  FEWEST_TURNS = 6,
};
#define NS_PER_S 1e9

// --- agent.c: errors and small things ---------------------------------------------------------
bool fail(const char* fix, const char* format, ...) __attribute__((format(printf, 2, 3)));
const char* failed_cause(void);
const char* failed_fix(void);
void* take(size_t count, size_t size);  // zeroed; ends the process where there is no memory
void* enlarge(void* data, size_t bytes);  // as realloc(); ends the process likewise
int64_t now_ns(void);
int64_t thread_ns(void);  // CPU time of this thread
uint64_t splitmix64(uint64_t state);
char* read_file(const char* path, size_t most, size_t* length);  // with a 0 behind it
char* join(const char* folder, const char* name);

// --- text.c: text that grows, and JSON into it ------------------------------------------------
struct text {
  char* data;
  size_t length, room;
};
void add(struct text* text, const char* format, ...) __attribute__((format(printf, 2, 3)));
void add_string(struct text* text, const char* value);  // quoted; one line, valid UTF-8
void add_number(struct text* text, double value);       // null where it is not finite
void add_integer(struct text* text, bool known, int64_t value);
size_t utf8_length(const unsigned char* at, size_t left);  // of one character; 0: it is none

// --- json.c: a strict reader ------------------------------------------------------------------
enum json_type {
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_NUMBER,
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT
};
struct json {
  enum json_type type;
  bool whole;       // a number that fits int64 and was written without fraction or exponent
  const char* key;  // in an object
  char* text;       // of a string, without 0 inside
  size_t length;    // of the text, or members of an array or object
  double number;
  int64_t integer;
  struct json *first, *next;
};
// Decodes strings in place: `text` stays in use. Nodes live until json_release().
const struct json* json_parse(char* text, size_t length);
void json_release(void);
const struct json* json_get(const struct json* object, const char* key);

// --- sha256.c ---------------------------------------------------------------------------------
void sha256_text(const void* data, size_t length, char hex[65]);
bool sha256_file(const char* path, int64_t bytes, const char* hex);  // fails if it is another

// --- job.c ------------------------------------------------------------------------------------
struct settings {
  const char* provider;
  int64_t threads, min_rounds, max_rounds, warmup_window_runs, warmup_max_runs, sittings,
      sitting_items, seed, core_count;
  const int64_t* cores;  // NULL leaves it to the system
  double relative_ci, confidence, turn_s, cold_limit_s, sample_time_s, time_limit_s,
      warmup_window_s, warmup_improvement, warmup_time_s, sitting_s, cooldown_s, energy_s;
};
struct tensor {
  const char* name;
  const struct dtype* dtype;
  int64_t rank, count;  // count of elements
  const int64_t* shape;
};
struct expected {
  struct tensor tensor;
  int64_t step, samples;
  const char* values;  // little-endian float32, not aligned
  double mean, rms, tolerance;
};
struct item {
  const char *label, *model_sha256;
  int64_t model_bytes, input_count, expected_count;
  struct tensor* inputs;
  struct expected* expected;
};
struct data_file {
  const char *name, *sha256;
  int64_t bytes;
};
struct job {
  char id[65];
  struct settings settings;
  int64_t item_count, data_count;
  struct item* items;
  struct data_file* data;
};
bool read_job(const char* path, struct job* job);
bool read_description(char* text, size_t length, struct settings* settings);

// --- tensors.c --------------------------------------------------------------------------------
struct dtype {
  const char* name;
  int onnx;  // ONNXTensorElementDataType
  size_t size;
  char kind;  // f, i, u, b
};
const struct dtype* dtype_named(const char* name);
const struct dtype* dtype_of_onnx(int onnx);
void fill_input(const struct tensor* tensor, int64_t index, int64_t seed, void* data);
// Error relative to the root mean square; infinite where a value is not finite but should be.
double compare_output(const struct expected* expected, const void* data);

// --- stats.c: the same rules as hwnas.agent.samples, .stopping and .rounds --------------------
struct series {
  double* values;
  size_t length, room;
};
void append(struct series* series, double value);
double median(const double* values, size_t count);
bool interval_ranks(int64_t n, double confidence, int64_t* low, int64_t* high);
struct warmup {
  const char* stopped_by;  // NULL: goes on
  int64_t runs;
  struct series window;
  double window_ns, total_ns, before;
};
void warmup_add(struct warmup* warmup, const struct settings* settings, int64_t ns);
double warmup_median(const struct warmup* warmup);
struct sampling {
  const char* stopped_by;
  struct series medians, logs, calm;  // by turn: in ns, their logarithms, and 1 or 0
  double total_ns;
};
void sampling_add(struct sampling* sampling, const int64_t* ns, size_t count, bool calm);
// By what factor each round was slower than the typical one; to be freed. Items that have stopped
// take no more turns, all others have one in each round.
double* round_factors(const struct sampling* items, size_t count, size_t rounds);
void sampling_judge(struct sampling* sampling, const struct settings* settings,
                    const double* factors);
double canary(void);  // ns per step

// --- machine.c --------------------------------------------------------------------------------
bool pin(const struct settings* settings);
void add_fingerprint(struct text* text, const struct settings* settings, const char* version);
bool pss(int64_t* bytes);
bool throttled(int64_t* count);
void add_readings(struct text* text);
int64_t available_memory(void);  // -1: not told
int64_t switches(void);          // involuntary ones of this thread

// --- model.c: ONNX Runtime --------------------------------------------------------------------
extern const char* const kProvider;
bool runtime_start(const char* library, const struct settings* settings);  // runs a first session
const char* runtime_version(void);
struct model;
// `again`: keep a copy of the inputs for model_refresh().
struct model* model_load(const struct item* item, const struct settings* settings,
                         const char* blobs, const char* data, bool again);
void model_refresh(struct model* model);
bool model_run(struct model* model, int64_t* ns);
// Largest error over all expected outputs, and whether each is within its tolerance.
bool model_check(struct model* model, const struct item* item, double* error, bool* passes);

// --- output.c: events, to the journal or to stdout --------------------------------------------
struct replay {
  bool* finished;  // per item
  int64_t sittings;
  bool ended;
};
void output_stdout(void);
bool output_journal(const char* folder, const struct job* job, struct replay* replay);
struct text* pending(void);  // lines that say() and others have added
bool say(const char* format, ...) __attribute__((format(printf, 1, 2)));  // one line, then flush()
void add_failure(int64_t item, const char* cause, const char* fix);       // item -1: of the agent
bool flush(void);

// --- child.c ----------------------------------------------------------------------------------
struct shared {               // between the agent and its child
  volatile int64_t deadline;  // of now_ns(); 0: none
  volatile int64_t item;      // being worked on; -1: none
  char cause[1024], fix[256], version[64];
  int64_t run_ns, bytes;
};
enum outcome { CHILD_WELL, CHILD_ITEM_FAILED, CHILD_CANNOT_GO_ON };
extern struct shared* shared;
bool share(void);
void limit(const struct settings* settings);  // starts the time limit anew
// Forks and runs `work`, which returns an outcome. A crash or hang while an item was worked on is
// said as that item's failure. CHILD_CANNOT_GO_ON comes with fail().
enum outcome in_child(enum outcome (*work)(void*), void* context, const struct settings* settings);
enum outcome item_failed(void);   // says fail()'s cause as the failure of shared->item
enum outcome cannot_go_on(void);  // hands fail()'s cause to the parent

// --- measure.c --------------------------------------------------------------------------------
struct places {
  const char *library, *blobs, *data;
};
bool measure(const struct job* job, const struct places* places, const struct replay* replay);

// --- selftest.c -------------------------------------------------------------------------------
int selftest(int count, char** words);

#endif
