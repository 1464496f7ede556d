// SPDX-License-Identifier: Apache-2.0
//
// Random writes of whole blocks into one file, by write and copy_file_range or by stores to a map.
// Each block says which version of it this is. Log: s BLOCK VERSION before, w BLOCK VERSION after;
// f: all of it is synced.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "shm/base/fd.h"
#include "tests/e2e/support/files.h"
#include "tests/fault/ack_log.h"

namespace airstore::fault {
namespace {

constexpr size_t kBlock = 4096;

size_t BlocksOf(uint64_t seed) {
  constexpr size_t kSizes[] = {6, 14, 40, 300};  // in a slab, about to leave it, larger
  return kSizes[seed % 4];
}

std::string BytesOf(uint64_t seed, size_t block, uint64_t version) {
  if (version == 0) return std::string(kBlock, '\0');
  return e2e::RandomBytes(seed * 1'000'003 + block * 4099 + version, kBlock);
}

std::string Words(const char* event, size_t block, uint64_t version) {
  return std::string(event) + " " + std::to_string(block) + " " + std::to_string(version);
}

class Writer {
 public:
  Writer(AckLog& log, const LoadOrder& order, bool maps)
      : log_(log),
        order_(order),
        maps_(maps),
        path_(order.directory + "/file"),
        versions_(BlocksOf(order.seed), 0),
        random_(order.seed) {}
  ~Writer() { Unmap(); }

  void Run() {
    while (!log_.over() && Step()) usleep(static_cast<useconds_t>(random_() % 600));
  }

 private:
  bool Step() {
    const size_t what = random_() % 100;
    if (!file_ || what < 3) return Reopen();
    if (what < 6) return Sync();
    const size_t block = random_() % versions_.size();
    if (what < 25) return ReadBack(block);
    const uint64_t version = versions_[block] + 1;
    const std::string bytes = BytesOf(order_.seed, block, version);
    log_.Line(Words("s", block, version));
    const auto offset = static_cast<off_t>(block * kBlock);
    if (maps_) {
      memcpy(map_ + offset, bytes.data(), kBlock);
      // Without passthrough a store is the kernel's until it is written back.
      if (!order_.passthrough && msync(map_, Bytes(), MS_SYNC) != 0) return log_.Fail("msync");
    } else {
      const bool copied = random_() % 4 == 0;
      const int fd = copied ? source_.get() : file_.get();
      off64_t from = copied ? 0 : offset;
      off64_t to = offset;
      constexpr auto kWhole = static_cast<ssize_t>(kBlock);
      if (!log_.Write(fd, bytes, from)) return false;
      if (copied) {
        const ssize_t moved = copy_file_range(fd, &from, file_.get(), &to, kBlock, 0);
        if (moved < 0) return log_.Fail("copy");
        if (moved != kWhole) return log_.Wrong("copy of " + std::to_string(moved) + " bytes");
      }
    }
    versions_[block] = version;
    return log_.Ack(Words("w", block, version));
  }

  size_t Bytes() const { return versions_.size() * kBlock; }

  void Unmap() {
    if (map_ != nullptr) munmap(map_, Bytes());
    map_ = nullptr;
  }

