// SPDX-License-Identifier: Apache-2.0
//
// What clients are told, and what is kept, when the gateway is away, the spool is full, the
// workspace is deleted, another host was first, or there is no frontend to be had.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/e2e/support/other_broker.h"
#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

using std::chrono::seconds;

class Outages : public ServedTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--write-stall-timeout", "2s", "--io-timeout", "5s"},
            .gateway_arguments = {"--session-seconds", "3"},
            .patience = Patience()};
  }
  void SetUp() override {
    ServedTest::SetUp();
    if (!IsSkipped()) root_ = Connect()->Mount(path());
  }
  Handle Made(const std::string& name, const std::string& content, stable_how stable) {
    auto client = Connect();
    Handle file;
    EXPECT_EQ(client->Make(root_, name, 0644, &file), NFS3_OK) << name;
    EXPECT_EQ(client->Write(file, 0, content, stable), NFS3_OK) << name;
    return file;
  }
  std::string ContentOf(const Handle& file) {
    std::string data;
    EXPECT_EQ(Connect()->Read(file, 0, 1u << 20, &data), NFS3_OK);
    return data;
  }
  // Names are known here from then on, also those that there are not.
  void KnowNames() {
    auto client = Connect();
    for (const char* name : {"nothing", "nothing else", "nothing at all"}) {
      ASSERT_EQ(client->Lookup(root_, name, nullptr), NFS3ERR_NOENT);
    }
  }
  // Changes of names that are on their way arrive.
  void AwaitSent() {
    ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] {
      return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
    }));
  }
  // Of content that was refused and is kept.
  std::string Lost(const std::string& path) {
    const nlohmann::json items = host().AirctlJson({"recover"}).at("items");
    for (const auto& item : items) {
      if (item.at("what") != "content" || item.at("path") != path) continue;
      return e2e::ReadFile(item.at("location").get<std::string>());
    }
    return {};
  }

  Handle root_;
};

TEST_F(Outages, WithoutAGatewayWhatIsHereGoesOn) {
  const Handle file = Made("file", "content", FILE_SYNC);
  AwaitSent();
  KnowNames();
  host().FreezeGateway();
  const std::string before = e2e::RandomBytes(1, 100'000);
  const Handle unsent = Made("before", before, UNSTABLE);
  for (int round = 0; round < 2; ++round) {
    host().KillBroker();
    host().StartBroker();
    EXPECT_EQ(ContentOf(file), "content");
    EXPECT_EQ(ContentOf(unsent), before);
    Made("after" + std::to_string(round), before, UNSTABLE);
  }
  Body moved(Connect()->Nfs(NFSPROC3_RENAME, Where(root_, "file") + Where(root_, "moved")).body);
  EXPECT_EQ(moved.Status(), NFS3_OK);
  // Only what is promised for ever has to wait, and says so.
  auto client = Connect();
  EXPECT_EQ(client->Commit(unsent), NFS3ERR_JUKEBOX);
  host().ThawGateway();
  EXPECT_EQ(client->Commit(unsent), NFS3_OK);
  client.reset();
  const std::string mount = MountElsewhere();
  EXPECT_EQ(e2e::NamesIn(mount), (std::set<std::string>{"moved", "before", "after0", "after1"}));
  for (const char* name : {"before", "after0", "after1"}) {
    EXPECT_TRUE(e2e::ReadFile(mount + "/" + name) == before) << name;
  }
}

// AIRSTORE_NFS_LONG=1: ten minutes.
TEST_F(Outages, WhatIsWrittenMeanwhileArrives) {
  constexpr size_t kBytes = 60'000;
  struct Written {
    Handle file;
    std::string verifier;
  };
  Made("before", "content", FILE_SYNC);
  AwaitSent();
  KnowNames();
  host().FreezeGateway();
  const seconds away(e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0 ? 600 : 2);
  std::vector<Written> files;
  auto client = Connect();
  for (const auto end = e2e::Now() + away; e2e::Now() < end;) {
    const std::string data = e2e::RandomBytes(files.size(), kBytes);
    Written written;
    ASSERT_EQ(client->Make(root_, std::to_string(files.size()), 0644, &written.file), NFS3_OK);
    WRITE3resok answer{};
    ASSERT_EQ(client->Write(written.file, 0, data.substr(0, kBytes / 2), UNSTABLE), NFS3_OK);
    ASSERT_EQ(client->Write(written.file, kBytes / 2, data.substr(kBytes / 2), UNSTABLE, &answer),
              NFS3_OK);
    written.verifier.assign(answer.verf, sizeof(answer.verf));
    files.push_back(std::move(written));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_FALSE(files.empty());
  host().ThawGateway();
  for (const Written& written : files) {
    COMMIT3resok answer{};
    nfsstat3 status = NFS3ERR_JUKEBOX;
    ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] {
      status = client->Commit(written.file, &answer);
      return status != NFS3ERR_JUKEBOX;
    }));
    ASSERT_EQ(status, NFS3_OK);
    EXPECT_EQ(std::string(answer.verf, sizeof(answer.verf)), written.verifier);
  }
  client.reset();
  const std::string mount = MountElsewhere();
  EXPECT_EQ(e2e::NamesIn(mount).size(), files.size() + 1);
  for (size_t i = 0; i < files.size(); ++i) {
    ASSERT_TRUE(e2e::ReadFile(mount + "/" + std::to_string(i)) == e2e::RandomBytes(i, kBytes)) << i;
  }
}

