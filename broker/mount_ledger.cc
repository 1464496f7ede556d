// SPDX-License-Identifier: Apache-2.0
#include "broker/mount_ledger.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <unordered_set>

#include "shm/layout.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kMagic = 0x3172656764656c61;  // "aledger1" in memory order
constexpr uint32_t kBackings = 1u << 20;
constexpr size_t kPage = 4096;
constexpr size_t kChunk = 64u << 10;  // of the file: allocated together

size_t RoundUp(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }
size_t BackingsOffset(uint32_t inode_capacity) {
  return kPage + RoundUp(size_t{inode_capacity} * sizeof(MountLedger::Opens));
}
size_t BytesFor(uint32_t inode_capacity) {
  return BackingsOffset(inode_capacity) + kBackings * sizeof(int32_t);
}

// Nobody else looks on while we live: what counts is the order in which memory changes.
void Then() { std::atomic_signal_fence(std::memory_order_seq_cst); }

void Count(MountLedger::Opens* opens, uint32_t mode, int by) {
  const bool writer = (mode & shm::kOpenForWrite) != 0;
  const auto add = [by](uint32_t* count) {
    if (by > 0) {
      ++*count;
    } else if (*count != 0) {
      --*count;
    }
  };
  if ((mode & shm::kOpenModeMask) == shm::kOpenPassthrough) {
    add(&opens->passthrough);
    if (writer) add(&opens->passthrough_writers);
  } else {
    add(&opens->daemon);
    if (writer) add(&opens->daemon_writers);
  }
  if (opens->passthrough == 0) opens->backing_id = 0;
}

}  // namespace

// A change that is being made: how the entry is to be afterwards, or how it was before. It counts
// when `position` is there, which is stored last and taken away first.
struct MountLedger::Change {
  std::atomic<uint64_t> position;
  uint32_t inode_index;
  uint32_t reserved;
  Opens opens;
};

struct MountLedger::Header {
  uint64_t magic;
  uint32_t inode_capacity;
  uint32_t reserved;
  std::atomic<uint64_t> handled;
  Change release;  // the entry as it is to be
  Change open;     // the entry as it was
  std::atomic<uint64_t> begun;
};

std::string MountLedger::FileName(uint32_t mount_index) {
  return "ledger-" + std::to_string(mount_index);
}

MountLedger::MountLedger(UniqueFd file, void* base, size_t bytes, uint32_t inode_capacity)
    : file_(std::move(file)),
      base_(base),
      bytes_(bytes),
      inode_capacity_(inode_capacity),
      allocated_((bytes + kChunk - 1) / kChunk) {}

MountLedger::~MountLedger() { munmap(base_, bytes_); }

MountLedger::Opens* MountLedger::opens() const {
  return reinterpret_cast<Opens*>(static_cast<uint8_t*>(base_) + kPage);
}
int32_t* MountLedger::backings() const {
  return reinterpret_cast<int32_t*>(static_cast<uint8_t*>(base_) + BackingsOffset(inode_capacity_));
}

Result<std::unique_ptr<MountLedger>> MountLedger::Map(UniqueFd file, uint32_t inode_capacity,
                                                      const std::string& path) {
  const size_t bytes = BytesFor(inode_capacity);
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (base == MAP_FAILED) return SysError("map " + path);
  return std::unique_ptr<MountLedger>(
      new MountLedger(std::move(file), base, bytes, inode_capacity));
}

size_t MountLedger::OffsetOf(uint32_t inode_index) const {
  return kPage + size_t{inode_index} * sizeof(Opens);
}

bool MountLedger::Allocated(size_t at) const { return allocated_[at / kChunk]; }

Result<void> MountLedger::Allocate(size_t at) {
  const size_t chunk = at / kChunk;
  if (allocated_[chunk]) return {};
  const size_t begin = chunk * kChunk;
  const size_t length = std::min(kChunk, bytes_ - begin);
  const int failed =
      posix_fallocate(file_.get(), static_cast<off_t>(begin), static_cast<off_t>(length));
  if (failed != 0) return SysError("allocate the ledger of a mount", failed);
  allocated_[chunk] = true;
  allocated_bytes_ += length;
  return {};
}

