// SPDX-License-Identifier: Apache-2.0
#include "broker/content_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <unordered_set>
#include <utility>

#include "broker/clock.h"
#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

constexpr size_t kReadyFiles = 32;   // made ahead
constexpr size_t kSpareFiles = 256;  // kept after use

// What the rest of the process needs: sockets, lanes, frontends.
constexpr size_t kOtherDescriptors = 2048;

size_t OpenLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t most = std::min<size_t>(limit.rlim_cur, 1u << 20);
  return most > 2 * kOtherDescriptors ? most - kOtherDescriptors : most / 2;
}

// Empties the file for its next use. ext4 takes a file that was cut to nothing for one that is
// being replaced, and writes it to the disk at the next close of any descriptor, passthrough opens
// included (auto_da_alloc): a close while there is nothing to write takes the mark off again.
bool Empty(const ContentSlot& slot) {
  if (ftruncate(slot.fd.get(), 0) != 0) return false;
  const UniqueFd closed_at_once(open(slot.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  return true;
}

}  // namespace

// A write lease is only given when nobody else has the file open, maps included; it is the one
// question about that which the kernel answers.
bool HeldElsewhere(int fd) {
  if (fcntl(fd, F_SETLEASE, F_WRLCK) != 0) return true;
  Reach(FaultPoint::kContentLeased);
  fcntl(fd, F_SETLEASE, F_UNLCK);
  return false;
}

int ContentFile::fd() const {
  if (!slot->fd) {
    // What we read is no use of the file: passthrough opens have flags of their own.
    constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOATIME;
    slot->fd = UniqueFd(open(slot->path.c_str(), kFlags | O_NONBLOCK));
    if (!slot->fd && (errno == EWOULDBLOCK || (errno == EPERM && !seal))) {
      // A broker has died while it asked who has the file open, and the kernel keeps its descriptor
      // with the lease. That was given because nobody had: the registration is in nobody's way.
      slot->pool->DropAdoptedBackings(slot);
      UnsealContentFile(slot->path);
      slot->fd = UniqueFd(open(slot->path.c_str(), kFlags));
    } else if (slot->fd) {
      fcntl(slot->fd.get(), F_SETFL, O_RDWR | O_NOATIME);
    }
    if (slot->fd) ++*slot->open_count;
  }
  return slot->fd.get();
}

// A parked file was not held when it was parked, and nobody can have opened it since.
bool ContentFile::HeldElsewhere() const {
  return slot->fd && broker::HeldElsewhere(slot->fd.get());
}

Result<FileStamp> ContentFile::Stamp() const {
  struct stat status {};
  const int got = slot->fd ? fstat(slot->fd.get(), &status) : stat(slot->path.c_str(), &status);
  if (got != 0) return SysError("stat of content file " + slot->path);
  return FileStamp{
      .size = static_cast<uint64_t>(status.st_size),
      .mtime_ns = FromTimespec(status.st_mtim.tv_sec, status.st_mtim.tv_nsec),
      .ctime_ns = FromTimespec(status.st_ctim.tv_sec, status.st_ctim.tv_nsec),
      .allocated_bytes = static_cast<uint64_t>(status.st_blocks) * 512,
  };
}

ContentPool::ContentPool(std::string directory, uint64_t first_number, uint64_t first_id,
                         CloseBacking close_backing, Removing removing)
    : directory_(std::move(directory)),
      close_backing_(std::move(close_backing)),
      removing_(std::move(removing)),
      open_limit_(OpenLimit()),
      next_id_(first_id),
      next_path_(first_number) {}

void ContentPool::Park(ContentSlot* slot) {
  for (const auto& [mount, id] : slot->backing_ids) close_backing_(mount, id);
  slot->backing_ids.clear();
  slot->adopted_backings = false;
  if (slot->fd) --open_count_;
  slot->fd.reset();
}

Result<std::shared_ptr<ContentFile>> ContentPool::Take(uint64_t inode) {
  ContentSlot* slot = nullptr;
  if (!ready_.empty()) {
    slot = ready_.back();
    ready_.pop_back();
  } else {
    auto made = MakeSlot();
    if (!made) return made.error();
    slot = *made;
  }
  return Give(new ContentFile{.id = next_id_++, .inode = inode, .slot = slot});
}

std::shared_ptr<ContentFile> ContentPool::Give(ContentFile* file) {
  return std::shared_ptr<ContentFile>(file, [this, closed = closed_](ContentFile* used) {
    if (!*closed) Return(*used);
    delete used;
  });
}

std::shared_ptr<ContentFile> ContentPool::Adopt(uint64_t inode, uint64_t number, uint64_t id) {
  return Give(new ContentFile{.id = id, .inode = inode, .slot = AddSlot(number)});
}

void ContentPool::RemoveOthers() {
  std::unordered_set<std::string> ours;
  for (const auto& [number, slot] : slots_) ours.insert(std::to_string(number));
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, failed)) {
    if (!ours.contains(entry.path().filename())) std::filesystem::remove(entry.path(), failed);
  }
}