  bool Reopen() {
    Unmap();
    if (file_ && close(file_.release()) != 0) return log_.Fail("close");
    file_ = UniqueFd(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!file_) return log_.Fail("open");
    if (!maps_) {
      source_ = UniqueFd(open((path_ + ".source").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
      return source_ ? true : log_.Fail("open");
    }
    if (ftruncate(file_.get(), static_cast<off_t>(Bytes())) != 0) return log_.Fail("ftruncate");
    void* memory = mmap(nullptr, Bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (memory == MAP_FAILED) return log_.Fail("mmap");
    map_ = static_cast<char*>(memory);
    return true;
  }

  bool Sync() {
    if (map_ != nullptr && msync(map_, Bytes(), MS_SYNC) != 0) return log_.Fail("msync");
    if (fsync(file_.get()) != 0) return log_.Fail("fsync");
    return log_.Ack("f");
  }

  bool ReadBack(size_t block) {
    if (versions_[block] == 0) return true;
    std::string found(kBlock, '\0');
    if (maps_) {
      memcpy(found.data(), map_ + block * kBlock, kBlock);
    } else {
      // So that it is not the kernel's copy each time.
      if (block % 2 == 0) posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
      errno = ENODATA;
      const auto offset = static_cast<off_t>(block * kBlock);
      if (pread(file_.get(), found.data(), kBlock, offset) != static_cast<ssize_t>(kBlock)) {
        return log_.Fail("read");
      }
    }
    if (found == BytesOf(order_.seed, block, versions_[block])) return true;
    return log_.Wrong("block " + std::to_string(block) + " is not what was written");
  }

  AckLog& log_;
  const LoadOrder& order_;
  bool maps_;
  std::string path_;
  UniqueFd file_;
  UniqueFd source_;  // of copies
  char* map_ = nullptr;
  std::vector<uint64_t> versions_;
  std::mt19937_64 random_;
};

struct Versions {
  uint64_t started = 0;
  uint64_t written = 0;
  uint64_t synced = 0;
};

// Whether each byte is of one of the versions: what was being written at the time may be both.
bool IsMix(const std::string& found, uint64_t seed, size_t block, uint64_t first, uint64_t last) {
  std::vector<std::string> candidates;
  for (uint64_t version = first; version <= last; ++version) {
    candidates.push_back(BytesOf(seed, block, version));
  }
  for (size_t i = 0; i < found.size(); ++i) {
    bool known = false;
    for (const std::string& candidate : candidates) known = known || candidate[i] == found[i];
    if (!known) return false;
  }
  return true;
}

std::string Check(const LogLines& lines, const std::string& directory, const LoadOrder& order,
                  Kept kept) {
  std::vector<Versions> blocks(BlocksOf(order.seed));
  size_t last = 0;  // blocks that must be there
  for (const auto& words : lines) {
    if (words[0] == "s") blocks.at(std::stoul(words.at(1))).started = std::stoull(words.at(2));
    if (words[0] == "w") blocks.at(std::stoul(words.at(1))).written = std::stoull(words.at(2));
    if (words[0] == "f") {
      for (Versions& block : blocks) block.synced = block.written;
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    if ((kept == Kept::kSynced ? blocks[i].synced : blocks[i].written) != 0) last = i + 1;
  }
  if (last == 0) return "";
  const UniqueFd file(open((directory + "/file").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::string("the file is not there: ") + strerror(errno);
  std::string wrong;
  int told = 0;
  for (size_t i = 0; i < last; ++i) {
    const Versions& block = blocks[i];
    std::string found(kBlock, '\0');
    const ssize_t got = pread(file.get(), found.data(), kBlock, static_cast<off_t>(i * kBlock));
    const uint64_t first = kept == Kept::kSynced ? block.synced : block.written;
    if (got == static_cast<ssize_t>(kBlock) && IsMix(found, order.seed, i, first, block.started)) {
      continue;
    }
    if (++told > 5) continue;
    wrong += "block " + std::to_string(i) + ": " + std::to_string(got) +
             " bytes, and not those of version " + std::to_string(first) + " or later (up to " +
             std::to_string(block.started) + ")";
    for (uint64_t version = 0; version < first; ++version) {
      if (found == BytesOf(order.seed, i, version)) wrong += ": of " + std::to_string(version);
    }
    wrong += "\n";
  }
  if (told > 5) wrong += std::to_string(told) + " blocks in all\n";
  return wrong;
}

}  // namespace

const LoadProgram kBlocksProgram{
    [](AckLog& log, const LoadOrder& order) { Writer(log, order, false).Run(); }, Check};
const LoadProgram kMapsProgram{
    [](AckLog& log, const LoadOrder& order) { Writer(log, order, true).Run(); }, Check};

}  // namespace airstore::fault
