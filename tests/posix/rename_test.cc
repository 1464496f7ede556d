// SPDX-License-Identifier: Apache-2.0
//
// rename: every kind onto every kind, within a directory and between two, and all that it needs
// permission for.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

Outcome Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
  return Result(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

std::string Words(unsigned flags) {
  if (flags == RENAME_NOREPLACE) return ", replacing nothing";
  if (flags == RENAME_EXCHANGE) return ", exchanging";
  return flags == 0 ? "" : ", flags " + std::to_string(flags);
}

class RenameMatrix : public Lockstep {
 protected:
  void AddAll(const std::string& from, const std::string& to, unsigned flags) {
    for (const Kind& one : Kinds()) {
      for (const Kind& two : Kinds()) {
        Add({one.name + " to " + two.name + " from " + from + " to " + to + Words(flags),
             [&one, &two, from, to] {
               for (const std::string& path : {from, to}) {
                 const std::string parent = path.substr(0, path.find('/'));
                 if (parent != path && !e2e::Exists(parent)) MakeDir(parent);
               }
               one.make(from, 0644);
               two.make(to, 0600);
             },
             Root(), [from, to, flags] { return Rename(from, to, flags); }});
      }
    }
  }
};

TEST_F(RenameMatrix, WithinADirectory) {
  AddAll("a", "b", 0);
  AddAll("a", "b", RENAME_NOREPLACE);
  Run({0, ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY});
}

TEST_F(RenameMatrix, BetweenDirectories) {
  AddAll("from/a", "to/b", 0);
  AddAll("from/a", "to/b", RENAME_NOREPLACE);
  Run({0, ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY});
}

class RenameCases : public Lockstep {
 protected:
  void AddOne(const std::string& name, std::function<void()> prepare, std::function<Outcome()> act,
              const Caller& caller = Root()) {
    Add({name, std::move(prepare), caller, std::move(act)});
  }
};

TEST_F(RenameCases, NamesOfOneFile) {
  const auto two = [] {
    MakeFile("a");
    MakeDir("d");
    ASSERT_EQ(link("a", "b") + link("a", "d/c"), 0);
    SetOldTimes("a");
  };
  for (const char* to : {"a", "b", "d/c", "./a", "d/../b"}) {
    for (const unsigned flags : {0u, 1u}) {
      AddOne(std::string("a to ") + to + Words(flags), two, [=] { return Rename("a", to, flags); });
    }
  }
  AddOne(
      "a directory to itself", [] { MakeDir("d"); }, [] { return Rename("d", "d"); });
  AddOne(
      "a name of itself that does not exist", [] {}, [] { return Rename("a", "a"); });
  Run({0, ENOENT, EEXIST});
}

TEST_F(RenameCases, DirectoriesIntoThemselves) {
  const auto tree = [] {
    MakeDir("a");
    MakeDir("a/b");
    MakeDir("a/b/c");
    MakeFile("a/b/f");
    MakeLink("a/b", "link");
  };
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"a", "a/b/c/new"}, {"a", "a/b"},      {"a", "a/new"},    {"a", "link/new"},
           {"a/b", "a"},       {"a/b/c", "a"},    {"a/b", "a/b/f"},  {"a/b/f", "a"},
           {"a/.", "new"},     {"a/..", "new"},   {".", "new"},      {"..", "new"},
           {"a/b", "."},       {"a/b", ".."},     {"a/b", "a/."},    {"a/b/c", "a/.."},
           {"a/b/", "new/"},   {"a/b/f/", "new"}, {"a/b/f", "new/"}, {"link/", "new"},
           {"link", "new/"},   {"link", "new"},   {"a", "link/"},    {"a/b/c", "new"}}) {
    AddOne(from + " to " + to, tree, [from = from, to = to] { return Rename(from, to); });
  }
  Run({0, EINVAL, ENOTEMPTY, EBUSY, ENOTDIR});
}

TEST_F(RenameCases, OpenFiles) {
  AddOne(
      "over a file that is read", [] { MakeFile("a", 0644, "new"), MakeFile("b", 0644, "old"); },
      []() -> Outcome {
        const UniqueFd old = e2e::Open("b", O_RDWR);
        const Outcome renamed = Rename("a", "b");
        struct stat info {};
        fstat(old.get(), &info);
        e2e::WriteAt(old.get(), "OLD!", 0);
        return {renamed.error, e2e::ReadSome(old.get(), 10, 0) + " links " +
                                   std::to_string(info.st_nlink) + " now " + e2e::ReadFile("b")};
      });
  AddOne(
      "of a file that is written", [] { MakeFile("a", 0644, "first"); },
      []() -> Outcome {
        const UniqueFd file = e2e::Open("a", O_RDWR);
        e2e::WriteAt(file.get(), "F", 0);
        const Outcome renamed = Rename("a", "b");
        e2e::WriteAt(file.get(), "T", 4);
        return {renamed.error, e2e::ReadFile("b")};
      });
  AddOne(
      "over a working directory", [] { MakeDir("a"), MakeDir("b"); },
      []() -> Outcome {
        if (chdir("b") != 0) return {errno};
        const Outcome renamed = Rename("../a", "../b");
        return {renamed.error, NameOf(e2e::ErrnoOf(mkdir("new", 0755))) + " " +
                                   NameOf(e2e::ErrnoOf(open("new", O_CREAT | O_RDWR, 0600))) + " " +
                                   NameOf(e2e::ErrnoOf(access(".", F_OK)))};
      });
  Run({0});
}

// Who may rename what out of and over: the directories' modes and owners decide, sticky or not.
TEST_F(RenameCases, Permissions) {
  for (const Caller& caller : AllCallers()) {
    for (const mode_t mode : {0777, 0755, 01777, 01755, 0577, 0677, 0770}) {
      for (const bool directory : {false, true}) {
        for (const bool mine : {false, true}) {
          const auto make = [=](const std::string& path) {
            directory ? MakeDir(path) : MakeFile(path);
            if (mine) GiveTo(path, caller);
          };
          const std::string name = std::string(mine ? "own " : "another's ") +
                                   (directory ? "directory" : "file") +
                                   " of a directory of mode 0" + std::to_string(mode / 64 % 8) +
                                   std::to_string(mode / 8 % 8) + std::to_string(mode % 8) +
                                   (mode > 0777 ? " sticky" : "");
          const auto parent = [=] {
            MakeDir("d", mode);
            GiveTo("d", Owner());
          };
          AddOne(
              "out of it, " + name, [=] { parent(), make("d/a"); },
              [] { return Rename("d/a", "b"); }, caller);
          AddOne(
              "over it, " + name, [=] { parent(), make("d/a"), make("b"), GiveTo("b", caller); },
              [] { return Rename("b", "d/a"); }, caller);
          AddOne(
              "in it, " + name, [=] { parent(), make("d/a"); }, [] { return Rename("d/a", "d/b"); },
              caller);
        }
      }
    }
  }
  Run({0, EACCES, EPERM});
}

// A directory that changes its parent changes "..", which takes writing to it.
TEST_F(RenameCases, DirectoriesThatChangeTheirParent) {
  for (const Caller& caller : AllCallers()) {
    for (const mode_t mode : {0755, 0555, 0700, 0777}) {
      AddOne(
          "of mode " + std::to_string(mode),
          [=] {
            MakeDir("to", 0777);
            MakeDir("a", mode);
            GiveTo("a", Owner());
          },
          [] { return Rename("a", "to/a"); }, caller);
    }
  }
  Run({0, EACCES});
}

}  // namespace
}  // namespace airstore::posix
