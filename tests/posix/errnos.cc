// SPDX-License-Identifier: Apache-2.0
#include "tests/posix/errnos.h"

#include <sys/stat.h>
#include <unistd.h>

namespace airstore::posix {
namespace {

void GiveTree(const std::string& path, const Caller& caller) {
  for (const std::string& name : e2e::NamesIn(path)) {
    const std::string below = path + "/" + name;
    if (S_ISDIR(e2e::Stat(below).st_mode)) GiveTree(below, caller);
    GiveTo(below, caller);
  }
}

}  // namespace

void Errnos::GiveAllTo(const Caller& caller) {
  if (caller.uid != 0) GiveTree(".", caller);
}

void Errnos::Documented(const std::string& call, std::set<int> errors,
                        const std::map<int, std::string>& elsewhere) {
  for (const auto& [error, why] : elsewhere) errors.erase(error);
  for (const AtCall& one : AtCalls()) {
    if (one.name != call) continue;
    for (const int error : {EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR})
      errors.erase(error);
    if (one.at) errors.erase(EBADF);
  }
  documented_[call] = std::move(errors);
}

void Errnos::RunTable() {
  std::set<int> all;
  for (const auto& [call, errors] : documented_) {
    for (const int error : errors) {
      EXPECT_TRUE(rows_[call].contains(error)) << call << ": no row for " << NameOf(error);
    }
  }
  for (const auto& [call, errors] : rows_) {
    EXPECT_TRUE(documented_.contains(call)) << call << " has rows and no documented errors";
    all.insert(errors.begin(), errors.end());
  }
  Run(all);
  rows_.clear();
  documented_.clear();
}

const char* Nowhere() {
  static const volatile uintptr_t nowhere = 8;
  return reinterpret_cast<const char*>(nowhere);
}

void MakeUsual() {
  MakeFile("file", 0666);
  MakeDir("dir", 0777);
  MakeFile("dir/inside", 0666);
  MakeLink("file", "link");
  MakeLink("loop", "loop");
  KindOf("FIFO").make("fifo", 0666);
  MakeDir("closed", 0700);
  MakeFile("closed/inside", 0666);
}

}  // namespace airstore::posix
