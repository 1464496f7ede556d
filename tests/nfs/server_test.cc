// SPDX-License-Identifier: Apache-2.0
//
// What is said and done around the procedures: mounting, identities, records that make no sense,
// calls that come twice, frontends and brokers that die.
#include <signal.h>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

using e2e::Finished;

class Server : public ServedTest {
 protected:
  e2e::HostOptions Options() const override { return {.patience = Patience()}; }
  // As a program that is broken does.
  void Crash() { ASSERT_EQ(kill(Frontend(), SIGABRT), 0); }
  void AwaitAnother(pid_t before) {
    ASSERT_TRUE(e2e::WaitUntil(std::chrono::seconds(30), [&] {
      const auto status = host().MountStatus(name());
      return status["state"] == "ready" && status["frontend_pid"].get<pid_t>() != before;
    }));
  }
};

TEST_F(Server, IsShownAndEnded) {
  const auto status = host().MountStatus(name());
  EXPECT_EQ(status["backend"], "nfs");
  EXPECT_EQ(status["state"], "ready");
  EXPECT_EQ(status["nfs"]["host"], "127.0.0.1");
  const std::string command = status["nfs"]["mount_command"];
  EXPECT_NE(command.find("port=" + std::to_string(port())), std::string::npos);
  EXPECT_NE(command.find(path()), std::string::npos);
  EXPECT_NE(host().Airctl({"status"}).out.find(command), std::string::npos);

  // As long as somebody is connected it is in use.
  auto client = Connect();
  ASSERT_TRUE(client->Call(NFS3_PROGRAM, 3, 0, "").good());
  const Finished busy = host().Airctl({"unmount", name()});
  EXPECT_EQ(busy.code, 4) << busy.All();
  EXPECT_NE(busy.err.find("a client is connected"), std::string::npos) << busy.All();
  client.reset();
  EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(5), [&] {
    return host().Airctl({"unmount", name()}).code == 0;
  }));
  EXPECT_THROW(Connect(), std::runtime_error);

  // A connection does not hold up who wants it to end.
  Serve(name());
  EXPECT_EQ(host().Airctl({"unmount", "--force", name()}).code, 0);
}

TEST_F(Server, ServesWhoMay) {
  auto client = Connect();
  EXPECT_THROW(client->Mount("/"), std::runtime_error);
  EXPECT_THROW(client->Mount(path() + "x"), std::runtime_error);
  const Handle root = client->Mount(path());
  const std::string arguments = Code(xdr_nfs_fh3, Wire(root));
  EXPECT_TRUE(client->Nfs(NFSPROC3_GETATTR, arguments).good());

  // Nobody in particular may find out whether there is a server, and no more.
  client->Become({.flavor = AUTH_NONE});
  EXPECT_TRUE(client->Nfs(NFSPROC3_NULL, "").good());
  Reply reply = client->Nfs(NFSPROC3_GETATTR, arguments);
  EXPECT_TRUE(reply.denied);
  EXPECT_EQ(reply.why, uint32_t{AUTH_TOOWEAK});
  reply = client->Call(MOUNT3_PROGRAM, 3, MOUNTPROC3_MNT, "");
  EXPECT_TRUE(reply.denied);

  const auto open = Serve(host().Path("open"), {"--nfs-auth-none"})["nfs"];
  Client nobody(open["port"].get<uint16_t>());
  nobody.Become({.flavor = AUTH_NONE});
  const Handle there = nobody.Mount(open["path"]);
  EXPECT_TRUE(nobody.Nfs(NFSPROC3_GETATTR, Code(xdr_nfs_fh3, Wire(there))).denied);
  nobody.Become({});
  EXPECT_TRUE(nobody.Nfs(NFSPROC3_GETATTR, Code(xdr_nfs_fh3, Wire(there))).good());

  // Other users of this host are not answered at all: 1 is the end of what can be read.
  const Finished stranger = e2e::RunProgram(
      {"setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "/bin/bash", "-c",
       "exec 3<>/dev/tcp/127.0.0.1/$0 && read -r -n 1 -t 30 <&3; echo $?", std::to_string(port())});
  EXPECT_EQ(stranger.out, "1\n") << stranger.All();

  // Handles of another export are none of this one.
  const auto other = Serve(host().Path("other"));
  Client second(other["nfs"]["port"].get<uint16_t>());
  const Handle other_root = second.Mount(other["nfs"]["path"]);
  fattr3 attributes{};
  EXPECT_EQ(second.Getattr(other_root, &attributes), NFS3_OK);
  EXPECT_EQ(second.Getattr(root, &attributes), NFS3ERR_BADHANDLE);
  EXPECT_THROW(second.Mount(path()), std::runtime_error);
}

