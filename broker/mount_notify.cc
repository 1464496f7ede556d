// SPDX-License-Identifier: Apache-2.0
//
// What a mount's kernel is told of changes that it has not made.
#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/fuse_device.h"
#include "broker/mount.h"
#include "broker/session.h"

namespace airstore::broker {
namespace {

constexpr size_t kPrunedAtOnce = 512;
// For a lookup to be answered, while a name of its directory changes through another mount.
constexpr auto kNamesPatience = std::chrono::milliseconds(100);
constexpr int64_t kFindPatienceNs = 1'000'000'000;
// For an answer to reach the kernel: 50 ms together.
constexpr auto kLookupPause = std::chrono::microseconds(50);
constexpr int kLookups = 10;

}  // namespace

Task<void> Mount::Tell(std::unique_ptr<Notifier>* notifier, std::vector<std::string> messages) {
  const auto self = shared_from_this();
  if (!device_->has_kernel()) co_return;
  if (!*notifier) {
    LaunchOptions launch = LaunchOf("--notify");
    launch.arguments.push_back(options_.spec.mountpoint);  // for those who read the process list
    *notifier = std::make_unique<Notifier>(executor_, std::move(launch), device_->fd());
  }
  co_await (*notifier)->Send(std::move(messages));
}

// The kernel takes the directory's lock for it. What it was told before, by requests that hold the
// lock, it forgets as well; and what is in the listing that such a request brings.
std::shared_ptr<const bool> Mount::StartForgetting(uint64_t parent, std::string name) {
  forgetting_.insert(parent);
  auto done = std::make_shared<bool>(false);
  auto forget = [](std::shared_ptr<Mount> self, uint64_t directory, std::string what,
                   std::shared_ptr<bool> set) -> Task<void> {
    co_await self->ForgetName(directory, std::move(what), std::move(set));
  };
  session_->tasks().Spawn(forget(shared_from_this(), parent, std::move(name), done));
  return done;
}

Task<void> Mount::ForgetName(uint64_t parent, std::string name, std::shared_ptr<bool> done) {
  std::vector<std::string> messages;
  messages.push_back(FuseDevice::InvalEntryMessage(parent, name));
  // The kernel drops the parent's cached listing with a name only if it has that name cached.
  messages.push_back(FuseDevice::InvalDataMessage(parent, 0, 0));
  co_await Tell(&names_notifier_, std::move(messages));
  forgetting_.erase(forgetting_.find(parent));
  *done = true;
  forgot_.NotifyAll();
}

// Who waits for a lock that a request holds which is with us may wait for ever: it may be waiting
// for us, too. A new epoch makes the kernel ask again for every name, without a lock. A request
// that comes later, and holds up what is under way, brings it about as well (Lock()), and so does
// one that waits long for the gateway.
Task<void> Mount::InvalidateName(uint64_t parent, std::string name) {
  const auto self = shared_from_this();
  if (!device_->has_kernel()) co_return;
  const uint64_t before = distrusted_;
  const std::shared_ptr<const bool> done = StartForgetting(parent, std::move(name));
  if (HeldUp()) {
    DistrustNames();  // before Linux 6.16 there are no epochs: the kernel is told, and not waited
                      // for
  } else {
    co_await AwaitForgotten(done, before);
  }
  if (*done) co_return;
  std::vector<std::string> messages;
  messages.push_back(FuseDevice::InvalDataMessage(parent, 0, 0));
  co_await Tell(&notifier_, std::move(messages));
}

// A lookup waits for directories that requests of this mount have locked, which may wait for us.
Task<void> Mount::FindDirectory(std::string path) {
  const auto self = shared_from_this();
  auto find = [](std::shared_ptr<Mount> mount, std::string message) -> Task<Result<void>> {
    // What the kernel is still to forget might be that very name.
    const int64_t until = MonotonicNs() + kFindPatienceNs;
    while (!mount->forgetting_.empty() && MonotonicNs() < until) co_await mount->forgot_.Wait();
    std::vector<std::string> messages;
    messages.push_back(std::move(message));
    co_await mount->Tell(&mount->finder_, std::move(messages));
    co_return Result<void>{};
  };
  const bool held_up = !locked_directories_.empty();
  const int64_t patience_ns = held_up ? 0 : std::chrono::nanoseconds(kNamesPatience).count();
  (void)co_await Before(MonotonicNs() + patience_ns, &session_->tasks(), executor_,
                        find(self, Notifier::LookUpMessage(options_.spec.mountpoint + path)));
}

Task<void> Mount::AwaitForgotten(std::shared_ptr<const bool> done, uint64_t distrusted_before) {
  if (names_awaited_++ == 0) {
    names_timer_.expires_after(kNamesPatience);
    names_timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->DistrustNames();
    });
  }
  while (!*done && distrusted_ == distrusted_before) co_await forgot_.Wait();
  if (--names_awaited_ == 0) names_timer_.cancel();
}

