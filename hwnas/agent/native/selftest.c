// What tests compare with hwnas.agent in Python: hwnas-agent selftest WHAT ...
#include "agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_ranks(int64_t most, double confidence) {
  for (int64_t n = 0; n <= most; ++n) {
    int64_t low, high;
    if (!interval_ranks(n, confidence, &low, &high)) low = high = -1;
    printf("%lld %lld\n", (long long)low, (long long)high);
  }
}

static void test_inputs(const struct tensor* tensor, int64_t index, int64_t seed) {
  char* data = take((size_t)tensor->count, tensor->dtype->size);
  fill_input(tensor, index, seed, data);
  fwrite(data, tensor->dtype->size, (size_t)tensor->count, stdout);
  free(data);
}

// Run times come on stdin.
static void test_warmup(const struct settings* settings) {
  struct warmup warmup = {0};
  for (long long ns; warmup.stopped_by == NULL && scanf("%lld", &ns) == 1;)
    warmup_add(&warmup, settings, ns);
  printf("%s %lld %.17g\n", warmup.stopped_by ? warmup.stopped_by : "-", (long long)warmup.runs,
         warmup_median(&warmup));
}

// Turns of one run come on stdin, as `calm ns` of each item in each round.
static void test_sampling(size_t count, const struct settings* settings) {
  struct sampling* items = take(count, sizeof *items);
  double* factors = NULL;
  size_t rounds = 0;
  for (size_t left = count; left > 0;) {
    for (size_t i = 0; i < count; ++i) {
      long long calm, ns;
      if (scanf("%lld %lld", &calm, &ns) != 2) return;
      if (items[i].stopped_by == NULL) sampling_add(&items[i], &(int64_t){ns}, 1, calm != 0);
    }
    free(factors);
    factors = round_factors(items, count, ++rounds);
    for (size_t i = 0; i < count; ++i) {
      if (items[i].stopped_by != NULL) continue;
      sampling_judge(&items[i], settings, factors);
      left -= items[i].stopped_by != NULL;
    }
  }
  for (size_t i = 0; i < count; ++i)
    printf("%s %zu\n", items[i].stopped_by, items[i].medians.length);
  for (size_t round = 0; round < rounds; ++round) printf("%.17g\n", factors[round]);
}

static bool read_settings(const char* words, struct settings* settings) {
  struct text text = {0};
  add(&text, "{\"profiler\":\"onnxruntime\",\"settings\":%s}", words);
  return read_description(text.data, text.length, settings);
}

int selftest(int count, char** words) {
  struct settings settings;
  const char* what = count > 0 ? words[0] : "";
  if (strcmp(what, "ranks") == 0 && count == 3) {
    test_ranks(atoll(words[1]), atof(words[2]));
  } else if (strcmp(what, "inputs") == 0 && count == 5 && dtype_named(words[1]) != NULL) {
    struct tensor tensor = {.name = "x", .dtype = dtype_named(words[1]), .count = atoll(words[2])};
    test_inputs(&tensor, atoll(words[3]), atoll(words[4]));
  } else if (strcmp(what, "warmup") == 0 && count == 2 && read_settings(words[1], &settings)) {
    test_warmup(&settings);
  } else if (strcmp(what, "sampling") == 0 && count == 3 && read_settings(words[1], &settings)) {
    test_sampling((size_t)atoll(words[2]), &settings);
  } else if (strcmp(what, "canary") == 0) {
    printf("%.6g\n", canary());
  } else {
    return 2;
  }
  return 0;
}
