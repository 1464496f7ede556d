// SPDX-License-Identifier: Apache-2.0
//
// The rules about names and inodes, against every metadata engine.
#include <algorithm>

#include "tests/unit/gateway/bench.h"

namespace airstore::gateway {
namespace {

class Names : public testing::TestWithParam<EngineFactory> {
 protected:
  Bench b{GetParam()};
};

TEST_P(Names, CreateMakesAnInodeWithItsAttributes) {
  const auto outcome = b.Run(CreateOp{kRootInode, "f", 10, S_IFREG | 0640, 5, 6, 0, {}}, 123);
  ASSERT_EQ(outcome.error, 0);
  const Inode inode = *b.Get(10);
  EXPECT_EQ(inode.mode, uint32_t{S_IFREG | 0640});
  EXPECT_EQ(inode.uid, 5u);
  EXPECT_EQ(inode.gid, 6u);
  EXPECT_EQ(inode.nlink, 1u);
  EXPECT_EQ(inode.btime_ns, 123);
  EXPECT_EQ(b.Get(kRootInode)->mtime_ns, 123);
  EXPECT_EQ(outcome.versions.size(), 2u);
  EXPECT_EQ(b.Find(kRootInode, "f"), InodeNo{10});
}

TEST_P(Names, CreateRefusesWhatPosixRefuses) {
  const InodeNo file = b.MakeFile(kRootInode, "f");
  const auto create = [&](InodeNo parent, std::string_view name, InodeNo ino) {
    return b.Error(CreateOp{parent, name, ino, S_IFREG | 0644, 0, 0, 0, {}});
  };
  EXPECT_EQ(create(kRootInode, "f", 50), EEXIST);
  EXPECT_EQ(create(999, "x", 50), ENOENT);
  EXPECT_EQ(create(file, "x", 50), ENOTDIR);
  EXPECT_EQ(create(kRootInode, "x", file), EEXIST);
  EXPECT_EQ(create(kRootInode, "x", 1'000'000), EINVAL);  // not granted
  EXPECT_EQ(create(kRootInode, "", 50), EINVAL);
  EXPECT_EQ(create(kRootInode, "..", 50), EINVAL);
  EXPECT_EQ(create(kRootInode, "a/b", 50), EINVAL);
  EXPECT_EQ(create(kRootInode, std::string_view("a\0b", 3), 50), EINVAL);
  EXPECT_EQ(create(kRootInode, std::string(256, 'x'), 50), ENAMETOOLONG);
  EXPECT_FALSE(b.Get(50));
}

TEST_P(Names, WhatIsMadeHasNoMoreAttributesThanWhatIsThere) {
  const std::string value(60'000, 'v');
  CreateOp op{kRootInode, "f", 5000, S_IFREG | 0644, 0, 0, 0, ""};
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) names.push_back("user." + std::to_string(i));
  for (const std::string& name : names) op.xattrs.push_back({name, value});
  EXPECT_EQ(b.Error(op), ENOSPC);
  EXPECT_FALSE(b.Find(kRootInode, "f"));
  op.xattrs.resize(1);
  EXPECT_EQ(b.Error(op), 0);
}

TEST_P(Names, AMutationWithoutOperationIsInvalid) { EXPECT_EQ(b.Error(std::monostate()), EINVAL); }

TEST_P(Names, DirectoriesCountTheirSubdirectories) {
  const InodeNo a = b.MakeDirectory(kRootInode, "a");
  b.MakeDirectory(a, "b");
  EXPECT_EQ(b.Get(kRootInode)->nlink, 3u);
  EXPECT_EQ(b.Get(a)->nlink, 3u);
  EXPECT_EQ(b.Error(UnlinkOp{a, "b", true, 0}), 0);
  EXPECT_EQ(b.Get(a)->nlink, 2u);
}

TEST_P(Names, SymlinksKeepTheirTarget) {
  const InodeNo link = b.Make(kRootInode, "l", S_IFLNK | 0777);
  EXPECT_EQ(b.Get(link)->symlink_target, "to");
  EXPECT_EQ(b.Get(link)->size, 2u);
}

TEST_P(Names, UnlinkChecksTheKind) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "d");
  const InodeNo file = b.MakeFile(dir, "f");
  EXPECT_EQ(b.Error(UnlinkOp{kRootInode, "d", false, 0}), EISDIR);
  EXPECT_EQ(b.Error(UnlinkOp{kRootInode, "d", true, 0}), ENOTEMPTY);
  EXPECT_EQ(b.Error(UnlinkOp{dir, "f", true, 0}), ENOTDIR);
  EXPECT_EQ(b.Error(UnlinkOp{dir, "nothing", false, 0}), ENOENT);
  EXPECT_EQ(b.Error(UnlinkOp{dir, "f", false, file + 1}), ESTALE);
  EXPECT_EQ(b.Error(UnlinkOp{dir, "f", false, file}), 0);
  EXPECT_FALSE(b.Get(file));
  EXPECT_EQ(b.Error(UnlinkOp{kRootInode, "d", true, dir}), 0);
  EXPECT_FALSE(b.Get(dir));
}