// A client that is told to ask again does so with a new call. What the first one has done does not
// stand in its way, however often it is asked; that of somebody later does.
TEST_F(Outages, AChangeThatIsAskedForAgainIsMadeOnce) {
  Made("file", "content", FILE_SYNC);
  Made("old", "old", FILE_SYNC);
  Made("from", "moved", FILE_SYNC);
  Made("conf.new", "1", FILE_SYNC);
  ASSERT_EQ(Connect()->Mkdir(root_, "olddir", 0755, nullptr), NFS3_OK);
  AwaitSent();
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    (void)Connect()->Mkdir(root_, "shared", 0755, nullptr);
    return !host().SessionStatus("work").at("write_lease").get<bool>();
  }));
  using Ask = std::function<nfsstat3(Client&)>;
  const auto moves = [this](const char* from, const char* to) {
    return Where(root_, from) + Where(root_, to);
  };
  const std::vector<std::pair<Ask, nfsstat3>> asks = {
      {[&](Client& client) { return client.Mkdir(root_, "new", 0755, nullptr); }, NFS3ERR_EXIST},
      {[&](Client& client) { return client.Make(root_, "made", 0644, nullptr); }, NFS3ERR_EXIST},
      {[&](Client& client) { return client.Remove(root_, "old"); }, NFS3ERR_NOENT},
      {[&](Client& client) {
         return Body(client.Nfs(NFSPROC3_RMDIR, Where(root_, "olddir")).body).Status();
       },
       NFS3ERR_NOENT},
      {[&](Client& client) {
         return Body(client.Nfs(NFSPROC3_RENAME, moves("from", "to")).body).Status();
       },
       NFS3ERR_NOENT},
  };
  // Each goes on counting its calls.
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < asks.size(); ++i) clients.push_back(Connect());
  const auto ask = [&](size_t i) { return asks[i].first(*clients[i]); };
  const auto ask_all = [&] {
    std::vector<nfsstat3> said(asks.size(), NFS3_OK);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < asks.size(); ++i) threads.emplace_back([&, i] { said[i] = ask(i); });
    for (std::thread& thread : threads) thread.join();
    return said;
  };
  const auto install = [&] {
    return Body(Connect()->Nfs(NFSPROC3_RENAME, moves("conf.new", "conf")).body).Status();
  };
  host().FreezeGateway();
  std::thread killed([&] { EXPECT_EQ(install(), NFS3ERR_JUKEBOX); });
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(ask_all(), std::vector<nfsstat3>(asks.size(), NFS3ERR_JUKEBOX)) << round;
  }
  killed.join();
  host().ThawGateway();
  std::vector<nfsstat3> said;
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    if (said.empty()) said.assign(asks.size(), NFS3ERR_JUKEBOX);
    for (size_t i = 0; i < asks.size(); ++i) {
      if (said[i] == NFS3ERR_JUKEBOX) said[i] = ask(i);
    }
    return std::find(said.begin(), said.end(), NFS3ERR_JUKEBOX) == said.end();
  }));
  EXPECT_EQ(said, std::vector<nfsstat3>(asks.size(), NFS3_OK));
  for (size_t i = 0; i < asks.size(); ++i) {
    EXPECT_EQ(ask(i), asks[i].second) << i;
  }
  // Who has not asked again is not who does the like later.
  // A listing may show twice what is renamed meanwhile.
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return e2e::Exists(there + "/conf"); }));
  AwaitSent();
  auto later = Connect();
  for (int i = 0; i < 10; ++i) (void)later->NextXid();  // its calls are none of before
  Handle conf;
  ASSERT_EQ(later->Make(root_, "conf.new", 0644, &conf), NFS3_OK);
  ASSERT_EQ(later->Write(conf, 0, "2", FILE_SYNC), NFS3_OK);
  EXPECT_EQ(Body(later->Nfs(NFSPROC3_RENAME, moves("conf.new", "conf")).body).Status(), NFS3_OK);
  EXPECT_EQ(e2e::ReadFile(there + "/conf"), "2");
  EXPECT_EQ(e2e::NamesIn(there),
            (std::set<std::string>{"conf", "file", "made", "new", "shared", "to"}));
  EXPECT_EQ(e2e::ReadFile(there + "/to"), "moved");
}

