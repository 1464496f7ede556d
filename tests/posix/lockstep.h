// SPDX-License-Identifier: Apache-2.0
//
// Lockstep: runs cases on a mount and on the local file system, each in a directory of its own, and
// requires the same outcome and the same files afterwards. What the local one does is right; it
// must be ext4, so that this means the same everywhere. A case that is let off says why.
//
// Cases are prepared together, and together wait for the clock, so that a changed time shows on
// file systems that know time by ticks. Threads: the test's.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/e2e/support/host_test.h"
#include "tests/posix/caller.h"

namespace airstore::posix {

struct Outcome {
  Outcome(int code) : error(code) {}  // NOLINT(google-explicit-constructor): cases return either
  Outcome(int code, std::string detail) : error(code), more(std::move(detail)) {}
  int error;         // errno, 0: success
  std::string more;  // what else must be the same
};

// errno of a call that returned -1, else 0.
template <typename T>
Outcome Result(T result) {
  return {e2e::ErrnoOf(result)};
}

// Both functions find themselves in an empty directory; paths are relative to it.
struct Case {
  std::string name;
  std::function<void()> prepare;  // as root
  Caller caller;
  std::function<Outcome()> act;         // as the caller
  bool atimes = false;                  // access times must agree, too
  std::optional<int> expected = {};     // what the local file system must say
  std::function<void()> clean_up = {};  // as root, after `act`
  std::string files_differ = {};        // why the files need not be the same afterwards
};

class Lockstep : public e2e::MountTest {
 protected:
  void SetUp() override;
  void Add(Case one) { cases_.push_back(std::move(one)); }
  // Runs what was added. `errors`: what must have come up among the local outcomes, so that the
  // table cannot lose a row unnoticed; 0 is success.
  void Run(const std::set<int>& errors);
  // From here on cases act in other views of what they were prepared in.
  void ActIn(const std::string& view_of_mount, const std::string& local_view);
  const std::string& local() const { return local_; }

 private:
  struct Observed {
    Outcome outcome{0};
    std::map<std::string, std::string> files;
  };
  // Prepares in `root` and acts in `view`.
  std::vector<Observed> RunOn(const std::string& root, const std::string& view) const;
  static std::string Compare(const Observed& expected, const Observed& found, bool files);

  std::vector<Case> cases_;
  std::string local_;
  std::string view_;
  std::string local_view_;
};

// "EPERM"; "success".
std::string NameOf(int error);

}  // namespace airstore::posix
