// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <random>
#include <thread>

#include "tests/programs/programs.h"

namespace airstore::programs {
namespace {

class Git : public AsRootAndUser {
 protected:
  // A repository of `files` files outside the mount.
  std::string MakeSource(int files) {
    const std::string source = Outside("source");
    std::mt19937_64 random(42);
    for (int i = 0; i < files; ++i) {
      const std::string directory =
          source + "/d" + std::to_string(i / 500) + "/e" + std::to_string(i / 50 % 10);
      std::filesystem::create_directories(directory);
      const std::string path = directory + "/file" + std::to_string(i) + ".txt";
      WriteFile(path, RandomBytes(random(), random() % 20'000));
      if (i % 97 == 0) std::filesystem::permissions(path, std::filesystem::perms(0755));
      if (i % 101 == 0) std::filesystem::create_symlink("file0.txt", directory + "/link");
    }
    RunOk({"chown", "-R", std::to_string(uid()), source});
    ShellOk(source, "git init -q -b main . && git add . && git commit -qm one");
    return source;
  }
  void ExpectSound(const std::string& when) {
    EXPECT_EQ(ShellOk(At("repository"), "git status --porcelain"), "") << when;
    const Finished fsck = Shell(At("repository"), "git fsck --full --strict");
    EXPECT_EQ(fsck.code, 0) << when << ": " << fsck.All();
  }
};
INSTANTIATE_TEST_SUITE_P(, Git, testing::Values(kRoot, kUser), NameOfUser);

TEST_P(Git, ClonesAndFindsNothingChanged) {
  NEED("git");
  const std::string source = MakeSource(3000);
  ShellOk(mount(), "git clone -q --no-local '" + source + "' repository");
  ExpectSound("after the clone");
  const std::string diff = "diff -r --no-dereference -x .git '" + source + "' repository";
  ShellOk(mount(), diff);
  ShellOk(At("repository"),
          "echo changed > d0/e0/file0.txt; git commit -qam two; git gc -q; git checkout -q HEAD~1");
  ExpectTheSameAfterRemount("repository");
  ExpectSound("mounted again");
  ShellOk(mount(), diff);
  ShellOk(At("repository"), "git checkout -q main; test \"$(cat d0/e0/file0.txt)\" = changed");
}

// Objects have mode 0444: who is not root makes them writable to nobody, itself included.
TEST_P(Git, WorksForADay) {
  NEED("git");
  const std::string source = MakeSource(200);
  ShellOk(mount(), "git clone -q --no-local '" + source + "' repository");
  const std::string here = At("repository");
  ShellOk(here, R"sh(
    for i in 1 2 3 4 5; do
      echo "line $i" >> notes; mkdir -p "new$i"; echo "$i" > "new$i/file"
      git add -A; git commit -qm "change $i"
    done
    test "$(find .git/objects -type f -perm 0444 | wc -l)" -gt 20
    test -z "$(find .git/objects/?? -type f ! -perm 0444)")sh");

  // Worktrees: two branches checked out at once.
  ShellOk(here, R"sh(
    git worktree add -q -b topic ../topic HEAD~3
    cd ../topic
    for i in a b c; do echo "$i" > "topic-$i"; git add -A; git commit -qm "topic $i"; done
    git rm -q d0/e0/file0.txt; git mv d0/e0/file1.txt moved.txt; git commit -qm "moves")sh");

  // Stash, with files that git does not know.
  EXPECT_EQ(ShellOk(here, R"sh(
    echo more >> notes; echo unknown > unknown; git stash push -qu
    test -z "$(git status --porcelain)"; test ! -e unknown
    git stash pop -q; git status --porcelain; git checkout -q notes; rm unknown)sh"),
            " M notes\n?? unknown\n");

  // Rebase, without a conflict and with one.
  ShellOk(here, R"sh(
    cd ../topic; git rebase -q main; test "$(git rev-list --count main..topic)" = 4
    cd ../repository; git checkout -q -b side HEAD~2; echo "another line" >> notes
    git commit -qam "a conflict"
    if git rebase main >/dev/null 2>&1; then echo "no conflict" >&2; exit 1; fi
    printf 'resolved\n' > notes; git add notes
    GIT_EDITOR=true git rebase --continue >/dev/null
    test "$(git rev-list --count main..side)" = 1; test "$(cat notes)" = resolved
    git checkout -q main; git merge -q --no-edit topic; git merge -q --no-edit side)sh");

  ShellOk(here, R"sh(
    git worktree remove ../topic; test ! -e ../topic; git branch -qd topic side
    git reflog expire --expire=now --all; git gc -q --prune=now
    test -z "$(find .git/objects/?? -type f)"
    git repack -qadf; git prune-packed; git pack-refs --all
    git update-index --refresh)sh");
  ExpectSound("after the day");
  ExpectTheSameAfterRemount("repository");
  ExpectSound("mounted again");
  EXPECT_EQ(ShellOk(here, "cat notes; git worktree list | wc -l"), "resolved\n1\n");
  ShellOk(here, "cmp moved.txt '" + source + "/d0/e0/file1.txt'");
  ShellOk(mount(), "rm -r repository; test -z \"$(ls -A)\"");
}

// Each on its own mount.
TEST_F(Programs, GitInTwoWorktrees) {
  NEED("git");
  const std::string second = SecondMount();
  ShellOk(mount(), R"sh(
    git init -q main; cd main; git config gc.auto 0; echo content > file; git add .
    git commit -qm first; git worktree add -q ../second)sh");
  // The paths that a worktree is found by are those of the mount it was made on.
  WriteFile(At("second/.git"), "gitdir: " + second + "/main/.git/worktrees/second\n");
  const std::string commits = R"sh(
    for i in 0 1 2 3 4 5 6 7 8 9; do
      head -c 3000 /dev/urandom > "$(basename "$PWD")$i"; git add .; git commit -qm "$i"
    done)sh";
  Process other = ShellBehind(second + "/second", commits, host().Path("other.log"));
  ShellOk(At("main"), commits);
  ASSERT_EQ(other.Wait(std::chrono::seconds(60)), 0) << ReadFile(host().Path("other.log"));
  for (const std::string& where : {mount(), second}) {
    ShellOk(where + "/main", "git fsck --strict");
    EXPECT_EQ(ShellOk(where + "/main", "git rev-list --count --all"), "21\n");
  }
}

}  // namespace
}  // namespace airstore::programs
