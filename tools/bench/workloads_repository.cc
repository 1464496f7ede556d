// SPDX-License-Identifier: Apache-2.0
//
// Workloads of real programs on a real source tree. A rate of complete runs per second, so that
// more is better as everywhere; the table shows the time of one.
#include <filesystem>

#include "tools/bench/process.h"
#include "tools/bench/workload.h"

namespace airstore::bench {
namespace {

namespace fs = std::filesystem;

Result<void> RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return Error{error.value(), "remove " + path};
  return {};
}

Result<void> MakeDirectory(const std::string& path) {
  std::error_code error;
  if (!fs::create_directory(path, error)) return Error{error.value(), "mkdir " + path};
  return {};
}

class RepositoryWorkload : public Workload {
 public:
  RepositoryWorkload(const char* name, std::string repository)
      : name_(name), repository_(std::move(repository)) {}
  const char* name() const override { return name_; }
  const char* unit() const override { return "run/s"; }
  std::string unavailable() const override {
    return repository_.empty() ? "no --repo given" : std::string();
  }
  Result<void> Prepare(const Target& /*target*/) override { return {}; }

  Result<double> Run(const Target& target, unsigned /*round*/) override {
    const std::string place = target.dir + "/" + name_;
    if (auto gone = RemoveTree(place); !gone) return gone.error();
    if (auto ready = Setup(place); !ready) return ready.error();
    const Stopwatch watch;
    if (auto done = Work(place); !done) return done.error();
    const double seconds = watch.seconds();
    if (auto good = Check(place); !good) return good.error();
    if (auto gone = RemoveTree(place); !gone) return gone.error();
    return 1 / seconds;
  }

 protected:
  const std::string& repository() const { return repository_; }
  virtual Result<void> Setup(const std::string& place) = 0;
  virtual Result<void> Work(const std::string& place) = 0;
  virtual Result<void> Check(const std::string& place) = 0;

  // Without hard links: they cannot cross file systems, so one target would have an advantage.
  Result<void> CloneObjects(const std::string& place) const {
    return RunCommand({"git", "-c", "safe.directory=*", "clone", "-q", "--local", "--no-hardlinks",
                       "--no-checkout", repository_, place});
  }
  static Result<void> InClone(const std::string& place, std::vector<std::string> arguments) {
    std::vector<std::string> argv{"git", "-c", "safe.directory=*", "-C", place};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return RunCommand(std::move(argv));
  }

 private:
  const char* const name_;
  const std::string repository_;
};

class GitClone final : public RepositoryWorkload {
 public:
  explicit GitClone(std::string repository)
      : RepositoryWorkload("git_clone", std::move(repository)) {}

 private:
  Result<void> Setup(const std::string& /*place*/) override { return {}; }
  Result<void> Work(const std::string& place) override { return CloneObjects(place); }
  Result<void> Check(const std::string& place) override {
    return InClone(place, {"fsck", "--no-progress", "--no-dangling"});
  }
};

class GitCheckout final : public RepositoryWorkload {
 public:
  explicit GitCheckout(std::string repository)
      : RepositoryWorkload("git_checkout", std::move(repository)) {}

 private:
  Result<void> Setup(const std::string& place) override { return CloneObjects(place); }
  Result<void> Work(const std::string& place) override {
    return InClone(place, {"checkout", "-q", "-f", "HEAD"});
  }
  Result<void> Check(const std::string& place) override {
    return InClone(place, {"diff", "--quiet", "HEAD"});
  }
};

class TarExtract final : public RepositoryWorkload {
 public:
  TarExtract(std::string repository, const std::string& scratch)
      : RepositoryWorkload("tar", std::move(repository)),
        archive_(scratch + "/repository.tar"),
        reference_(scratch + "/reference") {}

 private:
  Result<void> Setup(const std::string& place) override {
    if (!fs::exists(archive_)) {
      AIRSTORE_TRY(RunCommand({"git", "-c", "safe.directory=*", "-C", repository(), "archive",
                               "--format=tar", "-o", archive_, "HEAD"}));
      AIRSTORE_TRY(MakeDirectory(reference_));
      AIRSTORE_TRY(Work(reference_));
    }
    return MakeDirectory(place);
  }
  Result<void> Work(const std::string& place) override {
    return RunCommand({"tar", "-xf", archive_, "-C", place});
  }
  Result<void> Check(const std::string& place) override {
    return RunCommand({"diff", "-rq", "--no-dereference", reference_, place});
  }

  const std::string archive_;
  const std::string reference_;  // what was extracted is compared with this
};

}  // namespace

void AddRepositoryWorkloads(const WorkloadOptions& options,
                            std::vector<std::unique_ptr<Workload>>* out) {
  out->push_back(std::make_unique<GitClone>(options.repository));
  out->push_back(std::make_unique<GitCheckout>(options.repository));
  out->push_back(std::make_unique<TarExtract>(options.repository, options.scratch));
}

std::vector<std::unique_ptr<Workload>> MakeWorkloads(const WorkloadOptions& options) {
  std::vector<std::unique_ptr<Workload>> workloads;
  AddFileWorkloads(options, &workloads);
  AddTreeWorkloads(&workloads);
  AddFindWorkloads(options, &workloads);
  AddRepositoryWorkloads(options, &workloads);
  AddDistanceWorkloads(options, &workloads);
  return workloads;
}

}  // namespace airstore::bench