TEST_P(Names, HardLinksShareAnInodeUntilTheLastGoes) {
  const InodeNo file = b.MakeFile(kRootInode, "f");
  EXPECT_EQ(b.Error(LinkOp{file, kRootInode, "g"}), 0);
  EXPECT_EQ(b.Get(file)->nlink, 2u);
  EXPECT_EQ(b.Error(LinkOp{file, kRootInode, "g"}), EEXIST);
  EXPECT_EQ(b.Error(LinkOp{kRootInode, kRootInode, "h"}), EPERM);
  EXPECT_EQ(b.Error(UnlinkOp{kRootInode, "f", false, 0}), 0);
  EXPECT_EQ(b.Get(file)->nlink, 1u);
  EXPECT_EQ(b.Error(UnlinkOp{kRootInode, "g", false, 0}), 0);
  EXPECT_FALSE(b.Get(file));
}

TEST_P(Names, RenameMovesBetweenDirectories) {
  const InodeNo a = b.MakeDirectory(kRootInode, "a");
  const InodeNo d = b.MakeDirectory(a, "d");
  EXPECT_EQ(b.Error(RenameOp{a, "d", kRootInode, "e", 0}), 0);
  EXPECT_EQ(b.Find(kRootInode, "e"), d);
  EXPECT_FALSE(b.Find(a, "d"));
  EXPECT_EQ(b.Get(a)->nlink, 2u);
  EXPECT_EQ(b.Get(kRootInode)->nlink, 4u);
  EXPECT_EQ(b.Get(d)->parent, kRootInode);
}

TEST_P(Names, RenameMovesNothingElseThanWhatIsMeant) {
  const InodeNo a = b.MakeFile(kRootInode, "a");
  const InodeNo c = b.MakeFile(kRootInode, "c");
  RenameOp op{kRootInode, "a", kRootInode, "d"};
  op.ino = c;
  EXPECT_EQ(b.Error(op), ESTALE);
  op.ino = a;
  EXPECT_EQ(b.Error(op), 0);
  EXPECT_EQ(b.Find(kRootInode, "d"), a);
  RenameOp exchange{kRootInode, "d", kRootInode, "c", kRenameExchange};
  exchange.ino = a;
  exchange.exchanged = a;
  EXPECT_EQ(b.Error(exchange), ESTALE);
  exchange.exchanged = c;
  EXPECT_EQ(b.Error(exchange), 0);
  EXPECT_EQ(b.Find(kRootInode, "c"), a);
  EXPECT_EQ(b.Find(kRootInode, "d"), c);
}

TEST_P(Names, RenameReplacesWhatMayBeReplaced) {
  const InodeNo a = b.MakeFile(kRootInode, "a");
  const InodeNo old = b.MakeFile(kRootInode, "b");
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "a", kRootInode, "b", 0}), 0);
  EXPECT_EQ(b.Find(kRootInode, "b"), a);
  EXPECT_FALSE(b.Get(old));
  const InodeNo d = b.MakeDirectory(kRootInode, "d");
  const InodeNo e = b.MakeDirectory(kRootInode, "e");
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "b", kRootInode, "d", 0}), EISDIR);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "d", kRootInode, "b", 0}), ENOTDIR);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "d", kRootInode, "e", 0}), 0);
  EXPECT_EQ(b.Find(kRootInode, "e"), d);
  EXPECT_FALSE(b.Get(e));
  EXPECT_EQ(b.Get(kRootInode)->nlink, 3u);
  b.MakeFile(d, "inside");
  b.MakeDirectory(kRootInode, "g");
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "g", kRootInode, "e", 0}), ENOTEMPTY);
}

TEST_P(Names, RenameNeverMakesACycle) {
  const InodeNo a = b.MakeDirectory(kRootInode, "a");
  const InodeNo c = b.MakeDirectory(a, "c");
  const InodeNo d = b.MakeDirectory(c, "d");
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "a", d, "x", 0}), EINVAL);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "a", a, "x", 0}), EINVAL);
  EXPECT_EQ(b.Error(RenameOp{c, "d", kRootInode, "a", kRenameExchange}), EINVAL);
  EXPECT_EQ(b.Error(RenameOp{c, "d", kRootInode, "a", 0}), ENOTEMPTY);
}