Task<void> Mount::InvalidateData(uint64_t inode, uint64_t offset, uint64_t length,
                                 std::optional<FileEnd> end) {
  std::vector<std::string> messages;
  messages.push_back(FuseDevice::InvalDataMessage(inode, offset, length));
  // Afterwards: a page that has zeros behind the old end must not show them.
  if (end) messages.push_back(FuseDevice::StoreMessage(inode, end->size - 1, {&end->last, 1}));
  co_await Tell(&notifier_, std::move(messages));
}

bool Mount::AnswerRequest(uint64_t unique, int error) {
  return device_->Answer(unique, error).has_value();
}

void Mount::InvalidateAttr(uint64_t inode) { (void)device_->NotifyInvalAttr(inode); }

// A kernel that does not know an inode which is counted as looked up is about to be told of it, or
// has just dropped it. What a frontend that has died had counted stays counted, so not for ever.
Task<void> Mount::ForgetAttributes(uint64_t inode) {
  const auto self = shared_from_this();
  if (!device_->has_kernel()) co_return;
  boost::asio::steady_timer timer(executor_);
  for (int tries = 0; tries < kLookups; ++tries) {
    const auto told = device_->NotifyInvalAttr(inode);
    if (told || told.error().code != ENOENT) co_return;
    const uint32_t index = session_->inodes().IndexOf(inode);
    if (index == shm::kNoIndex || Lookups(index) == 0) co_return;
    timer.expires_after(kLookupPause * (1 << tries));
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

void Mount::InvalidateOwner(uint64_t inode) {
  (void)device_->NotifyInvalAttr(inode);
  DistrustNames();
}

Task<void> Mount::InvalidateAll(RemoteChanges changes) {
  const bool asks_again = changes.names.empty() || DistrustNames();
  std::vector<std::string> messages;
  for (const uint64_t inode : changes.attributes) {
    messages.push_back(FuseDevice::InvalAttrMessage(inode));
  }
  for (const uint64_t inode : changes.data) {
    messages.push_back(FuseDevice::InvalDataMessage(inode, 0, 0));
  }
  for (const uint64_t directory : changes.listings) {
    messages.push_back(FuseDevice::InvalDataMessage(directory, 0, 0));
  }
  if (!asks_again) {  // before Linux 6.16: send it, but do not wait
    std::vector<std::string> names;
    for (const auto& [parent, name] : changes.names) {
      names.push_back(FuseDevice::InvalEntryMessage(parent, name));
    }
    auto tell = [](std::shared_ptr<Mount> self, std::vector<std::string> what) -> Task<void> {
      co_await self->Tell(&self->names_notifier_, std::move(what));
    };
    session_->tasks().Spawn(tell(shared_from_this(), std::move(names)));
  }
  co_await Tell(&notifier_, std::move(messages));
}

bool Mount::DistrustNames() {
  if (!device_->NotifyIncEpoch()) return false;
  ++distrusted_;
  forgot_.NotifyAll();
  return true;
}

Task<void> Mount::Prune(std::vector<uint64_t> inodes) {
  std::vector<std::string> messages;
  for (std::span<const uint64_t> left = inodes; !left.empty();) {
    const auto some = left.first(std::min(left.size(), kPrunedAtOnce));
    messages.push_back(FuseDevice::PruneMessage(some));
    left = left.subspan(some.size());
  }
  co_await Tell(&notifier_, std::move(messages));
}

}  // namespace airstore::broker
