// SPDX-License-Identifier: Apache-2.0
#include "broker/handover.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <fstream>

#include "broker/handover_message.h"
#include "shm/base/descriptor_message.h"

namespace airstore::broker {
namespace {

constexpr char kEstateVariable[] = "AIRSTORE_HANDOVER_ESTATE";
constexpr auto kHelloPatience = std::chrono::seconds(10);
constexpr auto kReadyPatience = std::chrono::seconds(30);
constexpr int kDoneMs = 30'000;
constexpr int kGoMs = 120'000;

using Message = HandoverMessage;
using Step = HandoverStep;

Message MessageOf(Step step, const std::string& text = "") {
  Message message;
  message.step = step;
  message.capabilities = message.needs = kCapabilities;
  strncpy(message.version, AIRSTORE_VERSION, sizeof(message.version) - 1);
  strncpy(message.text, text.c_str(), sizeof(message.text) - 1);
  return message;
}

bool Send(int socket, const Message& message, const std::vector<int>& fds) {
  return SendWithDescriptors(socket, &message, sizeof(message), fds) ==
         static_cast<ssize_t>(sizeof(message));
}

// Nothing: the other side is gone, or says what makes no sense.
std::optional<Message> Receive(int socket, std::vector<UniqueFd>* fds) {
  Message message;
  std::vector<UniqueFd> came;
  const ssize_t got = ReceiveWithDescriptors(socket, &message, sizeof(message), &came);
  if (got != static_cast<ssize_t>(sizeof(message)) || message.magic != Message::kMagic)
    return std::nullopt;
  if (fds != nullptr) std::move(came.begin(), came.end(), std::back_inserter(*fds));
  message.text[sizeof(message.text) - 1] = message.version[sizeof(message.version) - 1] = '\0';
  return message;
}

std::optional<Message> ReceiveWithin(int socket, int patience_ms, std::vector<UniqueFd>* fds) {
  pollfd readable{socket, POLLIN, 0};
  int ready = 0;
  do {
    ready = poll(&readable, 1, patience_ms);
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) return std::nullopt;
  return Receive(socket, fds);
}

void ClearCloseOnExec(int fd) { (void)fcntl(fd, F_SETFD, 0); }

// The environment with one more variable, and without those of an earlier handover.
std::vector<std::string> EnvironmentWith(const std::string& variable) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (strncmp(*entry, "AIRSTORE_HANDOVER_", 18) != 0) environment.emplace_back(*entry);
  }
  environment.push_back(variable);
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& text : strings) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::string MissingCapabilities(uint64_t have, uint64_t needed) {
  constexpr std::array<std::pair<uint64_t, const char*>, 5> kNames = {
      {{kCanAdoptMounts, "mounts"},
       {kCanReadJournal, "journal"},
       {kCanReadManifests, "manifests"},
       {kCanReadLedgers, "ledgers"},
       {kCanTakeDescriptors, "descriptors"}}};
  std::string text;
  uint64_t missing = needed & ~have;
  for (const auto& [bit, name] : kNames) {
    if ((missing & bit) == 0) continue;
    text += (text.empty() ? "" : ", ") + std::string(name);
    missing &= ~bit;
  }
  if (missing != 0) text += (text.empty() ? "" : ", ") + std::string("something newer");
  return text;
}

Handover::Handover(const boost::asio::any_io_executor& executor, std::vector<std::string> arguments)
    : executor_(executor), arguments_(std::move(arguments)) {}

Handover::~Handover() { End(); }

void Handover::End() {
  prepared_ = false;
  socket_.reset();
  if (pid_ <= 0) return;
  (void)syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  pidfd_.reset();
}

Outcome<Nothing> Handover::Give(FailureKind kind, std::string why) {
  End();
  return Outcome<Nothing>{std::nullopt,
                          Failure{kind, std::move(why), "this broker goes on as before"}};
}

