// SPDX-License-Identifier: Apache-2.0
//
// find(1) over a tree whose names and attributes everybody has in memory.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tools/bench/process.h"
#include "tools/bench/workload.h"

namespace airstore::bench {
namespace {

constexpr unsigned kFiles = 50'000;
constexpr unsigned kFilesPerDirectory = 100;
constexpr double kLoopSeconds = 1.0;

class Find final : public Workload {
 public:
  explicit Find(const std::string& scratch) : found_(scratch + "/found") {}
  const char* name() const override { return "find_50k"; }
  const char* unit() const override { return "file/s"; }

  // Every other file is larger than what is looked for.
  Result<void> Prepare(const Target& /*target*/) override {
    for (unsigned i = 0; i < kFiles; ++i) {
      const std::string directory = "find/d" + std::to_string(i / kFilesPerDirectory);
      std::error_code error;
      if (i % kFilesPerDirectory == 0) std::filesystem::create_directories(directory, error);
      if (error) return Error{error.value(), "mkdir " + directory};
      const std::string path = directory + "/f" + std::to_string(i);
      std::ofstream file(path, std::ios::binary);
      file << std::string(i % 2 == 0 ? 100 : 3000, 'x');
      if (!file.flush()) return Error{EIO, "write " + path};
    }
    return {};
  }

  Result<double> Run(const Target& /*target*/, unsigned /*round*/) override {
    if (auto warm = Check(); !warm) return warm.error();
    const Stopwatch watch;
    double files = 0;
    while (watch.seconds() < kLoopSeconds) {
      auto done = RunCommand({"find", "find", "-size", "+1k"});
      if (!done) return done.error();
      files += kFiles;
    }
    return files / watch.seconds();
  }

 private:
  // How large directories are is up to the file system.
  Result<void> Check() {
    AIRSTORE_TRY(RunCommand({"find", "find", "-type", "f", "-size", "+1k", "-fprint", found_}));
    std::ifstream lines(found_);
    unsigned count = 0;
    for (std::string line; std::getline(lines, line);) ++count;
    if (count != kFiles / 2) {
      return Error{EIO, "find gave " + std::to_string(count) + " of " + std::to_string(kFiles / 2)};
    }
    return {};
  }

  const std::string found_;
};

}  // namespace

void AddFindWorkloads(const WorkloadOptions& options, std::vector<std::unique_ptr<Workload>>* out) {
  out->push_back(std::make_unique<Find>(options.scratch));
}

}  // namespace airstore::bench
