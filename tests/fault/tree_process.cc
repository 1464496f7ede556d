// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/tree_process.h"

#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/e2e/support/files.h"
#include "tests/e2e/support/process.h"
#include "tests/fault/tree_load.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

// As a whole or not at all.
void Put(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  std::filesystem::rename(path + ".new", path);
}

class TreeProcess : public Load {
 public:
  TreeProcess(std::string mount, std::string files, uint64_t seed, bool maps)
      : mount_(std::move(mount)), files_(std::move(files)), seed_(seed), maps_(maps) {}

  void Start() override {
    process_ = e2e::Process({std::filesystem::read_symlink("/proc/self/exe").string(), kTreeFlag,
                             mount_, files_, std::to_string(seed_), maps_ ? "maps" : "no-maps"},
                            {.output_file = files_ + ".output"});
  }
  void BeginEnd() override { Put(files_ + ".ending", ""); }
  void Join() override {
    Put(files_ + ".stop", "");
    if (!Await(files_ + ".joined")) {
      errors_.push_back({0, "does not come back"});
      return;
    }
    std::ifstream joined(files_ + ".joined");
    int code = 0;
    for (std::string text; joined >> code && std::getline(joined, text);) {
      errors_.push_back({code, text});
    }
  }
  std::string name() const override { return "tree"; }
  uint64_t acknowledged() const override {
    uint64_t count = 0;
    std::ifstream(files_ + ".count") >> count;
    return count;
  }
  std::vector<LoadError> errors() const override { return errors_; }
  std::string Check(const std::string& mount, Kept kept) const override {
    if (kept == Kept::kSynced) return "";
    std::filesystem::remove(files_ + ".answer");
    Put(files_ + ".check", mount);
    return Await(files_ + ".answer") ? e2e::ReadFile(files_ + ".answer") : "there is no answer";
  }

 private:
  bool Await(const std::string& path) const {
    return e2e::WaitUntil(seconds(60), [&] { return e2e::Exists(path) || !process_.running(); }) &&
           e2e::Exists(path);
  }

  std::string mount_;
  std::string files_;
  uint64_t seed_;
  bool maps_;
  mutable e2e::Process process_;
  std::vector<LoadError> errors_;
};

}  // namespace

std::unique_ptr<Load> MakeTreeProcess(const std::string& mount, const std::string& files,
                                      uint64_t seed, bool maps) {
  return std::make_unique<TreeProcess>(mount, files, seed, maps);
}

int RunTree(const std::vector<std::string>& arguments) {
  const std::string& files = arguments.at(1);
  TreeLoad load(arguments.at(0), std::stoull(arguments.at(2)), arguments.at(3) == "maps");
  load.Start();
  while (!e2e::Exists(files + ".stop")) {
    if (e2e::Exists(files + ".ending")) load.BeginEnd();
    Put(files + ".count", std::to_string(load.acknowledged()));
    e2e::Pause();
  }
  load.Join();
  std::string errors;
  for (const LoadError& error : load.errors()) {
    errors += std::to_string(error.code) + " " + error.what + "\n";
  }
  Put(files + ".count", std::to_string(load.acknowledged()));
  Put(files + ".joined", errors);
  for (;;) {  // until it is killed
    if (e2e::Exists(files + ".check")) {
      const std::string mount = e2e::ReadFile(files + ".check");
      std::filesystem::remove(files + ".check");
      Put(files + ".answer", load.Check(mount, Kept::kAcknowledged));
    }
    e2e::Pause();
  }
}

}  // namespace airstore::fault
