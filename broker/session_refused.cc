// SPDX-License-Identifier: Apache-2.0
//
// What the gateway refuses for good, in a session that lives: into lost+found, status and log.
#include <fcntl.h>
#include <linux/fs.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "broker/clock.h"
#include "broker/content_copy.h"
#include "broker/mutation_names.h"
#include "broker/session.h"
#include "shm/request_rules.h"

namespace airstore::broker {
namespace {

// Refusals seldom come alone.
constexpr auto kLinger = std::chrono::milliseconds(20);
constexpr int kLingerShare = 9;  // at most a tenth of the time goes into writing
constexpr size_t kRefusedNames = 1u << 16;

// The worker is everybody's: so much data is copied before others have their turn.
constexpr uint64_t kCopiedAtOnce = 64u << 20;

// A file on its way to another name, holes as holes. Any thread, one at a time.
class Moving {
 public:
  Moving(std::string from, std::string to, bool move)
      : from_(std::move(from)), to_(std::move(to)), move_(move) {}

  // False: it is over.
  bool Step() {
    if (!target_) return Begin();
    const off_t data = lseek(source_.get(), static_cast<off_t>(done_), SEEK_DATA);
    // A hole takes no time, however long it is.
    uint64_t hole = data < 0 ? 0 : static_cast<uint64_t>(data) - done_;
    if (data < 0 && errno == ENXIO) hole = shm::kGreatestFile;
    const CopiedBytes copied =
        CopyBytes(source_.get(), done_, target_.get(), done_, hole + kCopiedAtOnce);
    done_ += copied.count;
    if (copied.error != 0) return Fail(copied.error);
    return copied.count != 0 || Finish();
  }
  int error() const { return error_; }

