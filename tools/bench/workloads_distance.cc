// SPDX-License-Identifier: Apache-2.0
//
// Workloads whose time depends on what a change costs over distance: many small changes, by real
// programs, from sources that are made here. Rates, so that a slow target can be given fewer.
#include <filesystem>
#include <fstream>

#include "tools/bench/block_pattern.h"
#include "tools/bench/process.h"
#include "tools/bench/workload.h"

namespace airstore::bench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kSlowPart = 100;  // of its work is what a slow target is given
constexpr unsigned kFilesPerDirectory = 50;

Result<void> RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return Error{error.value(), "remove " + path};
  return {};
}

// `count` files of about `mean_bytes` that do not compress, in directories.
Result<void> MakeTree(const std::string& root, unsigned count, uint64_t mean_bytes) {
  const std::vector<char> noise = BlockPattern().NewBuffer();
  for (unsigned i = 0; i < count; ++i) {
    const std::string directory = root + "/d" + std::to_string(i / kFilesPerDirectory);
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) return Error{error.value(), "mkdir " + directory};
    const std::string path = directory + "/f" + std::to_string(i);
    const uint64_t size = mean_bytes / 2 + Mix(i) % mean_bytes;
    std::ofstream file(path, std::ios::binary);
    file << i << '\n';
    file.write(noise.data() + Mix(i + count) % (noise.size() - size), static_cast<int64_t>(size));
    if (!file.flush()) return Error{EIO, "write " + path};
  }
  return {};
}

Result<void> Git(const std::string& directory, std::vector<std::string> arguments) {
  std::vector<std::string> argv{"git",
                                "-c",
                                "safe.directory=*",
                                "-c",
                                "user.name=bench",
                                "-c",
                                "user.email=bench",
                                "-c",
                                "gc.auto=0",
                                "-C",
                                directory};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return RunCommand(std::move(argv));
}

// Brings a source, in full or the small part of it, to a target by a program.
class DistanceWorkload : public Workload {
 public:
  DistanceWorkload(const char* name, const std::string& scratch)
      : name_(name), sources_(scratch + "/" + name) {}
  const char* name() const override { return name_; }

  Result<void> Prepare(const Target& target) override {
    const std::string source = Source(target);
    if (fs::exists(source)) return {};
    std::error_code error;
    fs::create_directories(source, error);
    if (error) return Error{error.value(), "mkdir " + source};
    return MakeSource(source, target.is_slow ? kSlowPart : 1);
  }

  Result<double> Run(const Target& target, unsigned /*round*/) override {
    const std::string place = target.dir + "/" + name_;
    const std::string source = Source(target);
    const Stopwatch watch;
    if (auto done = Work(source, place); !done) return done.error();
    const double seconds = watch.seconds();
    if (auto good = Check(source, place); !good) return good.error();
    if (auto gone = RemoveTree(place); !gone) return gone.error();
    return Amount(target.is_slow ? kSlowPart : 1) / seconds;
  }

 protected:
  // `part`: one of so many parts of the whole.
  virtual Result<void> MakeSource(const std::string& source, unsigned part) = 0;
  virtual Result<void> Work(const std::string& source, const std::string& place) = 0;
  virtual Result<void> Check(const std::string& source, const std::string& place) = 0;
  virtual double Amount(unsigned part) const = 0;

 private:
  std::string Source(const Target& target) const {
    return sources_ + (target.is_slow ? "-part" : "-whole");
  }

  const char* const name_;
  const std::string sources_;
};

class Unpack final : public DistanceWorkload {
 public:
  explicit Unpack(const std::string& scratch) : DistanceWorkload("unpack_10k", scratch) {}
  const char* unit() const override { return "file/s"; }

 private:
  static constexpr unsigned kFiles = 10'000;
  static constexpr uint64_t kMeanBytes = 3000;

  Result<void> MakeSource(const std::string& source, unsigned part) override {
    AIRSTORE_TRY(MakeTree(source + "/tree", kFiles / part, kMeanBytes));
    return RunCommand({"tar", "-cf", source + "/tree.tar", "-C", source, "tree"});
  }
  Result<void> Work(const std::string& source, const std::string& place) override {
    std::error_code error;
    if (!fs::create_directory(place, error)) return Error{error.value(), "mkdir " + place};
    return RunCommand({"tar", "-xf", source + "/tree.tar", "-C", place});
  }
  Result<void> Check(const std::string& source, const std::string& place) override {
    return RunCommand({"diff", "-rq", source + "/tree", place + "/tree"});
  }
  double Amount(unsigned part) const override { return kFiles / part; }
};

// From a repository of loose objects: a file is made, filled and moved for each of them.
class Clone final : public DistanceWorkload {
 public:
  explicit Clone(const std::string& scratch) : DistanceWorkload("clone_50m", scratch) {}
  const char* unit() const override { return "MiB/s"; }

 private:
  static constexpr unsigned kFiles = 2000;
  static constexpr uint64_t kMeanBytes = 26'000;

  Result<void> MakeSource(const std::string& source, unsigned part) override {
    AIRSTORE_TRY(MakeTree(source, kFiles / part, kMeanBytes));
    AIRSTORE_TRY(Git(source, {"init", "-q", "."}));
    AIRSTORE_TRY(Git(source, {"add", "-A"}));
    return Git(source, {"commit", "-q", "-m", "tree"});
  }
  // Without hard links: they cannot cross file systems.
  Result<void> Work(const std::string& source, const std::string& place) override {
    return Git("/", {"clone", "-q", "--local", "--no-hardlinks", "--template=", source, place});
  }
  Result<void> Check(const std::string& source, const std::string& place) override {
    return RunCommand({"diff", "-rq", "--exclude=.git", source, place});
  }
  double Amount(unsigned part) const override {
    return static_cast<double>(kFiles / part * kMeanBytes) / (1 << 20);
  }
};

}  // namespace

void AddDistanceWorkloads(const WorkloadOptions& options,
                          std::vector<std::unique_ptr<Workload>>* out) {
  out->push_back(std::make_unique<Unpack>(options.scratch));
  out->push_back(std::make_unique<Clone>(options.scratch));
}

}  // namespace airstore::bench
