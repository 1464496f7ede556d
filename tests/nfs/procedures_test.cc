// SPDX-License-Identifier: Apache-2.0
//
// Each procedure, by calls made word by word.
#include <sys/stat.h>

#include <set>
#include <thread>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

class Procedures : public ServedTest {
 protected:
  void SetUp() override {
    ServedTest::SetUp();
    if (IsSkipped()) return;
    client_ = Connect();
    root_ = client_->Mount(path());
  }
  // The names of a listing, in its order.
  std::vector<std::string> List(const Handle& directory, uint32_t count);

  std::unique_ptr<Client> client_;
  Handle root_;
};

std::vector<std::string> Procedures::List(const Handle& directory, uint32_t count) {
  std::vector<std::string> names;
  READDIRPLUS3args args{Wire(directory), 0, {}, count, count};
  for (;;) {
    Body body(client_->Nfs(NFSPROC3_READDIRPLUS, Code(xdr_READDIRPLUS3args, args)).body);
    EXPECT_EQ(body.Status(), NFS3_OK);
    const auto head = body.Take(xdr_READDIR3reshead);
    memcpy(args.cookieverf, head.cookieverf, sizeof(args.cookieverf));
    while (body.Take(xdr_bool)) {
      const auto entry = body.Take(xdr_entryplus3);
      names.emplace_back(entry.name.filename3_val, entry.name.filename3_len);
      args.cookie = entry.cookie;
    }
    if (body.Take(xdr_bool)) return names;
  }
}

