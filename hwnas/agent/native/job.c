// Reads job.json into plain records, and refuses what is not exactly as it should be.
#include "agent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 512, MOST_TENSORS = 4096, MOST_RANK = 32, MOST_CORES = 4096 };
static const size_t kMostJob = (size_t)512 << 20;
static const int64_t kMostElements = (int64_t)1 << 36;
static const int kMostLabel = 65536;  // all choices of a subnet
static const double kLongestS = 86400;
static const char kFix[] = "make the job with the hwnas that this agent came with";

static bool is(const struct json* found, enum json_type type) {
  return found != NULL && found->type == type;
}

// Every key of `object` is one of `names`, each of which ends in a space.
static bool only(const struct json* object, const char* what, const char* names) {
  if (!is(object, JSON_OBJECT)) return fail(kFix, "%s is not an object", what);
  for (const struct json* member = object->first; member != NULL; member = member->next) {
    size_t length = strlen(member->key);
    bool word = length > 0 && strchr(member->key, ' ') == NULL;
    const char* at = word ? strstr(names, member->key) : NULL;
    while (at != NULL && !((at == names || at[-1] == ' ') && at[length] == ' '))
      at = strstr(at + 1, member->key);
    if (at == NULL) return fail(kFix, "%s: no such field: %.80s", what, member->key);
  }
  return true;
}

static bool long_text_of(const struct json* object, const char* key, int most, const char** text) {
  const struct json* found = json_get(object, key);
  if (!is(found, JSON_STRING) || found->length > (size_t)most)
    return fail(kFix, "%s is not a text of at most %d bytes", key, most);
  for (const char* at = found->text; *at != 0; ++at)
    if ((unsigned char)*at < 0x20 || *at == 0x7f) return fail(kFix, "%s cannot be printed", key);
  *text = found->text;
  return true;
}

static bool text_of(const struct json* object, const char* key, const char** text) {
  return long_text_of(object, key, MOST_TEXT, text);
}

static bool flag_of(const struct json* object, const char* key) {
  const struct json* found = json_get(object, key);
  if (is(found, JSON_TRUE) || is(found, JSON_FALSE)) return true;
  return fail(kFix, "%s is neither true nor false", key);
}

static bool sha_of(const struct json* object, const char** hex) {
  if (!text_of(object, "sha256", hex)) return false;
  if (strlen(*hex) == 64 && strspn(*hex, "0123456789abcdef") == 64) return true;
  return fail(kFix, "sha256 is not 64 hexadecimal digits: %.80s", *hex);
}

static bool count_of(const struct json* object, const char* key, int64_t low, int64_t* count) {
  const struct json* found = json_get(object, key);
  if (!is(found, JSON_NUMBER) || !found->whole || found->integer < low)
    return fail(kFix, "%s is not a whole number from %lld on", key, (long long)low);
  *count = found->integer;
  return true;
}

// --- settings

static const struct {
  const char* name;
  char type;  // i or f
  char low;   // 0: not negative, 1: positive
  size_t place;
} kSettings[] = {
#define WHOLE(name, low) {#name, 'i', low, offsetof(struct settings, name)}
#define REAL(name, low) {#name, 'f', low, offsetof(struct settings, name)}
    WHOLE(threads, 1),
    WHOLE(min_rounds, 1),
    WHOLE(max_rounds, 1),
    WHOLE(warmup_window_runs, 1),
    WHOLE(warmup_max_runs, 1),
    WHOLE(sittings, 1),
    WHOLE(sitting_items, 1),
    WHOLE(seed, 0),
    REAL(relative_ci, 1),
    REAL(confidence, 1),
    REAL(turn_s, 0),
    REAL(cold_limit_s, 0),
    REAL(sample_time_s, 1),
    REAL(time_limit_s, 1),
    REAL(warmup_window_s, 0),
    REAL(warmup_improvement, 0),
    REAL(warmup_time_s, 1),
    REAL(sitting_s, 1),
    REAL(cooldown_s, 0),
    REAL(energy_s, 1),
};

static bool read_cores(const struct json* found, struct settings* settings) {
  if (is(found, JSON_NULL)) return true;
  if (!is(found, JSON_ARRAY) || found->length == 0 || found->length > MOST_CORES)
    return fail(kFix, "settings: affinity is not a list of cores");
  int64_t* cores = take(found->length, sizeof *cores);
  for (const struct json* core = found->first; core != NULL; core = core->next) {
    if (!is(core, JSON_NUMBER) || !core->whole || core->integer < 0)
      return fail(kFix, "settings: affinity is not a list of cores");
    cores[settings->core_count++] = core->integer;
  }
  settings->cores = cores;
  return true;
}

