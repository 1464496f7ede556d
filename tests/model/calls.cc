// SPDX-License-Identifier: Apache-2.0
//
// Calls made up, and made.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "tests/e2e/support/files.h"
#include "tests/model/history.h"
#include "tests/posix/caller.h"

namespace airstore::model {
namespace {

constexpr uid_t kUsers[] = {65501, 65502};
constexpr long kFchmodat2 = 452;

char TypeOf(const struct stat& info) {
  return S_ISDIR(info.st_mode) ? 'd' : S_ISLNK(info.st_mode) ? 'l' : 'f';
}

std::string Describe(const struct stat& info) {
  char text[128];
  snprintf(text, sizeof text, "%c 0%o links %u owner %u size %zu", TypeOf(info),
           info.st_mode & 07777, static_cast<unsigned>(info.st_nlink), info.st_uid,
           S_ISDIR(info.st_mode) ? size_t{0} : static_cast<size_t>(info.st_size));
  return text;
}

Answer Done(long result) { return {result < 0 ? errno : 0}; }

Answer Opened(const std::string& path, int flags, const std::function<Answer(int fd)>& body) {
  const UniqueFd fd(open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  return fd ? body(fd.get()) : Answer{errno};
}

Answer Rename(const std::string& one, const std::string& two, unsigned flags) {
  return Done(renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, two.c_str(), flags));
}

}  // namespace

std::string Generator::Name() {
  static const char* const names[] = {"a", "b", "p", "q", "a", "p"};
  return Below(40) == 0 ? std::string(256, 'n') : names[Below(6)];
}

std::string Generator::Path() {
  return Below(5) < 2 ? std::string(Below(3) == 0 ? "q/" : "p/") + Name() : Name();
}

mode_t Generator::AnyRootMode() {
  static constexpr mode_t kModes[] = {0777, 01777, 0755, 0777};
  return kModes[Below(4)];
}

Call Generator::AnyCall() {
  static constexpr mode_t kModes[] = {0777, 0700, 0755, 0666, 0444, 0, 01777};
  Call call;
  call.verb = static_cast<Verb>(Below(kVerbs));
  if (call.verb == Verb::kRenameExchange && !exchange_) call.verb = Verb::kRename;
  const uint64_t caller = Below(4);
  call.caller = caller < 2 ? 0 : kUsers[caller - 2];
  call.path = Path();
  call.path2 = Path();
  call.mode = Below(2) == 0 ? 0777 : kModes[Below(7)];
  if (call.verb == Verb::kChown) call.mode = kUsers[Below(2)];
  const bool two = call.verb == Verb::kLink || call.verb == Verb::kRename ||
                   call.verb == Verb::kRenameNoReplace || call.verb == Verb::kRenameExchange;
  if (!two) call.path2.clear();
  call.byte = static_cast<char>('A' + Below(26));
  return call;
}

std::vector<Call> Generator::AnyPrelude() {
  std::vector<Call> calls;
  const auto add = [&](Verb verb, const char* path) {
    Call call = AnyCall();
    call.verb = verb;
    call.path = path;
    call.path2.clear();
    call.mode = verb == Verb::kMkdir && Below(3) != 0 ? 0777 : 0666;
    if (Below(5) != 0) calls.push_back(call);
  };
  add(Verb::kMkdir, "p");
  add(Verb::kMkdir, "q");
  add(Verb::kCreate, "a");
  add(Verb::kCreate, "p/a");
  add(Verb::kCreate, "p/b");
  add(Verb::kMkdir, "p/q");
  if (Below(2) == 0) add(Verb::kSymlink, "b");
  return calls;
}

Program Generator::AnyProgram(size_t threads, size_t calls) {
  Program program(threads);
  for (auto& of_thread : program) {
    for (size_t i = 0; i < calls; ++i) of_thread.push_back(AnyCall());
  }
  return program;
}

Answer Execute(const Call& call, const std::string& root) {
  const posix::ActingAs acting({"", call.caller, call.caller});
  const std::string one = root + "/" + call.path;
  const std::string two = root + "/" + call.path2;
  switch (call.verb) {
    case Verb::kCreate: {
      const UniqueFd fd(open(one.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, call.mode));
      struct stat info {};
      if (!fd || fstat(fd.get(), &info) != 0) return {errno};
      return {0, "", info.st_ino};
    }
    case Verb::kMkdir:
      return Done(mkdir(one.c_str(), call.mode));
    case Verb::kSymlink:
      return Done(symlink("nowhere", one.c_str()));
    case Verb::kUnlink:
      return Done(unlink(one.c_str()));
    case Verb::kRmdir:
      return Done(rmdir(one.c_str()));
    case Verb::kRename:
      return Rename(one, two, 0);
    case Verb::kRenameNoReplace:
      return Rename(one, two, RENAME_NOREPLACE);
    case Verb::kRenameExchange:
      return Rename(one, two, RENAME_EXCHANGE);
    case Verb::kLink:
      return Done(link(one.c_str(), two.c_str()));
    case Verb::kStat: {
      struct stat info {};
      if (lstat(one.c_str(), &info) != 0) return {errno};
      return {0, Describe(info), info.st_ino};
    }
    case Verb::kChmod:
      return Done(syscall(kFchmodat2, AT_FDCWD, one.c_str(), call.mode, AT_SYMLINK_NOFOLLOW));
    case Verb::kChown:
      return Done(lchown(one.c_str(), call.mode, call.mode));
    case Verb::kWrite:
      return Opened(one, O_WRONLY, [&](int fd) { return Done(pwrite(fd, &call.byte, 1, 0)); });
    case Verb::kTruncate:
      return Opened(one, O_WRONLY | O_TRUNC, [](int) { return Answer{}; });
    case Verb::kRead:
      return Opened(one, O_RDONLY, [](int fd) {
        char bytes[16];
        const ssize_t got = pread(fd, bytes, sizeof bytes, 0);
        if (got < 0) return Answer{errno};
        return Answer{0, std::string(bytes, static_cast<size_t>(got))};
      });
  }
  return {ENOSYS};
}

std::map<std::string, std::string> ListingOf(const std::string& root) {
  std::map<std::string, std::string> listing;
  const std::function<void(const std::string&)> walk = [&](const std::string& below) {
    for (const std::string& name : e2e::NamesIn(root + "/" + below)) {
      const struct stat info = e2e::Stat(root + "/" + below + name);
      listing[below + name] = Describe(info);
      if (S_ISDIR(info.st_mode)) walk(below + name + "/");
    }
  };
  walk("");
  return listing;
}

}  // namespace airstore::model