void ContentPool::DropAdoptedBackings(ContentSlot* slot) {
  if (!slot->adopted_backings) return;
  for (const auto& [mount, id] : slot->backing_ids) close_backing_(mount, id);
  slot->backing_ids.clear();
  slot->adopted_backings = false;
}

std::shared_ptr<PendingSeal> ContentPool::Seal(ContentFile* file) {
  file->seal = std::make_shared<PendingSeal>(file->slot->path);
  return file->seal;
}

void ContentPool::Unseal(ContentFile* file) {
  if (const auto seal = std::exchange(file->seal, nullptr)) seal->CallOff();
}

bool ContentPool::Refill() {
  if (ready_.size() >= kReadyFiles) return false;
  auto made = MakeSlot();
  if (!made) return false;
  ready_.push_back(*made);
  return ready_.size() < kReadyFiles;
}

void ContentPool::ForgetMount(uint32_t mount) {
  for (const auto& [number, slot] : slots_) {
    std::erase_if(slot->backing_ids, [mount](const auto& entry) { return entry.first == mount; });
  }
}

ContentSlot* ContentPool::AddSlot(uint64_t number) {
  auto slot = std::make_unique<ContentSlot>();
  slot->number = number;
  slot->path = directory_ + "/" + std::to_string(number);
  slot->pool = this;
  slot->open_count = &open_count_;
  ContentSlot* added = slot.get();
  slots_.emplace(added->number, std::move(slot));
  return added;
}

Result<ContentSlot*> ContentPool::MakeSlot() {
  auto slot = std::make_unique<ContentSlot>();
  slot->number = next_path_++;
  slot->path = directory_ + "/" + std::to_string(slot->number);
  slot->fd = UniqueFd(open(slot->path.c_str(),
                           O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOATIME,
                           S_IRUSR | S_IWUSR));
  if (!slot->fd) return SysError("create content file " + slot->path);
  slot->pool = this;
  slot->open_count = &open_count_;
  ++open_count_;
  ContentSlot* made = slot.get();
  slots_.emplace(made->number, std::move(slot));
  return made;
}

void ContentPool::Return(const ContentFile& used) {
  ContentSlot* slot = used.slot;
  if (used.seal) used.seal->CallOff();
  const bool held = !used.needed && hold_ && hold_(used);
  // Who still maps it keeps what is in it: such a file is not used again.
  const bool spare = !used.needed && !held && !used.given_away && ready_.size() < kSpareFiles &&
                     slot->fd && !broker::HeldElsewhere(slot->fd.get());
  if (spare) removing_(used);
  if (spare && Empty(*slot)) {
    ready_.push_back(slot);
    return;
  }
  Park(slot);
  if (!used.needed) {
    removing_(used);
    if (!held) unlink(slot->path.c_str());
  }
  slots_.erase(slot->number);
}

}  // namespace airstore::broker
