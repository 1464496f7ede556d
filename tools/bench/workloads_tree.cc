// SPDX-License-Identifier: Apache-2.0
//
// Workloads on names and small files. Paths are relative: how deep a target happens to be mounted
// is not what is measured.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <set>

#include "shm/base/fd.h"
#include "tools/bench/block_pattern.h"
#include "tools/bench/drop_caches.h"
#include "tools/bench/workload.h"

namespace airstore::bench {
namespace {

constexpr double kLoopSeconds = 1.0;

Error WrongData(const std::string& path) { return Error{EIO, "wrong data in " + path}; }

std::string Numbered(const std::string& prefix, uint64_t number) {
  char text[24];
  snprintf(text, sizeof(text), "%05llu", static_cast<unsigned long long>(number));
  return prefix + text;
}

Result<void> MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0) return SysError("mkdir " + path);
  return {};
}

Result<void> WriteNewFile(const std::string& path, const char* data, size_t size) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) return SysError("create " + path);
  if (size > 0 && write(fd.get(), data, size) != static_cast<ssize_t>(size)) {
    return SysError("write " + path);
  }
  return {};
}

// Source-tree-like: many small files in many directories, found cold by the kernel but not by
// whoever serves them.
class SmallFiles final : public Workload {
 public:
  SmallFiles() : noise_(pattern_.NewBuffer()), buffer_(kMostBytes + 1) {}
  const char* name() const override { return "small_files"; }
  const char* unit() const override { return "file/s"; }
  unsigned turns() const override { return 4; }
  std::string unavailable() const override {
    if (geteuid() == 0) return {};
    return "dropping dentries and inodes needs root";
  }

  Result<void> Prepare(const Target& /*target*/) override {
    AIRSTORE_TRY(MakeDirectory("small"));
    for (unsigned d = 0; d < kDirectories; ++d) AIRSTORE_TRY(MakeDirectory(Directory(d)));
    for (unsigned i = 0; i < kFiles; ++i) {
      FillContent(i);
      AIRSTORE_TRY(WriteNewFile(Path(i), buffer_.data(), SizeOf(i)));
    }
    for (unsigned i = 0; i < kFiles; ++i) AIRSTORE_TRY(ReadOne(Path(i), i, true));
    return {};
  }

  Result<double> Run(const Target& /*target*/, unsigned round) override {
    const unsigned count = kFiles / turns();
    const unsigned first = round % turns() * count;
    std::vector<std::string> paths;
    for (unsigned i = 0; i < count; ++i) paths.push_back(Path(first + i));
    if (auto dropped = DropDentriesAndInodes(); !dropped) return dropped.error();
    const Stopwatch watch;
    for (unsigned i = 0; i < count; ++i) {
      if (auto done = ReadOne(paths[i], first + i, false); !done) return done.error();
    }
    return count / watch.seconds();
  }

 private:
  static constexpr unsigned kFiles = 20'000;
  static constexpr unsigned kDirectories = 200;
  static constexpr size_t kLeastBytes = 1 << 10;
  static constexpr size_t kMostBytes = 16 << 10;

  static std::string Directory(unsigned number) { return Numbered("small/d", number); }
  static std::string Path(unsigned number) {
    return Numbered(Directory(number % kDirectories) + "/f", number);
  }
  static size_t SizeOf(unsigned number) {
    return kLeastBytes + Mix(number) % (kMostBytes - kLeastBytes + 1);
  }

  void FillContent(unsigned number) {
    const size_t size = SizeOf(number);
    memcpy(buffer_.data(), noise_.data(), size);
    BlockPattern::Stamp(buffer_.data(), number, 0);
    BlockPattern::Stamp(buffer_.data() + size - sizeof(uint64_t), number, 1);
  }

  Result<void> ReadOne(const std::string& path, unsigned number, bool every_byte) {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return SysError("open " + path);
    const size_t size = SizeOf(number);
    const ssize_t got = read(fd.get(), buffer_.data(), buffer_.size());
    if (got < 0) return SysError("read " + path);
    if (static_cast<size_t>(got) != size || !BlockPattern::HasStamp(buffer_.data(), number, 0) ||
        !BlockPattern::HasStamp(buffer_.data() + size - sizeof(uint64_t), number, 1)) {
      return WrongData(path);
    }
    constexpr size_t kStamp = sizeof(uint64_t);
    if (every_byte &&
        memcmp(buffer_.data() + kStamp, noise_.data() + kStamp, size - 2 * kStamp) != 0) {
      return WrongData(path);
    }
    return {};
  }

  // A FUSE inode goes with its dentry and takes its pages along, so this makes every FUSE mount
  // equally cold, while the memory its server holds stays. Repeated because the first pass only
  // clears the "recently used" marks.
  static Result<void> DropDentriesAndInodes() {
    for (int pass = 0; pass < 3; ++pass) {
      AIRSTORE_TRY(DropCache(KernelCache::kDentriesAndInodes));
    }
    return {};
  }

  const BlockPattern pattern_;
  const std::vector<char> noise_;
  std::vector<char> buffer_;
};

class CreateCycle final : public Workload {
 public:
  const char* name() const override { return "create_cycle"; }
  const char* unit() const override { return "op/s"; }
  unsigned turns() const override { return 10; }
  Result<void> Prepare(const Target& /*target*/) override { return MakeDirectory("create"); }

