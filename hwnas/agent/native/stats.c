// The rules by which warm-up and sampling end: those of hwnas.agent.samples, .stopping and .rounds.
#include "agent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CANARY_STEPS = 20000, CANARY_TRIES = 3, FEWEST_ITEMS = 5, SWEEPS = 10 };

void append(struct series* series, double value) {
  if (series->length == series->room) {
    series->room = 2 * series->room + 64;
    series->values = enlarge(series->values, series->room * sizeof value);
  }
  series->values[series->length++] = value;
}

static int by_value(const void* a, const void* b) {
  double left = *(const double*)a, right = *(const double*)b;
  return (left > right) - (left < right);
}

static double* sorted(const double* values, size_t count) {
  double* copy = take(count + 1, sizeof *copy);
  if (count > 0) memcpy(copy, values, count * sizeof *copy);
  qsort(copy, count, sizeof *copy, by_value);
  return copy;
}

double median(const double* values, size_t count) {
  if (count == 0) return 0;
  double* copy = sorted(values, count);
  double middle = (copy[(count - 1) / 2] + copy[count / 2]) / 2;
  free(copy);
  return middle;
}

// P(B <= k) and P(B >= k) of a binomial B with n draws of probability 1/2, each tail against half
// of what the confidence leaves.
bool interval_ranks(int64_t n, double confidence, int64_t* low, int64_t* high) {
  if (n < 1) return false;
  double* log_factorial = take((size_t)n + 1, sizeof *log_factorial);
  for (int64_t i = 1; i <= n; ++i) log_factorial[i] = log_factorial[i - 1] + log((double)i);
  // Rounding must not refuse a sample size whose tail is exactly the one allowed.
  double tail = (1 - confidence) / 2 * (1 + 1e-9), below = 0;
  int64_t left = 0;
  for (; left <= n; ++left) {
    double choose = log_factorial[n] - log_factorial[left] - log_factorial[n - left];
    below += exp(choose + (double)n * log(0.5));
    if (below > tail) break;
  }
  free(log_factorial);
  *low = left - 1;  // the distribution is symmetric
  *high = n - left;
  return left >= 1 && n + 1 - left <= n;
}

static bool interval(const double* values, size_t count, double confidence, double ends[2]) {
  int64_t low, high;
  if (!interval_ranks((int64_t)count, confidence, &low, &high)) return false;
  double* copy = sorted(values, count);
  ends[0] = copy[low];
  ends[1] = copy[high];
  free(copy);
  return true;
}

void warmup_add(struct warmup* warmup, const struct settings* settings, int64_t ns) {
  ++warmup->runs;
  append(&warmup->window, (double)ns);
  warmup->window_ns += (double)ns;
  warmup->total_ns += (double)ns;
  if ((int64_t)warmup->window.length >= settings->warmup_window_runs &&
      warmup->window_ns >= settings->warmup_window_s * NS_PER_S) {
    double middle = median(warmup->window.values, warmup->window.length), before = warmup->before;
    warmup->before = middle;
    warmup->window.length = 0;
    warmup->window_ns = 0;
    if (before > 0 && middle > before * (1 - settings->warmup_improvement)) {
      warmup->stopped_by = "steady";
      return;
    }
  }
  if (warmup->runs >= settings->warmup_max_runs) warmup->stopped_by = "max_runs";
  else if (warmup->total_ns >= settings->warmup_time_s * NS_PER_S) warmup->stopped_by = "time";
}

double warmup_median(const struct warmup* warmup) {
  return warmup->before > 0 ? warmup->before : median(warmup->window.values, warmup->window.length);
}

