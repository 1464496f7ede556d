// SPDX-License-Identifier: Apache-2.0
//
// Random calls on names, alone and at once, on several mounts, against the model. AIRSTORE_SEED and
// AIRSTORE_MODEL_ROUNDS in the environment choose which, and how many.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <fstream>
#include <iostream>
#include <set>

#include "tests/e2e/support/host_test.h"
#include "tests/model/history.h"

namespace airstore::model {
namespace {

// What each verb can come to. Every row must come up.
const std::map<Verb, std::set<int>>& Rows() {
  static const std::set<int> make{0, EEXIST, ENOENT, ENOTDIR, EACCES, ENAMETOOLONG};
  static const std::set<int> rename{0,     ENOENT, ENOTDIR,   EISDIR,      EACCES,
                                    EPERM, EINVAL, ENOTEMPTY, ENAMETOOLONG};
  static const std::map<Verb, std::set<int>> rows{
      {Verb::kCreate, make},
      {Verb::kMkdir, make},
      {Verb::kSymlink, make},
      {Verb::kUnlink, {0, ENOENT, ENOTDIR, EISDIR, EACCES, EPERM, ENAMETOOLONG}},
      {Verb::kRmdir, {0, ENOENT, ENOTDIR, ENOTEMPTY, EACCES, EPERM, ENAMETOOLONG}},
      {Verb::kRename, rename},
      {Verb::kRenameNoReplace, {0, ENOENT, ENOTDIR, EEXIST, EACCES, EPERM, EINVAL, ENAMETOOLONG}},
      {Verb::kRenameExchange, {0, ENOENT, ENOTDIR, EACCES, EPERM, EINVAL, ENAMETOOLONG}},
      {Verb::kLink, {0, ENOENT, ENOTDIR, EEXIST, EACCES, EPERM, ENAMETOOLONG}},
      {Verb::kStat, {0, ENOENT, ENOTDIR, EACCES, ENAMETOOLONG}},
      {Verb::kChmod, {0, ENOENT, ENOTDIR, EACCES, EPERM, EOPNOTSUPP, ENAMETOOLONG}},
      {Verb::kChown, {0, ENOENT, ENOTDIR, EACCES, EPERM, ENAMETOOLONG}},
      {Verb::kWrite, {0, ENOENT, ENOTDIR, EACCES, EISDIR, ELOOP, ENAMETOOLONG}},
      {Verb::kTruncate, {0, ENOENT, ENOTDIR, EACCES, EISDIR, ELOOP, ENAMETOOLONG}},
      {Verb::kRead, {0, ENOENT, ENOTDIR, EACCES, EISDIR, ELOOP, ENAMETOOLONG}},
  };
  return rows;
}

bool IsSet(const char* name) {
  std::ifstream file(std::string("/proc/sys/fs/") + name);
  int value = 0;
  return file >> value && value != 0;
}

// Calls made one after the other, and then calls made at once.
struct Round {
  mode_t root_mode;
  std::vector<Call> prelude;
  Program program;
};

class TreeModelTest : public e2e::MountTest {
 protected:
  void SetUp() override {
    e2e::MountTest::SetUp();
    if (IsSkipped()) return;
    umask(0);
    std::cout << "AIRSTORE_SEED=" << seed_ << std::endl;
    e2e::WriteFile(At("one"), "1");
    e2e::WriteFile(At("two"), "2");
    exchange_ =
        renameat2(AT_FDCWD, At("one").c_str(), AT_FDCWD, At("two").c_str(), RENAME_EXCHANGE) == 0;
  }

  // A new directory below each of these views of one, and the model of it.
  TreeModel Begin(const std::vector<std::string>& views, mode_t mode) {
    const std::string name = "/round" + std::to_string(round_++);
    roots_.clear();
    for (const std::string& view : views) roots_.push_back(view + name);
    if (mkdir(roots_.front().c_str(), 0700) != 0 || chmod(roots_.front().c_str(), mode) != 0) {
      throw std::runtime_error("mkdir " + roots_.front());
    }
    return TreeModel(mode, {.protected_hardlinks = IsSet("protected_hardlinks"),
                            .protected_symlinks = IsSet("protected_symlinks"),
                            .checks_apart = views.size() > 1});
  }

  // Calls one after the other, each by another view, against the model.
  void OneByOne(const std::vector<std::string>& views, uint64_t calls) {
    Generator generator(seed_, exchange_);
    std::map<Verb, std::set<int>> reached;
    for (uint64_t i = 0; i < calls && !HasFailure();) {
      TreeModel model = Begin(views, generator.AnyRootMode());
      std::string history;
      std::vector<Call> sequence = generator.AnyPrelude();
      while (sequence.size() < 60) sequence.push_back(generator.AnyCall());
      for (size_t j = 0; j < sequence.size() && !HasFailure(); ++j, ++i) {
        const Call& call = sequence[j];
        const Answer found = Execute(call, roots_[i % roots_.size()]);
        const Answer expected = model.RunAll(call, found);
        history += "  " + call.Text() + ": " + found.Text() + "\n";
        reached[call.verb].insert(expected.error);
        EXPECT_EQ(found.Text(), expected.Text()) << "seed " << seed_ << "\n" << history;
      }
      EXPECT_EQ(e2e::Difference(model.Listing(), ListingOf(roots_.front())), "") << history;
    }
    ReportRows(reached);
  }

