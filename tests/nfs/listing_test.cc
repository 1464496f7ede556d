// SPDX-License-Identifier: Apache-2.0
//
// Cookies and handles that outlive everything but their files: frontends, brokers, room in the
// tables, exports.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

class Listing : public ServedTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--inode-limit", "2000"}, .patience = Patience()};
  }
  void SetUp() override {
    ServedTest::SetUp();
    if (IsSkipped()) return;
    root_ = Connect()->Mount(path());
  }
  struct Page {
    std::vector<std::string> names;
    uint64_t cookie = 0;
    bool end = false;
  };
  // As much as fits, from behind the page's cookie on.
  static void GoOn(Client& client, const Handle& directory, uint32_t bytes, Page* page) {
    READDIR3args args{Wire(directory), page->cookie, {}, bytes};
    memcpy(args.cookieverf, verifier_, sizeof(args.cookieverf));
    Body body(client.Nfs(NFSPROC3_READDIR, Code(xdr_READDIR3args, args)).body);
    ASSERT_EQ(body.Status(), NFS3_OK);
    const auto head = body.Take(xdr_READDIR3reshead);
    memcpy(verifier_, head.cookieverf, sizeof(verifier_));
    while (body.Take(xdr_bool)) {
      const auto entry = body.Take(xdr_entry3);
      page->names.emplace_back(entry.name.filename3_val, entry.name.filename3_len);
      page->cookie = entry.cookie;
    }
    page->end = body.Take(xdr_bool) != 0;
  }
  static void ExpectOnce(const std::vector<std::string>& names, size_t count) {
    const std::set<std::string> different(names.begin(), names.end());
    EXPECT_EQ(different.size(), names.size());
    EXPECT_EQ(names.size(), count);
  }
  // Everything of this host but the state directory goes, and the export is made again.
  void Lose() {
    host().KillBrokerAndMounts();
    host().StartBroker();
    const auto again = Serve(name())["nfs"];
    EXPECT_EQ(again["port"].get<uint16_t>(), port());
    EXPECT_EQ(again["path"], path());
  }

  static constexpr size_t kNames = 50;
  static constexpr uint32_t kBytes = 600;  // of some ten names
  Handle root_;
  inline static cookieverf3 verifier_{};
};

// Many more directories than anything could remember, most of which have left the tables by then.
TEST_F(Listing, GoesOnWhereItWasWhateverHappened) {
  constexpr int kDirectories = 130;
  const std::string mount = host().Mount("work", "mnt");
  for (int i = 0; i < kDirectories; ++i) {
    const std::string directory = mount + "/d" + std::to_string(i);
    std::filesystem::create_directory(directory);
    for (size_t j = 0; j < kNames; ++j) {
      e2e::WriteFile(directory + "/name" + std::to_string(j), "");
    }
  }
  host().Unmount(mount);
  std::vector<Handle> directories(kDirectories);
  std::vector<Page> pages(kDirectories);
  auto client = Connect();
  for (int i = 0; i < kDirectories; ++i) {
    ASSERT_EQ(client->Lookup(root_, "d" + std::to_string(i), &directories[i]), NFS3_OK);
    GoOn(*client, directories[i], kBytes, &pages[i]);
    EXPECT_FALSE(pages[i].end);
  }
  for (int round = 0;; ++round) {
    bool more = false;
    for (int i = 0; i < kDirectories; ++i) {
      if (!pages[i].end) GoOn(*client, directories[i], kBytes, &pages[i]);
      more = more || !pages[i].end;
    }
    if (!more) break;
    client.reset();
    if (round == 0) KillFrontend();
    if (round == 1) {
      host().KillBroker();
      host().StartBroker();
    }
    if (round == 2) Lose();
    client = Connect();
  }
  for (const Page& page : pages) ExpectOnce(page.names, kNames + 2);
}

TEST_F(Listing, TellsOfWhatStaysOnceWhileNamesComeAndGo) {
  Handle directory;
  auto client = Connect();
  ASSERT_EQ(client->Mkdir(root_, "d", 0755, &directory), NFS3_OK);
  for (size_t i = 0; i < 300; ++i) {
    ASSERT_EQ(client->Make(directory, "stays" + std::to_string(i), 0644, nullptr), NFS3_OK);
    ASSERT_EQ(client->Make(directory, "goes" + std::to_string(i), 0644, nullptr), NFS3_OK);
  }
  Page page;
  for (size_t i = 0; !page.end; ++i) {
    GoOn(*client, directory, kBytes, &page);
    for (size_t j = i * 20; j < i * 20 + 20 && j < 300; ++j) {
      ASSERT_EQ(client->Remove(directory, "goes" + std::to_string(j)), NFS3_OK);
      ASSERT_EQ(client->Make(directory, "comes" + std::to_string(j), 0644, nullptr), NFS3_OK);
    }
  }
  std::vector<std::string> stayed;
  for (const std::string& name : page.names) {
    if (name.rfind("stays", 0) == 0) stayed.push_back(name);
  }
  ExpectOnce(stayed, 300);
  ExpectOnce(page.names, page.names.size());
  // A cookie of nobody's is just a place.
  Page behind;
  behind.cookie = ~uint64_t{0} >> 1;
  GoOn(*client, directory, kBytes, &behind);
  EXPECT_TRUE(behind.end);
  EXPECT_TRUE(behind.names.empty());
}

