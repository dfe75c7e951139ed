// Runs requests on worker threads, and chooses the subnet by how many requests wait.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <hwnas/switcher.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

// Memory of one request: a tensor for each input and output, aligned for every dtype.
struct Job {
  Job(const hwnas::Switcher& switcher, std::size_t shaped_as) {
    for (const auto& spec : switcher.inputs(shaped_as)) inputs.push_back(room(spec));
    for (const auto& spec : switcher.outputs(shaped_as)) outputs.push_back(room(spec));
  }
  double* room(const hwnas::TensorSpec& spec) {
    return memory.emplace_back(spec.bytes() / sizeof(double) + 1).data();
  }
  std::deque<std::vector<double>> memory;
  std::vector<void*> inputs, outputs;
  std::size_t subnet = 0;  // that ran
  std::string error;       // empty: it ran
  bool done = false;
  std::condition_variable ready;
};

class Engine {
 public:
  Engine(hwnas::Switcher& switcher, std::size_t workers, double deadline_ms)
      : switcher_(switcher), names_(switcher.names()), deadline_ms_(deadline_ms),
        shaped_as_(switcher.current()), ms_(names_.size()), served_(names_.size()) {
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (!fits(i)) continue;
      ms_[i] = measure(i);
      order_.push_back(i);
    }
    std::sort(order_.begin(), order_.end(), [&](auto a, auto b) { return ms_[a] > ms_[b]; });
    const std::lock_guard lock(mutex_);  // none starts before all are counted
    while (threads_.size() < workers) threads_.emplace_back([this] { work(); });
  }

  ~Engine() {  // when no caller is left in run()
    std::unique_lock lock(mutex_);
    stopping_ = true;
    lock.unlock();
    arrived_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  const std::string& name(std::size_t subnet) const { return names_[subnet]; }

  // The subnet whose shapes requests and answers have. A queue mixes requests, so only subnets of
  // these shapes are served.
  std::size_t shaped_as() const { return shaped_as_; }
  bool fits(std::size_t subnet) const {
    return same(switcher_.inputs(subnet), switcher_.inputs(shaped_as_)) &&
           same(switcher_.outputs(subnet), switcher_.outputs(shaped_as_));
  }

  // Waits until a worker has filled the outputs of `job`, or set its error.
  void run(Job& job) {
    std::unique_lock lock(mutex_);
    job.done = false;
    queue_.push_back(&job);
    arrived_.notify_one();
    job.ready.wait(lock, [&] { return job.done; });
  }

  // Uses one subnet for all that follows, or again whichever fits the queue.
  void pin(std::size_t subnet) {
    const std::lock_guard lock(mutex_);
    pinned_ = true;
    switch_to(subnet);
  }
  void unpin() {
    const std::lock_guard lock(mutex_);
    pinned_ = false;
  }

  std::string stats() {  // as JSON; names hold nothing that would need escaping
    const std::lock_guard lock(mutex_);
    std::string text = "{\"current\": \"" + names_[switcher_.current()] +
                       "\", \"switches\": " + std::to_string(switches_);
    for (const std::size_t i : order_) {
      text += (i == order_[0] ? ", \"subnets\": {\"" : ", \"") + names_[i] + "\": {\"ms\": " +
              std::to_string(ms_[i]) + ", \"served\": " + std::to_string(served_[i]) + "}";
    }
    return text + "}}";
  }

 private:
  static bool same(const std::vector<hwnas::TensorSpec>& a,
                   const std::vector<hwnas::TensorSpec>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
      return x.dtype() == y.dtype() && x.shape() == y.shape();
    });
  }

  // Milliseconds of one run: the median of five, after a first one.
  double measure(std::size_t subnet) {
    using Clock = std::chrono::steady_clock;
    Job job(switcher_, subnet);
    double ms[6];
    for (double& one : ms) {
      const auto begin = Clock::now();
      switcher_.run(job.inputs.data(), job.outputs.data(), subnet);
      one = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    }
    std::sort(ms + 1, ms + 6);
    return ms[3];
  }

  // The slowest subnet with which the last request in the queue is still answered in time.
  std::size_t choose() const {
    const double rounds = 1.0 + static_cast<double>(queue_.size() / threads_.size());
    for (const std::size_t i : order_) {
      if (rounds * ms_[i] <= deadline_ms_) return i;
    }
    return order_.back();
  }

  void switch_to(std::size_t subnet) {
    switches_ += subnet != switcher_.current();
    switcher_.set_current(subnet);  // one atomic store
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      arrived_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      Job& job = *queue_.front();
      queue_.pop_front();
      if (!pinned_) switch_to(choose());
      job.subnet = switcher_.current();
      lock.unlock();
      try {
        switcher_.run(job.inputs.data(), job.outputs.data(), job.subnet);
        job.error.clear();
      } catch (const hwnas::Error& error) {
        job.error = error.what();
      }
      lock.lock();
      ++served_[job.subnet];
      job.done = true;
      job.ready.notify_one();
    }
  }

  hwnas::Switcher& switcher_;
  const std::vector<std::string> names_;
  const double deadline_ms_;
  const std::size_t shaped_as_;
  std::vector<double> ms_;
  std::vector<std::size_t> order_, served_;  // order: what is served, the slowest first
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Job*> queue_;
  std::size_t switches_ = 0;
  bool pinned_ = false, stopping_ = false;
  std::vector<std::thread> threads_;
};