 private:
  bool Begin() {
    if (move_ && link(from_.c_str(), to_.c_str()) == 0) return false;
    source_ = UniqueFd(open(from_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!source_) return Fail(errno);
    target_ = UniqueFd(
        open(to_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
    if (!target_) return Fail(errno);
    return ioctl(target_.get(), FICLONE, source_.get()) != 0 || Finish();
  }
  // The original may go as soon as this one is there.
  bool Finish() { return fsync(target_.get()) == 0 ? false : Fail(errno); }
  bool Fail(int error) {
    error_ = error;
    if (target_) unlink(to_.c_str());
    return false;
  }

  const std::string from_;
  const std::string to_;
  const bool move_;
  UniqueFd source_;
  UniqueFd target_;
  uint64_t done_ = 0;
  int error_ = 0;
};

// 0 or errno.
Task<int> PutFile(boost::asio::thread_pool* workers, std::string from, std::string to, bool move) {
  const auto moving = std::make_shared<Moving>(std::move(from), std::move(to), move);
  auto step = [](std::shared_ptr<Moving> what) -> Task<bool> { co_return what->Step(); };
  for (bool more = true; more;) {
    Task<bool> next = step(moving);
    more = co_await boost::asio::co_spawn(workers->get_executor(), std::move(next),
                                          boost::asio::use_awaitable);
  }
  co_return moving->error();
}

}  // namespace

void Session::SetToken(const std::string& token) {
  gateway_->SetToken(token);
  log_->Hurry();
}

void Session::Refused(const Mutation& mutation, const std::vector<uint64_t>& subjects, int error) {
  refused_ =
      std::string("the gateway refused a ") + MutationName(mutation) + ": " + strerror(error);
  ++refusals_;
  spdlog::error("workspace {}: {}", workspace(), refused_);
  // Content goes its own way, and a touch is nothing that could be lost.
  if (!std::holds_alternative<WriteOp>(mutation.op)) {
    LostItem item;
    item.what = MutationName(mutation);
    item.inode = SubjectOf(mutation);
    item.error = error;
    const auto named = [&](uint64_t parent, const std::string& name) {
      item.path = tree_->DirectoryPath(parent) + "/" + name;
    };
    if (const auto* create = std::get_if<CreateOp>(&mutation.op)) {
      named(create->parent, create->name);
      if (refused_names_.size() < kRefusedNames) refused_names_[create->inode] = item.path;
    } else if (const auto* made = std::get_if<LinkOp>(&mutation.op)) {
      named(made->parent, made->name);
    } else if (const auto* gone = std::get_if<UnlinkOp>(&mutation.op)) {
      named(gone->parent, gone->name);
    } else if (const auto* rename = std::get_if<RenameOp>(&mutation.op)) {
      named(rename->new_parent, rename->new_name);
    }
    auto keep = [](Session* self, LostItem what) -> Task<void> {
      if (what.path.empty()) what.path = co_await self->LostPath(what.inode);
      if (auto kept = co_await self->AddLost(std::move(what)); !kept) {
        spdlog::error("lost+found: {}", kept.error().ToString());
      }
    };
    tasks_.Spawn(keep(this, std::move(item)));
  }
  tree_->DropAfterRefusal(mutation, subjects, error);
  if (error == EDQUOT) {  // perhaps a quota that is new here
    statfs_at_ns_ = 0;
    tasks_.Spawn(NoteStatfs());
  }
}

Task<std::string> Session::LostPath(uint64_t inode) {
  std::unordered_set<uint64_t> wanted;
  wanted.insert(inode);
  auto paths = co_await tree_->PathsOf(std::move(wanted));
  if (const auto found = paths.find(inode); found != paths.end()) co_return found->second;
  if (const std::string last = tree_->LastPathOf(inode); !last.empty()) co_return last;
  const auto created = refused_names_.find(inode);
  co_return created == refused_names_.end() ? "inode " + std::to_string(inode) : created->second;
}

Task<Result<std::string>> Session::KeepContent(RefusedContent content) {
  if (content.kept_as.empty()) {
    auto find = [](const LostFound* lost, uint64_t inode, std::string path) -> Task<std::string> {
      co_return lost->FindKept(inode, path);
    };
    Task<std::string> finding = find(&lost_, content.inode, content.path);
    std::string kept = co_await boost::asio::co_spawn(workers_->get_executor(), std::move(finding),
                                                      boost::asio::use_awaitable);
    if (!kept.empty()) co_return kept;
  }
  LostItem item;
  item.id = content.kept_as;
  item.what = "content";
  item.path = co_await LostPath(content.inode);
  item.inode = content.inode;
  item.error = content.error;
  item.size = content.size;
  auto file = lost_.NewFile(content.inode);
  if (!file) co_return file.error();
  item.file = *file;
  const std::string to = lost_.directory() + "/" + item.file;
  const int failed = co_await PutFile(workers_, content.path, to, content.move);
  if (failed != 0) co_return SysError("keep refused content as " + to, failed);
  spdlog::error("workspace {}: the gateway refused the content of {}: {}; it is kept as {}",
                workspace(), item.path, strerror(content.error), to);
  auto added = co_await AddLost(std::move(item));
  if (!added) unlink(to.c_str());
  co_return added;
}

Task<Result<std::string>> Session::AddLost(LostItem item) {
  const auto losing = std::make_shared<Losing>();
  losing->item = std::move(item);
  losing_.push_back(losing);
  if (!std::exchange(writing_lost_, true)) tasks_.Spawn(WriteLost());
  while (!losing->done) co_await lost_written_.Wait();
  if (!*losing->done) co_return losing->done->error();
  co_return losing->item.id;
}

Task<void> Session::WriteLost() {
  // The manifest is written as a whole: the longer it is, the more goes into it at once.
  boost::asio::steady_timer linger(
      executor_, std::max<std::chrono::nanoseconds>(kLinger, kLingerShare * lost_write_took_));
  co_await linger.async_wait(boost::asio::use_awaitable);
  const auto batch = std::move(losing_);
  losing_.clear();
  writing_lost_ = false;
  std::vector<LostItem> items;
  for (const auto& losing : batch) items.push_back(losing->item);
  const int64_t begun_ns = MonotonicNs();
  const auto written = lost_.Add(&items);
  lost_write_took_ = std::chrono::nanoseconds(MonotonicNs() - begun_ns);
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i]->item = std::move(items[i]);
    batch[i]->done = written;
  }
  lost_written_.NotifyAll();
  if (options_.on_lost) options_.on_lost();
}

}  // namespace airstore::broker