  Result<double> Run(const Target& /*target*/, unsigned round) override {
    const std::string prefix = Numbered("create/r", round) + "-";
    const Stopwatch watch;
    uint64_t count = 0;
    while (watch.seconds() < kLoopSeconds / turns()) {
      const std::string path = Numbered(prefix, count++);
      if (auto done = WriteNewFile(path, data_.data(), kBlockBytes); !done) return done.error();
      if (unlink(path.c_str()) != 0) return SysError("unlink " + path);
    }
    const double rate = static_cast<double>(count) / watch.seconds();
    if (auto good = CheckOne(prefix + "check"); !good) return good.error();
    return rate;
  }

 private:
  Result<void> CheckOne(const std::string& path) const {
    AIRSTORE_TRY(WriteNewFile(path, data_.data(), kBlockBytes));
    std::vector<char> got(kBlockBytes + 1);
    {
      const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd) return SysError("open " + path);
      if (read(fd.get(), got.data(), got.size()) != ssize_t{kBlockBytes} ||
          memcmp(got.data(), data_.data(), kBlockBytes) != 0) {
        return WrongData(path);
      }
    }
    if (unlink(path.c_str()) != 0) return SysError("unlink " + path);
    if (access(path.c_str(), F_OK) == 0) return Error{EEXIST, path + " is still there"};
    return {};
  }

  const std::vector<char> data_ = BlockPattern().NewBuffer();
};

// One directory of many empty files, shared by the workloads about names.
class NameDirectory {
 public:
  NameDirectory(std::string path, unsigned count) : path_(std::move(path)) {
    for (unsigned i = 0; i < count; ++i) {
      names_.push_back(Numbered(path_ + "/some-source-file-", i));
    }
  }
  Result<void> Prepare(const Target& target) {
    if (!prepared_.insert(target.name).second) return {};
    AIRSTORE_TRY(MakeDirectory(path_));
    for (const std::string& name : names_) AIRSTORE_TRY(WriteNewFile(name, nullptr, 0));
    return {};
  }
  const std::string& path() const { return path_; }
  const std::vector<std::string>& names() const { return names_; }  // paths

 private:
  const std::string path_;
  std::vector<std::string> names_;
  std::set<std::string> prepared_;
};

class NameWorkload : public Workload {
 public:
  // Sharers: the workloads of one run.
  explicit NameWorkload(std::shared_ptr<NameDirectory> names) : names_(std::move(names)) {}
  Result<void> Prepare(const Target& target) override { return names_->Prepare(target); }

  // Calls of one pass, repeated for about a second of a round after one that warms the caches.
  Result<double> Run(const Target& /*target*/, unsigned /*round*/) override {
    if (auto warm = Pass(); !warm) return warm.error();
    const Stopwatch watch;
    double calls = 0;
    while (watch.seconds() < kLoopSeconds / turns()) {
      auto done = Pass();
      if (!done) return done.error();
      calls += *done;
    }
    return calls / watch.seconds();
  }

 protected:
  virtual Result<double> Pass() = 0;
  const NameDirectory& directory() const { return *names_; }

 private:
  const std::shared_ptr<NameDirectory> names_;
};

class StatCached final : public NameWorkload {
 public:
  using NameWorkload::NameWorkload;
  const char* name() const override { return "stat_cached"; }
  const char* unit() const override { return "op/s"; }
  unsigned turns() const override { return 20; }

 private:
  Result<double> Pass() override {
    for (const std::string& path : directory().names()) {
      struct stat attributes;
      if (stat(path.c_str(), &attributes) != 0) return SysError("stat " + path);
      if (!S_ISREG(attributes.st_mode) || attributes.st_size != 0) return WrongData(path);
    }
    return static_cast<double>(directory().names().size());
  }
};

class ReadDirectory final : public NameWorkload {
 public:
  ReadDirectory(const char* name, std::shared_ptr<NameDirectory> names)
      : NameWorkload(std::move(names)), name_(name) {}
  const char* name() const override { return name_; }
  const char* unit() const override { return "list/s"; }

 private:
  Result<double> Pass() override {
    const std::string& path = directory().path();
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(path.c_str()), closedir);
    if (!entries) return SysError("opendir " + path);
    unsigned count = 0;
    errno = 0;
    while (readdir(entries.get()) != nullptr) ++count;
    if (errno != 0) return SysError("readdir " + path);
    if (count != directory().names().size() + 2) {
      return Error{EIO, path + " lists " + std::to_string(count) + " entries"};
    }
    return 1.0;
  }

  const char* const name_;
};

}  // namespace

void AddTreeWorkloads(std::vector<std::unique_ptr<Workload>>* out) {
  const auto names = std::make_shared<NameDirectory>("names", 10'000);
  const auto many_names = std::make_shared<NameDirectory>("many-names", 100'000);
  out->push_back(std::make_unique<SmallFiles>());
  out->push_back(std::make_unique<CreateCycle>());
  out->push_back(std::make_unique<StatCached>(names));
  out->push_back(std::make_unique<ReadDirectory>("readdir_10k", names));
  out->push_back(std::make_unique<ReadDirectory>("readdir_100k", many_names));
}

}  // namespace airstore::bench