// An entry may lie across two chunks.
Result<void> MountLedger::Admit(uint32_t inode_index) {
  if (inode_index >= inode_capacity_) return {};
  AIRSTORE_TRY(Allocate(OffsetOf(inode_index)));
  return Allocate(OffsetOf(inode_index) + sizeof(Opens) - 1);
}

Result<std::unique_ptr<MountLedger>> MountLedger::Create(const std::string& path,
                                                         uint32_t inode_capacity) {
  (void)unlink(path.c_str());
  UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return SysError("create " + path);
  if (ftruncate(file.get(), static_cast<off_t>(BytesFor(inode_capacity))) != 0) {
    return SysError("size " + path);
  }
  auto ledger = Map(std::move(file), inode_capacity, path);
  if (!ledger) return ledger;
  AIRSTORE_TRY((*ledger)->Allocate(0));
  Header& header = (*ledger)->header();
  header.inode_capacity = inode_capacity;
  Then();
  header.magic = kMagic;
  return ledger;
}

Result<std::unique_ptr<MountLedger>> MountLedger::Adopt(const std::string& path,
                                                        uint32_t inode_capacity) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return SysError("open " + path);
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return SysError("stat " + path);
  if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() ||
      static_cast<uint64_t>(info.st_size) != BytesFor(inode_capacity)) {
    return Error{EPROTO, path + " is not a ledger of this mount"};
  }
  auto ledger = Map(std::move(file), inode_capacity, path);
  if (!ledger) return ledger;
  AIRSTORE_TRY((*ledger)->Allocate(0));
  (*ledger)->EachWritten(0, (*ledger)->bytes_, [&](size_t from, size_t to) {
    for (size_t at = from; at < to; at = (at / kChunk + 1) * kChunk) (void)(*ledger)->Allocate(at);
  });
  Header& header = (*ledger)->header();
  if (header.magic != kMagic || header.inode_capacity != inode_capacity) {
    return Error{EPROTO, path + " makes no sense"};
  }
  const Change& release = header.release;
  if (const uint64_t position = release.position.load(); position > header.handled.load()) {
    if (release.inode_index < inode_capacity && (*ledger)->Admit(release.inode_index)) {
      (*ledger)->opens()[release.inode_index] = release.opens;
    }
    Then();
    header.handled.store(position);
  }
  (*ledger)->ReadBackings();
  return ledger;
}

uint64_t MountLedger::begun() const { return header().begun.load(std::memory_order_relaxed); }

void MountLedger::Begun(uint64_t position) {
  header().begun.store(position, std::memory_order_release);
}

uint64_t MountLedger::handled() const { return header().handled.load(std::memory_order_relaxed); }

void MountLedger::Handled(uint64_t position) {
  header().handled.store(position, std::memory_order_release);
}

void MountLedger::Write(Change* change, uint64_t position, uint32_t inode_index,
                        const Opens& opens) {
  change->position.store(0, std::memory_order_relaxed);
  Then();
  change->inode_index = inode_index;
  change->opens = opens;
  Then();
  change->position.store(position, std::memory_order_release);
  Then();
}

void MountLedger::Opened(uint64_t position, uint32_t inode_index, uint32_t mode,
                         int32_t backing_id) {
  if (inode_index >= inode_capacity_ || !Admit(inode_index)) return;
  Opens& entry = opens()[inode_index];
  Write(&header().open, position, inode_index, entry);
  Opens after = entry;
  Count(&after, mode, 1);
  if ((mode & shm::kOpenModeMask) == shm::kOpenPassthrough) after.backing_id = backing_id;
  entry = after;
  Then();
}

void MountLedger::Released(uint64_t position, uint32_t inode_index, uint32_t mode) {
  // Of what has no blocks nothing was opened.
  if (inode_index < inode_capacity_ && Allocated(OffsetOf(inode_index)) &&
      Allocated(OffsetOf(inode_index) + sizeof(Opens) - 1)) {
    Opens after = opens()[inode_index];
    Count(&after, mode, -1);
    Write(&header().release, position, inode_index, after);
    opens()[inode_index] = after;
    Then();
  }
  Handled(position);
}