TEST_P(Names, RenameFlags) {
  const InodeNo f = b.MakeFile(kRootInode, "f");
  const InodeNo d = b.MakeDirectory(kRootInode, "d");
  const InodeNo sub = b.MakeDirectory(d, "sub");
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "f", kRootInode, "d", kRenameNoReplace}), EEXIST);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "f", kRootInode, "no", kRenameExchange}), ENOENT);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "f", kRootInode, "x", 3}), EINVAL);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "f", kRootInode, "x", 4}), EINVAL);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "f", d, "sub", kRenameExchange}), 0);
  EXPECT_EQ(b.Find(kRootInode, "f"), sub);
  EXPECT_EQ(b.Find(d, "sub"), f);
  EXPECT_EQ(b.Get(d)->nlink, 2u);
  EXPECT_EQ(b.Get(kRootInode)->nlink, 4u);
  EXPECT_EQ(b.Get(sub)->parent, kRootInode);
}

TEST_P(Names, RenameOfTwoLinksOfOneFileDoesNothing) {
  const InodeNo f = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Error(LinkOp{f, kRootInode, "g"}), 0);
  EXPECT_EQ(b.Error(RenameOp{kRootInode, "f", kRootInode, "g", 0}), 0);
  EXPECT_EQ(b.Find(kRootInode, "f"), f);
  EXPECT_EQ(b.Find(kRootInode, "g"), f);
}

TEST_P(Names, NamelessFilesLiveUntilTheSessionEnds) {
  ASSERT_EQ(b.Error(CreateOp{0, "", 20, S_IFREG | 0600, 0, 0, 0, {}}), 0);
  ASSERT_EQ(b.Error(CreateOp{0, "", 21, S_IFREG | 0600, 0, 0, 0, {}}), 0);
  EXPECT_EQ(b.Error(CreateOp{0, "", 22, S_IFDIR | 0700, 0, 0, 0, {}}), EINVAL);
  ASSERT_EQ(b.Write(20, 0, "content"), 0);
  ASSERT_EQ(b.Error(LinkOp{21, kRootInode, "kept"}), 0);
  ASSERT_TRUE(b.batches->EndSession(b.session));
  EXPECT_FALSE(b.Get(20));
  EXPECT_EQ(b.Get(21)->nlink, 1u);
  EXPECT_FALSE((*b.store->Read())->GetSession(b.session));
}

TEST_P(Names, XattrFlagsAndLimits) {
  const InodeNo f = b.MakeFile(kRootInode, "f");
  EXPECT_EQ(b.Error(SetXattrOp{f, "user.a", "1", kXattrReplace}), ENODATA);
  EXPECT_EQ(b.Error(SetXattrOp{f, "user.a", "1", kXattrCreate}), 0);
  EXPECT_EQ(b.Error(SetXattrOp{f, "user.a", "1", kXattrCreate}), EEXIST);
  EXPECT_EQ(b.Error(SetXattrOp{f, "user.a", "2", 0}), 0);
  EXPECT_EQ(b.Error(SetXattrOp{f, "user.b", "", 0}), 0);
  EXPECT_EQ(b.Error(SetXattrOp{f, "", "", 0}), EINVAL);
  EXPECT_EQ(b.Error(SetXattrOp{f, "user.big", std::string(65537, 'x'), 0}), E2BIG);
  EXPECT_EQ(b.Get(f)->xattr_count, 2u);
  EXPECT_EQ((*b.store->Read())->GetXattr(b.ws, f, "user.a"), "2");
  EXPECT_EQ((*b.store->Read())->GetXattr(b.ws, f, "user.b"), "");
  EXPECT_EQ(b.Error(RemoveXattrOp{f, "user.a"}), 0);
  EXPECT_EQ(b.Error(RemoveXattrOp{f, "user.a"}), ENODATA);
  EXPECT_EQ((*b.store->Read())->ListXattrs(b.ws, f), std::vector<std::string>{"user.b"});
}

