// hwnas-server BUNDLE PORT WORKERS DEADLINE_MS: serve a bundle on 127.0.0.1. Port 0 is a free one.
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <cstdlib>

#include "clients.hpp"

namespace {

int listen_on(const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  const int one = 1, listener = ::socket(AF_INET, SOCK_STREAM, 0);
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(listener, any, size) != 0 || ::listen(listener, 64) != 0) {
    throw std::runtime_error(std::string("cannot listen on port ") + port);
  }
  ::getsockname(listener, any, &size);
  std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

void serve(char** argv) {
  sigset_t signals;  // read from a descriptor: blocked in all threads that are made from here on
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  hwnas::Switcher switcher(argv[1]);
  Engine engine(switcher, std::strtoul(argv[3], nullptr, 10), std::atof(argv[4]));
  Clients clients(switcher, engine);
  const int listener = listen_on(argv[2]);
  pollfd ready[] = {{listener, POLLIN, 0}, {::signalfd(-1, &signals, 0), POLLIN, 0}};
  while (::poll(ready, 2, -1) > 0 && ready[1].revents == 0) {
    const int client = ::accept(listener, nullptr, nullptr);
    if (client >= 0) {
      clients.add(client);
    } else {
      ::usleep(10000);  // no descriptor left, and the client still waits: let others end first
    }
  }
  ::close(listener);
  clients.finish();
  std::printf("%s\n", engine.stats().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 || std::atoi(argv[3]) < 1) {
    std::fprintf(stderr, "usage: %s BUNDLE PORT WORKERS DEADLINE_MS\n", argv[0]);
    return 2;
  }
  try {
    serve(argv);
  } catch (const hwnas::Error& error) {
    std::fprintf(stderr, "error: %s\n  fix: %s\n", error.what(), error.fix().c_str());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