MountLedger::Opens MountLedger::OpensOf(uint32_t inode_index) const {
  const bool known = inode_index < inode_capacity_ && Allocated(OffsetOf(inode_index)) &&
                     Allocated(OffsetOf(inode_index) + sizeof(Opens) - 1);
  return known ? opens()[inode_index] : Opens{};
}

template <typename Look>
void MountLedger::EachWritten(size_t begin, size_t end, Look look) const {
  for (size_t at = begin; at < end;) {
    const off_t data = lseek(file_.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 || static_cast<size_t>(data) >= end) return;
    const off_t hole = lseek(file_.get(), data, SEEK_HOLE);
    const size_t to = hole < 0 ? end : std::min(end, static_cast<size_t>(hole));
    look(static_cast<size_t>(data), to);
    at = to;
  }
}

std::vector<std::pair<uint32_t, MountLedger::Opens>> MountLedger::AllOpens() const {
  std::vector<std::pair<uint32_t, Opens>> all;
  EachWritten(kPage, BackingsOffset(inode_capacity_), [&](size_t from, size_t to) {
    // A range may begin within an entry that the one before has in part.
    auto index = static_cast<uint32_t>((from - kPage) / sizeof(Opens));
    if (!all.empty() && all.back().first >= index) index = all.back().first + 1;
    for (; index < inode_capacity_ && kPage + index * sizeof(Opens) < to; ++index) {
      if (opens()[index].any()) all.emplace_back(index, opens()[index]);
    }
  });
  return all;
}

uint64_t MountLedger::last_opened() const { return header().open.position.load(); }

void MountLedger::CloseAll() {
  for (const auto& [index, unused] : AllOpens()) opens()[index] = Opens{};
}

void MountLedger::TakeBackLastOpened() {
  Change& open = header().open;
  if (open.position.load() == 0 || open.inode_index >= inode_capacity_) return;
  opens()[open.inode_index] = open.opens;
  Then();
  open.position.store(0);
}

void MountLedger::ReadBackings() {
  const size_t begin = BackingsOffset(inode_capacity_);
  EachWritten(begin, bytes_, [&](size_t from, size_t to) {
    for (size_t place = (from - begin) / sizeof(int32_t); place < (to - begin) / sizeof(int32_t);
         ++place) {
      if (const int32_t id = backings()[place]; id != 0) {
        backing_places_[id] = static_cast<uint32_t>(place);
        next_backing_ = static_cast<uint32_t>(place) + 1;
      }
    }
  });
  for (uint32_t place = 0; place < next_backing_; ++place) {
    if (backings()[place] == 0) free_backings_.push_back(place);
  }
}

void MountLedger::AddBacking(int32_t id) {
  uint32_t place = next_backing_;
  if (!free_backings_.empty()) {
    place = free_backings_.back();
    free_backings_.pop_back();
  } else if (next_backing_ == kBackings ||
             !Allocate(BackingsOffset(inode_capacity_) + size_t{place} * sizeof(int32_t))) {
    return;  // a successor will not close it
  } else {
    ++next_backing_;
  }
  backings()[place] = id;
  backing_places_[id] = place;
}

void MountLedger::RemoveBacking(int32_t id) {
  const auto found = backing_places_.find(id);
  if (found == backing_places_.end()) return;
  backings()[found->second] = 0;
  free_backings_.push_back(found->second);
  backing_places_.erase(found);
}

std::vector<int32_t> MountLedger::IdleBackings() const {
  std::unordered_set<int32_t> used;
  for (const auto& [index, opens] : AllOpens()) {
    if (opens.passthrough != 0) used.insert(opens.backing_id);
  }
  std::vector<int32_t> idle;
  for (const auto& [id, place] : backing_places_) {
    if (!used.contains(id)) idle.push_back(id);
  }
  return idle;
}

}  // namespace airstore::broker