TEST_F(Procedures, FindAndDescribe) {
  fattr3 attributes{};
  ASSERT_EQ(client_->Getattr(root_, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.type, NF3DIR);
  Handle file;
  ASSERT_EQ(client_->Make(root_, "file", 0640, &file), NFS3_OK);
  Handle found;
  ASSERT_EQ(client_->Lookup(root_, "file", &found), NFS3_OK);
  EXPECT_EQ(found, file);
  ASSERT_EQ(client_->Lookup(root_, ".", &found), NFS3_OK);
  EXPECT_EQ(found, root_);
  ASSERT_EQ(client_->Lookup(root_, "..", &found), NFS3_OK);
  EXPECT_EQ(found, root_);
  ASSERT_EQ(client_->Getattr(file, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.type, NF3REG);
  EXPECT_EQ(attributes.mode, 0640u);
  EXPECT_EQ(client_->Lookup(root_, "nothing", nullptr), NFS3ERR_NOENT);
  EXPECT_EQ(client_->Lookup(file, "x", nullptr), NFS3ERR_NOTDIR);
  EXPECT_EQ(client_->Lookup(root_, std::string(256, 'x'), nullptr), NFS3ERR_NAMETOOLONG);
  EXPECT_EQ(client_->Make(root_, "a/b", 0644, nullptr), NFS3ERR_INVAL);
  EXPECT_EQ(client_->Make(root_, std::string("a\0b", 3), 0644, nullptr), NFS3ERR_INVAL);
  EXPECT_EQ(client_->Make(root_, ".", 0644, nullptr), NFS3ERR_EXIST);

  // A handle stays good when its file moves, and ends with it.
  Handle directory;
  ASSERT_EQ(client_->Mkdir(root_, "directory", 0755, &directory), NFS3_OK);
  Body moved(client_->Nfs(NFSPROC3_RENAME, Where(root_, "file") + Where(directory, "moved")).body);
  EXPECT_EQ(moved.Status(), NFS3_OK);
  EXPECT_EQ(client_->Getattr(file, &attributes), NFS3_OK);
  Body linked(
      client_->Nfs(NFSPROC3_LINK, Code(xdr_nfs_fh3, Wire(file)) + Where(root_, "link")).body);
  EXPECT_EQ(linked.Status(), NFS3_OK);
  EXPECT_EQ(client_->Remove(directory, "moved"), NFS3_OK);
  EXPECT_EQ(client_->Getattr(file, &attributes), NFS3_OK);
  EXPECT_EQ(client_->Remove(root_, "link"), NFS3_OK);
  EXPECT_EQ(client_->Getattr(file, &attributes), NFS3ERR_STALE);
  EXPECT_EQ(client_->Write(file, 0, "x", UNSTABLE), NFS3ERR_STALE);
  Body removed(client_->Nfs(NFSPROC3_RMDIR, Where(root_, "directory")).body);
  EXPECT_EQ(removed.Status(), NFS3_OK);
  EXPECT_EQ(client_->Make(directory, "late", 0644, nullptr), NFS3ERR_STALE);
}

// Also while the gateway is told of it: the broker asks that for what it does not know.
TEST_F(Procedures, RemoveForGood) {
  constexpr int kRounds = 5;
  for (int round = 0; round < kRounds; ++round) {
    Handle file;
    ASSERT_EQ(client_->Make(root_, "file", 0640, &file), NFS3_OK);
    ASSERT_EQ(client_->Write(file, 0, "content", FILE_SYNC), NFS3_OK);
    ASSERT_EQ(client_->Remove(root_, "file"), NFS3_OK);
    // So many that one of them is under way when the gateway is told.
    const auto end = e2e::Now() + std::chrono::milliseconds(200);
    std::vector<std::thread> askers;
    for (int asker = 0; asker < 4; ++asker) {
      askers.emplace_back([&] {
        const auto client = Connect();
        fattr3 attributes{};
        while (e2e::Now() < end && client->Getattr(file, &attributes) == NFS3ERR_STALE) {
        }
        EXPECT_EQ(client->Getattr(file, &attributes), NFS3ERR_STALE);
      });
    }
    for (std::thread& asker : askers) asker.join();
    EXPECT_EQ(client_->Write(file, 0, "x", UNSTABLE), NFS3ERR_STALE);
  }
}

TEST_F(Procedures, MakeEveryKind) {
  Body link(client_
                ->Nfs(NFSPROC3_SYMLINK, Where(root_, "link") + Code(xdr_sattr3, sattr3{}) +
                                            Code(xdr_filename3, WireName("some/where")))
                .body);
  ASSERT_EQ(link.Status(), NFS3_OK);
  Handle handle;
  ASSERT_EQ(client_->Lookup(root_, "link", &handle), NFS3_OK);
  Body target(client_->Nfs(NFSPROC3_READLINK, Code(xdr_nfs_fh3, Wire(handle))).body);
  ASSERT_EQ(target.Status(), NFS3_OK);
  const auto read = target.Take(xdr_READLINK3resok);
  EXPECT_EQ(std::string(read.data.nfspath3_val, read.data.nfspath3_len), "some/where");

  mknoddata3 fifo{};
  fifo.type = NF3FIFO;
  fifo.mknoddata3_u.pipe_attributes = WithMode(0600);
  Body made(client_->Nfs(NFSPROC3_MKNOD, Where(root_, "fifo") + Code(xdr_mknoddata3, fifo)).body);
  EXPECT_EQ(made.Status(), NFS3_OK);
  mknoddata3 device{};
  device.type = NF3CHR;
  device.mknoddata3_u.chr_device = {WithMode(0600), {5, 6}};
  const std::string arguments = Where(root_, "device") + Code(xdr_mknoddata3, device);
  client_->Become({.uid = 1000, .gid = 1000});
  Body refused(client_->Nfs(NFSPROC3_MKNOD, arguments).body);
  EXPECT_EQ(refused.Status(), NFS3ERR_ACCES);
  client_->Become({});
  Body allowed(client_->Nfs(NFSPROC3_MKNOD, arguments).body);
  EXPECT_EQ(allowed.Status(), NFS3_OK);
  fattr3 attributes{};
  ASSERT_EQ(client_->Lookup(root_, "device", &handle), NFS3_OK);
  ASSERT_EQ(client_->Getattr(handle, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.type, NF3CHR);
  EXPECT_EQ(attributes.rdev.specdata2, 6u);
  mknoddata3 regular{};
  regular.type = NF3REG;
  Body bad(client_->Nfs(NFSPROC3_MKNOD, Where(root_, "x") + Code(xdr_mknoddata3, regular)).body);
  EXPECT_EQ(bad.Status(), NFS3ERR_BADTYPE);
}

TEST_F(Procedures, CreateInThreeWays) {
  createhow3 how{};
  how.mode = EXCLUSIVE;
  memcpy(how.createhow3_u.verf, "verifier", 8);
  Handle first;
  Handle again;
  ASSERT_EQ(client_->Create(root_, "exclusive", how, &first), NFS3_OK);
  // The same client asks once more, then another one.
  EXPECT_EQ(client_->Create(root_, "exclusive", how, &again), NFS3_OK);
  EXPECT_EQ(first, again);
  memcpy(how.createhow3_u.verf, "another1", 8);
  EXPECT_EQ(client_->Create(root_, "exclusive", how, nullptr), NFS3ERR_EXIST);
  EXPECT_EQ(client_->Make(root_, "exclusive", 0644, nullptr), NFS3ERR_EXIST);

  ASSERT_EQ(client_->Write(first, 0, "content", FILE_SYNC), NFS3_OK);
  createhow3 unchecked{};
  unchecked.mode = UNCHECKED;
  ASSERT_EQ(client_->Create(root_, "exclusive", unchecked, &again), NFS3_OK);
  EXPECT_EQ(first, again);
  fattr3 attributes{};
  ASSERT_EQ(client_->Getattr(first, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.size, 7u);
  unchecked.createhow3_u.unchecked_attributes.size.set_it = TRUE;
  ASSERT_EQ(client_->Create(root_, "exclusive", unchecked, &again), NFS3_OK);
  ASSERT_EQ(client_->Getattr(first, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.size, 0u);
}

TEST_F(Procedures, KeepContent) {
  Handle file;
  ASSERT_EQ(client_->Make(root_, "file", 0644, &file), NFS3_OK);
  std::string data;
  bool end = false;
  ASSERT_EQ(client_->Read(file, 0, 10, &data, &end), NFS3_OK);
  EXPECT_EQ(data, "");
  EXPECT_TRUE(end);
  const std::string large = e2e::RandomBytes(1, 3 << 20);
  for (size_t at = 0; at < large.size(); at += 1 << 20) {
    ASSERT_EQ(client_->Write(file, at, large.substr(at, 1 << 20), UNSTABLE), NFS3_OK);
  }
  ASSERT_EQ(client_->Commit(file), NFS3_OK);
  ASSERT_EQ(client_->Write(file, 10, "overwritten", DATA_SYNC), NFS3_OK);
  std::string expected = large;
  expected.replace(10, 11, "overwritten");
  std::string all;
  for (end = false; !end; all += data) {
    ASSERT_EQ(client_->Read(file, all.size(), 1 << 20, &data, &end), NFS3_OK);
  }
  EXPECT_TRUE(all == expected);
  ASSERT_EQ(client_->Read(file, 12, 5, &data, &end), NFS3_OK);
  EXPECT_EQ(data, expected.substr(12, 5));
  EXPECT_FALSE(end);

  sattr3 shorter{};
  shorter.size.set_it = TRUE;
  shorter.size.set_size3_u.size = 15;
  ASSERT_EQ(client_->Setattr(file, shorter), NFS3_OK);
  ASSERT_EQ(client_->Read(file, 0, 100, &data, &end), NFS3_OK);
  EXPECT_EQ(data, expected.substr(0, 15));
  EXPECT_TRUE(end);
  EXPECT_EQ(client_->Write(root_, 0, "x", UNSTABLE), NFS3ERR_ISDIR);
  EXPECT_EQ(client_->Write(file, uint64_t{1} << 44, "x", UNSTABLE), NFS3ERR_FBIG);
}

TEST_F(Procedures, ListWithCookiesThatLast) {
  Handle directory;
  ASSERT_EQ(client_->Mkdir(root_, "many", 0755, &directory), NFS3_OK);
  std::set<std::string> expected = {".", ".."};
  for (int i = 0; i < 300; ++i) {
    const std::string name = "name-" + std::to_string(i);
    ASSERT_EQ(client_->Make(directory, name, 0644, nullptr), NFS3_OK);
    expected.insert(name);
  }
  for (const uint32_t count : {1024u, 4096u, 65536u}) {
    const auto names = List(directory, count);
    EXPECT_EQ(names.size(), expected.size()) << count;
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), expected) << count;
  }
  // Too small for one entry; with a verifier of nobody.
  READDIR3args args{Wire(directory), 0, {}, 100};
  Body small(client_->Nfs(NFSPROC3_READDIR, Code(xdr_READDIR3args, args)).body);
  EXPECT_EQ(small.Status(), NFS3ERR_TOOSMALL);
  args.count = 4096;
  args.cookie = 5;
  Body bad(client_->Nfs(NFSPROC3_READDIR, Code(xdr_READDIR3args, args)).body);
  EXPECT_EQ(bad.Status(), NFS3ERR_BAD_COOKIE);
}

TEST_F(Procedures, CheckPermissions) {
  Handle file;
  Handle directory;
  ASSERT_EQ(client_->Mkdir(root_, "open", 0777, &directory), NFS3_OK);
  client_->Become({.uid = 1000, .gid = 1000, .groups = {2000, 2001}});
  EXPECT_EQ(client_->Make(root_, "refused", 0644, nullptr), NFS3ERR_ACCES);
  // As git makes its objects: read-only from the beginning, and written to.
  ASSERT_EQ(client_->Make(directory, "object", 0444, &file), NFS3_OK);
  EXPECT_EQ(client_->Write(file, 0, "object", UNSTABLE), NFS3_OK);
  fattr3 attributes{};
  ASSERT_EQ(client_->Getattr(file, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.uid, 1000u);
  EXPECT_EQ(attributes.gid, 1000u);
  EXPECT_EQ(client_->Access(file, 0x3f), uint32_t{ACCESS3_READ});
  sattr3 give{};
  give.uid.set_it = TRUE;
  give.uid.set_uid3_u.uid = 1001;
  EXPECT_EQ(client_->Setattr(file, give), NFS3ERR_PERM);
  sattr3 group{};
  group.gid.set_it = TRUE;
  group.gid.set_gid3_u.gid = 2001;
  EXPECT_EQ(client_->Setattr(file, group), NFS3_OK);
  EXPECT_EQ(client_->Setattr(file, WithMode(0640)), NFS3_OK);

  // Through a group that is not the first one.
  std::string data;
  client_->Become({.uid = 1001, .gid = 1001, .groups = {2001}});
  EXPECT_EQ(client_->Read(file, 0, 10, &data), NFS3_OK);
  EXPECT_EQ(client_->Write(file, 0, "x", UNSTABLE), NFS3ERR_ACCES);
  EXPECT_EQ(client_->Setattr(file, WithMode(0777)), NFS3ERR_PERM);
  client_->Become({.uid = 1001, .gid = 1001});
  EXPECT_EQ(client_->Read(file, 0, 10, &data), NFS3ERR_ACCES);
  EXPECT_EQ(client_->Access(file, 0x3f), 0u);
  client_->Become({});
  EXPECT_EQ(client_->Setattr(directory, WithMode(01777)), NFS3_OK);
  client_->Become({.uid = 1001, .gid = 1001});
  EXPECT_EQ(client_->Remove(directory, "object"), NFS3ERR_PERM);
  client_->Become({.uid = 1000, .gid = 1000});
  EXPECT_EQ(client_->Remove(directory, "object"), NFS3_OK);
}

TEST_F(Procedures, WriteToASetIdFileOfTheirGroup) {
  Handle file;
  ASSERT_EQ(client_->Make(root_, "tool", 0644, &file), NFS3_OK);
  sattr3 group{};
  group.gid.set_it = TRUE;
  group.gid.set_gid3_u.gid = 2001;
  ASSERT_EQ(client_->Setattr(file, group), NFS3_OK);
  ASSERT_EQ(client_->Setattr(file, WithMode(02775)), NFS3_OK);
  client_->Become({.uid = 1001, .gid = 1001, .groups = {2001}});
  EXPECT_EQ(client_->Write(file, 0, "x", UNSTABLE), NFS3_OK);
  fattr3 attributes{};
  ASSERT_EQ(client_->Getattr(file, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.mode & 07777, 0775u);
}

TEST_F(Procedures, OpenNothingInADirectoryThatIsClosed) {
  Handle directory;
  Handle file;
  createhow3 unchecked{};
  unchecked.mode = UNCHECKED;
  ASSERT_EQ(client_->Mkdir(root_, "closed", 0755, &directory), NFS3_OK);
  ASSERT_EQ(client_->Make(directory, "file", 0666, &file), NFS3_OK);
  client_->Become({.uid = 1000, .gid = 1000});
  EXPECT_EQ(client_->Create(directory, "file", unchecked, &file), NFS3_OK) << "it is there";
  client_->Become({});
  ASSERT_EQ(client_->Setattr(directory, WithMode(0700)), NFS3_OK);
  client_->Become({.uid = 1000, .gid = 1000});
  EXPECT_EQ(client_->Create(directory, "file", unchecked, &file), NFS3ERR_ACCES);
}

TEST_F(Procedures, DescribeTheFileSystem) {
  const std::string arguments = Code(xdr_nfs_fh3, Wire(root_));
  Body info(client_->Nfs(NFSPROC3_FSINFO, arguments).body);
  ASSERT_EQ(info.Status(), NFS3_OK);
  const auto sizes = info.Take(xdr_FSINFO3resok);
  EXPECT_EQ(sizes.rtmax, 1u << 20);
  EXPECT_EQ(sizes.wtmax, 1u << 20);
  EXPECT_TRUE(info.AtEnd());
  Body conf(client_->Nfs(NFSPROC3_PATHCONF, arguments).body);
  ASSERT_EQ(conf.Status(), NFS3_OK);
  EXPECT_EQ(conf.Take(xdr_PATHCONF3resok).name_max, 255u);
  Body stat(client_->Nfs(NFSPROC3_FSSTAT, arguments).body);
  ASSERT_EQ(stat.Status(), NFS3_OK);
  EXPECT_GT(stat.Take(xdr_FSSTAT3resok).tbytes, 0u);
}

}  // namespace
}  // namespace airstore::nfs_test
