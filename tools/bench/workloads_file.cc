// SPDX-License-Identifier: Apache-2.0
//
// Workloads on one large file. All of them share that file per target; each block's generation is
// remembered, so every read knows what it must find.
//
// "Cold" means that the FUSE mount's own pages are dropped (fadvise on the FUSE file) while
// whatever its server keeps stays warm. Baselines keep their pages: they are the memory speed to
// compare with.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "shm/base/fd.h"
#include "tools/bench/block_pattern.h"
#include "tools/bench/drop_caches.h"
#include "tools/bench/statistics.h"
#include "tools/bench/workload.h"

namespace airstore::bench {
namespace {

constexpr uint64_t kMostRandomOps = 50'000;

Error WrongData(const std::string& path, uint64_t block) {
  return Error{EIO, "wrong data in " + path + " at block " + std::to_string(block)};
}

class LargeFile {
 public:
  LargeFile(const Target& target, uint64_t blocks, const BlockPattern* pattern)
      : path_("large.dat"),
        is_fuse_(target.is_fuse),
        pattern_(pattern),
        buffer_(pattern->NewBuffer()),
        generations_(blocks) {}

  uint64_t blocks() const { return generations_.size(); }

  Result<UniqueFd> Open(int flags) const {
    UniqueFd fd(open(path_.c_str(), flags | O_CLOEXEC, 0644));
    if (!fd) return SysError("open " + path_);
    return fd;
  }

  Result<void> DropKernelPages() const {
    if (!is_fuse_) return {};
    auto fd = Open(O_RDONLY);
    if (!fd) return fd.error();
    const int error = posix_fadvise(fd->get(), 0, 0, POSIX_FADV_DONTNEED);
    if (error != 0) return SysError("fadvise " + path_, error);
    return {};
  }

  // Reads it in 1 MiB pieces; every byte is checked, or only the stamps.
  Result<void> ReadAll(bool every_byte) {
    auto fd = Open(O_RDONLY);
    if (!fd) return fd.error();
    for (uint64_t block = 0; block < blocks(); block += kPatternBlocks) {
      if (read(fd->get(), buffer_.data(), kPatternBytes) != ssize_t{kPatternBytes}) {
        return SysError("read " + path_);
      }
      for (uint64_t i = 0; i < kPatternBlocks; ++i) {
        const char* data = buffer_.data() + i * kBlockBytes;
        const uint32_t generation = generations_[block + i];
        const bool good = every_byte ? pattern_->CheckBlock(data, block + i, generation)
                                     : BlockPattern::HasStamp(data, block + i, generation);
        if (!good) return WrongData(path_, block + i);
      }
    }
    return {};
  }

  Result<void> WriteAll(int flags) {
    auto fd = Open(O_WRONLY | flags);
    if (!fd) return fd.error();
    ++generation_;
    for (uint64_t block = 0; block < blocks(); block += kPatternBlocks) {
      for (uint64_t i = 0; i < kPatternBlocks; ++i) {
        generations_[block + i] = generation_;
        BlockPattern::Stamp(buffer_.data() + i * kBlockBytes, block + i, generation_);
      }
      if (write(fd->get(), buffer_.data(), kPatternBytes) != ssize_t{kPatternBytes}) {
        return SysError("write " + path_);
      }
    }
    return {};
  }

  Result<void> ReadBlock(int fd, uint64_t block) {
    if (pread(fd, buffer_.data(), kBlockBytes, static_cast<off_t>(block * kBlockBytes)) !=
        ssize_t{kBlockBytes}) {
      return SysError("read " + path_);
    }
    if (!BlockPattern::HasStamp(buffer_.data(), block, generations_[block])) {
      return WrongData(path_, block);
    }
    return {};
  }

