// Speaks the line protocol of README.md: one thread for each client, which waits for the engine.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdio>
#include <set>

#include "engine.hpp"

class Clients {
 public:
  Clients(const hwnas::Switcher& switcher, Engine& engine)
      : switcher_(switcher), engine_(engine) {}

  void add(int socket) {
    const timeval patience{30, 0};  // with a client that reads no answers
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const int at_once = 1;  // an answer in two pieces would wait for word of the first one
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    const std::lock_guard lock(mutex_);
    if (open_.size() < 256) {
      open_.insert(socket);
      std::thread([this, socket] { serve(socket); }).detach();
    } else {
      ::close(socket);
    }
  }

  // Answers the requests under way and reads no further ones.
  void finish() {
    std::unique_lock lock(mutex_);
    finishing_ = true;
    for (const int socket : open_) ::shutdown(socket, SHUT_RD);
    gone_.wait(lock, [&] { return open_.empty(); });
  }

 private:
  void serve(int socket) {
    const int second = ::dup(socket);
    std::FILE* in = ::fdopen(socket, "r");
    std::FILE* out = ::fdopen(second, "w");
    char line[512];
    Job job(switcher_, engine_.shaped_as());
    while (in && out && !finishing() && std::fgets(line, sizeof line, in) &&
           answer(line, job, in, out) && std::fflush(out) == 0) {
    }
    if (out) std::fclose(out);
    if (!out && second >= 0) ::close(second);
    const std::lock_guard lock(mutex_);  // no other client gets the socket's number before
    open_.erase(socket);
    if (in) std::fclose(in);
    if (!in) ::close(socket);
    gone_.notify_all();
  }

  // False if the connection has to end.
  bool answer(const std::string& line, Job& job, std::FILE* in, std::FILE* out) {
    if (line == "run\n") return run(job, in, out);
    if (line == "stats\n") return std::fprintf(out, "ok %s\n", engine_.stats().c_str()) > 0;
    if (line == "auto\n") {
      engine_.unpin();
    } else if (line.rfind("pin ", 0) == 0) {
      try {
        const std::size_t subnet = switcher_.find(line.substr(4, line.size() - 5));
        if (!engine_.fits(subnet)) return std::fputs("error it takes other shapes\n", out) >= 0;
        engine_.pin(subnet);
      } catch (const hwnas::Error& error) {
        return std::fprintf(out, "error %s; %s\n", error.what(), error.fix().c_str()) > 0;
      }
    } else {  // and what follows it may be anything
      std::fputs("error send: run, pin NAME, auto or stats\n", out);
      return false;
    }
    return std::fputs("ok\n", out) >= 0;
  }

  bool run(Job& job, std::FILE* in, std::FILE* out) {
    std::size_t i = 0;
    for (const auto& spec : switcher_.inputs(engine_.shaped_as())) {
      if (std::fread(job.inputs[i++], 1, spec.bytes(), in) != spec.bytes()) return false;
    }
    engine_.run(job);
    if (!job.error.empty()) return std::fprintf(out, "error %s\n", job.error.c_str()) > 0;
    std::fprintf(out, "ok %s\n", engine_.name(job.subnet).c_str());
    i = 0;
    for (const auto& spec : switcher_.outputs(engine_.shaped_as())) {
      std::fwrite(job.outputs[i++], 1, spec.bytes(), out);
    }
    return std::ferror(out) == 0;
  }

  bool finishing() {
    const std::lock_guard lock(mutex_);
    return finishing_;
  }

  const hwnas::Switcher& switcher_;
  Engine& engine_;
  std::mutex mutex_;
  std::condition_variable gone_;
  std::set<int> open_;
  bool finishing_ = false;
};
