// SPDX-License-Identifier: Apache-2.0
//
// Copies of trees, into a mount and out of it again, with all that a file can have.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "tests/programs/programs.h"

namespace airstore::programs {
namespace {

const e2e::TreeOptions kAll{.xattrs = true};

class Copies : public Programs {
 protected:
  // Outside the mount. `many` files without anything special, and one of each special kind.
  std::string MakeSource(int many) {
    const std::string source = Outside("source");
    std::mt19937_64 random(42);
    for (int i = 0; i < many; ++i) {
      const std::string directory =
          source + "/d" + std::to_string(i / 500) + "/e" + std::to_string(i / 50 % 10);
      std::filesystem::create_directories(directory);
      const std::string path = directory + "/file" + std::to_string(i) + ".txt";
      WriteFile(path, RandomBytes(random(), random() % 3000));
      if (i % 97 == 0) std::filesystem::permissions(path, std::filesystem::perms(0755));
      if (i % 101 == 0) std::filesystem::create_symlink("file0.txt", directory + "/link");
    }
    ShellOk(source, R"sh(
      mkdir kinds modes names acls empty; cd kinds
      mkfifo fifo; mknod null c 1 3; mknod loop b 7 9; ln -s nowhere dangling
      ln -s "$(printf '%04000d' 0)" long-link
      echo linked > one; ln one two; mkdir below; ln one below/three
      ln -s one link; ln -P link link2
      echo capable > capable; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 capable
      echo secret > trusted; setfattr -n trusted.secret -v deep trusted
      setfattr -n user.empty trusted; setfattr -n user.large -v "$(printf '%02000d' 7)" trusted
      mkdir attributes; setfattr -n user.of.directory -v value attributes
      cd ../modes
      for mode in 0000 0400 0444 0755 1777 2755 4755 6711; do echo "$mode" > "f$mode"; done
      chown 1234:5678 f0400 f4755; chown -h 1234:5678 ../kinds/dangling
      for mode in 0000 0400 0444 0755 1777 2755 4755 6711; do chmod "$mode" "f$mode"; done
      mkdir d0500 d1777 d2775; chmod 0500 d0500; chmod 1777 d1777; chmod 2775 d2775
      cd ../names
      touch "$(printf '%0255d' 1)" 'with space' "$(printf 'new\nline')" "$(printf 'not\377utf8')" -- '-dash' '*'
      touch -d '1970-01-01 00:00:00.000000001 UTC' old; touch -d '2097-12-31 23:59:59.999999999 UTC' late
      touch -h -d '2001-02-03 04:05:06.789 UTC' ../kinds/dangling
      cd ../acls
      echo f > f; setfacl -m u:1234:rw,g:5678:r,m::rw f
      mkdir d; setfacl -m u:1234:rwx -d -m u:1234:rx,g:5678:- d; echo inherited > d/f; mkdir d/d)sh");
    // One block in the middle and one at the end of 64 MiB.
    const UniqueFd sparse = e2e::Open(source + "/kinds/sparse", O_WRONLY | O_CREAT);
    e2e::WriteAt(sparse.get(), RandomBytes(1, 4096), 20 << 20);
    e2e::WriteAt(sparse.get(), RandomBytes(2, 4096), (64 << 20) - 4096);
    Settle(source, 2020);
    return source;
  }
  // rsync looks at whole seconds: what was changed just now is given the first one of a year.
  void Settle(const std::string& tree, int year) {
    ShellOk(tree,
            "find . -depth -newermt '2023-01-01' ! -newermt '2096-01-01' -exec touch -h -d '" +
                std::to_string(year) + "-01-01 00:00:00.25 UTC' '{}' +");
  }
  static std::string SourceLacks(const std::string& source) {
    return lgetxattr((source + "/acls/f").c_str(), "system.posix_acl_access", nullptr, 0) > 0
               ? ""
               : "the file system of /tmp keeps no access control lists";
  }
  void ExpectSparse(const std::string& tree) {
    const struct stat info = Stat(tree + "/kinds/sparse");
    EXPECT_EQ(info.st_size, 64 << 20);
    EXPECT_LE(info.st_blocks * 512, 1 << 20) << tree;
  }
  void ExpectSame(const std::string& expected, const std::string& found) {
    EXPECT_EQ(e2e::Difference(Tree(expected, kAll), Tree(found, kAll)), "") << found;
    ExpectSparse(found);
  }
};

TEST_F(Copies, TarPacksAndUnpacks) {
  NEED("tar", "setfacl", "setfattr");
  const std::string source = MakeSource(2500);
  if (const std::string lacks = SourceLacks(source); !lacks.empty()) GTEST_SKIP() << lacks;
  const std::string tar = "tar --format=pax --sparse --acls --xattrs --xattrs-include='*' ";
  const std::string in = host().Path("in.tar"), out = host().Path("out.tar");
  ShellOk(source, tar + "-cf " + in + " .");
  ShellOk(mount(), "mkdir tree; " + tar + "-C tree -xpf " + in);
  ExpectSame(source, At("tree"));
  ShellOk(At("tree"), tar + "-cf " + out + " .; " + tar + "-df " + out);
  const std::string back = Outside("back");
  ShellOk(back, tar + "-xpf " + out);
  ExpectSame(source, back);
  RemountFresh();
  ExpectSame(source, At("tree"));
  ShellOk(mount(), "diff -r --no-dereference -x fifo -x null -x loop '" + source + "' tree");
  // Over what is there already, as an update would.
  ShellOk(At("tree"), tar + "-xpf " + in);
  ExpectSame(source, At("tree"));
  ShellOk(mount(), "rm -r tree; test -z \"$(ls -A)\"");
}

TEST_F(Copies, RsyncMirrorsAndHasNothingToDoThen) {
  NEED("rsync", "setfacl", "setfattr");
  const std::string source = MakeSource(1500);
  if (const std::string lacks = SourceLacks(source); !lacks.empty()) GTEST_SKIP() << lacks;
  const std::string rsync = "rsync -aHAX --sparse --numeric-ids --delete --itemize-changes ";
  const auto mirror = [&](const std::string& from, const std::string& to, const char* extra = "") {
    return ShellOk(host().directory(), rsync + extra + " '" + from + "/' '" + to + "/'");
  };
  EXPECT_NE(mirror(source, At("tree")), "");
  EXPECT_EQ(mirror(source, At("tree")), "");
  EXPECT_EQ(mirror(source, At("tree"), "--checksum --dry-run"), "");
  ExpectSame(source, At("tree"));
  const std::string back = Outside("back");
  EXPECT_NE(mirror(At("tree"), back), "");
  EXPECT_EQ(mirror(At("tree"), back), "");
  ExpectSame(source, back);
  // What changes is transferred, and nothing else.
  ShellOk(source, R"sh(
    echo changed >> d0/e0/file3.txt; rm d0/e0/file4.txt; mv d0/e0/file5.txt d0/e0/renamed
    rm kinds/two; ln d0/e0/file6.txt kinds/two; setfacl -b acls/f; setfattr -x user.empty kinds/trusted
    chmod 600 d0/e0/file7.txt; rm -r d1)sh");
  Settle(source, 2021);
  const std::string said = mirror(source, At("tree"));
  EXPECT_NE(said.find("*deleting   d0/e0/file4.txt\n"), std::string::npos) << said;
  EXPECT_EQ(mirror(source, At("tree")), "");
  // Into the file itself, as backup tools do with large ones.
  ShellOk(source,
          "echo more >> d0/e0/file8.txt; printf x | dd of=kinds/sparse bs=1 seek=30000000 "
          "conv=notrunc status=none");
  Settle(source, 2022);
  mirror(source, At("tree"), "--inplace --no-whole-file");
  ExpectSame(source, At("tree"));
  RemountFresh();
  EXPECT_EQ(mirror(source, At("tree"), "--checksum --dry-run"), "") << "mounted again";
  ExpectSame(source, At("tree"));
}

TEST_F(Copies, CpKeepsAllThereIs) {
  NEED("cp", "setfacl", "setfattr");
  const std::string source = MakeSource(300);
  if (const std::string lacks = SourceLacks(source); !lacks.empty()) GTEST_SKIP() << lacks;
  ShellOk(mount(), "cp -a '" + source +
                       "' one; cp -a one two; cp -a --reflink=auto --sparse=always two three");
  for (const char* copy : {"one", "two", "three"}) ExpectSame(source, At(copy));
  ShellOk(mount(),
          "cp -al one linked; test one/kinds/one -ef linked/kinds/below/three; rm -r one; mv "
          "linked one");
  RemountFresh();
  for (const char* copy : {"one", "two", "three"}) ExpectSame(source, At(copy));
}

}  // namespace
}  // namespace airstore::programs