  Result<void> WriteBlock(int fd, uint64_t block, uint32_t generation) {
    char* data = buffer_.data() + block % kPatternBlocks * kBlockBytes;
    BlockPattern::Stamp(data, block, generation);
    generations_[block] = generation;
    if (pwrite(fd, data, kBlockBytes, static_cast<off_t>(block * kBlockBytes)) !=
        ssize_t{kBlockBytes}) {
      return SysError("write " + path_);
    }
    return {};
  }
  uint32_t NextGeneration() { return ++generation_; }
  // Reads leave other content in the buffer that writes take their noise from.
  void ResetBuffer() { buffer_ = pattern_->NewBuffer(); }

  // After a timed write: the data is right, and nothing is left to be written back while another
  // target is measured.
  Result<void> CheckAndSettle() {
    auto fd = Open(O_WRONLY);
    if (!fd) return fd.error();
    if (fsync(fd->get()) != 0) return SysError("fsync " + path_);
    AIRSTORE_TRY(DropKernelPages());
    return ReadAll(true);
  }

 private:
  const std::string path_;
  const bool is_fuse_;
  const BlockPattern* const pattern_;
  std::vector<char> buffer_;
  std::vector<uint32_t> generations_;
  uint32_t generation_ = 0;
};

// The large file of each target; made when the first workload asks for it.
class LargeFiles {
 public:
  explicit LargeFiles(uint64_t mib) : blocks_(mib * kPatternBlocks) {}

  Result<void> Prepare(const Target& target) {
    if (files_.contains(target.name)) return {};
    LargeFile& file = files_.try_emplace(target.name, target, blocks_, &pattern_).first->second;
    AIRSTORE_TRY(file.WriteAll(O_CREAT | O_TRUNC));
    return file.CheckAndSettle();
  }
  LargeFile& Of(const Target& target) { return files_.at(target.name); }
  uint64_t bytes() const { return blocks_ * kBlockBytes; }
  uint64_t random_ops() const { return std::min(blocks_, kMostRandomOps); }

  // Distinct blocks, the same for all targets of a round: a page read twice would be a kernel cache
  // hit the second time.
  std::vector<uint64_t> RandomBlocks(unsigned round) const {
    std::vector<uint64_t> order(blocks_);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(round + 1));
    order.resize(random_ops());
    return order;
  }

 private:
  const uint64_t blocks_;
  const BlockPattern pattern_;
  std::map<std::string, LargeFile> files_;
};

class FileWorkload : public Workload {
 public:
  // Sharers: the workloads of one run.
  FileWorkload(const char* name, std::shared_ptr<LargeFiles> files)
      : name_(name), files_(std::move(files)) {}
  const char* name() const override { return name_; }
  Result<void> Prepare(const Target& target) override { return files_->Prepare(target); }

 protected:
  LargeFile& FileOf(const Target& target) { return files_->Of(target); }
  LargeFiles& files() { return *files_; }
  double MibPerSecond(double seconds) const {
    return static_cast<double>(files_->bytes()) / (1 << 20) / seconds;
  }
  double OpsPerSecond(double seconds) const {
    return static_cast<double>(files_->random_ops()) / seconds;
  }

 private:
  const char* const name_;
  const std::shared_ptr<LargeFiles> files_;
};

class SequentialRead final : public FileWorkload {
 public:
  enum class Cache { kWarm, kCold };
  SequentialRead(const char* name, Cache cache, std::shared_ptr<LargeFiles> files)
      : FileWorkload(name, std::move(files)), cache_(cache) {}
  const char* unit() const override { return "MiB/s"; }

  Result<double> Run(const Target& target, unsigned /*round*/) override {
    LargeFile& file = FileOf(target);
    if (cache_ == Cache::kCold) {
      if (auto dropped = file.DropKernelPages(); !dropped) return dropped.error();
    } else if (auto primed = file.ReadAll(false); !primed) {
      return primed.error();
    }
    const Stopwatch watch;
    if (auto done = file.ReadAll(false); !done) return done.error();
    return MibPerSecond(watch.seconds());
  }

 private:
  const Cache cache_;
};

class SequentialWrite final : public FileWorkload {
 public:
  explicit SequentialWrite(std::shared_ptr<LargeFiles> files)
      : FileWorkload("seq_write_1m", std::move(files)) {}
  const char* unit() const override { return "MiB/s"; }

