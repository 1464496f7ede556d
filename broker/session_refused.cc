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

#include <chrono>

#include "broker/mutation_names.h"
#include "broker/session.h"

namespace airstore::broker {
namespace {

// Refusals seldom come alone.
constexpr auto kLinger = std::chrono::milliseconds(20);
constexpr size_t kRefusedNames = 1u << 16;

// Any thread. 0 or errno.
int CopyFile(const std::string& from, const std::string& to) {
  const UniqueFd source(open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  const UniqueFd target(
      open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
  if (!source || !target) return errno;
  constexpr size_t kAtOnce = 1u << 26;
  const bool whole = ioctl(target.get(), FICLONE, source.get()) == 0;
  for (;;) {
    const ssize_t copied =
        whole ? 0 : copy_file_range(source.get(), nullptr, target.get(), nullptr, kAtOnce, 0);
    // The original may go as soon as this one is there.
    if (copied == 0 && fsync(target.get()) == 0) return 0;
    if (copied > 0 || (copied < 0 && errno == EINTR)) continue;
    const int error = errno;
    unlink(to.c_str());
    return error;
  }
}

int PutFile(const std::string& from, const std::string& to, bool move) {
  if (move && link(from.c_str(), to.c_str()) == 0) return 0;
  return CopyFile(from, to);
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
    tasks_.Spawn(AskStatfs());
  }
}

Task<std::string> Session::LostPath(uint64_t inode) {
  std::unordered_set<uint64_t> wanted;
  wanted.insert(inode);
  auto paths = co_await tree_->PathsOf(std::move(wanted));
  if (const auto found = paths.find(inode); found != paths.end()) co_return found->second;
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
  auto put = [](std::string from, std::string into, bool move) -> Task<int> {
    co_return PutFile(from, into, move);
  };
  Task<int> putting = put(content.path, to, content.move);
  const int failed = co_await boost::asio::co_spawn(workers_->get_executor(), std::move(putting),
                                                    boost::asio::use_awaitable);
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
  boost::asio::steady_timer linger(executor_, kLinger);
  co_await linger.async_wait(boost::asio::use_awaitable);
  const auto batch = std::move(losing_);
  losing_.clear();
  writing_lost_ = false;
  std::vector<LostItem> items;
  for (const auto& losing : batch) items.push_back(losing->item);
  const auto written = lost_.Add(&items);
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i]->item = std::move(items[i]);
    batch[i]->done = written;
  }
  lost_written_.NotifyAll();
  if (options_.on_lost) options_.on_lost();
}

}  // namespace airstore::broker