TEST_F(Listing, HandlesOutliveTheirExport) {
  Handle directory, file;
  ASSERT_EQ(Connect()->Mkdir(root_, "d", 0755, &directory), NFS3_OK);
  ASSERT_EQ(Connect()->Make(directory, "f", 0644, &file), NFS3_OK);
  ASSERT_EQ(Connect()->Write(file, 0, "content", FILE_SYNC), NFS3_OK);
  Lose();
  EXPECT_EQ(Connect()->Mount(path()), root_);
  std::string data;
  ASSERT_EQ(Connect()->Read(file, 0, 100, &data), NFS3_OK);
  EXPECT_EQ(data, "content");
  Body moved(Connect()->Nfs(NFSPROC3_RENAME, Where(directory, "f") + Where(root_, "g")).body);
  ASSERT_EQ(moved.Status(), NFS3_OK);
  ASSERT_EQ(Connect()->Read(file, 0, 100, &data), NFS3_OK);
  // ".." of a directory that was found by a name.
  Handle up;
  ASSERT_EQ(Connect()->Lookup(root_, "d", nullptr), NFS3_OK);
  ASSERT_EQ(Connect()->Lookup(directory, "..", &up), NFS3_OK);
  EXPECT_EQ(up, root_);
  ASSERT_EQ(Connect()->Remove(root_, "g"), NFS3_OK);
  Lose();
  EXPECT_EQ(Connect()->Read(file, 0, 100, &data), NFS3ERR_STALE);
  fattr3 attributes{};
  EXPECT_EQ(Connect()->Getattr(directory, &attributes), NFS3_OK);
}

uint64_t PrivateBytes(pid_t pid) {
  const std::string text = e2e::ReadFile("/proc/" + std::to_string(pid) + "/smaps_rollup");
  uint64_t kib = 0;
  for (const char* field : {"Private_Clean:", "Private_Dirty:"}) {
    const size_t at = text.find(field);
    if (at != std::string::npos) kib += std::stoull(text.substr(at + strlen(field)));
  }
  return kib * 1024;
}

// Many more files than the tables have room for, each handed out many times. AIRSTORE_NFS_LONG=1:
// 200,000 files, 10,000,000 handles; else, or with AIRSTORE_NFS_FILES, fewer.
TEST_F(Listing, MemoryDoesNotGrowWithTheFilesThatWereSeen) {
  const bool all = e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0;
  const uint64_t files = e2e::EnvOr("AIRSTORE_NFS_FILES", all ? 200'000 : 4'000);
  const int walks = all ? 50 : 2;
  constexpr uint64_t kEach = 1000;
  const std::string mount = host().Mount("work", "mnt");
  for (uint64_t i = 0; i < files; ++i) {
    const std::string directory = mount + "/d" + std::to_string(i / kEach);
    if (i % kEach == 0) std::filesystem::create_directory(directory);
    ASSERT_TRUE(e2e::Open(directory + "/f" + std::to_string(i), O_CREAT | O_WRONLY));
  }
  host().Unmount(mount);
  auto client = Connect();
  uint64_t handles = 0;
  // Also asks for each by its name, and for its attributes.
  const auto walk = [&](const std::string& name, bool ask) {
    Handle directory;
    ASSERT_EQ(client->Lookup(root_, name, &directory), NFS3_OK);
    READDIRPLUS3args args{Wire(directory), 0, {}, 65536, 65536};
    for (bool end = false; !end;) {
      Body body(client->Nfs(NFSPROC3_READDIRPLUS, Code(xdr_READDIRPLUS3args, args)).body);
      ASSERT_EQ(body.Status(), NFS3_OK);
      const auto head = body.Take(xdr_READDIR3reshead);
      memcpy(args.cookieverf, head.cookieverf, sizeof(args.cookieverf));
      while (body.Take(xdr_bool)) {
        const auto entry = body.Take(xdr_entryplus3);
        args.cookie = entry.cookie;
        const std::string file(entry.name.filename3_val, entry.name.filename3_len);
        if (file[0] == '.') continue;
        ++handles;
        // There is none of what has left the tables meanwhile.
        if (entry.name_handle.handle_follows && !ask) continue;
        Handle found;
        ASSERT_EQ(client->Lookup(directory, file, &found), NFS3_OK);
        fattr3 attributes{};
        ASSERT_EQ(client->Getattr(found, &attributes), NFS3_OK);
      }
      end = body.Take(xdr_bool) != 0;
    }
  };
  uint64_t at_half = 0;
  for (uint64_t d = 0; d * kEach < files; ++d) {
    for (int i = 0; i < walks; ++i) {
      walk("d" + std::to_string(d), i == 0);
      ASSERT_FALSE(HasFatalFailure());
    }
    if (d == files / kEach / 2) at_half = PrivateBytes(Frontend());
  }
  EXPECT_EQ(handles, files * static_cast<uint64_t>(walks));
  const uint64_t at_end = PrivateBytes(Frontend());
  printf("%lu files, %lu handles: %lu KiB at half, %lu KiB at the end", files, handles,
         at_half / 1024, at_end / 1024);
  EXPECT_LE(at_end, 8u << 20);
  EXPECT_LE(at_end, at_half + (512u << 10));
  // What was needed for it comes back.
  EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(20),
                             [&] { return PrivateBytes(Frontend()) <= at_half; }));
  printf(", %lu KiB idle\n", PrivateBytes(Frontend()) / 1024);
}

}  // namespace
}  // namespace airstore::nfs_test