// All settings must be there, so that defaults are those of who made the job.
static bool read_settings(const struct json* object, struct settings* settings) {
  enum { NUMBERS = sizeof kSettings / sizeof *kSettings, OTHERS = 3 };
  if (!is(object, JSON_OBJECT)) return fail(kFix, "settings are not an object");
  memset(settings, 0, sizeof *settings);
  for (size_t i = 0; i < NUMBERS; ++i) {
    void* place = (char*)settings + kSettings[i].place;
    const struct json* found = json_get(object, kSettings[i].name);
    bool whole = kSettings[i].type == 'i', positive = kSettings[i].low == 1;
    if (!is(found, JSON_NUMBER) || !isfinite(found->number) || found->number < 0 ||
        (whole && !found->whole) || (positive && found->number == 0))
      return fail(kFix, "settings: %s is not a number that is %s", kSettings[i].name,
                  positive ? "positive" : "0 or more");
    size_t length = strlen(kSettings[i].name);
    if (strcmp(kSettings[i].name + length - 2, "_s") == 0 && found->number > kLongestS)
      return fail(kFix, "settings: %s is more than a day", kSettings[i].name);
    if (whole) *(int64_t*)place = found->integer;
    else *(double*)place = fmin(found->number, 1e9);
  }
  const struct json* cores = json_get(object, "affinity");
  if (!flag_of(object, "energy")) return false;
  if (is(json_get(object, "energy"), JSON_TRUE))
    return fail("use the agent in Python", "the native agent does not measure energy");
  if (!text_of(object, "provider", &settings->provider) || !read_cores(cores, settings))
    return false;
  if (object->length != NUMBERS + OTHERS)
    return fail(kFix, "settings: there is one that is not known here");
  if (settings->confidence < 0.5 || settings->confidence >= 1)
    return fail(kFix, "settings: confidence is not from 0.5 to 0.999");
  if (settings->min_rounds < FEWEST_TURNS || settings->max_rounds < settings->min_rounds)
    return fail(kFix, "settings: min_rounds and max_rounds are not %d or more, in that order",
                FEWEST_TURNS);
  if (settings->threads > MOST_CORES) return fail(kFix, "settings: too many threads");
  return true;
}

// --- items

static bool read_tensor(const struct json* object, struct tensor* tensor) {
  const char* dtype = NULL;
  if (!text_of(object, "name", &tensor->name) || !text_of(object, "dtype", &dtype)) return false;
  tensor->dtype = dtype_named(dtype);
  if (tensor->dtype == NULL)
    return fail(kFix, "%.80s is a %.40s, which this agent does not know", tensor->name, dtype);
  const struct json* shape = json_get(object, "shape");
  if (!is(shape, JSON_ARRAY) || shape->length > MOST_RANK)
    return fail(kFix, "the shape of %.80s is not a list of at most %d sizes", tensor->name,
                MOST_RANK);
  int64_t* sizes = take(shape->length + 1, sizeof *sizes);
  bool empty = false;
  tensor->count = 1;
  for (const struct json* size = shape->first; size != NULL; size = size->next) {
    if (!is(size, JSON_NUMBER) || !size->whole || size->integer < 0 ||
        size->integer > kMostElements / tensor->count)
      return fail(kFix, "the shape of %.80s cannot be", tensor->name);
    sizes[tensor->rank++] = size->integer;
    if (size->integer == 0) empty = true;
    else tensor->count *= size->integer;
  }
  if (empty) tensor->count = 0;
  tensor->shape = sizes;
  return true;
}