  Result<double> Run(const Target& target, unsigned /*round*/) override {
    LargeFile& file = FileOf(target);
    file.ResetBuffer();
    if (auto dropped = file.DropKernelPages(); !dropped) return dropped.error();
    const Stopwatch watch;  // with the close: an application waits for it too
    if (auto done = file.WriteAll(0); !done) return done.error();
    const double seconds = watch.seconds();
    if (auto good = file.CheckAndSettle(); !good) return good.error();
    return MibPerSecond(seconds);
  }
};

class RandomRead final : public FileWorkload {
 public:
  explicit RandomRead(std::shared_ptr<LargeFiles> files)
      : FileWorkload("rand_read_4k", std::move(files)) {}
  const char* unit() const override { return "op/s"; }

  Result<double> Run(const Target& target, unsigned round) override {
    LargeFile& file = FileOf(target);
    const std::vector<uint64_t> order = files().RandomBlocks(round);
    if (auto dropped = file.DropKernelPages(); !dropped) return dropped.error();
    auto fd = file.Open(O_RDONLY);
    if (!fd) return fd.error();
    const Stopwatch watch;
    for (const uint64_t block : order) {
      if (auto done = file.ReadBlock(fd->get(), block); !done) return done.error();
    }
    return OpsPerSecond(watch.seconds());
  }
};

// The kernel keeps what was written at once in pieces as large as it had room for, and on ext4 a
// small write into a piece of 4 MiB takes six times as long as into one of 4 KiB. So that a chance
// of earlier is not compared: the first pass makes the pieces anew. Needs root; without it, chance
// decides.
Result<void> ForgetCleanPages() {
  if (geteuid() != 0) return {};
  sync();
  return DropCache(KernelCache::kCleanPages);
}

class RandomWrite final : public FileWorkload {
 public:
  explicit RandomWrite(std::shared_ptr<LargeFiles> files)
      : FileWorkload("rand_write_4k", std::move(files)) {}
  const char* unit() const override { return "op/s"; }

  Result<double> Run(const Target& target, unsigned round) override {
    LargeFile& file = FileOf(target);
    const std::vector<uint64_t> order = files().RandomBlocks(round);
    file.ResetBuffer();
    if (auto dropped = file.DropKernelPages(); !dropped) return dropped.error();
    if (auto forgotten = ForgetCleanPages(); !forgotten) return forgotten.error();
    std::vector<double> seconds;
    {
      auto fd = file.Open(O_WRONLY);
      if (!fd) return fd.error();
      // Over the same blocks again and again, all but the first time measured: the first turns
      // clean pages dirty, and on a disk file system that is the cost of its journal, which varies
      // with the disk. The kernel writes pages out when it likes; the median pass is one it was not
      // in.
      for (int pass = 0; pass <= kMeasuredPasses; ++pass) {
        const uint32_t generation = file.NextGeneration();
        const Stopwatch watch;
        for (const uint64_t block : order) {
          if (auto done = file.WriteBlock(fd->get(), block, generation); !done) {
            return done.error();
          }
        }
        if (pass > 0) seconds.push_back(watch.seconds());
      }
    }
    if (auto good = file.CheckAndSettle(); !good) return good.error();
    return OpsPerSecond(Summarize(seconds).median);
  }

 private:
  static constexpr int kMeasuredPasses = 5;
};

}  // namespace

void AddFileWorkloads(const WorkloadOptions& options, std::vector<std::unique_ptr<Workload>>* out) {
  using Cache = SequentialRead::Cache;
  const auto files = std::make_shared<LargeFiles>(options.file_mib);
  out->push_back(std::make_unique<SequentialRead>("warm_read_1m", Cache::kWarm, files));
  out->push_back(std::make_unique<SequentialRead>("seq_read_1m", Cache::kCold, files));
  out->push_back(std::make_unique<SequentialWrite>(files));
  out->push_back(std::make_unique<RandomRead>(files));
  out->push_back(std::make_unique<RandomWrite>(files));
}

}  // namespace airstore::bench