TEST_P(Names, SetAttrChangesWhatIsPresent) {
  const InodeNo f = b.MakeFile(kRootInode, "f");
  SetAttrOp op;
  op.ino = f;
  op.mode = 04711;
  op.uid = 7;
  op.atime_ns = -5;
  ASSERT_EQ(b.Error(op, 77), 0);
  const Inode inode = *b.Get(f);
  EXPECT_EQ(inode.mode, uint32_t{S_IFREG | 04711});
  EXPECT_EQ(inode.uid, 7u);
  EXPECT_EQ(inode.gid, 0u);
  EXPECT_EQ(inode.atime_ns, -5);
  EXPECT_EQ(inode.ctime_ns, 77);
  EXPECT_EQ(inode.content_version, 1u);
  SetAttrOp grow;
  grow.ino = kRootInode;
  grow.size = 1;
  EXPECT_EQ(b.Error(grow), EISDIR);
  grow.ino = f;
  grow.size = kMaxFileBytes + 1;
  EXPECT_EQ(b.Error(grow), EFBIG);
  EXPECT_EQ(b.Error(SetAttrOp{}), ENOENT);
}

TEST_P(Names, TouchIsForDirectories) {
  const InodeNo f = b.MakeFile(kRootInode, "f");
  EXPECT_EQ(b.Error(TouchOp{f}), ENOTDIR);
  EXPECT_EQ(b.Error(TouchOp{kRootInode}, 4242), 0);
  EXPECT_EQ(b.Get(kRootInode)->mtime_ns, 4242);
}

TEST_P(Names, CommitsTellWhatChanged) {
  if (b.EngineTells()) GTEST_SKIP() << "this engine tells by itself";
  b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.published.names.size(), 1u);
  EXPECT_EQ(b.published.names[0].name, "f");
  EXPECT_EQ(b.published.inodes, (std::vector<InodeNo>{1, 2}));
}

TEST_P(Names, UsageFollowsCreatesAndWrites) {
  const InodeNo f = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Write(f, 0, std::string(1000, 'x')), 0);
  EXPECT_EQ((*b.store->Read())->GetWorkspace(b.ws)->used_bytes, 1000u);
  EXPECT_EQ((*b.store->Read())->GetWorkspace(b.ws)->inodes, 2u);
  ASSERT_EQ(b.Error(UnlinkOp{kRootInode, "f", false, 0}), 0);
  EXPECT_EQ((*b.store->Read())->GetWorkspace(b.ws)->used_bytes, 0u);
  EXPECT_EQ((*b.store->Read())->GetWorkspace(b.ws)->inodes, 1u);
}

TEST_P(Names, ListingsComeInPagesInByteOrder) {
  std::vector<std::string> expected;
  for (int i = 0; i < 50; ++i) expected.push_back("n" + std::to_string(i * 7 % 50));
  expected.push_back("\xff\xfe");
  expected.push_back("\x01");
  for (const std::string& name : expected) b.MakeFile(kRootInode, name);
  std::sort(expected.begin(), expected.end());
  std::vector<std::string> seen;
  std::string after;
  bool end = false;
  while (!end) {
    auto reader = b.store->Read();
    Resolver resolver(**reader, *b.blocks, b.ws);
    Listed listed;
    ASSERT_EQ(resolver.List({kRootInode, after, 13, 0, 0}, &listed), 0);
    ASSERT_LE(listed.entries.size(), 13u);
    for (const ResolvedEntry& e : listed.entries) seen.push_back(e.name);
    end = listed.end;
    if (!seen.empty()) after = seen.back();
  }
  EXPECT_EQ(seen, expected);
}

TEST_P(Names, ListingsInlineSmallFilesWithinTheirBudget) {
  for (int i = 0; i < 4; ++i) {
    const InodeNo f = b.MakeFile(kRootInode, "f" + std::to_string(i));
    ASSERT_EQ(b.Write(f, 0, std::string(100, static_cast<char>('a' + i))), 0);
  }
  const InodeNo large = b.MakeFile(kRootInode, "large");
  ASSERT_EQ(b.Write(large, 0, std::string(5000, 'L')), 0);
  b.MakeFile(kRootInode, "empty");
  auto reader = b.store->Read();
  Resolver resolver(**reader, *b.blocks, b.ws);
  Listed listed;
  ASSERT_EQ(resolver.List({kRootInode, "", 0, 1000, 250}, &listed), 0);
  ASSERT_EQ(listed.entries.size(), 6u);
  EXPECT_TRUE(listed.end);
  EXPECT_TRUE(listed.entries[0].inlined);  // "empty"
  EXPECT_EQ(listed.entries[1].content, std::string(100, 'a'));
  EXPECT_EQ(listed.entries[2].content, std::string(100, 'b'));
  EXPECT_FALSE(listed.entries[3].inlined);  // the budget is used up
  EXPECT_FALSE(listed.entries[5].inlined);  // too large
}

INSTANTIATE_TEST_SUITE_P(Engine, Names, testing::Values(&OpenEngine));

}  // namespace
}  // namespace airstore::gateway