static bool converged(const double* values, size_t count, const struct settings* settings) {
  double all[2], first[2], second[2], confidence = settings->confidence;
  // All sittings together then reach relative_ci.
  double widest = settings->relative_ci * sqrt((double)settings->sittings);
  size_t half = count / 2;
  if (!interval(values, count, confidence, all) ||
      all[1] - all[0] > widest * median(values, count))
    return false;
  // The interval of a drifting series is narrow around a value that means nothing.
  if (!interval(values, half, confidence, first) ||
      !interval(values + half, count - half, confidence, second))
    return true;
  return first[0] <= second[1] && second[0] <= first[1];
}

void sampling_add(struct sampling* sampling, const int64_t* ns, size_t count, bool calm) {
  double values[MOST_TURN_RUNS];
  for (size_t i = 0; i < count; ++i) {
    values[i] = (double)ns[i];
    sampling->total_ns += values[i];
  }
  double middle = median(values, count);
  append(&sampling->medians, middle);
  append(&sampling->logs, log(middle));
  append(&sampling->calm, calm);
}

void sampling_judge(struct sampling* sampling, const struct settings* settings,
                    const double* factors) {
  size_t turns = sampling->medians.length, count = 0;
  double* values = take(turns, sizeof *values);
  for (size_t i = 0; i < turns; ++i)
    if (sampling->calm.values[i] != 0) values[count++] = sampling->medians.values[i] / factors[i];
  if (sampling->calm.values[turns - 1] != 0 && (int64_t)count >= settings->min_rounds &&
      converged(values, count, settings))
    sampling->stopped_by = "converged";
  else if ((int64_t)turns >= settings->max_rounds) sampling->stopped_by = "max_rounds";
  else if (sampling->total_ns >= settings->sample_time_s * NS_PER_S && turns >= FEWEST_TURNS)
    sampling->stopped_by = "time";
  free(values);
}

static size_t turns_in(size_t round, const struct sampling* items, size_t count) {
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) found += items[i].logs.length > round;
  return found;
}

// log of a turn = item + round, fitted by medians in turn (Tukey's median polish).
double* round_factors(const struct sampling* items, size_t count, size_t rounds) {
  // As items only drop out, the rounds with enough of them are the first, and they share items.
  size_t kept = 0;
  while (kept < rounds && turns_in(kept, items, count) >= FEWEST_ITEMS) ++kept;
  double *factors = take(rounds, sizeof *factors), *of_item = take(count, sizeof *of_item);
  double* rest = take(kept + count, sizeof *rest);
  for (int sweep = 0; sweep < SWEEPS; ++sweep) {
    for (size_t i = 0; i < count; ++i) {
      const struct series* logs = &items[i].logs;
      size_t turns = logs->length < kept ? logs->length : kept;
      for (size_t round = 0; round < turns; ++round)
        rest[round] = logs->values[round] - factors[round];
      of_item[i] = median(rest, turns);
    }
    for (size_t round = 0; round < kept; ++round) {
      size_t held = 0;
      for (size_t i = 0; i < count; ++i)
        if (items[i].logs.length > round) rest[held++] = items[i].logs.values[round] - of_item[i];
      factors[round] = median(rest, held);
    }
    double middle = median(factors, kept);
    for (size_t round = 0; round < kept; ++round) factors[round] -= middle;
  }
  for (size_t round = 0; round < rounds; ++round) factors[round] = exp(factors[round]);
  free(of_item);
  free(rest);
  return factors;
}

// A chain in which every step needs the one before: a fixed number of cycles, so that a longer
// time means a lower clock. CPU time, so that a core that was taken away meanwhile does not look
// like a slow one. The barrier keeps the compiler from finding a shorter way.
double canary(void) {
  int64_t best = INT64_MAX;
  for (int try = 0; try < CANARY_TRIES; ++try) {
    uint64_t x = 1;
    int64_t start = thread_ns();
    for (int i = 0; i < CANARY_STEPS; ++i) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      __asm__ volatile("" : "+r"(x));
    }
    int64_t took = thread_ns() - start;
    if (took < best) best = took;
  }
  return (double)(best > 0 ? best : 1) / CANARY_STEPS;
}