static int digit64(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Decodes base64 (RFC 4648) in place; the number of bytes, or -1.
static int64_t decode64(char* text, size_t length) {
  if (length % 4 != 0) return -1;
  size_t padding = length > 0 && text[length - 1] == '=' ? 1 + (text[length - 2] == '=') : 0;
  unsigned char* out = (unsigned char*)text;
  for (size_t i = 0; i < length; i += 4) {
    uint32_t bits = 0;
    for (size_t j = i; j < i + 4; ++j) {
      int digit = j >= length - padding ? 0 : digit64(text[j]);
      if (digit < 0) return -1;
      bits = bits << 6 | (uint32_t)digit;
    }
    for (int shift = 16; shift >= 0; shift -= 8) *out++ = (unsigned char)(bits >> shift);
  }
  return (int64_t)(length / 4 * 3 - padding);
}

static bool read_expected(const struct json* object, struct expected* expected) {
  if (!only(object, "expected", "name dtype shape step values mean rms tolerance ") ||
      !read_tensor(object, &expected->tensor) || !count_of(object, "step", 1, &expected->step))
    return false;
  const char* name = expected->tensor.name;
  int64_t count = expected->tensor.count;
  expected->samples = count == 0 ? 0 : 1 + (count - 1) / expected->step;
  const struct json* values = json_get(object, "values");
  if (!is(values, JSON_STRING) || decode64(values->text, values->length) != 4 * expected->samples)
    return fail(kFix, "the values of %.80s are not %lld numbers in base64", name,
                (long long)expected->samples);
  expected->values = values->text;
  const struct json *mean = json_get(object, "mean"), *rms = json_get(object, "rms");
  const struct json* tolerance = json_get(object, "tolerance");
  if (!is(mean, JSON_NUMBER) || !is(rms, JSON_NUMBER))
    return fail(kFix, "the mean and rms of %.80s are not numbers", name);
  expected->mean = mean->number;
  expected->rms = rms->number;
  if (!is(tolerance, JSON_NUMBER) || !(tolerance->number >= 0))
    return fail(kFix, "the tolerance of %.80s is not a number that is 0 or more", name);
  expected->tolerance = tolerance->number;
  return true;
}

static bool read_item(const struct json* object, struct item* item) {
  const char* text = NULL;
  if (!only(object, "item", "key scope label model inputs expected ") ||
      !text_of(object, "key", &text) || !long_text_of(object, "label", kMostLabel, &item->label) ||
      !text_of(object, "scope", &text))
    return false;
  if (strcmp(text, "block") != 0 && strcmp(text, "subnet") != 0)
    return fail(kFix, "scope is neither block nor subnet");
  const struct json* model = json_get(object, "model");
  if (!only(model, "model", "sha256 bytes ") || !sha_of(model, &item->model_sha256) ||
      !count_of(model, "bytes", 1, &item->model_bytes))
    return false;
  const struct json *inputs = json_get(object, "inputs"), *outs = json_get(object, "expected");
  if (!is(inputs, JSON_ARRAY) || inputs->length > MOST_TENSORS || !is(outs, JSON_ARRAY) ||
      outs->length > MOST_TENSORS)
    return fail(kFix, "inputs or expected are not a list of at most %d", MOST_TENSORS);
  item->inputs = take(inputs->length + 1, sizeof *item->inputs);
  for (const struct json* each = inputs->first; each != NULL; each = each->next)
    if (!only(each, "input", "name dtype shape ") ||
        !read_tensor(each, &item->inputs[item->input_count++]))
      return false;
  item->expected = take(outs->length + 1, sizeof *item->expected);
  for (const struct json* each = outs->first; each != NULL; each = each->next)
    if (!read_expected(each, &item->expected[item->expected_count++])) return false;
  return true;
}

static bool read_data(const struct json* object, struct job* job) {
  if (!is(object, JSON_OBJECT)) return fail(kFix, "data is not an object");
  job->data = take(object->length + 1, sizeof *job->data);
  for (const struct json* each = object->first; each != NULL; each = each->next) {
    struct data_file* file = &job->data[job->data_count++];
    size_t length = strlen(each->key);
    for (const char* at = each->key; *at != 0; ++at)
      if (digit64(*at) < 0 && strchr("._-", *at) == NULL) length = 0;
    if (length == 0 || length > 255 || *each->key == '.' || strpbrk(each->key, "/+") != NULL)
      return fail(kFix, "data has a name that is not one of a file: %.80s", each->key);
    file->name = each->key;
    if (!only(each, "data", "sha256 bytes ") || !sha_of(each, &file->sha256) ||
        !count_of(each, "bytes", 0, &file->bytes))
      return false;
  }
  return true;
}

static bool right_profiler(const struct json* root) {
  const char* profiler = NULL;
  if (!text_of(root, "profiler", &profiler)) return false;
  if (strcmp(profiler, "onnxruntime") == 0) return true;
  return fail("use the agent in Python", "the native agent measures with onnxruntime only, not %s",
              profiler);
}

bool read_job(const char* path, struct job* job) {
  size_t length = 0;
  memset(job, 0, sizeof *job);
  char* text = read_file(path, kMostJob, &length);
  if (text == NULL) return false;
  sha256_text(text, length, job->id);
  const struct json* root = json_parse(text, length);
  if (root == NULL) return false;
  int64_t schema = 0;
  const char* version = NULL;
  if (!is(root, JSON_OBJECT)) return fail(kFix, "the job is not an object");
  if (!count_of(root, "schema_version", 0, &schema)) return false;
  if (schema != 1) return fail(kFix, "schema_version is %lld, not 1", (long long)schema);
  if (!only(root, "job", "schema_version hwnas emulated profiler settings data items ") ||
      !text_of(root, "hwnas", &version) || !flag_of(root, "emulated") || !right_profiler(root) ||
      !read_settings(json_get(root, "settings"), &job->settings) ||
      !read_data(json_get(root, "data"), job))
    return false;
  const struct json* items = json_get(root, "items");
  if (!is(items, JSON_ARRAY) || items->length > MOST_ITEMS)
    return fail(kFix, "items is not a list of at most %d", MOST_ITEMS);
  job->items = take(items->length + 1, sizeof *job->items);
  for (const struct json* each = items->first; each != NULL; each = each->next)
    if (!read_item(each, &job->items[job->item_count++])) return false;
  return true;
}

bool read_description(char* text, size_t length, struct settings* settings) {
  const struct json* root = json_parse(text, length);
  return root != NULL && only(root, "request", "profiler settings ") && right_profiler(root) &&
         read_settings(json_get(root, "settings"), settings);
}