Outcome<Nothing> Handover::Start(const std::string& program) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Give(FailureKind::kHost, std::string("socketpair: ") + strerror(errno));
  }
  socket_.reset(sockets[0]);
  const UniqueFd theirs(sockets[1]);
  std::vector<std::string> arguments = {program};
  arguments.insert(arguments.end(), arguments_.begin(), arguments_.end());
  constexpr int kTheirNumber = 3;
  std::vector<std::string> environment =
      EnvironmentWith(std::string(kHandoverVariable) + "=" + std::to_string(kTheirNumber));
  const std::vector<char*> argv = Pointers(arguments);
  const std::vector<char*> envp = Pointers(environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kTheirNumber);
  posix_spawn_file_actions_addclosefrom_np(&actions, kTheirNumber + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t ignored;
  sigemptyset(&none);
  sigemptyset(&ignored);
  sigaddset(&ignored, SIGPIPE);
  sigaddset(&ignored, SIGIO);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &ignored);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const int failed =
      posix_spawn(&pid_, program.c_str(), &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    pid_ = -1;
    return Give(FailureKind::kUsage, "start " + program + ": " + strerror(failed));
  }
  pidfd_.reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  program_ = program;
  return Outcome<Nothing>{Nothing{}, {}};
}

Task<Outcome<Nothing>> Handover::Prepare(std::string program, const ProgressFn& progress) {
  if (pid_ > 0) {
    co_return Outcome<Nothing>{std::nullopt,
                               Failure{FailureKind::kBusy, "an upgrade is under way", ""}};
  }
  progress("starting " + program, 0, 0);
  if (auto started = Start(program); !started.value) co_return started;
  // Answers within the patience; nothing: none came, and `why` says how.
  struct Waiting {
    boost::asio::posix::stream_descriptor socket;
    boost::asio::steady_timer deadline;
    bool late = false;
  };
  auto await = [](boost::asio::any_io_executor executor, int fd, std::chrono::seconds patience,
                  bool* late) -> Task<std::optional<Message>> {
    // A handler that is due already is not cancelled: it may run when we are gone.
    const std::shared_ptr<Waiting> waiting(
        new Waiting{boost::asio::posix::stream_descriptor(executor, dup(fd)),
                    boost::asio::steady_timer(executor, patience)});
    waiting->deadline.async_wait([waiting](const boost::system::error_code& error) {
      if (error) return;
      waiting->late = true;
      waiting->socket.cancel();
    });
    boost::system::error_code failed;
    co_await waiting->socket.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        boost::asio::redirect_error(boost::asio::use_awaitable, failed));
    waiting->deadline.cancel();
    *late = waiting->late;
    if (failed) co_return std::nullopt;
    co_return Receive(fd, nullptr);
  };
  bool late = false;
  const auto hello = co_await await(executor_, socket_.get(), kHelloPatience, &late);
  if (!hello || hello->step != Step::kHello) {
    co_return Give(FailureKind::kHost, program + (late ? " does not say hello"
                                                       : " ended, or is no airstored that can "
                                                         "take over"));
  }
  if (const std::string missing = MissingCapabilities(hello->capabilities, kCapabilities);
      !missing.empty()) {
    co_return Give(FailureKind::kHost, program + " (airstore " + hello->version +
                                           ") cannot take over from airstore " AIRSTORE_VERSION
                                           ": it does not know these " +
                                           missing);
  }
  if (const std::string missing = MissingCapabilities(kCapabilities, hello->needs);
      !missing.empty()) {
    co_return Give(FailureKind::kHost,
                   program + " (airstore " + hello->version +
                       ") needs what airstore " AIRSTORE_VERSION " does not leave: " + missing);
  }
  progress("airstore " + std::string(hello->version) + " looks at what there is", 0, 0);
  if (!Send(socket_.get(), MessageOf(Step::kHello), {})) {
    co_return Give(FailureKind::kHost, program + " ended before it was ready");
  }
  const auto ready = co_await await(executor_, socket_.get(), kReadyPatience, &late);
  if (!ready) {
    co_return Give(FailureKind::kHost,
                   program + (late ? " does not get ready" : " ended before it was ready"));
  }
  if (ready->step != Step::kReady) {
    co_return Give(FailureKind::kHost, program + " refuses: " + ready->text);
  }
  prepared_ = true;
  co_return Outcome<Nothing>{Nothing{}, {}};
}