TEST_F(Outages, ADeletedWorkspaceIsSaidAndNothingUnsentIsLost) {
  Made("sent", "sent", FILE_SYNC);
  const std::string unsent = e2e::RandomBytes(1, 200'000);
  const Handle file = Made("unsent", "", UNSTABLE);
  AwaitSent();
  ASSERT_EQ(host()
                .Airctl({"workspace", "delete", "work", "--gateway", host().gateway_address(),
                         "--token-file", host().admin_token_file()})
                .code,
            0);
  auto client = Connect();
  if (client->Write(file, 0, unsent, UNSTABLE) == NFS3_OK) {
    EXPECT_NE(client->Commit(file), NFS3_OK);
  }
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    return host().SessionStatus("work").at("state") == "gone";
  })) << host().SessionStatus("work");
  EXPECT_EQ(client->Mkdir(root_, "another", 0755, nullptr), NFS3ERR_STALE);
  client.reset();
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Lost("/unsent") == unsent; }));
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return host().Airctl({"unmount", name()}).code == 0;
  }));
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return host().Status().at("sessions").empty(); }));
  EXPECT_TRUE(Lost("/unsent") == unsent);
}

// The handle is as good as before: only what was written has failed.
TEST_F(Outages, WhoIsNotTheFirstIsToldAndHisContentIsKept) {
  const std::string original = e2e::RandomBytes(1, 200'000);
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  const std::string ours = e2e::RandomBytes(3, 200'000);
  const Handle file = Made("file", original, FILE_SYNC);
  const Handle quiet = Made("quiet", original, FILE_SYNC);
  AwaitSent();
  ASSERT_TRUE(host().SessionStatus("work").at("write_lease"));
  host().KillBroker();
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  e2e::WriteAt(e2e::Open(there + "/file", O_RDWR).get(), theirs, 0);
  host().FreezeGateway();  // so that the lease is believed in
  host().StartBroker();
  ASSERT_EQ(Connect()->Write(file, 0, ours, UNSTABLE), NFS3_OK);
  ASSERT_EQ(Connect()->Write(quiet, 0, ours, UNSTABLE), NFS3_OK);
  host().ThawGateway();
  EXPECT_EQ(Connect()->Commit(file), NFS3ERR_IO);
  EXPECT_EQ(Connect()->Commit(quiet), NFS3_OK);
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Lost("/file") == ours; }));
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return ContentOf(file) == theirs; }));
  EXPECT_EQ(Connect()->Write(file, 0, "again", FILE_SYNC), NFS3_OK);
  const std::string fresh = other.RemountFresh("work", there);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/file") == "again" + theirs.substr(5));
  EXPECT_TRUE(e2e::ReadFile(fresh + "/quiet") == ours);
}