  void ReportRows(const std::map<Verb, std::set<int>>& reached) const {
    for (const auto& [verb, errors] : Rows()) {
      if (verb == Verb::kRenameExchange && !exchange_) continue;
      const auto of_verb = reached.find(verb);
      std::cout << NameOf(verb) << ":";
      for (const int error : errors) {
        const bool there = of_verb != reached.end() && of_verb->second.contains(error);
        std::cout << " " << Answer{error}.Text() << (there ? "" : " (never)");
        EXPECT_TRUE(there) << NameOf(verb) << ": " << Answer{error}.Text() << " never came up";
      }
      std::cout << std::endl;
    }
  }

  // Makes the program's calls in a new directory; what is wrong with what came of it, or nothing.
  std::string Try(const Round& round, const std::vector<std::string>& views) {
    TreeModel start = Begin(views, round.root_mode);
    for (const Call& call : round.prelude) start.RunAll(call, Execute(call, roots_.front()));
    const History history = RunAtOnce(round.program, roots_);
    const auto end = ListingOf(roots_.front());
    for (const std::string& root : roots_) {
      const std::string difference = e2e::Difference(end, ListingOf(root));
      if (!difference.empty()) return "mounts differ:\n" + difference + Text(history);
    }
    if (IsExplained(start, history, end)) return "";
    std::string text = Text(history) + "and in the end\n";
    for (const auto& [path, line] : end) text += "  " + path + ": " + line + "\n";
    return text;
  }

  // Leaves out calls as long as what remains still fails.
  std::string Shrink(Round round, const std::vector<std::string>& views, std::string failure) {
    constexpr int kTries = 60;
    for (bool smaller = true; smaller;) {
      smaller = false;
      for (auto& calls : round.program) {
        for (size_t i = 0; i < calls.size() && !smaller; ++i) {
          const std::vector<Call> before = calls;
          calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(i));
          for (int tries = 0; tries < kTries && !smaller; ++tries) {
            const std::string wrong = Try(round, views);
            smaller = !wrong.empty();
            if (smaller) failure = wrong;
          }
          if (!smaller) calls = before;
        }
      }
    }
    std::string prelude;
    for (const Call& call : round.prelude) prelude += "  before: " + call.Text() + "\n";
    return prelude + failure;
  }

  void AtOnce(const std::vector<std::string>& views, uint64_t rounds) {
    Generator generator(seed_ + 1, exchange_);
    for (uint64_t i = 0; i < rounds; ++i) {
      const Round round{generator.AnyRootMode(), generator.AnyPrelude(),
                        generator.AnyProgram(3, 5)};
      const std::string wrong = Try(round, views);
      if (wrong.empty()) continue;
      FAIL() << "no order of these explains what came of them; round " << i << " of seed " << seed_
             << ", root of mode " << round.root_mode << "\n"
             << Shrink(round, views, wrong);
    }
  }

  std::vector<std::string> Mounts() {
    return {mount(), host().Mount("work", "second"), host().Mount("work", "third")};
  }
  // A directory of the local file system, from which the model learns no manners but shows that it
  // has them.
  std::vector<std::string> Local() {
    mkdir(host().Path("local").c_str(), 0755);
    return {host().Path("local")};
  }

  const uint64_t seed_ = e2e::EnvOr("AIRSTORE_SEED", std::random_device()());
  const uint64_t rounds_ = e2e::EnvOr("AIRSTORE_MODEL_ROUNDS", 300);
  bool exchange_ = false;
  uint64_t round_ = 0;
  std::vector<std::string> roots_;
};

// Long enough for every row to come up.
TEST_F(TreeModelTest, OneByOneOnTheLocalFileSystem) { OneByOne(Local(), 40 * rounds_); }

TEST_F(TreeModelTest, OneByOneOnThreeMounts) { OneByOne(Mounts(), 40 * rounds_); }

TEST_F(TreeModelTest, AtOnceOnTheLocalFileSystem) { AtOnce(Local(), rounds_); }

TEST_F(TreeModelTest, AtOnceOnOneMount) { AtOnce({mount()}, rounds_); }

TEST_F(TreeModelTest, AtOnceOnThreeMounts) { AtOnce(Mounts(), rounds_); }

}  // namespace
}  // namespace airstore::model