bool Handover::Complete(int lock, int control) {
  if (Send(socket_.get(), MessageOf(Step::kGo), {lock, control})) {
    const auto done = ReceiveWithin(socket_.get(), kDoneMs, nullptr);
    if (done && done->step == Step::kDone) {
      spdlog::info("{} (airstore {}) has taken over", program_, done->version);
      pid_ = -1;  // it lives on
      return true;
    }
  }
  spdlog::error("{} did not take over; going on", program_);
  End();
  return false;
}

Successor::Successor(const char* (*getenv)(const char*)) {
  if (const char* socket = getenv(kHandoverVariable)) {
    socket_.reset(atoi(socket));
    (void)fcntl(socket_.get(), F_SETFD, FD_CLOEXEC);
  }
  if (const char* estate = getenv(kEstateVariable)) {
    int lock = -1;
    int control = -1;
    if (sscanf(estate, "%d,%d", &lock, &control) == 2) {
      estate_.lock.reset(lock);
      estate_.control.reset(control);
      (void)fcntl(lock, F_SETFD, FD_CLOEXEC);
      (void)fcntl(control, F_SETFD, FD_CLOEXEC);
    }
  }
  unsetenv(kHandoverVariable);
  unsetenv(kEstateVariable);
}

namespace {

// Who has the lock has written its pid into it.
Result<void> CheckStateDir(const std::string& path, int socket) {
  ucred owner{};
  socklen_t length = sizeof owner;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &owner, &length) != 0) return SysError("ucred");
  pid_t pid = 0;
  std::ifstream(path + "/lock") >> pid;
  if (pid == owner.pid) return {};
  return Error{
      EINVAL, "the running broker has another state_dir than " + path + ": stop it to change that"};
}

}  // namespace

Result<Estate> Successor::TakeOver(const std::string& state_dir,
                                   const std::function<Result<void>()>& check) {
  if (!socket_) return std::move(estate_);
  const int socket = socket_.get();
  if (!Send(socket, MessageOf(Step::kHello), {})) return Error{EPIPE, "the old broker is gone"};
  const auto hello = ReceiveWithin(socket, kGoMs, nullptr);
  if (!hello || hello->step != Step::kHello) return Error{EPIPE, "the old broker does not want us"};
  Result<void> sound = CheckStateDir(state_dir, socket);
  if (sound) sound = check();
  if (sound) sound = CheckSpool(state_dir + "/spool");
  if (const std::string missing = MissingCapabilities(hello->capabilities, kCapabilities);
      sound && !missing.empty()) {
    sound = Error{EPROTO, "the old broker does not leave: " + missing};
  }
  if (!sound) {
    (void)Send(socket, MessageOf(Step::kRefused, sound.error().message), {});
    return sound.error();
  }
  if (!Send(socket, MessageOf(Step::kReady), {})) return Error{EPIPE, "the old broker is gone"};
  std::vector<UniqueFd> fds;
  const auto go = ReceiveWithin(socket, kGoMs, &fds);
  if (!go || go->step != Step::kGo || fds.size() != 2) {
    return Error{EPIPE, "the old broker did not let go"};
  }
  return Estate{std::move(fds[0]), std::move(fds[1])};
}

void Successor::Done() {
  if (socket_) (void)Send(socket_.get(), MessageOf(Step::kDone), {});
  socket_.reset();
}

void StartAnew(const std::vector<std::string>& arguments, int lock, int control) {
  std::vector<std::string> all = {"airstored"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = EnvironmentWith(
      std::string(kEstateVariable) + "=" + std::to_string(lock) + "," + std::to_string(control));
  ClearCloseOnExec(lock);
  ClearCloseOnExec(control);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // Also when the file was replaced meanwhile.
  execve("/proc/self/exe", Pointers(all).data(), Pointers(environment).data());
  spdlog::critical("starting anew: {}", strerror(errno));
  _exit(EXIT_FAILURE);
}

}  // namespace airstore::broker