// On a disk of 64 MiB.
TEST_F(Outages, AFullSpoolIsSaidAndWhatWasAcceptedArrives) {
  constexpr size_t kPiece = 256u << 10;
  constexpr size_t kPieces = 16;
  const std::string disk = host().Path("state");
  ASSERT_EQ(host().Airctl({"unmount", "--force", name()}).code, 0);
  host().StopBroker();
  host().WipeBrokerState();
  std::filesystem::create_directory(disk);
  ASSERT_EQ(mount("none", disk.c_str(), "tmpfs", 0, "size=64m,mode=700"), 0);
  host().StartBroker();
  ServeAgain();
  root_ = Connect()->Mount(path());
  KnowNames();
  const auto piece = [](size_t file, size_t number) {
    return e2e::RandomBytes(file * 1000 + number, kPiece);
  };
  std::vector<Handle> files;
  // How many pieces were accepted.
  const auto fill = [&](size_t number, nfsstat3* status) {
    auto client = Connect();
    Handle file;
    *status = client->Make(root_, "file" + std::to_string(number), 0644, &file);
    if (*status != NFS3_OK) return size_t{0};
    files.push_back(file);
    size_t done = 0;
    for (; done < kPieces; ++done) {
      *status = client->Write(file, done * kPiece, piece(number, done), UNSTABLE);
      if (*status != NFS3_OK) break;
    }
    return done;
  };
  host().FreezeGateway();
  std::vector<size_t> accepted;
  nfsstat3 status = NFS3_OK;
  while (status == NFS3_OK && accepted.size() < 32) {
    accepted.push_back(fill(accepted.size(), &status));
  }
  EXPECT_EQ(status, NFS3ERR_NOSPC);
  ASSERT_GT(accepted.size(), 2u);
  // Looking goes on, and so does a frontend that takes the place of another.
  fattr3 attributes{};
  EXPECT_EQ(Connect()->Getattr(root_, &attributes), NFS3_OK);
  KillFrontend();
  EXPECT_EQ(Connect()->Getattr(files.front(), &attributes), NFS3_OK);
  host().ThawGateway();
  for (const Handle& file : files) EXPECT_EQ(Connect()->Commit(file), NFS3_OK);
  // What the gateway has makes room.
  size_t next = 100;
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return fill(++next, &status) == kPieces; }));
  ASSERT_EQ(host().Airctl({"unmount", "--force", name()}).code, 0);
  host().StopBroker();
  ASSERT_EQ(umount2(disk.c_str(), MNT_DETACH), 0);
  host().WipeBrokerState();
  host().StartBroker();
  const std::string mounted = host().Mount("work", "mnt");
  for (size_t file = 0; file < accepted.size(); ++file) {
    if (accepted[file] == 0) continue;
    std::string expected;
    for (size_t i = 0; i < accepted[file]; ++i) expected += piece(file, i);
    const std::string found = e2e::ReadFile(mounted + "/file" + std::to_string(file));
    ASSERT_TRUE(found.substr(0, expected.size()) == expected) << file;
  }
}

// Of which the frontend's program can be taken away.
class NoFrontend : public Outages {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/airstore-nfs-XXXXXX";
    programs_ = mkdtemp(pattern.data());
    Restore("airstore-fuse");
    Restore("airstore-nfs");
    Outages::SetUp();
  }
  void TearDown() override { std::filesystem::remove_all(programs_); }
  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--frontend-dir", programs_}};
  }
  void Restore(const std::string& program) {
    std::filesystem::create_symlink(e2e::Program(program), programs_ + "/" + program);
  }

  std::string programs_;
};

TEST_F(NoFrontend, TheExportIsDeadAndSaysWhy) {
  const Handle file = Made("file", "content", UNSTABLE);
  std::filesystem::remove(programs_ + "/airstore-nfs");
  kill(Frontend(), SIGKILL);
  EXPECT_TRUE(e2e::WaitUntil(seconds(30),
                             [&] { return host().MountStatus(name()).at("state") == "dead"; }));
  const auto problem = host().MountStatus(name()).at("problem").get<std::string>();
  EXPECT_NE(problem.find("could not be replaced"), std::string::npos) << problem;
  EXPECT_THROW(Connect()->Mount(path()), std::runtime_error);
  Restore("airstore-nfs");
  ServeAgain();
  EXPECT_EQ(ContentOf(file), "content");
}

}  // namespace
}  // namespace airstore::nfs_test