TEST_F(Server, TakesUsersForOthers) {
  const auto owner_of_made = [this](const std::string& whom, uint32_t uid) {
    std::vector<std::string> flags;
    if (whom != "none") flags = {"--" + whom + "-squash", "--anon-gid", "1234"};
    const auto served = Serve(host().Path(whom), flags)["nfs"];
    Client client(served["port"].get<uint16_t>());
    const Handle root = client.Mount(served["path"]);
    client.Become({.uid = uid, .gid = uid});
    Handle file;
    const nfsstat3 status = client.Make(root, whom + std::to_string(uid), 0644, &file);
    if (status != NFS3_OK) return std::string("refused");
    fattr3 attributes{};
    EXPECT_EQ(client.Getattr(file, &attributes), NFS3_OK);
    return std::to_string(attributes.uid);
  };
  // The root directory is root's.
  EXPECT_EQ(owner_of_made("none", 0), "0");
  EXPECT_EQ(owner_of_made("root", 0), "refused");
  EXPECT_EQ(owner_of_made("all", 1000), "refused");
}

TEST_F(Server, SaysWhatIsWrongWithACall) {
  auto client = Connect();
  const Handle root = client->Mount(path());
  EXPECT_EQ(client->Call(100000, 2, 0, "").status, uint32_t{PROG_UNAVAIL});
  EXPECT_EQ(client->Call(NFS3_PROGRAM, 4, 0, "").status, uint32_t{PROG_MISMATCH});
  EXPECT_EQ(client->Call(NFS3_PROGRAM, 3, 22, "").status, uint32_t{PROC_UNAVAIL});
  EXPECT_EQ(client->Call(MOUNT3_PROGRAM, 3, 6, "").status, uint32_t{PROC_UNAVAIL});
  for (uint32_t procedure = NFSPROC3_GETATTR; procedure <= NFSPROC3_COMMIT; ++procedure) {
    EXPECT_EQ(client->Nfs(static_cast<nfsproc3>(procedure), "").status, uint32_t{GARBAGE_ARGS})
        << procedure;
    EXPECT_EQ(client->Nfs(static_cast<nfsproc3>(procedure), std::string(4, '\x7f')).status,
              uint32_t{GARBAGE_ARGS})
        << procedure;
  }
  fattr3 attributes{};
  EXPECT_EQ(client->Getattr("made up", &attributes), NFS3ERR_BADHANDLE);
  EXPECT_EQ(client->Getattr(std::string(root.size(), 'x'), &attributes), NFS3ERR_BADHANDLE);

  // RPC of another version is answered, what is no call ends the connection.
  std::string call = client->CallBytes(7, NFS3_PROGRAM, 3, 0, "");
  call[4 + 11] = 9;
  client->SendBytes(call);
  const auto record = client->ReadRecord();
  ASSERT_TRUE(record);
  EXPECT_TRUE(RpcClient::ParseReply(*record, 7).denied);
  client->SendBytes(std::string("\x80\0\0\x04junk", 8));
  EXPECT_FALSE(client->ReadRecord());
  auto greedy = Connect();
  greedy->SendBytes("\xff\xff\xff\xff");
  EXPECT_FALSE(greedy->ReadRecord());
  // In two fragments, and many calls at once.
  auto fine = Connect();
  call = fine->CallBytes(8, NFS3_PROGRAM, 3, 0, "");
  std::string pieces = std::string("\0\0\0\x08", 4) + call.substr(4, 8);
  pieces += std::string("\x80\0\0", 3) + static_cast<char>(call.size() - 12) + call.substr(12);
  std::string many;
  for (int i = 0; i < 100; ++i) many += pieces;
  fine->SendBytes(many);
  for (int i = 0; i < 100; ++i) {
    const auto answer = fine->ReadRecord();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(RpcClient::ParseReply(*answer, 8).good());
  }
}

