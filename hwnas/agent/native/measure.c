// From a job to its events: items are looked at one by one until a sitting is full, then a child
// measures them side by side, in rounds, as often as there are to be sittings.
#include "agent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double kCalm = 0.02;  // most of a turn that the thread may have waited

struct batch {
  const struct job* job;
  const struct places* places;
  int64_t sitting, count;
  int64_t items[MOST_SITTING_ITEMS];
};

static struct model* load(const struct batch* batch, int64_t item, bool again) {
  shared->item = item;
  limit(&batch->job->settings);
  return model_load(&batch->job->items[item], &batch->job->settings, batch->places->blobs,
                    batch->places->data, again);
}

// --- a look at one item, the last of its batch

static enum outcome probe(void* context) {
  const struct batch* batch = context;
  int64_t number = batch->items[batch->count], before = 0, loaded = 0, ran = 0, ns;
  const struct item* item = &batch->job->items[number];
  if (!runtime_start(batch->places->library, &batch->job->settings)) return cannot_go_on();
  bool told = pss(&before);
  struct model* model = load(batch, number, false);
  if (model == NULL) return item_failed();
  told = told && pss(&loaded);
  if (!model_run(model, &ns) || !model_run(model, &ns)) return item_failed();
  told = told && pss(&ran);
  double error = NAN;
  bool passes = true;
  if (item->expected_count > 0 && !model_check(model, item, &error, &passes)) return item_failed();
  shared->run_ns = ns;
  shared->bytes = told ? ran - before : 0;
  struct text* lines = pending();
  add(lines, "{\"event\":\"loaded\",\"item\":%lld,\"load_bytes\":", (long long)number);
  add_integer(lines, told, loaded - before);
  add(lines, ",\"run_bytes\":");
  add_integer(lines, told, ran - loaded);
  add(lines, ",\"first_ns\":%lld,\"error\":", (long long)ns);
  add_number(lines, error);
  add(lines, ",\"outputs_ok\":%s}\n",
      item->expected_count == 0 ? "null"
      : passes                  ? "true"
                                : "false");
  return flush() ? CHILD_WELL : cannot_go_on();
}

// --- a sitting

struct seat {
  int64_t item, runs, cold, wall, cpu, switches;  // cold, switches -1: none
  struct model* model;
  struct warmup warmup;
  struct sampling* sampling;
  bool takes_cold;
  int64_t ns[MOST_TURN_RUNS];
};

static bool warm_up(struct seat* seat, const struct batch* batch) {
  const struct settings* settings = &batch->job->settings;
  do {
    int64_t ns;
    limit(settings);
    if (!model_run(seat->model, &ns)) return false;
    warmup_add(&seat->warmup, settings, ns);
  } while (seat->warmup.stopped_by == NULL);
  double run_s = warmup_median(&seat->warmup) / NS_PER_S;
  double runs = run_s > 0 ? ceil(settings->turn_s / run_s) : MOST_TURN_RUNS;
  seat->runs = runs < 1 ? 1 : runs > MOST_TURN_RUNS ? MOST_TURN_RUNS : (int64_t)runs;
  seat->takes_cold = run_s < settings->cold_limit_s;
  add(pending(),
      "{\"event\":\"warm\",\"sitting\":%lld,\"item\":%lld,\"runs\":%lld,"
      "\"stopped_by\":\"%s\"}\n",
      (long long)batch->sitting, (long long)seat->item, (long long)seat->warmup.runs,
      seat->warmup.stopped_by);
  return true;
}

static bool take_turn(struct seat* seat, const struct settings* settings) {
  shared->item = seat->item;
  limit(settings);
  model_refresh(seat->model);
  int64_t switched = switches();
  seat->cold = -1;
  if (seat->takes_cold && !model_run(seat->model, &seat->cold)) return false;
  int64_t cpu = thread_ns(), wall = now_ns();
  for (int64_t i = 0; i < seat->runs; ++i)
    if (!model_run(seat->model, &seat->ns[i])) return false;
  wall = now_ns() - wall;
  seat->wall = wall > 0 ? wall : 1;
  seat->cpu = thread_ns() - cpu;
  int64_t after = switches();
  seat->switches = switched < 0 || after < 0 ? -1 : after - switched;
  bool calm = settings->threads > 1 || 1 - (double)seat->cpu / (double)seat->wall <= kCalm;
  sampling_add(seat->sampling, seat->ns, (size_t)seat->runs, calm);
  return true;
}

static void add_round(const struct batch* batch, int64_t round, const double canaries[2],
                      bool counted, int64_t stops, struct seat* const* seats, int64_t count) {
  struct text* lines = pending();
  add(lines,
      "{\"event\":\"round\",\"sitting\":%lld,\"round\":%lld,\"canary\":[%.6g,%.6g],"
      "\"throttled\":",
      (long long)batch->sitting, (long long)round, canaries[0], canaries[1]);
  add_integer(lines, counted, stops);
  add(lines, ",\"readings\":{");
  add_readings(lines);
  add(lines, "},\"turns\":[");
  for (int64_t i = 0; i < count; ++i) {
    const struct seat* seat = seats[i];
    add(lines, "%s{\"item\":%lld,\"cold\":", i ? "," : "", (long long)seat->item);
    add_integer(lines, seat->cold >= 0, seat->cold);
    for (int64_t j = 0; j < seat->runs; ++j)
      add(lines, "%s%lld", j ? "," : ",\"ns\":[", (long long)seat->ns[j]);
    add(lines, "],\"wall\":%lld,\"cpu\":%lld,\"switches\":", (long long)seat->wall,
        (long long)seat->cpu);
    add_integer(lines, seat->switches >= 0, seat->switches);
    add(lines, "}");
  }
  add(lines, "]}\n");
}