// A client that lost its connection sends what was not answered once more.
TEST_F(Server, CarriesOutACallOnce) {
  auto client = Connect();
  const Handle root = client->Mount(path());
  ASSERT_EQ(client->Make(root, "victim", 0644, nullptr), NFS3_OK);
  const std::string call =
      client->CallBytes(4711, NFS3_PROGRAM, 3, NFSPROC3_REMOVE, Where(root, "victim"));
  const auto ask = [&call](Client& of) {
    of.SendBytes(call);
    const auto record = of.ReadRecord();
    return record ? Body(RpcClient::ParseReply(*record, 4711).body).Status() : NFS3ERR_IO;
  };
  EXPECT_EQ(ask(*client), NFS3_OK);
  auto second = Connect();
  EXPECT_EQ(ask(*second), NFS3_OK);
  EXPECT_EQ(second->Remove(root, "victim"), NFS3ERR_NOENT);
}

TEST_F(Server, HandlesAndBytesOutliveFrontendAndBroker) {
  const Handle root = Connect()->Mount(path());
  Handle file;
  WRITE3resok before{};
  ASSERT_EQ(Connect()->Make(root, "file", 0644, &file), NFS3_OK);
  ASSERT_EQ(Connect()->Write(file, 0, "first", UNSTABLE, &before), NFS3_OK);
  KillFrontend();
  WRITE3resok after{};
  ASSERT_EQ(Connect()->Write(file, 5, " second", UNSTABLE, &after), NFS3_OK);
  EXPECT_EQ(std::string(after.verf, 8), std::string(before.verf, 8));
  host().KillBroker();
  ASSERT_EQ(Connect()->Write(file, 12, " third", UNSTABLE, &after), NFS3_OK);
  host().StartBroker();
  COMMIT3resok committed{};
  ASSERT_EQ(Connect()->Commit(file, &committed), NFS3_OK);
  EXPECT_EQ(std::string(committed.verf, 8), std::string(before.verf, 8));
  std::string data;
  ASSERT_EQ(Connect()->Read(file, 0, 100, &data), NFS3_OK);
  EXPECT_EQ(data, "first second third");
  KillFrontend();
  ASSERT_EQ(Connect()->Read(file, 0, 100, &data), NFS3_OK);
  EXPECT_EQ(data, "first second third");
  // And the gateway has it.
  const std::string mount = MountElsewhere();
  EXPECT_EQ(e2e::ReadFile(mount + "/file"), "first second third");
}

// They are replaced all the same, with a pause that grows; and the mount can be ended in it.
TEST_F(Server, FrontendsThatEndFastAreReplacedAfterAPause) {
  const Handle root = Connect()->Mount(path());
  for (int i = 0; i < 8; ++i) {
    const pid_t before = Frontend();
    Crash();
    AwaitAnother(before);
  }
  EXPECT_NE(e2e::ReadFile(host().Path("broker.log")).find("frontends end too often"),
            std::string::npos);
  fattr3 attributes{};
  EXPECT_EQ(Connect()->Getattr(root, &attributes), NFS3_OK);
  Crash();
  ASSERT_TRUE(e2e::WaitUntil(std::chrono::seconds(10),
                             [&] { return host().MountStatus(name())["state"] == "recovering"; }));
  const Finished ended = host().Airctl({"unmount", "--force", name()});
  EXPECT_EQ(ended.code, 0) << ended.All();
  EXPECT_THROW(Connect(), std::runtime_error);
}

// Between WRITE and COMMIT, where other servers may forget.
TEST_F(Server, WhatIsCommittedOutlivesBrokersThatDie) {
  const Handle root = Connect()->Mount(path());
  const auto content = [](uint64_t round) { return e2e::RandomBytes(round, 100'000); };
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0 ? 100 : 8;
  for (uint64_t round = 0; round < rounds; ++round) {
    Handle file;
    WRITE3resok written{};
    COMMIT3resok committed{};
    ASSERT_EQ(Connect()->Make(root, "f" + std::to_string(round), 0644, &file), NFS3_OK);
    ASSERT_EQ(Connect()->Write(file, 0, content(round), UNSTABLE, &written), NFS3_OK);
    EXPECT_EQ(written.committed, UNSTABLE);
    host().KillBroker();
    host().StartBroker();
    ASSERT_EQ(Connect()->Commit(file, &committed), NFS3_OK);
    EXPECT_EQ(std::string(written.verf, 8), std::string(committed.verf, 8));
  }
  const std::string mount = MountElsewhere();
  for (uint64_t round = 0; round < rounds; ++round) {
    EXPECT_TRUE(e2e::ReadFile(mount + "/f" + std::to_string(round)) == content(round)) << round;
  }
}

}  // namespace
}  // namespace airstore::nfs_test