static void shuffle(struct seat** seats, int64_t count, uint64_t* state) {
  for (int64_t i = count - 1; i > 0; --i) {
    int64_t j = (int64_t)(splitmix64((*state)++) % (uint64_t)(i + 1));
    struct seat* other = seats[i];
    seats[i] = seats[j];
    seats[j] = other;
  }
}

static enum outcome sit(void* context) {
  const struct batch* batch = context;
  const struct settings* settings = &batch->job->settings;
  struct seat* seats = take((size_t)batch->count, sizeof *seats);
  struct seat** left = take((size_t)batch->count, sizeof *left);
  struct sampling* samplings = take((size_t)batch->count, sizeof *samplings);
  if (!runtime_start(batch->places->library, settings)) return cannot_go_on();
  int64_t count = batch->count;
  for (int64_t i = 0; i < count; ++i) {
    left[i] = &seats[i];
    seats[i].item = batch->items[i];
    seats[i].sampling = &samplings[i];
    seats[i].model = load(batch, batch->items[i], true);
    if (seats[i].model == NULL) return item_failed();
  }
  for (int64_t i = 0; i < count; ++i) {
    shared->item = seats[i].item;
    if (!warm_up(&seats[i], batch)) return item_failed();
  }
  if (!flush()) return cannot_go_on();
  uint64_t random = splitmix64((uint64_t)settings->seed) + (uint64_t)batch->sitting * MOST_ITEMS;
  for (int64_t round = 0; count > 0; ++round) {
    shuffle(left, count, &random);
    int64_t stops_before, stops_after;
    double canaries[2] = {canary(), 0};
    bool counted = throttled(&stops_before);
    for (int64_t i = 0; i < count; ++i)
      if (!take_turn(left[i], settings)) return item_failed();
    counted = throttled(&stops_after) && counted;
    canaries[1] = canary();
    int64_t stops = counted && stops_after > stops_before ? stops_after - stops_before : 0;
    add_round(batch, round, canaries, counted, stops, left, count);
    double* factors = round_factors(samplings, (size_t)batch->count, (size_t)round + 1);
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      sampling_judge(left[i]->sampling, settings, factors);
      if (left[i]->sampling->stopped_by == NULL) left[kept++] = left[i];
      else
        add(pending(),
            "{\"event\":\"stopped\",\"sitting\":%lld,\"item\":%lld,"
            "\"stopped_by\":\"%s\"}\n",
            (long long)batch->sitting, (long long)left[i]->item, left[i]->sampling->stopped_by);
    }
    free(factors);
    count = kept;
    if (!flush()) return cannot_go_on();
  }
  return CHILD_WELL;
}

// --- batches

static void rest(double seconds) {
  struct timespec left = {(time_t)seconds, (long)((seconds - floor(seconds)) * NS_PER_S)};
  while (nanosleep(&left, &left) != 0) continue;
}

// One whole sitting of the batch, less what fails in it.
static bool sit_whole(struct batch* batch) {
  const struct settings* settings = &batch->job->settings;
  while (batch->count > 0) {
    rest(settings->cooldown_s);
    struct text* lines = pending();
    add(lines, "{\"event\":\"sit\",\"sitting\":%lld,\"items\":", (long long)batch->sitting);
    for (int64_t i = 0; i < batch->count; ++i)
      add(lines, "%s%lld", i ? "," : "[", (long long)batch->items[i]);
    add(lines, "]}\n");
    if (!flush()) return false;
    enum outcome outcome = in_child(sit, batch, settings);
    if (outcome == CHILD_CANNOT_GO_ON) return false;
    ++batch->sitting;
    if (outcome == CHILD_WELL)
      return say("{\"event\":\"sat\",\"sitting\":%lld}", (long long)batch->sitting - 1);
    int64_t kept = 0;
    for (int64_t i = 0; i < batch->count; ++i)
      if (batch->items[i] != shared->item) batch->items[kept++] = batch->items[i];
    batch->count = kept;
  }
  return true;
}

static bool measure_batch(struct batch* batch) {
  for (int64_t i = 0; i < batch->job->settings.sittings && batch->count > 0; ++i)
    if (!sit_whole(batch)) return false;
  for (int64_t i = 0; i < batch->count; ++i)
    add(pending(), "{\"event\":\"done\",\"item\":%lld}\n", (long long)batch->items[i]);
  batch->count = 0;
  return flush();
}

bool measure(const struct job* job, const struct places* places, const struct replay* replay) {
  const struct settings* settings = &job->settings;
  struct batch batch = {.job = job, .places = places, .sitting = replay->sittings};
  int64_t most =
      settings->sitting_items < MOST_SITTING_ITEMS ? settings->sitting_items : MOST_SITTING_ITEMS;
  // Half of what is free: all items of a sitting are in memory at once.
  int64_t room = available_memory(), bytes = 0;
  double seconds = 0;
  for (int64_t item = 0; item < job->item_count; ++item) {
    if (replay->finished[item]) continue;
    if (!say("{\"event\":\"probe\",\"item\":%lld}", (long long)item)) return false;
    batch.items[batch.count] = item;
    enum outcome outcome = in_child(probe, &batch, settings);
    if (outcome == CHILD_CANNOT_GO_ON) return false;
    if (outcome == CHILD_ITEM_FAILED) continue;
    double run_s = (double)shared->run_ns / NS_PER_S;
    seconds += (double)settings->min_rounds * (fmax(settings->turn_s, run_s) + 2 * run_s);
    bytes += shared->bytes;
    if (++batch.count < most && seconds <= settings->sitting_s && (room < 0 || bytes <= room / 2))
      continue;
    if (!measure_batch(&batch)) return false;
    seconds = 0;
    bytes = 0;
  }
  return measure_batch(&batch);
}
